/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination takes keys and disks. Its key manager holds the keys asleep (`imported`) until the
 * guest runs here; undone, they are destroyed. Either is owed until it is done, over restarts: a
 * reservation is not undone before, and a move not finished.
 */
#include "migration/destination.h"

static bool disks_travel(const Migration *m)
{
	return migration_disk_channels(m) != 0;
}

void destination_load(Migration *m)
{
	migration_enter(m, DST_LOADING);
	m->ports->set_tick(m->ports->context, m, destination_lease_tick_ms(m));
	m->ports->hv(m->ports->context, m, HV_LISTEN);
}

void destination_all_proven(Migration *m)
{
	if (m->step != DST_CHANNELS)
		return;
	if (!m->record.keys_count) {
		destination_load(m);
		return;
	}
	migration_enter(m, DST_KEYS);
	migration_ask_keys(m, TRANSFER_OFFER, NULL);
}

/* --- keys on their way in --- */

static void take_package(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	/* Before our key manager is asked: after a restart they must be discarded. */
	m->record.keys_moving = true;
	if (!migration_journal_record(m, &err)) {
		m->record.keys_moving = false;
		destination_undo(m, &err);
		return;
	}
	migration_ask_keys(m, TRANSFER_IMPORT, message);
}

void destination_take_document(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;
	KeyDocument document = message->document;
	bool receipt = document == KEY_DOCUMENT_DESTROYED || document == KEY_DOCUMENT_KEPT;

	if (m->record.keys_count && m->step == DST_KEYS && document == KEY_DOCUMENT_PACKAGE &&
	    !m->record.keys_moving && !m->keys_asked) {
		take_package(m, message);
		return;
	}
	if (m->record.keys_count && receipt && (m->step == DST_ACTIVE || m->step == DST_ENDED_ASKED)) {
		migration_ask_keys(m, TRANSFER_RELEASED, message);
		return;
	}
	error_set(&err, ERROR_PEER, "document %s does not belong into step %s", key_document_words[document],
		  step_row(m->step)->name);
	if (m->step < DST_READY)
		destination_undo(m, &err);
	else
		migration_log(m, true, "%s", err.text);
}

/* The keys are here: what waited for them is opened, and only then the source hears of it. */
static void imported(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;

	if (m->step != DST_KEYS)
		return;
	m->imported = malloc(sizeof(*m->imported));
	if (!m->imported) {
		error_set(&err, ERROR_INTERNAL, "no memory for a receipt");
		destination_undo(m, &err);
		return;
	}
	*m->imported = *result;
	m->ports->hv(m->ports->context, m, HV_OPEN_DISKS);
}

void destination_disks_opened(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != DST_KEYS || !m->imported)
		return;
	/* It listens before the source knows that it may send. */
	destination_load(m);
	if (!migration_send_document(m, KEY_DOCUMENT_IMPORTED, m->imported, &err))
		destination_undo(m, &err);
	free(TAKE_PTR(m->imported));
}

/* The guest runs here. What our key manager cannot do now it is asked to do again. */
void destination_activate_keys(Migration *m)
{
	if (m->record.keys_count && (m->record.keys_moving || m->step == DST_ENDED_ASKED))
		migration_ask_keys(m, TRANSFER_ACTIVATED, NULL);
}

static void activated(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;

	m->record.keys_moving = false;
	m->record.keys_shared = migration_keys_stayed(result);
	if (!migration_journal_record(m, &err))
		migration_log(m, true, "goes on without the journal");
	if (!migration_send_document(m, KEY_DOCUMENT_ACTIVATED, result, &err))
		migration_log(m, true, "the keys' activated was not sent; the source will ask: %s", err.text);
	destination_finish_if_all(m);
}

static void released(Migration *m)
{
	m->released = true;
	if (m->record.keys_shared)
		migration_log(m, false, "the source has let go of the keys");
	else
		migration_log(m, false, "the source's key manager %s the keys",
			      m->record.keep_keys ? "kept" : "destroyed");
	if (m->step == DST_ACTIVE)
		destination_finish_if_all(m);
}

static void failed(Migration *m, TransferKind kind, const Error *failure)
{
	Error err = *failure;

	(void)error_prefix(&err, "key manager");
	if (kind == TRANSFER_OFFER || kind == TRANSFER_IMPORT) {
		destination_undo(m, &err);
		return;
	}
	migration_log(m, true, "%s", err.text);
	if (kind == TRANSFER_ACTIVATED && m->step == DST_ACTIVE)
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	else if (kind == TRANSFER_DISCARD && m->step == DST_UNDO)
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	else
		destination_finish_if_all(m);
}

static void discarded(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;

	m->record.keys_moving = false;
	if (result->document_size &&
	    !migration_send_document(m, KEY_DOCUMENT_DISCARDED, result, &err))
		migration_log(m, true, "discarded was not sent: %s", err.text);
	if (m->step == DST_UNDO || m->step == DST_DECLINING)
		destination_undone(m);
}

void destination_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result,
			 const Error *failure)
{
	Error err = ERROR_INIT;

	/* It was busy with a step of the way in when the reservation was undone. The keys go after the
	 * hypervisor: with them goes the row, and with that who would see its end. */
	if (m->step == DST_UNDO && kind != TRANSFER_DISCARD) {
		if (m->killed)
			destination_discard_keys(m);
		return;
	}
	if (failure) {
		failed(m, kind, failure);
		return;
	}
	switch ((int)kind) {
	case TRANSFER_OFFER:
		if (m->step == DST_KEYS && !migration_send_document(m, KEY_DOCUMENT_OFFER, result, &err))
			destination_undo(m, &err);
		return;
	case TRANSFER_IMPORT:
		imported(m, result);
		return;
	case TRANSFER_ACTIVATED:
		activated(m, result);
		return;
	case TRANSFER_RELEASED:
		released(m);
		return;
	default:
		discarded(m, result);
	}
}

/* Whether something is left that keeps the reservation from being forgotten. */
bool destination_discard_keys(Migration *m)
{
	if (!m->record.keys_moving)
		return false;
	if (m->step != DST_UNDO)
		migration_enter(m, DST_UNDO);
	migration_ask_keys(m, TRANSFER_DISCARD, NULL);
	return true;
}

/* --- disks at the switchover --- */

void destination_take_disks(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	if (m->step == DST_LOADING && disks_travel(m) && message->disks == DISKS_COPIED &&
	    !m->disks_attaching) {
		m->disks_attaching = true;
		m->ports->hv(m->ports->context, m, HV_ATTACH);
		return;
	}
	error_set(&err, ERROR_PEER, "disks %s does not belong into step %s", disks_words[message->disks],
		  step_row(m->step)->name);
	if (m->step < DST_READY)
		destination_undo(m, &err);
	else
		migration_log(m, true, "%s", err.text);
}

void destination_disks_attached(Migration *m)
{
	Error err = ERROR_INIT;

	m->disks_attached = true;
	if (m->step == DST_LOADING && !migration_send_disks(m, DISKS_TAKEN, &err))
		destination_undo(m, &err);
}

/* A source that skips the disks would leave a guest on half of them. */
bool destination_check_disks(const Migration *m, Error *err)
{
	return !disks_travel(m) || m->disks_attached ||
	       error_set(err, ERROR_PEER, "the guest came before its disks were whole");
}
