/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/transfer_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/digest.h"
#include "wire/json.h"

const char *const transfer_words[TRANSFER_KIND_COUNT] = {
	"name-keys", "offer",	"export",   "import",  "imported",
	"activated", "release", "released", "discard", "take-back",
};

static const Field transfer_fields[] = {
	SCHEMA_TEXT(KeyTransfer, who, TEXT_PRINTABLE, 1),
	SCHEMA_ENUM(KeyTransfer, kind, transfer_words),
	SCHEMA_HEX(KeyTransfer, migration),
	SCHEMA_TEXT(KeyTransfer, vm, TEXT_UUID, 36),
	SCHEMA_TEXT(KeyTransfer, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(KeyTransfer, epoch, 1, INT64_MAX),
	SCHEMA_TEXT(KeyTransfer, source, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(KeyTransfer, destination, TEXT_DOMAIN, 1),
	SCHEMA_HEX(KeyTransfer, permit),
	SCHEMA_BOOL(KeyTransfer, keep),
	SCHEMA_LIST(KeyTransfer, keys, &offered_key_schema, 0),
	SCHEMA_BYTES(KeyTransfer, document, 0),
};
SCHEMA_DEFINE(key_transfer_schema, "transfer", KeyTransfer, transfer_fields);

static const Field transferred_fields[] = {
	SCHEMA_ENUM(KeyTransferred, kind, transfer_words),
	SCHEMA_LIST(KeyTransferred, keys, &offered_key_schema, 0),
	SCHEMA_BYTES(KeyTransferred, document, 0),
	SCHEMA_BOOL(KeyTransferred, exposed),
};
SCHEMA_DEFINE(key_transferred_schema, "transferred", KeyTransferred, transferred_fields);

typedef enum DocumentNeed { DOCUMENT_NONE, DOCUMENT_WANTED, DOCUMENT_MAY_COME } DocumentNeed;

typedef struct StepRow {
	TransferKind kind;
	bool is_source;
	DocumentNeed document;
	bool wants_permit;
	TransferPart *judge;
	TransferPart *change; /* NULL: it changes nothing */
	TransferPart *answer; /* NULL: there is nothing to say */
} StepRow;

static const StepRow steps[] = {
	{ TRANSFER_NAME_KEYS, true, DOCUMENT_NONE, false, transfer_judge_name_keys, NULL, NULL },
	{ TRANSFER_OFFER, false, DOCUMENT_NONE, true, transfer_judge_offer, NULL,
	  transfer_answer_offer },
	{ TRANSFER_EXPORT, true, DOCUMENT_WANTED, true, transfer_judge_export,
	  transfer_change_export, transfer_answer_export },
	{ TRANSFER_IMPORT, false, DOCUMENT_WANTED, true, transfer_judge_import,
	  transfer_change_import, transfer_answer_import },
	{ TRANSFER_IMPORTED, true, DOCUMENT_WANTED, true, transfer_judge_imported,
	  transfer_change_imported, NULL },
	{ TRANSFER_ACTIVATED, false, DOCUMENT_NONE, true, transfer_judge_activated,
	  transfer_change_activated, transfer_answer_activated },
	{ TRANSFER_RELEASE, true, DOCUMENT_WANTED, true, transfer_judge_release,
	  transfer_change_release, transfer_answer_release },
	{ TRANSFER_RELEASED, false, DOCUMENT_WANTED, true, transfer_judge_released,
	  transfer_change_released, NULL },
	{ TRANSFER_DISCARD, false, DOCUMENT_NONE, false, transfer_judge_discard,
	  transfer_change_discard, transfer_answer_discard },
	{ TRANSFER_TAKE_BACK, true, DOCUMENT_MAY_COME, false, transfer_judge_take_back,
	  transfer_change_take_back, transfer_answer_take_back },
};
static_assert(ARRAY_SIZE(steps) == TRANSFER_KIND_COUNT, "a row for each step");

/* --- before a step --- */

/* Taking keys back signs nothing: it must not fail by the time of a certificate. */
static bool check_party(const StepRow *row, const TransferParty *party, uint64_t now_s, Error *err)
{
	const SpiffeId *own = cms_signer_id(party->signer);
	int64_t until_s = cms_signer_not_after_s(party->signer);

	if (own->role != SPIFFE_KEYD || strcmp(own->text, envelope_key_id(party->agree)->text) != 0)
		return error_set(err, ERROR_CONFIG,
				 "the certificates of the key manager are of %.128s and %.128s",
				 own->text, envelope_key_id(party->agree)->text);
	return row->kind == TRANSFER_TAKE_BACK || (until_s >= 0 && (uint64_t)until_s >= now_s) ||
	       error_set(err, ERROR_UNAVAILABLE,
			 "our certificate for signing, of %.128s, expired at %" PRId64, own->text,
			 until_s);
}

static bool check_documents(const StepRow *row, const KeyTransfer *request, Error *err)
{
	bool none = row->document == DOCUMENT_NONE, wanted = row->document == DOCUMENT_WANTED;

	if (none ? request->document_size != 0 : wanted && !request->document_size)
		return error_set(err, ERROR_USAGE, "\"%s\" %s a document",
				 transfer_words[row->kind],
				 none ? "is asked for without" : "needs");
	return true;
}

static bool check_request(const StepRow *row, const TransferParty *party,
			  const KeyTransfer *request, Error *err)
{
	const char *word = transfer_words[row->kind];
	const char *own = cms_signer_id(party->signer)->domain;
	const char *whose = row->is_source ? request->source : request->destination;
	bool names = row->kind == TRANSFER_NAME_KEYS;

	if (!schema_check(&key_transfer_schema, request, err) ||
	    !offered_keys_check(request->keys, request->keys_count, err)) {
		err->category = ERROR_USAGE;
		return false;
	}
	if (strcmp(own, whose) != 0)
		return error_set(err, ERROR_DENIED,
				 "\"%s\" is for the key manager of %s, not of %s", word, whose,
				 own);
	if (names ? request->keys_count != 0 : !request->keys_count)
		return error_set(err, ERROR_USAGE, "\"%s\" with %zu keys", word,
				 request->keys_count);
	if (!names && transfer_is_none(request->migration, sizeof(request->migration)))
		return error_set(err, ERROR_USAGE, "\"%s\" names no migration", word);
	if (row->wants_permit && transfer_is_none(request->permit, sizeof(request->permit)))
		return error_set(err, ERROR_USAGE, "\"%s\" names no permit", word);
	return check_documents(row, request, err);
}

/* What a list of keys is known by. */
static bool digest_keys(const KeyTransfer *request, uint8_t ret_digest[KEY_DIGEST_BYTES],
			Error *err)
{
	static const Field fields[] = { SCHEMA_LIST(KeyTransfer, keys, &offered_key_schema, 0) };
	static SCHEMA_DEFINE(schema, "keys", KeyTransfer, fields);
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);

	return json_encode_plain(&schema, request, &json, err) &&
	       digest_sha384(json.data, json.used, ret_digest, err);
}

static bool fill_context(const KeyTransfer *request, TransferRecord *ret_record, Error *err)
{
	*ret_record = (TransferRecord){ .epoch = request->epoch, .keep = request->keep };
	memcpy(ret_record->migration, request->migration, sizeof(request->migration));
	memcpy(ret_record->vm, request->vm, sizeof(request->vm));
	memcpy(ret_record->owner, request->owner, sizeof(request->owner));
	memcpy(ret_record->source, request->source, sizeof(request->source));
	memcpy(ret_record->destination, request->destination, sizeof(request->destination));
	memcpy(ret_record->permit, request->permit, sizeof(request->permit));
	return digest_keys(request, ret_record->keys, err);
}

/* The first thing in which they differ, NULL if it is none. */
static const char *find_other(const TransferRecord *a, const TransferRecord *b)
{
	if (strcmp(a->vm, b->vm) != 0)
		return "VM";
	if (strcmp(a->owner, b->owner) != 0)
		return "owner";
	if (a->epoch != b->epoch)
		return "epoch";
	if (strcmp(a->source, b->source) != 0 || strcmp(a->destination, b->destination) != 0)
		return "domains";
	if (memcmp(a->permit, b->permit, sizeof(a->permit)) != 0)
		return "permit";
	if (memcmp(a->keys, b->keys, sizeof(a->keys)) != 0)
		return "keys";
	return a->keep != b->keep ? "agreement on who keeps the keys" : NULL;
}

static bool recall(TransferStep *step, Error *err)
{
	char name[LIMIT_TEXT];
	const char *other;
	TransferRecord context;

	if (!fill_context(step->request, &context, err) ||
	    !key_store_transfer_get(step->party->store, step->request->migration, &step->past,
				    &step->known, err))
		return false;
	if (!step->known) {
		step->past = context;
		return true;
	}
	transfer_name(step, name, sizeof(name));
	other = find_other(&step->past, &context);
	return !other || error_set(err, ERROR_CONFLICT, "%s was asked about with another %s before",
				   name, other);
}

/* --- a step --- */

static void step_free(TransferStep *step)
{
	if (!step)
		return;
	envelope_recipient_free(step->recipient);
	package_wipe(&step->package);
	free(step);
}
DEFINE_CLEANUP(TransferStep, step, step_free)

static TransferStep *judge(const StepRow *row, const TransferParty *party,
			   const KeyTransfer *request, uint64_t now_s, Error *err)
{
	CLEANUP(step_cleanup) TransferStep *step = calloc(1, sizeof(*step));

	if (!step) {
		error_set(err, ERROR_INTERNAL, "no memory for a transfer of keys");
		return NULL;
	}
	step->party = party;
	step->request = request;
	step->now_s = now_s;
	step->is_source = row->is_source;
	step->answer.kind = request->kind;
	if (!check_party(row, party, now_s, err) || !check_request(row, party, request, err))
		return NULL;
	if (row->kind != TRANSFER_NAME_KEYS && !recall(step, err))
		return NULL;
	return row->judge(step, err) ? TAKE_PTR(step) : NULL;
}

static bool change(const StepRow *row, TransferStep *step, Error *err)
{
	KeyStore *store = step->party->store;

	if (!key_store_begin(store, err))
		return false;
	step->past.changed_s = step->now_s;
	if (row->change(step, err) && (!row->answer || row->answer(step, err)) &&
	    key_store_transfer_put(store, &step->past, err))
		return key_store_commit(store, err);
	key_store_undo(store);
	return false;
}

static const StepRow *find_row(TransferKind kind, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i].kind == kind)
			return &steps[i];
	error_set(err, ERROR_USAGE, "no step of a transfer has the number %u", (unsigned int)kind);
	return NULL;
}

