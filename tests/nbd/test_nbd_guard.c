/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD guard's contract beside its rules: options, ends, counters, watching, threads. */
#include "tests/support/support.h"

#include <pthread.h>
#include <string.h>

#include "tests/nbd/talk.h"

static NbdGuard *new_guard(NbdFrom own)
{
	NbdGuardOptions options = talk_options(own, NBD_ACCESS_READ_WRITE);
	Error err = ERROR_INIT;
	NbdGuard *guard = nbd_guard_new(&options, &err);

	assert_non_null(guard);
	return guard;
}

static void play(NbdGuard *guard, NbdFrom own, const Talk *talk, TalkResult *ret_result)
{
	NbdGuardOptions options = talk_options(own, NBD_ACCESS_READ_WRITE);

	talk_play(guard, &options, talk->bytes.data, talk->bytes.used, 0, false, ret_result);
	if (ret_result->refused)
		print_error("%s\n", ret_result->err.text);
	assert_false(ret_result->refused);
}

static void test_options(void **state)
{
	const NbdGuardOptions good = talk_options(NBD_FROM_CLIENT, NBD_ACCESS_RECEIVE);
	NbdGuardOptions bad[] = { good, good, good, good, good };
	Error err = ERROR_INIT;

	(void)state;
	nbd_guard_free(nbd_guard_new(&good, &err));
	assert_int_equal(err.category, ERROR_NONE);
	bad[0].size_bytes = 0;
	bad[1].size_bytes = (uint64_t)INT64_MAX + 1;
	bad[2].export_name[0] = '\0';
	memset(bad[3].export_name, 'a', sizeof(bad[3].export_name));
	bad[4].own = NBD_FROM_COUNT;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERROR_INIT;
		assert_null(nbd_guard_new(&bad[i], &err));
		assert_int_equal(err.category, ERROR_INTERNAL);
	}
	nbd_guard_free(NULL);
}

/* The longest name that there is, and an export whose end is the end of all numbers. */
static void test_extremes(void **state)
{
	NbdGuardOptions options = talk_options(NBD_FROM_SERVER, NBD_ACCESS_RECEIVE);
	AUTO_TALK Talk talk = TALK_INIT;
	AUTO_NBD_GUARD NbdGuard *guard = NULL;
	Error err = ERROR_INIT;
	TalkResult result;

	(void)state;
	memset(options.export_name, 'n', sizeof(options.export_name) - 1);
	options.size_bytes = INT64_MAX;
	guard = nbd_guard_new(&options, &err);
	assert_non_null(guard);
	talk_greet(&talk);
	say_go(&talk, options.export_name, 0, 0);
	say_export(&talk, INT64_MAX, TALK_FLAGS);
	say_reply(&talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
	say_request(&talk, 0, NBD_COMMAND_WRITE_ZEROES, 1, INT64_MAX - UINT32_MAX, UINT32_MAX);
	talk_play(guard, &options, talk.bytes.data, talk.bytes.used, 1, false, &result);
	assert_false(result.refused);
	assert_int_equal(result.counters.zeroed_bytes, UINT32_MAX);
}

static void test_counters(void **state)
{
	AUTO_NBD_GUARD NbdGuard *guard = new_guard(NBD_FROM_SERVER);
	AUTO_TALK Talk talk = TALK_INIT;
	TalkResult result;
	const NbdGuardCounters *c = &result.counters;

	(void)state;
	talk_open(&talk, TALK_EXTENDED);
	say_request(&talk, 0, NBD_COMMAND_WRITE, 1, 0, 70144);
	say_payload(&talk, NBD_FROM_CLIENT, 70144);
	say_request(&talk, 0, NBD_COMMAND_WRITE_ZEROES, 2, 0, TALK_SIZE_BYTES);
	say_request(&talk, 0, NBD_COMMAND_TRIM, 3, 0, 512);
	say_request(&talk, 0, NBD_COMMAND_READ, 4, 0, 1024);
	say_error(&talk, NBD_CHUNK_DONE, 2, 0, 28, "full");
	say_data(&talk, 0, 4, 0, 0, 512);
	say_hole(&talk, NBD_CHUNK_DONE, 4, 0, 512, 512);
	say_done(&talk, 1, 0);
	play(guard, NBD_FROM_SERVER, &talk, &result);
	assert_int_equal(c->requests, 4);
	assert_int_equal(c->written_bytes, 70144);
	assert_int_equal(c->zeroed_bytes, TALK_SIZE_BYTES + 512);
	assert_int_equal(c->read_bytes, 1024);
	assert_int_equal(c->errors, 1);
	assert_int_equal(c->in_flight, 1);
	assert_int_equal(c->in_flight_most, 4);
	assert_int_equal(c->in_flight_bytes_most, 70144 + 1024);
}

/* --- ends --- */

typedef void (*PutTalk)(Talk *talk);

static void put_nothing(Talk *talk)
{
	(void)talk;
}

static void put_aborted(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_ABORT, NULL, 0);
}

