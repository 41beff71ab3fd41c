/* SPDX-License-Identifier: Apache-2.0 */
/* The hooks that libraries offer, led to inject.h. */
#ifndef SEALIFT_TESTS_FAULT_HOOKS_H
#define SEALIFT_TESTS_FAULT_HOOKS_H

#include <stdbool.h>

/* False if a library was in use already. */
bool hooks_install(void);

#endif
