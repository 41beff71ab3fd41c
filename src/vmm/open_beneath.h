/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_VMM_OPEN_BENEATH_H
#define SEALIFT_VMM_OPEN_BENEATH_H

#include "base/cleanup.h"
#include "base/error.h"

/* Opens what `name` is in the directory (openat2(2): beneath it, no symbolic or magic link
 * anywhere), close-on-exec, never waiting for a FIFO's other end. The result is blocking.
 * ERROR_NOT_FOUND, ERROR_DENIED for a link, else ERROR_IO. */
MUST_CHECK bool open_beneath(int directory_fd, const char *name, int flags, int *ret_fd,
			     Error *err);

#endif
