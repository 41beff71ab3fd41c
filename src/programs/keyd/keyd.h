/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-keyd is the key manager: it holds the root key and the store of keys (keys/key_store.h),
 * and answers the engine's requests (role/keyd_messages.h), one after the other. It has no network,
 * and no files but the database and its journal, which are open before the filter closes: from then
 * on it opens nothing. A value leaves it only as memory for a hypervisor (opened.h), and is never
 * logged, printed or sent.
 *
 * A request that fails is answered with ROLE_FAILED; only a broken link rule, or an answer that
 * cannot be sent, ends the process. Nothing is kept outside the store: it may be killed at any
 * time.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_KEYD_H
#define SEALIFT_PROGRAMS_KEYD_KEYD_H

#include "base/clock.h"
#include "ipc/link.h"
#include "programs/keyd/limits.h"
#include "programs/keyd/opened.h"
#include "programs/keyd/walk.h"
#include "role/keyd_messages.h"

typedef struct Keyd {
	const Clock *clock;
	IpcLink *link;
	RootKey *root;
	KeyStore *store;
	Limits limits;
	Opened opened;
	Walk walk;
	uint64_t told; /* entries of the log that the engine knows of */
	/* too large for the stack */
	KeydKeys keys;
	KeydEntries entries;
} Keyd;

/* Handlers of one request: true if it was answered or needs no answer; false with the error that
 * goes back as ROLE_FAILED. `link_ok` becomes false if an answer could not be sent. */
typedef bool KeydHandler(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err);

/* serve.c: answers requests until the engine closes the link (true) or breaks it. */
MUST_CHECK bool keyd_serve(Keyd *keyd, Error *err);

/* requests.c: what reads. */
KeydHandler keyd_on_start, keyd_on_show, keyd_on_list, keyd_on_log, keyd_on_verify, keyd_on_places;
/* changes.c: what writes. */
KeydHandler keyd_on_create, keyd_on_rotate, keyd_on_change;
/* open.c: what gives a value away. */
KeydHandler keyd_on_open, keyd_on_used;

/* Takes the request from the caller's share; false sets err. */
MUST_CHECK bool keyd_limit(Keyd *keyd, LimitKind kind, const char *who, Error *err);
/* What a change says of itself in the log, now. `who` and `detail` are borrowed. */
KeyReason keyd_reason(const Keyd *keyd, KeyAction action, const char *who, const char *detail);
/* Tells the engine the end of the log if it is another than it knows; before each answer to what
 * may have written. False if the link failed. */
MUST_CHECK bool keyd_tell_head(Keyd *keyd, Error *err);
/* Writes down that the request about this key (NULL: none is known) was refused, and why: `cause`,
 * which stays. What cannot be written down is refused all the same. Returns false. */
bool keyd_refuse(Keyd *keyd, const KeyRecord *key, const char *who, Error *cause);

#endif
