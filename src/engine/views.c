/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/sealed_disks.h"
#include "engine/vm_rekey.h"
#include "engine/job_disks.h"

/* A member is left out when it is not known: json_object_set_new with NULL does just that. */
static void set(json_t *object, const char *name, json_t *value)
{
	if (value)
		(void)json_object_set_new(object, name, value);
}

static void set_u64(json_t *object, const char *name, uint64_t value)
{
	set(object, name, json_integer((json_int_t)value));
}

static json_t *socket_path(const Vm *vm, const char *name)
{
	return vm->handle ? json_sprintf("%s/%s", vmm_socket_directory(vm->handle), name) : NULL;
}

json_t *view_vm(const Vm *vm)
{
	const VmRecord *record = &vm->record;
	json_t *view = json_object();

	set(view, "name", json_string(record->name));
	set(view, "uuid", json_string(record->manifest.uuid));
	set(view, "state", json_string(vm_state_words[record->state]));
	set_u64(view, "epoch", record->epoch);
	set(view, "owner", json_string(record->owner));
	set_u64(view, "memory_bytes", record->manifest.memory_bytes);
	set_u64(view, "cpus", record->manifest.cpus);
	set(view, "machine", json_string(record->manifest.machine));
	set(view, "mode", json_string(seal_mode_words[record->mode]));
	set(view, "tpm", json_boolean(record->manifest.tpm));
	if (record->state == VM_MOVED && record->moved_to[0])
		set(view, "moved_to", json_string(record->moved_to));
	vm_rekey_view(vm, view);
	sealed_disks_view(vm, view);
	if (vm->handle) {
		set_u64(view, "pid", (uint64_t)vmm_pid(vm->handle));
		set(view, "serial", socket_path(vm, "serial.sock"));
		if (record->manifest.display == DISPLAY_VNC)
			set(view, "vnc", socket_path(vm, "vnc.sock"));
	}
	return view;
}

static void set_ms(json_t *view, const char *name, uint64_t us)
{
	if (us)
		set(view, name, json_real((double)us / 1000));
}

/* Of what began before there was a guard, or has not come so far, there is nothing to say. */
static void set_guard(json_t *view, const MigrationRecord *record)
{
	if (record->guard[0])
		set(view, "guard", json_string(record->guard));
	if (!strcmp(record->guard, mover_guard_words[MOVER_GUARD_WARN]))
		set_u64(view, "guard_warnings", record->report.guard_warnings);
}

/* The destination does not know when the command was given or the guest stopped: what is not known
 * is left out. */
static json_t *view_report(const MigrationRecord *record)
{
	const MigrationReport *report = &record->report;
	json_t *view = json_object();

	set_ms(view, "total_ms", report->total_us);
	set_ms(view, "stream_ms", report->stream_us);
	set_ms(view, "downtime_ms", report->downtime_us);
	if (report->downtime_us)
		set(view, "downtime_error_ms", json_real((double)report->downtime_error_us / 1000));
	set_ms(view, "resume_ms", report->resume_us);
	set_ms(view, "populate_ms", report->populate_us);
	set_u64(view, "stream_bytes", report->stream_bytes);
	set_u64(view, "wire_bytes", report->wire_bytes);
	if (report->stream_us)
		set_u64(view, "throughput_bytes_s",
			(uint64_t)((double)report->stream_bytes * 1e6 / (double)report->stream_us));
	set_ms(view, "mover_cpu_ms", report->mover_cpu_us);
	set_u64(view, "mover_peak_bytes", report->mover_peak_bytes);
	set(view, "cipher", json_string(record->mode == SEAL_DISABLED ? "none (AES-256-GMAC)" :
									 "AES-256-GCM"));
	set(view, "provider", json_string(record->aead));
	set(view, "mode", json_string(seal_mode_words[record->mode]));
	set_guard(view, record);
	set_ms(view, "guard_ms", report->guard_us);
	return view;
}

static void add_live(json_t *view, const Job *job)
{
	const Migration *live = job->migration;
	const Forecast *forecast = migration_forecast(live);

	set_u64(view, "elapsed_ms", migration_elapsed_ms(live));
	set(view, "step", json_string(migration_step_name(live)));
	set(view, "disks", disks_out_view(job));
	if (!forecast->valid)
		return;
	set_u64(view, "percent", forecast->percent);
	set_u64(view, "bytes_total", forecast->total_bytes);
	set_u64(view, "bytes_done", forecast->done_bytes);
	set_u64(view, "rate_bytes_s", forecast->rate_bytes_s);
	set_u64(view, "iteration", forecast->iteration);
	if (forecast->total_ms && forecast->total_ms != UINT64_MAX)
		set_u64(view, "forecast_total_ms", forecast->total_ms);
	/* Of a guest that stands still already it would be what the last round takes. */
	if (forecast->rate_bytes_s && migration_record(live)->manner == MANNER_LIVE)
		set_u64(view, "forecast_downtime_ms", forecast->downtime_ms);
}

/* What became of the keys that went along; "moving" is not the end. */
static const char *keys_outcome(const MigrationRecord *record)
{
	bool moved = record->role == MIGRATION_SOURCE ? record->committed : record->activating;

	if (record->keys_moving || record->state == MIGRATION_ACTIVE || record->state == MIGRATION_STUCK)
		return "moving";
	if (record->role == MIGRATION_DESTINATION)
		return moved ? "active" : "discarded";
	if (!moved)
		return record->keys_exposed ? "exposed" : "active";
	if (record->keys_shared)
		return "handed-over";
	return record->keep_keys ? "kept" : "destroyed";
}

static json_t *view_keys(const MigrationRecord *record)
{
	return json_pack("{s:I, s:s}", "count", (json_int_t)record->keys_count, "outcome",
			 keys_outcome(record));
}

json_t *view_migration(const MigrationRecord *record, const Job *job)
{
	char id[2 * MIGRATION_ID_BYTES + 1];
	json_t *view = json_object();

	hex_encode(record->id, sizeof(record->id), id);
	set(view, "migration", json_string(id));
	set(view, "role", json_string(migration_role_words[record->role]));
	set(view, "vm", json_string(record->vm));
	set(view, "vm_uuid", json_string(record->uuid));
	set(view, "peer", json_string(record->peer_id));
	set(view, "phase", json_string(migration_phase_words[record->phase]));
	set(view, "state", json_string(migration_state_words[record->state]));
	set(view, "mode", json_string(seal_mode_words[record->mode]));
	set(view, "manner", json_string(move_manner_words[record->manner]));
	set(view, "aead", json_string(record->aead));
	set_guard(view, record);
	set_u64(view, "channels", record->channels);
	set_u64(view, "epoch", record->epoch);
	set_u64(view, "created", record->created_s);
	if (job)
		add_live(view, job);
	else if (record->report.total_us)
		set_u64(view, "elapsed_ms", record->report.total_us / 1000);
	else if (record->ended_s >= record->created_s && record->ended_s)
		set_u64(view, "elapsed_ms", (record->ended_s - record->created_s) * 1000);
	if (record->category)
		set(view, "error",
		    json_pack("{s:s, s:s}", "category", error_word((ErrorCategory)record->category), "text",
			      record->error));
	if (record->keys_count)
		set(view, "keys", view_keys(record));
	if (record->state == MIGRATION_OK)
		set(view, "report", view_report(record));
	return view;
}

void engine_warn(Engine *engine, const char *format, ...)
{
	char text[LIMIT_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_warning(engine->log, "%s", text);
	api_event(engine, "warning", json_pack("{s:s}", "text", text));
}
