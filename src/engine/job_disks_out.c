/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/job_disks.h"
#include "engine/key_ends.h"
#include "engine/sealed_disks.h"
#include "vmm/disk_mirror.h"
#include "vmm/image_create.h"

enum { FINISH_MS = 25000, ABORT_MS = 10000, SOCKET_NAME = 32 };

/* One disk's way out: where the hypervisor connects, and the connection once it has. */
typedef struct CopyOut {
	struct DisksOut *disks;
	size_t disk, channel;
	bool sealed; /* by the storage daemon that has the image, not by the VM's hypervisor */
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
	size_t asked; /* how far they are: answers that are still to come */
};

/* One operation, of the VM's hypervisor and of storage daemons. The job may end before they answer. */
typedef struct Order {
	Engine *engine;
	uint64_t job;
	HvOperation operation;
	size_t pending;
	bool told; /* the first failure, or that all is done */
} Order;

static void on_done(void *context, const Error *err)
{
	Order *order = context;
	Job *job = job_find(order->engine, order->job);
	HvOperation operation = order->operation;
	bool tells = !order->told && (err || order->pending == 1);

	order->told |= tells;
	if (!--order->pending)
		free(order);
	if (!job || !tells)
		return;
	migration_on_hv_done(job->migration, operation, err);
	job_settle(job);
}

/* Begins the order's part of one process; the copies are its own: `only`, or if that is NULL those of
 * the VM's hypervisor. */
typedef bool Begin(Job *job, VmmVm *at, const CopyOut *only, Order *order, Error *err);

/* What is refused is told by the caller; what was begun before it ends without a word. */
static bool begin_at(Job *job, VmmVm *at, const CopyOut *only, Begin *begin, Order *order, Error *err)
{
	order->pending++;
	if (begin(job, at, only, order, err))
		return true;
	order->pending--;
	order->told = true;
	return false;
}

static VmmVm *place_of(const Job *job, const CopyOut *copy)
{
	return copy->sealed ? sealed_disks_daemon(job->vm, copy->disk) : job->vm->handle;
}

static bool begin_all(Job *job, Order *order, Begin *begin, Error *err)
{
	const DisksOut *disks = job->disks_out;
	bool own = false;

	for (size_t i = 0; i < disks->count; i++) {
		const CopyOut *copy = &disks->copies[i];
		VmmVm *at = place_of(job, copy);

		if (!at)
			return error_set(err, ERROR_HYPERVISOR, "disk %zu has no storage daemon any more",
					 copy->disk);
		/* Those of the hypervisor are one operation. */
		if ((copy->sealed || !own) &&
		    !begin_at(job, at, copy->sealed ? copy : NULL, begin, order, err))
			return false;
		own |= !copy->sealed;
	}
	return true;
}

static bool begin_unmirror(Job *job, Order *order, Begin *begin, Error *err)
{
	if (!begin_at(job, job->vm->handle, NULL, begin, order, err))
		return false;
	/* Of a daemon that does not answer the mirror ends with its connection. */
	for (size_t i = 0; i < job->vm->record.manifest.disks_count; i++) {
		VmmVm *at = sealed_disks_daemon(job->vm, i);
		Error ignored = ERROR_INIT;

		order->pending += at && begin(job, at, NULL, order, &ignored);
	}
	return true;
}

static bool give_order(Job *job, HvOperation operation, Begin *begin, Error *err)
{
	Order *order = calloc(1, sizeof(*order));
	bool ok;

	if (!order)
		return error_set(err, ERROR_INTERNAL, "no memory for an order to the hypervisor");
	*order = (Order){ .engine = job->engine, .job = job->serial, .operation = operation };
	ok = operation == HV_UNMIRROR ? begin_unmirror(job, order, begin, err) :
					begin_all(job, order, begin, err);
	if (ok)
		return true;
	order->told = true;
	if (!order->pending)
		free(order);
	return false;
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
	VmmVm *at = place_of(job, copy);

	snprintf(copy->socket, sizeof(copy->socket), "copy%zu.sock", copy->disk);
	if (!at)
		return error_set(err, ERROR_HYPERVISOR,
				 "disk %zu: no storage daemon has its image: the VM has it in its own hands",
				 copy->disk);
	if (!vmm_listen(at, copy->socket, &copy->listen_fd, err))
		return false;
	copy->listening = event_new(job->engine->base, copy->listen_fd, EV_READ | EV_PERSIST, on_connect, copy);
	if (!copy->listening || event_add(copy->listening, NULL))
		return error_set(err, ERROR_INTERNAL, "no memory to listen for a disk");
	return true;
}

/* --- operations --- */

/* Holes of the source stay holes there: but a raw LUKS image, opened, has none (disk_mirror.h). As a
 * file it may have. */
