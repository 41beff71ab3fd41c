/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/disk_rekey.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/disk_nodes.h"
#include "vmm/json_with.h"
#include "vmm/qemu_vm.h"

enum {
	/* A step of disk_rekey_switch closes what was open of earlier versions: one image, and what
	 * a manager that died has left. */
	OTHERS_MAX = 8,
	SETS_OF_VERSION =
		256, /* numbers of descriptor sets: above those of disks and late secrets */
	FILE_SET = 128,
	SECRET_SET = 192,
};

static const char query_block[] = "query-block";
static const char query_jobs[] = "query-jobs";
static const char query_nodes[] = "query-named-block-nodes";

/* Bits of QemuOperation.rekey.found. */
enum {
	FOUND_NODE = 1 << 0,   /* of this version */
	FOUND_OTHER = 1 << 1,  /* an image of another one */
	GUEST_ON_NEW = 1 << 2, /* the device reads this version's node itself */
	JOB_THERE = 1 << 3,
	JOB_READY = 1 << 4,
	JOB_HOLDS = 1 << 5,
	JOB_OVER = 1 << 6,
	JOB_FAILED = 1 << 7,
};

/* --- names --- */

typedef struct Names {
	char guest[DISK_NODE_BYTES], image[DISK_NODE_BYTES], file[DISK_NODE_BYTES];
	char secret[DISK_NODE_BYTES], job[DISK_NODE_BYTES];
	json_int_t file_set, secret_set;
} Names;

static json_int_t set_of(size_t disk, uint64_t version, int first)
{
	return (json_int_t)(version * SETS_OF_VERSION) + first + (json_int_t)disk;
}

static Names names_of(size_t disk, uint64_t version)
{
	Names names = { .file_set = set_of(disk, version, FILE_SET),
			.secret_set = set_of(disk, version, SECRET_SET) };

	disk_node_name(disk, DISK_NODE_GUEST, names.guest);
	snprintf(names.image, sizeof(names.image), "disk%u-v%u", (unsigned int)disk,
		 (unsigned int)version);
	snprintf(names.file, sizeof(names.file), "disk%u-v%u-file", (unsigned int)disk,
		 (unsigned int)version);
	snprintf(names.secret, sizeof(names.secret), "disk%u-v%u-secret", (unsigned int)disk,
		 (unsigned int)version);
	snprintf(names.job, sizeof(names.job), "disk%u-rekey", (unsigned int)disk);
	return names;
}

static Names names_for(const QemuOperation *operation)
{
	return names_of(operation->rekey.disk, operation->rekey.version);
}

static bool is(const char *text, const char *other)
{
	return text && !strcmp(text, other);
}

static bool is_step(const QemuOperation *operation, const char *command)
{
	return operation->steps[operation->at].command == command;
}

static const char *text_of(const json_t *object, const char *member)
{
	return json_string_value(json_object_get(object, member));
}

static void add(QemuOperation *operation, const char *command, json_t *arguments, bool may_fail)
{
	qemu_operation_add_for_disk(operation, command, arguments, operation->rekey.disk);
	operation->steps[operation->steps_count - 1].may_fail = may_fail;
}

static json_t *named(const char *member, const char *name)
{
	return json_pack("{s:s}", member, name);
}

/* --- the job --- */

static const json_t *find_job(const QemuOperation *operation, const json_t *jobs)
{
	const Names names = names_for(operation);
	size_t count = json_array_size(jobs);

	for (size_t i = 0; i < count; i++)
		if (is(text_of(json_array_get(jobs, i), "id"), names.job))
			return json_array_get(jobs, i);
	return NULL;
}

static uint32_t look_at_job(const json_t *job)
{
	const char *status = text_of(job, "status");

	if (!job)
		return 0;
	if (text_of(job, "error") || is(status, "aborting"))
		return JOB_THERE | JOB_FAILED;
	if (is(status, "concluded"))
		return JOB_THERE | JOB_OVER;
	if (is(status, "pending"))
		return JOB_THERE | JOB_HOLDS;
	return JOB_THERE | (is(status, "ready") ? JOB_READY : 0);
}

