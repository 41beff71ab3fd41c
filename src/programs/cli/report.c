/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/report.h"

#include <string.h>

#include "programs/cli/api.h"
#include "programs/cli/text.h"

typedef enum RowKind { ROW_TEXT, ROW_NUMBER, ROW_BYTES, ROW_RATE, ROW_DURATION } RowKind;

typedef struct Row {
	const char *member;
	const char *label;
	RowKind kind;
} Row;

/* In a cold move nothing resumes. */
static const Row cold_rows[] = {
	{ "total_ms", "from the command to the end", ROW_DURATION },
	{ "stream_ms", "from the first byte to the end", ROW_DURATION },
};

static const Row running_rows[] = {
	{ "total_ms", "from the command to RESUME", ROW_DURATION },
	{ "stream_ms", "from the first byte to RESUME", ROW_DURATION },
	{ "downtime_ms", "downtime", ROW_DURATION },
	{ "downtime_error_ms", "  known to within", ROW_DURATION },
	{ "resume_ms", "  of it, commit to RESUME", ROW_DURATION },
};

static const Row report_rows[] = {
	{ "populate_ms", "destination's memory populated", ROW_DURATION },
	{ "stream_bytes", "bytes of the VM's stream", ROW_BYTES },
	{ "wire_bytes", "bytes on the wire", ROW_BYTES },
	{ "throughput_bytes_s", "throughput", ROW_RATE },
	{ "mover_cpu_ms", "CPU time of the mover", ROW_DURATION },
	{ "mover_peak_bytes", "memory of the mover, peak", ROW_BYTES },
	{ "cipher", "cipher", ROW_TEXT },
	{ "provider", "cipher's provider", ROW_TEXT },
	{ "mode", "mode", ROW_TEXT },
	{ "guard", "guard", ROW_TEXT },
	{ "guard_ms", "  judging device state", ROW_DURATION },
	{ "guard_warnings", "  rules broken", ROW_NUMBER },
};

static const Row detail_rows[] = {
	{ "migration", "migration", ROW_TEXT },
	{ "vm", "VM", ROW_TEXT },
	{ "vm_uuid", "UUID", ROW_TEXT },
	{ "role", "this host is the", ROW_TEXT },
	{ "peer", "peer", ROW_TEXT },
	{ "phase", "phase", ROW_TEXT },
	{ "state", "state", ROW_TEXT },
	{ "result", "result", ROW_TEXT },
	{ "mode", "mode", ROW_TEXT },
	{ "manner", "manner", ROW_TEXT },
	{ "aead", "cipher's provider", ROW_TEXT },
	{ "guard", "guard", ROW_TEXT },
	{ "guard_warnings", "  rules broken", ROW_NUMBER },
	{ "channels", "channels", ROW_NUMBER },
	{ "percent", "percent", ROW_NUMBER },
	{ "bytes_done", "bytes done", ROW_BYTES },
	{ "bytes_total", "bytes in all", ROW_BYTES },
	{ "rate_bytes_s", "rate", ROW_RATE },
	{ "iteration", "iteration", ROW_NUMBER },
	{ "forecast_total_ms", "forecast of the total time", ROW_DURATION },
	{ "forecast_downtime_ms", "forecast of the downtime", ROW_DURATION },
	{ "elapsed_ms", "elapsed", ROW_DURATION },
};

static bool format_row(const json_t *object, const Row *row, char out[TEXT_CELL_SIZE])
{
	const char *text = api_text(object, row->member);
	uint64_t value;
	double number;

	if (row->kind == ROW_TEXT) {
		text_escape(text, out, TEXT_CELL_SIZE);
		return text != NULL;
	}
	if (!api_number(object, row->member, &number))
		return false;
	value = number < 9e18 ? (uint64_t)number : UINT64_MAX;
	if (row->kind == ROW_NUMBER)
		snprintf(out, TEXT_CELL_SIZE, "%llu", (unsigned long long)value);
	else if (row->kind == ROW_BYTES)
		text_bytes(value, out);
	else if (row->kind == ROW_RATE)
		text_rate(value, out);
	else
		text_duration(number, out);
	return true;
}

static void print_rows(FILE *stream, const json_t *object, const Row *rows, size_t count)
{
	char value[TEXT_CELL_SIZE];

	for (size_t i = 0; i < count; i++)
		if (format_row(object, &rows[i], value))
			fprintf(stream, "  %-32s%s\n", rows[i].label, value);
}

static bool is_cold(const json_t *migration)
{
	const char *manner = api_text(migration, "manner");

	return manner && !strcmp(manner, "cold");
}

static void print_figures(FILE *stream, const json_t *report, bool cold)
{
	if (cold)
		print_rows(stream, report, cold_rows, ARRAY_SIZE(cold_rows));
	else
		print_rows(stream, report, running_rows, ARRAY_SIZE(running_rows));
	print_rows(stream, report, report_rows, ARRAY_SIZE(report_rows));
}

static void warn_if_readable(FILE *stream, const json_t *object)
{
	const char *mode = api_text(object, "mode");

	if (mode && !strcmp(mode, "disabled"))
		fprintf(stream,
			"  WARNING: not encrypted. Mode \"disabled\" authenticates the stream, but everybody\n"
			"  on the way could read the VM's memory.\n");
}