static bool is_sparse(const ManifestDisk *disk)
{
	return disk->encryption != DISK_LUKS || disk->format == DISK_QCOW2 ||
	       disk->transfer == DISK_COPIED_SEALED;
}

static bool listen_for_all(Job *job, DisksOut *disks, Error *err)
{
	const Manifest *manifest = &migration_vm(job->migration)->manifest;

	for (size_t i = 0; i < manifest->disks_count; i++) {
		CopyOut *copy = &disks->copies[disks->count];

		if (manifest->disks[i].transfer == DISK_STAYS)
			continue;
		*copy = (CopyOut){ .disks = disks,
				   .disk = i,
				   .channel = disks->count,
				   .sealed = manifest->disks[i].transfer == DISK_COPIED_SEALED,
				   .listen_fd = -1,
				   .fd = -1 };
		disks->count++;
		if (!listen_for(job, copy, err))
			return false;
	}
	return true;
}

/* Of a storage daemon the only disk is its first. */
static size_t number_at(const CopyOut *copy)
{
	return copy->sealed ? 0 : copy->disk;
}

static bool is_meant(const CopyOut *copy, const CopyOut *only)
{
	return only ? copy == only : !copy->sealed;
}

static bool begin_mirror(Job *job, VmmVm *at, const CopyOut *only, Order *order, Error *err)
{
	const ManifestDisk *disks = migration_vm(job->migration)->manifest.disks;
	AUTO_FREE DiskMirrorStart *start = calloc(1, sizeof(*start));

	if (!start)
		return error_set(err, ERROR_INTERNAL, "no memory for the copies of disks");
	for (size_t i = 0; i < job->disks_out->count; i++) {
		const CopyOut *copy = &job->disks_out->copies[i];

		if (is_meant(copy, only))
			start->disks[start->disks_count++] =
				(DiskMirror){ .disk = number_at(copy),
					      .socket = copy->socket,
					      .export_name = disks[copy->disk].volume,
					      .sparse = is_sparse(&disks[copy->disk]) };
	}
	/* The mover holds the bandwidth, of disks and memory together. */
	start->deadline_ms = (int64_t)job->engine->config.policy.transfer_ms;
	return disk_mirror_start(at, start, on_done, order, err);
}

bool disks_out_mirror(Job *job, Error *err)
{
	DisksOut *disks = calloc(1, sizeof(*disks));

	disks_out_free(job);
	if (!disks)
		return error_set(err, ERROR_INTERNAL, "no memory for the copies of disks");
	disks->engine = job->engine;
	disks->job = job->serial;
	job->disks_out = disks;
	if (!listen_for_all(job, disks, err) || !give_order(job, HV_MIRROR, begin_mirror, err))
		return false;
	job_progress(job, true);
	return true;
}

static bool begin_finish(Job *job, VmmVm *at, const CopyOut *only, Order *order, Error *err)
{
	const DisksOut *disks = job->disks_out;
	uint32_t mask = 0;

	for (size_t i = 0; i < disks->count; i++)
		if (is_meant(&disks->copies[i], only))
			mask |= UINT32_C(1) << number_at(&disks->copies[i]);
	return disk_mirror_finish(at, mask, FINISH_MS, on_done, order, err);
}

bool disks_out_detach(Job *job, Error *err)
{
	if (!job->disks_out)
		return error_set(err, ERROR_INTERNAL, "no disk is being copied");
	return give_order(job, HV_DETACH, begin_finish, err);
}

static bool begin_abort(Job *job, VmmVm *at, const CopyOut *only, Order *order, Error *err)
{
	(void)job;
	(void)only;
	return disk_mirror_abort(at, ABORT_MS, on_done, order, err);
}

/* Nor does one that is not made yet come any more. */
static void cut(CopyOut *copy)
{
	stop_listening(copy);
	disk_mirror_cut(&copy->fd);
}

