/* SPDX-License-Identifier: Apache-2.0 */
/* Channels that are shown by threads of their own at the same time. Build with -Db_sanitize=thread
 * to see what they share. */
#include "tests/guard/samples.h"

#include <pthread.h>
#include <string.h>

#include "tests/qemustream/multifd_samples.h"

enum { PIECE = 301, PACKETS = 24, ROUNDS = 20 };

typedef struct Feeder {
	Guard *guard;
	unsigned int channel;
	Build bytes;
	Sink sink;
	pthread_t thread;
	bool ok;
	Error err;
} Feeder;

static void *feed(void *context)
{
	Feeder *feeder = context;

	feeder->ok =
		sample_feed(feeder->guard, feeder->channel, feeder->bytes.bytes.data,
			    feeder->bytes.bytes.used, PIECE, true, &feeder->sink, &feeder->err);
	return NULL;
}

/* The last block of the VM is one whose length main's thread announces while pages of it come. */
static void put_multifd(Build *build, uint8_t id)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(SAMPLE_SINK_MAX);

	sample_multifd_initial(&bytes, id);
	for (uint64_t i = 0; i < PACKETS; i++) {
		sample_multifd_sync(&bytes, 2 * i);
		sample_multifd_pages(&bytes, i % 2 ? "pc.ram" : SAMPLE_ACPI, 1, 3, 2 * i + 1);
	}
	put_bytes(build, bytes.data, bytes.used);
}

static void feed_all(const uint8_t ids[static SAMPLE_CHANNELS], Feeder feeders[SAMPLE_CHANNELS],
		     GuardCounters *ret_counters)
{
	const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_GUARD Guard *guard = sample_guard(&options);

	for (unsigned int i = 0; i < SAMPLE_CHANNELS; i++) {
		feeders[i] = (Feeder){
			.guard = guard, .channel = i, .bytes = BUILD_INIT, .sink = SINK_INIT
		};
		if (i)
			put_multifd(&feeders[i].bytes, ids[i]);
		else
			put_sample_main(&feeders[i].bytes);
	}
	for (unsigned int i = 0; i < SAMPLE_CHANNELS; i++)
		assert_int_equal(pthread_create(&feeders[i].thread, NULL, feed, &feeders[i]), 0);
	/* Read while they are written. */
	guard_counters(guard, ret_counters);
	for (unsigned int i = 0; i < SAMPLE_CHANNELS; i++)
		assert_int_equal(pthread_join(feeders[i].thread, NULL), 0);
	guard_counters(guard, ret_counters);
}

static void clear_all(Feeder feeders[SAMPLE_CHANNELS])
{
	for (unsigned int i = 0; i < SAMPLE_CHANNELS; i++) {
		build_clear(&feeders[i].bytes);
		sink_clear(&feeders[i].sink);
	}
}

static void test_all_pass(void **state)
{
	static const uint8_t ids[SAMPLE_CHANNELS] = { 0, 1, 0 };

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		Feeder feeders[SAMPLE_CHANNELS];
		GuardCounters counters;

		feed_all(ids, feeders, &counters);
		for (unsigned int i = 0; i < SAMPLE_CHANNELS; i++) {
			const Feeder *feeder = &feeders[i];

			if (!feeder->ok)
				fail_msg("channel %u: %s", i, feeder->err.text);
			assert_int_equal(feeder->sink.bytes.used, feeder->bytes.bytes.used);
			assert_memory_equal(feeder->sink.bytes.data, feeder->bytes.bytes.data,
					    feeder->bytes.bytes.used);
		}
		assert_int_equal(counters.ram_pages, 2 + 2 * PACKETS);
		assert_int_equal(counters.ram_zero_pages, 1 + 2 * 3 * PACKETS);
		clear_all(feeders);
	}
}

/* Whichever comes second is refused, and what it does to the others is that they end too. */
static void test_one_id_for_two(void **state)
{
	static const uint8_t ids[SAMPLE_CHANNELS] = { 0, 1, 1 };

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int named = 0;
		Feeder feeders[SAMPLE_CHANNELS];
		GuardCounters counters;

		feed_all(ids, feeders, &counters);
		for (unsigned int i = 1; i < SAMPLE_CHANNELS; i++)
			named += !feeders[i].ok &&
				 !strncmp(feeders[i].err.text, "guard-multifd-id:", 17);
		assert_int_equal(named, 1);
		clear_all(feeders);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_pass),
		cmocka_unit_test(test_one_id_for_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
