/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that holds one disk image and lets one client at a time use it by NBD (the protocol
 * document of NetworkBlockDevice), over a UNIX socket that only this process's user can reach. A
 * copy of a disk ends in one, never in a VM's own hypervisor: what a peer's bytes could take over
 * has one image, no guest, and no other key than that image's.
 *
 * It is the host's QEMU without a machine, not the program qemu-storage-daemon: that takes no
 * descriptors (it has no add-fd, so that its user would need a right to the image's path) and has
 * no system call filter. So it is started, recorded, confined, watched and found again as a VM is
 * (vmm/qemu.h), and held by a VmmVm: vmm_adopt after a restart, vmm_connect to reach the export,
 * vmm_kill, vmm_free, and its events. Operations of a guest fail. It runs with the rights of QEMU's
 * user, in a session of its own.
 *
 * Two uses:
 *  - the image with its format and, if it is encrypted, with its secret: what comes is what a guest
 *    sees, and is encrypted here;
 *  - sealed: the bytes of the file as they are, without any key. Such a one receives ciphertext, or
 *    stands between a VM and its encrypted disk as long as the VM lives, so that this can be copied
 *    from below the VM's hypervisor, which alone has the key.
 */
#ifndef SEALIFT_VMM_STORAGE_DAEMON_H
#define SEALIFT_VMM_STORAGE_DAEMON_H

#include "vmm/vmm.h"

/* For vmm_connect. */
#define STORAGE_DAEMON_SOCKET "nbd.sock"

enum { STORAGE_DAEMON_CLIENT_MS = 5000 /* that storage_daemon_stop waits for the client to go */ };

typedef struct StorageDaemonStart {
	const Resources *resources; /* outlives the VmmVm */
	const char *instance;	    /* TEXT_NAME, unique on this host, VMs' included */
	/* The image is disks[disk], whose descriptor says whether it may be written. Descriptors
	 * stay the caller's, the secret may be wiped when the start is done. */
	const ResolvedVm *vm;
	size_t disk;
	bool sealed;		 /* the file's bytes; format, encryption and secret are not used */
	const char *export_name; /* TEXT_NAME */
	/* It serves this socket, which stays the caller's, not one of its own: that of a VM which has
	 * the disk (ResolvedDisk.listen_fd). */
	bool listens;
	int listen_fd;
	int64_t deadline_ms;
} StorageDaemonStart;

/* Starts it; done once a client may connect. NULL with err if it cannot even begin; if done is told
 * an error, the caller kills it (on_exit may have told already) and frees it, after which no
 * process, socket or file is left. ERROR_USAGE: a name, or no image; else as vmm_start. */
VmmVm *storage_daemon_start(struct event_base *base, const StorageDaemonStart *start,
			    const VmmEvents *events, void *events_context, VmmDone *done,
			    void *context, Error *err);

/*
 * Ends it in order: waits until the client has gone by itself, at most STORAGE_DAEMON_CLIENT_MS (a
 * copy that is complete has no client), then closes export, server and image, which flushes it to
 * stable storage, and quits; on_exit follows. Only when done is told success may the image be
 * opened by others. ERROR_HYPERVISOR "... still in use": there is a client, and all goes on.
 */
MUST_CHECK bool storage_daemon_stop(VmmVm *vm, VmmDone *done, void *context, Error *err);

#endif