/* Asks again until the job is so far; one that failed or is gone never will be. */
static bool wait_for_job(QemuOperation *operation, const json_t *jobs, uint32_t wanted, Error *err)
{
	const json_t *job = find_job(operation, jobs);
	uint32_t found = look_at_job(job);
	const char *reason = text_of(job, "error");

	if (!found)
		return error_set(err, ERROR_HYPERVISOR, "there is no copy under way");
	if (found & JOB_FAILED)
		return error_set(err, ERROR_HYPERVISOR, "the copy ended: %s",
				 reason ? reason : "it is aborting");
	operation->again = !(found & wanted);
	return true;
}

static QemuOperation *new_operation(VmmVm *head, const DiskRekey *rekey, VmmDone *done,
				    void *context, Error *err)
{
	QemuOperation *operation;

	if (rekey->disk >= LIMIT_DISKS || !rekey->version ||
	    rekey->version > DISK_REKEY_VERSION_MAX) {
		error_set(err, ERROR_USAGE, "disk %zu, version %" PRIu64 ": outside 0..%d, 1..%d",
			  rekey->disk, rekey->version, LIMIT_DISKS - 1, DISK_REKEY_VERSION_MAX);
		return NULL;
	}
	operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);
	if (!operation)
		return NULL;
	operation->rekey.disk = rekey->disk;
	operation->rekey.version = rekey->version;
	qemu_operation_set_deadline(operation, rekey->deadline_ms);
	return operation;
}

/* --- start --- */

/* What disk_nodes.h makes of a VM with this disk, which then gets the names of its version. */
static ResolvedVm *vm_with(const DiskRekey *rekey)
{
	ResolvedVm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->manifest.disks_count = rekey->disk + 1;
	vm->manifest.disks[rekey->disk] = *rekey->image;
	vm->disks[rekey->disk].direct = rekey->direct;
	return vm;
}

static json_t *file_node(const ResolvedVm *vm, size_t disk, const Names *names)
{
	json_t *node = disk_nodes_file(vm, disk);

	node = json_with(node, "node-name", json_string(names->file));
	return json_with(node, "filename",
			 json_sprintf("/dev/fdset/%" JSON_INTEGER_FORMAT, names->file_set));
}

static json_t *image_node(const ResolvedVm *vm, size_t disk, const Names *names)
{
	json_t *node = disk_nodes_format(vm, disk, DISK_NODE_IMAGE);
	const ManifestDisk *image = &vm->manifest.disks[disk];

	node = json_with(node, "node-name", json_string(names->image));
	node = json_with(node, "file", json_string(names->file));
	if (image->encryption == DISK_LUKS && image->format == DISK_QCOW2)
		return json_with(
			node, "encrypt",
			json_pack("{s:s, s:s}", "format", "luks", "key-secret", names->secret));
	return image->encryption == DISK_LUKS
		       ? json_with(node, "key-secret", json_string(names->secret))
		       : node;
}

static json_t *mirror(const Names *names)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "job-id", names->job,
			 "device", names->guest, "target", names->image, "sync", "full",
			 "copy-mode", "write-blocking", "on-source-error", "report",
			 "on-target-error", "report", "auto-finalize", 0, "auto-dismiss", 0);
}

/* The reply of add-fd names the descriptor that QEMU reads the secret from. */
static bool take_secret(QemuOperation *operation, const json_t *ret, Error *err)
{
	const json_t *number = json_object_get(ret, "fd");
	QemuStep *next = &operation->steps[operation->at + 1];

	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return error_set(err, ERROR_HYPERVISOR, "add-fd: the reply has no number");
	next->arguments = json_with(
		next->arguments, "file",
		json_sprintf("/proc/self/fd/%" JSON_INTEGER_FORMAT, json_integer_value(number)));
	return next->arguments || error_set(err, ERROR_INTERNAL, "no memory for a disk's secret");
}

static bool check_start(QemuOperation *operation, json_t *ret, Error *err)
{
	if (is_step(operation, query_jobs))
		return wait_for_job(operation, ret, JOB_READY, err);
	if (is_step(operation, "add-fd") &&
	    is(operation->steps[operation->at + 1].command, "object-add"))
		return take_secret(operation, ret, err);
	return true;
}

