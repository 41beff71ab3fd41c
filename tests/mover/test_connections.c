/* SPDX-License-Identifier: Apache-2.0 */
/* Who may open a channel: one, once, with the key, in time. Others are dropped and change nothing.
 */
#include "tests/support/support.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mover/rig.h"
#include "wire/preamble.h"
#include "wire/record.h"

/* A short time for proofs, so that it can be waited for. */
static RigOptions one_channel(void)
{
	const char *path = getenv("SEALIFT_TEST_GUARDED_MOVER");

	assert_non_null(path);
	return (RigOptions){ .path = path, .aead = "openssl", .sealed = true, .channels = 1 };
}

/* A stranger who knows the routing id, as anybody who saw a preamble does. */
static int open_stranger(Rig *rig, const uint8_t *routing)
{
	RolePreamble preamble = { .channel = 0, .generation = 0 };
	Error err = ERROR_INIT;
	int pair[2];

	rig_tcp_pair(pair);
	memcpy(preamble.routing, routing, sizeof(preamble.routing));
	memset(preamble.source_nonce, 0x77, sizeof(preamble.source_nonce));
	assert_works(ipc_send(rig->movers[MOVER_DESTINATION].link, MOVER_NETWORK, 0,
			      &role_preamble_schema, &preamble, &pair[1], 1, &err),
		     &err);
	close(pair[1]);
	return pair[0];
}

/* Reads what comes until the other side closes; at most one reply and ping. */
static size_t read_to_end(int fd)
{
	uint8_t bytes[1024];
	size_t total = 0;

	for (;;) {
		struct pollfd row = { .fd = fd, .events = POLLIN };
		ssize_t got;

		assert_int_equal(poll(&row, 1, RIG_DEADLINE_MS), 1);
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got <= 0)
			break;
		total += (size_t)got;
	}
	close(fd);
	return total;
}

/* After whatever strangers did, the real channel carries a stream. */
static void assert_channel_works(Rig *rig)
{
	RigStream writer = { .fd = rig->qemu[MOVER_SOURCE][0], .seed = 3, .bytes = 200000 };
	RigStream reader = { .fd = rig->qemu[MOVER_DESTINATION][0], .seed = 3 };

	rig_read_start(&reader);
	rig_write_start(&writer);
	rig_stream_join(&writer);
	rig_stream_join(&reader);
	assert_true(writer.clean && reader.clean && reader.same);
	assert_int_equal(reader.moved, 200000);
	rig_wait(rig, MOVER_DESTINATION, &rig->movers[MOVER_DESTINATION].ended[false][0]);
	assert_false(rig->movers[MOVER_DESTINATION].failed);
}

static void test_silent_stranger_is_dropped_in_time(void **state)
{
	RigOptions options = one_channel();
	int strangers[LIMIT_CHANNELS_PENDING + 1];
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
		strangers[i] = open_stranger(&rig, rig.routing);
	/* One too many gets nothing at all. */
	assert_int_equal(read_to_end(strangers[LIMIT_CHANNELS_PENDING]), 0);
	for (size_t i = 0; i < LIMIT_CHANNELS_PENDING; i++)
		assert_int_equal(read_to_end(strangers[i]), PREAMBLE_REPLY_SIZE + RECORD_PING_SIZE);
	rig_connect_all(&rig);
	assert_channel_works(&rig);
	rig_stop(&rig);
}

static void test_stranger_without_the_key_is_dropped(void **state)
{
	RigOptions options = one_channel();
	uint8_t ping[RECORD_PING_SIZE] = { 0, 0, 0, RECORD_PING_SIZE - RECORD_HEADER_SIZE, 3 };
	uint8_t oversize[RECORD_PING_SIZE] = { 0xff, 0xff, 0xff, 0xff };
	int stranger;
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	stranger = open_stranger(&rig, rig.routing);
	assert_int_equal(send(stranger, ping, sizeof(ping), 0), sizeof(ping));
	assert_int_equal(read_to_end(stranger), PREAMBLE_REPLY_SIZE + RECORD_PING_SIZE);
	stranger = open_stranger(&rig, rig.routing);
	assert_int_equal(send(stranger, oversize, sizeof(oversize), 0), sizeof(oversize));
	assert_int_equal(read_to_end(stranger), PREAMBLE_REPLY_SIZE + RECORD_PING_SIZE);
	rig_connect_all(&rig);
	assert_channel_works(&rig);
	rig_stop(&rig);
}

