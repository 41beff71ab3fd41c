/* SPDX-License-Identifier: Apache-2.0 */
/* The destination's side: it follows, until it holds the commit. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "migration/internal.h"

enum {
	STATE_TICK_MS = 2,
	CONT_ATTEMPTS = 8, /* until a person is told; it goes on trying */
	SIGN_PATIENCE_MS = 5000,
	UNDO_AGAIN_MS = 5000,
};

static void undo(Migration *m, const Error *cause);

/* --- begin --- */

static void fill_vm(Migration *m, const Statement *offer)
{
	memset(&m->vm, 0, sizeof(m->vm));
	snprintf(m->vm.name, sizeof(m->vm.name), "%s", offer->manifest.name);
	snprintf(m->vm.owner, sizeof(m->vm.owner), "%s", offer->owner);
	m->vm.epoch = offer->epoch;
	m->vm.state = VM_INCOMING;
	m->vm.mode = offer->mode;
	m->vm.manifest = offer->manifest;
	m->has_vm = true;
}

static void fill_record(Migration *m, const Statement *offer)
{
	const MigrationPolicy *policy = m->ports->policy;

	memcpy(m->record.id, offer->migration, sizeof(m->record.id));
	snprintf(m->record.vm, sizeof(m->record.vm), "%s", offer->manifest.name);
	snprintf(m->record.uuid, sizeof(m->record.uuid), "%s", offer->vm);
	snprintf(m->record.owner, sizeof(m->record.owner), "%s", offer->owner);
	m->record.epoch = offer->epoch;
	m->record.mode = offer->mode;
	if (offer->mode == SEAL_OPPORTUNISTIC)
		m->record.mode = policy->forbid_encryption ? SEAL_DISABLED : SEAL_REQUIRED;
	m->record.channels = offer->channels < policy->max_channels ? offer->channels :
								       policy->max_channels;
	/* One multifd channel beside main would only add a thread. */
	if (m->record.channels == 2)
		m->record.channels = 1;
	m->record.booked_bytes = offer->manifest.memory_bytes;
}

static void take_offer(Migration *m, const NotaryVerified *verified)
{
	Error err = ERROR_INIT;
	const Statement *offer = &verified->statement;

	memcpy(m->record.id, offer->migration, sizeof(m->record.id));
	if (!admission_judge(m, offer, &err)) {
		undo(m, &err);
		return;
	}
	m->offer = *offer;
	memcpy(m->offer_digest, verified->digest, sizeof(m->offer_digest));
	memcpy(m->last_digest, verified->digest, sizeof(m->last_digest));
	fill_record(m, offer);
	fill_vm(m, offer);
	migration_enter(m, DST_RESERVE);
	if (!migration_journal_record(m, &err) ||
	    !m->ports->vm_changed(m->ports->context, m, VM_INCOMING, &err)) {
		undo(m, &err);
		return;
	}
	migration_log(m, false, "offer from=%s vm=%s memory_mib=%llu mode=%s", m->record.peer_id,
		      m->record.vm, (unsigned long long)(m->record.booked_bytes >> 20),
		      seal_mode_words[m->record.mode]);
	m->ports->export_secret(m->ports->context, m);
	m->ports->mover_start(m->ports->context, m, m->record.channels);
	m->ports->hv(m->ports->context, m, HV_PREPARE);
}

/* --- prepare --- */

static void accept_if_reserved(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != DST_RESERVE || !m->hv_prepared || !m->mover_ready || !m->exported)
		return;
	migration_enter(m, DST_ACCEPT);
	m->ecdh = ecdh_key_new(&err);
	memset(&m->accept, 0, sizeof(m->accept));
	if (!m->ecdh || !random_bytes(m->accept.routing, sizeof(m->accept.routing), &err)) {
		undo(m, &err);
		return;
	}
	ecdh_key_public(m->ecdh, m->accept.share);
	m->accept.mode = m->record.mode;
	m->accept.channels = m->record.channels;
	m->accept.lease_s = m->ports->policy->lease_s;
	m->accept.memory_bytes = m->vm.manifest.memory_bytes;
	m->accept.populated = m->vm.manifest.populate == POPULATE_FULL;
	m->accept.populate_us = m->record.report.populate_us;
	m->accept.forbids_encryption = m->ports->policy->forbid_encryption;
	migration_sign(m, &m->accept, STATEMENT_ACCEPT);
}