static void add_start(QemuOperation *operation, const DiskRekey *rekey, const ResolvedVm *vm)
{
	const Names names = names_for(operation);

	if (rekey->image->encryption == DISK_LUKS) {
		qemu_operation_add_with_fd(operation, "add-fd",
					   json_pack("{s:I}", "fdset-id", names.secret_set),
					   rekey->secret_fd);
		add(operation, "object-add",
		    json_pack("{s:s, s:s}", "qom-type", "secret", "id", names.secret), false);
		add(operation, "remove-fd", json_pack("{s:I}", "fdset-id", names.secret_set),
		    false);
	}
	qemu_operation_add_with_fd(operation, "add-fd",
				   json_pack("{s:I}", "fdset-id", names.file_set), rekey->fd);
	add(operation, "blockdev-add", file_node(vm, rekey->disk, &names), false);
	add(operation, "blockdev-add", image_node(vm, rekey->disk, &names), false);
	add(operation, "blockdev-mirror", mirror(&names), false);
	add(operation, query_jobs, json_object(), false);
}

bool disk_rekey_start(VmmVm *head, const DiskRekey *rekey, VmmDone *done, void *context, Error *err)
{
	AUTO_FREE ResolvedVm *vm = NULL;
	QemuOperation *operation;

	if (rekey->fd < 0 || (rekey->image->encryption == DISK_LUKS && rekey->secret_fd < 0))
		return error_set(err, ERROR_USAGE, "disk %zu: no new image, or no secret",
				 rekey->disk);
	if (rekey->image->read_only)
		return error_set(err, ERROR_USAGE, "disk %zu is only read", rekey->disk);
	operation = new_operation(head, rekey, done, context, err);
	if (!operation)
		return false;
	vm = vm_with(rekey);
	if (!vm) {
		qemu_operation_drop(operation);
		return error_set(err, ERROR_INTERNAL, "no memory for a disk");
	}
	operation->check = check_start;
	add_start(operation, rekey, vm);
	return qemu_operation_begin(operation, err);
}

/* --- how far it is --- */

static void look_at_nodes(QemuOperation *operation, const json_t *nodes)
{
	const Names names = names_for(operation);
	size_t count = json_array_size(nodes), prefix = strlen(names.guest);

	for (size_t i = 0; i < count; i++) {
		const char *name = text_of(json_array_get(nodes, i), "node-name");

		if (is(name, names.image) || is(name, names.file))
			operation->rekey.found |= FOUND_NODE;
		else if (name && !strncmp(name, names.guest, prefix) && name[prefix] == '-')
			operation->rekey.found |= FOUND_OTHER;
	}
}

/* "/machine/peripheral/disk0", or the device behind it. */
static bool is_device(const QemuOperation *operation, const json_t *block)
{
	const char *found = text_of(block, "qdev");
	char path[64];
	size_t length;

	snprintf(path, sizeof(path), "/machine/peripheral/disk%zu", operation->rekey.disk);
	length = strlen(path);
	return found && !strncmp(found, path, length) && (!found[length] || found[length] == '/');
}

/* The node that the guest's device reads. A job's filter may lie over it. */
static void look_at_device(QemuOperation *operation, const json_t *blocks)
{
	const Names names = names_for(operation);
	size_t count = json_array_size(blocks);

	for (size_t i = 0; i < count; i++) {
		const json_t *block = json_array_get(blocks, i);

		if (is_device(operation, block) &&
		    is(text_of(json_object_get(block, "inserted"), "node-name"), names.image))
			operation->rekey.found |= GUEST_ON_NEW;
	}
}

/* Without a job and with no other image open, disk<i> stands on this version's. */
static bool has_moved(uint32_t found)
{
	return found & GUEST_ON_NEW ||
	       ((found & FOUND_NODE) && !(found & (FOUND_OTHER | JOB_THERE)));
}

