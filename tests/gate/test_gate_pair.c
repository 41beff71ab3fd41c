/* SPDX-License-Identifier: Apache-2.0 */
/* Two real gates with each other, and what the engine asks of them. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "gate_fixture.h"

static void dial(const World *world, Role *from, uint64_t id, const char *expected)
{
	GateDial payload = { .address = "127.0.0.1", .port = world->port };

	snprintf(payload.peer_id, sizeof(payload.peer_id), "%s", expected);
	role_send(from, GATE_DIAL, id, &gate_dial_schema, &payload);
}

static void expect_connected(Role *gate, uint64_t id, const char *peer)
{
	IpcMessage message;

	role_expect(gate, GATE_CONNECTED, &message);
	assert_int_equal(message.subject, id);
	assert_string_equal(((const GateIdentity *)message.payload)->peer_id, peer);
	ipc_message_clear(&message, gate->link);
}

static void send_peer(Role *gate, uint64_t id, PeerMessage *peer)
{
	RolePeer *role = calloc(1, sizeof(*role));

	assert_non_null(role);
	role->kind = peer->kind;
	role->message = *peer;
	role_send(gate, GATE_SEND, id, &role_peer_schema, role);
	free(role);
}

static PeerMessage *hello_new(void)
{
	PeerMessage *hello = calloc(1, sizeof(*hello));

	assert_non_null(hello);
	*hello = (PeerMessage){ .kind = PEER_HELLO,
				.software = "test",
				.crl_size = sizeof(hello->crl) };
	memset(hello->crl, 0x5a, sizeof(hello->crl));
	return hello;
}

static void pass_hello(Role *from, uint64_t from_id, Role *to, uint64_t to_id)
{
	AUTO_FREE PeerMessage *hello = hello_new();
	const RolePeer *got;
	IpcMessage message;

	send_peer(from, from_id, hello);
	role_expect(to, GATE_RECEIVED, &message);
	got = message.payload;
	assert_int_equal(message.subject, to_id);
	assert_int_equal(got->kind, PEER_HELLO);
	assert_int_equal(got->message.crl_size, sizeof(hello->crl));
	assert_memory_equal(got->message.crl, hello->crl, sizeof(hello->crl));
	ipc_message_clear(&message, to->link);
}

static void export_secret(Role *gate, uint64_t id, uint8_t first,
			  uint8_t ret_secret[ROLE_EXPORT_BYTES])
{
	const GateContext context = { .migration = { first, 2, 3 } };
	IpcMessage message;

	role_send(gate, GATE_EXPORT, id, &gate_context_schema, &context);
	role_expect(gate, GATE_EXPORTED, &message);
	assert_int_equal(message.subject, id);
	memcpy(ret_secret, ((const GateSecret *)message.payload)->secret, ROLE_EXPORT_BYTES);
	ipc_message_clear(&message, gate->link);
}

static void test_pair_talks(void **state)
{
	uint8_t here[ROLE_EXPORT_BYTES], there[ROLE_EXPORT_BYTES], other[ROLE_EXPORT_BYTES];
	World *world = world_new("5000");
	Role dialer;

	(void)state;
	world_start_gate(world, &dialer, &world->north, "a", -1, "5000");
	dial(world, &dialer, 7, SOUTH_B);
	expect_connected(&dialer, 7, SOUTH_B);
	expect_connected(&world->gate, INBOUND, NORTH_A);
	pass_hello(&dialer, 7, &world->gate, INBOUND);
	pass_hello(&world->gate, INBOUND, &dialer, 7);
	export_secret(&dialer, 7, 1, here);
	export_secret(&world->gate, INBOUND, 1, there);
	export_secret(&dialer, 7, 9, other);
	assert_memory_equal(here, there, sizeof(here));
	assert_memory_not_equal(here, other, sizeof(here));
	role_send(&dialer, GATE_CLOSE, 7, NULL, NULL);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND, ERROR_UNAVAILABLE, "closed");
	role_stop(&dialer, 0);
	world_free(world);
}

/* What was sent before a close arrives before the close. */
static void test_last_words_arrive(void **state)
{
	World *world = world_new("5000");
	AUTO_FREE PeerMessage *refuse = calloc(1, sizeof(*refuse));
	IpcMessage message;
	Role dialer;

	(void)state;
	assert_non_null(refuse);
	*refuse = (PeerMessage){ .kind = PEER_REFUSE, .category = "denied", .text = "no" };
	world_start_gate(world, &dialer, &world->north, "a", -1, "5000");
	dial(world, &dialer, 1, SOUTH_B);
	expect_connected(&dialer, 1, SOUTH_B);
	expect_connected(&world->gate, INBOUND, NORTH_A);
	pass_hello(&dialer, 1, &world->gate, INBOUND);
	pass_hello(&world->gate, INBOUND, &dialer, 1);
	/* The other direction has bytes under way when this side closes. */
	for (int i = 0; i < 20; i++)
		send_peer(&dialer, 1, &(PeerMessage){ .kind = PEER_PING, .stamp_us = 1 });
	send_peer(&world->gate, INBOUND, refuse);
	role_send(&world->gate, GATE_CLOSE, INBOUND, NULL, NULL);
	role_expect(&dialer, GATE_RECEIVED, &message);
	assert_string_equal(((const RolePeer *)message.payload)->message.category, "denied");
	ipc_message_clear(&message, dialer.link);
	role_expect_failure(&dialer, GATE_CLOSED, 1, ERROR_UNAVAILABLE, "closed");
	role_stop(&dialer, 0);
	world_free(world);
}