static uint64_t lease_tick_ms(const Migration *m)
{
	return (uint64_t)m->ports->policy->lease_s * 1000 / 4 + 1;
}

static void send_accept(Migration *m, const NotarySigned *accept)
{
	Error err = ERROR_INIT;

	memcpy(m->accept_digest, accept->digest, sizeof(m->accept_digest));
	memcpy(m->last_digest, accept->digest, sizeof(m->last_digest));
	/* Populated memory is not free any more: booked as well it would count twice. */
	if (m->accept.populated)
		m->record.booked_bytes = 0;
	migration_enter(m, DST_KEY);
	if (!migration_journal(m, STATEMENT_ACCEPT, accept, &err) ||
	    !migration_send_statement(m, STATEMENT_ACCEPT, accept->cms, accept->cms_size, &err))
		undo(m, &err);
}

static void take_key(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	m->migration_key = secret_new_from(message->key, sizeof(message->key), &err);
	if (!m->migration_key || !migration_setup_mover(m, m->offer.share, &err)) {
		undo(m, &err);
		return;
	}
	secret_free(TAKE_PTR(m->migration_key));
	migration_enter(m, DST_CHANNELS);
	if (!migration_send(m, PEER_KEYED, &err))
		undo(m, &err);
}

static void all_proven(Migration *m)
{
	if (m->step != DST_CHANNELS)
		return;
	migration_enter(m, DST_LOADING);
	m->ports->set_tick(m->ports->context, m, lease_tick_ms(m));
	m->ports->hv(m->ports->context, m, HV_LISTEN);
}

/* --- switchover --- */

static void look_if_loaded(Migration *m, const HvState *state, const Error *failure)
{
	Statement statement;
	Error err = ERROR_INIT;

	if (failure) {
		undo(m, failure);
		return;
	}
	if (state->status == HV_FAILED || state->run_state == HV_RUNNING) {
		error_set(&err, ERROR_HYPERVISOR, "the hypervisor here could not load the VM");
		undo(m, &err);
		return;
	}
	m->hv_completed |= state->status == HV_COMPLETED;
	if (!m->hv_completed)
		return;
	if (state->run_state != HV_PAUSED) {
		/* The event comes a moment before the run state follows. */
		m->ports->set_tick(m->ports->context, m, STATE_TICK_MS);
		return;
	}
	migration_enter(m, DST_SIGN_READY);
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_READY);
}

static void send_ready(Migration *m, const NotarySigned *ready)
{
	Error err = ERROR_INIT;

	memcpy(m->last_digest, ready->digest, sizeof(m->last_digest));
	m->record.ready = true;
	migration_enter(m, DST_READY);
	/* Sent first, written while it travels. Should we crash in between, the journal says that we
	 * are not ready, the reservation is undone, and a commit that comes gets a signed declined. */
	if (!migration_send_statement(m, STATEMENT_READY, ready->cms, ready->cms_size, &err))
		migration_log(m, true, "ready was not sent; the source will ask: %s", err.text);
	if (!migration_journal(m, STATEMENT_READY, ready, &err))
		migration_log(m, true, "ready is not in the journal: a restart would undo");
}

/* --- commit --- */

static void decline(Migration *m, const char *reason)
{
	Statement statement;

	migration_log(m, true, "declines: %s", reason);
	migration_enter(m, DST_DECLINING);
	memset(&statement, 0, sizeof(statement));
	snprintf(statement.reason, sizeof(statement.reason), "%s", reason);
	migration_sign(m, &statement, STATEMENT_DECLINED);
}

