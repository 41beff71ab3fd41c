/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/inspect_guard.h"

#include <string.h>

#include "base/bounds.h"
#include "base/file.h"
#include "programs/cli/parse.h"
#include "qemustream/dump_vmstate.h"
#include "qemustream/main.h"

enum { TWIN_MAX = 64 << 20, SENT_MAX = 1 << 30 };

/* --- what is expected --- */

static bool set_machine(GuardExpected *expected, const char *bytes, size_t size, Error *err)
{
	if (!size || size >= sizeof(expected->machine))
		return error_set(err, ERROR_USAGE, "a machine type of %zu bytes, 1 to %zu may be",
				 size, sizeof(expected->machine) - 1);
	memcpy(expected->machine, bytes, size);
	return true;
}

/* The twin's own machine type stands in its second unit. */
static bool take_machine_of_twin(GuardExpected *expected, Error *err)
{
	const MainStreamOptions options = { .page_size = INSPECT_PAGE_SIZE, .ignore_shared = true };
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&options, err);
	MainUnit unit;
	size_t at = 0;

	if (!stream)
		return false;
	while (main_stream_next(stream, expected->twin + at, expected->twin_size - at, &unit,
				err) == UNIT_WHOLE) {
		if (unit.kind == MAIN_CONFIGURATION)
			return set_machine(expected, unit.configuration.machine.bytes,
					   unit.configuration.machine.size, err);
		at += unit.size_bytes;
	}
	return error_set(err, ERROR_USAGE, "--twin is no stream of a QEMU");
}

static Guard *make(const GuardOptions *options, const GuardExpected *expected, Error *err)
{
	Guard *guard = guard_new(options, expected, err);

	/* Anywhere else the twin and the tables are our own, and what is wrong with them too. */
	if (!guard && err->category == ERROR_INTERNAL)
		err->category = ERROR_USAGE;
	return guard;
}

/* "NAME=BYTES,NAME=BYTES"; the names stay in `words`, which is written to. */
static bool read_disks(char *words, GuardNode nodes[static GUARD_NODES_MAX],
		       GuardExpected *expected, Error *err)
{
	char *word, *rest = words;

	expected->nodes = nodes;
	while ((word = strsep(&rest, ","))) {
		char *bytes = strrchr(word, '=');
		GuardNode *node = &nodes[expected->nodes_count];

		if (!bytes || bytes == word)
			return error_set(err, ERROR_USAGE, "--disks: %.100s is no NAME=BYTES",
					 word);
		if (expected->nodes_count == GUARD_NODES_MAX)
			return error_set(err, ERROR_USAGE, "--disks: more than %d",
					 GUARD_NODES_MAX);
		*bytes = '\0';
		node->alias = word;
		if (!parse_u64(bytes + 1, "--disks", 1, INT64_MAX, &node->size_bytes, err))
			return false;
		expected->nodes_count++;
	}
	return true;
}

static bool read_agreed(const InspectGuardOptions *options, GuardExpected *expected, Error *err)
{
	if (options->agreed && !guard_features_parse(options->agreed, &expected->agreed, err))
		return error_prefix(err, "--agreed");
	return true;
}

static bool read_options(const InspectGuardOptions *options, GuardExpected *expected, Error *err)
{
	/* Xbzrle goes with a main channel alone. */
	uint64_t channels =
		expected->agreed & GUARD_AGREED(GUARD_XBZRLE) ? 1 : (uint64_t)LIMIT_STREAM_CHANNELS;

	if (options->channels &&
	    !parse_u64(options->channels, "--channels", 1, LIMIT_STREAM_CHANNELS, &channels, err))
		return false;
	expected->channels = (unsigned int)channels;
	if (!options->twin || !options->dump)
		return error_set(err, ERROR_USAGE,
				 "--guard needs --twin and --dump, or --return-path");
	return !options->machine ||
	       set_machine(expected, options->machine, strlen(options->machine), err);
}

/* --- the guard of the source --- */

/* What its own QEMU sent, as far as it is wanted. */
static bool learn(Guard *guard, const char *path, Error *err)
{
	AUTO_BUFFER Buffer sent = BUFFER_INIT(SENT_MAX);
	bool done = false;

	if (!file_read(path, SENT_MAX, &sent, err))
		return false;
	if (!guard_learn(guard, sent.data, sent.used, &done, err)) {
		err->category = ERROR_USAGE;
		return error_prefix(err, "--sent");
	}
	return done ||
	       error_set(err, ERROR_USAGE, "--sent: the file ends before its list of blocks");
}

