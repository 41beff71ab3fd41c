/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move of a VM's keys from one key manager to another, step by step, as one side's key manager
 * does it: signed documents in and out (keys/key_statement.h, keys/package.h), states in the store.
 *
 *   source                                       destination
 *   NAME_KEYS: the host's signed offer lists them
 *                                  <- offer      OFFER: whom to seal for, signed
 *   EXPORT: active -> exporting    package ->    IMPORT: -> imported
 *   IMPORTED: judged            <- imported
 *                  ... the VM moves, RESUME ...
 *   RELEASE: exporting -> destroyed <- activated ACTIVATED: imported -> active
 *            (or active, if kept)  destroyed ->  RELEASED: judged, logged
 *   undone: TAKE_BACK, exporting -> active, marked as exposed; DISCARD, imported -> destroyed
 *
 * So a key is never active on both sides after a move: the source's is `exporting` from before the
 * package leaves, and only the other key manager's signed `activated` or an undone move ends that.
 *
 * A step's changes, its entries in the log and what is remembered of the migration
 * (keys/key_store_transfers.h) are one transaction, which is on the disk before the answer exists
 * for anybody. Documents: PROTOCOL.md, section "Key packages".
 */
#ifndef SEALIFT_KEYS_TRANSFER_H
#define SEALIFT_KEYS_TRANSFER_H

#include "keys/key_store.h"
#include "keys/package.h"

enum {
	TRANSFER_OFFER_LIFE_S = 1800,
	TRANSFER_PACKAGE_LIFE_S = 600, /* it is sent last and imported at once */
};

/*
 * One step. Each request says the whole context again and keyd remembers nothing
 * but what its store holds, so that it may be killed between any two. A step that was done already
 * for the same migration, context and keys gives its answer again (a fresh signature over the same
 * JSON; an offer is a new one), so that an engine that restarts may ask again, also when later
 * steps were done since. Only TRANSFER_IMPORT does not: a package is good once. Nor does
 * TRANSFER_EXPORT after the package expired.
 */
typedef enum TransferKind {
	TRANSFER_NAME_KEYS, /* source: which keys a move takes along: all of the VM that are active.
			       keys: out */
	TRANSFER_OFFER,	 /* destination: a signed offer of the key-agreement certificate. document:
			    out */
	TRANSFER_EXPORT, /* source: offer in, package out; the keys are `exporting` */
	TRANSFER_IMPORT, /* destination: package in, receipt `imported` out; the keys are `imported`
			  */
	TRANSFER_IMPORTED,  /* source: receipt `imported` in, to be judged */
	TRANSFER_ACTIVATED, /* destination, at RESUME: receipt `activated` out; the keys are
			       `active` */
	TRANSFER_RELEASE, /* source: receipt `activated` in; the keys are destroyed, or active again
			   * if they are kept: receipt `destroyed` or `kept` out */
	TRANSFER_RELEASED, /* destination: receipt `destroyed` or `kept` in, to be judged and logged
			    */
	TRANSFER_DISCARD, /* destination, undone: receipt `discarded` out; the keys are destroyed */
	TRANSFER_TAKE_BACK, /* source, undone: the keys are active again, exposed if a package was
			     * made. A receipt `discarded` in, or nothing */
	TRANSFER_KIND_COUNT,
} TransferKind;
extern const char *const transfer_words[TRANSFER_KIND_COUNT];

typedef struct KeyTransfer {
	char who[KEY_WHO_SIZE];
	TransferKind kind;
	uint8_t migration[16];
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch;					      /* of the VM, after the move */
	char source[LIMIT_DOMAIN], destination[LIMIT_DOMAIN]; /* whose key managers */
	uint8_t permit[PACKAGE_PERMIT_BYTES];		      /* zeros for TRANSFER_NAME_KEYS */
	bool keep;					      /* the source keeps its keys */
	OfferedKey keys[LIMIT_OFFERED_KEYS];		      /* as the signed offer names them */
	size_t keys_count; /* 0 for TRANSFER_NAME_KEYS, else at least 1 */
	uint8_t document[LIMIT_PACKAGE];
	size_t document_size;
} KeyTransfer;