static void warn_if_unguarded(FILE *stream, const json_t *object)
{
	const char *guard = api_text(object, "guard");

	if (guard && !strcmp(guard, "warn"))
		fprintf(stream,
			"  WARNING: this host's guard only warns. A stream that breaks its rules reaches QEMU.\n");
}

/* What became of them on this host. "exposed": active here, as if nothing had been, but for what the
 * other domain may have read. */
static void print_keys(FILE *stream, const json_t *migration)
{
	const json_t *keys = json_object_get(migration, "keys");
	const char *outcome = api_text(keys, "outcome");
	char word[TEXT_CELL_SIZE];
	uint64_t count;

	if (!outcome || !api_u64(keys, "count", &count))
		return;
	text_escape(outcome, word, sizeof(word));
	fprintf(stream, "  %-32s%llu %s\n", "keys on this host", (unsigned long long)count, word);
	if (!strcmp(outcome, "exposed"))
		fprintf(stream, "  WARNING: the other domain may have read the VM's keys. Make new ones.\n");
}

static void print_disks(FILE *stream, const json_t *migration)
{
	for (size_t i = 0; i < api_count(migration, "disks"); i++) {
		const json_t *disk = api_item(migration, "disks", i);
		const char *volume = api_text(disk, "volume");
		char name[TEXT_CELL_SIZE], done[TEXT_NUMBER_SIZE], total[TEXT_NUMBER_SIZE];
		uint64_t done_bytes, total_bytes;

		if (!volume || !api_u64(disk, "done_bytes", &done_bytes) ||
		    !api_u64(disk, "total_bytes", &total_bytes))
			continue;
		text_escape(volume, name, sizeof(name));
		text_bytes(done_bytes, done);
		text_bytes(total_bytes, total);
		fprintf(stream, "  disk %-27s%s of %s\n", name, done, total);
	}
}

void report_short_id(const json_t *migration, char out[REPORT_ID_SHORT])
{
	const char *id = api_text(migration, "migration");

	text_escape(id ? id : "?", out, REPORT_ID_SHORT);
}

void report_print(FILE *stream, const json_t *migration)
{
	const json_t *report = json_object_get(migration, "report");
	char vm[TEXT_CELL_SIZE], peer[TEXT_CELL_SIZE], id[REPORT_ID_SHORT];
	const char *role = api_text(migration, "role");
	const char *is = is_cold(migration) ? "is stopped" : "runs";

	text_escape(api_text(migration, "vm"), vm, sizeof(vm));
	text_escape(api_text(migration, "peer"), peer, sizeof(peer));
	report_short_id(migration, id);
	if (role && !strcmp(role, "destination"))
		fprintf(stream, "%s came from %s and %s here (migration %s)\n", vm, peer, is, id);
	else
		fprintf(stream, "%s %s on %s (migration %s)\n", vm, is, peer, id);
	print_figures(stream, report, is_cold(migration));
	print_keys(stream, migration);
	warn_if_readable(stream, report);
	warn_if_unguarded(stream, report);
}

void report_print_details(FILE *stream, const json_t *migration)
{
	const json_t *failure = json_object_get(migration, "error");
	const json_t *report = json_object_get(migration, "report");

	print_rows(stream, migration, detail_rows, ARRAY_SIZE(detail_rows));
	print_disks(stream, migration);
	print_keys(stream, migration);
	if (api_text(failure, "text")) {
		fprintf(stream, "  %-32s", "error");
		text_print(stream, api_text(failure, "text"));
		fputc('\n', stream);
	}
	if (report) {
		fprintf(stream, "report:\n");
		print_figures(stream, report, is_cold(migration));
	}
	warn_if_readable(stream, report ? report : migration);
	warn_if_unguarded(stream, report ? report : migration);
}

bool report_is_active(const json_t *migration)
{
	const char *state = api_text(migration, "state");

	return state && !strcmp(state, "active");
}

static bool outcome_bad(const json_t *migration, const char *state, Error *err)
{
	const json_t *failure = json_object_get(migration, "error");
	const char *category = api_text(failure, "category"), *text = api_text(failure, "text");
	const char *vm = api_text(migration, "vm");
	ErrorCategory value = category ? error_category_of_word(category) : ERROR_INTERNAL;
	char id[REPORT_ID_SHORT];

	report_short_id(migration, id);
	if (!strcmp(state, "cancelled"))
		return error_set(err, ERROR_CANCELLED, "migration %s of %.63s was cancelled", id,
				 vm ? vm : "?");
	if (value == ERROR_NONE)
		value = ERROR_INTERNAL;
	if (!strcmp(state, "stuck"))
		return error_set(
			err, category ? value : ERROR_CONFLICT,
			"migration %s of %.63s is stuck: %.200s; only if you know that the other "
			"copy is dead: `sealift resolve %s --run-here`",
			id, vm ? vm : "?", text ? text : "it is not known which side runs it", id);
	return error_set(err, value, "migration %s of %.63s failed: %.350s", id, vm ? vm : "?",
			 text ? text : "the engine gives no reason");
}

bool report_outcome(const json_t *migration, Error *err)
{
	const char *state = api_text(migration, "state");

	if (!state)
		return error_set(err, ERROR_PEER, "the engine sent a migration without a state");
	return !strcmp(state, "done") || outcome_bad(migration, state, err);
}
