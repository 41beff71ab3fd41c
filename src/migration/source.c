/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side: it leads. */
#include <string.h>

#include "crypto/random.h"
#include "migration/internal.h"

enum {
	QUESTION_TICK_MS = 2,
	SUSPECT_TICK_MS = 250,
	UNDO_TICK_MS = 50,
	UNDO_ATTEMPTS = 400,  /* 20 s of UNDO_TICK_MS until a person is asked */
	CANCEL_ATTEMPTS = 5760, /* a day of the longest back-off */
	ASK_ATTEMPTS = 12,	/* until a person is told; it goes on asking */
	COMMIT_AGAIN_MS = 3000,
};

static void undo(Migration *m, const Error *cause);
static void ask(Migration *m);

/* A break shows in several places at once: the peer's refusal, our mover, our hypervisor. The first
 * that is seen is seldom the cause, so it waits a moment for a better word. */
static void suspect(Migration *m, const Error *cause)
{
	m->suspect = *cause;
	m->ports->set_tick(m->ports->context, m, SUSPECT_TICK_MS);
}

/* --- begin --- */

void source_start(Migration *m)
{
	Error err = ERROR_INIT;

	if (!migration_journal_record(m, &err) ||
	    !m->ports->vm_changed(m->ports->context, m, VM_MIGRATING, &err)) {
		migration_note_error(m, &err);
		migration_end(m, MIGRATION_FAILED);
		return;
	}
	migration_log(m, false, "started to=%s vm=%s channels=%llu mode=%s", m->record.peer_id,
		      m->record.vm, (unsigned long long)m->record.channels,
		      seal_mode_words[m->record.mode]);
	migration_enter(m, SRC_DIAL);
	m->dialling = true;
	m->ports->dial(m->ports->context, m);
	m->ports->mover_start(m->ports->context, m, m->record.channels);
}

static void make_offer(Migration *m)
{
	Error err = ERROR_INIT;

	m->ecdh = ecdh_key_new(&err);
	m->migration_key = m->ecdh ? random_secret(MIGRATION_KEY_BYTES, &err) : NULL;
	if (!m->migration_key) {
		undo(m, &err);
		return;
	}
	memset(&m->offer, 0, sizeof(m->offer));
	ecdh_key_public(m->ecdh, m->offer.share);
	m->offer.mode = m->record.mode;
	m->offer.channels = m->record.channels;
	m->offer.manifest = m->vm.manifest;
	migration_sign(m, &m->offer, STATEMENT_OFFER);
}

static void send_offer(Migration *m, const NotarySigned *offer)
{
	Error err = ERROR_INIT;

	memcpy(m->offer_digest, offer->digest, sizeof(m->offer_digest));
	memcpy(m->last_digest, offer->digest, sizeof(m->last_digest));
	if (!migration_journal(m, STATEMENT_OFFER, offer, &err) ||
	    !migration_send_statement(m, STATEMENT_OFFER, offer->cms, offer->cms_size, &err)) {
		undo(m, &err);
		return;
	}
	m->offer_sent = true;
	migration_enter(m, SRC_ACCEPT);
}

/* --- prepare --- */

/* The outcome of the mode is the destination's word, within what we offered and allow. */
static bool check_mode(const Migration *m, const Statement *accept, Error *err)
{
	if (accept->mode == SEAL_OPPORTUNISTIC)
		return error_set(err, ERROR_PEER, "accept leaves the mode open");
	if (accept->mode == SEAL_REQUIRED)
		return m->offer.mode != SEAL_DISABLED ||
		       error_set(err, ERROR_PEER, "accept changes mode disabled to required");
	if (m->offer.mode == SEAL_REQUIRED)
		return error_set(err, ERROR_DENIED, "the destination would not encrypt, mode is required");
	if (m->offer.mode == SEAL_OPPORTUNISTIC && !accept->forbids_encryption)
		return error_set(err, ERROR_PEER, "accept drops encryption without its domain forbidding it");
	if (m->offer.mode == SEAL_DISABLED && !m->ports->policy->allow_disabled)
		return error_set(err, ERROR_DENIED, "this host does not allow mode disabled");
	return true;
}

