/* SPDX-License-Identifier: Apache-2.0 */
/* A helper of keyd's (role/key_messages.h) that is played by a test, so that it can be slow, dead
 * and hostile. Each function asserts success with cmocka; waiting has a deadline. */
#ifndef SEALIFT_TESTS_HELPER_PEER_H
#define SEALIFT_TESTS_HELPER_PEER_H

#include "keyd_fixture.h"

#define PEER_NAME "kms" /* of the back-end */

/* One helper, as it is at the other end of keyd's link. */
typedef struct Peer {
	Role role; /* its link alone */
	uint64_t number;
	uint64_t subject; /* of the last request */
	HelperPut put;	  /* the last one */
	char reference[LIMIT_KEY_REFERENCE];
} Peer;

/* Tells keyd of a back-end, with the link to its helper or without (NULL). */
void peer_tell(KeydWorld *world, const char *name, HelperKind kind, uint64_t number, const int *fd);
/* Tells keyd of PEER_NAME with a link, whose other end is the peer's. */
void peer_bring(KeydWorld *world, Peer *peer);
/* Closes it. */
void peer_take_away(Peer *peer);

/* The next request of keyd, which must be of this type; its contents are kept. */
void peer_hear(Peer *peer, uint16_t type);
/* Answers to it. */
void peer_say(Peer *peer, uint16_t type, const Schema *schema, const void *payload);
void peer_say_stored(Peer *peer, const char *reference);
void peer_say_value(Peer *peer, const HelperPut *put);
void peer_say_failed(Peer *peer, ErrorCategory category, const char *text);

/* Asks for a key in this back-end and does not wait; the request's subject. */
uint64_t peer_ask_create(KeydWorld *world, const char *vm, const char *slot);
/* The answer to it. */
KeyRecord peer_expect_key(KeydWorld *world, uint64_t subject);
/* All of it: a key whose blob is in peer->put. */
KeyRecord peer_make(KeydWorld *world, Peer *peer, const char *vm, const char *slot,
		    const char *reference);

#endif