/* The journal entry in here is the destination's point of no return. */
static void take_commit(Migration *m, const NotaryVerified *commit)
{
	Error err = ERROR_INIT;

	memcpy(m->last_digest, commit->digest, sizeof(m->last_digest));
	m->record.activating = true;
	m->record.committed = true;
	m->record.state = MIGRATION_ACTIVE;
	m->record.phase = PHASE_COMMIT;
	if (!migration_journal(m, STATEMENT_COMMIT, m->received, &err)) {
		m->record.activating = false;
		m->record.committed = false;
		migration_note_error(m, &err);
		/* Dead before declined is said: then it can never run here. */
		m->ports->hv(m->ports->context, m, HV_KILL);
		return;
	}
	migration_enter(m, DST_ACTIVATING);
	m->ports->hv(m->ports->context, m, HV_CONT);
}

static void take_late_commit(Migration *m, const NotaryVerified *commit)
{
	memcpy(m->last_digest, commit->digest, sizeof(m->last_digest));
	decline(m, m->error.category ? m->error.text : "the reservation was undone");
}

static void running(Migration *m)
{
	Statement statement;
	int64_t now = m->resume_us ? m->resume_us : migration_now_us(m);

	if (m->step != DST_ACTIVATING || m->is_signing)
		return;
	memset(&statement, 0, sizeof(statement));
	if (m->commit_received_us && now > m->commit_received_us)
		statement.resume_us = (uint64_t)(now - m->commit_received_us);
	m->record.report.resume_us = statement.resume_us;
	/* A notary that does not answer is asked again. */
	m->ports->set_tick(m->ports->context, m, SIGN_PATIENCE_MS);
	migration_sign(m, &statement, STATEMENT_ACTIVATED);
	m->ports->hv(m->ports->context, m, HV_ANNOUNCE);
}

static void send_activated(Migration *m, const NotarySigned *activated)
{
	Error err = ERROR_INIT;

	/* The source counts downtime until this arrives; a crash before the journal entry only means
	 * that recovery finds the guest running and signs again. */
	if (m->connected && !migration_send_statement(m, STATEMENT_ACTIVATED, activated->cms,
						      activated->cms_size, &err))
		migration_log(m, true, "activated was not sent: %s", err.text);
	m->record.state = MIGRATION_ACTIVE;
	/* A source that did not hear it asks for it later, perhaps much later. */
	if (!migration_journal(m, STATEMENT_ACTIVATED, activated, &err)) {
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	memcpy(m->last_digest, activated->digest, sizeof(m->last_digest));
	migration_enter(m, DST_ACTIVE);
	if (!m->ports->vm_changed(m->ports->context, m, VM_RUNNING, &err))
		migration_log(m, true, "cannot record that the VM runs here: %s", err.text);
	migration_log(m, false, "activated resume_us=%llu",
		      (unsigned long long)m->record.report.resume_us);
}

static void finish(Migration *m)
{
	m->record.report.stream_bytes = m->stats.stream_in_bytes;
	m->record.report.wire_bytes = m->stats.wire_out_bytes + m->stats.wire_in_bytes;
	m->record.report.mover_cpu_us = m->stats.cpu_us;
	m->record.report.mover_peak_bytes = m->stats.peak_memory_bytes;
	m->record.report.guard_us = m->stats.guard_us;
	m->record.report.guard_warnings = m->stats.guard_warnings;
	m->ports->mover_stop(m->ports->context, m);
	migration_end(m, MIGRATION_OK);
}

/* --- undo --- */

static void undone(Migration *m)
{
	Error err = ERROR_INIT;
	bool cancelled = m->error.category == ERROR_CANCELLED;

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
static void undo(Migration *m, const Error *cause)
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
		/* Recovered, and its VM never came as far as the store. */
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

static void killed(Migration *m)
{
	if (m->step == DST_COMMIT)
		decline(m, m->error.text);
	else if (m->step == DST_UNDO)
		undone(m);
}

/* --- recovery and the peer that asks again --- */

static void recover(Migration *m)
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
		undo(m, &cause);
		return;
	}
	if (!store_statement(m->ports->store, m->record.id, last, &cms, m->last_digest, &err))
		migration_log(m, true, "recovery: %s", err.text);
	migration_enter(m, DST_ADOPT);
	m->adopting = true;
	m->ports->hv(m->ports->context, m, HV_ADOPT);
}

