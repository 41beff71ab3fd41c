/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_TESTS_VMM_WHOLE_MOVE_H
#define SEALIFT_TESTS_VMM_WHOLE_MOVE_H

#include "vm_fixture.h"

/* From the source, which runs, to the destination, which is prepared, and the guest goes on there
 * where it was stopped: nothing printed twice, nothing lost. The source is left stopped. */
void world_move_whole(World *world, unsigned int channels);

#endif
