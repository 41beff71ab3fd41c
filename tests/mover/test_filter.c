/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "programs/mover/filter.h"

/* Takes pairs of bytes; refuses 'x'; says more than is true of 'm', nothing at all of 'n'. */
static void *open_pairs(const FilterSetup *setup, Error *err)
{
	(void)err;
	return test_calloc(1, setup->channels);
}

static void *open_bad(const FilterSetup *setup, Error *err)
{
	(void)setup;
	error_set(err, ERROR_LIMIT, "too much");
	return NULL;
}

static bool take_pairs(void *context, unsigned int channel, const uint8_t *window, size_t size,
		       const GuardSink *sink, size_t *ret_taken, Error *err)
{
	uint8_t *seen = context;

	seen[channel]++;
	if (memchr(window, 'x', size))
		return error_set(err, ERROR_PEER, "an x");
	*ret_taken = *window == 'm' ? size + 1 : *window == 'n' ? 0 : size / 2 * 2;
	if (*window == 'n')
		return true;
	return sink->write(sink->context, window, size / 2 * 2, err);
}

static bool end_pairs(void *context, unsigned int channel, size_t left, Error *err)
{
	(void)context;
	(void)channel;
	return !left || error_set(err, ERROR_PEER, "%zu bytes left", left);
}

static void count_pairs(const void *context, GuardCounters *ret_counters)
{
	ret_counters->device_bytes = *(const uint8_t *)context;
}

static void close_pairs(void *context)
{
	test_free(context);
}

static const StreamFilter pairs = { "pairs",   open_pairs,  take_pairs,
				    end_pairs, count_pairs, close_pairs };
static const StreamFilter broken = { "broken", open_bad, take_pairs, end_pairs, NULL, close_pairs };
static const FilterSetup setup = { .channels = 2 };

typedef struct Got {
	char bytes[16];
	size_t used;
} Got;

static bool get(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Got *got = context;

	if (size > sizeof(got->bytes) - 1 - got->used)
		return error_set(err, ERROR_LIMIT, "no room");
	memcpy(got->bytes + got->used, bytes, size);
	got->used += size;
	return true;
}

static bool show(const Filter *filter, const char *text, Got *got, size_t *ret_taken, Error *err)
{
	const GuardSink sink = { .write = get, .context = got };

	return filter_take(filter, 1, (const uint8_t *)text, strlen(text), &sink, ret_taken, err);
}

static void test_what_is_taken_is_handed_on_and_the_rest_stays(void **state)
{
	Filter filter;
	Got got = { .used = 0 };
	GuardCounters counters;
	size_t taken = 0;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &pairs, &setup, &err), &err);
	assert_works(show(&filter, "abcde", &got, &taken, &err), &err);
	assert_int_equal(taken, 4);
	assert_string_equal(got.bytes, "abcd");
	assert_fails(filter_end(&filter, 1, 1, &err), ERROR_PEER, "pairs refuses: 1 bytes left",
		     &err);
	assert_works(filter_end(&filter, 1, 0, &err), &err);
	assert_works(show(&filter, "ef", &got, &taken, &err), &err);
	assert_string_equal(got.bytes, "abcdef");
	filter_counters(&filter, &counters);
	assert_int_equal(counters.device_bytes, 0);
	filter_close(&filter);
}

static void test_a_refusal_has_the_name_of_the_filter(void **state)
{
	Filter filter;
	Got got = { .used = 0 };
	size_t taken = 7;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &pairs, &setup, &err), &err);
	assert_fails(show(&filter, "abx", &got, &taken, &err), ERROR_PEER, "pairs refuses: an x",
		     &err);
	assert_int_equal(got.used, 0);
	assert_int_equal(taken, 0);
	filter_close(&filter);
}

static bool no_room(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	(void)context;
	(void)bytes;
	(void)size;
	return error_set(err, ERROR_HYPERVISOR, "QEMU stopped reading");
}

/* That QEMU hung up is no word of the filter's. */
static void test_a_sink_that_fails_is_no_refusal(void **state)
{
	const GuardSink sink = { .write = no_room };
	Filter filter;
	size_t taken = 7;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &pairs, &setup, &err), &err);
	assert_false(filter_take(&filter, 1, (const uint8_t *)"ab", 2, &sink, &taken, &err));
	assert_int_equal(err.category, ERROR_HYPERVISOR);
	assert_string_equal(err.text, "QEMU stopped reading");
	filter_close(&filter);
}

/* All channels are refused with the first, and only the first has a rule to name: it is the one to
 * be heard, whichever thread comes first. */
