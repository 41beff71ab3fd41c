/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard keeps beside its rules: what it is told, what it holds, what channels share. */
#include "tests/guard/samples.h"

#include <string.h>

#include "tests/qemustream/multifd_samples.h"

enum { PIECE = 5000 };

/* One packet again and again: what is in it does not matter, its number may stand still. */
static bool feed_syncs(Guard *guard, uint64_t count, Error *err)
{
	enum { AT_ONCE = 64 };
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	const GuardSink out = sink_of(&sink);
	size_t taken;

	for (int i = 0; i < AT_ONCE; i++)
		put_sync(&build, 1);
	for (uint64_t done = 0; done < count; done += AT_ONCE) {
		size_t size =
			count - done < AT_ONCE ? (count - done) * SAMPLE_HEADER : build.bytes.used;

		if (!guard_take(guard, 1, build.bytes.data, size, &out, &taken, err))
			return false;
		assert_int_equal(taken, size);
		sink.bytes.used = 0;
	}
	return true;
}

static void feed_initial(Guard *guard)
{
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err;

	put_initial(&build, 1);
	assert_works(sample_feed(guard, 1, build.bytes.data, build.bytes.used, PIECE, false, &sink,
				 &err),
		     &err);
}

static void test_sync_ahead(void **state)
{
	const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_GUARD Guard *guard = sample_guard(&options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err = ERROR_INIT;

	(void)state;
	feed_initial(guard);
	assert_works(feed_syncs(guard, 1 << 20, &err), &err);
	/* Main comes along: two EOS, one FLUSH. */
	put_setup(&build);
	put_sample_ram_start(&build, SAMPLE_ACPI_PAGES);
	put_part(&build, RAM_ID);
	put_be64(&build, RAM_FLAG_MULTIFD_FLUSH);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	assert_works(sample_feed(guard, 0, build.bytes.data, build.bytes.used, PIECE, false, &sink,
				 &err),
		     &err);
	assert_works(feed_syncs(guard, 3, &err), &err);
	assert_fails(feed_syncs(guard, 1, &err), ERROR_PEER,
		     "guard-multifd-sync: channel 1 (multifd), byte", &err);
}

/* Without an expected UUID the channels have to agree. */
static void test_uuid_agreed(void **state)
{
	static const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_BUILD Build twin = BUILD_INIT, first = BUILD_INIT, second = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	GuardExpected expected = { .machine = SAMPLE_MACHINE, .channels = SAMPLE_CHANNELS };
	Error err = ERROR_INIT;

	(void)state;
	put_twin(&twin);
	expected.twin = twin.bytes.data;
	expected.twin_size = twin.bytes.used;
	put_initial(&first, 0);
	put_initial(&second, 1);
	for (int other = 0; other < 2; other++) {
		AUTO_GUARD Guard *guard = guard_new(&options, &expected, &err);
		bool ok;

		assert_non_null(guard);
		second.bytes.data[23] ^= (uint8_t)other;
		assert_true(sample_feed(guard, 1, first.bytes.data, first.bytes.used, PIECE, false,
					&sink, &err));
		ok = sample_feed(guard, 2, second.bytes.data, second.bytes.used, PIECE, false,
				 &sink, &err);
		assert_int_equal(ok, !other);
	}
	assert_memory_equal(err.text, "guard-uuid:", 11);
}

static void test_twin_is_ours(void **state)
{
	static const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_BUILD Build twin = BUILD_INIT;
	GuardExpected expected = { .machine = "pc-q35-9.2", .channels = 1 };
	Error err;

	(void)state;
	put_twin(&twin);
	expected.twin = twin.bytes.data;
	expected.twin_size = twin.bytes.used;
	assert_fails(guard_new(&options, &expected, &err), ERROR_INTERNAL, "expected pc-q35-9.2",
		     &err);
	memcpy(expected.machine, SAMPLE_MACHINE, sizeof(SAMPLE_MACHINE));
	expected.twin_size = 40;
	assert_fails(guard_new(&options, &expected, &err), ERROR_INTERNAL, "before any device",
		     &err);
	expected.twin_size = twin.bytes.used;
	expected.dump = (const uint8_t *)"{";
	expected.dump_size = 1;
	assert_fails(guard_new(&options, &expected, &err), ERROR_INTERNAL, "of its devices", &err);
}

/* A sink that fails ends all, in mode warn too. */
static void test_sink_fails(void **state)
{
	const GuardOptions options = { .mode = GUARD_WARN, .side = GUARD_DESTINATION };
	AUTO_GUARD Guard *guard = sample_guard(&options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err;

	(void)state;
	put_sample_main(&build);
	sink.fails = true;
	assert_fails(
		sample_feed(guard, 0, build.bytes.data, build.bytes.used, PIECE, true, &sink, &err),
		ERROR_IO, "closed", &err);
	sink.fails = false;
	assert_fails(sample_feed(guard, 1, build.bytes.data, 1, 1, false, &sink, &err), ERROR_PEER,
		     "was refused", &err);
}

/* Device state goes out in the call that brings its last byte, and not one byte before. */
static void test_held(void **state)
{
	const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_GUARD Guard *guard = sample_guard(&options);
	AUTO_BUILD Build build = BUILD_INIT, finish = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	GuardCounters counters;
	size_t device_bytes;
	Error err;

	(void)state;
	put_sample_main(&build);
	put_device(&finish, SAMPLE_DEVICE_ID, "timer");
	put_eof(&finish);
	put_vmdesc(&finish, SAMPLE_DESCRIPTION);
	device_bytes = finish.bytes.used;
	assert_works(sample_feed(guard, 0, build.bytes.data, build.bytes.used - 1, PIECE, false,
				 &sink, &err),
		     &err);
	assert_int_equal(sink.bytes.used, build.bytes.used - device_bytes);
	assert_works(sample_feed(guard, 0, build.bytes.data + build.bytes.used - 1, 1, 1, false,
				 &sink, &err),
		     &err);
	assert_int_equal(sink.bytes.used, build.bytes.used);
	assert_memory_equal(sink.bytes.data, build.bytes.data, build.bytes.used);
	guard_counters(guard, &counters);
	assert_int_equal(counters.device_bytes, device_bytes);
	assert_int_equal(counters.device_sections, 1);
	assert_int_equal(counters.ram_pages, 2);
	assert_int_equal(counters.ram_zero_pages, 1);
	assert_fails(sample_feed(guard, 0, (const uint8_t *)"}", 1, 1, false, &sink, &err),
		     ERROR_PEER, "guard-grammar", &err);
}

/* The same where the stream needs no length: nothing but globalstate. */
static void test_held_without_tail(void **state)
{
	static const char description[] =
		"{\"page_size\": 4096, \"devices\": [{\"name\": \"globalstate\", "
		"\"instance_id\": 0, \"vmsd_name\": \"globalstate\", \"version\": 1, \"fields\": "
		"[{\"name\": \"x\", \"type\": \"buffer\", \"size\": 104}]}]}";
	const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_GUARD Guard *guard = sample_guard(&options);
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err;

	(void)state;
	put_setup(&build);
	put_sample_ram_start(&build, SAMPLE_ACPI_PAGES);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_global_state(&build, 5, "running");
	put_footer(&build, 5);
	put_eof(&build);
	put_vmdesc(&build, description);
	assert_works(
		sample_feed(guard, 0, build.bytes.data, build.bytes.used, 3, true, &sink, &err),
		&err);
	assert_int_equal(sink.bytes.used, build.bytes.used);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sync_ahead),   cmocka_unit_test(test_uuid_agreed),
		cmocka_unit_test(test_twin_is_ours), cmocka_unit_test(test_sink_fails),
		cmocka_unit_test(test_held),	     cmocka_unit_test(test_held_without_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
