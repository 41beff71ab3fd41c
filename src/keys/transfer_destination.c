/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's steps: keys come, asleep, and become active or are destroyed. */
#include <inttypes.h>
#include <string.h>

#include "crypto/random.h"
#include "keys/transfer_internal.h"

/* --- whether these keys can come --- */

/* The newest of its id that is here. One that was here may come back if it was destroyed. */
static bool check_before(const TransferStep *step, const OfferedKey *offered, Error *err)
{
	Error missing = ERROR_INIT;
	char id[KEY_ID_HEX];
	KeyRecord newest;

	if (!key_store_get(step->party->store, offered->id, 0, &newest, &missing)) {
		if (missing.category == ERROR_NOT_FOUND)
			return true;
		*err = missing;
		return false;
	}
	key_id_text(offered->id, id);
	if (newest.epoch >= step->request->epoch)
		return error_set(err, ERROR_DENIED,
				 "key %s is here with epoch %" PRIu64 ", the VM comes with %" PRIu64
				 ": an older copy of the VM",
				 id, newest.epoch, step->request->epoch);
	if (newest.version < offered->version)
		return true;
	return (newest.version == offered->version && newest.state == KEY_DESTROYED &&
		!memcmp(newest.fingerprint, offered->fingerprint, KEY_FINGERPRINT_BYTES)) ||
	       error_set(err, ERROR_CONFLICT, "key %s cannot come: version %" PRIu64 " is here, %s",
			 id, newest.version, key_state_words[newest.state]);
}

/* Of two keys in use for one thing nobody would know which one opens it. */
static bool check_slot(const TransferStep *step, const KeyRecord *here, Error *err)
{
	const KeyTransfer *request = step->request;
	char id[KEY_ID_HEX];

	if (here->state == KEY_DEACTIVATED || here->state == KEY_DESTROYED)
		return true;
	key_id_text(here->id, id);
	for (size_t i = 0; i < request->keys_count; i++)
		if (here->purpose == request->keys[i].purpose &&
		    !strcmp(here->slot, request->keys[i].slot))
			return error_set(err, ERROR_CONFLICT,
					 "key %s of this VM is %s here, for %s %s: destroy it, or "
					 "leave the other where it is",
					 id, key_state_words[here->state],
					 key_purpose_words[here->purpose], here->slot);
	return true;
}

