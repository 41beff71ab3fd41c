/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move of a VM's keys from one key manager to another, step by step, as one side's key manager
 * does it: signed documents in and out (keys/key_document.h, keys/package.h), states in the store.
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
 * package exists, and only the other key manager's signed `activated` or an undone move ends that.
 */
#ifndef SEALIFT_KEYS_TRANSFER_H
#define SEALIFT_KEYS_TRANSFER_H

#include "keys/key_store.h"
#include "keys/package.h"

/*
 * One step. Each request says the whole context again and keyd remembers nothing
 * but what its store holds, so that it may be killed between any two. A step that was done already
 * for the same migration and keys gives its answer again (a fresh signature over the same), so that
 * an engine that restarts may ask again; only TRANSFER_IMPORT does not: a package is good once.
 */
typedef enum TransferKind {
	TRANSFER_NAME_KEYS, /* source: which keys a move takes along: all of the VM that are active. keys: out */
	TRANSFER_OFFER,	/* destination: a signed offer of the key-agreement certificate. document: out */
	TRANSFER_EXPORT,	/* source: offer in, package out; the keys are `exporting` */
	TRANSFER_IMPORT,	/* destination: package in, receipt `imported` out; the keys are `imported` */
	TRANSFER_IMPORTED,	/* source: receipt `imported` in, to be judged */
	TRANSFER_ACTIVATED, /* destination, at RESUME: receipt `activated` out; the keys are `active` */
	TRANSFER_RELEASE,	/* source: receipt `activated` in; the keys are destroyed, or active again if
			 * they are kept: receipt `destroyed` or `kept` out */
	TRANSFER_RELEASED,	/* destination: receipt `destroyed` or `kept` in, to be judged and logged */
	TRANSFER_DISCARD,	/* destination, undone: receipt `discarded` out; the keys are destroyed */
	TRANSFER_TAKE_BACK, /* source, undone: the keys are active again, exposed if a package was made.
			 * A receipt `discarded` in, or nothing */
	TRANSFER_KIND_COUNT,
} TransferKind;
extern const char *const transfer_words[TRANSFER_KIND_COUNT];

typedef struct KeyTransfer {
	char who[KEY_WHO_SIZE];
	TransferKind kind;
	uint8_t migration[16];
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch; /* of the VM, after the move */
	char source[LIMIT_DOMAIN], destination[LIMIT_DOMAIN]; /* whose key managers */
	uint8_t permit[PACKAGE_PERMIT_BYTES]; /* zeros for TRANSFER_NAME_KEYS */
	bool keep;			      /* the source keeps its keys */
	OfferedKey keys[LIMIT_OFFERED_KEYS]; /* as the signed offer names them */
	size_t keys_count;		     /* 0 for TRANSFER_NAME_KEYS, else at least 1 */
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

#endif
