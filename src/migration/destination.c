/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's side: which event means what in which step. */
#include "migration/destination.h"

static void on_peer_open(Migration *m)
{
	/* The source dialled again; it speaks first. */
	(void)m;
}

static void on_statement(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	if (m->is_verifying)
		return;
	switch ((int)message->statement) {
	case STATEMENT_OFFER:
		if (m->step != DST_NEW)
			break;
		migration_enter(m, DST_OFFER);
		migration_verify(m, STATEMENT_OFFER, message);
		return;
	case STATEMENT_COMMIT:
		if (m->step == DST_READY) {
			m->commit_received_us = m->last_heard_us;
			migration_enter(m, DST_COMMIT);
			migration_verify(m, STATEMENT_COMMIT, message);
			return;
		}
		if (m->step == DST_ACTIVE || m->step == DST_ENDED_ASKED)
			destination_commit_again(m, message);
		if (m->step >= DST_READY)
			return;
		break;
	case STATEMENT_DESTROYED:
		if (m->step == DST_ACTIVE) {
			migration_verify(m, STATEMENT_DESTROYED, message);
			return;
		}
		break;
	default:
		break;
	}
	error_set(&err, ERROR_PEER, "statement %s does not belong into step %s",
		  statement_words[message->statement], step_row(m->step)->name);
	if (m->step < DST_READY)
		destination_undo(m, &err);
	else
		migration_log(m, true, "%s", err.text);
}

/* Answered by a refuse: until it hears one the source says it again. */
static void on_cancel(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT, ignored = ERROR_INIT;

	error_set(&err, ERROR_CANCELLED, "cancelled by the source: %s", message->text);
	/* Good until a commit was taken: then the source has lost the right to it. */
	if (m->step <= DST_COMMIT || (m->step == DST_ADOPT && !m->record.activating)) {
		destination_undo(m, &err);
		return;
	}
	if (m->step == DST_UNDO || m->step == DST_DECLINING)
		return;
	if (m->record.activating)
		error_set(&err, ERROR_CONFLICT, "too late: the VM was given to this host, and it was run here");
	if (!migration_send_reason(m, PEER_REFUSE, &err, &ignored))
		migration_log(m, true, "%s", ignored.text);
}

static void on_peer_message(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	switch ((int)message->kind) {
	case PEER_STATEMENT:
		on_statement(m, message);
		return;
	case PEER_KEY:
		if (m->step == DST_KEY) {
			destination_take_key(m, message);
			return;
		}
		break;
	case PEER_KEYS:
		destination_take_document(m, message);
		return;
	case PEER_DISKS:
		destination_take_disks(m, message);
		return;
	case PEER_CANCEL:
		on_cancel(m, message);
		return;
	case PEER_QUERY:
		destination_answer_query(m);
		return;
	default:
		break;
	}
	error_set(&err, ERROR_PEER, "message %s does not belong into step %s", peer_words[message->kind],
		  step_row(m->step)->name);
	if (m->step < DST_READY)
		destination_undo(m, &err);
}

/* Nothing more will be heard of the source; but the keys here must be active before it is over. */
static void finish_unheard(Migration *m)
{
	m->late = true;
	if (!m->record.keys_moving)
		destination_finish(m);
}

/* What came before the source closed is still judged, and then kept. */
static void hear_no_more(Migration *m)
{
	m->late = true;
	destination_finish_if_all(m);
}

static void on_peer_closed(Migration *m, const Error *cause)
{
	/* Loaded: ours may be the only copy. Only the source's word ends it; it will dial again. */
	if (m->step < DST_LOADING || (m->step == DST_LOADING && !m->hv_completed))
		destination_undo(m, cause);
	else if (m->step == DST_ACTIVE)
		hear_no_more(m);
	else if (m->step == DST_ENDED_ASKED)
		m->ended = true;
}

static void on_signed(Migration *m, StatementKind kind, const NotarySigned *result)
{
	Error err = ERROR_INIT;

	if (kind == STATEMENT_ACCEPT && m->step == DST_ACCEPT) {
		destination_send_accept(m, result);
	} else if (kind == STATEMENT_READY && (m->step == DST_SIGN_READY || m->step == DST_READY)) {
		destination_send_ready(m, result);
	} else if (kind == STATEMENT_ACTIVATED && m->step == DST_ACTIVATING) {
		destination_send_activated(m, result);
	} else if (kind == STATEMENT_DECLINED && m->step == DST_DECLINING) {
		m->record.declined = true;
		if (!migration_journal(m, STATEMENT_DECLINED, result, &err))
			migration_log(m, true, "declined is not in the journal; it would be said again");
		if (!m->connected || !migration_send_statement(m, STATEMENT_DECLINED, result->cms,
							       result->cms_size, &err))
			migration_log(m, true, "declined was not sent; the source will ask");
		destination_undone(m);
	}
}

