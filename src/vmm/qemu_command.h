/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's command line from a resolved VM. Everything that came from a manifest is a number, a word
 * of ours, a checked name, or a value inside JSON; no shell is involved. Devices get PCI addresses
 * by their place in the manifest, so that both hosts build the same machine.
 */
#ifndef SEALIFT_VMM_QEMU_COMMAND_H
#define SEALIFT_VMM_QEMU_COMMAND_H

#include "vmm/resources.h"

enum {
	QEMU_FD_FIRST = 3,
	QEMU_FD_SOCKETS = QEMU_FD_FIRST, /* in QEMU: O_PATH of the directory for its sockets */
	QEMU_FDS_MAX = 5 + 2 * LIMIT_DISKS + LIMIT_NICS,
	QEMU_ARGS_MAX = 72 + 10 * LIMIT_DISKS + 4 * LIMIT_NICS,
	QEMU_LIMITS_MAX = 4,
};

/* As QEMU sees them; the engine reaches the same sockets beneath the VM's socket directory. */
#define QEMU_SOCKET_PREFIX "/proc/self/fd/3/"
#define QEMU_SOCKET_SERIAL "serial.sock"
#define QEMU_SOCKET_VNC	   "vnc.sock"

typedef struct QemuCommandInput {
	const Resources *resources;
	const ResolvedVm *vm;
	bool incoming;		 /* -incoming defer, memory populated if the manifest wants it */
	int sockets_fd;		 /* O_PATH of the directory for QEMU's sockets */
	int qmp_listen_fd;	 /* a listening UNIX socket */
	int tap_fds[LIMIT_NICS]; /* for nics of NETWORK_BRIDGE */
	int tpm_fd;		 /* of a VM with a TPM: connected to its swtpm, or to be */
	/* A twin (qemu_twin.h): the same machine to the last device, with nothing behind it. Its
	 * memory is never touched; names, MACs and what the guest would boot are no part of the
	 * machine's layout and are left out, so that VMs of one kind share a twin. qmp_listen_fd
	 * is then a connected socket, sockets_fd and tap_fds are not used. */
	bool is_twin;
	int memory_fd; /* twin: an empty memory file, see put_memory */
} QemuCommandInput;

typedef struct QemuCommand {
	char *argv[QEMU_ARGS_MAX]; /* owned, ended by NULL */
	size_t argc;
	int fds[QEMU_FDS_MAX]; /* borrowed; fds[i] is QEMU_FD_FIRST + i in QEMU */
	size_t fds_count;
	/* Bounds that the process sets itself (setrlimit(2)), soft and hard, before it is QEMU. */
	struct {
		int resource;
		uint64_t max;
	} limits[QEMU_LIMITS_MAX];
	size_t limits_count;
} QemuCommand;

/* Builds it. *ret_command is zeroed on entry; release with qemu_command_clear. */
MUST_CHECK bool qemu_command_build(const QemuCommandInput *input, QemuCommand *ret_command,
				   Error *err);
/* -dump-vmstate of the same program and machine into dump_fd, which must be a file. */
MUST_CHECK bool qemu_command_build_dump(const QemuCommandInput *input, int dump_fd,
					QemuCommand *ret_command, Error *err);
/* The same program without a machine, which holds disk 0 of input->vm as a VM would, as the node
 * disk0, and serves it when it is told to (storage_daemon.h). */
MUST_CHECK bool qemu_command_build_storage(const QemuCommandInput *input, QemuCommand *ret_command,
					   Error *err);
void qemu_command_clear(QemuCommand *command);
#define AUTO_QEMU_COMMAND CLEANUP(qemu_command_clear)

#endif
