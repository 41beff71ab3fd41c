/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/job_disks.h"
#include "engine/key_ends.h"
#include "vmm/disk_mirror.h"
#include "vmm/image_create.h"

enum { FINISH_MS = 25000, ABORT_MS = 10000, SOCKET_NAME = 32 };

/* One disk's way out: where the hypervisor connects, and the connection once it has. */
typedef struct CopyOut {
	struct DisksOut *disks;
	size_t disk, channel;
	char socket[SOCKET_NAME];
	int listen_fd, fd; /* fd: a duplicate of what the mover has, to end it */
	struct event *listening;
	uint64_t done_bytes, total_bytes; /* total 0: not known yet */
} CopyOut;

struct DisksOut {
	Engine *engine;
	uint64_t job;
	CopyOut copies[LIMIT_DISKS];
	size_t count;
	bool asked; /* how far they are */
};

/* The job may end before the hypervisor answers. */
typedef struct Order {
	Engine *engine;
	uint64_t job;
	HvOperation operation;
} Order;

static Order *new_order(Job *job, HvOperation operation, Error *err)
{
	Order *order = calloc(1, sizeof(*order));

	if (order)
		*order = (Order){ job->engine, job->serial, operation };
	else
		error_set(err, ERROR_INTERNAL, "no memory for an order to the hypervisor");
	return order;
}

static void on_done(void *context, const Error *err)
{
	Order *order = context;
	Job *job = job_find(order->engine, order->job);
	HvOperation operation = order->operation;

	free(order);
	if (!job)
		return;
	migration_on_hv_done(job->migration, operation, err);
	job_settle(job);
}

/* --- sockets --- */

static void stop_listening(CopyOut *copy)
{
	if (copy->listening)
		event_free(TAKE_PTR(copy->listening));
	cleanup_fd(&copy->listen_fd);
	copy->listen_fd = -1;
}

static void on_connect(evutil_socket_t listen_fd, short what, void *context)
{
	CopyOut *copy = context;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	Job *job = job_find(copy->disks->engine, copy->disks->job);

	(void)what;
	if (fd < 0)
		return;
	stop_listening(copy);
	copy->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	job_give_disk(job, copy->channel, fd);
}

static bool listen_for(Job *job, CopyOut *copy, Error *err)
{
	snprintf(copy->socket, sizeof(copy->socket), "copy%zu.sock", copy->disk);
	if (!vmm_listen(job->vm->handle, copy->socket, &copy->listen_fd, err))
		return false;
	copy->listening = event_new(job->engine->base, copy->listen_fd, EV_READ | EV_PERSIST, on_connect, copy);
	if (!copy->listening || event_add(copy->listening, NULL))
		return error_set(err, ERROR_INTERNAL, "no memory to listen for a disk");
	return true;
}

/* --- operations --- */

/* Holes of the source stay holes there: but a raw LUKS image has none (disk_mirror.h). */
static bool is_sparse(const ManifestDisk *disk)
{
	return disk->encryption != DISK_LUKS || disk->format == DISK_QCOW2;
}

static bool begin(Job *job, DisksOut *disks, DiskMirrorStart *start, Error *err)
{
	const Manifest *manifest = &migration_vm(job->migration)->manifest;

	for (size_t i = 0; i < manifest->disks_count; i++) {
		CopyOut *copy = &disks->copies[disks->count];

		if (manifest->disks[i].transfer == DISK_STAYS)
			continue;
		*copy = (CopyOut){ .disks = disks, .disk = i, .channel = disks->count, .listen_fd = -1, .fd = -1 };
		disks->count++;
		if (!listen_for(job, copy, err))
			return false;
		start->disks[start->disks_count++] = (DiskMirror){ .disk = i,
								   .socket = copy->socket,
								   .export_name = manifest->disks[i].volume,
								   .sparse = is_sparse(&manifest->disks[i]) };
	}
	return true;
}

