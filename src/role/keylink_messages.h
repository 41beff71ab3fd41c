/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-keylink joins the hosts of one domain to the key manager of one of them. Its messages,
 * and the rule tables of both of its links and of both directions of its connections (PROTOCOL.md,
 * "The key link").
 *
 *   engine --- keylink (connect) ==TLS== keylink (serve) --- engine --- keyd
 *
 * In connect mode it stands in keyd's place: the engine sends what it would send keyd, and gets the
 * same answers. In serve mode it gives the engine what listed hosts ask for, with their name before
 * `who`, and the engine passes that on to keyd, which judges it by that name.
 */
#ifndef SEALIFT_ROLE_KEYLINK_MESSAGES_H
#define SEALIFT_ROLE_KEYLINK_MESSAGES_H

#include "role/keyd_messages.h"

/* Descriptors as the engine passes them: the host's TLS certificate and key, and to serve the
 * listening socket. */
enum { KEYLINK_CHAIN_FD = ROLE_EXTRA_FD, KEYLINK_KEY_FD, KEYLINK_LISTEN_FD };
#define KEYLINK_CONNECT_OPTION "--connect" /* "=" and the one port that it may connect to */
#define KEYLINK_SERVE_OPTION   "--serve"

enum {
	KEYLINK_HOSTS_MAX = 64, /* that one key manager serves */
	KEYLINK_ASKED_MAX = 32, /* requests of one host that are not answered */
};

typedef enum KeylinkMessage {
	/* engine to keylink, once, before anything else; to serve it stands for KEYD_START too */
	KEYLINK_DIAL = 160, /* KeylinkDial */
	KEYLINK_SERVE,	    /* KeylinkServe: ROLE_READY */
	/* keylink to engine */
	KEYLINK_STATE, /* KeylinkState: connect mode, whenever it is another */
} KeylinkMessage;

typedef struct KeylinkDial {
	char address[LIMIT_ADDRESS]; /* numeric */
	uint64_t port;
	char manager[LIMIT_SPIFFE_ID]; /* the only identity that will do, of our own domain */
} KeylinkDial;

typedef struct KeylinkHost {
	char name[LIMIT_NAME];
} KeylinkHost;

typedef struct KeylinkServe {
	KeylinkHost hosts[KEYLINK_HOSTS_MAX]; /* of our own domain */
	size_t hosts_count;
} KeylinkServe;

typedef struct KeylinkState {
	bool there;
	char text[LIMIT_TEXT]; /* who serves, or why nobody does */
} KeylinkState;

extern const Schema keylink_dial_schema, keylink_serve_schema, keylink_state_schema;

/* What a host may ask for, and its answer but for ROLE_FAILED. Each request's struct begins with
 * `who`. None is sent again by
 * itself when its connection broke: who asked is told that it is not certain. */
typedef struct KeylinkExchange {
	uint16_t request; /* 0 ends the table */
	const Schema *request_schema;
	uint16_t answer;
	const Schema *answer_schema;
} KeylinkExchange;
extern const KeylinkExchange keylink_exchanges[];
/* NULL: hosts may not ask for this. */
const KeylinkExchange *keylink_exchange_of(uint16_t request);

/* How the documents of a handover begin, which are lines of text (PROTOCOL.md); no CMS does. */
#define HANDOVER_MAGIC "sealift handover 1 "

/*
 * Writes "HOST WHO" over who, which has KEY_WHO_SIZE bytes; false if that is too long. And apart
 * again: the name before the first space of a `who` that begins with "spiffe://", "" for one of the
 * key manager's own host.
 */
MUST_CHECK bool keylink_prefix_who(char *who, const char *host);
void keylink_host_of_who(const char *who, char ret_host[LIMIT_SPIFFE_ID]);

/* As in role/messages.h: what each side of a link may receive. */
extern const IpcRule keylink_connect_rules[], keylink_serve_rules[];
extern const IpcRule engine_keylink_connect_rules[], engine_keylink_serve_rules[];
/* Of a connection between hosts: what the manager takes from a host, and a host from its manager. A
 * message whose row has a descriptor carries a value instead. */
extern const IpcRule keylink_host_rules[], keylink_manager_rules[];

#endif
