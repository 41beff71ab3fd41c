/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side: which event means what in which step. */
#include "migration/source.h"

/* A break shows in several places at once: the peer's refusal, our mover, our hypervisor. The first
 * that is seen is seldom the cause, so it waits a moment for a better word, longer while the guest
 * runs. */
static void suspect(Migration *m, const Error *cause)
{
	m->suspect = *cause;
	m->ports->set_tick(m->ports->context, m,
			   m->step >= SRC_DETACH ? SUSPECT_TICK_MS : SUSPECT_RUNNING_MS);
}

/* --- events --- */

static void on_peer_open(Migration *m)
{
	Error err = ERROR_INIT;

	switch ((int)m->step) {
	case SRC_DIAL:
		migration_enter(m, SRC_OFFER);
		m->ports->export_secret(m->ports->context, m);
		return;
	case SRC_COMMITTED:
		/* Said again until it is answered: one that met a destination in the middle of its
		 * recovery is not kept there. */
		if (!migration_send_stored(m, STATEMENT_COMMIT, &err))
			migration_log(m, true, "commit was not sent: %s", err.text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case SRC_ASK:
	case SRC_OWES_KEYS:
		if (!migration_send(m, PEER_QUERY, &err))
			migration_log(m, true, "query was not sent: %s", err.text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case SRC_OWES_CANCEL:
		/* Until it is answered: what was sent may not have arrived. */
		if (!migration_send_reason(m, PEER_CANCEL, &m->error, &err))
			migration_log(m, true, "cancel was not sent: %s", err.text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	default:
		m->ports->hang_up(m->ports->context, m);
	}
}

static bool expected_statement(const Migration *m, StatementKind kind)
{
	switch ((int)m->step) {
	case SRC_ACCEPT:
		return kind == STATEMENT_ACCEPT;
	case SRC_SWITCHOVER:
	case SRC_ASK:
		return kind == STATEMENT_READY;
	case SRC_COMMITTED:
		return kind == STATEMENT_ACTIVATED || kind == STATEMENT_DECLINED;
	default:
		return false;
	}
}

static void on_statement(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	/* Said twice, after a reconnect: the first is still being looked at, or was enough. */
	if (m->is_verifying || m->step == SRC_FINISH || m->step == SRC_QUESTION ||
	    m->step == SRC_OWES_KEYS)
		return;
	if (expected_statement(m, message->statement)) {
		if (message->statement == STATEMENT_ACTIVATED)
			m->activated_us = m->last_heard_us;
		migration_verify(m, message->statement, message);
		return;
	}
	error_set(&err, ERROR_PEER, "statement %s does not belong into step %s",
		  statement_words[message->statement], step_row(m->step)->name);
	if (m->step == SRC_COMMITTED)
		migration_log(m, true, "%s", err.text);
	else
		source_undo(m, &err);
}

/* The destination has dropped its copy, or says why it does not. */
static void cancel_answered(Migration *m, const Error *answer)
{
	if (answer->category != ERROR_CANCELLED)
		migration_log(m, true, "cancel: %s", answer->text);
	m->record.cancel_owed = false;
	if (m->step == SRC_OWES_CANCEL)
		source_undone_if_all(m);
	else
		source_hang_up(m);
}

/* Given away, and ended there: no copy is left anywhere. The VM stays the destination's. */
static void ended_there(Migration *m, const Error *answer)
{
	Error err = ERROR_INIT;

	if (!m->ports->vm_changed(m->ports->context, m, VM_MOVED, &err)) {
		migration_log(m, true, "cannot record that the VM moved: %s", err.text);
		return;
	}
	migration_clear_error(m);
	migration_note_error(m, answer);
	m->ports->mover_stop(m->ports->context, m);
	if (m->record.keys_moving)
		source_owe_keys(m, MIGRATION_FAILED);
	else
		migration_end(m, MIGRATION_FAILED);
}

static void on_refused(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	error_set(&err, error_category_of_word(message->category), "%s: %s", m->record.peer_id,
		  message->text);
	if (m->step == SRC_UNDO || m->step == SRC_OWES_CANCEL) {
		cancel_answered(m, &err);
		return;
	}
	if (m->step == SRC_OWES_KEYS) {
		migration_log(m, true, "%s", err.text);
		return;
	}
	if (m->step == SRC_COMMITTED || m->step == SRC_FINISH) {
		/* Only a signed declined gives the VM back. */
		migration_log(m, true, "%s", err.text);
		if (m->step == SRC_COMMITTED && m->hv_gone && err.category == ERROR_HYPERVISOR) {
			ended_there(m, &err);
		} else if (m->step == SRC_COMMITTED) {
			migration_note_error(m, &err);
			m->ports->notify(m->ports->context, m);
		}
		return;
	}
	if (m->step == SRC_ASK) {
		source_give_up_asking(m);
		return;
	}
	/* It has undone its side already. */
	m->offer_sent = false;
	source_undo(m, &err);
}

static void on_peer_message(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	switch ((int)message->kind) {
	case PEER_STATEMENT:
		on_statement(m, message);
		return;
	case PEER_KEYED:
		if (m->step == SRC_KEY) {
			source_open_channels(m);
			return;
		}
		break;
	case PEER_REFUSE:
		on_refused(m, message);
		return;
	case PEER_STATE:
		source_state_answered(m, message);
		return;
	case PEER_KEYS:
		source_take_document(m, message);
		return;
	case PEER_DISKS:
		source_take_disks(m, message);
		return;
	default:
		break;
	}
	error_set(&err, ERROR_PEER, "message %s does not belong into step %s", peer_words[message->kind],
		  step_row(m->step)->name);
	if (step_row(m->step)->cancellable)
		source_undo(m, &err);
}

static void on_peer_closed(Migration *m, const Error *cause)
{
	switch ((int)m->step) {
	case SRC_COMMITTED:
	case SRC_ASK:
	case SRC_OWES_CANCEL:
	case SRC_OWES_KEYS:
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case SRC_FINISH:
		/* Its receipt will not come on this connection. */
		m->late = true;
		source_finish_if_all(m);
		return;
	case SRC_UNDO:
		return;
	case SRC_QUESTION:
		if (m->hv_gone)
			return;
		break;
	default:
		break;
	}
	source_undo(m, cause);
}

static void on_exported(Migration *m)
{
	if (m->step == SRC_OFFER)
		source_make_offer(m);
}

static void on_signed(Migration *m, StatementKind kind, const NotarySigned *result)
{
	if (kind == STATEMENT_OFFER && m->step == SRC_OFFER) {
		source_send_offer(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == SRC_QUESTION) {
		m->commit = malloc(sizeof(*m->commit));
		if (m->commit) {
			*m->commit = *result;
			source_commit(m);
		} else {
			Error err = ERROR_INIT;

			error_set(&err, ERROR_INTERNAL, "no memory for the commit");
			source_undo(m, &err);
		}
	} else if (kind == STATEMENT_DESTROYED && m->step == SRC_FINISH) {
		source_send_destroyed(m, result);
	}
}

static void on_verified(Migration *m, StatementKind kind, const NotaryVerified *result)
{
	if (kind == STATEMENT_ACCEPT && m->step == SRC_ACCEPT)
		source_take_accept(m, result);
	else if (kind == STATEMENT_READY && (m->step == SRC_SWITCHOVER || m->step == SRC_ASK))
		source_ready_arrived(m, result);
	else if (kind == STATEMENT_ACTIVATED && m->step == SRC_COMMITTED)
		source_take_activated(m, result);
	else if (kind == STATEMENT_DECLINED && m->step == SRC_COMMITTED)
		source_take_declined(m, result);
}

static void on_trouble(Migration *m, const Error *cause)
{
	if (m->step == SRC_COMMITTED) {
		migration_log(m, true, "%s", cause->text);
	} else if (m->step == SRC_FINISH) {
		migration_log(m, true, "destroyed was not signed: %s", cause->text);
		m->destroyed_signed = true;
		source_finish_if_all(m);
	} else if (m->step == SRC_ASK) {
		migration_log(m, true, "%s", cause->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	} else {
		source_undo(m, cause);
	}
}

static void on_mover_done(Migration *m)
{
	m->mover_done = true;
	if (m->step == SRC_FINISH)
		source_finish_if_all(m);
}

static void on_mover_failed(Migration *m, const Error *cause)
{
	/* Once ready is here the movers have done their work: the hypervisor's word decides. It has
	 * to hear that its return path is gone, or it would wait for it with the guest stopped. */
	if (m->step == SRC_QUESTION) {
		if (!m->suspect.category)
			m->suspect = *cause;
		m->ports->mover_stop(m->ports->context, m);
	}
	if (m->step >= SRC_QUESTION)
		on_mover_done(m);
	/* Its own death explains all that follows, and so does what our guard refused; a broken channel
	 * may be explained by the peer. */
	else if (m->step >= SRC_CHANNELS && cause->category != ERROR_INTERNAL && !m->violated)
		suspect(m, cause);
	else
		source_undo(m, cause);
}

static void on_hv_done(Migration *m, HvOperation operation, const Error *failure)
{
	switch ((int)operation) {
	case HV_ADOPT:
		source_adopted(m, failure);
		return;
	case HV_BOOT:
		source_booted(m, failure);
		return;
	case HV_STOP:
		source_paused(m, failure);
		return;
	case HV_MIRROR:
	case HV_DETACH:
		if (failure && (m->step == SRC_DISKS || m->step == SRC_DETACH))
			suspect(m, failure);
		else if (!failure && operation == HV_MIRROR)
			source_mirrored(m);
		else if (!failure)
			source_detached(m);
		return;
	case HV_UNMIRROR:
		/* Until it is done it is tried again, by the look at the hypervisor's state. */
		m->unmirroring = false;
		m->hv_mirroring = failure != NULL;
		if (failure)
			migration_log(m, true, "copying of disks: %s", failure->text);
		return;
	case HV_MIGRATE:
	case HV_CONTINUE:
		if (failure && (m->step == SRC_TRANSFER || m->step == SRC_SWITCHOVER))
			suspect(m, failure);
		return;
	case HV_QUIT:
		if (failure && !m->hv_gone) {
			migration_log(m, true, "quit: %s; killing it", failure->text);
			m->ports->hv(m->ports->context, m, HV_KILL);
			return;
		}
		return; /* done when the process is gone */
	case HV_KILL:
		if (!failure && m->step == SRC_FINISH) {
			m->quit_done = true;
			source_finish_if_all(m);
		} else if (!failure && m->step == SRC_UNDO) {
			/* There was nothing to end. */
			m->hv_gone = true;
			source_finish_undo(m);
		}
		return;
	default:
		/* cancel and cont: the next look at its state tells */
		return;
	}
}

static void on_hv_status(Migration *m, HvStatus status)
{
	Error err = ERROR_INIT;

	/* One that stood still before it began stands still afterwards. */
	if (m->hv_migrating && m->record.manner == MANNER_LIVE &&
	    (status == HV_FAILED || status == HV_CANCELLED))
		m->went_on = true;
	if (m->step == SRC_TRANSFER && status == HV_PRE_SWITCHOVER && m->suspect.category) {
		source_undo(m, &m->suspect);
	} else if (m->step == SRC_TRANSFER && status == HV_PRE_SWITCHOVER) {
		/* No journal entry: until commit a restart undoes either way, and every
		 * millisecond here is downtime. */
		if (m->hv_mirroring) {
			source_detach(m);
			return;
		}
		migration_enter(m, SRC_SWITCHOVER);
		m->ports->hv(m->ports->context, m, HV_CONTINUE);
	} else if ((m->step == SRC_TRANSFER || m->step == SRC_DETACH || m->step == SRC_SWITCHOVER) &&
		   (status == HV_FAILED || status == HV_CANCELLED)) {
		error_set(&err, ERROR_HYPERVISOR, "our hypervisor's migration %s",
			  status == HV_FAILED ? "failed" : "was cancelled");
		suspect(m, m->suspect.category ? &m->suspect : &err);
	}
}

static void on_hv_state(Migration *m, const HvState *state, const Error *failure)
{
	if (m->step == SRC_QUESTION)
		source_answer_of_hypervisor(m, state, failure);
	else if (m->step == SRC_UNDO)
		source_undo_answer(m, state, failure);
	else if (m->step == SRC_BOOT)
		source_look_if_asleep(m, state, failure);
	else if (m->step == SRC_PAUSE)
		source_look_before_pause(m, state, failure);
	else if (m->step == SRC_COMMITTED && m->adopting)
		source_look_at_given(m, state, failure);
	else if (!failure && (m->step == SRC_TRANSFER || m->step == SRC_DETACH ||
			      m->step == SRC_SWITCHOVER))
		on_hv_status(m, state->status);
}

static void on_hv_resume(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->hv_migrating)
		m->went_on = true;
	if (!migration_is_cold(m) || m->step >= SRC_COMMITTED)
		return;
	error_set(&err, ERROR_HYPERVISOR, "the guest of a stopped VM began to run: it is ended");
	source_undo(m, &err);
}

static void on_hv_gone(Migration *m, const Error *cause)
{
	Error death = ERROR_INIT;

	if (m->adopting) {
		error_set(&death, ERROR_NOT_FOUND, "%s", cause->text);
		source_adopted(m, &death);
		return;
	}
	switch ((int)m->step) {
	case SRC_SWITCHOVER:
		if (m->went_on || migration_is_cold(m)) {
			source_undo(m, cause);
			return;
		}
		/* If everything had left, ready is still to come; else the deadline ends it. */
		migration_log(m, true, "the hypervisor is gone in switchover: %s", cause->text);
		return;
	case SRC_QUESTION:
		if (m->went_on || migration_is_cold(m)) {
			source_undo(m, cause);
			return;
		}
		/* The destination has the only copy. */
		m->hv_completed = true;
		source_commit(m);
		return;
	case SRC_FINISH:
		m->quit_done = true;
		source_finish_if_all(m);
		return;
	case SRC_NEW:
	case SRC_COMMITTED:
	case SRC_ASK:
	case SRC_OWES_CANCEL:
	case SRC_OWES_KEYS:
		return;
	case SRC_UNDO:
		if (migration_is_cold(m)) {
			source_finish_undo(m);
			return;
		}
		/* Whatever was being undone: this matters more. */
		error_set(&death, ERROR_HYPERVISOR, "the guest ended with its hypervisor: %.300s", cause->text);
		migration_clear_error(m);
		migration_note_error(m, &death);
		source_finish_undo(m);
		return;
	default:
		source_undo(m, cause);
	}
}

static void tell_stuck(Migration *m, const char *text)
{
	Error ignored = ERROR_INIT;

	m->record.state = MIGRATION_STUCK;
	if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
	migration_log(m, true, "STUCK, %s (%s)", text, m->record.peer_id);
	m->ports->notify(m->ports->context, m);
}

static void on_deadline(Migration *m, const Error *cause)
{
	if (m->step == SRC_COMMITTED) {
		migration_note_error(m, cause);
		tell_stuck(m, "the VM is given away and the destination does not answer; the guest stays "
			      "stopped here. If that copy is dead for certain: sealift resolve --run-here");
		return;
	}
	if (m->step == SRC_FINISH) {
		migration_log(m, true, "%s", cause->text);
		m->ports->hv(m->ports->context, m, HV_KILL);
		m->quit_done = true;
		m->destroyed_signed = true;
		m->mover_done = true;
		m->late = true;
		source_finish_if_all(m);
		return;
	}
	source_undo(m, cause);
}

static void on_tick(Migration *m)
{
	if (m->adopting) {
		m->ports->hv(m->ports->context, m, HV_ADOPT);
		return;
	}
	switch ((int)m->step) {
	case SRC_CHANNELS:
	case SRC_KEYS:
	case SRC_DISKS:
	case SRC_TRANSFER:
	case SRC_DETACH:
	case SRC_SWITCHOVER:
		source_undo(m, &m->suspect);
		return;
	case SRC_QUESTION:
		if (m->hv_gone)
			source_commit(m);
		else
			m->ports->hv_query(m->ports->context, m);
		return;
	case SRC_FINISH:
		source_release_again(m);
		source_finish_if_all(m);
		return;
	case SRC_OWES_KEYS:
		source_release_again(m);
		if (m->attempts >= CANCEL_ATTEMPTS)
			source_give_up_keys(m);
		else if (m->connected)
			on_peer_open(m);
		else
			source_redial(m);
		return;
	case SRC_UNDO:
		m->attempts++;
		if (migration_is_cold(m))
			source_end_copy_again(m);
		else
			m->ports->hv_query(m->ports->context, m);
		return;
	case SRC_COMMITTED:
		/* An answer that our notary never judged is asked for again. */
		m->is_verifying = false;
		if (m->connected)
			on_peer_open(m);
		else
			source_redial(m);
		return;
	case SRC_ASK:
		m->is_verifying = false;
		if (m->attempts >= ASK_ATTEMPTS && m->record.state != MIGRATION_STUCK)
			tell_stuck(m, "our copy of the VM is gone; the destination may have it and does not answer");
		if (m->connected)
			on_peer_open(m);
		else
			source_redial(m);
		return;
	case SRC_OWES_CANCEL:
		source_take_back(m);
		if (m->attempts >= CANCEL_ATTEMPTS)
			source_give_up_keys(m);
		else if (!m->record.cancel_owed)
			m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		else if (m->connected)
			on_peer_open(m);
		else
			source_redial(m);
		return;
	default:
		return;
	}
}

static void cancel(Migration *m, const Error *cause)
{
	source_undo(m, cause);
}

const MigrationSide source_side = {
	.recover = source_recover,
	.cancel = cancel,
	.on_peer_open = on_peer_open,
	.on_peer_message = on_peer_message,
	.on_peer_closed = on_peer_closed,
	.on_exported = on_exported,
	.on_signed = on_signed,
	.on_verified = on_verified,
	.on_trouble = on_trouble,
	.on_mover_ready = source_send_key,
	.on_all_proven = source_all_proven,
	.on_mover_done = on_mover_done,
	.on_mover_failed = on_mover_failed,
	.on_keys = source_on_keys,
	.on_hv_done = on_hv_done,
	.on_hv_state = on_hv_state,
	.on_hv_status = on_hv_status,
	.on_hv_resume = on_hv_resume,
	.on_hv_gone = on_hv_gone,
	.on_deadline = on_deadline,
	.on_tick = on_tick,
};