typedef struct KeyTransferred {
	TransferKind kind;
	OfferedKey keys[LIMIT_OFFERED_KEYS]; /* TRANSFER_NAME_KEYS only */
	size_t keys_count;
	uint8_t document[LIMIT_PACKAGE];
	size_t document_size; /* 0: there is none to send */
	bool exposed;	      /* TRANSFER_TAKE_BACK: the other domain may have seen them */
} KeyTransferred;
extern const Schema key_transfer_schema, key_transferred_schema;

/* Values of keys that are not in our own store; the caller talks to the back-ends. */
typedef struct TransferValues {
	KeyRecord keys[LIMIT_OFFERED_KEYS];
	Secret *values[LIMIT_OFFERED_KEYS]; /* owned; NULL: none */
	size_t count;
} TransferValues;
/* Wipes and releases the values; no values are fine. */
void transfer_values_clear(TransferValues *values);
#define AUTO_TRANSFER_VALUES CLEANUP(transfer_values_clear)

/* Who does the step. All of it is borrowed for the call. */
typedef struct TransferParty {
	KeyStore *store;
	const CmsSigner *signer;      /* spiffe://DOMAIN/keyd with EC P-384; DOMAIN is our own */
	const EnvelopeKey *agree;     /* of the same name */
	const AnchorStore *anchors;   /* of the other domain, and of our own */
	const TransferValues *values; /* NULL: all values are in our own store */
} TransferParty;

/*
 * Judges the step, changes what it changes and makes its answer; now_s since 1970.
 * *ret_transferred, which holds a sealed package at most, is set on success only.
 *
 * Refused, with one plain line, and nothing is changed:
 *   ERROR_USAGE     a request that is not in order: no permit, no document or one too many
 *   ERROR_DENIED    a step of the other side; a key of another VM or owner, or newer than the epoch
 *   ERROR_NOT_FOUND a key is not here
 *   ERROR_CONFLICT  a key, or this migration, is not in the state for it; another context than
 * before; a package came twice ERROR_AUTH      a document did not verify, is signed by another than
 * the other key manager, is about something else, answers another one, expired; ERROR_PEER,
 * ERROR_LIMIT too ERROR_UNAVAILABLE our own certificate expired; a value of another back-end is not
 * in `values` ERROR_LIMIT     too many keys, or migrations to remember ERROR_IO: it is not certain
 * whether it was done: ask again.
 */
MUST_CHECK bool key_transfer(const TransferParty *party, const KeyTransfer *request, uint64_t now_s,
			     KeyTransferred *ret_transferred, Error *err);

/*
 * Where values are in other back-ends: what the caller has to do with them for this step, which is
 * judged as key_transfer judges it, but nothing is changed. The step itself comes afterwards, with
 * party->values set to what the caller made of this answer.
 *
 *   TRANSFER_EXPORT   the keys that are elsewhere. Fetch each value, open its blob (key_blob_open),
 *                     put it into values[]
 *   TRANSFER_IMPORT   all keys of the package, each with its value, and KEY_BACKEND_EMBEDDED as its
 *                     back-end. To store one elsewhere: key_blob_seal, put the blob, then set
 *                     backend, reference, and in the place of the value the blob key, or NULL if
 *                     the back-end keeps the bare value. One left as it is goes to our own store
 *   TRANSFER_RELEASE (but if the keys are kept), TRANSFER_DISCARD
 *                     the keys that are elsewhere. Destroy those that are kept bare there before
 * the step, since its receipt says that they are gone; the blobs of the others afterwards: the step
 * destroys what opens them all others, and a step that was done already: none Errors as above;
 * values->count is 0 then. The caller clears it.
 */
MUST_CHECK bool key_transfer_values(const TransferParty *party, const KeyTransfer *request,
				    uint64_t now_s, TransferValues *ret_values, Error *err);

#endif
