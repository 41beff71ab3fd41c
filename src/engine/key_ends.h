/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of disks that are to be destroyed whatever happens: of a copy that did not come to be, or of one
 * that moved away. What is owed stands in the store before the key manager is asked, and is asked again
 * each time it begins to serve, so that neither a restart nor its absence leaves a key behind.
 */
#ifndef SEALIFT_ENGINE_KEY_ENDS_H
#define SEALIFT_ENGINE_KEY_ENDS_H

#include "engine/engine.h"

/* `why` is for the key manager's log: "VM UUID moved". What cannot be written down is warned of with
 * the key's id, and asked for all the same. */
void key_ends_add(Engine *engine, const ManifestDisk *disk, const char *why);
/* The key manager serves: all that is owed is asked for. */
void key_ends_go_on(Engine *engine);

#endif
