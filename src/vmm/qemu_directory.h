/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory of one VM; see qemu.h for what lies in it. */
#ifndef SEALIFT_VMM_QEMU_DIRECTORY_H
#define SEALIFT_VMM_QEMU_DIRECTORY_H

#include "vmm/resources.h"

#define QEMU_FILE_RECORD       "record"
#define QEMU_FILE_TPM_RECORD   "tpm-record"
#define QEMU_FILE_QMP	       "qmp.sock"
#define QEMU_FILE_LOG	       "qemu.log"
#define QEMU_DIRECTORY_SOCKETS "sockets"

typedef struct QemuDirectory {
	int fd;		/* O_PATH of it */
	int sockets_fd; /* O_PATH of its sockets directory */
	char path[LIMIT_PATH + LIMIT_NAME];
	char sockets_path[LIMIT_PATH + LIMIT_NAME + 16];
} QemuDirectory;

#define QEMU_DIRECTORY_INIT ((QemuDirectory){ .fd = -1, .sockets_fd = -1 })

/* Makes RUN/INSTANCE (mode 0700) and its sockets directory, which is given to QEMU's user if the
 * caller is root. ERROR_CONFLICT if it exists. */
MUST_CHECK bool qemu_directory_make(const Resources *resources, const char *instance,
				    QemuDirectory *ret_directory, Error *err);
/* ERROR_NOT_FOUND if there is none. */
MUST_CHECK bool qemu_directory_open(const Resources *resources, const char *instance,
				    QemuDirectory *ret_directory, Error *err);
/* A listening socket (unix_socket.h) that the VM, and nobody else, can reach under `name`
 * (TEXT_NAME). One left over from before is replaced. *ret_fd is the caller's. */
MUST_CHECK bool qemu_directory_listen(const QemuDirectory *directory, const QemuUser *user,
				      const char *name, int *ret_fd, Error *err);
/* Removes it with all that is in it, as far as that goes, and closes it. */
void qemu_directory_remove(QemuDirectory *directory);
void qemu_directory_close(QemuDirectory *directory);
#define AUTO_QEMU_DIRECTORY CLEANUP(qemu_directory_close)

#endif
