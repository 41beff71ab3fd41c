/* SPDX-License-Identifier: Apache-2.0 */
/* What a block holds when the C library gets it back. For tests that are linked with --wrap=free.
 */
#ifndef SEALIFT_TESTS_SUPPORT_FREE_WATCH_H
#define SEALIFT_TESTS_SUPPORT_FREE_WATCH_H

#include <stddef.h>

/* From now on: `secret`, which stays the caller's, must not stand in a block that is freed. */
void free_watch_begin(const void *secret, size_t size_bytes);
void free_watch_end(void);
size_t free_watch_freed(void);
/* Those of them in which it stood. */
size_t free_watch_dirty(void);

#endif