static void put_disc(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
	say_request(talk, 0, NBD_COMMAND_DISC, 1, 0, 0);
}

static void put_open(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
}

static void put_unanswered(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 2, 0, 0);
	say_request(talk, 0, NBD_COMMAND_DISC, 1, 0, 0);
}

static void put_payload_cut(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
	say_request(talk, 0, NBD_COMMAND_WRITE, 2, 0, 512);
	say_payload(talk, NBD_FROM_CLIENT, 511);
}

static void put_header_cut(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
	say_payload(talk, NBD_FROM_CLIENT, 3);
}

static const struct End {
	PutTalk put;
	NbdFrom from;
	const char *text; /* of the refusal; NULL: it may end so */
} ends[] = {
	{ put_aborted, NBD_FROM_CLIENT, NULL },
	{ put_aborted, NBD_FROM_SERVER, NULL },
	{ put_disc, NBD_FROM_CLIENT, NULL },
	{ put_disc, NBD_FROM_SERVER, NULL },
	{ put_unanswered, NBD_FROM_CLIENT, NULL },
	{ put_nothing, NBD_FROM_CLIENT, "byte 0: ends without" },
	{ put_nothing, NBD_FROM_SERVER, "byte 0: ends without" },
	{ put_open, NBD_FROM_CLIENT, "ends without DISC" },
	{ put_open, NBD_FROM_SERVER, "ends without DISC" },
	{ put_unanswered, NBD_FROM_SERVER, "1 requests unanswered" },
	{ put_payload_cut, NBD_FROM_CLIENT, "1 before a payload's end" },
	{ put_header_cut, NBD_FROM_CLIENT, "3 bytes of a header" },
};

static void run_end(const struct End *end, NbdFrom own, bool watch)
{
	NbdGuardOptions options = talk_options(own, NBD_ACCESS_READ_WRITE);
	AUTO_NBD_GUARD NbdGuard *guard = new_guard(own);
	AUTO_TALK Talk talk = TALK_INIT;
	Error err = ERROR_INIT;
	TalkResult result;
	bool good;

	end->put(&talk);
	talk_play(guard, &options, talk.bytes.data, talk.bytes.used, 0, watch, &result);
	assert_false(result.refused);
	good = nbd_guard_end(guard, end->from, result.left[end->from], &err);
	assert_int_equal(good, !end->text);
	if (!end->text)
		return;
	assert_memory_equal(err.text, "nbd-closed: ", 12);
	assert_non_null(strstr(err.text, end->text));
	assert_int_equal(err.category, own == end->from ? ERROR_HYPERVISOR : ERROR_PEER);
	assert_fails(nbd_guard_end(guard, end->from, 0, &err), ERROR_CANCELLED, "before", &err);
}

static void test_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4 * ARRAY_SIZE(ends); i++)
		run_end(&ends[i / 4], i % 4 / 2 ? NBD_FROM_SERVER : NBD_FROM_CLIENT, i % 2);
}

