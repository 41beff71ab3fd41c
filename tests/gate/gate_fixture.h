/* SPDX-License-Identifier: Apache-2.0 */
/* Two domains, a gate that listens under the south one, and peers for it. */
#ifndef SEALIFT_TESTS_GATE_FIXTURE_H
#define SEALIFT_TESTS_GATE_FIXTURE_H

#include "raw_peer.h"
#include "role_fixture.h"

#define NORTH_A "spiffe://north.example/host/a"
#define SOUTH_B "spiffe://south.example/host/b"
#define GOOD_HELLO                                                                                 \
	"{\"message\":\"hello\",\"version_min\":0,\"version_max\":0,\"software\":\"t\",\"crl\":\"\"}"
#define GOOD_PING "{\"message\":\"ping\",\"stamp_us\":7}"

/* The first number of connections that came in. */
#define INBOUND GATE_INBOUND_BASE

typedef struct World {
	int64_t now_s;
	FixtureDomain north, south;
	PkiPair host_a; /* of the north */
	Role gate;	/* host b of the south, listening */
	uint16_t port;
} World;

/* handshake_ms as text. */
World *world_new(const char *handshake_ms);
void world_free(World *world);

/* A gate of any domain, with both domains trusted, started; listen_fd -1: none. */
void world_start_gate(World *world, Role *gate, const FixtureDomain *domain, const char *host,
		      int listen_fd, const char *handshake_ms);

/* A raw peer with the certificate of host a that has shaken hands; GATE_CONNECTED has come with
 * this number. */
void world_open_good(World *world, RawPeer *peer, uint64_t id);
/* The same, and hello has gone by. */
void world_open_greeted(World *world, RawPeer *peer, uint64_t id);
/* Asserts that a good peer is still served, as this connection number. */
void world_assert_serves(World *world, uint64_t id);

/* A listening socket on a free port of 127.0.0.1. */
int world_listen(uint16_t *ret_port);

#endif