static void test_the_guard_refuses_by_rules_only(void **state)
{
	const FilterSetup source = { .side = MOVER_SOURCE,
				     .channels = 2,
				     .guard = MOVER_GUARD_ENFORCE };
	static const uint8_t resume_ack[] = { 0, 6, 0, 4, 0, 0, 0, 1 };
	Got got = { .used = 0 };
	const GuardSink sink = { .write = get, .context = &got };
	Filter filter;
	size_t taken = 0;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &filter_guard, &source, &err), &err);
	assert_fails(filter_take(&filter, 0, resume_ack, sizeof(resume_ack), &sink, &taken, &err),
		     ERROR_PEER, "guard refuses: guard-return-message: ", &err);
	assert_false(filter_take(&filter, 1, resume_ack, 1, &sink, &taken, &err));
	assert_int_equal(err.category, ERROR_CANCELLED);
	assert_false(filter_end(&filter, 1, 0, &err));
	assert_int_equal(err.category, ERROR_CANCELLED);
	assert_int_equal(got.used, 0);
	filter_close(&filter);
}

/* It has a rule of its own: the relay calls no end a violation (test_mover.c), and GUARD.md says
 * by this name what does not come into the ledger. */
static void test_the_guard_calls_an_early_end_closed(void **state)
{
	const FilterSetup source = { .side = MOVER_SOURCE,
				     .channels = 1,
				     .guard = MOVER_GUARD_ENFORCE };
	static const uint8_t pong[] = { 0, 2, 0, 4, 0, 0, 0, 1 };
	Got got = { .used = 0 };
	const GuardSink sink = { .write = get, .context = &got };
	Filter filter;
	size_t taken = 0;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &filter_guard, &source, &err), &err);
	assert_works(filter_take(&filter, 0, pong, sizeof(pong), &sink, &taken, &err), &err);
	assert_int_equal(taken, sizeof(pong));
	assert_works(filter_end(&filter, 0, 0, &err), &err);
	assert_works(filter_take(&filter, 0, pong, 3, &sink, &taken, &err), &err);
	assert_int_equal(taken, 0);
	assert_fails(filter_end(&filter, 0, 3, &err), ERROR_PEER,
		     "guard refuses: guard-closed: return path, byte 11", &err);
	filter_close(&filter);
}

/* The relay keeps what was not taken in a space of this size. */
static void test_a_filter_may_not_take_more_than_there_is_nor_leave_too_much(void **state)
{
	static const uint8_t window[FILTER_REST_MAX] = { 'n' };
	Filter filter;
	Got got = { .used = 0 };
	size_t taken = 0;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, &pairs, &setup, &err), &err);
	assert_works(show(&filter, "n", &got, &taken, &err), &err);
	assert_int_equal(taken, 0);
	assert_fails(show(&filter, "m", &got, &taken, &err), ERROR_INTERNAL, "pairs took 2 bytes",
		     &err);
	assert_fails(filter_take(&filter, 1, window, sizeof(window),
				 &(GuardSink){ .write = get, .context = &got }, &taken, &err),
		     ERROR_INTERNAL, "pairs took 0 bytes of 131072", &err);
	filter_close(&filter);
}

static void test_no_filter_lets_pass(void **state)
{
	Filter filter;
	Got got = { .used = 0 };
	GuardCounters counters;
	size_t taken = 0;
	Error err;

	(void)state;
	assert_works(filter_open(&filter, NULL, &setup, &err), &err);
	assert_works(show(&filter, "abx", &got, &taken, &err), &err);
	assert_int_equal(taken, 3);
	assert_string_equal(got.bytes, "abx");
	assert_works(filter_end(&filter, 1, 0, &err), &err);
	filter_counters(&filter, &counters);
	assert_int_equal(counters.warnings, 0);
	filter_close(&filter);
}

static void test_one_that_does_not_open_is_none(void **state)
{
	Filter filter;
	Error err;

	(void)state;
	assert_fails(filter_open(&filter, &broken, &setup, &err), ERROR_LIMIT, "broken: too much",
		     &err);
	assert_null(filter.row);
	filter_close(&filter);
}

/* --- the guard of disks --- */

static const MoverDisk disk = { .export_name = "disk-0", .size_bytes = 1 << 20 };
static const char good_greeting[] = "NBDMAGICIHAVEOPT\0\3", bad_greeting[] = "NBDMAGICIHAVEOPT\0\1";
enum { GREETING = sizeof(good_greeting) - 1, DISK = LIMIT_STREAM_CHANNELS };

typedef struct Told {
	unsigned int times;
	char text[ERROR_TEXT_SIZE];
} Told;

static void tell(void *context, const char *text)
{
	Told *told = context;

	told->times++;
	snprintf(told->text, sizeof(told->text), "%s", text);
}

static void open_disks(Filter *filter, MoverSide side, MoverGuard guard, Told *told)
{
	const FilterSetup disks = { .side = side,
				    .channels = 1,
				    .guard = guard,
				    .disks = &disk,
				    .disks_count = 1,
				    .on_warning = tell,
				    .context = told };
	Error err;

	assert_works(filter_open(filter, &filter_nbd, &disks, &err), &err);
}

static bool show_disk(const Filter *filter, const char *bytes, size_t size, Got *got,
		      size_t *ret_taken, Error *err)
{
	const GuardSink sink = { .write = get, .context = got };

	*got = (Got){ .used = 0 };
	return filter_take(filter, DISK, (const uint8_t *)bytes, size, &sink, ret_taken, err);
}