static DiskRekeyStep step_of(uint32_t found)
{
	if (has_moved(found))
		return DISK_REKEY_MOVED;
	if (!(found & JOB_THERE))
		return found & FOUND_NODE ? DISK_REKEY_FAILED : DISK_REKEY_NONE;
	if (found & (JOB_FAILED | JOB_OVER))
		return DISK_REKEY_FAILED;
	if (found & JOB_HOLDS)
		return DISK_REKEY_HOLDS;
	return found & JOB_READY ? DISK_REKEY_READY : DISK_REKEY_COPIES;
}

static bool look(QemuOperation *operation, json_t *ret, Error *err)
{
	(void)err;
	if (is_step(operation, query_nodes))
		look_at_nodes(operation, ret);
	else if (is_step(operation, query_block))
		look_at_device(operation, ret);
	else if (is_step(operation, query_jobs))
		operation->rekey.found |= look_at_job(find_job(operation, ret));
	return true;
}

static void add_look(QemuOperation *operation)
{
	add(operation, query_nodes, json_pack("{s:b}", "flat", 1), false);
	add(operation, query_block, json_object(), false);
	/* Last, since its reply has the progress. */
	add(operation, query_jobs, json_object(), false);
}

static uint64_t figure(const json_t *job, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(job, name));

	return value > 0 ? (uint64_t)value : 0;
}

static void tell_state(QemuOperation *operation, json_t *ret, const Error *failure)
{
	const json_t *job = failure ? NULL : find_job(operation, ret);
	const DiskRekeyState state = { .step = step_of(operation->rekey.found),
				       .done_bytes = figure(job, "current-progress"),
				       .total_bytes = figure(job, "total-progress") };

	operation->done.rekey(operation->context, failure ? NULL : &state, failure);
}

bool disk_rekey_query(VmmVm *head, size_t disk, uint64_t version, DiskRekeyStateDone *done,
		      void *context, Error *err)
{
	const DiskRekey rekey = { .disk = disk, .version = version };
	QemuOperation *operation = new_operation(head, &rekey, NULL, context, err);

	if (!operation)
		return false;
	operation->tell = tell_state;
	operation->done.rekey = done;
	operation->check = look;
	add_look(operation);
	return qemu_operation_begin(operation, err);
}

/* --- hold --- */

static bool check_hold(QemuOperation *operation, json_t *ret, Error *err)
{
	return !is_step(operation, query_jobs) ||
	       wait_for_job(operation, ret, operation->at ? JOB_HOLDS : JOB_READY | JOB_HOLDS, err);
}

bool disk_rekey_hold(VmmVm *head, const DiskRekey *rekey, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = new_operation(head, rekey, done, context, err);
	const Names names = names_of(rekey->disk, rekey->version);

	if (!operation)
		return false;
	operation->check = check_hold;
	add(operation, query_jobs, json_object(), false);
	/* Of one that holds already it is refused. */
	add(operation, "job-complete", named("id", names.job), true);
	add(operation, query_jobs, json_object(), false);
	return qemu_operation_begin(operation, err);
}

/* --- switch --- */

typedef struct Others {
	char names[OTHERS_MAX][DISK_NODE_BYTES];
	size_t count;
} Others;

static bool is_file(const char *name)
{
	size_t length = strlen(name);

	return length > 5 && !strcmp(name + length - 5, "-file");
}

static bool find_others(const QemuOperation *operation, const json_t *nodes, Others *others,
			Error *err)
{
	const Names names = names_for(operation);
	size_t count = json_array_size(nodes), prefix = strlen(names.guest);

	for (size_t i = 0; i < count; i++) {
		const char *name = text_of(json_array_get(nodes, i), "node-name");

		if (!name || strncmp(name, names.guest, prefix) != 0 || name[prefix] != '-' ||
		    is(name, names.image) || is(name, names.file))
			continue;
		if (others->count == OTHERS_MAX || strlen(name) >= DISK_NODE_BYTES)
			return error_set(err, ERROR_HYPERVISOR,
					 "more than %d old nodes of the disk", OTHERS_MAX);
		snprintf(others->names[others->count++], DISK_NODE_BYTES, "%s", name);
	}
	return true;
}