static Guard *make_source(const InspectGuardOptions *options, Error *err)
{
	const GuardOptions how = { .mode = GUARD_ENFORCE, .side = GUARD_SOURCE };
	GuardExpected expected = { .channels = 1 };
	AUTO_GUARD Guard *guard = NULL;

	if (!read_agreed(options, &expected, err))
		return NULL;
	if (expected.agreed & GUARD_AGREED(GUARD_POSTCOPY) && !options->sent) {
		error_set(err, ERROR_USAGE,
			  "--agreed postcopy-ram with --return-path needs --sent");
		return NULL;
	}
	guard = make(&how, &expected, err);
	return guard && (!options->sent || learn(guard, options->sent, err)) ? TAKE_PTR(guard)
									     : NULL;
}

/* --- that of the destination --- */

static Guard *make_destination(const InspectGuardOptions *options, char *disks, Error *err)
{
	const GuardOptions how = { .mode = GUARD_ENFORCE, .side = GUARD_DESTINATION };
	AUTO_BUFFER Buffer twin = BUFFER_INIT(TWIN_MAX);
	AUTO_BUFFER Buffer dump = BUFFER_INIT(DUMP_BYTES_MAX);
	GuardExpected expected = { .channels = LIMIT_STREAM_CHANNELS };
	GuardNode nodes[GUARD_NODES_MAX];

	if (!read_agreed(options, &expected, err) || !read_options(options, &expected, err) ||
	    (disks && !read_disks(disks, nodes, &expected, err)) ||
	    !file_read(options->twin, TWIN_MAX, &twin, err) ||
	    !file_read(options->dump, DUMP_BYTES_MAX, &dump, err))
		return NULL;
	expected.twin = twin.data;
	expected.twin_size = twin.used;
	expected.dump = dump.data;
	expected.dump_size = dump.used;
	if (!twin.used || !dump.used) {
		error_set(err, ERROR_USAGE, "--%s is an empty file", twin.used ? "dump" : "twin");
		return NULL;
	}
	if (!options->machine && !take_machine_of_twin(&expected, err))
		return NULL;
	return make(&how, &expected, err);
}

Guard *inspect_guard_new(const InspectGuardOptions *options, Error *err)
{
	AUTO_FREE char *disks = options->disks ? strdup(options->disks) : NULL;

	if (options->disks && !disks) {
		error_set(err, ERROR_INTERNAL, "no memory for the options");
		return NULL;
	}
	return options->return_path ? make_source(options, err)
				    : make_destination(options, disks, err);
}

/* --- the verdict --- */

/* What the guard hands on would go to QEMU; here only how much it is counts. */
static bool count_bytes(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	uint64_t *passed = context;

	(void)bytes;
	(void)err;
	*passed += size;
	return true;
}

static bool print_verdict(Inspect *inspect, const Guard *guard, uint64_t passed, Error *err)
{
	Output *output = &inspect->output;
	GuardCounters counters;

	guard_counters(guard, &counters);
	output_begin(output, OUTPUT_NOWHERE, "guard");
	output_word(output, "verdict", "accepted");
	output_number(output, "bytes", passed);
	output_number(output, "pages", counters.ram_pages);
	output_number(output, "zero_pages", counters.ram_zero_pages);
	output_number(output, "devices", counters.device_sections);
	output_number(output, "device_bytes", counters.device_bytes);
	output_number(output, "judging_us", counters.judging_us);
	return output_end(output, err);
}

bool inspect_guard(Inspect *inspect, Guard *guard, unsigned int channel, Error *err)
{
	InspectInput *input = &inspect->input;
	uint64_t passed = 0;
	const GuardSink sink = { .write = count_bytes, .context = &passed };

	for (;;) {
		size_t taken;

		if (!guard_take(guard, channel, inspect_input_window(input),
				inspect_input_size(input), &sink, &taken, err))
			return false;
		inspect_input_skip(input, taken);
		if (input->ended)
			return guard_end(guard, channel, inspect_input_size(input), err) &&
			       print_verdict(inspect, guard, passed, err);
		if (!inspect_input_fill(input, err))
			return false;
	}
}
