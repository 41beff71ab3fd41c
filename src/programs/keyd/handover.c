/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/handover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "keys/key_store_transfers.h"

enum { LINE_MAX_BYTES = 512 };

/* One step, as its handler sees it. */
typedef struct Step {
	Keyd *keyd;
	const KeyTransfer *request;
	uint16_t host;		    /* that asks; HOLDER_UNKNOWN if it holds nothing yet */
	char name[LIMIT_SPIFFE_ID]; /* "" for our own */
	char hex[HANDOVER_HEX];	    /* of the migration */
	const Handover *handover;   /* NULL: none was begun */
	bool has_line;		    /* the document is ours */
} Step;

static bool begins(const uint8_t *data, size_t size, const char *text)
{
	return size >= strlen(text) && !memcmp(data, text, strlen(text));
}

static Step step_of(Keyd *keyd, const KeyTransfer *request)
{
	Step step = { .keyd = keyd, .request = request };

	step.host = holders_host(&keyd->holders, request->who);
	keylink_host_of_who(request->who, step.name);
	hex_encode(request->migration, sizeof(request->migration), step.hex);
	step.handover = holders_handover(&keyd->holders, request->migration);
	step.has_line = begins(request->document, request->document_size, HANDOVER_MAGIC);
	return step;
}

/* --- which moves these are --- */

/* All of them are here and active; `*ret_held`: by who asks. */
static bool all_active(const Step *step, bool *ret_held)
{
	const KeyTransfer *request = step->request;
	Error ignored = ERROR_INIT;
	KeyRecord key;

	*ret_held = true;
	for (size_t i = 0; i < request->keys_count; i++) {
		if (!key_store_get(step->keyd->store, request->keys[i].id, request->keys[i].version,
				   &key, &ignored) ||
		    key.state != KEY_ACTIVE)
			return false;
		*ret_held = *ret_held && keyd_holds(step->keyd, key.id, request->who);
	}
	return request->keys_count;
}

/* One that ends before any key was handed over leaves nothing behind that would say which it was.
 */
static bool never_began(const Step *step)
{
	Error ignored = ERROR_INIT;
	TransferRecord transfer;
	bool known = true, held = false;

	return (step->request->kind == TRANSFER_TAKE_BACK ||
		step->request->kind == TRANSFER_DISCARD) &&
	       !strcmp(step->request->source, step->request->destination) &&
	       key_store_transfer_get(step->keyd->store, step->request->migration, &transfer,
				      &known, &ignored) &&
	       !known && all_active(step, &held);
}

static bool is_handover(const Step *step)
{
	bool held = false;

	if (step->request->kind == TRANSFER_OFFER)
		return !strcmp(step->request->source, step->request->destination) &&
		       all_active(step, &held) && !held;
	return step->has_line || step->handover || never_began(step);
}

/* --- what is judged --- */

static bool is_of(const Step *step, const KeyRecord *key, const OfferedKey *offered)
{
	return !strcmp(key->vm, step->request->vm) && !strcmp(key->owner, step->request->owner) &&
	       key->purpose == offered->purpose && !strcmp(key->slot, offered->slot) &&
	       !memcmp(key->fingerprint, offered->fingerprint, KEY_FINGERPRINT_BYTES);
}

/* Those that the offer of the move names, as they are here. */
static bool judge_keys(const Step *step, Error *err)
{
	const KeyTransfer *request = step->request;
	char id[KEY_ID_HEX];
	KeyRecord key;

	for (size_t i = 0; i < request->keys_count; i++) {
		const OfferedKey *offered = &request->keys[i];

		key_id_text(offered->id, id);
		if (!key_store_get(step->keyd->store, offered->id, offered->version, &key, err))
			return false;
		if (!is_of(step, &key, offered))
			return error_set(err, ERROR_DENIED,
					 "key %s is of another VM or owner here than was offered",
					 id);
		if (key.epoch > request->epoch)
			return error_set(err, ERROR_DENIED,
					 "the VM's epoch is %" PRIu64 ", the key's %" PRIu64
					 ": an older copy of the VM",
					 request->epoch, key.epoch);
		if (key.state != KEY_ACTIVE)
			return error_set(err, ERROR_CONFLICT, "key %s is %s", id,
					 key_state_words[key.state]);
	}
	return true;
}

