/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UNIX stream sockets (unix(7)) named by directory and file, so that neither the length of the
 * directory's path nor a change of what it leads to matters.
 */
#ifndef SEALIFT_VMM_UNIX_SOCKET_H
#define SEALIFT_VMM_UNIX_SOCKET_H

#include "base/error.h"
#include "base/cleanup.h"

/* A connected, non-blocking, close-on-exec socket. name is taken beneath directory_fd, or is any
 * path if that is AT_FDCWD; the file itself must be a socket, not a link to one.
 * ERROR_UNAVAILABLE if nobody listens. */
MUST_CHECK bool unix_socket_connect(int directory_fd, const char *name, int *ret_fd, Error *err);

/* Lets a writer put size_bytes into this socket before it has to wait: the default of 208 KiB is less
 * than half a record, so mover and QEMU would wake each other all the time (measured: a tenth of
 * the mover's time at the destination). Past net.core.wmem_max only with CAP_NET_ADMIN; what cannot
 * be had is done without. */
void unix_socket_widen(int fd, int size_bytes);

/* A listening, non-blocking, close-on-exec socket with this mode; what was there under the name is
 * unlinked first. */
MUST_CHECK bool unix_socket_listen(int directory_fd, const char *name, unsigned int mode,
				   int *ret_fd, Error *err);

#endif