bool disks_out_unmirror(Job *job, Error *err)
{
	/* What a peer does not answer cannot be taken back otherwise. */
	for (size_t i = 0; job->disks_out && i < job->disks_out->count; i++)
		cut(&job->disks_out->copies[i]);
	return give_order(job, HV_UNMIRROR, begin_abort, err);
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

/* Whose answer it is: a copy's, or that of the VM's hypervisor for all of its own. */
typedef struct Look {
	Engine *engine;
	uint64_t job;
	size_t copy; /* LIMIT_DISKS: the hypervisor's */
} Look;

static void take_progress(Job *job, size_t only, const DiskMirrorProgress *progress)
{
	DisksOut *disks = job->disks_out;
	bool news = false;

	for (size_t i = 0; i < disks->count; i++) {
		CopyOut *copy = &disks->copies[i];
		const DiskMirrorState *state = &progress->disks[number_at(copy)];

		/* One that has ended is not asked for any more: what it had done stays. */
		if (!is_meant(copy, only < LIMIT_DISKS ? &disks->copies[only] : NULL) || !state->there)
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
	AUTO_FREE Look *look = context;
	Job *job = job_find(look->engine, look->job);

	if (!job || !job->disks_out)
		return;
	if (job->disks_out->asked)
		job->disks_out->asked--;
	/* What is really wrong shows elsewhere. */
	if (!err)
		take_progress(job, look->copy, progress);
}

static void look_at(Job *job, VmmVm *at, size_t copy)
{
	Look *look = calloc(1, sizeof(*look));
	Error ignored = ERROR_INIT;

	if (!look)
		return;
	*look = (Look){ job->engine, job->serial, copy };
	if (disk_mirror_query(at, on_progress, look, &ignored))
		job->disks_out->asked++;
	else
		free(look);
}

void disks_out_look(Job *job)
{
	const DisksOut *disks = job->disks_out;
	bool own = false;

	if (!disks || disks->asked)
		return;
	for (size_t i = 0; i < disks->count; i++) {
		const CopyOut *copy = &disks->copies[i];
		VmmVm *at = place_of(job, copy);

		if (at && (copy->sealed || !own))
			look_at(job, at, copy->sealed ? i : LIMIT_DISKS);
		own |= !copy->sealed;
	}
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
		disk->stored_bytes = 0;
		if (!pool || !pool->sealed)
			continue;
		disk->transfer = DISK_COPIED_SEALED;
		/* Without a size it is refused below. */
		if (!resources_stored_bytes(&engine->config.resources, disk, pools_of(vm),
					    &disk->stored_bytes, &ignored))
			log_debug(engine->log, "vm=%s: %s", vm->name, ignored.text);
	}
}

bool disks_check_policy(const Engine *engine, const char *domain, const ManifestDisk *disk, Error *err)
{
	ConfigDisks demanded = config_disks(&engine->config, domain);
	bool sealed = disk->transfer == DISK_COPIED_SEALED;

	if (disk->transfer == DISK_STAYS)
		return true;
	if (demanded == CONFIG_DISKS_SEALED && !sealed)
		return error_set(err, ERROR_DENIED,
				 "disk %s/%s would be copied as its guest sees it, and %s lets disks from and to "
				 "%s be copied as ciphertext only",
				 disk->pool, disk->volume, engine->host_id, domain);
	return demanded != CONFIG_DISKS_FRESH_KEY || !sealed ||
	       error_set(err, ERROR_DENIED,
			 "disk %s/%s would be copied as ciphertext, its key with it, and %s lets disks from and "
			 "to %s be copied under a fresh key only",
			 disk->pool, disk->volume, engine->host_id, domain);
}

/* Whether its ciphertext can be copied now. */
static bool check_sealed(const Vm *vm, size_t i, Error *err)
{
	const ManifestDisk *disk = &vm->record.manifest.disks[i];

	if (disk->transfer != DISK_COPIED_SEALED)
		return true;
	if (!disk->stored_bytes)
		return error_set(err, ERROR_CONFLICT, "disk %s/%s: its image cannot be looked at", disk->pool,
				 disk->volume);
	if (disk->encryption != DISK_LUKS || disk->format != DISK_RAW)
		return error_set(err, ERROR_CONFLICT,
				 "disk %s/%s is in a sealed pool, and is not raw and encrypted", disk->pool,
				 disk->volume);
	if (vm->handle && sealed_disks_has(vm, i) && !sealed_disks_daemon(vm, i))
		return error_set(err, ERROR_CONFLICT,
				 "disk %s/%s: the storage daemon that holds its image does not answer",
				 disk->pool, disk->volume);
	return !vm->handle || sealed_disks_has(vm, i) ||
	       error_set(err, ERROR_CONFLICT,
			 "disk %s/%s is in a sealed pool, and no storage daemon holds its image since the VM came "
			 "here, or its key was another domain's: stop it and start it again",
			 disk->pool, disk->volume);
}

bool disks_out_check(const Vm *vm, const char *peer_id, Error *err)
{
	const Manifest *manifest = &vm->record.manifest;
	char domain[LIMIT_DOMAIN];

	peer_domain(peer_id, domain);
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (!disks_check_policy(vm->engine, domain, &manifest->disks[i], err) ||
		    !check_sealed(vm, i, err))
			return false;
	return true;
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
		/* What the VM could not write was not made by it: a medium, or what others begin with. */
		if (disk->read_only) {
			log_info(job->engine->log, "disk %s/%s moved; its image, which it only read, stays",
				 disk->pool, disk->volume);
			continue;
		}
		if (disk->transfer == DISK_COPIED && disk->encryption == DISK_LUKS)
			key_ends_add(job->engine, disk, why);
		remove_image(job, disk);
	}
}