static bool judge_party(const Step *step, bool source, Error *err)
{
	if (!step->handover)
		return error_set(err, ERROR_CONFLICT,
				 "no handover of keys was begun for this migration");
	/* Its own keys: a later one of the same key took its place. */
	for (size_t i = 0; i < step->request->keys_count; i++)
		if (holders_handover_of(&step->keyd->holders, step->request->keys[i].id) !=
		    step->handover)
			return error_set(err, ERROR_DENIED,
					 "key %zu of this step is not of its handover", i + 1);
	return step->host == (source ? step->handover->from : step->handover->to) ||
	       error_set(err, ERROR_DENIED, "this handover is of other hosts");
}

/* --- what is written --- */

/* All keys of the move, or none. */
static bool note_all(const Step *step, const char *word, Error *err)
{
	KeyStore *store = step->keyd->store;
	char detail[LIMIT_TEXT];
	KeyReason reason;

	snprintf(detail, sizeof(detail), "handover %s %s", step->hex, word);
	reason = keyd_reason(step->keyd, KEY_ATTESTED, step->request->who, detail);
	if (!key_store_begin(store, err))
		return false;
	for (size_t i = 0; i < step->request->keys_count; i++) {
		KeyRecord key = { .version = step->request->keys[i].version };

		memcpy(key.id, step->request->keys[i].id, sizeof(key.id));
		if (!key_store_note(store, &key, &reason, err)) {
			key_store_undo(store);
			return false;
		}
	}
	return key_store_commit(store, err) && holders_read(&step->keyd->holders, store, err);
}

/* --- the steps --- */

typedef bool TakeStep(const Step *step, Error *err);

static bool offer(const Step *step, Error *err)
{
	return judge_keys(step, err);
}

/* "sealift handover 1 offer HEX HOST\n" of the other host's OFFER, which came by both engines. */
static bool parse_offer(const Step *step, char ret_host[LIMIT_SPIFFE_ID], Error *err)
{
	const KeyTransfer *request = step->request;
	char expected[LINE_MAX_BYTES];
	size_t used =
		(size_t)snprintf(expected, sizeof(expected), HANDOVER_MAGIC "offer %s ", step->hex);
	size_t left = request->document_size - used;
	SpiffeId id;

	if (request->document_size <= used ||
	    !begins(request->document, request->document_size, expected) || left < 2 ||
	    left > LIMIT_SPIFFE_ID || request->document[request->document_size - 1] != '\n')
		return error_set(err, ERROR_PEER,
				 "this is no offer of a handover for this migration");
	snprintf(ret_host, LIMIT_SPIFFE_ID, "%.*s", (int)left - 1,
		 (const char *)request->document + used);
	if (!strcmp(ret_host, "-"))
		return true;
	if (!spiffe_parse(ret_host, strlen(ret_host), &id, err))
		return false;
	return (id.role == SPIFFE_HOST && !strcmp(id.domain, request->destination)) ||
	       error_set(err, ERROR_DENIED, "%s is no host of %s", id.text, request->destination);
}

static bool hand_over(const Step *step, Error *err)
{
	char to[LIMIT_SPIFFE_ID], word[LIMIT_TEXT];

	if (step->handover && step->handover->state != HANDOVER_BEGUN)
		return error_set(err, ERROR_CONFLICT, "this handover is over");
	if (!parse_offer(step, to, err) || !judge_keys(step, err))
		return false;
	for (size_t i = 0; i < step->request->keys_count; i++)
		if (!keyd_holds(step->keyd, step->request->keys[i].id, step->request->who))
			return keyd_refuse_host(step->keyd, step->request->keys[i].id,
						step->request->who, err);
	if (!strcmp(to, step->name[0] ? step->name : "-"))
		return error_set(err, ERROR_DENIED, "%s holds these keys already", to);
	snprintf(word, sizeof(word), "begun %s", to);
	/* Asked again by an engine that was started anew. */
	return (step->handover && judge_party(step, true, err)) ||
	       (!step->handover && note_all(step, word, err));
}

