/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/disk_daemon.h"
#include "engine/disk_keys.h"
#include "engine/disk_make.h"
#include "engine/job_disks.h"
#include "engine/key_ends.h"
#include "engine/keys.h"
#include "vmm/image_create.h"

enum { DAEMON_START_MS = 20000 };

/* One that was made. */
typedef struct CopyIn {
	struct DisksIn *disks;
	size_t disk; /* in the manifest */
	DiskMake *make;
	DiskDaemon *daemon;
	bool made;
	struct stat image; /* which file it is */
} CopyIn;

struct DisksIn {
	Engine *engine;
	Job *job;
	CopyIn copies[LIMIT_DISKS];
	size_t count, at; /* at: which is being made, or stopped */
	bool ready, freeing;
	DiskKeys *keys; /* at the switchover */
	Manifest attached; /* the copies alone, for their keys */
};

static ManifestDisk *disk_of(const CopyIn *copy)
{
	return &copy->disks->job->incoming->manifest.disks[copy->disk];
}

static const char *domain_of(const DisksIn *disks, char ret_domain[LIMIT_DOMAIN])
{
	return peer_domain(migration_record(disks->job->migration)->peer_id, ret_domain);
}

static void name_daemon(const Vm *vm, size_t disk, char ret_instance[LIMIT_NAME])
{
	snprintf(ret_instance, LIMIT_NAME, "%.40s-disk%u", vm->record.instance, (unsigned int)disk);
}

/* --- making them --- */

static void make_next(DisksIn *disks);

static void fail(DisksIn *disks, const Error *failure)
{
	if (!disks->freeing)
		hypervisor_on_disks(disks->job, failure);
}

static void on_daemon(void *context, const Error *err)
{
	CopyIn *copy = context;

	if (copy->disks->freeing)
		return;
	/* The daemon has read it. */
	disk_make_free(TAKE_PTR(copy->make));
	if (err) {
		fail(copy->disks, err);
		return;
	}
	copy->disks->at++;
	make_next(copy->disks);
}

static bool start_daemon(CopyIn *copy, Error *err)
{
	DisksIn *disks = copy->disks;
	ResolvedVm *incoming = disks->job->incoming;
	const ManifestDisk *disk = disk_of(copy);
	bool sealed = disk->transfer == DISK_COPIED_SEALED;
	char domain[LIMIT_DOMAIN], instance[LIMIT_NAME];
	const StorageDaemonStart start = { .resources = &disks->engine->config.resources,
					   .instance = instance,
					   .vm = incoming,
					   .disk = copy->disk,
					   .sealed = sealed,
					   .export_name = disk->volume,
					   .deadline_ms = DAEMON_START_MS };

	name_daemon(disks->job->vm, copy->disk, instance);
	if (!resources_open_copy(start.resources, domain_of(disks, domain), copy->disk,
				 sealed ? disk->stored_bytes : 0, incoming, err))
		return false;
	copy->made = !fstat(incoming->disks[copy->disk].fd, &copy->image);
	incoming->disks[copy->disk].secret_fd = disk_make_secret_fd(copy->make);
	copy->daemon = disk_daemon_start(disks->engine, &start, on_daemon, copy, err);
	/* Borrowed, and read by its start only. */
	incoming->disks[copy->disk].secret_fd = -1;
	return copy->daemon;
}

static void on_made(void *context, const Error *err)
{
	CopyIn *copy = context;
	DisksIn *disks = copy->disks;
	ManifestDisk *own = &disks->job->vm->record.manifest.disks[copy->disk];
	Error failure = err ? *err : ERROR_INIT;

	if (!err) {
		/* It is opened by a key of ours from now on; a restart finds both by the VM's row. */
		if (own->transfer == DISK_COPIED) {
			memcpy(disk_of(copy)->key, disk_make_key(copy->make), KEY_ID_BYTES);
			memcpy(own->key, disk_of(copy)->key, KEY_ID_BYTES);
		}
		disks->job->vm->record.copies |= UINT64_C(1) << copy->disk;
	}
	if (err || !vm_save(disks->job->vm, &failure) || !start_daemon(copy, &failure))
		fail(disks, &failure);
}

static bool make_disk(CopyIn *copy, Error *err)
{
	DisksIn *disks = copy->disks;
	const MigrationRecord *record = migration_record(disks->job->migration);
	char domain[LIMIT_DOMAIN], who[KEY_WHO_SIZE];
	Manifest *wanted = &disks->attached;

	*wanted = disks->job->incoming->manifest;
	/* Ciphertext comes into an empty file, header and all. */
	if (disk_of(copy)->transfer == DISK_COPIED_SEALED) {
		ManifestDisk *file = &wanted->disks[copy->disk];

		file->encryption = DISK_PLAIN;
		file->size_bytes = file->stored_bytes;
		memset(file->key, 0, sizeof(file->key));
	}
	keys_migration(record, who);
	copy->make = disk_make_new(disks->engine,
				   &(DiskMakeWanted){ .manifest = wanted,
						      .disk = copy->disk,
						      .peer_domain = domain_of(disks, domain),
						      .owner = record->owner,
						      .epoch = record->epoch,
						      .sparse = true,
						      .who = who },
				   on_made, copy, err);
	return copy->make;
}

