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
		     ERROR_PEER, "guard-end", &err);
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

/* --- early sections --- */

#define EARLY_DEVICE(name)                                                                         \
	"{\"name\": \"" name "\", \"instance_id\": 0, \"vmsd_name\": \"" name                      \
	"\", \"version\": 1, \"fields\": [{\"name\": \"x\", \"type\": \"buffer\", \"size\": 10}]}"

static void put_early_finish(Build *build)
{
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_eof(build);
	put_vmdesc(build, "{\"page_size\": 4096, \"devices\": [" EARLY_DEVICE(
				  "early") ", " EARLY_DEVICE("timer") "]}");
}

/* One that goes before memory, and a device that does not. */
static void put_early_twin(Build *build)
{
	put_begin(build);
	put_subsection(build, "configuration/capabilities", 1);
	put_be32(build, 1);
	put_name(build, "x-ignore-shared");
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, SAMPLE_RAM_PAGES * PAGE);
	put_block(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE);
	put_be64(build, 0);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_device(build, 9, "early");
	put_early_finish(build);
}

static void put_early_ram(Build *build)
{
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, SAMPLE_RAM_PAGES * PAGE);
	put_block(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
}

static void put_empty_part(Build *build)
{
	put_part(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
}

static bool feed_early(const Build *build, size_t piece, bool end, Sink *sink, Error *err)
{
	static const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_BUILD Build twin = BUILD_INIT;
	GuardExpected expected = { .machine = SAMPLE_MACHINE, .channels = 1 };
	AUTO_GUARD Guard *guard = NULL;

	put_early_twin(&twin);
	expected.twin = twin.bytes.data;
	expected.twin_size = twin.bytes.used;
	guard = guard_new(&options, &expected, err);
	if (!guard)
		fail_msg("%s", err->text);
	return sample_feed(guard, 0, build->bytes.data, build->bytes.used, piece, end, sink, err);
}

/* It goes on with its footer, and what describes it comes at the end. */
static void test_early(void **state)
{
	static const size_t pieces[] = { 1, 7, PIECE, SAMPLE_SINK_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		AUTO_BUILD Build build = BUILD_INIT;
		AUTO_SINK Sink sink = SINK_INIT, part = SINK_INIT;
		size_t footer;
		Error err;

		put_setup(&build);
		put_early_ram(&build);
		put_device(&build, 9, "early");
		footer = build.bytes.used;
		assert_works(feed_early(&build, pieces[i], false, &part, &err), &err);
		assert_int_equal(part.bytes.used, footer);
		build.bytes.used--;
		part.bytes.used = 0;
		assert_works(feed_early(&build, pieces[i], false, &part, &err), &err);
		assert_true(part.bytes.used < footer - 20);
		build.bytes.used++;
		put_empty_part(&build);
		put_early_finish(&build);
		assert_works(feed_early(&build, pieces[i], true, &sink, &err), &err);
		assert_int_equal(sink.bytes.used, build.bytes.used);
		assert_memory_equal(sink.bytes.data, build.bytes.data, build.bytes.used);
	}
}

static void test_early_refused(void **state)
{
	AUTO_BUILD Build name = BUILD_INIT, late = BUILD_INIT, again = BUILD_INIT;
	AUTO_SINK Sink sink = SINK_INIT;
	Error err;

	(void)state;
	put_setup(&name);
	put_device(&name, 9, "timer");
	assert_fails(feed_early(&name, PIECE, false, &sink, &err), ERROR_PEER,
		     "guard-section-early: main channel", &err);
	put_setup(&late);
	put_early_ram(&late);
	put_empty_part(&late);
	put_device(&late, 9, "early");
	assert_fails(feed_early(&late, PIECE, false, &sink, &err), ERROR_PEER,
		     "section FULL of early before the END of ram", &err);
	put_setup(&again);
	put_early_ram(&again);
	put_device(&again, 9, "early");
	put_device(&again, 10, "early");
	assert_fails(feed_early(&again, PIECE, false, &sink, &err), ERROR_PEER,
		     "guard-section-early", &err);
}

/* --- what was agreed --- */

static void test_features(void **state)
{
	uint32_t agreed = 1;
	Error err;

	(void)state;
	assert_works(guard_features_parse("", &agreed, &err), &err);
	assert_int_equal(agreed, 0);
	assert_works(guard_features_parse("postcopy-ram,switchover-ack", &agreed, &err), &err);
	assert_int_equal(agreed, GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_SWITCHOVER_ACK));
	for (int i = 0; i < GUARD_FEATURE_COUNT; i++) {
		assert_works(
			guard_features_parse(guard_feature_word((GuardFeature)i), &agreed, &err),
			&err);
		assert_int_equal(agreed, GUARD_AGREED(i));
	}
	assert_fails(guard_features_parse("xbzrle,", &agreed, &err), ERROR_USAGE, "unknown", &err);
	assert_fails(guard_features_parse("xbzrl", &agreed, &err), ERROR_USAGE, "feature xbzrl is",
		     &err);
	assert_fails(guard_features_parse("xbzrle,xbzrle", &agreed, &err), ERROR_USAGE, "twice",
		     &err);
}

