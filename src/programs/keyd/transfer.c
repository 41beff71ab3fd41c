/* SPDX-License-Identifier: Apache-2.0 */
/* What is between this key manager and others: whom to trust, the steps of a move, and what is left
 * of one that is over. */
#include <string.h>

#include "keys/key_store_transfers.h"
#include "programs/keyd/keyd.h"

bool keyd_on_anchor(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleAnchor *anchor = message->payload;

	(void)link_ok;
	return anchor_store_add_root(keyd->anchors, anchor->domain, anchor->root, anchor->root_size,
				     err);
}

/* One that is stale is not taken, and one that becomes stale later refuses by itself: without a
 * fresh CRL no document of its domain is believed. */
bool keyd_on_crl(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleCrl *crl = message->payload;

	(void)link_ok;
	return anchor_store_set_crl(keyd->anchors, crl->domain, crl->crl, crl->crl_size,
				    clock_wall_s(keyd->clock), err) ||
	       error_prefix(err, "CRL of %s", crl->domain);
}

bool keyd_on_forget(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleForget *forget = message->payload;

	(void)link_ok;
	(void)err;
	(void)anchor_store_remove(keyd->anchors, forget->domain);
	return true;
}

static TransferParty transfer_party(const Keyd *keyd)
{
	return (TransferParty){ .store = keyd->store,
				.signer = keyd->signer,
				.agree = keyd->agree,
				.anchors = keyd->anchors };
}

/* What the other side or the engine did wrong stands in the log, at the first key that it is about;
 * our own trouble, and a step that may be asked for again, does not. */
static bool refuse_transfer(Keyd *keyd, const KeyTransfer *request, Error *err)
{
	Error ignored = ERROR_INIT;
	KeyRecord key;
	bool known;

	error_prefix(err, "%s", transfer_words[request->kind]);
	if (err->category == ERROR_IO || err->category == ERROR_INTERNAL ||
	    err->category == ERROR_UNAVAILABLE)
		return false;
	known = request->keys_count && key_store_get(keyd->store, request->keys[0].id,
						     request->keys[0].version, &key, &ignored);
	return keyd_refuse(keyd, known ? &key : NULL, request->who, err);
}

static uint64_t now_s(const Keyd *keyd)
{
	int64_t wall_s = clock_wall_s(keyd->clock);

	return wall_s > 0 ? (uint64_t)wall_s : 0;
}

bool keyd_take_step(Keyd *keyd, uint64_t subject, const KeyTransfer *request,
		    const TransferValues *values, bool *link_ok, Error *err)
{
	TransferParty party = transfer_party(keyd);

	party.values = values;
	if (!key_transfer(&party, request, now_s(keyd), &keyd->transferred, err))
		return refuse_transfer(keyd, request, err);
	*link_ok = keyd_tell_head(keyd, err) &&
		   ipc_send(keyd->link, KEYD_TRANSFERRED, subject, &key_transferred_schema,
			    &keyd->transferred, NULL, 0, err);
	explicit_bzero(&keyd->transferred, sizeof(keyd->transferred));
	return *link_ok;
}

/* Of these steps some values may be in other key managers, if there are any. */
static bool may_need_values(const Keyd *keyd, TransferKind kind)
{
	return keyd->backends.helpers.places[0].name[0] &&
	       (kind == TRANSFER_EXPORT || kind == TRANSFER_RELEASE || kind == TRANSFER_DISCARD);
}

bool keyd_on_transfer(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeyTransfer *request = message->payload;
	const TransferParty party = transfer_party(keyd);
	AUTO_TRANSFER_VALUES TransferValues values = { .count = 0 };

	if (!keyd_limit(keyd, LIMITED_TRANSFER, request->who, err))
		return false;
	if (!keyd->signer || !keyd->agree)
		return error_set(err, ERROR_UNAVAILABLE, "%s", keyd->no_certificates.text);
	if (may_need_values(keyd, request->kind) &&
	    !key_transfer_values(&party, request, now_s(keyd), &values, err))
		return refuse_transfer(keyd, request, err);
	return keyd_take_step_with_values(keyd, message->subject, request, &values, link_ok, err);
}

/* --- what a move left behind --- */

static bool check_abandoned(const KeydAbandon *request, const KeyRecord *key, Error *err)
{
	if (key->state != KEY_EXPORTING && key->state != KEY_IMPORTED)
		return error_set(err, ERROR_CONFLICT,
				 "the key is %s: it is not on its way, and needs no abandoning",
				 key_state_words[key->state]);
	if (memcmp(key->migration, request->migration, sizeof(key->migration)) != 0)
		return error_set(err, ERROR_CONFLICT, "the key travels with another migration");
	return true;
}

/* The key, and that its move is over: no later step of it finds what it expects. */
static bool abandon(Keyd *keyd, KeyRecord *key, TransferRecord *transfer, bool known,
		    const KeyReason *reason, Error *err)
{
	bool returns = reason->action == KEY_RETURNED;

	key->state = returns ? KEY_ACTIVE : KEY_DESTROYED;
	memset(key->migration, 0, sizeof(key->migration));
	transfer->stage = returns ? TRANSFER_STAGE_TAKEN_BACK : TRANSFER_STAGE_DISCARDED;
	transfer->changed_s = reason->now_s;
	if (!key_store_begin(keyd->store, err))
		return false;
	if (key_store_change(keyd->store, key, reason, err) &&
	    (!known || key_store_transfer_put(keyd->store, transfer, err)))
		return key_store_commit(keyd->store, err);
	key_store_undo(keyd->store);
	return false;
}

bool keyd_on_abandon(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydAbandon *request = message->payload;
	TransferRecord transfer;
	KeyReason reason;
	KeyRecord key;
	bool returns, known = false;

	if (!keyd_limit(keyd, LIMITED_CHANGE, request->who, err) ||
	    !key_store_get(keyd->store, request->id, request->version, &key, err))
		return false;
	if (!check_abandoned(request, &key, err))
		return keyd_refuse(keyd, &key, request->who, err);
	returns = key.state == KEY_EXPORTING;
	reason = keyd_reason(keyd, returns ? KEY_RETURNED : KEY_DISCARDED, request->who,
			     request->reason);
	if (!key_store_transfer_get(keyd->store, key.migration, &transfer, &known, err))
		return false;
	/* A package may have left, and nobody says what became of it. */
	if (returns && !key.exposed_to[0])
		memcpy(key.exposed_to, known ? transfer.destination : request->seen_by,
		       sizeof(key.exposed_to));
	if (!abandon(keyd, &key, &transfer, known, &reason, err))
		return false;
	key.changed_s = reason.now_s;
	*link_ok = keyd_tell_head(keyd, err) && ipc_send(keyd->link, KEYD_KEY, message->subject,
							 &key_record_schema, &key, NULL, 0, err);
	return *link_ok;
}