static bool take(const Step *step, Error *err)
{
	if (!judge_party(step, false, err))
		return false;
	return step->handover->state == HANDOVER_BEGUN ||
	       error_set(err, ERROR_CONFLICT, "this handover is over");
}

static bool judge_source(const Step *step, Error *err)
{
	return judge_party(step, true, err);
}

static bool activate(const Step *step, Error *err)
{
	if (!judge_party(step, false, err))
		return false;
	if (step->handover->state == HANDOVER_UNDONE)
		return error_set(err, ERROR_CONFLICT, "the keys were taken back");
	return step->handover->state == HANDOVER_DONE || note_all(step, "done", err);
}

static bool release(const Step *step, Error *err)
{
	return judge_party(step, true, err) &&
	       (step->handover->state == HANDOVER_DONE ||
		error_set(err, ERROR_CONFLICT, "the other host has not taken these keys over"));
}

static bool released(const Step *step, Error *err)
{
	return judge_party(step, false, err);
}

static bool undo(const Step *step, bool source, Error *err)
{
	if (!step->handover)
		return true;
	if (!judge_party(step, source, err))
		return false;
	if (step->handover->state == HANDOVER_DONE)
		return error_set(err, ERROR_CONFLICT, "the other host has taken these keys over");
	return step->handover->state == HANDOVER_UNDONE || note_all(step, "undone", err);
}

static bool discard(const Step *step, Error *err)
{
	if (step->handover && step->handover->state == HANDOVER_DONE)
		return error_set(err, ERROR_CONFLICT, "these keys were taken over");
	return undo(step, false, err);
}

static bool take_back(const Step *step, Error *err)
{
	return undo(step, true, err);
}

/* Its word is in the answer's line; NULL: no document goes out. */
static const struct {
	TakeStep *take;
	const char *word;
} steps[TRANSFER_KIND_COUNT] = {
	[TRANSFER_OFFER] = { offer, "offer" },
	[TRANSFER_EXPORT] = { hand_over, "begun" },
	[TRANSFER_IMPORT] = { take, "imported" },
	[TRANSFER_IMPORTED] = { judge_source, NULL },
	[TRANSFER_ACTIVATED] = { activate, "activated" },
	[TRANSFER_RELEASE] = { release, "released" },
	[TRANSFER_RELEASED] = { released, NULL },
	[TRANSFER_DISCARD] = { discard, "discarded" },
	[TRANSFER_TAKE_BACK] = { take_back, NULL },
};

static bool send_answer(Keyd *keyd, uint64_t subject, Error *err)
{
	bool ok = keyd_tell_head(keyd, err) &&
		  ipc_send(keyd->link, KEYD_TRANSFERRED, subject, &key_transferred_schema,
			   &keyd->transferred, NULL, 0, err);

	memset(&keyd->transferred, 0, sizeof(keyd->transferred));
	return ok;
}

static void write_line(const Step *step, KeyTransferred *answer)
{
	const char *word = steps[step->request->kind].word;

	*answer = (KeyTransferred){ .kind = step->request->kind };
	if (word)
		answer->document_size = (size_t)snprintf(
			(char *)answer->document, LINE_MAX_BYTES, HANDOVER_MAGIC "%s %s %s\n", word,
			step->hex, step->name[0] ? step->name : "-");
}

/* What was refused stands in the log, at the first key that it is about. */
static bool refuse_step(const Step *step, Error *err)
{
	const KeyTransfer *request = step->request;
	Error ignored = ERROR_INIT;
	KeyRecord key;
	bool known;

	error_prefix(err, "%s", transfer_words[request->kind]);
	if (err->category == ERROR_IO || err->category == ERROR_INTERNAL ||
	    err->category == ERROR_LIMIT)
		return false;
	known = request->keys_count && key_store_get(step->keyd->store, request->keys[0].id,
						     request->keys[0].version, &key, &ignored);
	return keyd_refuse(step->keyd, known ? &key : NULL, request->who, err);
}

