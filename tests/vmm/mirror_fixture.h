/* SPDX-License-Identifier: Apache-2.0 */
/* A VM whose two disks are copied: for each a storage daemon that receives it, and a relay in
 * between as a mover is. Functions fail the test themselves. */
#ifndef SEALIFT_TESTS_VMM_MIRROR_FIXTURE_H
#define SEALIFT_TESTS_VMM_MIRROR_FIXTURE_H

#include "vm_fixture.h"
#include "vmm/disk_mirror.h"

struct event;

enum {
	DISKS = 2,
	DISK_BYTES = 8 << 20,
	LARGE_BYTES = 48 << 20, /* more than QEMU has on its way at once */
	START_MS = 30000,
	ABORT_MS = 10000,
	SLOW_BYTES_S = 256 << 10, /* so that the first disk takes half a minute */
	PATH_BYTES = 400,
};

typedef struct Copy Copy;

/* One disk's way: the source's socket, a relay, the daemon that receives. */
typedef struct Way {
	Copy *copy;
	Host daemon;
	char name[32], socket[32];
	int listen_fd;
	struct event *listen_event;
	Relay *relay;
	int fd;	       /* another descriptor of what the source connected to; -1: none */
	bool hangs_up; /* on whoever connects */
} Way;

struct Copy {
	World *world;
	Way ways[DISKS];
	ResolvedVm target; /* what the daemons have, and then the VM at the destination */
	bool encrypted;
	size_t first_bytes;
};

/* Raw and plain, or by the pool of encrypted images (luks_pool.h). The first disk is noise. */
int copy_setup_plain(void **state);
/* The same as plain, with a large first disk; the second one is noise too. */
int copy_setup_large(void **state);
int copy_setup_encrypted(void **state);
int copy_teardown(void **state);
/* Of the image that receives disk i. */
void copy_path(const Copy *copy, size_t i, char ret_path[PATH_BYTES]);

/* Listens for the source's hypervisor. */
void way_open(Way *way, VmmVm *source);
/* The relay, and who listens. */
void way_close(Way *way);
void way_serve(Way *way, size_t disk, bool sealed);
void way_stop_daemon(Way *way);
/* As by whoever carries its connection, who notices. */
void way_kill_daemon(Way *way);

/* A guest that works. */
void copy_start_source(Copy *copy);
void copy_serve_all(Copy *copy);
/* The first `disks` of them. */
void copy_begin(Copy *copy, Host *source, size_t disks, uint64_t bytes_s, int64_t deadline_ms,
		Call *call);
/* Until they are the same. */
void copy_all(Copy *copy, Host *source, size_t disks);
void copy_finish(Copy *copy, Host *source, uint32_t disks);
void copy_abort_with(Copy *copy, Host *source, int64_t deadline_ms, Call *call);
/* And nothing is left but a source that goes on. */
void copy_abort(Copy *copy, Host *source);

typedef struct Asked {
	bool called, ok;
	DiskMirrorProgress progress;
	Error err;
} Asked;

Asked copy_ask(Copy *copy, Host *source);
void call_fails_with(const Call *call, ErrorCategory category, const char *text);

#endif
