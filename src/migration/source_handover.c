/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source hands over keys and disks. Its keys are `exporting` from before the package exists; that
 * ends by the other key manager's signed `activated` (they are destroyed, or kept) or, if the move is
 * undone, by taking them back. Until one of the two is done the migration owes it, over restarts.
 */
#include "migration/source.h"

void source_begin_transfer(Migration *m)
{
	migration_enter(m, SRC_TRANSFER);
	m->hv_migrating = true;
	forecast_begin(&m->forecast, migration_now_us(m));
	m->ports->hv(m->ports->context, m, HV_MIGRATE);
}

/* The keys are over there, asleep, if there are any: now the disks, then the memory. */
static void begin_disks(Migration *m)
{
	Error err = ERROR_INIT;

	m->record.phase = PHASE_TRANSFER;
	if (!migration_journal_record(m, &err)) {
		source_undo(m, &err);
		return;
	}
	if (!migration_disk_channels(m)) {
		source_begin_memory(m);
		return;
	}
	migration_enter(m, SRC_DISKS);
	m->hv_mirroring = true;
	m->ports->hv(m->ports->context, m, HV_MIRROR);
}

void source_mirrored(Migration *m)
{
	if (m->step == SRC_DISKS)
		source_begin_memory(m);
}

void source_all_proven(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != SRC_CHANNELS)
		return;
	if (!m->record.keys_count) {
		begin_disks(m);
		return;
	}
	migration_enter(m, SRC_KEYS);
	m->keys_us = migration_now_us(m);
	/* Before our key manager is asked: after a restart they must be asked back. */
	m->record.keys_moving = true;
	if (!migration_journal_record(m, &err)) {
		m->record.keys_moving = false;
		source_undo(m, &err);
		return;
	}
	if (m->early)
		source_take_document(m, m->early);
	migration_drop(&m->early);
}

/* --- keys on their way out --- */

static bool fits(const Migration *m, KeyDocument document)
{
	switch ((int)m->step) {
	case SRC_KEYS:
		return document == KEY_DOCUMENT_OFFER || document == KEY_DOCUMENT_IMPORTED;
	case SRC_FINISH:
		return document == KEY_DOCUMENT_ACTIVATED;
	case SRC_OWES_KEYS:
		return document == KEY_DOCUMENT_ACTIVATED || document == KEY_DOCUMENT_DISCARDED;
	case SRC_UNDO:
	case SRC_OWES_CANCEL:
		return document == KEY_DOCUMENT_DISCARDED;
	default:
		return false;
	}
}

/* What overtakes the step that it belongs to: the other side was faster in seeing the same. */
static bool comes_early(const Migration *m, KeyDocument document)
{
	return (m->step == SRC_CHANNELS && document == KEY_DOCUMENT_OFFER) ||
	       (m->step == SRC_COMMITTED && document == KEY_DOCUMENT_ACTIVATED);
}

static void release(Migration *m, const PeerMessage *receipt)
{
	Error err = ERROR_INIT;

	if (!m->record.keys_moving || m->keys_asked || m->receipt_refused)
		return;
	if (!migration_keep(&m->receipt, receipt, &err))
		migration_log(m, true, "%s", err.text);
	migration_ask_keys(m, TRANSFER_RELEASE, receipt);
}

/* Both copies of the guest ended before it ran there. */
static void keep_keys_here(Migration *m, const PeerMessage *receipt)
{
	if (!m->receipt_refused)
		migration_ask_keys(m, TRANSFER_TAKE_BACK, receipt);
}

void source_take_document(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;
	KeyDocument document = message->document;

	if (m->record.keys_count && comes_early(m, document)) {
		if (!migration_keep(&m->early, message, &err))
			migration_log(m, true, "%s", err.text);
		return;
	}
	if (m->record.keys_count && fits(m, document)) {
		if (document == KEY_DOCUMENT_OFFER)
			migration_ask_keys(m, TRANSFER_EXPORT, message);
		else if (document == KEY_DOCUMENT_IMPORTED)
			migration_ask_keys(m, TRANSFER_IMPORTED, message);
		else if (document == KEY_DOCUMENT_ACTIVATED)
			release(m, message);
		else if (m->step == SRC_OWES_KEYS)
			keep_keys_here(m, message);
		else
			migration_log(m, false, "the destination's key manager discarded the keys");
		return;
	}
	error_set(&err, ERROR_PEER, "document %s does not belong into step %s", key_document_words[document],
		  step_row(m->step)->name);
	if (step_row(m->step)->cancellable)
		source_undo(m, &err);
	else
		migration_log(m, true, "%s", err.text);
}

static void named(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;

	if (m->step != SRC_OFFER)
		return;
	if (!migration_choose_keys(&m->record, &m->vm.manifest, result->keys, result->keys_count, &err)) {
		source_undo(m, &err);
		return;
	}
	m->keys_named = true;
	source_make_offer(m);
}

static void exported(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;

	/* Undone meanwhile: they are taken back. */
	if (m->step != SRC_KEYS)
		return;
	if (!migration_send_document(m, KEY_DOCUMENT_PACKAGE, result, &err))
		source_undo(m, &err);
}