bool disks_out_mirror(Job *job, Error *err)
{
	AUTO_FREE DiskMirrorStart *start = calloc(1, sizeof(*start));
	DisksOut *disks = calloc(1, sizeof(*disks));
	Order *order = new_order(job, HV_MIRROR, err);
	bool ok = start && disks && order;

	disks_out_free(job);
	if (!ok) {
		free(disks);
		free(order);
		return error_set(err, ERROR_INTERNAL, "no memory for the copies of disks");
	}
	disks->engine = job->engine;
	disks->job = job->serial;
	job->disks_out = disks;
	/* The mover holds the bandwidth, of disks and memory together. */
	start->deadline_ms = (int64_t)job->engine->config.policy.transfer_ms;
	ok = begin(job, disks, start, err) &&
	     disk_mirror_start(job->vm->handle, start, on_done, order, err);
	if (!ok)
		free(order);
	else
		job_progress(job, true);
	return ok;
}

static uint32_t mask_of(const DisksOut *disks)
{
	uint32_t mask = 0;

	for (size_t i = 0; i < disks->count; i++)
		mask |= UINT32_C(1) << disks->copies[i].disk;
	return mask;
}

bool disks_out_detach(Job *job, Error *err)
{
	Order *order;

	if (!job->disks_out)
		return error_set(err, ERROR_INTERNAL, "no disk is being copied");
	order = new_order(job, HV_DETACH, err);
	if (order && disk_mirror_finish(job->vm->handle, mask_of(job->disks_out), FINISH_MS, on_done, order, err))
		return true;
	free(order);
	return false;
}

bool disks_out_unmirror(Job *job, Error *err)
{
	Order *order = new_order(job, HV_UNMIRROR, err);

	/* What a peer does not answer cannot be taken back otherwise. */
	for (size_t i = 0; job->disks_out && i < job->disks_out->count; i++)
		if (job->disks_out->copies[i].fd >= 0)
			(void)shutdown(job->disks_out->copies[i].fd, SHUT_RDWR);
	if (order && disk_mirror_abort(job->vm->handle, ABORT_MS, on_done, order, err))
		return true;
	free(order);
	return false;
}

void disks_out_free(Job *job)
{
	DisksOut *disks = TAKE_PTR(job->disks_out);

	if (!disks)
		return;
	for (size_t i = 0; i < disks->count; i++) {
		stop_listening(&disks->copies[i]);
		cleanup_fd(&disks->copies[i].fd);
	}
	free(disks);
}

/* --- progress --- */

static void take_progress(Job *job, const DiskMirrorProgress *progress)
{
	bool news = false;

	for (size_t i = 0; i < job->disks_out->count; i++) {
		CopyOut *copy = &job->disks_out->copies[i];
		const DiskMirrorState *state = &progress->disks[copy->disk];

		/* One that has ended is not asked for any more: what it had done stays. */
		if (!state->there)
			continue;
		news |= copy->done_bytes != state->done_bytes || copy->total_bytes != state->total_bytes;
		copy->done_bytes = state->done_bytes;
		copy->total_bytes = state->total_bytes;
	}
	/* While memory flows its own progress tells. */
	if (news && !migration_forecast(job->migration)->valid)
		job->engine->ports.notify(job->engine, job->migration);
}

static void on_progress(void *context, const DiskMirrorProgress *progress, const Error *err)
{
	Order *order = context;
	Job *job = job_find(order->engine, order->job);

	free(order);
	if (!job || !job->disks_out)
		return;
	job->disks_out->asked = false;
	/* What is really wrong shows elsewhere. */
	if (!err)
		take_progress(job, progress);
}

void disks_out_look(Job *job)
{
	Error ignored = ERROR_INIT;
	Order *order;

	if (!job->disks_out || job->disks_out->asked)
		return;
	order = new_order(job, HV_MIRROR, &ignored);
	job->disks_out->asked =
		order && disk_mirror_query(job->vm->handle, on_progress, order, &ignored);
	if (!job->disks_out->asked)
		free(order);
}

