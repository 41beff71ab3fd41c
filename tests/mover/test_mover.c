/* SPDX-License-Identifier: Apache-2.0 */
/* Two real movers, wired as the engines would: does everything arrive, byte by byte? */
#include "tests/support/support.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/aead.h"
#include "tests/mover/rig.h"

enum { MIB = 1 << 20 };

static RigOptions plain_options(void)
{
	return (RigOptions){
		.path = rig_program(), .aead = "openssl", .sealed = true, .channels = 1
	};
}

static void start_streams(Rig *rig, RigStream *writers, RigStream *readers, uint64_t bytes,
			  MoverSide from)
{
	for (unsigned int i = 0; i < rig_channels(rig); i++) {
		uint64_t seed = 77 + 1000 * (uint64_t)from + i;
		unsigned int channel = rig_channel(rig, i);

		writers[i] =
			(RigStream){ .fd = rig->qemu[from][channel], .seed = seed, .bytes = bytes };
		readers[i] = (RigStream){ .fd = rig->qemu[!from][channel],
					  .seed = seed,
					  .bytes = bytes };
		rig_read_start(&readers[i]);
		rig_write_start(&writers[i]);
	}
}

static void check_streams(const Rig *rig, RigStream *writers, RigStream *readers)
{
	for (unsigned int i = 0; i < rig_channels(rig); i++) {
		rig_stream_join(&writers[i]);
		rig_stream_join(&readers[i]);
		assert_true(writers[i].clean);
		assert_true(readers[i].clean);
		assert_true(readers[i].same);
		assert_int_equal(readers[i].moved, writers[i].bytes);
	}
}

/* The bytes of one channel. */
static void check_accounts(const Rig *rig, uint64_t forth, uint64_t back)
{
	const MoverStats *s = &rig->movers[MOVER_SOURCE].stats;
	const MoverStats *d = &rig->movers[MOVER_DESTINATION].stats;
	const uint64_t streams = rig->options.channels, all = rig_channels(rig);

	assert_int_equal(s->stream_out_bytes, streams * forth);
	assert_int_equal(d->stream_in_bytes, streams * forth);
	assert_int_equal(s->stream_in_bytes, streams * back);
	assert_int_equal(d->stream_out_bytes, streams * back);
	for (unsigned int i = 0; i < LIMIT_DISKS; i++) {
		assert_int_equal(s->disk_bytes[i], i < rig->options.disks ? forth : 0);
		assert_int_equal(d->disk_bytes[i], i < rig->options.disks ? forth : 0);
	}
	assert_int_equal(s->wire_out_bytes, d->wire_in_bytes);
	assert_int_equal(s->wire_in_bytes, d->wire_out_bytes);
	assert_int_equal(s->records_out, d->records_in);
	assert_true(s->wire_out_bytes > all * forth &&
		    s->wire_out_bytes < all * forth + all * forth / 50 + 4096);
	assert_true(s->first_byte_us && s->last_byte_us >= s->first_byte_us);
	assert_true(s->cpu_us > 0 && d->cpu_us > 0);
	assert_true(s->peak_memory_bytes > 0);
#ifndef __SANITIZE_ADDRESS__
	assert_true(s->peak_memory_bytes < (32 + 2 * all) * MIB);
	assert_true(d->peak_memory_bytes < (32 + 2 * all) * MIB);
#endif
}

static void move_both_ways(const RigOptions *options, uint64_t forth, uint64_t back)
{
	Rig rig;
	RigStream writers[LIMIT_CHANNELS], readers[LIMIT_CHANNELS];
	RigStream back_writers[LIMIT_CHANNELS], back_readers[LIMIT_CHANNELS];

	rig_start(&rig, options);
	rig_connect_all(&rig);
	start_streams(&rig, writers, readers, forth, MOVER_SOURCE);
	start_streams(&rig, back_writers, back_readers, back, MOVER_DESTINATION);
	check_streams(&rig, writers, readers);
	check_streams(&rig, back_writers, back_readers);
	for (int side = 0; side < RIG_SIDES; side++) {
		rig_wait(&rig, (MoverSide)side, &rig.movers[side].done);
		for (unsigned int i = 0; i < rig_channels(&rig); i++) {
			const RigMover *mover = &rig.movers[side];
			unsigned int channel = rig_channel(&rig, i);
			bool out = side == MOVER_SOURCE;

			assert_true(mover->ended[0][channel] && mover->ended[1][channel]);
			assert_int_equal(mover->ended_bytes[out][channel], forth);
			assert_int_equal(mover->ended_bytes[!out][channel], back);
		}
	}
	check_accounts(&rig, forth, back);
	rig_stop(&rig);
}