static bool check_can_come(TransferStep *step, Error *err)
{
	uint64_t cursor = 0;
	size_t count;

	for (size_t i = 0; i < step->request->keys_count; i++)
		if (!check_before(step, &step->request->keys[i], err))
			return false;
	do {
		/* The step has no keys of its own yet: they are the page. */
		if (!key_store_list(step->party->store, step->request->vm, &cursor, step->keys,
				    ARRAY_SIZE(step->keys), &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			if (!check_slot(step, &step->keys[i], err))
				return false;
	} while (cursor);
	return true;
}

/* --- offer --- */

/* What began and was undone is remembered for a while as well. */
static bool check_share(const TransferStep *step, Error *err)
{
	const char *source = step->request->source;
	uint64_t count;

	return key_store_transfer_count_from(step->party->store, source, step->now_s, &count,
					     err) &&
	       (count < LIMIT_TRANSFERS_FROM ||
		error_set(err, ERROR_LIMIT,
			  "%" PRIu64
			  " migrations with keys from %s are remembered and may not be forgotten "
			  "yet, at most %d",
			  count, source, LIMIT_TRANSFERS_FROM));
}

bool transfer_judge_offer(TransferStep *step, Error *err)
{
	int64_t until_s = envelope_key_not_after_s(step->party->agree);

	if (step->known)
		return transfer_refuse_stage(step, err);
	if (until_s < 0 || (uint64_t)until_s <= step->now_s)
		return error_set(err, ERROR_UNAVAILABLE,
				 "our certificate for key agreement expired at %" PRId64, until_s);
	return check_share(step, err) && check_can_come(step, err);
}

bool transfer_answer_offer(TransferStep *step, Error *err)
{
	KeyStatement offer;
	size_t size;
	const void *chain = envelope_key_chain(step->party->agree, &size);

	transfer_fill_statement(step, &offer);
	offer.kind = KEY_STATEMENT_OFFER;
	offer.issued_s = step->now_s;
	offer.expires_s = step->now_s + TRANSFER_OFFER_LIFE_S;
	if (size > sizeof(offer.certificates))
		return error_set(err, ERROR_LIMIT,
				 "our certificate for key agreement has %zu bytes with its chain, "
				 "more than %zu",
				 size, sizeof(offer.certificates));
	memcpy(offer.certificates, chain, size);
	offer.certificates_size = size;
	return random_bytes(offer.id, sizeof(offer.id), err) &&
	       transfer_sign(step, &offer, step->digest, err);
}

/* --- import --- */

/* As they shall be here. The VM runs elsewhere still, with the epoch before. */
static void fill_keys(TransferStep *step)
{
	const KeyTransfer *request = step->request;

	for (size_t i = 0; i < request->keys_count; i++) {
		const OfferedKey *offered = &request->keys[i];
		KeyRecord *key = &step->keys[i];

		*key = (KeyRecord){ .version = offered->version,
				    .purpose = offered->purpose,
				    .state = KEY_IMPORTED,
				    .epoch = request->epoch - 1,
				    .backend = KEY_BACKEND_EMBEDDED };
		memcpy(key->id, offered->id, sizeof(key->id));
		memcpy(key->vm, request->vm, sizeof(key->vm));
		memcpy(key->owner, request->owner, sizeof(key->owner));
		memcpy(key->slot, offered->slot, sizeof(key->slot));
		memcpy(key->fingerprint, offered->fingerprint, sizeof(key->fingerprint));
		memcpy(key->migration, request->migration, sizeof(key->migration));
		/* A copy is known to the other side for good. */
		if (request->keep)
			memcpy(key->exposed_to, request->source, sizeof(key->exposed_to));
	}
	step->keys_count = request->keys_count;
}

static bool open_package(TransferStep *step, Error *err)
{
	const KeyTransfer *request = step->request;
	SpiffeId sender;
	PackageExpected expected = {
		.migration = request->migration,
		.vm = request->vm,
		.owner = request->owner,
		.receiver = cms_signer_id(step->party->signer)->text,
		.epoch = request->epoch,
		.permit = request->permit,
		.move = !request->keep,
		.keys = step->keys,
		.keys_count = step->keys_count,
	};

	if (!spiffe_make(SPIFFE_KEYD, request->source, NULL, &sender, err))
		return false;
	expected.sender = sender.text;
	return package_open(step->party->anchors, step->party->agree, (int64_t)step->now_s,
			    request->document, request->document_size, &expected, &step->package,
			    err);
}

static bool same_key(const PackageKey *packed, const KeyRecord *key)
{
	return packed->version == key->version && !memcmp(packed->id, key->id, KEY_ID_BYTES);
}

/* A sender may have put them into another order; each is there, once. */
static void sort_package(TransferStep *step)
{
	PackageKey *packed = step->package.keys;
	PackageKey swapped;

	for (size_t i = 0; i < step->keys_count; i++) {
		size_t at = i;

		while (at + 1 < step->keys_count && !same_key(&packed[at], &step->keys[i]))
			at++;
		swapped = packed[i];
		packed[i] = packed[at];
		packed[at] = swapped;
	}
	explicit_bzero(&swapped, sizeof(swapped));
}

bool transfer_judge_import(TransferStep *step, Error *err)
{
	bool has_package = false;

	if (step->known)
		return transfer_refuse_stage(step, err);
	if (!check_can_come(step, err))
		return false;
	fill_keys(step);
	if (!open_package(step, err) ||
	    !key_store_transfer_has_package(step->party->store, step->package.id, &has_package,
					    err))
		return false;
	if (has_package)
		return error_set(err, ERROR_CONFLICT,
				 "package came before, with another migration: it is good once");
	sort_package(step);
	return true;
}

static bool add_key(TransferStep *step, size_t number, Error *err)
{
	KeyReason reason = { KEY_RECEIVED, step->request->who, step->detail, step->now_s };
	KeyRecord *key = &step->keys[number];
	AUTO_SECRET Secret *own = NULL;
	const Secret *kept = NULL;
	const KeyRecord *placed = transfer_find_value(step->party, key, &kept);

	if (placed && strcmp(placed->backend, KEY_BACKEND_EMBEDDED) != 0) {
		memcpy(key->backend, placed->backend, sizeof(key->backend));
		memcpy(key->reference, placed->reference, sizeof(key->reference));
	} else {
		own = secret_new_from(step->package.keys[number].value, KEY_BYTES, err);
		if (!own)
			return false;
		kept = own;
	}
	return key_store_add(step->party->store, key, kept, &reason, err);
}

bool transfer_change_import(TransferStep *step, Error *err)
{
	TransferRecord *past = &step->past;
	char package[2 * sizeof(past->package) + 1];

	past->stage = TRANSFER_STAGE_IMPORTED;
	memcpy(past->package, step->package.id, sizeof(past->package));
	past->issued_s = step->package.issued_s;
	past->expires_s = step->package.expires_s;
	past->imported_s = step->now_s;
	hex_encode(past->package, sizeof(past->package), package);
	transfer_set_detail(step, "package %s", package);
	for (size_t i = 0; i < step->keys_count; i++)
		if (!add_key(step, i, err))
			return false;
	return true;
}

bool transfer_answer_import(TransferStep *step, Error *err)
{
	static const uint8_t none[KEY_DIGEST_BYTES];

	return transfer_make_receipt(step, KEY_STATEMENT_IMPORTED, step->past.imported_s, none,
				     step->past.imported, err);
}

/* --- activated --- */

bool transfer_judge_activated(TransferStep *step, Error *err)
{
	step->again = step->known && (step->past.stage == TRANSFER_STAGE_ACTIVATED ||
				      step->past.stage == TRANSFER_STAGE_SETTLED);
	if (step->again)
		return true;
	if (!step->known || step->past.stage != TRANSFER_STAGE_IMPORTED)
		return transfer_refuse_stage(step, err);
	return transfer_load_keys(step, err) && transfer_check_travelling(step, KEY_IMPORTED, err);
}

bool transfer_change_activated(TransferStep *step, Error *err)
{
	step->past.stage = TRANSFER_STAGE_ACTIVATED;
	step->past.ended_s = step->now_s;
	transfer_name(step, step->detail, sizeof(step->detail));
	for (size_t i = 0; i < step->keys_count; i++) {
		KeyRecord *key = &step->keys[i];

		key->state = KEY_ACTIVE;
		key->epoch = step->past.epoch;
		if (!transfer_change_key(step, key, KEY_ACTIVATED, err))
			return false;
	}
	return true;
}

bool transfer_answer_activated(TransferStep *step, Error *err)
{
	return transfer_make_receipt(step, KEY_STATEMENT_ACTIVATED, step->past.ended_s,
				     step->past.imported, step->past.ended, err);
}

/* --- released --- */

bool transfer_judge_released(TransferStep *step, Error *err)
{
	bool keep = step->request->keep;

	if (!step->known || (step->past.stage != TRANSFER_STAGE_ACTIVATED &&
			     step->past.stage != TRANSFER_STAGE_SETTLED))
		return transfer_refuse_stage(step, err);
	if (!transfer_verify(step, keep ? KEY_STATEMENT_KEPT : KEY_STATEMENT_DESTROYED, err) ||
	    !transfer_check_answers(step, step->past.package, step->past.ended, err))
		return false;
	step->again = step->past.stage == TRANSFER_STAGE_SETTLED;
	if (step->again)
		return !memcmp(step->digest, step->past.settled, sizeof(step->digest)) ||
		       error_set(err, ERROR_AUTH, "receipt \"%s\" is another one than came before",
				 key_statement_words[step->statement.kind]);
	return transfer_load_keys(step, err);
}

bool transfer_change_released(TransferStep *step, Error *err)
{
	char digest[2 * KEY_DIGEST_BYTES + 1];

	step->past.stage = TRANSFER_STAGE_SETTLED;
	memcpy(step->past.settled, step->digest, sizeof(step->digest));
	step->past.settled_s = step->statement.issued_s;
	hex_encode(step->digest, sizeof(step->digest), digest);
	transfer_set_detail(step, "receipt %s %s", key_statement_words[step->statement.kind],
			    digest);
	return transfer_note_keys(step, err);
}

/* --- discard --- */

bool transfer_judge_discard(TransferStep *step, Error *err)
{
	bool is_over = step->known && step->past.stage == TRANSFER_STAGE_DISCARDED;

	if (!step->known)
		return true;
	if (!is_over && step->past.stage != TRANSFER_STAGE_IMPORTED)
		return transfer_refuse_stage(step, err);
	if (transfer_is_none(step->past.package, sizeof(step->past.package))) {
		step->again = is_over; /* nothing came */
		return true;
	}
	if (!transfer_load_keys(step, err))
		return false;
	/* A person may have ended it for one key alone: the receipt is about all of them. */
	step->again = is_over && !transfer_any_travelling(step, KEY_IMPORTED);
	return true;
}

/* A migration of which nothing came is remembered too: its package must not come afterwards. */
bool transfer_change_discard(TransferStep *step, Error *err)
{
	size_t discarded = 0;

	step->past.stage = TRANSFER_STAGE_DISCARDED;
	if (!step->past.ended_s)
		step->past.ended_s = step->now_s;
	transfer_set_detail(step, "%s", step->known ? "undone" : "undone before anything came");
	for (size_t i = 0; i < step->keys_count; i++) {
		KeyRecord *key = &step->keys[i];

		/* A person may have ended it for one of them, and it came anew since. */
		if (!transfer_is_travelling(step, key, KEY_IMPORTED))
			continue;
		key->state = KEY_DESTROYED;
		if (!transfer_change_key(step, key, KEY_DISCARDED, err))
			return false;
		discarded++;
	}
	return discarded || transfer_note_keys(step, err);
}

bool transfer_answer_discard(TransferStep *step, Error *err)
{
	return transfer_make_receipt(step, KEY_STATEMENT_DISCARDED, step->past.ended_s,
				     step->past.imported, step->past.ended, err);
}