static bool check_accept(const Migration *m, const Statement *accept, Error *err)
{
	if (!peer_version_fits(accept->version_min, accept->version_max))
		return error_set(err, ERROR_PEER, "accept speaks versions %llu to %llu, we speak %d to %d",
				 (unsigned long long)accept->version_min,
				 (unsigned long long)accept->version_max, PEER_VERSION_MIN,
				 PEER_VERSION_MAX);
	if (accept->channels > m->offer.channels)
		return error_set(err, ERROR_PEER, "accept has %llu channels, offered were %llu",
				 (unsigned long long)accept->channels,
				 (unsigned long long)m->offer.channels);
	if (accept->memory_bytes < m->vm.manifest.memory_bytes)
		return error_set(err, ERROR_PEER, "accept reserves %llu bytes, the VM has %llu",
				 (unsigned long long)accept->memory_bytes,
				 (unsigned long long)m->vm.manifest.memory_bytes);
	if (m->vm.manifest.populate == POPULATE_FULL && !accept->populated)
		return error_set(err, ERROR_PEER, "accept without populated memory");
	return check_mode(m, accept, err);
}

/* Needs both the accept and a mover that serves; whichever comes last calls it. */
static void send_key(Migration *m)
{
	Error err = ERROR_INIT;

	if (!m->accept_verified || !m->mover_ready)
		return;
	migration_enter(m, SRC_KEY);
	if (!migration_setup_mover(m, m->accept.share, &err) || !migration_send(m, PEER_KEY, &err)) {
		undo(m, &err);
		return;
	}
	secret_free(TAKE_PTR(m->migration_key));
}

static void take_accept(Migration *m, const NotaryVerified *verified)
{
	Error err = ERROR_INIT;

	if (!check_accept(m, &verified->statement, &err)) {
		undo(m, &err);
		return;
	}
	m->accept = verified->statement;
	m->record.channels = m->accept.channels;
	m->record.mode = m->accept.mode;
	m->record.report.populate_us = m->accept.populate_us;
	memcpy(m->accept_digest, verified->digest, sizeof(m->accept_digest));
	memcpy(m->last_digest, verified->digest, sizeof(m->last_digest));
	m->accept_verified = true;
	if (m->record.mode == SEAL_DISABLED)
		migration_log(m, true, "NOT ENCRYPTED: mode disabled by both hosts' configuration");
	if (!migration_journal(m, STATEMENT_ACCEPT, m->received, &err)) {
		undo(m, &err);
		return;
	}
	send_key(m);
}

static void open_channels(Migration *m)
{
	RolePreamble preamble = { .generation = 0 };

	migration_enter(m, SRC_CHANNELS);
	memcpy(preamble.routing, m->accept.routing, sizeof(preamble.routing));
	m->ports->open_channels(m->ports->context, m, &preamble, m->record.channels);
}

/* --- transfer, switchover --- */

static void all_proven(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != SRC_CHANNELS)
		return;
	migration_enter(m, SRC_TRANSFER);
	if (!migration_journal_record(m, &err)) {
		undo(m, &err);
		return;
	}
	m->hv_migrating = true;
	forecast_begin(&m->forecast, migration_now_us(m));
	m->ports->hv(m->ports->context, m, HV_MIGRATE);
}

static void ready_arrived(Migration *m, const NotaryVerified *ready)
{
	Statement statement;

	m->record.ready = true;
	memcpy(m->last_digest, ready->digest, sizeof(m->last_digest));
	m->hv_completed = m->hv_gone;
	migration_enter(m, SRC_QUESTION);
	free(TAKE_PTR(m->commit));
	/* The commit is signed while our hypervisor is asked: it counts only once it is journalled
	 * and sent, and until then never leaves this process. */
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_COMMIT);
	if (m->step == SRC_QUESTION && !m->hv_gone)
		m->ports->hv_query(m->ports->context, m);
}

/* THE POINT OF NO RETURN is the journal entry in here: before it the guest is the source's, after it
 * the destination's. */
