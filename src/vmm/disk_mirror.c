/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/disk_mirror.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "vmm/disk_nodes.h"
#include "vmm/qemu_vm.h"

enum { CUT_READS_MAX = 65536 };

/* It says too whether one has stopped for an error. */
static const char query_jobs[] = "query-block-jobs";
static const char blockdev_mirror[] = "blockdev-mirror";
static const char query_nodes[] = "query-named-block-nodes";
static const char background[] = "background";
static const char write_blocking[] = "write-blocking";

/* --- jobs, as QEMU tells of them --- */

/* NULL if there is none of this disk. */
static const json_t *find_job(const json_t *jobs, size_t disk)
{
	char name[DISK_NODE_BYTES];
	size_t count = json_array_size(jobs);

	disk_node_name(disk, DISK_NODE_MIRROR, name);
	for (size_t i = 0; i < count; i++) {
		const json_t *job = json_array_get(jobs, i);
		const char *id = json_string_value(json_object_get(job, "device"));

		if (id && !strcmp(id, name))
			return job;
	}
	return NULL;
}

static bool is_in(const json_t *job, const char *status)
{
	const char *found = json_string_value(json_object_get(job, "status"));

	return found && !strcmp(found, status);
}

static const char *reason_of(const json_t *job)
{
	const char *reason = json_string_value(json_object_get(job, "error"));
	const char *io = json_string_value(json_object_get(job, "io-status"));

	if (reason)
		return reason;
	if (io && !strcmp(io, "nospace"))
		return "No space left on device";
	if (io && strcmp(io, "ok") != 0)
		return "Input/output error";
	return is_in(job, "aborting") ? "it is aborting" : NULL;
}

/* A job of a disk that has failed, or is not there. */
static bool check_job(const json_t *job, size_t disk, Error *err)
{
	const char *reason = job ? reason_of(job) : NULL;

	if (!job)
		return error_set(err, ERROR_HYPERVISOR, "disk %zu: there is no mirror of it", disk);
	return !reason ||
	       error_set(err, ERROR_HYPERVISOR, "disk %zu: the mirror ended: %s", disk, reason);
}

/* Whether all are in this status, or this other one; those that failed are told. */
static bool are_in(const QemuOperation *operation, const json_t *jobs, const char *status,
		   const char *other, bool *ret_all, Error *err)
{
	*ret_all = true;
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		const json_t *job = find_job(jobs, i);

		if (!(operation->disks >> i & 1))
			continue;
		if (!check_job(job, i, err))
			return false;
		*ret_all = *ret_all && (is_in(job, status) || is_in(job, other));
	}
	return true;
}

static bool is_step(const QemuOperation *operation, const char *command)
{
	return operation->steps[operation->at].command == command;
}

static json_t *job_named(size_t disk, const char *member)
{
	char name[DISK_NODE_BYTES];

	disk_node_name(disk, DISK_NODE_MIRROR, name);
	return json_pack("{s:s}", member, name);
}

/* --- start --- */

static json_t *target(const DiskMirror *disk)
{
	char name[DISK_NODE_BYTES], path[LIMIT_NAME + 32];

	disk_node_name(disk->disk, DISK_NODE_MIRROR, name);
	snprintf(path, sizeof(path), QEMU_SOCKET_PREFIX "%s", disk->socket);
	/* Whether QEMU begins with a target of zeros depends on what zeros may become there. */
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:s}", "driver", "nbd", "node-name", name,
			 "server", "type", "unix", "path", path, "export", disk->export_name,
			 "discard", disk->sparse ? "unmap" : "ignore");
}

/* A mirror that fails stops, and is ended by disk_mirror_abort: would it end by itself, QEMU would
 * wait then for what the others have on its way (add_mirrors). */
