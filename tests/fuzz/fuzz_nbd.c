/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd/: one byte of choice (bit 0: whose guard, bit 1: READ may come, bit 2: the own end is
 * watched, above them the size of pieces), then a conversation (tests/nbd/talk.h). Both guards must
 * say the same of it, however it is cut.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/nbd/talk.h"

enum {
	REACHED_TRANSMISSION,
	REACHED_WRITTEN,
	REACHED_ZEROED,
	REACHED_READ,
	REACHED_ERROR,
	REACHED_ANSWERED,
	REACHED_CLOSED,
	REACHED_REFUSED,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "transmission",	"payload of a WRITE",
					     "WRITE_ZEROES",	"payload of a READ",
					     "an error",	"all answered",
					     "closed in order", "refused" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void judge_bounds(const TalkResult *result)
{
	const NbdGuardCounters *c = &result->counters;

	if (c->in_flight > NBD_GUARD_REQUESTS_MAX || c->in_flight_most > NBD_GUARD_REQUESTS_MAX ||
	    c->in_flight_bytes_most > NBD_GUARD_IN_FLIGHT_BYTES || c->in_flight > c->requests)
		fuzz_fail("more waits than may");
	if (c->written_bytes > result->taken[NBD_FROM_CLIENT] && !result->refused)
		fuzz_fail("more was written than said");
	if (result->refused &&
	    (strncmp(result->err.text, "nbd-", 4) != 0 ||
	     (result->err.category != ERROR_PEER && result->err.category != ERROR_HYPERVISOR)))
		fuzz_fail("a refusal without a rule");
}

static void tell_reached(const TalkResult *result, bool closed)
{
	const NbdGuardCounters *c = &result->counters;

	if (c->requests)
		fuzz_reached(REACHED_TRANSMISSION);
	if (c->written_bytes)
		fuzz_reached(REACHED_WRITTEN);
	if (c->zeroed_bytes)
		fuzz_reached(REACHED_ZEROED);
	if (c->read_bytes)
		fuzz_reached(REACHED_READ);
	if (c->errors)
		fuzz_reached(REACHED_ERROR);
	if (c->requests > 3 && !c->in_flight)
		fuzz_reached(REACHED_ANSWERED);
	if (closed)
		fuzz_reached(REACHED_CLOSED);
	if (result->refused)
		fuzz_reached(REACHED_REFUSED);
}

/* Whether it may end behind what was said is a part of the verdict. */
static bool play(const NbdGuardOptions *options, const uint8_t *data, size_t size, size_t piece,
		 bool watch, TalkResult *ret_result)
{
	Error err = ERROR_INIT;
	AUTO_NBD_GUARD NbdGuard *guard = nbd_guard_new(options, &err);

	if (!guard)
		fuzz_fail("no guard");
	talk_play(guard, options, data, size, piece, watch, ret_result);
	judge_bounds(ret_result);
	return nbd_guard_end(guard, NBD_FROM_CLIENT, ret_result->left[NBD_FROM_CLIENT], &err) &&
	       nbd_guard_end(guard, NBD_FROM_SERVER, ret_result->left[NBD_FROM_SERVER], &err);
}

static void judge_same(const TalkResult *one, const TalkResult *other)
{
	/* What begins with "nbd-..." names the byte too. */
	if (one->refused != other->refused || strcmp(one->err.text, other->err.text) != 0)
		fuzz_fail("another verdict");
	if (memcmp(&one->counters, &other->counters, sizeof(one->counters)) != 0)
		fuzz_fail("other counters");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NbdGuardOptions options;
	TalkResult whole, cut, other;
	bool closed, closed_cut;
	uint8_t choice;

	if (!size)
		return 0;
	choice = *data;
	options = talk_options(choice & 1 ? NBD_FROM_SERVER : NBD_FROM_CLIENT,
			       choice & 2 ? NBD_ACCESS_READ_WRITE : NBD_ACCESS_RECEIVE);
	closed = play(&options, data + 1, size - 1, 0, false, &whole);
	closed_cut = play(&options, data + 1, size - 1, (choice >> 3) + 1U, choice & 4, &cut);
	judge_same(&whole, &cut);
	if (closed != closed_cut)
		fuzz_fail("another end");
	options.own = options.own == NBD_FROM_CLIENT ? NBD_FROM_SERVER : NBD_FROM_CLIENT;
	play(&options, data + 1, size - 1, 0, false, &other);
	judge_same(&whole, &other);
	if (whole.refused && (whole.err.category == other.err.category))
		fuzz_fail("the fault of both");
	tell_reached(&whole, closed);
	return 0;
}