static bool watch_disk(const Filter *filter, const char *bytes, size_t size, Error *err)
{
	return filter_watch(filter, DISK, (const uint8_t *)bytes, size, err);
}

/* At the destination the peer is the client; it has its turn when the own server has spoken. */
static void test_the_guard_of_disks_refuses_the_peer(void **state)
{
	Filter filter;
	Told told = { 0 };
	size_t taken = 0;
	Error err;
	Got got;

	(void)state;
	open_disks(&filter, MOVER_DESTINATION, MOVER_GUARD_ENFORCE, &told);
	assert_works(watch_disk(&filter, good_greeting, GREETING, &err), &err);
	/* A half of the flags waits for the other. */
	assert_works(show_disk(&filter, "\0\0", 2, &got, &taken, &err), &err);
	assert_int_equal(taken, 0);
	assert_works(show_disk(&filter, "\0\0\0\3", 4, &got, &taken, &err), &err);
	assert_int_equal(taken, 4);
	assert_int_equal(got.used, 4);
	assert_fails(show_disk(&filter, "GET / HTTP/1.1\r\n", 16, &got, &taken, &err), ERROR_PEER,
		     "guard refuses: nbd-magic: client", &err);
	assert_int_equal(got.used, 0);
	/* The other direction was told by that. */
	err = ERROR_INIT;
	assert_false(watch_disk(&filter, "x", 1, &err));
	assert_int_equal(err.category, ERROR_CANCELLED);
	assert_int_equal(told.times, 0);
	filter_close(&filter);
}

/* What the own end does wrong is no refusal of the peer. */
static void test_the_guard_of_disks_knows_the_own_end(void **state)
{
	Filter filter;
	Told told = { 0 };
	Error err;

	(void)state;
	open_disks(&filter, MOVER_DESTINATION, MOVER_GUARD_ENFORCE, &told);
	assert_fails(watch_disk(&filter, bad_greeting, GREETING, &err), ERROR_HYPERVISOR,
		     "nbd-greeting: server", &err);
	assert_null(strstr(err.text, "refuses"));
	filter_close(&filter);
	open_disks(&filter, MOVER_SOURCE, MOVER_GUARD_ENFORCE, &told);
	assert_fails(filter_watch_end(&filter, DISK, &err), ERROR_HYPERVISOR, "nbd-closed: client",
		     &err);
	filter_close(&filter);
}

static void test_the_guard_of_disks_may_only_warn(void **state)
{
	Filter filter;
	Told told = { 0 };
	GuardCounters counters;
	size_t taken = 0;
	Error err;
	Got got;

	(void)state;
	open_disks(&filter, MOVER_DESTINATION, MOVER_GUARD_WARN, &told);
	assert_works(watch_disk(&filter, good_greeting, GREETING, &err), &err);
	assert_works(show_disk(&filter, "\0\0\0\1", 4, &got, &taken, &err), &err);
	assert_int_equal(taken, 4);
	assert_int_equal(got.used, 4);
	assert_int_equal(told.times, 1);
	assert_non_null(strstr(told.text, "nbd-greeting: client"));
	assert_works(show_disk(&filter, "more", 4, &got, &taken, &err), &err);
	assert_int_equal(got.used, 4);
	assert_works(watch_disk(&filter, "anything", 8, &err), &err);
	assert_works(filter_end(&filter, DISK, 0, &err), &err);
	assert_works(filter_watch_end(&filter, DISK, &err), &err);
	assert_int_equal(told.times, 1);
	filter_counters(&filter, &counters);
	assert_int_equal(counters.warnings, 1);
	filter_close(&filter);
}

static void test_a_disk_that_cannot_be_is_named(void **state)
{
	const MoverDisk disks[] = { disk, { .export_name = "disk-1" } };
	const FilterSetup bad = { .side = MOVER_SOURCE, .disks = disks, .disks_count = 2 };
	Filter filter;
	Error err;

	(void)state;
	assert_fails(filter_open(&filter, &filter_nbd, &bad, &err), ERROR_INTERNAL, "guard: disk 1",
		     &err);
	filter_close(&filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_taken_is_handed_on_and_the_rest_stays),
		cmocka_unit_test(test_a_refusal_has_the_name_of_the_filter),
		cmocka_unit_test(test_a_sink_that_fails_is_no_refusal),
		cmocka_unit_test(test_the_guard_refuses_by_rules_only),
		cmocka_unit_test(test_the_guard_calls_an_early_end_closed),
		cmocka_unit_test(test_a_filter_may_not_take_more_than_there_is_nor_leave_too_much),
		cmocka_unit_test(test_no_filter_lets_pass),
		cmocka_unit_test(test_one_that_does_not_open_is_none),
		cmocka_unit_test(test_the_guard_of_disks_refuses_the_peer),
		cmocka_unit_test(test_the_guard_of_disks_knows_the_own_end),
		cmocka_unit_test(test_the_guard_of_disks_may_only_warn),
		cmocka_unit_test(test_a_disk_that_cannot_be_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
