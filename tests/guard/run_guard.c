/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows recorded channels to a guard, for test_guard_captures.py:
 *
 *	run_guard check AGREED MACHINE TWIN DUMP RETURN MAIN [CHANNEL...]
 *		Each goes through without alarm and comes out the same, in windows of several
 *		kinds. Prints the counters.
 *	run_guard bad AGREED MACHINE TWIN DUMP RETURN MAIN [CHANNEL...]
 *		Prints the first refusal; exit status 1 if there is none.
 *	run_guard mutate-main|mutate-multifd|mutate-return AGREED MACHINE TWIN DUMP RETURN MAIN
 *	    [CHANNEL...]
 *		run_guard.h
 *	run_guard recover AGREED MACHINE TWIN DUMP RETURN MAIN [PREEMPT] -- RETURN MAIN [PREEMPT]
 *		As check; what stands behind -- came over new connections.
 *
 * AGREED: features (guard.h), or - for none. RETURN: of main's connection; other channels' are
 * empty. CHANNEL: multifd, then preempt if that was agreed. Dirty bitmaps are of a disk `disk` of
 *64 MiB.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/guard/run_guard.h"

enum { ARG_MODE = 1, ARG_AGREED, ARG_MACHINE, ARG_TWIN, ARG_DUMP, ARG_RETURN, ARG_MAIN };

Guard *new_guard(const Files *files, GuardSide side)
{
	static const GuardNode nodes[] = { { "disk", 64 << 20 } };
	const GuardOptions options = { .side = side };
	GuardExpected expected = { .agreed = files->agreed,
				   .nodes = nodes,
				   .nodes_count = ARRAY_SIZE(nodes),
				   .channels = files->channels,
				   .twin = files->twin.data,
				   .twin_size = files->twin.used,
				   .dump = files->dump.data,
				   .dump_size = files->dump.used };
	Error err = ERROR_INIT;
	Guard *guard;

	snprintf(expected.machine, sizeof(expected.machine), "%s", files->machine);
	guard = guard_new(&options, &expected, &err);
	if (!guard)
		die("guard_new: %s", err.text);
	return guard;
}

/* Judged bytes must be what the channel has from *done on. */
typedef struct Compare {
	const Buffer *channel;
	size_t done;
} Compare;

static bool compare(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Compare *sink = context;

	(void)err;
	if (size > sink->channel->used - sink->done ||
	    memcmp(bytes, sink->channel->data + sink->done, size) != 0)
		die("the guard wrote something else at byte %zu", sink->done);
	sink->done += size;
	return true;
}

/* `piece` 0: all at once. */
static size_t more_of(uint32_t *random, size_t piece)
{
	*random = *random * 1664525 + 1013904223;
	return piece ? 1 + (*random >> 8) % piece : SIZE_MAX / 2;
}

/* Whether the channel has its end behind these bytes, or was cut. */
static bool feed_part(Guard *guard, unsigned int channel, const Buffer *bytes, size_t piece,
		      bool end, size_t *ret_out, Error *err)
{
	Compare sink = { .channel = bytes };
	const GuardSink out = { .write = compare, .context = &sink };
	uint32_t random = (uint32_t)piece;
	size_t at = 0, shown = 0, taken;
	bool ok = true;

	while (ok && shown < bytes->used) {
		size_t more = more_of(&random, piece);

		shown = more < bytes->used - shown ? shown + more : bytes->used;
		taken = 0;
		ok = guard_take(guard, channel, bytes->data + at, shown - at, &out, &taken, err);
		at += taken;
		if (ok && shown - at >= GUARD_WINDOW)
			die("%zu bytes are left", shown - at);
	}
	ok = ok && (!end || guard_end(guard, channel, bytes->used - at, err));
	*ret_out = sink.done;
	if (ok && end && sink.done != bytes->used)
		die("channel %u: %zu bytes came out, expected %zu", channel, sink.done,
		    bytes->used);
	return ok;
}

bool feed(Guard *guard, unsigned int channel, const Buffer *bytes, size_t piece, size_t *ret_out,
	  Error *err)
{
	return feed_part(guard, channel, bytes, piece, true, ret_out, err);
}

void learn(const Files *files, Guard *source, size_t piece)
{
	const Buffer *own = &files->forward[0];
	uint32_t random = (uint32_t)piece;
	Error err = ERROR_INIT;
	bool done = false;

	for (size_t at = 0; !done && at < own->used;) {
		size_t more = more_of(&random, piece);

		more = more < own->used - at ? more : own->used - at;
		if (!guard_learn(source, own->data + at, more, &done, &err))
			die("%s", err.text);
		at += more;
	}
}