static json_t *mirror(const DiskMirror *disk, const char *copy_mode, uint64_t bytes_s)
{
	char source[DISK_NODE_BYTES], name[DISK_NODE_BYTES];

	disk_node_name(disk->disk, DISK_NODE_GUEST, source);
	disk_node_name(disk->disk, DISK_NODE_MIRROR, name);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I}", "job-id", name, "device",
			 source, "target", name, "sync", "full", "copy-mode", copy_mode,
			 "on-source-error", "stop", "on-target-error", "stop", "auto-dismiss", 0,
			 "speed", (json_int_t)bytes_s);
}

/* What is waited for is said by what comes next. */
static bool is_before(const QemuOperation *operation, const char *command)
{
	return operation->at + 1 < operation->steps_count &&
	       operation->steps[operation->at + 1].command == command;
}

static bool check_ready(QemuOperation *operation, json_t *ret, Error *err)
{
	bool pauses = is_before(operation, blockdev_mirror);
	bool all = false;

	if (is_step(operation, blockdev_mirror))
		operation->disks |= UINT32_C(1) << (operation->steps[operation->at].subject - 1);
	if (!is_step(operation, query_jobs))
		return true;
	if (!are_in(operation, ret, pauses ? "paused" : "ready", pauses ? "standby" : "ready", &all,
		    err))
		return false;
	operation->again = !all;
	return true;
}

static bool check_start(const DiskMirrorStart *start, Error *err)
{
	uint32_t disks = 0;

	if (!start->disks_count || start->disks_count > LIMIT_DISKS)
		return error_set(err, ERROR_USAGE, "%zu disks to mirror, not 1..%d",
				 start->disks_count, LIMIT_DISKS);
	for (size_t i = 0; i < start->disks_count; i++) {
		const DiskMirror *disk = &start->disks[i];

		if (disk->disk >= LIMIT_DISKS || disks >> disk->disk & 1)
			return error_set(err, ERROR_USAGE, "disk %zu: no disk, or twice",
					 disk->disk);
		if (!text_is(TEXT_NAME, disk->socket, 1) || strlen(disk->socket) >= LIMIT_NAME ||
		    !text_is(TEXT_NAME, disk->export_name, 1))
			return error_set(err, ERROR_USAGE,
					 "disk %zu: \"%.64s\" or \"%.64s\" is no name", disk->disk,
					 disk->socket, disk->export_name);
		disks |= UINT32_C(1) << disk->disk;
	}
	return true;
}

/* Per job: QEMU knows no bound of several together. */
static uint64_t share_of(const DiskMirrorStart *start)
{
	uint64_t share = start->bandwidth_bytes_s / start->disks_count;

	if (!start->bandwidth_bytes_s)
		return 0;
	return share > INT64_MAX ? INT64_MAX : (share ? share : 1);
}

/* A mirror that has ended refuses: why it did is told by the query that follows. */
static void add_job_step(QemuOperation *operation, const char *command, size_t disk)
{
	qemu_operation_add_for_disk(operation, command, job_named(disk, "id"), disk);
	operation->steps[operation->steps_count - 1].may_fail = true;
}

/*
 * QEMU changes its graph of disks, as for the beginning of a mirror, only when no request is on its
 * way in any of them; it waits for that with all else at a standstill, the guest too
 * (bdrv_graph_wrlock()). A mirror that copies has requests on their way as long as the link is
 * slow, and for ever where the target hangs. So all connections are made before the first mirror
 * begins, and each mirror pauses, which takes until its requests are answered but is waited for by
 * nobody else, before the next one begins.
 */
static void add_mirrors(QemuOperation *operation, const DiskMirrorStart *start, bool changes)
{
	for (size_t i = 0; i < start->disks_count; i++)
		qemu_operation_add_for_disk(operation, "blockdev-add", target(&start->disks[i]),
					    start->disks[i].disk);
	for (size_t i = 0; i < start->disks_count; i++) {
		const DiskMirror *disk = &start->disks[i];

		qemu_operation_add_for_disk(
			operation, blockdev_mirror,
			mirror(disk, changes ? background : write_blocking, share_of(start)),
			disk->disk);
		if (i + 1 == start->disks_count)
			break;
		add_job_step(operation, "job-pause", disk->disk);
		qemu_operation_add(operation, query_jobs, json_object());
	}
	for (size_t i = 0; i + 1 < start->disks_count; i++)
		add_job_step(operation, "job-resume", start->disks[i].disk);
}

