/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that are given files: what cannot be had ends them with a word. */
#ifndef SEALIFT_TESTS_GUARD_READ_FILES_H
#define SEALIFT_TESTS_GUARD_READ_FILES_H

#include "base/buffer.h"

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Appends the whole file, within the buffer's bound. */
void read_whole(const char *path, Buffer *buffer);

#endif