json_t *disks_out_view(const Job *job)
{
	const Manifest *manifest;
	json_t *view;

	/* One that is only owed words has no VM any more. */
	if (!job->disks_out)
		return NULL;
	manifest = &migration_vm(job->migration)->manifest;
	view = json_array();
	for (size_t i = 0; view && i < job->disks_out->count; i++) {
		const CopyOut *copy = &job->disks_out->copies[i];

		(void)json_array_append_new(view,
					    json_pack("{s:s, s:I, s:I}", "volume",
						      manifest->disks[copy->disk].volume, "done_bytes",
						      (json_int_t)copy->done_bytes, "total_bytes",
						      (json_int_t)copy->total_bytes));
	}
	return view;
}

/* --- before and after --- */

/* Pools of one name may be several, one for each domain. */
static const char *pools_of(const VmRecord *vm)
{
	return vm->pools_of[0] ? vm->pools_of : NULL;
}

void disks_out_choose(const Engine *engine, VmRecord *vm)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		ManifestDisk *disk = &vm->manifest.disks[i];
		Error ignored = ERROR_INIT;
		const PoolResource *pool = resources_find_pool(&engine->config.resources, disk->pool,
							       pools_of(vm), &ignored);

		disk->transfer = pool && pool->own ? DISK_COPIED : DISK_STAYS;
	}
}

bool disks_out_check(const Manifest *manifest, Error *err)
{
	size_t copies = manifest_copies(manifest);

	return copies <= COPIES_MAX ||
	       error_set(err, ERROR_CONFLICT,
			 "%zu of the VM's disks are in pools of this host's own: at most %d is copied", copies,
			 COPIES_MAX);
}

/* Where the image of a disk is; NULL: nowhere. */
static const char *directory_of(const Engine *engine, const VmRecord *vm, const ManifestDisk *disk)
{
	Error ignored = ERROR_INIT;
	const PoolResource *pool =
		resources_find_pool(&engine->config.resources, disk->pool, pools_of(vm), &ignored);

	return pool ? pool->directory : NULL;
}

static bool names_image(const Engine *engine, const VmRecord *vm, const char *directory, const char *volume)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		const ManifestDisk *disk = &vm->manifest.disks[i];
		const char *other = directory_of(engine, vm, disk);

		if (other && !strcmp(other, directory) && !strcmp(disk->volume, volume))
			return true;
	}
	return false;
}

/* A medium that several VMs read, or what a VM that is stopped would start from. */
static const Vm *other_user(const Job *job, const ManifestDisk *disk)
{
	const char *directory = directory_of(job->engine, &job->vm->record, disk);
	const Vm *vm;

	LIST_FOREACH(vm, &job->engine->vms, link)
		if (directory && vm != job->vm && vm->record.state != VM_MOVED &&
		    names_image(job->engine, &vm->record, directory, disk->volume))
			return vm;
	return NULL;
}

static void remove_image(Job *job, const ManifestDisk *disk)
{
	const Vm *other = other_user(job, disk);
	Error err = ERROR_INIT;

	if (other)
		log_info(job->engine->log, "disk %s/%s moved; its image stays for vm=%s", disk->pool,
			 disk->volume, other->record.name);
	else if (!image_remove(&job->engine->config.resources, pools_of(&job->vm->record), disk->pool,
			       disk->volume, NULL, &err) &&
		 err.category != ERROR_NOT_FOUND)
		engine_warn(job->engine, "disk %s/%s moved and its image is still here: %.200s", disk->pool,
			    disk->volume, err.text);
}

void disks_out_destroy(Job *job)
{
	const MigrationRecord *record = migration_record(job->migration);
	const Manifest *manifest = &migration_vm(job->migration)->manifest;
	char why[LIMIT_NAME];

	if (record->keep_keys)
		return;
	snprintf(why, sizeof(why), "VM %.36s moved", record->uuid);
	for (size_t i = 0; i < manifest->disks_count; i++) {
		const ManifestDisk *disk = &manifest->disks[i];

		if (disk->transfer == DISK_STAYS)
			continue;
		if (disk->transfer == DISK_COPIED && disk->encryption == DISK_LUKS)
			key_ends_add(job->engine, disk, why);
		remove_image(job, disk);
	}
}