static void test_another_migration_is_dropped(void **state)
{
	RigOptions options = one_channel();
	uint8_t routing[MIGRATION_ID_BYTES] = { 1 };
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	assert_int_equal(read_to_end(open_stranger(&rig, routing)), 0);
	rig_connect_all(&rig);
	assert_channel_works(&rig);
	rig_stop(&rig);
}

static void test_second_connection_is_dropped(void **state)
{
	RigOptions options = one_channel();
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_connect_all(&rig);
	assert_int_equal(read_to_end(open_stranger(&rig, rig.routing)), 0);
	assert_channel_works(&rig);
	rig_stop(&rig);
}

/* All that the source ever sent, once more: the destination's nonce is another. */
static void test_replay_is_dropped(void **state)
{
	RigOptions options = one_channel();
	uint8_t seen[PREAMBLE_SIZE + RECORD_PING_SIZE];
	uint8_t buffer[RECORD_PING_SIZE];
	int stranger;
	Rig rig, second;

	(void)state;
	rig_start(&rig, &options);
	rig.relays[0].seen = buffer;
	rig.relays[0].seen_size = sizeof(buffer);
	rig_connect_all(&rig);
	assert_channel_works(&rig);
	rig_stop(&rig);
	assert_int_equal(rig.relays[0].seen_used, RECORD_PING_SIZE);
	memcpy(seen, buffer, sizeof(buffer));

	rig_start(&second, &options); /* with the same PRK, which no real one would have */
	stranger = open_stranger(&second, second.routing);
	assert_int_equal(send(stranger, seen, RECORD_PING_SIZE, 0), RECORD_PING_SIZE);
	assert_int_equal(read_to_end(stranger), PREAMBLE_REPLY_SIZE + RECORD_PING_SIZE);
	rig_connect_all(&second);
	assert_channel_works(&second);
	rig_stop(&second);
}

static void test_source_refuses_a_bad_answer(void **state)
{
	static const struct {
		const char *bytes;
		ErrorCategory category;
		const char *text;
	} rows[] = {
		{ "HTTP/1.1 400 Bad Request\r\nServer: something else\r\n", ERROR_PEER,
		  "begins with 485454502f312e31" },
		{ "", ERROR_PEER, "closed the connection before its proof" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		RigOptions options = one_channel();
		int pair[2];
		Rig rig;

		rig_start(&rig, &options);
		rig_tcp_pair(pair);
		rig_give_source(&rig, 0, pair[0]);
		assert_int_equal(send(pair[1], rows[i].bytes, strlen(rows[i].bytes), 0),
				 strlen(rows[i].bytes));
		shutdown(pair[1], SHUT_WR);
		rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
		assert_int_equal(rig.movers[MOVER_SOURCE].failure.category, rows[i].category);
		assert_non_null(strstr(rig.movers[MOVER_SOURCE].failure.text, rows[i].text));
		close(pair[1]);
		rig_stop(&rig);
	}
}

static void test_source_gives_up_in_time(void **state)
{
	RigOptions options = one_channel();
	int pair[2];
	Rig rig;

	(void)state;
	rig_start(&rig, &options);
	rig_tcp_pair(pair);
	rig_give_source(&rig, 0, pair[0]);
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].failed);
	assert_int_equal(rig.movers[MOVER_SOURCE].failure.category, ERROR_TIMEOUT);
	assert_non_null(strstr(rig.movers[MOVER_SOURCE].failure.text, "no proof within 200 ms"));
	close(pair[1]);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_stranger_is_dropped_in_time),
		cmocka_unit_test(test_stranger_without_the_key_is_dropped),
		cmocka_unit_test(test_another_migration_is_dropped),
		cmocka_unit_test(test_second_connection_is_dropped),
		cmocka_unit_test(test_replay_is_dropped),
		cmocka_unit_test(test_source_refuses_a_bad_answer),
		cmocka_unit_test(test_source_gives_up_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