/* What is in use refuses; the look at the end tells. */
static void add_removal_of_other(QemuOperation *operation, const char *name)
{
	const Names names = names_for(operation);
	size_t prefix = strlen(names.guest);
	unsigned int version = 0;

	add(operation, "blockdev-del", named("node-name", name), true);
	if (is_file(name))
		return;
	if (sscanf(name + prefix, "-v%6u", &version) == 1) {
		const Names old = names_of(operation->rekey.disk, version);

		add(operation, "object-del", named("id", old.secret), true);
	}
}

static json_int_t set_of_file(const QemuOperation *operation, const char *name)
{
	unsigned int version = 0;

	if (sscanf(name, "disk%*u-v%6u-file", &version) == 1)
		return set_of(operation->rekey.disk, version, FILE_SET);
	return (json_int_t)operation->rekey.disk;
}

/* From the top down: a node that something stands on cannot be closed. The sets, with QEMU's own
 * descriptors of the images, last: else what is no volume any more would keep its space. */
static void add_removal(QemuOperation *operation, const Others *others)
{
	const Names names = names_for(operation);
	char secret[DISK_NODE_BYTES];

	disk_node_name(operation->rekey.disk, DISK_NODE_SECRET, secret);
	if (operation->rekey.found & GUEST_ON_NEW)
		add(operation, "blockdev-del", named("node-name", names.guest), true);
	for (size_t i = 0; i < others->count; i++)
		if (!is_file(others->names[i]))
			add_removal_of_other(operation, others->names[i]);
	for (size_t i = 0; i < others->count; i++)
		if (is_file(others->names[i]))
			add_removal_of_other(operation, others->names[i]);
	add(operation, "object-del", named("id", secret), true);
	for (size_t i = 0; i < others->count; i++)
		if (is_file(others->names[i]))
			add(operation, "remove-fd",
			    json_pack("{s:I}", "fdset-id",
				      set_of_file(operation, others->names[i])),
			    true);
}

/* The raw node of the guest, whose name stays from image to image. A device that runs may be given
 * another node by its property (hw/core/qdev-properties-system.c, since QEMU 6.2). */
static void add_top(QemuOperation *operation)
{
	const Names names = names_for(operation);
	char path[64];

	snprintf(path, sizeof(path), "/machine/peripheral/disk%zu", operation->rekey.disk);
	add(operation, "blockdev-add", json_incref(operation->rekey.top), false);
	add(operation, "qom-set",
	    json_pack("{s:s, s:s, s:s}", "path", path, "property", "drive", "value", names.guest),
	    false);
}

static bool check_closed(const QemuOperation *operation, const json_t *nodes, Error *err)
{
	Others left = { .count = 0 };

	if (!find_others(operation, nodes, &left, err))
		return false;
	return !left.count || error_set(err, ERROR_HYPERVISOR, "node %s is left", left.names[0]);
}

/* The first three steps look; what they find says which come then. */
static bool plan(QemuOperation *operation, const json_t *nodes, Error *err)
{
	Others others = { .count = 0 };

	if (!has_moved(operation->rekey.found))
		return error_set(err, ERROR_HYPERVISOR, "the guest still has the old image");
	if (!find_others(operation, nodes, &others, err))
		return false;
	add_removal(operation, &others);
	/* Looked at before: where disk<i> stands on the new image, no other one is left. */
	if (operation->rekey.found & GUEST_ON_NEW) {
		add(operation, query_nodes, json_pack("{s:b}", "flat", 1), false);
		add_top(operation);
	}
	add(operation, query_nodes, json_pack("{s:b}", "flat", 1), false);
	return !operation->broken || error_set(err, ERROR_INTERNAL, "no memory for an operation");
}

static bool check_switch(QemuOperation *operation, json_t *ret, Error *err)
{
	enum { JOBS, FINALIZE, JOBS_OVER, DISMISS, BLOCK, JOBS_GONE, NODES };
	const json_t *job;

	switch (operation->at) {
	case JOBS:
		/* Without one it was switched before, or never begun: the device tells. */
		operation->rekey.found = look_at_job(find_job(operation, ret));
		return true;
	case JOBS_OVER:
		job = find_job(operation, ret);
		return !job || wait_for_job(operation, ret, JOB_OVER, err);
	case BLOCK:
		operation->rekey.found = 0;
		look_at_device(operation, ret);
		return true;
	case JOBS_GONE:
		operation->rekey.found |= look_at_job(find_job(operation, ret));
		return true;
	case NODES:
		look_at_nodes(operation, ret);
		return plan(operation, ret, err);
	default:
		return !is_step(operation, query_nodes) || check_closed(operation, ret, err);
	}
}