static void test_only_the_expected_identity(void **state)
{
	World *world = world_new("5000");
	Role dialer;

	(void)state;
	world_start_gate(world, &dialer, &world->north, "a", -1, "5000");
	dial(world, &dialer, 2, "spiffe://south.example/host/c");
	role_expect_failure(&dialer, GATE_CLOSED, 2, ERROR_AUTH,
			    "expected spiffe://south.example/host/c");
	dial(world, &dialer, 3, "spiffe://south.example/authority");
	role_expect_failure(&dialer, GATE_CLOSED, 3, ERROR_AUTH, "expected");
	dial(world, &dialer, 4, "http://south.example/");
	role_expect_failure(&dialer, GATE_CLOSED, 4, ERROR_AUTH, "spiffe");
	dial(world, &dialer, 5, SOUTH_B);
	expect_connected(&dialer, 5, SOUTH_B);
	expect_connected(&world->gate, INBOUND + 3 - 1, NORTH_A);
	role_stop(&dialer, 0);
	role_expect_failure(&world->gate, GATE_CLOSED, INBOUND + 2, ERROR_UNAVAILABLE, "closed");
	world_free(world);
}

static void test_dial_where_nobody_is(void **state)
{
	World *world = world_new("300");
	GateDial to = { .address = "127.0.0.1", .peer_id = SOUTH_B };
	uint16_t port;
	AUTO_FD int silent = world_listen(&port);
	Role dialer;

	(void)state;
	world_start_gate(world, &dialer, &world->north, "a", -1, "300");
	to.port = port;
	role_send(&dialer, GATE_DIAL, 1, &gate_dial_schema, &to);
	role_expect_failure(&dialer, GATE_CLOSED, 1, ERROR_TIMEOUT,
			    "handshake is not complete within 300 ms");
	close(TAKE_FD(silent));
	role_send(&dialer, GATE_DIAL, 2, &gate_dial_schema, &to);
	role_expect_failure(&dialer, GATE_CLOSED, 2, ERROR_UNAVAILABLE, "Connection refused");
	snprintf(to.address, sizeof(to.address), "host.example");
	role_send(&dialer, GATE_DIAL, 3, &gate_dial_schema, &to);
	role_expect_failure(&dialer, GATE_CLOSED, 3, ERROR_CONFIG, "not a numeric");
	role_stop(&dialer, 0);
	world_free(world);
}

