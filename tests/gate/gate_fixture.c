/* SPDX-License-Identifier: Apache-2.0 */
#include "gate_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

int world_listen(uint16_t *ret_port)
{
	struct sockaddr_in own = { .sin_family = AF_INET };
	socklen_t size = sizeof(own);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &own.sin_addr), 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&own, size), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &size), 0);
	*ret_port = ntohs(own.sin_port);
	return fd;
}

void world_start_gate(World *world, Role *gate, const FixtureDomain *domain, const char *host,
		      int listen_fd, const char *handshake_ms)
{
	/* As the engine does it: with a user of its own where that is possible. */
	const char *args[6] = { "--handshake-ms", handshake_ms };
	size_t n_args = 2;
	AUTO_FIXTURE_PEM FixturePem pem =
		fixture_issue_pem(domain, SPIFFE_HOST, host, PKI_USE_TLS, world->now_s);
	AUTO_FD int chain = role_memory_fd(&pem.certificate);
	AUTO_FD int key = role_memory_fd(&pem.key);
	AUTO_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int fds[] = { listen_fd < 0 ? null : listen_fd, chain, key };
	const FixtureDomain *const domains[] = { &world->north, &world->south };
	IpcMessage message;

	if (listen_fd < 0)
		args[n_args++] = "--no-listen";
	if (geteuid() == 0) {
		args[n_args++] = "--user";
		args[n_args++] = "65534:65534";
	}
	role_start(gate, GATE_PATH, args, fds, ARRAY_SIZE(fds), engine_gate_rules);
	for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
		AUTO_BUFFER Buffer crl = fixture_crl(domains[i], 1, world->now_s, NULL);

		role_send_anchor(gate, domains[i]->name, &domains[i]->root_pem);
		role_send_crl(gate, domains[i]->name, &crl);
	}
	role_send(gate, ROLE_START, 0, NULL, NULL);
	role_expect(gate, ROLE_READY, &message);
	ipc_message_clear(&message, gate->link);
}

World *world_new(const char *handshake_ms)
{
	World *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->now_s = time(NULL);
	fixture_domain_open(&world->north, "north.example", world->now_s);
	fixture_domain_open(&world->south, "south.example", world->now_s);
	world->host_a = fixture_issue(&world->north, SPIFFE_HOST, "a", PKI_USE_TLS, world->now_s);

	AUTO_FD int listening = world_listen(&world->port);

	world_start_gate(world, &world->gate, &world->south, "b", listening, handshake_ms);
	return world;
}

void world_free(World *world)
{
	role_stop(&world->gate, 0);
	pki_pair_clear(&world->host_a);
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	free(world);
}

void world_open_good(World *world, RawPeer *peer, uint64_t id)
{
	const RawOptions good = { .pair = &world->host_a, .alpn = "sealift/1" };
	const GateIdentity *identity;
	IpcMessage message;

	assert_true(raw_open(peer, &good, world->port));
	role_expect(&world->gate, GATE_CONNECTED, &message);
	identity = message.payload;
	assert_int_equal(message.subject, id);
	assert_string_equal(identity->peer_id, NORTH_A);
	assert_string_equal(identity->address, "127.0.0.1");
	assert_true(identity->not_after_s > (uint64_t)world->now_s);
	ipc_message_clear(&message, world->gate.link);
}

void world_open_greeted(World *world, RawPeer *peer, uint64_t id)
{
	IpcMessage message;

	world_open_good(world, peer, id);
	raw_send_frame(peer, GOOD_HELLO);
	role_expect(&world->gate, GATE_RECEIVED, &message);
	assert_int_equal(message.subject, id);
	assert_int_equal(((const RolePeer *)message.payload)->kind, PEER_HELLO);
	ipc_message_clear(&message, world->gate.link);
}

void world_assert_serves(World *world, uint64_t id)
{
	RawPeer peer;

	world_open_greeted(world, &peer, id);
	raw_close(&peer);
	role_expect_failure(&world->gate, GATE_CLOSED, id, ERROR_UNAVAILABLE,
			    "closed the connection");
}
