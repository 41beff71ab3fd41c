/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-gate: the process that meets the network. What comes in on the one TCP port is either a
 * control connection (TLS 1.3, both sides with certificates) or a data channel, which is handed to
 * the engine by descriptor after its preamble. The gate vouches for nothing that counts: statements
 * are signed, and verified by the notary.
 */
#ifndef SEALIFT_PROGRAMS_GATE_GATE_H
#define SEALIFT_PROGRAMS_GATE_GATE_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/anchor.h"
#include "ipc/link.h"
#include "role/messages.h"
#include "wire/preamble.h"

typedef struct Gate Gate;
typedef struct Connection Connection;

/* Where a connection stands. Those below CONNECTION_HELLO have proven nothing. */
typedef enum ConnectionState {
	CONNECTION_FIRST,     /* came in; its first byte says what it is */
	CONNECTION_PREAMBLE,  /* came in; a data channel whose preamble is not complete */
	CONNECTION_DIALING,   /* ours; TCP connects */
	CONNECTION_HANDSHAKE, /* TLS */
	CONNECTION_HELLO,     /* verified; the peer's hello is due */
	CONNECTION_OPEN,
	CONNECTION_FLUSHING, /* the engine closed it; the queue still goes out */
	CONNECTION_DRAINING, /* the end was sent; waits for the peer's, so that nothing is lost */
	CONNECTION_STATE_COUNT,
} ConnectionState;

/* A peer's address: 16 bytes to compare (IPv4 mapped; IPv6 by its /64), and text. */
typedef struct PeerAddress {
	uint8_t key[16];
	char text[LIMIT_ADDRESS];
} PeerAddress;

struct Connection {
	Gate *gate;
	LIST_ENTRY(Connection) entry;
	uint64_t id;
	ConnectionState state;
	bool inbound;
	bool channel; /* dialled for a channel: no TLS */
	int fd;
	SSL *ssl;
	struct event *io, *deadline;
	PeerAddress address;
	char expected[LIMIT_SPIFFE_ID]; /* the only identity that will do; empty if inbound */
	SpiffeId peer;			/* from CONNECTION_HELLO on */
	Error refusal;			/* why the peer's certificate was refused */
	Buffer in, out;
	uint8_t preamble[PREAMBLE_SIZE];
	size_t preamble_used;
	int64_t window_us; /* start of the second in which messages are counted */
	unsigned int window_messages;
	bool frame_timed; /* the deadline is that of an unfinished message */
};

/* Refusals of connections that never proved who they are: counted, logged once a second. */
typedef struct RefusalLog {
	uint64_t count;
	int64_t logged_us;
	char last[LIMIT_TEXT];
	struct event *timer;
} RefusalLog;

struct Gate {
	struct event_base *base;
	const Clock *clock;
	const Log *log;
	IpcLink *link;
	struct event *link_event;
	AnchorStore *anchors;
	SSL_CTX *server, *client;
	int listen_fd; /* -1: none */
	struct event *listen_event, *listen_pause;
	unsigned int refused_in_window;
	int64_t refused_window_us;
	unsigned int handshake_ms;
	uint64_t next_inbound;
	LIST_HEAD(, Connection) connections;
	RefusalLog refusals;
	RolePeer scratch; /* too large for the stack */
	Error fatal;	  /* why the loop ended, if not by the engine's close */
};

#endif
