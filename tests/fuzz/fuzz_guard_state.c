/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard as a whole with the device state of a real machine: pieces (stream.h), a byte for the
 * mode, then edits (twin.h). It is judged twice, all at once and in pieces. No byte of device state
 * comes out unless all of it was judged good, and then all of it does.
 */
#include "tests/fuzz/guard_feed.h"
#include "tests/fuzz/twin.h"

enum { CHOICE_WARN = 1, STREAM_MAX = 4 << 20 };
enum { REACHED_GOOD, REACHED_REFUSED, REACHED_WARNED, REACHED_COUNT };

static FuzzTwin real;
static Buffer twin_stream;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "good", "refused", "warned" };

	(void)argc;
	(void)argv;
	fuzz_twin_open(&real, FUZZ_DATA);
	twin_stream = BUFFER_INIT(STREAM_MAX);
	fuzz_twin_put_stream(&twin_stream, true, &real.twin);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static Guard *make_guard(uint8_t choice)
{
	const GuardOptions options = { .mode = choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE,
				       .side = GUARD_DESTINATION };
	GuardExpected expected = { .machine = FUZZ_TWIN_MACHINE,
				   .channels = 1,
				   .twin = twin_stream.data,
				   .twin_size = twin_stream.used,
				   .dump = real.tables.data,
				   .dump_size = real.tables.used };
	Error err = ERROR_INIT;
	Guard *guard = guard_new(&options, &expected, &err);

	if (!guard)
		fuzz_fail(err.text);
	return guard;
}

/* Returns whether all of it passed. `state` is where device state begins. */
static bool run(uint8_t choice, FuzzPieces pieces, const Buffer *stream, size_t state)
{
	const GuardMode mode = choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE;
	AUTO_GUARD Guard *guard = make_guard(choice);
	GuardCounters counters;
	Error err = ERROR_INIT;
	size_t out;
	bool ok = fuzz_guard_feed(guard, mode, 0, pieces, stream->data, stream->used, &out, &err);

	guard_counters(guard, &counters);
	if (!ok && out > state)
		fuzz_fail("device state came out and was refused");
	fuzz_reached(counters.warnings ? REACHED_WARNED : (ok ? REACHED_GOOD : REACHED_REFUSED));
	return ok && !counters.warnings;
}

/* What a guard of device state alone says must be no stricter. */
static void judge_alone(const Buffer *held)
{
	static GuardDevice *device;
	const VmDescription *incoming;
	GuardCounters counters = { 0 };
	Error err = ERROR_INIT;

	if (!device)
		device = guard_device_new(real.twin.data, real.twin.used, real.dump, &err);
	if (!device ||
	    !guard_device_judge(device, held->data, held->used, &incoming, &counters, &err))
		fuzz_fail("a stream passed whose device state does not");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer held = BUFFER_INIT(STREAM_MAX), stream = BUFFER_INIT(STREAM_MAX);
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	Reader edits = reader_of(data, size);
	bool at_once;
	uint8_t choice;

	if (!reader_get_u8(&edits, &choice))
		return 0;
	fuzz_twin_edit(&real, &edits, &held);
	fuzz_twin_put_stream(&stream, false, &held);
	at_once = run(choice, (FuzzPieces){ .whole = true }, &stream, stream.used - held.used);
	if (at_once)
		judge_alone(&held);
	if (run(choice, pieces, &stream, stream.used - held.used) && !at_once)
		fuzz_fail("passes in pieces, but not at once");
	return 0;
}