static bool run(const Files *files, size_t piece, GuardCounters *ret_counters, Error *err)
{
	AUTO_GUARD Guard *guard = new_guard(files, GUARD_DESTINATION);
	AUTO_GUARD Guard *source = new_guard(files, GUARD_SOURCE);
	size_t out;

	learn(files, source, piece);
	for (unsigned int i = 0; i < files->channels; i++)
		if (!feed(guard, i, &files->forward[i], piece, &out, err))
			return false;
	if (!feed(source, 0, &files->back, piece, &out, err))
		return false;
	guard_counters(guard, ret_counters);
	return true;
}

/* All connections of `files` are cut where they end; those of `again` follow. */
static bool run_recovery(const Files *files, const Files *again, size_t piece, Error *err)
{
	AUTO_GUARD Guard *guard = new_guard(files, GUARD_DESTINATION);
	AUTO_GUARD Guard *source = new_guard(files, GUARD_SOURCE);
	size_t out;

	learn(files, source, piece);
	for (unsigned int i = 0; i < files->channels; i++)
		if (!feed_part(guard, i, &files->forward[i], piece, false, &out, err))
			return false;
	if (!feed_part(source, 0, &files->back, piece, false, &out, err) ||
	    !guard_resume(guard, err) || !guard_resume(source, err))
		return false;
	for (unsigned int i = 0; i < again->channels; i++)
		if (!feed(guard, i, &again->forward[i], piece, &out, err))
			return false;
	return feed(source, 0, &again->back, piece, &out, err);
}

static const size_t pieces[] = { 0, 100, 70001, 512 * 1024 };

static int recover(const Files *files, const Files *again)
{
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!run_recovery(files, again, pieces[i], &err))
			die("%s", err.text);
	printf("recovered\n");
	return 0;
}

static int check(const Files *files)
{
	GuardCounters counters;
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!run(files, pieces[i], &counters, &err))
			die("%s", err.text);
	printf("pages %" PRIu64 " zero_pages %" PRIu64 " device_bytes %" PRIu64
	       " device_sections %" PRIu64 " judging_us %" PRIu64 "\n",
	       counters.ram_pages, counters.ram_zero_pages, counters.device_bytes,
	       counters.device_sections, counters.judging_us);
	return 0;
}

static int bad(const Files *files)
{
	GuardCounters counters;
	Error err = ERROR_INIT;

	if (run(files, 0, &counters, &err))
		return 1;
	printf("%s\n", err.text);
	return 0;
}

typedef struct Mode {
	const char *name;
	int (*run)(const Files *files);
} Mode;

static const Mode modes[] = {
	{ "check", check },
	{ "bad", bad },
	{ "mutate-main", mutate_main },
	{ "mutate-multifd", mutate_multifd },
	{ "mutate-return", mutate_return },
};

static void read_channels(char **paths, int count, Files *files)
{
	if (count < 2 || count - 1 > LIMIT_STREAM_CHANNELS)
		die("which channels?");
	files->back = BUFFER_INIT(FILE_MAX);
	read_whole(paths[0], &files->back);
	for (int i = 1; i < count; i++) {
		files->forward[files->channels] = BUFFER_INIT(FILE_MAX);
		read_whole(paths[i], &files->forward[files->channels++]);
	}
}

int main(int argc, char **argv)
{
	static Files files = { .twin = BUFFER_INIT(FILE_MAX), .dump = BUFFER_INIT(FILE_MAX) };
	static Files again;
	int first = argc;
	Error err;

	if (argc <= ARG_MAIN)
		die("which mode, of which files?");
	for (int i = argc; i-- > ARG_MAIN;)
		if (!strcmp(argv[i], "--"))
			first = i;
	if (strcmp(argv[ARG_AGREED], "-") != 0 &&
	    !guard_features_parse(argv[ARG_AGREED], &files.agreed, &err))
		die("%s", err.text);
	files.machine = argv[ARG_MACHINE];
	read_whole(argv[ARG_TWIN], &files.twin);
	read_whole(argv[ARG_DUMP], &files.dump);
	read_channels(argv + ARG_RETURN, first - ARG_RETURN, &files);
	if (first < argc) {
		read_channels(argv + first + 1, argc - first - 1, &again);
		return recover(&files, &again);
	}
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(argv[ARG_MODE], modes[i].name))
			return modes[i].run(&files);
	die("%s: no such mode", argv[ARG_MODE]);
}