static void on_verified(Migration *m, StatementKind kind, const NotaryVerified *result)
{
	Error ignored = ERROR_INIT;

	if (kind == STATEMENT_OFFER && m->step == DST_OFFER) {
		destination_take_offer(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == DST_COMMIT) {
		/* Dead before it was committed to: it never ran here. */
		if (m->hv_gone)
			destination_take_late_commit(m, result);
		else
			destination_take_commit(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == DST_ENDED_ASKED) {
		destination_take_late_commit(m, result);
	} else if (kind == STATEMENT_DESTROYED && m->step == DST_ACTIVE && !m->destroyed_heard) {
		m->destroyed_heard = true;
		/* Evidence, not state. */
		if (!migration_journal(m, STATEMENT_DESTROYED, m->received, &ignored))
			migration_log(m, true, "the source's destroyed is not kept");
		destination_finish_if_all(m);
	}
}

static void on_trouble(Migration *m, const Error *cause)
{
	switch ((int)m->step) {
	case DST_COMMIT:
		/* Not a valid commit: as if it had not come. */
		migration_log(m, true, "%s", cause->text);
		migration_enter(m, DST_READY);
		if (m->hv_gone)
			destination_undo(m, cause);
		return;
	case DST_ACTIVATING:
		migration_log(m, true, "activated could not be signed: %s", cause->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case DST_READY:
	case DST_ACTIVE:
	case DST_ADOPT:
		migration_log(m, true, "%s", cause->text);
		destination_finish_if_all(m);
		return;
	case DST_DECLINING:
		migration_log(m, true, "declined could not be signed: %s", cause->text);
		destination_undone(m);
		return;
	case DST_ENDED_ASKED:
		migration_log(m, true, "%s", cause->text);
		m->ended = true;
		m->ports->hang_up(m->ports->context, m);
		return;
	default:
		destination_undo(m, cause);
	}
}

static void on_mover_failed(Migration *m, const Error *cause)
{
	/* Loaded is loaded: afterwards the movers have done their work. */
	if (m->step < DST_SIGN_READY)
		destination_undo(m, cause);
}

static void on_mover_done(Migration *m)
{
	(void)m;
}

static void cont_failed(Migration *m, const Error *failure)
{
	Error cause = ERROR_INIT;

	migration_log(m, true, "cont: %s", failure->text);
	m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	if (m->attempts < CONT_ATTEMPTS || m->record.state == MIGRATION_STUCK)
		return;
	error_set(&cause, ERROR_HYPERVISOR, "the guest does not start here: %.300s", failure->text);
	migration_note_error(m, &cause);
	m->record.state = MIGRATION_STUCK;
	m->ports->notify(m->ports->context, m);
}

static void on_hv_done(Migration *m, HvOperation operation, const Error *failure)
{
	switch ((int)operation) {
	case HV_PREPARE:
		m->hv_prepared = !failure;
		if (failure && m->step == DST_RESERVE)
			destination_undo(m, failure);
		else
			destination_accept_if_reserved(m);
		return;
	case HV_OPEN_DISKS:
		if (failure && m->step == DST_KEYS)
			destination_undo(m, failure);
		else if (!failure)
			destination_disks_opened(m);
		return;
	case HV_ATTACH:
		if (failure && m->step == DST_LOADING)
			destination_undo(m, failure);
		else if (!failure)
			destination_disks_attached(m);
		return;
	case HV_LISTEN:
		if (failure && m->step == DST_LOADING)
			destination_undo(m, failure);
		return;
	case HV_CONT:
		if (m->step != DST_ACTIVATING)
			return;
		if (failure)
			cont_failed(m, failure);
		else
			destination_running(m);
		return;
	case HV_QUIT:
		/* Done when the process is gone. */
		if (failure && m->step == DST_ACTIVATING && !m->hv_gone) {
			migration_log(m, true, "quit: %s; killing it", failure->text);
			m->ports->hv(m->ports->context, m, HV_KILL);
		}
		return;
	case HV_KILL:
		if (!failure) {
			destination_killed(m);
			return;
		}
		migration_log(m, true, "cannot end the hypervisor: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case HV_ADOPT:
		destination_adopted(m, failure);
		return;
	default:
		return;
	}
}

static void on_hv_state(Migration *m, const HvState *state, const Error *failure)
{
	if (m->step == DST_LOADING)
		destination_look_if_loaded(m, state, failure);
	else if (migration_is_cold(m))
		return;
	else if (m->step == DST_ACTIVATING && failure)
		cont_failed(m, failure);
	else if (m->step == DST_ACTIVATING && state->run_state == HV_RUNNING)
		destination_running(m);
	else if (m->step == DST_ACTIVATING)
		m->ports->hv(m->ports->context, m, HV_CONT);
}

static void on_hv_status(Migration *m, HvStatus status)
{
	Error err = ERROR_INIT;

	if (m->step != DST_LOADING)
		return;
	if (status == HV_COMPLETED) {
		m->hv_completed = true;
		m->ports->hv_query(m->ports->context, m);
	} else if (status == HV_FAILED) {
		error_set(&err, ERROR_HYPERVISOR, "the hypervisor here refused the stream");
		destination_undo(m, &err);
	}
}

static void on_hv_resume(Migration *m)
{
	if (migration_is_cold(m))
		destination_stop_running(m);
	else
		destination_running(m);
}

static void on_hv_gone(Migration *m, const Error *cause)
{
	Error gone = ERROR_INIT;

	switch ((int)m->step) {
	case DST_COMMIT:
		migration_note_error(m, cause);
		if (!m->is_verifying)
			destination_killed(m);
		return;
	case DST_UNDO:
		destination_killed(m);
		return;
	case DST_ACTIVATING:
	case DST_ACTIVE:
		if (migration_is_cold(m))
			destination_settled(m);
		else
			destination_ended_here(m, cause);
		return;
	case DST_ADOPT:
		error_set(&gone, ERROR_NOT_FOUND, "%s", cause->text);
		destination_adopted(m, &gone);
		return;
	case DST_DECLINING:
		return;
	default:
		destination_undo(m, cause);
	}
}

static void on_deadline(Migration *m, const Error *cause)
{
	Error ignored = ERROR_INIT;

	switch ((int)m->step) {
	case DST_READY:
		m->record.state = MIGRATION_STUCK;
		if (!migration_journal_record(m, &ignored))
			migration_log(m, true, "goes on without the journal");
		migration_log(m, true, "loaded and paused; waits for the decision of %s", m->record.peer_id);
		m->ports->notify(m->ports->context, m);
		return;
	case DST_ACTIVE:
		finish_unheard(m);
		return;
	case DST_ENDED_ASKED:
		m->ended = true;
		m->ports->hang_up(m->ports->context, m);
		return;
	case DST_UNDO:
		m->killed = true;
		destination_undone(m);
		return;
	case DST_COMMIT:
	case DST_DECLINING:
		on_trouble(m, cause);
		return;
	case DST_ACTIVATING:
		m->record.state = MIGRATION_STUCK;
		migration_log(m, true, "%s", cause->text);
		m->ports->notify(m->ports->context, m);
		return;
	default:
		destination_undo(m, cause);
	}
}

static void on_tick(Migration *m)
{
	Error err = ERROR_INIT;
	int64_t silent_us = migration_now_us(m) - m->last_heard_us;

	if (m->adopting)
		m->ports->hv(m->ports->context, m, HV_ADOPT);
	if (m->step == DST_UNDO || (m->step == DST_COMMIT && m->error.category))
		m->ports->hv(m->ports->context, m, HV_KILL);
	if (m->step == DST_ACTIVE)
		destination_activate_keys(m);
	if (m->step == DST_ACTIVATING)
		m->is_signing = false;
	if (m->step == DST_ACTIVATING && migration_is_cold(m))
		destination_settle_again(m);
	else if (m->step == DST_ACTIVATING || (m->step == DST_LOADING && m->hv_completed))
		m->ports->hv_query(m->ports->context, m);
	if (m->step != DST_LOADING || m->hv_completed)
		return;
	m->ports->set_tick(m->ports->context, m, destination_lease_tick_ms(m));
	if (silent_us > (int64_t)m->ports->policy->lease_s * 1000000) {
		error_set(&err, ERROR_TIMEOUT, "nothing from the source for %u s: the lease ends",
			  m->ports->policy->lease_s);
		destination_undo(m, &err);
	}
}

bool destination_discard(Migration *m, Error *err)
{
	Error cause = ERROR_INIT;

	if (m->step != DST_READY || m->record.state != MIGRATION_STUCK)
		return error_set(err, ERROR_CONFLICT,
				 "only a loaded VM that is stuck waiting for its source can be discarded");
	migration_log(m, true, "RESOLVED BY A PERSON: discarded");
	error_set(&cause, ERROR_CANCELLED, "discarded by a person at the destination");
	destination_undo(m, &cause);
	return true;
}

static void cancel(Migration *m, const Error *cause)
{
	destination_undo(m, cause);
}

const MigrationSide destination_side = {
	.recover = destination_recover,
	.cancel = cancel,
	.on_peer_open = on_peer_open,
	.on_peer_message = on_peer_message,
	.on_peer_closed = on_peer_closed,
	.on_exported = destination_accept_if_reserved,
	.on_signed = on_signed,
	.on_verified = on_verified,
	.on_trouble = on_trouble,
	.on_mover_ready = destination_accept_if_reserved,
	.on_all_proven = destination_all_proven,
	.on_mover_done = on_mover_done,
	.on_mover_failed = on_mover_failed,
	.on_keys = destination_on_keys,
	.on_hv_done = on_hv_done,
	.on_hv_state = on_hv_state,
	.on_hv_status = on_hv_status,
	.on_hv_resume = on_hv_resume,
	.on_hv_gone = on_hv_gone,
	.on_deadline = on_deadline,
	.on_tick = on_tick,
};