/* --- the names of keys --- */

static bool name_key(const Step *step, const KeyRecord *key, KeyTransferred *answer, Error *err)
{
	OfferedKey *named;

	if (key->state != KEY_ACTIVE || strcmp(key->owner, step->request->owner) != 0 ||
	    !keyd_holds(step->keyd, key->id, step->request->who))
		return true;
	if (key->epoch > step->request->epoch)
		return error_set(err, ERROR_DENIED,
				 "a key's epoch is %" PRIu64 ", the VM's %" PRIu64, key->epoch,
				 step->request->epoch);
	if (answer->keys_count == LIMIT_OFFERED_KEYS)
		return error_set(err, ERROR_LIMIT, "VM %s has more than %d keys in use", key->vm,
				 LIMIT_OFFERED_KEYS);
	named = &answer->keys[answer->keys_count++];
	*named = (OfferedKey){ .version = key->version, .purpose = key->purpose };
	memcpy(named->id, key->id, sizeof(named->id));
	memcpy(named->slot, key->slot, sizeof(named->slot));
	memcpy(named->fingerprint, key->fingerprint, sizeof(named->fingerprint));
	return true;
}

/* Of a VM that was copied from one host to the other both have keys: each names its own. */
static bool name_keys(const Step *step, uint64_t subject, bool *link_ok, Error *err)
{
	Keyd *keyd = step->keyd;
	KeyTransferred *answer = &keyd->transferred;
	uint64_t cursor = 0;

	if (!keyd_limit(keyd, LIMITED_TRANSFER, step->request->who, err))
		return false;
	*answer = (KeyTransferred){ .kind = TRANSFER_NAME_KEYS };
	do {
		if (!key_store_list(keyd->store, step->request->vm, &cursor, keyd->keys.keys,
				    KEYD_PAGE, &keyd->keys.keys_count, err))
			return false;
		for (size_t i = 0; i < keyd->keys.keys_count; i++)
			if (!name_key(step, &keyd->keys.keys[i], answer, err))
				return false;
	} while (cursor);
	*link_ok = send_answer(keyd, subject, err);
	return *link_ok;
}

/* --- all moves --- */

/* A real package is made of, and undone for, one's own keys only. One that is not here, or came
 * back with the package that is being imported, the step itself judges. */
static bool judge_packing(const Step *step, Error *err)
{
	const KeyTransfer *request = step->request;
	bool source = request->kind == TRANSFER_EXPORT || request->kind == TRANSFER_RELEASE ||
		      request->kind == TRANSFER_TAKE_BACK || request->kind == TRANSFER_IMPORTED;
	Error ignored = ERROR_INIT;
	KeyRecord key;

	for (size_t i = 0; i < request->keys_count; i++) {
		const uint8_t *id = request->keys[i].id;

		if (keyd_holds(step->keyd, id, request->who) ||
		    !key_store_get(step->keyd->store, id, request->keys[i].version, &key, &ignored))
			continue;
		if (source || key.state != KEY_DESTROYED)
			return keyd_refuse_host(step->keyd, id, request->who, err);
	}
	return true;
}

bool keyd_on_step(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeyTransfer *request = message->payload;
	Step step = step_of(keyd, request);

	if (request->kind == TRANSFER_NAME_KEYS && keyd->holders.names_count)
		return name_keys(&step, message->subject, link_ok, err);
	if (request->kind == TRANSFER_NAME_KEYS || !is_handover(&step))
		return judge_packing(&step, err) && keyd_on_transfer(keyd, message, link_ok, err);
	if (!keyd_limit(keyd, LIMITED_TRANSFER, request->who, err))
		return false;
	if (!steps[request->kind].take(&step, err))
		return refuse_step(&step, err);
	write_line(&step, &keyd->transferred);
	*link_ok = send_answer(keyd, message->subject, err);
	return *link_ok;
}