static void test_dial_channel(void **state)
{
	World *world = world_new("1000");
	GateAddress to = { .address = "127.0.0.1" };
	uint16_t port;
	AUTO_FD int listening = world_listen(&port);
	IpcMessage message;
	char byte = 0;

	(void)state;
	to.port = port;
	role_send(&world->gate, GATE_DIAL_CHANNEL, 40, &gate_address_schema, &to);
	role_expect(&world->gate, GATE_CHANNEL_DIALED, &message);
	assert_int_equal(message.subject, 40);
	assert_int_equal(fcntl(message.fds[0], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(write(message.fds[0], "x", 1), 1);
	assert_int_equal(fcntl(listening, F_SETFL, 0), 0);

	AUTO_FD int accepted = accept(listening, NULL, NULL);

	assert_int_equal(read(accepted, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	ipc_message_clear(&message, world->gate.link);
	close(TAKE_FD(listening));
	role_send(&world->gate, GATE_DIAL_CHANNEL, 41, &gate_address_schema, &to);
	role_expect_failure(&world->gate, ROLE_FAILED, 41, ERROR_UNAVAILABLE, "Connection refused");
	world_free(world);
}

/* A port that answers no more: its backlog is full. What is held has to be closed. */
static uint16_t make_deaf_port(int held[8])
{
	uint16_t port;
	struct sockaddr_in to = { .sin_family = AF_INET };
	bool full = false;

	held[0] = world_listen(&port);
	assert_int_equal(listen(held[0], 0), 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons(port);
	for (int i = 1; i < 8; i++) {
		struct pollfd row = { .events = POLLOUT };

		held[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(held[i] >= 0);
		(void)connect(held[i], (const struct sockaddr *)(void *)&to, sizeof(to));
		row.fd = held[i];
		full = poll(&row, 1, 50) == 0;
	}
	assert_true(full);
	return port;
}

/* Many migrations may dial all their channels at once; not any number. */
static void test_dials_are_bounded(void **state)
{
	World *world = world_new("3000");
	GateAddress to = { .address = "127.0.0.1" };
	int held[8];

	(void)state;
	to.port = make_deaf_port(held);
	for (uint64_t i = 1; i <= LIMIT_CONNECTIONS_DIALLED + 1; i++)
		role_send(&world->gate, GATE_DIAL_CHANNEL, i, &gate_address_schema, &to);
	role_expect_failure(&world->gate, ROLE_FAILED, LIMIT_CONNECTIONS_DIALLED + 1, ERROR_LIMIT,
			    "256 connections are being dialled already");
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		close(held[i]);
	world_free(world);
}

static void test_peer_that_does_not_read(void **state)
{
	World *world = world_new("3000");
	AUTO_FREE PeerMessage *hello = hello_new();
	IpcMessage message;
	RawPeer peer;
	bool closed = false;

	(void)state;
	world_open_greeted(world, &peer, INBOUND);
	/* The kernel's buffers take some megabytes before the queue grows. */
	for (int i = 0; i < 2000 && !closed; i++) {
		send_peer(&world->gate, INBOUND, hello);
		closed = i % 50 == 49 && recv(ipc_link_fd(world->gate.link), &(char){ 0 }, 1,
					      MSG_PEEK | MSG_DONTWAIT) > 0;
	}
	role_expect(&world->gate, GATE_CLOSED, &message);
	assert_int_equal(((const RoleFailure *)message.payload)->category, ERROR_LIMIT);
	assert_non_null(strstr(((const RoleFailure *)message.payload)->text, "does not read"));
	ipc_message_clear(&message, world->gate.link);
	raw_close(&peer);
	world_assert_serves(world, INBOUND + 1);
	world_free(world);
}

static void test_engine_that_breaks_a_rule(void **state)
{
	World *world = world_new("1000");

	(void)state;
	/* start is permitted once. */
	role_send(&world->gate, ROLE_START, 0, NULL, NULL);
	role_expect_exit(&world->gate, error_exit_status(ERROR_PEER));
	pki_pair_clear(&world->host_a);
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	free(world);
}

static void test_bad_anchor_and_crl_are_answered(void **state)
{
	World *world = world_new("1000");
	AUTO_BUFFER Buffer junk = BUFFER_INIT(64);
	AUTO_BUFFER Buffer crl = fixture_crl(&world->south, 9, world->now_s, NULL);
	Error err = ERROR_INIT;

	(void)state;
	assert_true(buffer_put(&junk, "junk", 4, &err));
	role_send_anchor(&world->gate, "east.example", &junk);
	role_expect_failure(&world->gate, ROLE_FAILED, 0, ERROR_CONFIG, "");
	role_send_crl(&world->gate, "north.example", &crl);
	role_expect_failure(&world->gate, ROLE_FAILED, 0, ERROR_AUTH, "");
	world_assert_serves(world, INBOUND);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pair_talks),
		cmocka_unit_test(test_last_words_arrive),
		cmocka_unit_test(test_only_the_expected_identity),
		cmocka_unit_test(test_dial_where_nobody_is),
		cmocka_unit_test(test_dial_channel),
		cmocka_unit_test(test_dials_are_bounded),
		cmocka_unit_test(test_peer_that_does_not_read),
		cmocka_unit_test(test_engine_that_breaks_a_rule),
		cmocka_unit_test(test_bad_anchor_and_crl_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