static void test_moves_everything(void **state)
{
	static const char *const names[] = { "openssl", "ipsec-mb" };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(names); p++) {
		for (int sealed = 0; sealed < 2; sealed++) {
			RigOptions options = plain_options();

			if (!aead_provider_by_name(names[p]))
				continue;
			options.aead = names[p];
			options.sealed = sealed;
			options.channels = 3;
			move_both_ways(&options, 20 * MIB + 4104, 1 * MIB + 24);
		}
	}
}

/* Filters see every piece in order, keys change every few records, records are padded. */
static void test_moves_everything_through_a_filter(void **state)
{
	RigOptions options = plain_options();

	(void)state;
	options.path = getenv("SEALIFT_TEST_GUARDED_MOVER");
	options.channels = 2;
	move_both_ways(&options, 12 * MIB + 8, 1 * MIB);
	options.sealed = false;
	move_both_ways(&options, 3 * MIB + 8, 0);
}

static void test_most_channels(void **state)
{
	RigOptions options = plain_options();

	(void)state;
	options.channels = LIMIT_STREAM_CHANNELS;
	move_both_ways(&options, 1 * MIB, 4096);
	options.disks = LIMIT_DISKS;
	move_both_ways(&options, 1 * MIB, 4096);
	/* Their numbers do not depend on how many others there are. */
	options.channels = 1;
	move_both_ways(&options, 1 * MIB, 4096);
}

static void test_filter_refuses_before_qemu_sees_it(void **state)
{
	RigOptions options = plain_options();
	char got[64] = "";
	Rig rig;

	(void)state;
	options.path = getenv("SEALIFT_TEST_GUARDED_MOVER");
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][0], "good", 4, 0), 4);
	assert_int_equal(recv(rig.qemu[MOVER_DESTINATION][0], got, 4, MSG_WAITALL), 4);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][0], "bad: POISON", 11, 0), 11);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_string_equal(rig.movers[MOVER_DESTINATION].failure.text,
			    "channel main: test-guard refuses: poison at byte 4");
	assert_int_equal(rig.movers[MOVER_DESTINATION].failed_subject, VIOLATION_REFUSED | 0);
	assert_int_equal(recv(rig.qemu[MOVER_DESTINATION][0], got, sizeof(got), 0), 0);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	/* What the network does to the other side is nobody's violation. */
	assert_int_equal(rig.movers[MOVER_SOURCE].failed_subject, 0);
	rig_stop(&rig);
}

/* A cancelled source ends too soon too: refused, but no violation. */
static void test_an_end_too_soon_is_no_violation(void **state)
{
	RigOptions options = plain_options();
	Rig rig;

	(void)state;
	options.path = getenv("SEALIFT_TEST_GUARDED_MOVER");
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][0], "CUT HERE", 8, 0), 8);
	shutdown(rig.qemu[MOVER_SOURCE][0], SHUT_WR);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	assert_string_equal(rig.movers[MOVER_DESTINATION].failure.text,
			    "channel main: test-guard refuses: ends within a unit");
	assert_int_equal(rig.movers[MOVER_DESTINATION].failed_subject, 0);
	rig_stop(&rig);
}

/* What a filter only warns of goes in, and the engine hears of it: of a stream that ends too soon
 * it does not. */
static void test_warnings_are_told_and_bytes_go_on(void **state)
{
	RigOptions options = plain_options();
	char got[64] = "";
	Rig rig;

	(void)state;
	options.path = getenv("SEALIFT_TEST_GUARDED_MOVER");
	options.channels = 3;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][2], "ODD BYTES", 9, 0), 9);
	assert_int_equal(recv(rig.qemu[MOVER_DESTINATION][2], got, 9, MSG_WAITALL), 9);
	assert_string_equal(got, "ODD BYTES");
	for (unsigned int i = 0; i < options.channels; i++) {
		shutdown(rig.qemu[MOVER_SOURCE][i], SHUT_WR);
		shutdown(rig.qemu[MOVER_DESTINATION][i], SHUT_WR);
	}
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].done);
	assert_int_equal(rig.movers[MOVER_DESTINATION].warned, 1);
	assert_false(rig.movers[MOVER_DESTINATION].failed);
	assert_int_equal(rig.movers[MOVER_DESTINATION].failed_subject, VIOLATION_WARNED | 2);
	assert_string_equal(rig.movers[MOVER_DESTINATION].failure.text,
			    "guard-odd: bytes that are odd");
	rig_stop(&rig);
}