/* In flight bytes have a bound of their own if the caller wants that. */
static void test_in_flight_bytes(void **state)
{
	NbdGuardOptions options = talk_options(NBD_FROM_SERVER, NBD_ACCESS_RECEIVE);

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		AUTO_TALK Talk talk = TALK_INIT;
		AUTO_NBD_GUARD NbdGuard *guard = NULL;
		Error err = ERROR_INIT;
		TalkResult result;

		options.in_flight_bytes_max = 1024;
		guard = nbd_guard_new(&options, &err);
		assert_non_null(guard);
		talk_open(&talk, TALK_STRUCTURED);
		say_request(&talk, 0, NBD_COMMAND_WRITE, 1, 0, 512);
		say_payload(&talk, NBD_FROM_CLIENT, 512);
		say_request(&talk, 0, NBD_COMMAND_WRITE, 2, 0, i ? 1024 : 512);
		talk_play(guard, &options, talk.bytes.data, talk.bytes.used, 0, false, &result);
		assert_int_equal(result.refused, i);
		assert_true(!i || strstr(result.err.text, "nbd-in-flight: "));
	}
}

/* --- two threads, as in a relay --- */

enum { ROUNDS = 20000, WINDOW = 64 };

typedef struct Shared {
	NbdGuard *guard;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int asked, answered; /* of ROUNDS */
} Shared;

static void pass(NbdGuard *guard, NbdFrom from, const Talk *talk)
{
	Error err = ERROR_INIT;
	size_t taken = 0;

	/* One turn of a talk is what stands behind its two bytes. */
	if (!nbd_guard_take(guard, from, talk->bytes.data + 2, talk->bytes.used - 2, &taken, &err))
		fail_msg("%s", err.text);
	assert_int_equal(taken, talk->bytes.used - 2);
}

static void *ask(void *context)
{
	Shared *shared = context;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		AUTO_TALK Talk talk = TALK_INIT;

		pthread_mutex_lock(&shared->lock);
		while (i - shared->answered >= WINDOW)
			pthread_cond_wait(&shared->changed, &shared->lock);
		pthread_mutex_unlock(&shared->lock);
		say_request(&talk, 0, NBD_COMMAND_FLUSH, i, 0, 0);
		pass(shared->guard, NBD_FROM_CLIENT, &talk);
		pthread_mutex_lock(&shared->lock);
		shared->asked++;
		pthread_cond_signal(&shared->changed);
		pthread_mutex_unlock(&shared->lock);
	}
	return NULL;
}

static void test_threads(void **state)
{
	AUTO_NBD_GUARD NbdGuard *guard = new_guard(NBD_FROM_SERVER);
	Shared shared = { .guard = guard };
	AUTO_TALK Talk talk = TALK_INIT;
	TalkResult result;
	pthread_t thread;

	(void)state;
	talk_open(&talk, TALK_STRUCTURED);
	assert_false(nbd_guard_is_open(guard));
	play(guard, NBD_FROM_SERVER, &talk, &result);
	assert_true(nbd_guard_is_open(guard));
	pthread_mutex_init(&shared.lock, NULL);
	pthread_cond_init(&shared.changed, NULL);
	assert_int_equal(pthread_create(&thread, NULL, ask, &shared), 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		AUTO_TALK Talk answer = TALK_INIT;

		pthread_mutex_lock(&shared.lock);
		while (shared.asked <= i)
			pthread_cond_wait(&shared.changed, &shared.lock);
		pthread_mutex_unlock(&shared.lock);
		say_simple(&answer, 0, i);
		pass(guard, NBD_FROM_SERVER, &answer);
		pthread_mutex_lock(&shared.lock);
		shared.answered++;
		pthread_cond_signal(&shared.changed);
		pthread_mutex_unlock(&shared.lock);
	}
	pthread_join(thread, NULL);
	nbd_guard_counters(guard, &result.counters);
	assert_int_equal(result.counters.requests, ROUNDS);
	assert_int_equal(result.counters.in_flight, 0);
	pthread_cond_destroy(&shared.changed);
	pthread_mutex_destroy(&shared.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_counters),	cmocka_unit_test(test_ends),
		cmocka_unit_test(test_in_flight_bytes), cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
