/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step under way, and what transfer.c (the table), transfer_shared.c, transfer_source.c and
 * transfer_destination.c have of each other. A step is judged first, which changes nothing;
 * then it changes the store, unless it was done before, and makes its answer, all in one
 * transaction.
 */
#ifndef SEALIFT_KEYS_TRANSFER_INTERNAL_H
#define SEALIFT_KEYS_TRANSFER_INTERNAL_H

#include "keys/key_statement.h"
#include "keys/key_store_transfers.h"
#include "keys/transfer.h"

typedef struct TransferStep {
	const TransferParty *party;
	const KeyTransfer *request;
	uint64_t now_s;
	bool is_source;
	/* judged */
	bool known; /* `past` is what was done before for this migration */
	bool again; /* the step itself was */
	TransferRecord
		past; /* with its context; `change` sets the rest of it, which is written then */
	KeyRecord keys[LIMIT_OFFERED_KEYS]; /* in the order of the request: as they are here */
	size_t keys_count;		    /* 0: the step does without them */
	KeyStatement statement;		    /* the document that came, if it is one */
	uint8_t digest[KEY_DIGEST_BYTES];   /* of its JSON */
	EnvelopeRecipient *recipient;	    /* TRANSFER_EXPORT: whom to seal for */
	Package package;		    /* TRANSFER_IMPORT: secret */
	char detail[LIMIT_TEXT];	    /* of the log entries of this step */
	KeyTransferred answer;
} TransferStep;

/* Each is one of three parts of a step; see the table in transfer.c. */
typedef bool TransferPart(TransferStep *step, Error *err);
TransferPart transfer_judge_name_keys, transfer_judge_export, transfer_judge_imported,
	transfer_judge_release, transfer_judge_take_back;
TransferPart transfer_change_export, transfer_change_imported, transfer_change_release,
	transfer_change_take_back;
TransferPart transfer_answer_export, transfer_answer_release, transfer_answer_take_back;

TransferPart transfer_judge_offer, transfer_judge_import, transfer_judge_activated,
	transfer_judge_released, transfer_judge_discard;
TransferPart transfer_change_import, transfer_change_activated, transfer_change_released,
	transfer_change_discard;
TransferPart transfer_answer_offer, transfer_answer_import, transfer_answer_activated,
	transfer_answer_discard;

/* --- transfer_shared.c: what they share --- */

/* Whether this many bytes are all zero: no package, no receipt. */
bool transfer_is_none(const uint8_t *bytes, size_t size);
/* The migration as the log and errors name it: "migration HEX to DOMAIN", or "from". */
void transfer_name(const TransferStep *step, char *ret_text, size_t size);
/* Sets step->detail to that, ": " and more. */
void transfer_set_detail(TransferStep *step, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* ERROR_CONFLICT "migration HEX ...: its keys are STAGE here" with what was asked for. */
bool transfer_refuse_stage(const TransferStep *step, Error *err);

/* Fills step->keys from the store. Each must be what the request says, and of its VM and owner.
 * ERROR_NOT_FOUND, ERROR_DENIED, ERROR_CONFLICT. */
MUST_CHECK bool transfer_load_keys(TransferStep *step, Error *err);
/* Each of step->keys travels with this migration, in this state. ERROR_CONFLICT. */
MUST_CHECK bool transfer_check_travelling(const TransferStep *step, KeyState state, Error *err);
bool transfer_is_travelling(const TransferStep *step, const KeyRecord *key, KeyState state);
/* Whether any of step->keys still does. */
bool transfer_any_travelling(const TransferStep *step, KeyState state);

/* Verifies the request's document as a statement of this kind by the other side's key manager,
 * about this migration and its keys: sets step->statement and step->digest. */
MUST_CHECK bool transfer_verify(TransferStep *step, KeyStatementKind kind, Error *err);
/* That receipt is about this package, and answers this one. ERROR_AUTH. */
MUST_CHECK bool transfer_check_answers(const TransferStep *step, const uint8_t package[16],
				       const uint8_t previous[KEY_DIGEST_BYTES], Error *err);
/* Signs our own receipt over the request's keys into the answer. *ret_digest is of its JSON. */
MUST_CHECK bool transfer_make_receipt(TransferStep *step, KeyStatementKind kind, uint64_t issued_s,
				      const uint8_t previous[KEY_DIGEST_BYTES],
				      uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err);
/* All but kind, times, and what an offer or a receipt has of its own. */
void transfer_fill_statement(const TransferStep *step, KeyStatement *ret_statement);
/* Signs a statement into the answer. */
MUST_CHECK bool transfer_sign(TransferStep *step, const KeyStatement *statement,
			      uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err);

/* Changes the state of a key of this step, which travels no more unless `state` says so, and writes
 * it down with step->detail. */
MUST_CHECK bool transfer_change_key(TransferStep *step, const KeyRecord *changed, KeyAction action,
				    Error *err);
/* Writes step->detail down for each of step->keys, or alone if there is none. */
MUST_CHECK bool transfer_note_keys(TransferStep *step, Error *err);

/* The entry of party->values for this key, or NULL. */
const KeyRecord *transfer_find_value(const TransferParty *party, const KeyRecord *key,
				     const Secret **ret_value);

#endif
