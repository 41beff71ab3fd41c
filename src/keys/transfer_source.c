/* SPDX-License-Identifier: Apache-2.0 */
/* The source's steps: its keys go, and come back if the move is undone. */
#include <inttypes.h>
#include <string.h>

#include "crypto/random.h"
#include "keys/transfer_internal.h"

/* A key that came to its state with the VM's new epoch belongs to a later life of the VM. */
static bool check_epoch(const TransferStep *step, const KeyRecord *key, Error *err)
{
	char id[KEY_ID_HEX];

	key_id_text(key->id, id);
	return key->epoch < step->request->epoch ||
	       error_set(err, ERROR_DENIED,
			 "key %s is of epoch %" PRIu64 ", the VM of %" PRIu64
			 " after the move: an older copy of the VM",
			 id, key->epoch, step->request->epoch);
}

/* --- name-keys --- */

static bool name_key(TransferStep *step, const KeyRecord *key, Error *err)
{
	KeyTransferred *answer = &step->answer;
	char id[KEY_ID_HEX];
	OfferedKey *named;

	if (key->state != KEY_ACTIVE && key->state != KEY_EXPORTING && key->state != KEY_IMPORTED)
		return true;
	key_id_text(key->id, id);
	if (key->state != KEY_ACTIVE && !transfer_is_travelling(step, key, KEY_EXPORTING))
		return error_set(err, ERROR_CONFLICT, "key %s is %s with another migration", id,
				 key_state_words[key->state]);
	if (strcmp(key->owner, step->request->owner) != 0)
		return error_set(err, ERROR_DENIED, "key %s is of the owner %s, not of %s", id,
				 key->owner, step->request->owner);
	if (!check_epoch(step, key, err))
		return false;
	if (answer->keys_count == LIMIT_OFFERED_KEYS)
		return error_set(err, ERROR_LIMIT, "VM %s has more than %d keys in use", key->vm,
				 LIMIT_OFFERED_KEYS);
	named = &answer->keys[answer->keys_count++];
	memcpy(named->id, key->id, sizeof(named->id));
	named->version = key->version;
	named->purpose = key->purpose;
	memcpy(named->slot, key->slot, sizeof(named->slot));
	memcpy(named->fingerprint, key->fingerprint, sizeof(named->fingerprint));
	return true;
}