/* A lone small message does not wait for more. */
static void test_small_messages_pass_at_once(void **state)
{
	RigOptions options = plain_options();
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	for (int i = 0; i < 200; i++) {
		MoverSide from = i % 2 ? MOVER_DESTINATION : MOVER_SOURCE;
		struct pollfd row = { .fd = rig.qemu[!from][0], .events = POLLIN };
		uint32_t number = (uint32_t)i, back = 0;

		assert_int_equal(send(rig.qemu[from][0], &number, 4, 0), 4);
		assert_int_equal(poll(&row, 1, 5000), 1);
		assert_int_equal(recv(rig.qemu[!from][0], &back, 4, MSG_WAITALL), 4);
		assert_int_equal(back, number);
	}
	rig_stop(&rig);
}

/* As QEMU's source ends: it closes its main socket for good while the way back still talks. */
static void test_source_qemu_may_leave_first(void **state)
{
	RigOptions options = plain_options();
	RigStream writer;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][0], "all", 3, 0), 3);
	close(rig.qemu[MOVER_SOURCE][0]);
	rig.qemu[MOVER_SOURCE][0] = -1;
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].ended[false][0]);
	writer = (RigStream){ .fd = rig.qemu[MOVER_DESTINATION][0], .seed = 1, .bytes = 2 * MIB };
	rig_write_start(&writer);
	rig_stream_join(&writer);
	assert_true(writer.clean);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].done);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].done);
	assert_int_equal(rig.movers[MOVER_SOURCE].ended_bytes[false][0], 2 * MIB);
	rig_stop(&rig);
}

/* The same with bytes of the way back that QEMU never read. */
static void test_source_qemu_may_leave_bytes_unread(void **state)
{
	RigOptions options = plain_options();
	struct pollfd row;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(send(rig.qemu[MOVER_DESTINATION][0], "unread", 6, 0), 6);
	row = (struct pollfd){ .fd = rig.qemu[MOVER_SOURCE][0], .events = POLLIN };
	assert_int_equal(poll(&row, 1, RIG_DEADLINE_MS), 1);
	assert_int_equal(send(rig.qemu[MOVER_SOURCE][0], "all", 3, 0), 3);
	close(rig.qemu[MOVER_SOURCE][0]);
	rig.qemu[MOVER_SOURCE][0] = -1;
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].ended[false][0]);
	assert_int_equal(rig.movers[MOVER_DESTINATION].ended_bytes[false][0], 3);
	shutdown(rig.qemu[MOVER_DESTINATION][0], SHUT_WR);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].done);
	rig_stop(&rig);
}

/* The engine may pass QEMU's side long after the network's, with data waiting. */
static void test_local_side_may_come_late(void **state)
{
	RigOptions options = plain_options();
	RigStream writer, reader;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_local(&rig, MOVER_SOURCE, 0);
	writer = (RigStream){ .fd = rig.qemu[MOVER_SOURCE][0], .seed = 8, .bytes = 300000 };
	rig_write_start(&writer);
	rig_connect_network(&rig, 0);
	rig_wait_proven(&rig, MOVER_SOURCE, 1);
	rig_wait_proven(&rig, MOVER_DESTINATION, 1);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].ended[true][0]);
	rig_connect_local(&rig, MOVER_DESTINATION, 0);
	reader = (RigStream){ .fd = rig.qemu[MOVER_DESTINATION][0], .seed = 8 };
	rig_read_start(&reader);
	rig_stream_join(&writer);
	rig_stream_join(&reader);
	assert_true(reader.clean && reader.same);
	assert_int_equal(reader.moved, 300000);
	rig_stop(&rig);
}

static double measure_rate(uint64_t limit, uint64_t bytes, unsigned int channels)
{
	RigOptions options = plain_options();
	RigStream writers[LIMIT_CHANNELS], readers[LIMIT_CHANNELS];
	const MoverStats *stats;
	double seconds;
	Rig rig;

	options.bandwidth_bytes_s = limit;
	options.channels = channels;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	start_streams(&rig, writers, readers, bytes / channels, MOVER_SOURCE);
	check_streams(&rig, writers, readers);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].ended[false][0]);
	rig.movers[MOVER_DESTINATION].have_stats = false;
	rig_send(&rig, MOVER_DESTINATION, MOVER_QUERY, 0, NULL, NULL);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].have_stats);
	stats = &rig.movers[MOVER_DESTINATION].stats;
	seconds = (double)(stats->last_byte_us - stats->first_byte_us) / 1e6;
	rig_stop(&rig);
	return (double)stats->wire_in_bytes / seconds;
}

/* Other work on the machine can slow a reading, so the lower bound holds for the best of three;
 * nothing may make one faster. */
