/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard with what a migration may agree on beside precopy: pieces (stream.h), a byte that says
 * which side, mode and channel, one of the features that were agreed, then that channel. The VM is
 * the small one of tests/guard/samples.h; features that do not go together are no input. Judged at
 * once and in pieces, as in fuzz_guard.c.
 */
#include <string.h>

#include "tests/fuzz/guard_feed.h"
#include "tests/guard/samples.h"

enum { CHOICE_SOURCE = 0x01, CHOICE_WARN = 0x02, CHOICE_CHANNEL = 0x0c, CHANNEL_SHIFT = 2 };
enum { HELD_MAX = 1 << 16, DISK_BYTES = 1 << 20 };
enum { REACHED_GOOD, REACHED_REFUSED, REACHED_SOURCE, REACHED_OTHER_CHANNEL, REACHED_COUNT };

static Build twin, forward;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "good", "refused", "good at the source",
							  "good on another channel" };

	(void)argc;
	(void)argv;
	twin = forward = BUILD_INIT;
	put_twin(&twin);
	put_sample_main(&forward);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

/* XBZRLE is for one channel; preempt is one more. */
static unsigned int channels_of(uint8_t agreed)
{
	if (agreed & GUARD_AGREED(GUARD_XBZRLE))
		return agreed & GUARD_AGREED(GUARD_PREEMPT) ? 2 : 1;
	return SAMPLE_CHANNELS;
}

/* NULL if these features do not go together. */
static Guard *make_guard(uint8_t choice, uint8_t agreed)
{
	static const GuardNode node = { .alias = "n", .size_bytes = DISK_BYTES };
	const GuardOptions options = { .mode = choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE,
				       .side = choice & CHOICE_SOURCE ? GUARD_SOURCE
								      : GUARD_DESTINATION,
				       .held_max_bytes = HELD_MAX };
	const GuardExpected expected = { .machine = SAMPLE_MACHINE,
					 .agreed = agreed,
					 .nodes = &node,
					 .nodes_count = 1,
					 .channels = channels_of(agreed),
					 .twin = twin.bytes.data,
					 .twin_size = twin.bytes.used };
	Error err = ERROR_INIT;
	Guard *guard = guard_new(&options, &expected, &err);

	if (!guard && err.category != ERROR_INTERNAL)
		fuzz_fail(err.text);
	return guard;
}

/* What this host's own QEMU sent before. */
static void learn(Guard *guard)
{
	Error err = ERROR_INIT;
	bool done = false;

	if (!guard_learn(guard, forward.bytes.data, forward.bytes.used, &done, &err) || !done)
		fuzz_fail("the source does not know its own blocks");
}

static bool run(uint8_t choice, uint8_t agreed, FuzzPieces pieces, const uint8_t *data, size_t size,
		Error *ret_err)
{
	const unsigned int channel = (choice & CHOICE_CHANNEL) >> CHANNEL_SHIFT;
	AUTO_GUARD Guard *guard = make_guard(choice, agreed);
	size_t out;

	*ret_err = ERROR_INIT;
	if (!guard || channel >= channels_of(agreed))
		return false;
	if (choice & CHOICE_SOURCE && agreed & GUARD_AGREED(GUARD_POSTCOPY))
		learn(guard);
	if (!fuzz_guard_feed(guard, choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE, channel,
			     pieces, data, size, &out, ret_err)) {
		fuzz_reached(REACHED_REFUSED);
		return true;
	}
	if (choice & CHOICE_SOURCE)
		fuzz_reached(REACHED_SOURCE);
	else
		fuzz_reached(channel ? REACHED_OTHER_CHANNEL : REACHED_GOOD);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	Error at_once, in_pieces;

	if (size < 2)
		return 0;
	if (!run(data[0], data[1], (FuzzPieces){ .whole = true }, data + 2, size - 2, &at_once))
		return 0;
	(void)run(data[0], data[1], pieces, data + 2, size - 2, &in_pieces);
	if (in_pieces.category == ERROR_NONE && at_once.category != ERROR_NONE)
		fuzz_fail("passes in pieces, but not at once");
	/* Of device state the end may be seen too early in pieces. */
	if (strncmp(at_once.text, "guard-device-", 13) != 0 &&
	    strncmp(in_pieces.text, "guard-device-", 13) != 0 &&
	    !fuzz_guard_same_rule(&at_once, &in_pieces))
		fuzz_fail("refused by another rule in pieces");
	return 0;
}
