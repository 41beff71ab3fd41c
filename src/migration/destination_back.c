/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's ways back: undo, recovery, the peer that asks again. */
#include <string.h>

#include "migration/destination.h"

/* --- undo --- */

void destination_undone(Migration *m)
{
	Error err = ERROR_INIT;
	bool cancelled = m->error.category == ERROR_CANCELLED;

	if (destination_discard_keys(m))
		return;
	migration_log(m, true, "%s: %s", cancelled ? "cancelled" : "refused or failed", m->error.text);
	/* A row that stays would refuse the next try by its epoch. */
	if (m->has_vm && !m->ports->vm_changed(m->ports->context, m, VM_FAILED, &err)) {
		migration_log(m, true, "cannot record that the reservation is gone: %s", err.text);
		migration_enter(m, DST_UNDO);
		m->ports->set_tick(m->ports->context, m, UNDO_AGAIN_MS);
		return;
	}
	migration_end(m, cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

/* A source that hears it forgets us: after a restart nobody would end what still called itself ready. */
static bool may_say_refused(Migration *m)
{
	Error ignored = ERROR_INIT;
	bool was_ready = m->record.ready;

	m->record.ready = false;
	return m->connected && (!was_ready || migration_journal_record(m, &ignored));
}

/* Only ever while the guest is the source's: before `activating` stands in the journal. */
void destination_undo(Migration *m, const Error *cause)
{
	Error err = ERROR_INIT;

	if (m->ended || m->step == DST_UNDO)
		return;
	if (m->record.activating) {
		/* It may be running: nothing may tear it down any more. */
		migration_log(m, true, "%s", cause->text);
		return;
	}
	migration_note_error(m, cause);
	if (may_say_refused(m) && !migration_send_reason(m, PEER_REFUSE, &m->error, &err))
		migration_log(m, true, "refusal was not sent: %s", err.text);
	migration_enter(m, DST_UNDO);
	m->ports->mover_stop(m->ports->context, m);
	if (!m->has_vm && m->record.uuid[0]) {
		/* Recovered, and its VM never came as far as the store, or went already. */
		m->killed = true;
		if (!destination_discard_keys(m))
			migration_end(m, MIGRATION_FAILED);
		return;
	}
	if (!m->has_vm) {
		/* Refused before anything was reserved: no journal entry either. */
		m->record.state = MIGRATION_FAILED;
		migration_log(m, true, "refused: %s", m->error.text);
		m->ended = true;
		m->ports->hang_up(m->ports->context, m);
		return;
	}
	m->ports->hv(m->ports->context, m, HV_KILL);
}

void destination_killed(Migration *m)
{
	m->killed = true;
	if (m->step == DST_COMMIT)
		destination_decline(m, m->error.text);
	else if (m->step == DST_UNDO)
		destination_undone(m);
	else if (m->step == DST_ACTIVATING && migration_is_cold(m))
		destination_settled(m);
}

/* --- recovery and the peer that asks again --- */

void destination_recover(Migration *m)
{
	Error cause = ERROR_INIT, err = ERROR_INIT;
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	StatementKind last = m->record.activating ? STATEMENT_COMMIT : STATEMENT_READY;

	if (m->step == DST_ENDED_ASKED) {
		migration_enter(m, DST_ENDED_ASKED);
		return;
	}
	if (!m->record.ready && !m->record.activating) {
		error_set(&cause, ERROR_UNAVAILABLE, "the engine was restarted in phase %s",
			  migration_phase_words[m->record.phase]);
		destination_undo(m, &cause);
		return;
	}
	if (!store_statement(m->ports->store, m->record.id, last, &cms, m->last_digest, &err))
		migration_log(m, true, "recovery: %s", err.text);
	migration_enter(m, DST_ADOPT);
	m->adopting = true;
	m->ports->hv(m->ports->context, m, HV_ADOPT);
}

/* It ran here, or may have: it cannot be declined, and its epoch stays. */
void destination_ended_here(Migration *m, const Error *cause)
{
	Error err = ERROR_INIT;

	if (m->died)
		return;
	m->died = true;
	error_set(&err, ERROR_HYPERVISOR, "the VM ended here: %.300s", cause->text);
	migration_note_error(m, &err);
	migration_log(m, true, "%s", err.text);
	if (!m->ports->vm_changed(m->ports->context, m, VM_STOPPED, &err))
		migration_log(m, true, "cannot record that the VM stopped: %s", err.text);
	m->ports->mover_stop(m->ports->context, m);
	m->died_active = m->step == DST_ACTIVE;
	if (!m->record.keys_moving) {
		destination_finish(m);
		return;
	}
	/* It is ours, dead or alive: its keys open its disks here. */
	migration_enter(m, DST_ACTIVE);
	m->late = true;
	destination_activate_keys(m);
}

void destination_adopted(Migration *m, const Error *failure)
{
	/* "No answer" is not "dead". */
	if (failure && failure->category != ERROR_NOT_FOUND) {
		migration_log(m, true, "its hypervisor is not found yet: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->adopting = false;
	if (m->record.activating && migration_is_cold(m)) {
		migration_enter(m, DST_ACTIVATING);
		if (failure)
			destination_settled(m);
		else
			destination_settle(m);
		return;
	}
	if (failure && m->record.activating) {
		destination_ended_here(m, failure);
		return;
	}
	if (failure) {
		m->hv_gone = true;
		destination_undo(m, failure);
		return;
	}
	if (m->record.activating) {
		migration_enter(m, DST_ACTIVATING);
		m->ports->hv_query(m->ports->context, m);
		return;
	}
	migration_enter(m, DST_READY);
}

static PeerState state_for_peer(const Migration *m)
{
	if (m->record.declined || m->step == DST_DECLINING)
		return PEER_STATE_DECLINED;
	if (m->record.activating)
		return PEER_STATE_ACTIVE;
	if (m->step == DST_READY || m->step == DST_COMMIT)
		return PEER_STATE_READY;
	if (m->step == DST_ENDED_ASKED || m->step == DST_UNDO || m->ended)
		return PEER_STATE_UNKNOWN;
	return PEER_STATE_PREPARING;
}

/* The one said before is not in the journal: another, which answers the same accept. */
static void sign_ready_again(Migration *m)
{
	Statement statement;

	memcpy(m->last_digest, m->accept_digest, sizeof(m->last_digest));
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_READY);
}

void destination_answer_query(Migration *m)
{
	static const StatementKind follows[PEER_STATE_COUNT] = {
		[PEER_STATE_READY] = STATEMENT_READY,
		[PEER_STATE_ACTIVE] = STATEMENT_ACTIVATED,
		[PEER_STATE_DECLINED] = STATEMENT_DECLINED,
	};
	PeerMessage *message = calloc(1, sizeof(*message));
	Error err = ERROR_INIT;

	if (!message)
		return;
	message->kind = PEER_STATE;
	memcpy(message->migration, m->record.id, sizeof(message->migration));
	message->state = state_for_peer(m);
	if (!m->ports->send(m->ports->context, m, message, &err) ||
	    (follows[message->state] && !migration_send_stored(m, follows[message->state], &err))) {
		migration_log(m, true, "query was not answered whole: %s", err.text);
		if (m->step == DST_READY && err.category == ERROR_NOT_FOUND)
			sign_ready_again(m);
	}
	free(message);
	/* A source that gave the VM away asks for our key manager's receipt, of either kind. */
	if (m->record.activating)
		destination_activate_keys(m);
	else if (m->step == DST_ENDED_ASKED && m->record.keys_count)
		migration_ask_keys(m, TRANSFER_DISCARD, NULL);
}

/* A commit that comes again, or too late: whatever was said before is said again. */
void destination_commit_again(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT, ignored = ERROR_INIT;

	if (migration_send_stored(m, STATEMENT_ACTIVATED, &err) ||
	    migration_send_stored(m, STATEMENT_DECLINED, &err))
		return;
	if (m->record.activating) {
		error_set(&err, ERROR_HYPERVISOR, "activation began here and its end is not known: %.200s",
			  m->record.error);
		if (!migration_send_reason(m, PEER_REFUSE, &err, &ignored))
			migration_log(m, true, "%s", ignored.text);
		return;
	}
	migration_verify(m, STATEMENT_COMMIT, message);
}