/* They opened what waited for them, says the other key manager, and ours believes it. */
static void handed_over(Migration *m)
{
	migration_log(m, false, "keys handed over count=%zu took_us=%lld", (size_t)m->record.keys_count,
		      (long long)(migration_now_us(m) - m->keys_us));
	begin_disks(m);
}

/* The keys here are destroyed, or ours again: nothing is owed any more. */
static void released(Migration *m, const KeyTransferred *result)
{
	Error err = ERROR_INIT;
	KeyDocument document = m->record.keep_keys ? KEY_DOCUMENT_KEPT : KEY_DOCUMENT_DESTROYED;

	m->record.keys_moving = false;
	m->record.keys_shared = migration_keys_stayed(result);
	migration_drop(&m->receipt);
	if (!migration_journal_record(m, &err))
		migration_log(m, true, "goes on without the journal");
	migration_log(m, false, "keys %s",
		      m->record.keys_shared ? "are the other host's now" :
		      m->record.keep_keys   ? "kept" :
					      "destroyed");
	/* A courtesy: the destination can ask for it as long as it likes. */
	if (!migration_send_document(m, document, result, &err))
		migration_log(m, true, "%s was not sent: %s", key_document_words[document], err.text);
	if (m->step == SRC_FINISH)
		source_finish_if_all(m);
	else if (m->step == SRC_OWES_KEYS)
		migration_end(m, m->record.state);
}

static void taken_back(Migration *m, const KeyTransferred *result)
{
	m->record.keys_moving = false;
	m->record.keys_exposed = result->exposed;
	if (result->exposed)
		migration_log(m, true, "KEYS EXPOSED: %s may have read the VM's keys; make new ones",
			      m->record.peer_id);
	if (m->step == SRC_OWES_KEYS)
		migration_end(m, m->record.state);
	else
		source_undone_if_all(m);
}

static void failed(Migration *m, TransferKind kind, const Error *failure)
{
	Error err = *failure;

	(void)error_prefix(&err, "key manager");
	switch ((int)kind) {
	case TRANSFER_RELEASE:
	case TRANSFER_TAKE_BACK:
		migration_log(m, true, "%s", err.text);
		/* Not asked about again: each refusal is an entry in the key manager's log for good, and the
		 * peer must not write there as fast as it likes. */
		m->receipt_refused = failure->category == ERROR_AUTH || failure->category == ERROR_PEER;
		if (m->receipt_refused)
			migration_drop(&m->receipt);
		if (m->step == SRC_OWES_KEYS || m->step == SRC_OWES_CANCEL || m->step == SRC_FINISH)
			m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	default:
		source_undo(m, &err);
	}
}

void source_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result, const Error *failure)
{
	/* It was busy with a step of the way out when the move was undone. */
	if (kind != TRANSFER_TAKE_BACK && kind != TRANSFER_RELEASE && !step_row(m->step)->cancellable) {
		source_take_back(m);
		return;
	}
	if (failure) {
		failed(m, kind, failure);
		return;
	}
	switch ((int)kind) {
	case TRANSFER_NAME_KEYS:
		named(m, result);
		return;
	case TRANSFER_EXPORT:
		exported(m, result);
		return;
	case TRANSFER_IMPORTED:
		if (m->step == SRC_KEYS)
			handed_over(m);
		return;
	case TRANSFER_RELEASE:
		released(m, result);
		return;
	default:
		taken_back(m, result);
	}
}

/* Only once it is certain that the guest stays here. */
void source_take_back(Migration *m)
{
	if (m->record.keys_moving && (m->step == SRC_OWES_CANCEL))
		migration_ask_keys(m, TRANSFER_TAKE_BACK, NULL);
}

/* After a day of trying. What is still `exporting` a person can end: sealift key abandon. */
void source_give_up_keys(Migration *m)
{
	if (m->record.keys_moving)
		migration_log(m, true, "GIVES UP: the VM's keys are still exporting here");
	migration_end(m, m->record.state);
}

/* The destination's receipt may have come before its statement was judged. */
void source_release_early(Migration *m)
{
	if (m->early && m->early->document == KEY_DOCUMENT_ACTIVATED)
		release(m, m->early);
	migration_drop(&m->early);
}

void source_release_again(Migration *m)
{
	m->receipt_refused = false;
	if (m->receipt && m->record.keys_moving)
		migration_ask_keys(m, TRANSFER_RELEASE, m->receipt);
}

/* --- disks at the switchover --- */

void source_detach(Migration *m)
{
	migration_enter(m, SRC_DETACH);
	m->ports->hv(m->ports->context, m, HV_DETACH);
}

void source_detached(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != SRC_DETACH)
		return;
	m->hv_mirroring = false;
	if (!migration_send_disks(m, DISKS_COPIED, &err))
		source_undo(m, &err);
}

void source_take_disks(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	if (m->step == SRC_DETACH && message->disks == DISKS_TAKEN && !m->hv_mirroring) {
		migration_enter(m, SRC_SWITCHOVER);
		m->ports->hv(m->ports->context, m, HV_CONTINUE);
		return;
	}
	error_set(&err, ERROR_PEER, "disks %s does not belong into step %s", disks_words[message->disks],
		  step_row(m->step)->name);
	if (step_row(m->step)->cancellable)
		source_undo(m, &err);
}