static void source_commit(Migration *m)
{
	Error err = ERROR_INIT;

	if (!m->commit || !m->hv_completed)
		return;
	m->record.committed = true;
	m->record.phase = PHASE_COMMIT;
	if (!migration_journal(m, STATEMENT_COMMIT, m->commit, &err)) {
		m->record.committed = false;
		if (m->hv_gone) {
			/* The destination has the only copy: try again rather than lose it. */
			m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
			return;
		}
		undo(m, &err);
		return;
	}
	memcpy(m->last_digest, m->commit->digest, sizeof(m->last_digest));
	migration_enter(m, SRC_COMMITTED);
	if (m->connected &&
	    !migration_send_statement(m, STATEMENT_COMMIT, m->commit->cms, m->commit->cms_size, &err))
		migration_log(m, true, "commit was not sent: %s", err.text);
	m->ports->set_tick(m->ports->context, m, COMMIT_AGAIN_MS);
	if (!m->ports->vm_changed(m->ports->context, m, VM_HELD, &err))
		migration_log(m, true, "cannot record that the VM is held: %s", err.text);
}

static void answer_of_hypervisor(Migration *m, const HvState *state, const Error *failure)
{
	Error err = ERROR_INIT;

	if (failure && m->hv_gone)
		return;
	if (failure) {
		undo(m, failure);
		return;
	}
	if (state->status == HV_COMPLETED && state->run_state == HV_POSTMIGRATE) {
		m->hv_completed = true;
		source_commit(m);
		return;
	}
	if (state->status == HV_FAILED || state->status == HV_CANCELLED || state->status == HV_NONE ||
	    state->run_state == HV_RUNNING) {
		error_set(&err, ERROR_HYPERVISOR,
			  "the destination is ready, but our hypervisor's migration failed");
		undo(m, &err);
		return;
	}
	/* Ready crossed the network faster than the return path's last message: ask again. */
	m->ports->set_tick(m->ports->context, m, QUESTION_TICK_MS);
}

/* --- finish --- */

static uint64_t us_between(int64_t from_us, int64_t to_us)
{
	return from_us && to_us > from_us ? (uint64_t)(to_us - from_us) : 0;
}

static void fill_report(Migration *m, uint64_t resume_us)
{
	MigrationReport *report = &m->record.report;

	report->total_us = us_between(m->started_us, m->activated_us);
	report->downtime_us = us_between(m->stop_us, m->activated_us);
	report->downtime_error_us = m->rtt_us / 2;
	report->resume_us = resume_us;
}

static void fill_report_of_mover(Migration *m)
{
	MigrationReport *report = &m->record.report;

	report->stream_us = us_between((int64_t)m->stats.first_byte_us, m->activated_us);
	report->stream_bytes = m->stats.stream_out_bytes;
	report->wire_bytes = m->stats.wire_out_bytes + m->stats.wire_in_bytes;
	report->mover_cpu_us = m->stats.cpu_us;
	report->mover_peak_bytes = m->stats.peak_memory_bytes;
}

static void finish_if_all(Migration *m)
{
	Error ignored = ERROR_INIT;

	if (!m->quit_done || !m->destroyed_signed || !m->mover_done)
		return;
	fill_report_of_mover(m);
	if (!m->ports->vm_changed(m->ports->context, m, VM_MOVED, &ignored))
		migration_log(m, true, "cannot record that the VM moved: %s", ignored.text);
	migration_log(m, false, "done downtime_us=%llu total_us=%llu bytes=%llu",
		      (unsigned long long)m->record.report.downtime_us,
		      (unsigned long long)m->record.report.total_us,
		      (unsigned long long)m->record.report.stream_bytes);
	m->ports->mover_stop(m->ports->context, m);
	migration_end(m, MIGRATION_OK);
}

static void take_activated(Migration *m, const NotaryVerified *activated)
{
	Error ignored = ERROR_INIT;
	Statement statement;

	memcpy(m->last_digest, activated->digest, sizeof(m->last_digest));
	fill_report(m, activated->statement.resume_us);
	m->record.state = MIGRATION_ACTIVE;
	migration_clear_error(m);
	migration_enter(m, SRC_FINISH);
	if (!migration_journal(m, STATEMENT_ACTIVATED, m->received, &ignored))
		migration_log(m, true, "goes on without the journal");
	m->quit_done = m->hv_gone;
	/* After a restart there is no mover to wait for. */
	m->mover_done = m->mover_done || !m->mover_ready;
	if (!m->quit_done)
		m->ports->hv(m->ports->context, m, HV_QUIT);
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_DESTROYED);
}

