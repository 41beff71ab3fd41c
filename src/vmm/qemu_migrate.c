/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/qemu_status.h"
#include "vmm/qemu_vm.h"

enum {
	CHANNELS_MAX = LIMIT_STREAM_CHANNELS - 1,
	MAX_DOWNTIME_MS = 2000000, /* QEMU's own bound of downtime-limit */
};
/* QEMU has no word for "no limit" that every version understands the same way. */
#define BANDWIDTH_UNLIMITED (INT64_C(1) << 40)

typedef struct Capability {
	const char *name;
	bool wanted;
	bool offered;
} Capability;

/* All are set, to true or false: what an earlier attempt left behind must not count. */
static json_t *capabilities(const VmmFeatures *features, unsigned int channels)
{
	const Capability wanted[] = {
		{ "return-path", true, features->return_path },
		{ "pause-before-switchover", true, features->pause_before_switchover },
		{ "events", true, features->events },
		{ "multifd", channels > 1, features->multifd },
		{ "late-block-activate", true, features->late_block_activate },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (wanted[i].offered &&
		    json_array_append_new(list, json_pack("{s:s, s:b}", "capability",
							  wanted[i].name, "state",
							  wanted[i].wanted))) {
			/* Without one of them, QEMU would go on where it must wait for us. */
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o}", "capabilities", list);
}

static bool check_features(const VmmFeatures *features, unsigned int channels, Error *err)
{
	if (!features->return_path || !features->pause_before_switchover || !features->events)
		return error_set(err, ERROR_UNAVAILABLE,
				 "this QEMU lacks return-path, pause-before-switchover or events");
	if (channels > 1 && !features->multifd)
		return error_set(err, ERROR_UNAVAILABLE, "this QEMU lacks multifd");
	if (channels > CHANNELS_MAX)
		return error_set(err, ERROR_USAGE, "%u channels, at most %d", channels,
				 CHANNELS_MAX);
	return true;
}

static bool socket_uri(const char *socket, char *ret_uri, size_t size, Error *err)
{
	if (!text_is(TEXT_NAME, socket, 1) || strlen(socket) >= LIMIT_NAME)
		return error_set(err, ERROR_USAGE, "\"%.64s\" cannot name a socket", socket);
	snprintf(ret_uri, size, "unix:" QEMU_SOCKET_PREFIX "%s", socket);
	return true;
}

/* QEMU checks the parameter even where multifd is off, and wants at least 1. */
static json_int_t multifd_channels(unsigned int channels)
{
	return channels > 1 ? (json_int_t)channels : 1;
}

bool qemu_migrate_out(VmmVm *head, const VmmMigrateOut *out, VmmDone *done, void *context,
		      Error *err)
{
	QemuVm *vm = qemu_vm_of(head);
	char uri[LIMIT_NAME + 32];
	json_int_t bandwidth = BANDWIDTH_UNLIMITED;
	QemuOperation *operation;

	if (!check_features(&vm->features, out->channels, err) ||
	    !socket_uri(out->socket, uri, sizeof(uri), err))
		return false;
	if (out->max_downtime_ms > MAX_DOWNTIME_MS)
		return error_set(err, ERROR_USAGE, "max downtime of %" PRIu64 " ms, at most %d",
				 out->max_downtime_ms, MAX_DOWNTIME_MS);
	if (out->bandwidth_bytes_s && out->bandwidth_bytes_s < (uint64_t)bandwidth)
		bandwidth = (json_int_t)out->bandwidth_bytes_s;
	operation = qemu_operation_new_plain(vm, done, context, err);
	if (!operation)
		return false;
	qemu_operation_add(operation, "migrate-set-capabilities",
			   capabilities(&vm->features, out->channels));
	qemu_operation_add(operation, "migrate-set-parameters",
			   json_pack("{s:I, s:I, s:I}", "max-bandwidth", bandwidth,
				     "downtime-limit", (json_int_t)out->max_downtime_ms,
				     "multifd-channels", multifd_channels(out->channels)));
	qemu_operation_add(operation, "migrate", json_pack("{s:s}", "uri", uri));
	return qemu_operation_begin(operation, err);
}

bool qemu_incoming_listen(VmmVm *head, const char *socket, unsigned int channels, VmmDone *done,
			  void *context, Error *err)
{
	QemuVm *vm = qemu_vm_of(head);
	char uri[LIMIT_NAME + 32];
	QemuOperation *operation;
	json_t *arguments;

	if (!check_features(&vm->features, channels, err) ||
	    !socket_uri(socket, uri, sizeof(uri), err))
		return false;
	operation = qemu_operation_new_plain(vm, done, context, err);
	if (!operation)
		return false;
	qemu_operation_add(operation, "migrate-set-capabilities",
			   capabilities(&vm->features, channels));
	qemu_operation_add(operation, "migrate-set-parameters",
			   json_pack("{s:I}", "multifd-channels", multifd_channels(channels)));
	arguments = json_pack("{s:s}", "uri", uri);
	/* So that a failed load can still be asked for its reason. */
	if (vm->features.exit_on_error &&
	    json_object_set_new(arguments, "exit-on-error", json_false())) {
		json_decref(arguments);
		arguments = NULL;
	}
	qemu_operation_add(operation, "migrate-incoming", arguments);
	return qemu_operation_begin(operation, err);
}

static void tell_migration(QemuOperation *operation, json_t *ret, const Error *failure)
{
	VmmMigration migration = { .status = VMM_MIGRATION_NONE };
	Error err = failure ? *failure : ERROR_INIT;
	bool ok = !failure && qemu_status_of_migration(ret, &migration, &err);

	operation->done.migration(operation->context, ok ? &migration : NULL, ok ? NULL : &err);
}

bool qemu_query_migration(VmmVm *head, VmmMigrationDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new(qemu_vm_of(head), context, err);

	if (!operation)
		return false;
	operation->tell = tell_migration;
	operation->done.migration = done;
	qemu_operation_add(operation, "query-migrate", json_object());
	return qemu_operation_begin(operation, err);
}
