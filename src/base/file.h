/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes on descriptors and small files. */
#ifndef SEALIFT_BASE_FILE_H
#define SEALIFT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Reads from fd to its end; ERROR_LIMIT past max_bytes. Appends to *buffer. */
MUST_CHECK bool file_read_fd(int fd, size_t max_bytes, Buffer *buffer, Error *err);
/* The same for a path (opened close-on-exec, must be a regular file). */
MUST_CHECK bool file_read(const char *path, size_t max_bytes, Buffer *buffer, Error *err);
/* Writes all bytes, in spite of short writes and signals. */
MUST_CHECK bool file_write_fd(int fd, const void *data, size_t size, Error *err);
/* Replaces path atomically: a temporary file beside it, fsync, rename, fsync of the directory.
 * mode is exact, whatever the umask. */
MUST_CHECK bool file_replace(const char *path, const void *data, size_t size, unsigned int mode,
			     Error *err);
/* Makes the name of a new file survive a power cut: syncs the directory that path is in. */
MUST_CHECK bool file_sync_directory_of(const char *path, Error *err);
/* Memory with a descriptor (memfd_create(2)): close-on-exec, may be sealed, and never executable
 * where the kernel knows that (Linux 6.3), without which a host with vm.memfd_noexec=2 gives none.
 * -1 with errno set. */
MUST_CHECK int file_make_memory(const char *name);
/* mkdir -p with this mode for what is missing. */
MUST_CHECK bool file_make_directories(const char *path, unsigned int mode, Error *err);

#endif