static void send_destroyed(Migration *m, const NotarySigned *destroyed)
{
	Error ignored = ERROR_INIT;

	if (!migration_journal(m, STATEMENT_DESTROYED, destroyed, &ignored))
		migration_log(m, true, "goes on without the journal");
	/* A courtesy: without it the destination finishes by its deadline. */
	if (m->connected && !migration_send_statement(m, STATEMENT_DESTROYED, destroyed->cms,
						      destroyed->cms_size, &ignored))
		migration_log(m, true, "destroyed was not sent: %s", ignored.text);
	m->destroyed_signed = true;
	finish_if_all(m);
}

/* The destination hands the VM back; it never ran there. */
static void take_declined(Migration *m, const NotaryVerified *declined)
{
	Error cause = ERROR_INIT, err = ERROR_INIT;

	error_set(&cause, ERROR_PEER, "the destination declined: %s", declined->statement.reason);
	m->record.committed = false;
	m->record.declined = true;
	/* Written before the guest runs: after a restart it must not be given away a second time. */
	if (!migration_journal(m, STATEMENT_DECLINED, m->received, &err)) {
		m->record.committed = true;
		m->record.declined = false;
		m->ports->set_tick(m->ports->context, m, COMMIT_AGAIN_MS);
		return;
	}
	undo(m, &cause);
}

/* --- undo --- */