bool disk_rekey_switch(VmmVm *head, const DiskRekey *rekey, VmmDone *done, void *context,
		       Error *err)
{
	QemuOperation *operation = new_operation(head, rekey, done, context, err);
	const Names names = names_of(rekey->disk, rekey->version);
	AUTO_FREE ResolvedVm *vm = operation ? vm_with(rekey) : NULL;

	if (!operation)
		return false;
	operation->check = check_switch;
	if (vm)
		operation->rekey.top = json_with(disk_nodes_late(vm, rekey->disk, DISK_NODE_IMAGE),
						 "file", json_string(names.image));
	if (!operation->rekey.top)
		operation->broken = true;
	add(operation, query_jobs, json_object(), false);
	/* Refused where that was done before. */
	add(operation, "job-finalize", named("id", names.job), true);
	add(operation, query_jobs, json_object(), false);
	add(operation, "job-dismiss", named("id", names.job), true);
	add(operation, query_block, json_object(), false);
	add(operation, query_jobs, json_object(), false);
	add(operation, query_nodes, json_pack("{s:b}", "flat", 1), false);
	return qemu_operation_begin(operation, err);
}

/* --- abort --- */

static bool check_abort(QemuOperation *operation, json_t *ret, Error *err)
{
	enum { NODES, BLOCK, JOBS, CANCEL, JOBS_OVER };
	const json_t *job;

	if (operation->at <= JOBS && !look(operation, ret, err))
		return false;
	if (operation->at == JOBS && has_moved(operation->rekey.found))
		return error_set(err, ERROR_CONFLICT, "the guest has the new image already");
	if (operation->at == JOBS_OVER) {
		job = find_job(operation, ret);
		operation->again = job && !is(text_of(job, "status"), "concluded");
	}
	if (operation->at != operation->steps_count - 1)
		return true;
	operation->rekey.found = 0;
	look_at_nodes(operation, ret);
	return !(operation->rekey.found & FOUND_NODE) ||
	       error_set(err, ERROR_HYPERVISOR, "the new image is left open");
}

static bool check_given_up(QemuOperation *operation, json_t *ret, Error *err)
{
	(void)operation;
	(void)ret;
	return error_set(err, ERROR_CANCELLED, "the change of its key was given up");
}

/* What is under way may not make anew what is taken away here: it ends with its next reply. */
static void give_up_others(const QemuOperation *operation)
{
	for (QemuOperation *other = operation->vm->operations; other; other = other->next)
		if ((other->check == check_start || other->check == check_hold) &&
		    other->rekey.disk == operation->rekey.disk)
			other->check = check_given_up;
}

bool disk_rekey_abort(VmmVm *head, const DiskRekey *rekey, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = new_operation(head, rekey, done, context, err);
	const Names names = names_of(rekey->disk, rekey->version);

	if (!operation)
		return false;
	give_up_others(operation);
	operation->check = check_abort;
	add_look(operation);
	add(operation, "block-job-cancel", json_pack("{s:s, s:b}", "device", names.job, "force", 1),
	    true);
	add(operation, query_jobs, json_object(), false);
	add(operation, "job-dismiss", named("id", names.job), true);
	add(operation, "blockdev-del", named("node-name", names.image), true);
	add(operation, "blockdev-del", named("node-name", names.file), true);
	add(operation, "object-del", named("id", names.secret), true);
	add(operation, "remove-fd", json_pack("{s:I}", "fdset-id", names.secret_set), true);
	add(operation, "remove-fd", json_pack("{s:I}", "fdset-id", names.file_set), true);
	add(operation, query_nodes, json_pack("{s:b}", "flat", 1), false);
	return qemu_operation_begin(operation, err);
}