/* It ran here, or may have: it cannot be declined, and its epoch stays. */
static void ended_here(Migration *m, const Error *cause)
{
	Error err = ERROR_INIT;

	error_set(&err, ERROR_HYPERVISOR, "the VM ended here: %.300s", cause->text);
	migration_note_error(m, &err);
	migration_log(m, true, "%s", err.text);
	if (!m->ports->vm_changed(m->ports->context, m, VM_STOPPED, &err))
		migration_log(m, true, "cannot record that the VM stopped: %s", err.text);
	m->ports->mover_stop(m->ports->context, m);
	migration_end(m, m->step == DST_ACTIVE ? MIGRATION_OK : MIGRATION_FAILED);
}

static void adopted(Migration *m, const Error *failure)
{
	/* "No answer" is not "dead". */
	if (failure && failure->category != ERROR_NOT_FOUND) {
		migration_log(m, true, "its hypervisor is not found yet: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	}
	m->adopting = false;
	if (failure && m->record.activating) {
		ended_here(m, failure);
		return;
	}
	if (failure) {
		m->hv_gone = true;
		undo(m, failure);
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

static void answer_query(Migration *m)
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
}

/* A commit that comes again, or too late: whatever was said before is said again. */
static void commit_again(Migration *m, const PeerMessage *message)
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

/* --- events --- */

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
			commit_again(m, message);
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
		undo(m, &err);
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
		undo(m, &err);
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
			take_key(m, message);
			return;
		}
		break;
	case PEER_CANCEL:
		on_cancel(m, message);
		return;
	case PEER_QUERY:
		answer_query(m);
		return;
	default:
		break;
	}
	error_set(&err, ERROR_PEER, "message %s does not belong into step %s", peer_words[message->kind],
		  step_row(m->step)->name);
	if (m->step < DST_READY)
		undo(m, &err);
}

static void on_peer_closed(Migration *m, const Error *cause)
{
	/* Loaded: ours may be the only copy. Only the source's word ends it; it will dial again. */
	if (m->step < DST_LOADING || (m->step == DST_LOADING && !m->hv_completed))
		undo(m, cause);
	else if (m->step == DST_ACTIVE)
		finish(m);
	else if (m->step == DST_ENDED_ASKED)
		m->ended = true;
}

static void on_signed(Migration *m, StatementKind kind, const NotarySigned *result)
{
	Error err = ERROR_INIT;

	if (kind == STATEMENT_ACCEPT && m->step == DST_ACCEPT) {
		send_accept(m, result);
	} else if (kind == STATEMENT_READY && (m->step == DST_SIGN_READY || m->step == DST_READY)) {
		send_ready(m, result);
	} else if (kind == STATEMENT_ACTIVATED && m->step == DST_ACTIVATING) {
		send_activated(m, result);
	} else if (kind == STATEMENT_DECLINED && m->step == DST_DECLINING) {
		m->record.declined = true;
		if (!migration_journal(m, STATEMENT_DECLINED, result, &err))
			migration_log(m, true, "declined is not in the journal; it would be said again");
		if (!m->connected || !migration_send_statement(m, STATEMENT_DECLINED, result->cms,
							       result->cms_size, &err))
			migration_log(m, true, "declined was not sent; the source will ask");
		undone(m);
	}
}