static void make_next(DisksIn *disks)
{
	Error err = ERROR_INIT;

	if (disks->at == disks->count) {
		disks->ready = true;
		hypervisor_on_disks(disks->job, NULL);
		return;
	}
	if (!make_disk(&disks->copies[disks->at], &err))
		fail(disks, &err);
}

bool disks_in_check(const Engine *engine, const char *domain, const Manifest *manifest, Error *err)
{
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (!disks_check_policy(engine, domain, &manifest->disks[i], err))
			return false;
	return true;
}

void disks_in_forget_keys(Manifest *manifest)
{
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (manifest->disks[i].transfer == DISK_COPIED) {
			memset(manifest->disks[i].key, 0, sizeof(manifest->disks[i].key));
			manifest->disks[i].key_version = 0;
		}
}

bool disks_in_prepare(Job *job, Error *err)
{
	DisksIn *disks;

	if (!migration_disk_channels(job->migration))
		return true;
	disks = calloc(1, sizeof(*disks));
	if (!disks)
		return error_set(err, ERROR_INTERNAL, "no memory for the copies of disks");
	disks->engine = job->engine;
	disks->job = job;
	for (size_t i = 0; i < job->incoming->manifest.disks_count; i++)
		if (job->incoming->manifest.disks[i].transfer != DISK_STAYS)
			disks->copies[disks->count++] = (CopyIn){ .disks = disks, .disk = i };
	job->disks_in = disks;
	return make_disk(&disks->copies[0], err);
}

bool disks_in_ready(const Job *job)
{
	return !job->disks_in || job->disks_in->ready;
}

bool disks_in_connect(Job *job, Error *err)
{
	DisksIn *disks = job->disks_in;

	for (size_t i = 0; disks && i < disks->count; i++) {
		int fd;

		if (!disk_daemon_connect(disks->copies[i].daemon, &fd, err))
			return false;
		job_give_disk(job, i, fd);
	}
	return true;
}

/* --- the switchover --- */

/* The disks may be gone when it returns: a failure undoes the reservation at once. */
static void attached(DisksIn *disks, const Error *err)
{
	Job *job = disks->job;

	disk_keys_free(TAKE_PTR(disks->keys));
	if (disks->freeing)
		return;
	migration_on_hv_done(job->migration, HV_ATTACH, err);
	job_settle(job);
}

/* The job may end before the hypervisor answers. */
typedef struct Attach {
	Engine *engine;
	uint64_t job;
} Attach;

static void on_attached(void *context, const Error *err)
{
	Attach *attach = context;
	Job *job = job_find(attach->engine, attach->job);

	free(attach);
	if (job && job->disks_in)
		attached(job->disks_in, err);
}

/* Judged once more: what received them was next to a peer's bytes. */
static bool open_all(DisksIn *disks, Error *err)
{
	ResolvedVm *incoming = disks->job->incoming;
	char domain[LIMIT_DOMAIN];
	Attach *attach = calloc(1, sizeof(*attach));
	bool ok = attach && disks->job->vm && disks->job->vm->handle;

	if (!ok) {
		free(attach);
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	}
	*attach = (Attach){ disks->engine, disks->job->serial };
	for (size_t i = 0; i < incoming->manifest.disks_count; i++) {
		incoming->disks[i].late = false;
		/* Of the time when keys came; they are wiped. */
		cleanup_fd(&incoming->disks[i].secret_fd);
		incoming->disks[i].secret_fd = -1;
	}
	for (size_t i = 0; ok && i < disks->count; i++) {
		ResolvedDisk *disk = &incoming->disks[disks->copies[i].disk];

		disk->late = true;
		disk->secret_fd = disks->keys ? disk_keys_fd(disks->keys, i) : -1;
		ok = resources_judge_copy(&disks->engine->config.resources, domain_of(disks, domain),
					  disks->copies[i].disk, incoming, err);
	}
	ok = ok && vmm_open_disks(disks->job->vm->handle, incoming, on_attached, attach, err);
	if (!ok)
		free(attach);
	/* Borrowed from the keys. */
	for (size_t i = 0; i < disks->count; i++)
		incoming->disks[disks->copies[i].disk].secret_fd = -1;
	return ok;
}