bool key_transfer(const TransferParty *party, const KeyTransfer *request, uint64_t now_s,
		  KeyTransferred *ret_transferred, Error *err)
{
	const StepRow *row = find_row(request->kind, err);
	CLEANUP(step_cleanup)
	TransferStep *step = row ? judge(row, party, request, now_s, err) : NULL;
	bool ok;

	if (!step)
		return false;
	if (row->change && !step->again)
		ok = change(row, step, err);
	else
		ok = !row->answer || row->answer(step, err);
	if (ok)
		*ret_transferred = step->answer;
	return ok;
}

/* --- values in other back-ends --- */

void transfer_values_clear(TransferValues *values)
{
	for (size_t i = 0; i < values->count; i++)
		secret_free(values->values[i]);
	*values = (TransferValues){ .count = 0 };
}

static void add_elsewhere(const TransferStep *step, TransferValues *values)
{
	for (size_t i = 0; i < step->keys_count; i++)
		if (strcmp(step->keys[i].backend, KEY_BACKEND_EMBEDDED) != 0 &&
		    step->keys[i].state != KEY_DESTROYED)
			values->keys[values->count++] = step->keys[i];
}

static bool add_packed(const TransferStep *step, TransferValues *values, Error *err)
{
	for (size_t i = 0; i < step->keys_count; i++) {
		Secret *value = secret_new_from(step->package.keys[i].value, KEY_BYTES, err);

		if (!value)
			return false;
		values->keys[values->count] = step->keys[i];
		values->values[values->count++] = value;
	}
	return true;
}

bool key_transfer_values(const TransferParty *party, const KeyTransfer *request, uint64_t now_s,
			 TransferValues *ret_values, Error *err)
{
	const StepRow *row = find_row(request->kind, err);
	CLEANUP(step_cleanup) TransferStep *step = NULL;
	bool ok = true;

	*ret_values = (TransferValues){ .count = 0 };
	step = row ? judge(row, party, request, now_s, err) : NULL;
	if (!step)
		return false;
	/* A package that was made before is made again, of the same values. */
	if (request->kind == TRANSFER_IMPORT)
		ok = add_packed(step, ret_values, err);
	else if (request->kind == TRANSFER_EXPORT ||
		 (!step->again && (request->kind == TRANSFER_DISCARD ||
				   (request->kind == TRANSFER_RELEASE && !request->keep))))
		add_elsewhere(step, ret_values);
	if (!ok)
		transfer_values_clear(ret_values);
	return ok;
}