static void test_holds_the_bandwidth(void **state)
{
	double best = 0;

	(void)state;
	for (int i = 0; i < 3 && best < 0.95 * 40e6; i++) {
		double rate = measure_rate(40000000, 80000000, 3);

		if (rate > 1.05 * 40e6)
			fail_msg("%.1f MB/s where 40 were allowed", rate / 1e6);
		best = rate > best ? rate : best;
	}
	if (best < 0.95 * 40e6)
		fail_msg("%.1f MB/s at best where 40 were allowed", best / 1e6);
}

static void test_changes_the_bandwidth_in_flight(void **state)
{
	const MoverBandwidth unlimited = { 0 };
	RigOptions options = plain_options();
	RigStream writer, reader;
	MoverStats *stats;
	int64_t start_us;
	Rig rig;

	(void)state;
	options.bandwidth_bytes_s = 100000; /* 100 s for all of it */
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	stats = &rig.movers[MOVER_DESTINATION].stats;
	start_us = clock_monotonic_us(&clock_system);
	start_streams(&rig, &writer, &reader, 10000000, MOVER_SOURCE);
	do {
		rig.movers[MOVER_DESTINATION].have_stats = false;
		rig_send(&rig, MOVER_DESTINATION, MOVER_QUERY, 0, NULL, NULL);
		rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].have_stats);
	} while (stats->stream_in_bytes < 30000);
	rig_send(&rig, MOVER_SOURCE, MOVER_BANDWIDTH, 0, &mover_bandwidth_schema, &unlimited);
	check_streams(&rig, &writer, &reader);
	assert_true(clock_monotonic_us(&clock_system) - start_us < 20000000);
	rig_stop(&rig);
}

static void expect_refusal(Rig *rig, const char *text)
{
	RigMover *mover = &rig->movers[MOVER_SOURCE];

	rig_wait(rig, MOVER_SOURCE, &mover->failed);
	assert_non_null(strstr(mover->failure.text, text));
	rig_wait(rig, MOVER_SOURCE, &mover->gone);
	rig_stop(rig);
}

static void test_refuses_a_broken_contract(void **state)
{
	RigOptions options = plain_options();
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_local(&rig, MOVER_SOURCE, 0);
	rig_connect_local(&rig, MOVER_SOURCE, 0);
	expect_refusal(&rig, "a second socket of QEMU for channel main");
	rig_start(&rig, &options);
	rig_connect_local(&rig, MOVER_SOURCE, 3);
	expect_refusal(&rig, "channel 3 of 1 and 0 of disks");
	options.disks = 2;
	rig_start(&rig, &options);
	rig_connect_local(&rig, MOVER_SOURCE, 1);
	expect_refusal(&rig, "channel 1 of 1 and 2 of disks");
	rig_start(&rig, &options);
	rig_connect_local(&rig, MOVER_SOURCE, LIMIT_STREAM_CHANNELS + 2);
	expect_refusal(&rig, "channel 19 of 1 and 2 of disks");
	options.disks = 0;
	rig_start(&rig, &options);
	/* What breaks the rules of the link itself has no answer but the end. */
	rig_send(&rig, MOVER_SOURCE, MOVER_BANDWIDTH, 0, NULL, NULL);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].gone);
	rig_stop(&rig);
	options.aead = "rot13";
	rig_start(&rig, &options);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].failed);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].gone);
	expect_refusal(&rig, "no AEAD provider \"rot13\"");
}

static void test_runs_as_a_user_of_its_own(void **state)
{
	RigOptions options = plain_options();

	(void)state;
	if (geteuid())
		skip();
	options.user = "65534:65534";
	move_both_ways(&options, 1 * MIB, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves_everything),
		cmocka_unit_test(test_moves_everything_through_a_filter),
		cmocka_unit_test(test_most_channels),
		cmocka_unit_test(test_filter_refuses_before_qemu_sees_it),
		cmocka_unit_test(test_an_end_too_soon_is_no_violation),
		cmocka_unit_test(test_warnings_are_told_and_bytes_go_on),
		cmocka_unit_test(test_small_messages_pass_at_once),
		cmocka_unit_test(test_source_qemu_may_leave_first),
		cmocka_unit_test(test_source_qemu_may_leave_bytes_unread),
		cmocka_unit_test(test_local_side_may_come_late),
		cmocka_unit_test(test_holds_the_bandwidth),
		cmocka_unit_test(test_changes_the_bandwidth_in_flight),
		cmocka_unit_test(test_refuses_a_broken_contract),
		cmocka_unit_test(test_runs_as_a_user_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