static void on_verified(Migration *m, StatementKind kind, const NotaryVerified *result)
{
	if (kind == STATEMENT_OFFER && m->step == DST_OFFER) {
		take_offer(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == DST_COMMIT) {
		/* Dead before it was committed to: it never ran here. */
		if (m->hv_gone)
			take_late_commit(m, result);
		else
			take_commit(m, result);
	} else if (kind == STATEMENT_COMMIT && m->step == DST_ENDED_ASKED) {
		take_late_commit(m, result);
	} else if (kind == STATEMENT_DESTROYED && m->step == DST_ACTIVE) {
		finish(m);
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
			undo(m, cause);
		return;
	case DST_ACTIVATING:
		migration_log(m, true, "activated could not be signed: %s", cause->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case DST_READY:
	case DST_ACTIVE:
	case DST_ADOPT:
		migration_log(m, true, "%s", cause->text);
		return;
	case DST_DECLINING:
		migration_log(m, true, "declined could not be signed: %s", cause->text);
		undone(m);
		return;
	case DST_ENDED_ASKED:
		migration_log(m, true, "%s", cause->text);
		m->ended = true;
		m->ports->hang_up(m->ports->context, m);
		return;
	default:
		undo(m, cause);
	}
}

static void on_mover_failed(Migration *m, const Error *cause)
{
	/* Loaded is loaded: afterwards the movers have done their work. */
	if (m->step < DST_SIGN_READY)
		undo(m, cause);
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
			undo(m, failure);
		else
			accept_if_reserved(m);
		return;
	case HV_LISTEN:
		if (failure && m->step == DST_LOADING)
			undo(m, failure);
		return;
	case HV_CONT:
		if (m->step != DST_ACTIVATING)
			return;
		if (failure)
			cont_failed(m, failure);
		else
			running(m);
		return;
	case HV_KILL:
		if (!failure) {
			killed(m);
			return;
		}
		migration_log(m, true, "cannot end the hypervisor: %s", failure->text);
		m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
		return;
	case HV_ADOPT:
		adopted(m, failure);
		return;
	default:
		return;
	}
}

static void on_hv_state(Migration *m, const HvState *state, const Error *failure)
{
	if (m->step == DST_LOADING)
		look_if_loaded(m, state, failure);
	else if (m->step == DST_ACTIVATING && failure)
		cont_failed(m, failure);
	else if (m->step == DST_ACTIVATING && state->run_state == HV_RUNNING)
		running(m);
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
		undo(m, &err);
	}
}

static void on_hv_resume(Migration *m)
{
	running(m);
}

static void on_hv_gone(Migration *m, const Error *cause)
{
	Error gone = ERROR_INIT;

	switch ((int)m->step) {
	case DST_COMMIT:
		migration_note_error(m, cause);
		if (!m->is_verifying)
			killed(m);
		return;
	case DST_UNDO:
		killed(m);
		return;
	case DST_ACTIVATING:
	case DST_ACTIVE:
		ended_here(m, cause);
		return;
	case DST_ADOPT:
		error_set(&gone, ERROR_NOT_FOUND, "%s", cause->text);
		adopted(m, &gone);
		return;
	case DST_DECLINING:
		return;
	default:
		undo(m, cause);
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
		finish(m);
		return;
	case DST_ENDED_ASKED:
		m->ended = true;
		m->ports->hang_up(m->ports->context, m);
		return;
	case DST_UNDO:
		undone(m);
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
		undo(m, cause);
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
	if (m->step == DST_ACTIVATING)
		m->is_signing = false;
	if (m->step == DST_ACTIVATING || (m->step == DST_LOADING && m->hv_completed))
		m->ports->hv_query(m->ports->context, m);
	if (m->step != DST_LOADING || m->hv_completed)
		return;
	m->ports->set_tick(m->ports->context, m, lease_tick_ms(m));
	if (silent_us > (int64_t)m->ports->policy->lease_s * 1000000) {
		error_set(&err, ERROR_TIMEOUT, "nothing from the source for %u s: the lease ends",
			  m->ports->policy->lease_s);
		undo(m, &err);
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
	undo(m, &cause);
	return true;
}

static void cancel(Migration *m, const Error *cause)
{
	undo(m, cause);
}

const MigrationSide destination_side = {
	.recover = recover,
	.cancel = cancel,
	.on_peer_open = on_peer_open,
	.on_peer_message = on_peer_message,
	.on_peer_closed = on_peer_closed,
	.on_exported = accept_if_reserved,
	.on_signed = on_signed,
	.on_verified = on_verified,
	.on_trouble = on_trouble,
	.on_mover_ready = accept_if_reserved,
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
