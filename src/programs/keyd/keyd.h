/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-keyd is the key manager: it holds the root key and the store of keys (keys/key_store.h),
 * and answers the engine's requests (role/keyd_messages.h), one after the other. It has no network,
 * and no files but the database and its journal, which are open before the filter closes: from then
 * on it opens nothing. A value leaves it only as memory for a hypervisor (opened.h), and is never
 * logged, printed or sent.
 *
 * Before it serves it verifies the whole store, in steps (walk.h): who can write to the database, and
 * has not the root key, changes nothing that is believed afterwards.
 *
 * A request that fails is answered with ROLE_FAILED; only a broken link rule, or an answer that
 * cannot be sent, ends the process. Nothing is kept outside the store: it may be killed at any
 * time.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_KEYD_H
#define SEALIFT_PROGRAMS_KEYD_KEYD_H

#include "base/clock.h"
#include "crypto/anchor.h"
#include "ipc/link.h"
#include "programs/keyd/backend.h"
#include "programs/keyd/helper_root.h"
#include "programs/keyd/holders.h"
#include "programs/keyd/limits.h"
#include "programs/keyd/opened.h"
#include "programs/keyd/walk.h"
#include "role/keylink_messages.h"

typedef struct Keyd {
	const Clock *clock;
	IpcLink *link;
	RootKey *root;
	KeyStore *store;
	Limits limits;
	Opened opened;
	Backends backends;
	Walk walk;
	Holders holders;
	uint64_t told; /* entries of the log that the engine knows of */
	bool verifying; /* between KEYD_START and ROLE_READY */
	uint64_t start; /* subject of the KEYD_START */
	int64_t progress_us; /* when the engine was last told how far that is */
	uint64_t created; /* keys that others than root made, ever, */
	uint64_t counted; /* as far as this entry of the log */
	AnchorStore *anchors;
	/* Both or none: for transfers. */
	CmsSigner *signer;
	EnvelopeKey *agree;
	Error no_certificates; /* why there are none */
	/* too large for the stack */
	KeydKeys keys;
	KeydEntries entries;
	KeyTransferred transferred;
} Keyd;

/* Handlers of one request: true if it was answered or needs no answer; false with the error that
 * goes back as ROLE_FAILED. `link_ok` becomes false if an answer could not be sent. */
typedef bool KeydHandler(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err);

/* serve.c: answers requests until the engine closes the link (true) or breaks it. */
MUST_CHECK bool keyd_serve(Keyd *keyd, Error *err);

/* start.c: how it comes to serve. One step of verifying the store; the last one tells the engine
 * that it serves. False if the store is not whole, which the engine was told, or the link broke. */
KeydHandler keyd_on_start;
MUST_CHECK bool keyd_go_on_starting(Keyd *keyd, Error *err);
/* Reads the two certificates from their descriptors, which are closed. ERROR_CONFIG, ERROR_IO; keyd
 * serves all the same then, but moves no keys. */
MUST_CHECK bool keyd_load_certificates(Keyd *keyd, Error *err);

/* transfer.c: whom to trust, and what goes to other key managers and comes from them. */
KeydHandler keyd_on_anchor, keyd_on_crl, keyd_on_forget, keyd_on_transfer, keyd_on_abandon;

/* One step, with the values that are not in our own store, and its answer; false as a handler. */
MUST_CHECK bool keyd_take_step(Keyd *keyd, uint64_t subject, const KeyTransfer *request,
			       const TransferValues *values, bool *link_ok, Error *err);
/* transfer_values.c: the same for what key_transfer_values found, which it may take: it gets values,
 * then the answer comes later, and deletes blobs. */
MUST_CHECK bool keyd_take_step_with_values(Keyd *keyd, uint64_t subject, const KeyTransfer *request,
					   TransferValues *values, bool *link_ok, Error *err);

/* share.c: whether this KEYD_CREATE or KEYD_ROTATE may add a key. Of a VM at most LIMIT_VM_KEYS are
 * not destroyed, and callers other than root make at most a quarter of what the store takes, so that
 * none of them can fill it. ERROR_LIMIT; ERROR_NOT_FOUND if there is no such key. */
MUST_CHECK bool keyd_check_share(Keyd *keyd, const IpcMessage *message, Error *err);

/* hosts.c: the hosts that share this key manager. Whether this request may be made by its host;
 * before its handler. ERROR_DENIED, which stands in the log. */
MUST_CHECK bool keyd_judge_host(Keyd *keyd, const IpcMessage *message, Error *err);
/* Whether `who` is of another host, and whether his host holds this key. */
bool keyd_is_remote(const char *who);
bool keyd_holds(const Keyd *keyd, const uint8_t id[KEY_ID_BYTES], const char *who);
/* Refuses a request about a key that another host holds, or that is not here. Returns false. */
bool keyd_refuse_host(Keyd *keyd, const uint8_t id[KEY_ID_BYTES], const char *who, Error *err);
/* Leaves of a page only the keys that the host of `who` holds, or that are coming to it. */
void keyd_keep_own(const Keyd *keyd, const char *who, KeydKeys *keys);

/* requests.c: what reads. */
KeydHandler keyd_on_show, keyd_on_list, keyd_on_log, keyd_on_verify;
/* backend.c: values in other key managers. */
KeydHandler keyd_on_places, keyd_on_helper;
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