static void add_until_ready(QemuOperation *operation, const DiskMirrorStart *start, bool changes)
{
	qemu_operation_add(operation, query_jobs, json_object());
	for (size_t i = 0; i < start->disks_count && changes; i++) {
		char name[DISK_NODE_BYTES];

		disk_node_name(start->disks[i].disk, DISK_NODE_MIRROR, name);
		qemu_operation_add_for_disk(operation, "block-job-change",
					    json_pack("{s:s, s:s, s:s}", "id", name, "type",
						      "mirror", "copy-mode", write_blocking),
					    start->disks[i].disk);
	}
}

bool disk_mirror_start(VmmVm *head, const DiskMirrorStart *start, VmmDone *done, void *context,
		       Error *err)
{
	QemuOperation *operation;
	bool changes;

	if (!check_start(start, err))
		return false;
	operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);
	if (!operation)
		return false;
	changes = operation->vm->features.mirror_change;
	operation->check = check_ready;
	qemu_operation_set_deadline(operation, start->deadline_ms);
	add_mirrors(operation, start, changes);
	add_until_ready(operation, start, changes);
	return qemu_operation_begin(operation, err);
}

/* --- progress --- */

static uint64_t figure(const json_t *job, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(job, name));

	return value > 0 ? (uint64_t)value : 0;
}

static bool take_progress(const json_t *jobs, DiskMirrorProgress *ret_progress, Error *err)
{
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		const json_t *job = find_job(jobs, i);

		if (!job)
			continue;
		if (!check_job(job, i, err))
			return false;
		ret_progress->disks[i] = (DiskMirrorState){ .there = true,
							    .ready = is_in(job, "ready"),
							    .done_bytes = figure(job, "offset"),
							    .total_bytes = figure(job, "len") };
	}
	return true;
}

static void tell_progress(QemuOperation *operation, json_t *ret, const Error *failure)
{
	DiskMirrorProgress progress = { 0 };
	Error err = failure ? *failure : ERROR_INIT;
	bool ok = !failure && take_progress(ret, &progress, &err);

	operation->done.mirror(operation->context, ok ? &progress : NULL, ok ? NULL : &err);
}

bool disk_mirror_query(VmmVm *head, DiskMirrorProgressDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new(qemu_vm_of(head), context, err);

	if (!operation)
		return false;
	operation->tell = tell_progress;
	operation->done.mirror = done;
	qemu_operation_add(operation, query_jobs, json_object());
	return qemu_operation_begin(operation, err);
}

/* --- finish --- */

static bool check_finish(QemuOperation *operation, json_t *ret, Error *err)
{
	const char *status = operation->at ? "concluded" : "ready";
	bool all = false;

	if (!is_step(operation, query_jobs))
		return true;
	if (!are_in(operation, ret, status, status, &all, err))
		return false;
	/* The end of one that is not ready would be its failure, told as success. */
	if (!operation->at && !all)
		return error_set(err, ERROR_CONFLICT, "a mirror is not ready");
	operation->again = !all;
	return true;
}

static void add_removal(QemuOperation *operation, size_t disk, bool may_fail)
{
	qemu_operation_add_for_disk(operation, "job-dismiss", job_named(disk, "id"), disk);
	operation->steps[operation->steps_count - 1].may_fail = may_fail;
	qemu_operation_add_for_disk(operation, "blockdev-del", job_named(disk, "node-name"), disk);
	operation->steps[operation->steps_count - 1].may_fail = may_fail;
}

