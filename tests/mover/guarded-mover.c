/* SPDX-License-Identifier: Apache-2.0 */
/* A mover as the product's, but with a filter, with keys that are soon used up, padded records and
 * a short time for proofs: what else would take too long or could not be seen. */
#include <stdlib.h>
#include <string.h>

#include "programs/mover/mover.h"

/* What the filter leaves untaken, as the guard does with half a unit: a lot of each full record,
 * which is none that a stream of the tests ends with. The rest is handed on in two pieces. */
enum { REST = 100003 };

typedef struct TestGuard {
	MoverSide side;
	void (*on_warning)(void *context, const char *text);
	void *context;
	bool odd[LIMIT_CHANNELS], cut[LIMIT_CHANNELS];
	bool ended[LIMIT_CHANNELS];
	/* bytes that were not taken, to be shown again */
	uint8_t rest[LIMIT_CHANNELS][REST];
	size_t left[LIMIT_CHANNELS];
	uint64_t taken[LIMIT_CHANNELS];
} TestGuard;

static void *test_open(const FilterSetup *setup, Error *err)
{
	TestGuard *guard = calloc(1, sizeof(*guard));

	if (!guard || setup->channels > LIMIT_CHANNELS) {
		free(guard);
		error_set(err, ERROR_INTERNAL, "no memory for the guard");
		return NULL;
	}
	guard->side = setup->side;
	guard->on_warning = setup->on_warning;
	guard->context = setup->context;
	return guard;
}

static bool check_rest(const TestGuard *guard, unsigned int channel, const uint8_t *window,
		       size_t size, Error *err)
{
	if (guard->ended[channel] || size <= guard->left[channel] ||
	    memcmp(window, guard->rest[channel], guard->left[channel]))
		return error_set(err, ERROR_INTERNAL,
				 "the %zu bytes left at %llu do not come again",
				 guard->left[channel], (unsigned long long)guard->taken[channel]);
	return true;
}

static bool test_take(void *context, unsigned int channel, const uint8_t *window, size_t size,
		      const GuardSink *sink, size_t *ret_taken, Error *err)
{
	TestGuard *guard = context;
	bool full = size - guard->left[channel] == RECORD_CONTENT_MAX;
	size_t taken = full ? size - REST : size, half = taken / 2;

	if (!check_rest(guard, channel, window, size, err))
		return false;
	if (guard->side == MOVER_DESTINATION && memmem(window, size, "POISON", 6))
		return error_set(err, ERROR_PEER, "poison at byte %llu",
				 (unsigned long long)guard->taken[channel]);
	/* Where it says so it only warns, and once more at the end. */
	if (guard->side == MOVER_DESTINATION && memmem(window, size, "ODD BYTES", 9)) {
		guard->odd[channel] = true;
		guard->on_warning(guard->context, "guard-odd: bytes that are odd");
	}
	guard->cut[channel] = memmem(window, size, "CUT HERE", 8);
	guard->taken[channel] += taken;
	guard->left[channel] = size - taken;
	memcpy(guard->rest[channel], window + taken, size - taken);
	*ret_taken = taken;
	return sink->write(sink->context, window, half, err) &&
	       sink->write(sink->context, window + half, taken - half, err);
}

static bool test_end(void *context, unsigned int channel, size_t left, Error *err)
{
	TestGuard *guard = context;

	if (left != guard->left[channel])
		return error_set(err, ERROR_INTERNAL, "%zu bytes left, not %zu", left,
				 guard->left[channel]);
	guard->ended[channel] = true;
	if (guard->odd[channel])
		guard->on_warning(guard->context, "guard-end: ends too soon");
	return (!left && !guard->cut[channel]) || error_set(err, ERROR_PEER, "ends within a unit");
}

static void test_close(void *context)
{
	free(context);
}

int main(int argc, char **argv)
{
	static const StreamFilter filter = { "test-guard", test_open, test_take,
					     test_end,	   NULL,      test_close };
	const MoverConfig config = {
		.filter = &filter,
		.disk_filter = &filter_nbd,
		.filter_always = true,
		.limits = { .records = 8, .blocks = 1 << 17 },
		.padding = 512,
		.proof_us = 200000,
	};

	return mover_main(argc, argv, &config);
}
