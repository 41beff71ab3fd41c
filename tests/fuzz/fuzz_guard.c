/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard as a whole, with the small VM of tests/guard/samples.h: pieces (stream.h), a byte that
 * says which side, mode and channel, then that channel. It is judged twice, all at once and in
 * pieces. What comes out is what went in, as far as it comes, and both are refused for the same, or
 * not at all. But where a piece ends device state may look complete, and is refused then: so of
 * main only what passes in pieces must pass at once, and before device state the rules are the
 * same. In mode warn no byte is lost. (Device state of a real machine: fuzz_guard_state.c.)
 */
#include <string.h>

#include "base/buffer.h"
#include "tests/fuzz/guard_feed.h"
#include "tests/guard/samples.h"

enum {
	CHOICE_SOURCE = 0x01,
	CHOICE_WARN = 0x02,
	CHOICE_MULTIFD = 0x04,
	CHOICE_UUID = 0x08,
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

static void see_good(const Guard *guard, uint8_t choice, size_t out)
{
	GuardCounters counters;

	guard_counters(guard, &counters);
	if (counters.ram_pages || counters.ram_zero_pages)
		fuzz_reached(choice & CHOICE_MULTIFD ? REACHED_MULTIFD_PAGES : REACHED_PAGES);
	if (counters.device_bytes)
		fuzz_reached(REACHED_RELEASED);
	if (choice & CHOICE_SOURCE && out)
		fuzz_reached(REACHED_RETURN);
}

static void run(uint8_t choice, const uint8_t *data, size_t size, FuzzPieces pieces, Error *ret_err)
{
	const GuardMode mode = choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE;
	Guard *guard = make_guard(choice);
	Error err = ERROR_INIT;
	size_t out;

	if (fuzz_guard_feed(guard, mode, choice & CHOICE_MULTIFD ? 1 : 0, pieces, data, size, &out,
			    &err))
		see_good(guard, choice, out);
	else
		fuzz_reached(strncmp(err.text, "guard-grammar:", 14) ? REACHED_RULE
								     : REACHED_GRAMMAR);
	guard_free(guard);
	*ret_err = err;
}

static bool is_of_device_state(const Error *err)
{
	return !strncmp(err->text, "guard-device-", 13);
}

static void compare(uint8_t choice, const Error *at_once, const Error *in_pieces)
{
	const bool is_main = !(choice & (CHOICE_SOURCE | CHOICE_MULTIFD));

	if (in_pieces->category == ERROR_NONE && at_once->category != ERROR_NONE)
		fuzz_fail("passes in pieces, but not at once");
	if (is_main && (is_of_device_state(at_once) || is_of_device_state(in_pieces)))
		return;
	if (!fuzz_guard_same_rule(at_once, in_pieces))
		fuzz_fail("refused by another rule in pieces");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	Error at_once, in_pieces;

	if (!size)
		return 0;
	run(data[0], data + 1, size - 1, (FuzzPieces){ .whole = true }, &at_once);
	run(data[0], data + 1, size - 1, pieces, &in_pieces);
	compare(data[0], &at_once, &in_pieces);
	return 0;
}
