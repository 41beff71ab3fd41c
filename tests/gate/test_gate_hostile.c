/* SPDX-License-Identifier: Apache-2.0 */
/* What bytes can do to the gate: nothing but end their own connection. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "gate_fixture.h"
#include "wire/preamble.h"

/* A stranger who says this is closed without a word to the engine. */
static void assert_bytes_refused(const void *bytes, size_t size, const char *handshake_ms)
{
	World *world = world_new(handshake_ms);
	AUTO_FD int fd = raw_connect(NULL, world->port);

	if (size)
		assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
	assert_true(raw_is_closed(fd));
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_garbage(void **state)
{
	static const uint8_t client_hello_gone_wrong[] = { 0x16, 3, 1, 0, 4, 1, 2, 3, 4 };
	static const uint8_t magic_gone_wrong[] = { 0x89, 'S', 'E', 'A', 'X' };

	(void)state;
	assert_bytes_refused("GET / HTTP/1.1\r\n\r\n", 18, "3000");
	assert_bytes_refused("\0", 1, "3000");
	assert_bytes_refused(client_hello_gone_wrong, sizeof(client_hello_gone_wrong), "3000");
	assert_bytes_refused(magic_gone_wrong, sizeof(magic_gone_wrong), "3000");
}

/* Those who only begin: the deadline ends them. */
static void test_slow_ones(void **state)
{
	(void)state;
	assert_bytes_refused("", 0, "300");
	assert_bytes_refused("\x16", 1, "300");
	assert_bytes_refused("\x16\x03\x01\x02", 4, "300");
	assert_bytes_refused(preamble_magic, PREAMBLE_MAGIC_SIZE, "300");
}

static void make_preamble(uint8_t ret_bytes[PREAMBLE_SIZE])
{
	Preamble preamble = { .channel = 2, .generation = 5 };

	memset(preamble.routing, 0x11, sizeof(preamble.routing));
	memset(preamble.source_nonce, 0x22, sizeof(preamble.source_nonce));
	preamble_encode(&preamble, ret_bytes);
}

static void test_channel_is_handed_over(void **state)
{
	World *world = world_new("3000");
	AUTO_FD int fd = raw_connect(NULL, world->port);
	uint8_t bytes[PREAMBLE_SIZE + 3];
	const RolePreamble *got;
	IpcMessage message;
	char after[4] = "";

	(void)state;
	make_preamble(bytes);
	memcpy(bytes + PREAMBLE_SIZE, "abc", 3);
	/* In two parts, the second with bytes for the mover behind it. */
	assert_int_equal(send(fd, bytes, 10, 0), 10);
	assert_int_equal(send(fd, bytes + 10, sizeof(bytes) - 10, 0), sizeof(bytes) - 10);
	role_expect(&world->gate, GATE_CHANNEL, &message);
	got = message.payload;
	assert_int_equal(got->channel, 2);
	assert_int_equal(got->generation, 5);
	assert_int_equal(got->routing[0], 0x11);
	assert_int_equal(got->source_nonce[31], 0x22);
	assert_int_equal(fcntl(message.fds[0], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(recv(message.fds[0], after, 3, MSG_WAITALL), 3);
	assert_string_equal(after, "abc");
	ipc_message_clear(&message, world->gate.link);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_bad_preambles(void **state)
{
	uint8_t bytes[PREAMBLE_SIZE];

	(void)state;
	make_preamble(bytes);
	bytes[8] = 0x7f; /* version */
	assert_bytes_refused(bytes, sizeof(bytes), "3000");
	make_preamble(bytes);
	bytes[11] = LIMIT_CHANNELS;
	assert_bytes_refused(bytes, sizeof(bytes), "3000");
	make_preamble(bytes);
	assert_bytes_refused(bytes, sizeof(bytes) - 1, "300");
}

/* A verified peer that says hello and then this frame. */
static void assert_frame_refused(const char *json, ErrorCategory category, const char *words)
{
	World *world = world_new("3000");
	RawPeer peer;

	world_open_greeted(world, &peer, INBOUND);
	raw_send_frame(&peer, json);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, category, words);
	assert_true(raw_is_ended(&peer));
	raw_close(&peer);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_bad_frames(void **state)
{
	(void)state;
	assert_frame_refused("{}", ERROR_PEER, "\"message\" is missing");
	assert_frame_refused("nonsense", ERROR_PEER, "not JSON");
	assert_frame_refused(GOOD_HELLO, ERROR_PEER, "second hello");
	assert_frame_refused("{\"message\":\"shout\"}", ERROR_PEER, "shout");
	assert_frame_refused("{\"message\":\"ping\",\"stamp_us\":1,\"extra\":1}", ERROR_PEER,
			     "extra");
	assert_frame_refused("{\"message\":\"ping\",\"stamp_us\":1,\"stamp_us\":2}", ERROR_PEER,
			     "duplicate");
	assert_frame_refused("{\"message\":\"ping\",\"stamp_us\":\"1\"}", ERROR_PEER, "stamp_us");
	assert_frame_refused("{\"message\":\"ping\",\"stamp_us\":-1}", ERROR_PEER, "stamp_us");
	assert_frame_refused("{\"message\":\"ping\",\"stamp_us\":1}x", ERROR_PEER, "not JSON");
	assert_frame_refused("{\"message\":\"ping\"}", ERROR_PEER, "stamp_us");
}

/* Raw bytes after the handshake or after hello. */
static void assert_stream_refused(bool greeted, const void *bytes, size_t size, bool close_it,
				  ErrorCategory category, const char *words)
{
	World *world = world_new("500");
	RawPeer peer;

	if (greeted)
		world_open_greeted(world, &peer, INBOUND);
	else
		world_open_good(world, &peer, INBOUND);
	if (size)
		raw_send_bytes(&peer, bytes, size);
	if (close_it)
		SSL_shutdown(peer.ssl);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, category, words);
	raw_close(&peer);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_bad_streams(void **state)
{
	(void)state;
	assert_stream_refused(false, "", 0, false, ERROR_TIMEOUT, "no hello within 500 ms");
	assert_stream_refused(false, "\0\0\0\x10{", 5, false, ERROR_TIMEOUT,
			      "no hello within 500 ms");
	assert_stream_refused(false, "\0\0\0\x1f" GOOD_PING, 0x1f + 4, false, ERROR_PEER,
			      "expected hello");
	assert_stream_refused(true, "\0\0\0\x10{", 5, false, ERROR_TIMEOUT,
			      "not complete within 1500 ms");
	assert_stream_refused(true, "\0\0\0\x10{", 5, true, ERROR_PEER,
			      "in the middle of a message");
	assert_stream_refused(true, "\0\0", 2, true, ERROR_PEER, "in the middle of a message");
	assert_stream_refused(true, "\0\0\0\0", 4, false, ERROR_PEER, "message of 0 bytes");
	assert_stream_refused(true, "\0\1\0\1", 4, false, ERROR_PEER,
			      "65537 bytes, expected 1 to 65536");
	assert_stream_refused(true, "\xff\xff\xff\xff", 4, false, ERROR_PEER, "4294967295 bytes");
}

static void test_idle_after_hello_is_fine(void **state)
{
	World *world = world_new("200");
	RawPeer peer;
	IpcMessage message;

	(void)state;
	world_open_greeted(world, &peer, INBOUND);
	role_expect_nothing(&world->gate, 1000);
	raw_send_frame(&peer, GOOD_PING);
	role_expect(&world->gate, GATE_RECEIVED, &message);
	ipc_message_clear(&message, world->gate.link);
	raw_close(&peer);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

static void test_flood(void **state)
{
	World *world = world_new("3000");
	RawPeer peer;
	IpcMessage message;
	unsigned int received = 0;

	(void)state;
	world_open_greeted(world, &peer, INBOUND);
	for (int i = 0; i < 5 * LIMIT_MESSAGES_S; i++)
		if (SSL_write(peer.ssl, "\0\0\0\x1f" GOOD_PING, 0x1f + 4) <= 0)
			break;
	for (;; received++) {
		struct pollfd waits = { .fd = ipc_link_fd(world->gate.link), .events = POLLIN };
		Error err = ERROR_INIT;

		assert_int_equal(poll(&waits, 1, ROLE_WAIT_MS), 1);
		assert_int_equal(ipc_receive(world->gate.link, &message, &err), IPC_MESSAGE);
		if (message.type != GATE_RECEIVED)
			break;
		ipc_message_clear(&message, world->gate.link);
	}
	assert_int_equal(message.type, GATE_CLOSED);
	assert_int_equal(((const RoleFailure *)message.payload)->category, ERROR_LIMIT);
	assert_true(received <= 2 * LIMIT_MESSAGES_S);
	ipc_message_clear(&message, world->gate.link);
	raw_close(&peer);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_one_address_cannot_take_all(void **state)
{
	World *world = world_new("3000");
	const RawOptions elsewhere = { .pair = &world->host_a,
				       .from = "127.0.0.2",
				       .alpn = "sealift/1" };
	int held[LIMIT_CONNECTIONS_PENDING_ADDRESS], refused;
	IpcMessage message;
	RawPeer peer;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		held[i] = raw_connect(NULL, world->port);
	refused = raw_connect(NULL, world->port);
	assert_true(raw_is_closed(refused));
	assert_true(raw_open(&peer, &elsewhere, world->port));
	role_expect(&world->gate, GATE_CONNECTED, &message);
	assert_string_equal(((const GateIdentity *)message.payload)->address, "127.0.0.2");
	ipc_message_clear(&message, world->gate.link);
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		close(held[i]);
	close(refused);
	raw_close(&peer);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND + 8, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

/* Whoever proved itself opens all channels of a migration at once, and their preambles take their
 * time on the way. */
static void test_a_peer_may_open_all_channels_at_once(void **state)
{
	World *world = world_new("3000");
	int held[LIMIT_CONNECTIONS_PENDING_ADDRESS + LIMIT_CHANNELS], refused;
	uint8_t bytes[PREAMBLE_SIZE];
	IpcMessage message;
	RawPeer peer;

	(void)state;
	world_open_greeted(world, &peer, INBOUND);
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		held[i] = raw_connect(NULL, world->port);
	refused = raw_connect(NULL, world->port);
	assert_true(raw_is_closed(refused));
	make_preamble(bytes);
	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		assert_int_equal(send(held[i], bytes, sizeof(bytes), 0), sizeof(bytes));
		role_expect(&world->gate, GATE_CHANNEL, &message);
		ipc_message_clear(&message, world->gate.link);
		close(held[i]);
	}
	close(refused);
	raw_close(&peer);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

static void test_all_places_taken(void **state)
{
	World *world = world_new("1500");
	int held[LIMIT_CONNECTIONS_PENDING];
	char from[32];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(held); i++) {
		snprintf(from, sizeof(from), "127.0.1.%u",
			 1 + i / LIMIT_CONNECTIONS_PENDING_ADDRESS);
		held[i] = raw_connect(from, world->port);
	}

	AUTO_FD int refused = raw_connect(NULL, world->port);

	assert_true(raw_is_closed(refused));
	/* They prove nothing in time, and then there is room. */
	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		assert_true(raw_is_closed(held[i]));
		close(held[i]);
	}
	world_assert_serves(world, INBOUND + LIMIT_CONNECTIONS_PENDING);
	world_free(world);
}

static void test_one_identity_cannot_take_all(void **state)
{
	World *world = world_new("5000");
	const RawOptions same = { .pair = &world->host_a, .alpn = "sealift/1" };
	RawPeer held[LIMIT_CONNECTIONS_PEER], refused;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		world_open_greeted(world, &held[i], INBOUND + i);
	if (raw_open(&refused, &same, world->port))
		assert_true(raw_is_ended(&refused));
	raw_close(&refused);
	raw_close(&held[0]);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	world_assert_serves(world, INBOUND + ARRAY_SIZE(held) + 1);
	for (size_t i = 1; i < ARRAY_SIZE(held); i++) {
		raw_close(&held[i]);
		role_expect_failure(&world->gate, GATE_CLOSED, INBOUND + i, ERROR_UNAVAILABLE,
				    "closed");
	}
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_slow_ones),
		cmocka_unit_test(test_channel_is_handed_over),
		cmocka_unit_test(test_bad_preambles),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_bad_streams),
		cmocka_unit_test(test_idle_after_hello_is_fine),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_one_address_cannot_take_all),
		cmocka_unit_test(test_a_peer_may_open_all_channels_at_once),
		cmocka_unit_test(test_all_places_taken),
		cmocka_unit_test(test_one_identity_cannot_take_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
