/* SPDX-License-Identifier: Apache-2.0 */
/* The source's ways back: undo, recovery, a person's decision. */
#include <string.h>

#include "migration/source.h"

static void ask(Migration *m);

/* --- undo --- */

void source_finish_undo(Migration *m)
{
	Error ignored = ERROR_INIT;
	bool cancelled = m->error.category == ERROR_CANCELLED;
	bool lost = m->hv_gone && !migration_is_cold(m);

	m->ports->mover_stop(m->ports->context, m);
	if (!m->ports->vm_changed(m->ports->context, m, lost ? VM_FAILED : source_home_state(m), &ignored))
		migration_log(m, true, "cannot record the VM's state: %s", ignored.text);
	migration_log(m, true, "%s: %s (the %s)", cancelled ? "cancelled" : "failed", m->error.text,
		      lost		   ? "guest ended with its hypervisor" :
		      migration_is_cold(m) ? "VM is stopped here, as before" :
					     "guest runs on here");
	if (!m->record.cancel_owed && !m->record.keys_moving) {
		migration_end(m, cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
		return;
	}
	m->record.state = cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED;
	migration_enter(m, SRC_OWES_CANCEL);
	if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
	m->ports->notify(m->ports->context, m);
	m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	source_take_back(m);
}

void source_undone_if_all(Migration *m)
{
	Error ignored = ERROR_INIT;

	if (m->step != SRC_OWES_CANCEL)
		return;
	if (!m->record.cancel_owed && !m->record.keys_moving)
		migration_end(m, m->record.state);
	else if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
}

void source_hang_up(Migration *m)
{
	m->ports->hang_up(m->ports->context, m);
	m->connected = false;
	m->dialling = false;
}

/* Whether the destination may hold the guest's whole state. Then it waits for our word as long as it
 * takes, so the word must arrive: it is owed until the destination answers it with a refuse. Before
 * that a closed connection, or silence, ends its reservation. */
static bool may_be_loaded(const Migration *m)
{
	return m->step == SRC_SWITCHOVER || m->step == SRC_QUESTION || m->step == SRC_ASK ||
	       m->step == SRC_COMMITTED || (m->step == SRC_NEW && m->record.phase >= PHASE_TRANSFER);
}

static void unmirror(Migration *m)
{
	m->unmirroring = true;
	m->ports->hv(m->ports->context, m, HV_UNMIRROR);
}

/* Only ever before commit, or after a declined: the guest is ours. */
void source_undo(Migration *m, const Error *cause)
{
	Error err = ERROR_INIT;
	bool knows = m->offer_sent && !m->record.declined, said;

	if (m->ended || m->step == SRC_UNDO || m->step == SRC_OWES_CANCEL || m->step == SRC_OWES_KEYS)
		return;
	migration_note_error(m, cause);
	if (m->hv_gone && !m->went_on && knows && !migration_is_cold(m) &&
	    (m->step == SRC_SWITCHOVER || m->step == SRC_QUESTION)) {
		ask(m);
		return;
	}
	m->record.cancel_owed = knows && may_be_loaded(m);
	/* Before the guest runs again: should it end with us both down, what the destination holds is
	 * older than the guest's disks and must not be asked for. */
	if (m->record.cancel_owed && !migration_journal_record(m, &err))
		migration_log(m, true, "goes on without the journal");
	said = knows && m->connected && migration_send_reason(m, PEER_CANCEL, cause, &err);
	migration_enter(m, SRC_UNDO);
	if (!m->record.cancel_owed || !said)
		source_hang_up(m);
	if (migration_is_cold(m)) {
		source_end_copy(m);
		return;
	}
	if (m->hv_gone || (!m->hv_migrating && !m->hv_mirroring && !m->record.paused)) {
		source_finish_undo(m);
		return;
	}
	if (m->hv_mirroring)
		unmirror(m);
	/* The mover stays till then: QEMU must not lose its sockets while its threads begin. */
	if (m->hv_migrating)
		m->ports->hv(m->ports->context, m, HV_CANCEL);
	m->ports->set_tick(m->ports->context, m, UNDO_TICK_MS);
}

void source_undo_answer(Migration *m, const HvState *state, const Error *failure)
{
	bool copies = m->hv_mirroring && !m->hv_gone;
	bool home = state->run_state == HV_RUNNING || source_left_as_found(m, state);
	bool busy = !failure && (copies || state->status == HV_SETUP || state->status == HV_ACTIVE ||
				 state->status == HV_PRE_SWITCHOVER || state->status == HV_DEVICE ||
				 state->status == HV_CANCELLING);

	/* There is none to look at: its end is waited for. */
	if (migration_is_cold(m))
		return;
	if (m->hv_gone || (!failure && !busy && home)) {
		source_finish_undo(m);
		return;
	}
	/* By the clock: a hypervisor that hangs takes its time for each look. */
	if (migration_now_us(m) - m->entered_us >= (int64_t)UNDO_PATIENCE_MS * 1000) {
		if (m->record.state != MIGRATION_STUCK) {
			m->record.state = MIGRATION_STUCK;
			m->ports->mover_stop(m->ports->context, m);
			migration_log(m, true, "%s: %s",
				      copies ? "the copying of disks does not end" :
					       "the guest does not run again",
				      failure ? failure->text : "its hypervisor stays busy");
			m->ports->notify(m->ports->context, m);
		}
	} else if (busy && m->hv_migrating && m->attempts % 20 == 19) {
		m->ports->hv(m->ports->context, m, HV_CANCEL);
	}
	if (!failure && copies && !m->unmirroring)
		unmirror(m);
	if (!failure && !busy)
		m->ports->hv(m->ports->context, m, HV_CONT);
	m->ports->set_tick(m->ports->context, m, UNDO_TICK_MS);
}

/* --- recovery --- */

void source_redial(Migration *m)
{
	if (m->connected || m->dialling)
		return;
	m->dialling = true;
	m->ports->dial(m->ports->context, m);
}

void source_give_up_asking(Migration *m)
{
	Error cause = ERROR_INIT;

	error_set(&cause, ERROR_HYPERVISOR, "the guest ended with its hypervisor during the move");
	migration_note_error(m, &cause);
	m->record.cancel_owed = false;
	source_finish_undo(m);
}

/* Our copy is gone; the destination may have the only one, so it is asked before anything is undone. */
static void ask(Migration *m)
{
	m->ports->mover_stop(m->ports->context, m);
	source_hang_up(m);
	memcpy(m->last_digest, m->accept_digest, sizeof(m->last_digest));
	migration_enter(m, SRC_ASK);
	source_redial(m);
}

/* What the destination's ready will answer. */
static void load_accept(Migration *m)
{
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	Error err = ERROR_INIT;

	if (!store_statement(m->ports->store, m->record.id, STATEMENT_ACCEPT, &cms, m->accept_digest,
			     &err))
		migration_log(m, true, "recovery: %s", err.text);
	memcpy(m->last_digest, m->accept_digest, sizeof(m->last_digest));
}

void source_recover(Migration *m)
{
	Error cause = ERROR_INIT;

	m->offer_sent = true;
	if (m->record.state != MIGRATION_ACTIVE && m->record.state != MIGRATION_STUCK) {
		/* Decided: what is left is what was owed then. */
		migration_enter(m, m->record.committed ? SRC_OWES_KEYS : SRC_OWES_CANCEL);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->adopting = true;
	m->hv_booted = true;
	m->hv_migrating = true;
	m->hv_mirroring = migration_disk_channels(m) != 0;
	if (m->record.committed) {
		AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);

		if (!store_statement(m->ports->store, m->record.id, STATEMENT_COMMIT, &cms,
				     m->last_digest, &cause))
			migration_log(m, true, "recovery: %s", cause.text);
		if (!m->ports->vm_changed(m->ports->context, m, VM_HELD, &cause))
			migration_log(m, true, "cannot record that the VM is held: %s", cause.text);
		migration_enter(m, SRC_COMMITTED);
		m->ports->hv(m->ports->context, m, HV_ADOPT);
		return;
	}
	error_set(&cause, ERROR_UNAVAILABLE, "the engine was restarted in phase %s",
		  migration_phase_words[m->record.phase]);
	migration_note_error(m, &cause);
	if (migration_is_cold(m)) {
		m->adopting = false;
		source_undo(m, &cause);
		return;
	}
	if (m->record.phase >= PHASE_TRANSFER)
		load_accept(m);
	m->ports->hv(m->ports->context, m, HV_ADOPT);
}

void source_adopted(Migration *m, const Error *failure)
{
	Error cause = m->error;

	if (m->step == SRC_FINISH) {
		/* Activated was faster: whatever is left of the old copy is not needed any more. */
		m->adopting = false;
		if (!m->quit_done)
			m->ports->hv(m->ports->context, m, HV_KILL);
		return;
	}
	if (!m->adopting)
		return;
	/* "No answer" is not "dead": a guest that may run is not given away. */
	if (failure && failure->category != ERROR_NOT_FOUND) {
		migration_log(m, true, "its hypervisor is not found yet: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->hv_gone = failure != NULL;
	if (m->step == SRC_COMMITTED && !m->hv_gone) {
		m->ports->hv_query(m->ports->context, m);
		return;
	}
	m->adopting = false;
	if (m->step == SRC_COMMITTED) {
		source_redial(m);
		return;
	}
	if (!m->hv_gone) {
		source_undo(m, &cause);
		return;
	}
	if (m->record.phase < PHASE_TRANSFER || m->record.cancel_owed) {
		source_undo(m, failure);
		return;
	}
	ask(m);
}

/* The journal says that the guest was given away. What our own copy does counts for more: an entry
 * that was reported as failed may be on the disk all the same. */
void source_look_at_given(Migration *m, const HvState *state, const Error *failure)
{
	Error cause = ERROR_INIT, ignored = ERROR_INIT;

	if (failure) {
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->adopting = false;
	if (state->run_state != HV_RUNNING) {
		source_redial(m);
		return;
	}
	error_set(&cause, ERROR_CONFLICT, "the guest runs here, though the journal gave it away: it is kept");
	migration_clear_error(m);
	m->record.committed = false;
	if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
	source_undo(m, &cause);
}

void source_state_answered(Migration *m, const PeerMessage *message)
{
	if (m->step != SRC_ASK)
		return;
	/* READY is followed by the ready statement itself, which decides. */
	if (message->state == PEER_STATE_UNKNOWN || message->state == PEER_STATE_DECLINED)
		source_give_up_asking(m);
	else if (message->state == PEER_STATE_PREPARING)
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
}

bool source_run_here(Migration *m, Error *err)
{
	Error cause = ERROR_INIT;

	if (m->step != SRC_COMMITTED)
		return error_set(err, ERROR_CONFLICT, "migration is in step %s: nothing to resolve",
				 step_row(m->step)->name);
	if (m->record.state != MIGRATION_STUCK)
		return error_set(err, ERROR_CONFLICT,
				 "the destination is still being asked; wait until the state is stuck");
	if (m->adopting)
		return error_set(err, ERROR_CONFLICT, "the VM's process is still looked for");
	if (m->hv_gone && !migration_is_cold(m))
		return error_set(err, ERROR_HYPERVISOR, "this host has no copy of the VM any more");
	m->record.committed = false;
	/* Written before the guest runs: a restart must not give it away once more. */
	if (!migration_journal_record(m, err)) {
		m->record.committed = true;
		return false;
	}
	migration_log(m, true, "RESOLVED BY A PERSON: run-here, the other copy is said to be dead");
	error_set(&cause, ERROR_CANCELLED, "resolved by a person: runs here");
	migration_clear_error(m);
	/* So that a cancel reaches the destination, should it live after all. */
	m->offer_sent = true;
	source_undo(m, &cause);
	return true;
}
