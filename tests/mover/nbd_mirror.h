/* SPDX-License-Identifier: Apache-2.0 */
/* A real mirror to an NBD server, made by QEMU's storage daemon, as the source's QEMU makes it. */
#ifndef SEALIFT_TESTS_MOVER_NBD_MIRROR_H
#define SEALIFT_TESTS_MOVER_NBD_MIRROR_H

#include <stddef.h>
#include <sys/types.h>

typedef struct NbdMirror {
	pid_t pid;
	int qmp;
	char heard[16384]; /* all that it said */
	size_t used;
} NbdMirror;

/* Starts the daemon and has it connect to the socket `path` (to be made here), for the export of
 * this name; *ret_fd is its connection. Dies with the test. */
void nbd_mirror_start(NbdMirror *mirror, const char *image, const char *name, const char *path,
		      int *ret_fd);
/* Copies all of the raw image, and waits until both are alike. */
void nbd_mirror_copy(NbdMirror *mirror);
/* Ends the job in order and then the connection. */
void nbd_mirror_detach(NbdMirror *mirror);
/* Asserts that it ends well. */
void nbd_mirror_stop(NbdMirror *mirror);

#endif
