/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the key link: TCP, TLS 1.3 with both certificates, bytes in and out. Both ends
 * are hosts of one domain; who the other one may be is judged in the handshake.
 */
#ifndef SEALIFT_PROGRAMS_KEYLINK_CONN_H
#define SEALIFT_PROGRAMS_KEYLINK_CONN_H

#include <openssl/ssl.h>

#include "base/clock.h"
#include "crypto/anchor.h"
#include "programs/keylink/frame.h"

enum {
	CONN_QUEUE_BYTES = 2 * (FRAME_LENGTH_BYTES + FRAME_MAX),
	/* Of what goes out to a guest, values among it: those of all guests together stay below the
	 * 8 MiB that a process may lock by default. */
	CONN_GUEST_OUT_BYTES = 96 << 10,
	CONN_ADDRESS_BYTES = 16,
};

/* What judges the other side, and our own name. */
typedef struct Trust {
	const Clock *clock;
	AnchorStore *anchors;
	SpiffeId own;
	SSL_CTX *context;		/* of the one side that this process is */
	char expected[LIMIT_SPIFFE_ID]; /* connect: the only identity that will do */
	KeylinkServe allowed;		/* serve: the hosts that may come */
} Trust;

/* The host's certificate and key (PEM); the name in it becomes trust->own. ERROR_CONFIG. */
MUST_CHECK bool trust_load(Trust *trust, bool serve, const Buffer *chain_pem, const Buffer *key_pem,
			   Error *err);
void trust_clear(Trust *trust);

typedef enum ConnState {
	CONN_DIALING, /* TCP connects */
	CONN_HANDSHAKE,
	CONN_OPEN,
} ConnState;

typedef struct Conn {
	const Trust *trust;
	ConnState state;
	int fd;
	SSL *ssl;
	SpiffeId peer; /* from CONN_OPEN on */
	Error refusal; /* why its certificate was refused */
	Queue in, out;
	bool wants_write;    /* TLS waits to write */
	int64_t deadline_us; /* of the handshake, or of a message that has begun; 0: none */
	uint8_t address[CONN_ADDRESS_BYTES]; /* of who came in: IPv4 mapped, IPv6 by its /64 */
	char text[LIMIT_ADDRESS];
} Conn;

/* Dials a numeric address. ERROR_UNAVAILABLE, ERROR_CONFIG for a name. Owned by the caller. */
Conn *conn_dial(const Trust *trust, const char *address, uint16_t port, Error *err);
/* Takes what came in on the listening socket; NULL with ERROR_NONE if nothing did. */
Conn *conn_accept(const Trust *trust, int listen_fd, Error *err);
/* Closes at once; NULL is fine. */
void conn_free(Conn *conn);

/* What poll(2) is to wait for. */
short conn_events(const Conn *conn);
/* Whether there is something to read that poll(2) does not know of: TLS has it already. */
bool conn_has_more(const Conn *conn);
/* Goes on as far as it can: handshake, writing what waits, reading as much as there is room for.
 * False: it has ended, *err says why. */
MUST_CHECK bool conn_go_on(Conn *conn, Error *err);
/* ERROR_TIMEOUT if its deadline has passed. */
MUST_CHECK bool conn_in_time(const Conn *conn, int64_t now_us, Error *err);
/* Whether a message has begun and is not whole: starts and ends its deadline. */
void conn_note_part(Conn *conn, bool part);
/* Whether its certificate is still good: after a change of CRL or roots. ERROR_AUTH. */
MUST_CHECK bool conn_verify_again(const Conn *conn, Error *err);

#endif