static void test_features_together(void **state)
{
	static const struct {
		const char *words;
		unsigned int channels;
		const char *refusal;
	} cases[] = {
		{ "postcopy-ram,postcopy-preempt,postcopy-recovery,xbzrle", 2, NULL },
		{ "multifd-zlib,postcopy-ram", 2, NULL },
		{ "postcopy-preempt", 2, "postcopy-preempt without postcopy-ram" },
		{ "postcopy-recovery", 1, "postcopy-recovery without postcopy-ram" },
		{ "postcopy-ram,postcopy-preempt", 1, "1 channels, 2 to" },
		{ "multifd-zlib,multifd-zstd", 2, "multifd-zlib with multifd-zstd" },
		{ "multifd-zlib", 1, "without multifd" },
		{ "xbzrle", 2, "xbzrle with multifd" },
	};
	static const GuardOptions options = { .side = GUARD_DESTINATION };
	AUTO_BUILD Build twin = BUILD_INIT;

	(void)state;
	put_twin(&twin);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		GuardExpected expected = { .machine = SAMPLE_MACHINE,
					   .channels = cases[i].channels,
					   .twin = twin.bytes.data,
					   .twin_size = twin.bytes.used };
		AUTO_GUARD Guard *guard = NULL;
		Error err = ERROR_INIT;

		assert_works(guard_features_parse(cases[i].words, &expected.agreed, &err), &err);
		guard = guard_new(&options, &expected, &err);
		if (cases[i].refusal)
			support_check_error(&err, ERROR_INTERNAL, cases[i].refusal, __FILE__,
					    __LINE__);
		else
			assert_non_null(guard);
	}
}

/* --- what a source learns, and recovery --- */

static void test_learn(void **state)
{
	static const GuardOptions options = { .side = GUARD_SOURCE };
	AUTO_GUARD Guard *guard = sample_guard_agreed(&options, GUARD_AGREED(GUARD_POSTCOPY));
	AUTO_GUARD Guard *other = sample_guard_agreed(&options, GUARD_AGREED(GUARD_POSTCOPY));
	AUTO_BUILD Build own = BUILD_INIT;
	bool done = false;
	size_t at = 0;
	Error err;

	(void)state;
	put_sample_main(&own);
	while (!done) {
		assert_true(at < own.bytes.used);
		assert_works(guard_learn(guard, own.bytes.data + at++, 1, &done, &err), &err);
	}
	/* Not one byte behind the list was wanted. */
	assert_true(at < 400);
	assert_works(guard_learn(guard, (const uint8_t *)"x", 1, &done, &err), &err);
	assert_true(done);
	own.bytes.data[0] ^= 1;
	assert_fails(guard_learn(other, own.bytes.data, own.bytes.used, &done, &err),
		     ERROR_HYPERVISOR, "own QEMU", &err);
}

static void test_resume_refused(void **state)
{
	static const GuardOptions destination = { .side = GUARD_DESTINATION };
	static const GuardOptions source = { .side = GUARD_SOURCE };
	const uint32_t agreed = GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_RECOVERY);
	AUTO_GUARD Guard *plain = sample_guard(&destination);
	AUTO_GUARD Guard *early = sample_guard_agreed(&destination, agreed);
	AUTO_GUARD Guard *back = sample_guard_agreed(&source, agreed);
	Error err;

	(void)state;
	assert_fails(guard_resume(plain, &err), ERROR_CONFLICT, "no recovery was agreed", &err);
	assert_fails(guard_resume(early, &err), ERROR_CONFLICT, "no state to recover from", &err);
	assert_fails(guard_resume(back, &err), ERROR_CONFLICT, "no state to recover from", &err);
}

/* After a cut main asks what was received, each block once, and goes on. */
static void put_postcopy(Build *build)
{
	uint8_t data[16];

	put_setup(build);
	store_be64(data, PAGE);
	store_be64(data + 8, PAGE);
	put_command(build, COMMAND_POSTCOPY_ADVISE, data, sizeof(data));
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	store_be32(data, 5 + 34 + 5);
	put_command(build, COMMAND_PACKAGED, data, 4);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
}

static void test_resume(void **state)
{
	static const GuardOptions options = { .side = GUARD_DESTINATION };
	const uint32_t agreed = GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_RECOVERY);

	(void)state;
	for (int asked = 1; asked <= 2; asked++) {
		AUTO_GUARD Guard *guard = sample_guard_agreed(&options, agreed);
		AUTO_BUILD Build first = BUILD_INIT, second = BUILD_INIT;
		AUTO_SINK Sink sink = SINK_INIT, again = SINK_INIT;
		Error err;
		bool ok;

		put_postcopy(&first);
		put_part(&first, RAM_ID);
		assert_works(sample_feed(guard, 0, first.bytes.data, first.bytes.used, PIECE, false,
					 &sink, &err),
			     &err);
		assert_works(guard_resume(guard, &err), &err);
		for (int i = 0; i < asked; i++)
			put_command(&second, COMMAND_RECV_BITMAP, "\6pc.ram", 7);
		put_command(&second, COMMAND_POSTCOPY_RESUME, NULL, 0);
		put_part(&second, RAM_ID);
		put_zero(&second, "pc.ram", 0);
		put_eos(&second);
		put_footer(&second, RAM_ID);
		put_end(&second, RAM_ID);
		put_eos(&second);
		put_footer(&second, RAM_ID);
		put_eof(&second);
		ok = sample_feed(guard, 0, second.bytes.data, second.bytes.used, PIECE, true,
				 &again, &err);
		if (asked == 1) {
			assert_true(ok);
			assert_int_equal(again.bytes.used, second.bytes.used);
		} else {
			assert_false(ok);
			support_check_error(&err, ERROR_PEER, "guard-command: main channel",
					    __FILE__, __LINE__);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sync_ahead),   cmocka_unit_test(test_uuid_agreed),
		cmocka_unit_test(test_twin_is_ours), cmocka_unit_test(test_sink_fails),
		cmocka_unit_test(test_held),	     cmocka_unit_test(test_held_without_tail),
		cmocka_unit_test(test_early),	     cmocka_unit_test(test_early_refused),
		cmocka_unit_test(test_features),     cmocka_unit_test(test_features_together),
		cmocka_unit_test(test_learn),	     cmocka_unit_test(test_resume_refused),
		cmocka_unit_test(test_resume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