static void on_keys(void *context, const Error *err)
{
	DisksIn *disks = context;
	Error failure = err ? *err : ERROR_INIT;

	if (err || disks->freeing || !open_all(disks, &failure))
		attached(disks, &failure);
}

static bool ask_keys(DisksIn *disks, Error *err)
{
	const MigrationRecord *record = migration_record(disks->job->migration);
	char who[KEY_WHO_SIZE];
	const DiskKeysWanted wanted = { .manifest = &disks->attached,
					.epoch = record->epoch,
					.who = who,
					.migration = record->id };

	disks->attached = disks->job->incoming->manifest;
	disks->attached.disks_count = disks->count;
	for (size_t i = 0; i < disks->count; i++) {
		disks->attached.disks[i] = *disk_of(&disks->copies[i]);
		/* It is here: whether its key was made here or came by the migration, it opens it. */
		disks->attached.disks[i].transfer = DISK_STAYS;
	}
	if (!disk_keys_needed(&wanted))
		return open_all(disks, err);
	keys_migration(record, who);
	disks->keys = disk_keys_new(disks->engine, &wanted, on_keys, disks, err);
	return disks->keys;
}

static void stop_next(DisksIn *disks);

static void on_stopped(void *context, const Error *err)
{
	CopyIn *copy = context;

	if (copy->disks->freeing)
		return;
	if (err) {
		attached(copy->disks, err);
		return;
	}
	copy->disks->at++;
	stop_next(copy->disks);
}

static void stop_next(DisksIn *disks)
{
	Error err = ERROR_INIT;
	CopyIn *copy = &disks->copies[disks->at];
	bool ok = disks->at == disks->count ? ask_keys(disks, &err) :
					      disk_daemon_stop(copy->daemon, on_stopped, &err);

	if (!ok)
		attached(disks, &err);
}

/* From the event loop: the first failure must not be told inside the order. */
bool disks_in_attach(Job *job, Error *err)
{
	DisksIn *disks = job->disks_in;

	if (!disks || !disks->ready)
		return error_set(err, ERROR_INTERNAL, "there is no copy of a disk");
	disks->at = 0;
	return disk_daemon_stop(disks->copies[0].daemon, on_stopped, err);
}

/* --- undo --- */

/* Of an engine before us. */
static void end_orphan(Engine *engine, const Vm *vm, size_t disk)
{
	char instance[LIMIT_NAME];

	name_daemon(vm, disk, instance);
	disk_daemon_end_orphan(engine, instance);
}

/* One that was made for this migration, and no other of its name. */
static void remove_copy(Job *job, size_t i, const struct stat *made, const char *why)
{
	const ManifestDisk *disk = &job->vm->record.manifest.disks[i];
	char domain[LIMIT_DOMAIN];
	Error err = ERROR_INIT;

	peer_domain(migration_record(job->migration)->peer_id, domain);
	if (!image_remove(&job->engine->config.resources, domain, disk->pool, disk->volume, made, &err) &&
	    err.category != ERROR_NOT_FOUND)
		log_warning(job->engine->log, "vm=%s disk %s/%s: its copy stays: %s", job->vm->record.name,
			    disk->pool, disk->volume, err.text);
	if (disk->encryption == DISK_LUKS && disk->transfer == DISK_COPIED)
		key_ends_add(job->engine, disk, why);
	job->vm->record.copies &= ~(UINT64_C(1) << i);
}

void disks_in_undo(Job *job)
{
	DisksIn *disks = job->disks_in;
	struct stat made[LIMIT_DISKS];
	uint64_t known = 0;
	char why[LIMIT_NAME];

	if (!job->vm || migration_record(job->migration)->role != MIGRATION_DESTINATION)
		return;
	for (size_t i = 0; disks && i < disks->count; i++) {
		made[disks->copies[i].disk] = disks->copies[i].image;
		known |= (uint64_t)disks->copies[i].made << disks->copies[i].disk;
	}
	disks_in_free(job);
	snprintf(why, sizeof(why), "VM %.36s did not come", migration_record(job->migration)->uuid);
	for (size_t i = 0; i < job->vm->record.manifest.disks_count; i++) {
		if (!(job->vm->record.copies >> i & 1))
			continue;
		if (!(known >> i & 1))
			end_orphan(job->engine, job->vm, i);
		remove_copy(job, i, known >> i & 1 ? &made[i] : NULL, why);
	}
}

void disks_in_free(Job *job)
{
	DisksIn *disks = TAKE_PTR(job->disks_in);

	if (!disks)
		return;
	disks->freeing = true;
	for (size_t i = 0; i < disks->count; i++) {
		disk_make_free(disks->copies[i].make);
		disk_daemon_end(disks->copies[i].daemon);
	}
	disk_keys_free(disks->keys);
	free(disks);
}
