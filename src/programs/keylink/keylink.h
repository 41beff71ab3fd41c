/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-keylink joins the hosts of a domain to the one key manager that they share: keyd itself
 * has no network. It holds the host's TLS key and passes requests and answers
 * (role/keylink_messages.h); it judges form, size and pace, and who the other host is. What a host
 * may do with a key keyd judges.
 *
 * A value is for a moment in its memory: locked, not dumped, wiped when it was passed on. Nothing
 * is kept: it may be killed at any time.
 */
#ifndef SEALIFT_PROGRAMS_KEYLINK_KEYLINK_H
#define SEALIFT_PROGRAMS_KEYLINK_KEYLINK_H

#include "base/log.h"
#include "programs/keylink/conn.h"
#include "programs/keylink/values.h"

enum {
	ANSWER_S = 20, /* until a manager that does not answer is taken for gone */
	REDIAL_FIRST_MS = 500,
	REDIAL_LAST_MS = 15000,
	GUESTS_PENDING_MAX = 16, /* that have not proven who they are, */
	GUESTS_ADDRESS_MAX = 4,	 /* and of one address */
	GUESTS_MAX = KEYLINK_HOSTS_MAX + GUESTS_PENDING_MAX,
	REQUESTS_S = 500, /* that one host may send in a second */
	/* After a change in whom to trust, which comes in several messages: only all of them
	 * together say who is still to be believed. */
	JUDGE_US = 500000,
};

typedef struct Keylink {
	const Clock *clock;
	const Log *log;
	bool serve;
	IpcLink *link;
	Trust trust;
	int64_t judge_us; /* when certificates are to be judged again; 0: not */
	void *payload;	  /* of a message from the network, decoded; no value is in it */
} Keylink;

/* connect.c, serve.c: until the engine closes the link (true) or something of ours breaks. */
MUST_CHECK bool keylink_connect(Keylink *keylink, Error *err);
MUST_CHECK bool keylink_serve(Keylink *keylink, Error *err);

/* sealift-keylink.c: ROLE_ANCHOR, ROLE_CRL and ROLE_FORGET, of our own domain; others are passed
 * over. Sets judge_us. What is refused is answered: false if the link broke. */
MUST_CHECK bool keylink_take_trust(Keylink *keylink, const IpcMessage *message, Error *err);
/* Whether judge_us has come; it is over then. */
bool keylink_is_judging(Keylink *keylink);
/* Whether it is one of those three. */
bool keylink_is_trust(uint16_t type);

#endif