bool transfer_judge_name_keys(TransferStep *step, Error *err)
{
	uint64_t cursor = 0;
	size_t count;

	do {
		/* The step's own keys are the page: this step has none. */
		if (!key_store_list(step->party->store, step->request->vm, &cursor, step->keys,
				    ARRAY_SIZE(step->keys), &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			if (!name_key(step, &step->keys[i], err))
				return false;
	} while (cursor);
	if (offered_keys_check(step->answer.keys, step->answer.keys_count, err))
		return true;
	err->category = ERROR_CONFLICT;
	return error_prefix(err, "VM %s cannot move its", step->request->vm);
}

/* --- export --- */

static bool check_active(const TransferStep *step, Error *err)
{
	char id[KEY_ID_HEX];

	for (size_t i = 0; i < step->keys_count; i++) {
		const KeyRecord *key = &step->keys[i];

		key_id_text(key->id, id);
		if (key->state != KEY_ACTIVE)
			return error_set(err, ERROR_CONFLICT,
					 "key %s is %s; only an active one may leave", id,
					 key_state_words[key->state]);
		if (!check_epoch(step, key, err))
			return false;
	}
	return true;
}

static bool check_package_alive(const TransferStep *step, Error *err)
{
	return step->past.expires_s > step->now_s ||
	       error_set(err, ERROR_CONFLICT,
			 "the package of this migration expired at %" PRIu64 ", now is %" PRIu64
			 ": take its keys back",
			 step->past.expires_s, step->now_s);
}

/* Whom to seal for: judged now, just before it is done. */
static bool load_recipient(TransferStep *step, Error *err)
{
	SpiffeId receiver;

	if (!spiffe_make(SPIFFE_KEYD, step->request->destination, NULL, &receiver, err) ||
	    !transfer_verify(step, KEY_STATEMENT_OFFER, err))
		return false;
	step->recipient = envelope_recipient_load(
		step->party->anchors, (int64_t)step->now_s, step->statement.certificates,
		step->statement.certificates_size, receiver.text, err);
	return step->recipient || error_prefix(err, "key offer");
}

bool transfer_judge_export(TransferStep *step, Error *err)
{
	if (step->known && step->past.stage != TRANSFER_STAGE_EXPORTED)
		return transfer_refuse_stage(step, err);
	step->again = step->known;
	if (!transfer_load_keys(step, err) ||
	    !(step->again ? transfer_check_travelling(step, KEY_EXPORTING, err) &&
				    check_package_alive(step, err)
			  : check_active(step, err)))
		return false;
	return load_recipient(step, err);
}

bool transfer_change_export(TransferStep *step, Error *err)
{
	TransferRecord *past = &step->past;
	char package[2 * sizeof(past->package) + 1];

	if (!random_bytes(past->package, sizeof(past->package), err))
		return false;
	past->stage = TRANSFER_STAGE_EXPORTED;
	past->issued_s = step->now_s;
	past->expires_s = step->now_s + TRANSFER_PACKAGE_LIFE_S;
	hex_encode(past->package, sizeof(past->package), package);
	transfer_set_detail(step, "package %s", package);
	for (size_t i = 0; i < step->keys_count; i++) {
		KeyRecord *key = &step->keys[i];

		key->state = KEY_EXPORTING;
		memcpy(key->migration, past->migration, sizeof(key->migration));
		if (!transfer_change_key(step, key, KEY_OFFERED, err))
			return false;
	}
	return true;
}

static bool pack_value(const TransferStep *step, const KeyRecord *key, uint8_t ret_value[KEY_BYTES],
		       Error *err)
{
	bool embedded = !strcmp(key->backend, KEY_BACKEND_EMBEDDED);
	AUTO_SECRET Secret *own = embedded ? key_store_value(step->party->store, key, err) : NULL;
	const Secret *value = own;
	char id[KEY_ID_HEX];

	if (embedded && !own)
		return false;
	if (!embedded && (!transfer_find_value(step->party, key, &value) || !value ||
			  secret_size(value) != KEY_BYTES)) {
		key_id_text(key->id, id);
		return error_set(err, ERROR_UNAVAILABLE,
				 "the value of key %s, in the back-end %s, was not fetched", id,
				 key->backend);
	}
	memcpy(ret_value, secret_peek(value), KEY_BYTES);
	return true;
}

static bool pack_keys(TransferStep *step, Error *err)
{
	Package *package = &step->package;

	for (size_t i = 0; i < step->keys_count; i++) {
		const KeyRecord *key = &step->keys[i];
		PackageKey *packed = &package->keys[i];

		memcpy(packed->id, key->id, sizeof(packed->id));
		packed->version = key->version;
		packed->purpose = key->purpose;
		memcpy(packed->slot, key->slot, sizeof(packed->slot));
		memcpy(packed->fingerprint, key->fingerprint, sizeof(packed->fingerprint));
		if (!pack_value(step, key, packed->value, err))
			return false;
	}
	package->keys_count = step->keys_count;
	return true;
}

static void fill_package(TransferStep *step)
{
	const TransferRecord *past = &step->past;
	Package *package = &step->package;

	memcpy(package->id, past->package, sizeof(package->id));
	memcpy(package->migration, past->migration, sizeof(package->migration));
	memcpy(package->vm, past->vm, sizeof(package->vm));
	memcpy(package->owner, past->owner, sizeof(package->owner));
	package->epoch = past->epoch;
	memcpy(package->sender, cms_signer_id(step->party->signer)->text, sizeof(package->sender));
	memcpy(package->receiver, envelope_recipient_id(step->recipient)->text,
	       sizeof(package->receiver));
	memcpy(package->permit, past->permit, sizeof(package->permit));
	package->move = !past->keep;
	package->issued_s = past->issued_s;
	package->expires_s = past->expires_s;
}

bool transfer_answer_export(TransferStep *step, Error *err)
{
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);

	fill_package(step);
	if (!pack_keys(step, err) ||
	    !package_make(step->party->signer, step->recipient, &step->package, &der, err))
		return false;
	memcpy(step->answer.document, der.data, der.used);
	step->answer.document_size = der.used;
	return true;
}

/* --- imported --- */

/* The receipt that came is the one that came before. */
static bool check_same(const TransferStep *step, const uint8_t before[KEY_DIGEST_BYTES], Error *err)
{
	return !memcmp(step->digest, before, KEY_DIGEST_BYTES) ||
	       error_set(err, ERROR_AUTH, "receipt \"%s\" is another one than came before",
			 key_statement_words[step->statement.kind]);
}

/* What the other side says, as part of the log: which receipt it was. */
static void tell_receipt(TransferStep *step)
{
	char digest[2 * KEY_DIGEST_BYTES + 1];

	hex_encode(step->digest, KEY_DIGEST_BYTES, digest);
	transfer_set_detail(step, "receipt %s %s", key_statement_words[step->statement.kind],
			    digest);
}

bool transfer_judge_imported(TransferStep *step, Error *err)
{
	static const uint8_t none[KEY_DIGEST_BYTES];

	if (!step->known || step->past.stage == TRANSFER_STAGE_TAKEN_BACK)
		return transfer_refuse_stage(step, err);
	if (!transfer_verify(step, KEY_STATEMENT_IMPORTED, err) ||
	    !transfer_check_answers(step, step->past.package, none, err))
		return false;
	step->again = step->past.stage != TRANSFER_STAGE_EXPORTED;
	if (step->again)
		return check_same(step, step->past.imported, err);
	return transfer_load_keys(step, err) && transfer_check_travelling(step, KEY_EXPORTING, err);
}

bool transfer_change_imported(TransferStep *step, Error *err)
{
	step->past.stage = TRANSFER_STAGE_ACKNOWLEDGED;
	memcpy(step->past.imported, step->digest, KEY_DIGEST_BYTES);
	step->past.imported_s = step->statement.issued_s;
	tell_receipt(step);
	return transfer_note_keys(step, err);
}

/* --- release --- */

bool transfer_judge_release(TransferStep *step, Error *err)
{
	if (!step->known || (step->past.stage != TRANSFER_STAGE_ACKNOWLEDGED &&
			     step->past.stage != TRANSFER_STAGE_RELEASED))
		return transfer_refuse_stage(step, err);
	if (!transfer_verify(step, KEY_STATEMENT_ACTIVATED, err) ||
	    !transfer_check_answers(step, step->past.package, step->past.imported, err))
		return false;
	step->again = step->past.stage == TRANSFER_STAGE_RELEASED;
	if (step->again)
		return check_same(step, step->past.ended, err);
	return transfer_load_keys(step, err) && transfer_check_travelling(step, KEY_EXPORTING, err);
}

bool transfer_change_release(TransferStep *step, Error *err)
{
	bool keep = step->past.keep;

	step->past.stage = TRANSFER_STAGE_RELEASED;
	memcpy(step->past.ended, step->digest, KEY_DIGEST_BYTES);
	step->past.ended_s = step->statement.issued_s;
	step->past.settled_s = step->now_s;
	tell_receipt(step);
	for (size_t i = 0; i < step->keys_count; i++) {
		KeyRecord *key = &step->keys[i];

		key->state = keep ? KEY_ACTIVE : KEY_DESTROYED;
		key->epoch = step->past.epoch;
		if (keep)
			memcpy(key->exposed_to, step->past.destination, sizeof(key->exposed_to));
		if (!transfer_change_key(step, key, keep ? KEY_KEPT : KEY_WIPED, err))
			return false;
	}
	return true;
}

bool transfer_answer_release(TransferStep *step, Error *err)
{
	KeyStatementKind kind = step->past.keep ? KEY_STATEMENT_KEPT : KEY_STATEMENT_DESTROYED;

	return transfer_make_receipt(step, kind, step->past.settled_s, step->past.ended,
				     step->past.settled, err);
}

/* --- take-back --- */

/* The other side may have imported it without our having heard of it: then its receipt answers one
 * that we do not know. If it says that no package came, it answers nothing. */
static bool check_discarded(const TransferStep *step, Error *err)
{
	const KeyStatement *receipt = &step->statement;
	bool came = !transfer_is_none(receipt->package, sizeof(receipt->package));
	bool answers = !transfer_is_none(receipt->previous, sizeof(receipt->previous));
	bool heard = !transfer_is_none(step->past.imported, KEY_DIGEST_BYTES);

	if (came != answers)
		return error_set(err, ERROR_AUTH,
				 "receipt \"discarded\" answers %s receipt, but names %s package",
				 answers ? "a" : "no", came ? "a" : "no");
	if (heard || came)
		return transfer_check_answers(step, step->past.package,
					      heard ? step->past.imported : receipt->previous, err);
	return true;
}

bool transfer_judge_take_back(TransferStep *step, Error *err)
{
	bool has_receipt = step->request->document_size != 0;
	bool is_over = step->known && step->past.stage == TRANSFER_STAGE_TAKEN_BACK;

	if (step->known && step->past.stage == TRANSFER_STAGE_RELEASED)
		return transfer_refuse_stage(step, err);
	if (has_receipt &&
	    (!transfer_verify(step, KEY_STATEMENT_DISCARDED, err) || !check_discarded(step, err)))
		return false;
	/* Where nothing was exported, keys are nobody's business. */
	if (step->known && !transfer_load_keys(step, err))
		return false;
	/* A receipt that comes late is written down. A person may have ended it for one key alone.
	 */
	step->again =
		is_over && !transfer_any_travelling(step, KEY_EXPORTING) &&
		(!has_receipt || !transfer_is_none(step->past.ended, sizeof(step->past.ended)));
	return !step->again || !has_receipt || check_same(step, step->past.ended, err);
}

bool transfer_change_take_back(TransferStep *step, Error *err)
{
	size_t returned = 0;

	step->past.stage = TRANSFER_STAGE_TAKEN_BACK;
	transfer_set_detail(step, "no receipt");
	if (step->request->document_size) {
		memcpy(step->past.ended, step->digest, KEY_DIGEST_BYTES);
		step->past.ended_s = step->statement.issued_s;
		tell_receipt(step);
	}
	for (size_t i = 0; i < step->keys_count; i++) {
		KeyRecord *key = &step->keys[i];

		/* A person may have ended it for one of them. */
		if (!transfer_is_travelling(step, key, KEY_EXPORTING))
			continue;
		key->state = KEY_ACTIVE;
		memcpy(key->exposed_to, step->past.destination, sizeof(key->exposed_to));
		if (!transfer_change_key(step, key, KEY_RETURNED, err))
			return false;
		returned++;
	}
	return returned || transfer_note_keys(step, err);
}

bool transfer_answer_take_back(TransferStep *step, Error *err)
{
	(void)err;
	step->answer.exposed = !transfer_is_none(step->past.package, sizeof(step->past.package));
	return true;
}