static void finish_undo(Migration *m)
{
	Error ignored = ERROR_INIT;
	bool cancelled = m->error.category == ERROR_CANCELLED;

	if (!m->ports->vm_changed(m->ports->context, m, m->hv_gone ? VM_FAILED : VM_RUNNING, &ignored))
		migration_log(m, true, "cannot record the VM's state: %s", ignored.text);
	migration_log(m, true, "%s: %s (the guest %s)", cancelled ? "cancelled" : "failed", m->error.text,
		      m->hv_gone ? "ended with its hypervisor" : "runs on here");
	if (!m->record.cancel_owed) {
		migration_end(m, cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
		return;
	}
	m->record.state = cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED;
	migration_enter(m, SRC_OWES_CANCEL);
	if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
	m->ports->notify(m->ports->context, m);
	m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
}

/* Only ever before commit, or after a declined: the guest is ours. */
static void undo(Migration *m, const Error *cause)
{
	Error err = ERROR_INIT;

	if (m->ended || m->step == SRC_UNDO || m->step == SRC_OWES_CANCEL)
		return;
	migration_note_error(m, cause);
	if (m->hv_gone && m->offer_sent && (m->step == SRC_SWITCHOVER || m->step == SRC_QUESTION)) {
		ask(m);
		return;
	}
	if (m->offer_sent && !m->record.declined)
		m->record.cancel_owed =
			!m->connected || !migration_send_reason(m, PEER_CANCEL, cause, &err);
	migration_enter(m, SRC_UNDO);
	m->ports->mover_stop(m->ports->context, m);
	m->ports->hang_up(m->ports->context, m);
	m->connected = false;
	if (!m->hv_migrating || m->hv_gone) {
		finish_undo(m);
		return;
	}
	m->ports->hv(m->ports->context, m, HV_CANCEL);
	m->ports->set_tick(m->ports->context, m, UNDO_TICK_MS);
}

static void undo_answer(Migration *m, const HvState *state, const Error *failure)
{
	bool busy = !failure && (state->status == HV_SETUP || state->status == HV_ACTIVE ||
				 state->status == HV_PRE_SWITCHOVER || state->status == HV_DEVICE ||
				 state->status == HV_CANCELLING);

	if (m->hv_gone || (!failure && !busy && state->run_state == HV_RUNNING)) {
		finish_undo(m);
		return;
	}
	if (m->attempts >= UNDO_ATTEMPTS) {
		if (m->record.state != MIGRATION_STUCK) {
			m->record.state = MIGRATION_STUCK;
			migration_log(m, true, "the guest does not run again: %s",
				      failure ? failure->text : "its hypervisor stays busy");
			m->ports->notify(m->ports->context, m);
		}
	} else if (busy && m->attempts % 20 == 19) {
		m->ports->hv(m->ports->context, m, HV_CANCEL);
	}
	if (!failure && !busy)
		m->ports->hv(m->ports->context, m, HV_CONT);
	m->ports->set_tick(m->ports->context, m, UNDO_TICK_MS);
}

/* --- recovery --- */

static void redial(Migration *m)
{
	if (m->connected || m->dialling)
		return;
	m->dialling = true;
	m->ports->dial(m->ports->context, m);
}

static void give_up_asking(Migration *m)
{
	Error cause = ERROR_INIT;

	error_set(&cause, ERROR_HYPERVISOR, "the guest ended with its hypervisor during the move");
	migration_note_error(m, &cause);
	finish_undo(m);
}

/* Our copy is gone; the destination may have the only one, so it is asked before anything is undone. */
static void ask(Migration *m)
{
	m->ports->mover_stop(m->ports->context, m);
	m->ports->hang_up(m->ports->context, m);
	m->connected = false;
	m->is_signing = false;
	m->is_verifying = false;
	memcpy(m->last_digest, m->accept_digest, sizeof(m->last_digest));
	migration_enter(m, SRC_ASK);
	redial(m);
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

static void recover(Migration *m)
{
	Error cause = ERROR_INIT;

	m->offer_sent = true;
	m->adopting = true;
	if (m->record.cancel_owed && m->record.state != MIGRATION_ACTIVE &&
	    m->record.state != MIGRATION_STUCK) {
		migration_enter(m, SRC_OWES_CANCEL);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	if (m->record.committed) {
		AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);

		if (!store_statement(m->ports->store, m->record.id, STATEMENT_COMMIT, &cms,
				     m->last_digest, &cause))
			migration_log(m, true, "recovery: %s", cause.text);
		/* Should the VM come back after all, its hypervisor must be told to run it. */
		m->hv_migrating = true;
		migration_enter(m, SRC_COMMITTED);
		m->ports->hv(m->ports->context, m, HV_ADOPT);
		redial(m);
		return;
	}
	error_set(&cause, ERROR_UNAVAILABLE, "the engine was restarted in phase %s",
		  migration_phase_words[m->record.phase]);
	migration_note_error(m, &cause);
	m->hv_migrating = true;
	if (m->record.phase >= PHASE_TRANSFER)
		load_accept(m);
	m->ports->hv(m->ports->context, m, HV_ADOPT);
}

static void adopted(Migration *m, const Error *failure)
{
	Error cause = m->error;

	/* "No answer" is not "dead": a guest that may run is not given away. */
	if (failure && failure->category != ERROR_NOT_FOUND) {
		migration_log(m, true, "its hypervisor is not found yet: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->adopting = false;
	m->hv_gone = failure != NULL;
	if (m->step == SRC_COMMITTED)
		return;
	if (!m->hv_gone) {
		undo(m, &cause);
		return;
	}
	if (m->record.phase < PHASE_TRANSFER) {
		undo(m, failure);
		return;
	}
	ask(m);
}

static void state_answered(Migration *m, const PeerMessage *message)
{
	if (m->step != SRC_ASK)
		return;
	/* READY is followed by the ready statement itself, which decides. */
	if (message->state == PEER_STATE_UNKNOWN || message->state == PEER_STATE_DECLINED)
		give_up_asking(m);
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
	if (m->hv_gone)
		return error_set(err, ERROR_HYPERVISOR, "this host has no copy of the VM any more");
	m->record.committed = false;
	/* Written before the guest runs: a restart must not give it away once more. */
	if (!migration_journal_record(m, err)) {
		m->record.committed = true;
		return false;
	}
	migration_log(m, true, "RESOLVED BY A PERSON: run-here, the other copy is said to be dead");
	error_set(&cause, ERROR_CANCELLED, "resolved by a person: runs here");
	/* So that a cancel reaches the destination, should it live after all. */
	m->offer_sent = true;
	undo(m, &cause);
	return true;
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
		if (!migration_send(m, PEER_QUERY, &err))
			migration_log(m, true, "query was not sent: %s", err.text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case SRC_OWES_CANCEL:
		m->record.cancel_owed = !migration_send_reason(m, PEER_CANCEL, &m->error, &err);
		if (m->record.cancel_owed)
			m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		else
			migration_end(m, m->record.state);
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
	if (m->is_verifying || m->step == SRC_FINISH || m->step == SRC_QUESTION)
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
		undo(m, &err);
}

static void on_refused(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	error_set(&err, error_category_of_word(message->category), "%s: %s", m->record.peer_id,
		  message->text);
	if (m->step == SRC_COMMITTED || m->step == SRC_FINISH) {
		/* Only a signed declined gives the VM back. */
		migration_log(m, true, "%s", err.text);
		if (m->step == SRC_COMMITTED) {
			migration_note_error(m, &err);
			m->ports->notify(m->ports->context, m);
		}
		return;
	}
	if (m->step == SRC_ASK) {
		give_up_asking(m);
		return;
	}
	/* It has undone its side already. */
	m->offer_sent = false;
	undo(m, &err);
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
			open_channels(m);
			return;
		}
		break;
	case PEER_REFUSE:
		on_refused(m, message);
		return;
	case PEER_STATE:
		state_answered(m, message);
		return;
	default:
		break;
	}
	error_set(&err, ERROR_PEER, "message %s does not belong into step %s", peer_words[message->kind],
		  step_row(m->step)->name);
	if (step_row(m->step)->cancellable)
		undo(m, &err);
}

static void on_peer_closed(Migration *m, const Error *cause)
{
	switch ((int)m->step) {
	case SRC_COMMITTED:
	case SRC_ASK:
	case SRC_OWES_CANCEL:
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case SRC_FINISH:
	case SRC_UNDO:
		return;
	case SRC_QUESTION:
		if (m->hv_gone)
			return;
		break;
	default:
		break;
	}
	undo(m, cause);
}

static void on_exported(Migration *m)
{
	if (m->step == SRC_OFFER)
		make_offer(m);
}

static void on_signed(Migration *m, StatementKind kind, const NotarySigned *result)
{
	if (kind == STATEMENT_OFFER && m->step == SRC_OFFER) {
		send_offer(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == SRC_QUESTION) {
		m->commit = malloc(sizeof(*m->commit));
		if (m->commit) {
			*m->commit = *result;
			source_commit(m);
		} else {
			Error err = ERROR_INIT;

			error_set(&err, ERROR_INTERNAL, "no memory for the commit");
			undo(m, &err);
		}
	} else if (kind == STATEMENT_DESTROYED && m->step == SRC_FINISH) {
		send_destroyed(m, result);
	}
}

static void on_verified(Migration *m, StatementKind kind, const NotaryVerified *result)
{
	if (kind == STATEMENT_ACCEPT && m->step == SRC_ACCEPT)
		take_accept(m, result);
	else if (kind == STATEMENT_READY && (m->step == SRC_SWITCHOVER || m->step == SRC_ASK))
		ready_arrived(m, result);
	else if (kind == STATEMENT_ACTIVATED && m->step == SRC_COMMITTED)
		take_activated(m, result);
	else if (kind == STATEMENT_DECLINED && m->step == SRC_COMMITTED)
		take_declined(m, result);
}

static void on_trouble(Migration *m, const Error *cause)
{
	if (m->step == SRC_COMMITTED) {
		migration_log(m, true, "%s", cause->text);
	} else if (m->step == SRC_FINISH) {
		migration_log(m, true, "destroyed was not signed: %s", cause->text);
		m->destroyed_signed = true;
		finish_if_all(m);
	} else if (m->step == SRC_ASK) {
		migration_log(m, true, "%s", cause->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
	} else {
		undo(m, cause);
	}
}

static void on_mover_done(Migration *m)
{
	m->mover_done = true;
	if (m->step == SRC_FINISH)
		finish_if_all(m);
}

static void on_mover_failed(Migration *m, const Error *cause)
{
	/* Once ready is here the movers have done their work: the hypervisor's word decides. */
	if (m->step >= SRC_QUESTION)
		on_mover_done(m);
	/* Its own death explains all that follows; a broken channel may be explained by the peer. */
	else if (m->step >= SRC_CHANNELS && cause->category != ERROR_INTERNAL)
		suspect(m, cause);
	else
		undo(m, cause);
}

static void on_hv_done(Migration *m, HvOperation operation, const Error *failure)
{
	switch ((int)operation) {
	case HV_ADOPT:
		adopted(m, failure);
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
	default:
		/* cancel and cont: the next look at its state tells */
		return;
	}
}

static void on_hv_state(Migration *m, const HvState *state, const Error *failure)
{
	if (m->step == SRC_QUESTION)
		answer_of_hypervisor(m, state, failure);
	else if (m->step == SRC_UNDO)
		undo_answer(m, state, failure);
}

static void on_hv_status(Migration *m, HvStatus status)
{
	Error err = ERROR_INIT;

	if (m->step == SRC_TRANSFER && status == HV_PRE_SWITCHOVER && m->suspect.category) {
		undo(m, &m->suspect);
	} else if (m->step == SRC_TRANSFER && status == HV_PRE_SWITCHOVER) {
		/* No journal entry: until commit a restart undoes either way, and every
		 * millisecond here is downtime. */
		migration_enter(m, SRC_SWITCHOVER);
		m->ports->hv(m->ports->context, m, HV_CONTINUE);
	} else if ((m->step == SRC_TRANSFER || m->step == SRC_SWITCHOVER) &&
		   (status == HV_FAILED || status == HV_CANCELLED)) {
		error_set(&err, ERROR_HYPERVISOR, "our hypervisor's migration %s",
			  status == HV_FAILED ? "failed" : "was cancelled");
		suspect(m, m->suspect.category ? &m->suspect : &err);
	}
}

static void on_hv_resume(Migration *m)
{
	(void)m;
}

static void on_hv_gone(Migration *m, const Error *cause)
{
	Error death = ERROR_INIT;

	switch ((int)m->step) {
	case SRC_SWITCHOVER:
		/* If everything had left, ready is still to come; else the deadline ends it. */
		migration_log(m, true, "the hypervisor is gone in switchover: %s", cause->text);
		return;
	case SRC_QUESTION:
		/* The destination has the only copy. */
		m->hv_completed = true;
		source_commit(m);
		return;
	case SRC_FINISH:
		m->quit_done = true;
		finish_if_all(m);
		return;
	case SRC_NEW:
		if (m->adopting) {
			error_set(&death, ERROR_NOT_FOUND, "%s", cause->text);
			adopted(m, &death);
		}
		return;
	case SRC_COMMITTED:
	case SRC_ASK:
	case SRC_OWES_CANCEL:
		return;
	case SRC_UNDO:
		/* Whatever was being undone: this matters more. */
		error_set(&death, ERROR_HYPERVISOR, "the guest ended with its hypervisor: %.300s", cause->text);
		migration_clear_error(m);
		migration_note_error(m, &death);
		finish_undo(m);
		return;
	default:
		undo(m, cause);
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
		finish_if_all(m);
		return;
	}
	undo(m, cause);
}

static void on_tick(Migration *m)
{
	if (m->adopting)
		m->ports->hv(m->ports->context, m, HV_ADOPT);
	switch ((int)m->step) {
	case SRC_CHANNELS:
	case SRC_TRANSFER:
	case SRC_SWITCHOVER:
		undo(m, &m->suspect);
		return;
	case SRC_QUESTION:
		if (m->hv_gone)
			source_commit(m);
		else
			m->ports->hv_query(m->ports->context, m);
		return;
	case SRC_UNDO:
		m->attempts++;
		m->ports->hv_query(m->ports->context, m);
		return;
	case SRC_COMMITTED:
		if (m->connected)
			on_peer_open(m);
		else
			redial(m);
		return;
	case SRC_ASK:
		if (m->attempts >= ASK_ATTEMPTS && m->record.state != MIGRATION_STUCK)
			tell_stuck(m, "our copy of the VM is gone; the destination may have it and does not answer");
		if (m->connected)
			on_peer_open(m);
		else
			redial(m);
		return;
	case SRC_OWES_CANCEL:
		if (m->attempts >= CANCEL_ATTEMPTS)
			migration_end(m, m->record.state);
		else
			redial(m);
		return;
	default:
		return;
	}
}

static void cancel(Migration *m, const Error *cause)
{
	undo(m, cause);
}

const MigrationSide source_side = {
	.recover = recover,
	.cancel = cancel,
	.on_peer_open = on_peer_open,
	.on_peer_message = on_peer_message,
	.on_peer_closed = on_peer_closed,
	.on_exported = on_exported,
	.on_signed = on_signed,
	.on_verified = on_verified,
	.on_trouble = on_trouble,
	.on_mover_ready = send_key,
	.on_all_proven = all_proven,
	.on_mover_done = on_mover_done,
	.on_mover_failed = on_mover_failed,
	.on_hv_done = on_hv_done,
	.on_hv_state = on_hv_state,
	.on_hv_status = on_hv_status,
	.on_hv_resume = on_hv_resume,
	.on_hv_gone = on_hv_gone,
	.on_deadline = on_deadline,
	.on_tick = on_tick,
};
