/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard as a whole, with the small VM of tests/guard/samples.h. Byte 0 says which side, mode
 * and channel; the rest is that channel. It is judged twice, all at once and in small pieces. What
 * comes out is what went in, as far as it comes; what passes in small pieces passes at once and
 * whole. (Not the other way round: where a piece ends, device state may look complete.) In mode
 * warn no byte is lost.
 */
#include <string.h>

#include "base/buffer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/guard/samples.h"

enum {
	CHOICE_SOURCE = 0x01,
	CHOICE_WARN = 0x02,
	CHOICE_MULTIFD = 0x04,
	CHOICE_UUID = 0x08,
	SMALL_PIECE = 97,
	HELD_MAX = 1 << 16,
};

enum {
	REACHED_PAGES,
	REACHED_RELEASED,
	REACHED_MULTIFD_PAGES,
	REACHED_RETURN,
	REACHED_GRAMMAR,
	REACHED_RULE,
	REACHED_WARNING,
	REACHED_COUNT,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = {
		"pages of main", "released device state", "pages of multifd", "return path",
		"bad grammar",	 "another rule",	  "warning",
	};

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

typedef struct Out {
	const uint8_t *bytes;
	size_t size, done;
} Out;

static bool write_out(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Out *out = context;

	(void)err;
	if (!size || size > out->size - out->done ||
	    memcmp(bytes, out->bytes + out->done, size) != 0)
		fuzz_fail("something else came out");
	out->done += size;
	return true;
}

static void on_warning(void *context, const char *text)
{
	(void)context;
	if (strncmp(text, "guard-", 6) != 0)
		fuzz_fail("a warning without a rule");
	fuzz_reached(REACHED_WARNING);
}

static Guard *make_guard(uint8_t choice)
{
	const GuardOptions options = { .mode = choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE,
				       .side = choice & CHOICE_SOURCE ? GUARD_SOURCE
								      : GUARD_DESTINATION,
				       .held_max_bytes = HELD_MAX,
				       .on_warning = on_warning };
	AUTO_BUILD Build twin = BUILD_INIT;
	GuardExpected expected = { .machine = SAMPLE_MACHINE,
				   .channels = SAMPLE_CHANNELS,
				   .has_uuid = choice & CHOICE_UUID };
	Error err = ERROR_INIT;
	Guard *guard;

	put_twin(&twin);
	expected.twin = twin.bytes.data;
	expected.twin_size = twin.bytes.used;
	memcpy(expected.uuid, sample_uuid, sizeof(sample_uuid));
	guard = guard_new(&options, choice & CHOICE_SOURCE ? NULL : &expected, &err);
	if (!guard)
		fuzz_fail(err.text);
	return guard;
}

static void see_refusal(const Error *err)
{
	if (err->category != ERROR_PEER || strncmp(err->text, "guard-", 6) != 0)
		fuzz_fail("a refusal without a rule");
	fuzz_reached(strncmp(err->text, "guard-grammar:", 14) ? REACHED_RULE : REACHED_GRAMMAR);
}

static void see_good(const Guard *guard, uint8_t choice, const Out *out)
{
	GuardCounters counters;

	guard_counters(guard, &counters);
	if (counters.ram_pages || counters.ram_zero_pages)
		fuzz_reached(choice & CHOICE_MULTIFD ? REACHED_MULTIFD_PAGES : REACHED_PAGES);
	if (counters.device_bytes)
		fuzz_reached(REACHED_RELEASED);
	if (choice & CHOICE_SOURCE && out->done)
		fuzz_reached(REACHED_RETURN);
}

static bool run(uint8_t choice, const uint8_t *data, size_t size, size_t piece)
{
	unsigned int channel = choice & CHOICE_MULTIFD ? 1 : 0;
	Guard *guard = make_guard(choice);
	Out out = { .bytes = data, .size = size };
	const GuardSink sink = { .write = write_out, .context = &out };
	size_t at = 0, shown = 0, taken;
	Error err = ERROR_INIT;
	bool ok = true;

	while (ok && shown < size) {
		shown = piece < size - shown ? shown + piece : size;
		taken = 0;
		ok = guard_take(guard, channel, data + at, shown - at, &sink, &taken, &err);
		if (taken > shown - at)
			fuzz_fail("more was taken than shown");
		at += taken;
		if (ok && shown - at >= GUARD_WINDOW)
			fuzz_fail("a window was not enough");
	}
	ok = ok && guard_end(guard, channel, size - at, &err);
	if (!ok)
		see_refusal(&err);
	if (ok && !(choice & CHOICE_WARN) && out.done != size)
		fuzz_fail("bytes stayed behind");
	if (ok)
		see_good(guard, choice, &out);
	if (choice & CHOICE_WARN && !ok)
		fuzz_fail("mode warn refused");
	guard_free(guard);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool at_once, in_pieces;

	if (!size)
		return 0;
	at_once = run(data[0], data + 1, size - 1, SIZE_MAX / 2);
	in_pieces = run(data[0], data + 1, size - 1, SMALL_PIECE);
	if (in_pieces && !at_once)
		fuzz_fail("passes in pieces, but not at once");
	return 0;
}
