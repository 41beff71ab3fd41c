/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard with what a migration may agree on beside precopy: pieces (stream.h), a byte that says
 * which side, mode and channel, one of the features that were agreed, then that channel. The VM is
 * the small one of tests/guard/samples.h; features that do not go together are no input. Judged at
 * once and in pieces, as in fuzz_guard.c.
 *
 * Some states are far behind what one channel can say: the first byte may ask that main had the
 * package of postcopy before (at the source: that the return path had its two PONGs), and that all
 * connections were lost then.
 */
#include <string.h>

#include "tests/fuzz/guard_feed.h"
#include "tests/guard/samples.h"
#include "tests/qemustream/multifd_samples.h"

enum {
	CHOICE_SOURCE = 0x01,
	CHOICE_WARN = 0x02,
	CHOICE_CHANNEL = 0x0c,
	CHANNEL_SHIFT = 2,
	CHOICE_BEFORE = 0x10,
	CHOICE_RESUME = 0x20, /* behind that */
};
enum { HELD_MAX = 1 << 16 };
enum {
	REACHED_GOOD,
	REACHED_REFUSED,
	REACHED_SOURCE,
	REACHED_OTHER_CHANNEL,
	REACHED_PREEMPT,
	REACHED_RESUMED,
	REACHED_RESUMED_SOURCE,
	REACHED_COUNT
};

static Build twin, forward, before;
static const uint8_t pongs[] = { 0, 2, 0, 4, 0, 0, 0, 1, 0, 2, 0, 4, 0, 0, 0, 2 };

/* Main of postcopy up to pages behind the package. */
static void put_before(Build *build)
{
	uint8_t data[16];

	put_setup(build);
	store_be64(data, SAMPLE_PAGE);
	store_be64(data + 8, SAMPLE_PAGE);
	put_command(build, COMMAND_POSTCOPY_ADVISE, data, sizeof(data));
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	store_be32(data, 5 + 34 + 5); /* LISTEN, the device, RUN */
	put_command(build, COMMAND_PACKAGED, data, 4);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
	put_part(build, RAM_ID);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = {
		"good",
		"refused",
		"good at the source",
		"good on multifd",
		"good on preempt",
		"good behind a recovery",
		"good at the source behind a recovery",
	};

	(void)argc;
	(void)argv;
	twin = forward = before = BUILD_INIT;
	put_twin(&twin);
	put_sample_main(&forward);
	put_before(&before);
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
	static const GuardNode node = { .alias = SAMPLE_DISK, .size_bytes = SAMPLE_DISK_BYTES };
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

/* False if there is nothing of that kind with what was agreed. */
static bool come_so_far(Guard *guard, uint8_t choice, uint8_t agreed)
{
	Error err = ERROR_INIT;

	if (choice & CHOICE_BEFORE) {
		if (!(agreed & GUARD_AGREED(GUARD_POSTCOPY)))
			return false;
		if (choice & CHOICE_SOURCE)
			fuzz_guard_show(guard, 0, pongs, sizeof(pongs));
		else
			fuzz_guard_show(guard, 0, before.bytes.data, before.bytes.used);
	}
	return !(choice & CHOICE_RESUME) || guard_resume(guard, &err);
}

static void note_good(uint8_t choice, uint8_t agreed, unsigned int channel)
{
	if (choice & CHOICE_RESUME)
		fuzz_reached(choice & CHOICE_SOURCE ? REACHED_RESUMED_SOURCE : REACHED_RESUMED);
	else if (choice & CHOICE_SOURCE)
		fuzz_reached(REACHED_SOURCE);
	else if (!channel)
		fuzz_reached(REACHED_GOOD);
	else if (agreed & GUARD_AGREED(GUARD_PREEMPT) && channel == channels_of(agreed) - 1)
		fuzz_reached(REACHED_PREEMPT);
	else
		fuzz_reached(REACHED_OTHER_CHANNEL);
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
	if (!come_so_far(guard, choice, agreed))
		return false;
	if (!fuzz_guard_feed(guard, choice & CHOICE_WARN ? GUARD_WARN : GUARD_ENFORCE, channel,
			     pieces, data, size, &out, ret_err)) {
		fuzz_reached(REACHED_REFUSED);
		return true;
	}
	note_good(choice, agreed, channel);
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