bool disk_mirror_finish(VmmVm *head, uint32_t disks, int64_t deadline_ms, VmmDone *done,
			void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	operation->disks = disks;
	operation->check = check_finish;
	qemu_operation_set_deadline(operation, deadline_ms);
	qemu_operation_add(operation, query_jobs, json_object());
	/* Of a mirror that is ready it is the end in sync. */
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		if (disks >> i & 1)
			qemu_operation_add_for_disk(operation, "block-job-cancel",
						    job_named(i, "device"), i);
	qemu_operation_add(operation, query_jobs, json_object());
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		if (disks >> i & 1)
			add_removal(operation, i, false);
	return qemu_operation_begin(operation, err);
}

/* --- abort --- */

static bool is_over(const json_t *jobs)
{
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		const json_t *job = find_job(jobs, i);

		if (job && !is_in(job, "concluded"))
			return false;
	}
	return true;
}

static bool check_no_node(const json_t *nodes, Error *err)
{
	size_t count = json_array_size(nodes);

	for (size_t i = 0; i < count; i++) {
		const char *found =
			json_string_value(json_object_get(json_array_get(nodes, i), "node-name"));

		for (size_t disk = 0; found && disk < LIMIT_DISKS; disk++) {
			char name[DISK_NODE_BYTES];

			disk_node_name(disk, DISK_NODE_MIRROR, name);
			if (!strcmp(found, name))
				return error_set(err, ERROR_HYPERVISOR, "node %s is left", name);
		}
	}
	return true;
}

static bool check_abort(QemuOperation *operation, json_t *ret, Error *err)
{
	if (is_step(operation, query_jobs))
		operation->again = !is_over(ret);
	return !is_step(operation, query_nodes) || check_no_node(ret, err);
}

static bool check_given_up(QemuOperation *operation, json_t *ret, Error *err)
{
	(void)operation;
	(void)ret;
	return error_set(err, ERROR_CANCELLED, "the mirror was given up");
}

/* What is under way may not go on to make what is taken away here: it ends with its next reply. */
static void give_up_others(const QemuVm *vm)
{
	for (QemuOperation *other = vm->operations; other; other = other->next)
		if (other->check == check_ready || other->check == check_finish)
			other->check = check_given_up;
}

static void add_cut(QemuOperation *operation, size_t disk)
{
	char name[DISK_NODE_BYTES];

	disk_node_name(disk, DISK_NODE_MIRROR, name);
	qemu_operation_add_for_disk(
		operation, "yank",
		json_pack("{s:[{s:s, s:s}]}", "instances", "type", "block-node", "node-name", name),
		disk);
	operation->steps[operation->steps_count - 1].may_fail = true;
}

bool disk_mirror_abort(VmmVm *head, int64_t deadline_ms, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	give_up_others(operation->vm);
	operation->check = check_abort;
	qemu_operation_set_deadline(operation, deadline_ms);
	/* Which there are, and how far, is found out by trying: it changes by itself. The
	 * connections first: blockdev-del flushes, and would hold all of QEMU up until a target
	 * that hangs has answered. */
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		add_cut(operation, i);
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		json_t *arguments = job_named(i, "device");

		if (arguments && json_object_set_new(arguments, "force", json_true())) {
			json_decref(arguments);
			arguments = NULL;
		}
		qemu_operation_add_for_disk(operation, "block-job-cancel", arguments, i);
		operation->steps[operation->steps_count - 1].may_fail = true;
	}
	qemu_operation_add(operation, query_jobs, json_object());
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		add_removal(operation, i, true);
	qemu_operation_add(operation, query_nodes, json_pack("{s:b}", "flat", 1));
	return qemu_operation_begin(operation, err);
}

void disk_mirror_cut(int *fd)
{
	uint8_t buffer[16384];

	if (*fd < 0)
		return;
	(void)shutdown(*fd, SHUT_RDWR);
	/* Nobody writes into it any more: no more is there than was then. */
	for (int i = 0; i < CUT_READS_MAX; i++)
		if (recv(*fd, buffer, sizeof(buffer), MSG_DONTWAIT) <= 0)
			break;
	cleanup_fd(fd);
	*fd = -1;
}
