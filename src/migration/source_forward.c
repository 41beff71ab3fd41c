/* SPDX-License-Identifier: Apache-2.0 */
/* The source leads: from the offer to the point of no return, and to destroyed. */
#include <string.h>

#include "crypto/random.h"
#include "migration/source.h"

/* --- begin --- */

void source_start(Migration *m)
{
	Error err = ERROR_INIT, ignored = ERROR_INIT;
	bool journalled = migration_journal_record(m, &err);

	if (!journalled || !m->ports->vm_changed(m->ports->context, m, VM_MIGRATING, &err)) {
		/* What could not be written may still be believed in memory. */
		if (journalled &&
		    !m->ports->vm_changed(m->ports->context, m, source_home_state(m), &ignored))
			migration_log(m, true, "cannot record the VM's state: %s", ignored.text);
		migration_note_error(m, &err);
		migration_end(m, MIGRATION_FAILED);
		return;
	}
	migration_log(m, false, "started to=%s vm=%s channels=%llu mode=%s manner=%s", m->record.peer_id,
		      m->record.vm, (unsigned long long)m->record.channels,
		      seal_mode_words[m->record.mode], move_manner_words[m->record.manner]);
	if (migration_is_cold(m))
		source_boot(m);
	else
		source_dial(m);
}

void source_dial(Migration *m)
{
	migration_enter(m, SRC_DIAL);
	m->dialling = true;
	m->ports->dial(m->ports->context, m);
	m->ports->mover_start(m->ports->context, m, m->record.channels);
}

void source_make_offer(Migration *m)
{
	Error err = ERROR_INIT;

	if (migration_wants_keys(&m->vm.manifest) && !m->keys_named) {
		migration_ask_keys(m, TRANSFER_NAME_KEYS, NULL);
		return;
	}
	m->ecdh = ecdh_key_new(&err);
	m->migration_key = m->ecdh ? random_secret(MIGRATION_KEY_BYTES, &err) : NULL;
	if (!m->migration_key) {
		source_undo(m, &err);
		return;
	}
	memset(&m->offer, 0, sizeof(m->offer));
	ecdh_key_public(m->ecdh, m->offer.share);
	m->offer.mode = m->record.mode;
	m->offer.channels = m->record.channels;
	m->offer.manifest = m->vm.manifest;
	m->offer.keys_count = m->record.keys_count;
	memcpy(m->offer.keys, m->record.keys, sizeof(m->offer.keys));
	m->offer.keep_keys = m->record.keep_keys;
	m->offer.manner = m->record.manner;
	migration_sign(m, &m->offer, STATEMENT_OFFER);
}

void source_send_offer(Migration *m, const NotarySigned *offer)
{
	Error err = ERROR_INIT;

	memcpy(m->offer_digest, offer->digest, sizeof(m->offer_digest));
	memcpy(m->last_digest, offer->digest, sizeof(m->last_digest));
	if (!migration_journal(m, STATEMENT_OFFER, offer, &err) ||
	    !migration_send_statement(m, STATEMENT_OFFER, offer->cms, offer->cms_size, &err)) {
		source_undo(m, &err);
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
void source_send_key(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != SRC_ACCEPT || !m->accept_verified || !m->mover_ready)
		return;
	migration_enter(m, SRC_KEY);
	if (!migration_setup_mover(m, m->accept.share, &err) || !migration_send(m, PEER_KEY, &err)) {
		source_undo(m, &err);
		return;
	}
	secret_free(TAKE_PTR(m->migration_key));
}

void source_take_accept(Migration *m, const NotaryVerified *verified)
{
	Error err = ERROR_INIT;

	if (!check_accept(m, &verified->statement, &err)) {
		source_undo(m, &err);
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
	if (!migration_set_permit(m, &err) ||
	    !migration_journal(m, STATEMENT_ACCEPT, m->received, &err)) {
		source_undo(m, &err);
		return;
	}
	source_send_key(m);
}

void source_open_channels(Migration *m)
{
	RolePreamble preamble = { .generation = 0 };

	migration_enter(m, SRC_CHANNELS);
	memcpy(preamble.routing, m->accept.routing, sizeof(preamble.routing));
	m->ports->open_channels(m->ports->context, m, &preamble, m->record.channels);
}

/* --- transfer, switchover --- */

void source_ready_arrived(Migration *m, const NotaryVerified *ready)
{
	Statement statement;

	m->record.ready = true;
	memcpy(m->last_digest, ready->digest, sizeof(m->last_digest));
	m->hv_completed = m->hv_gone && !m->went_on;
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
void source_commit(Migration *m)
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
		source_undo(m, &err);
		return;
	}
	memcpy(m->last_digest, m->commit->digest, sizeof(m->last_digest));
	/* What the commit answers is kept once the guest does not wait for it any more. */
	m->ready = TAKE_PTR(m->received);
	migration_enter(m, SRC_COMMITTED);
	if (m->connected &&
	    !migration_send_statement(m, STATEMENT_COMMIT, m->commit->cms, m->commit->cms_size, &err))
		migration_log(m, true, "commit was not sent: %s", err.text);
	m->ports->set_tick(m->ports->context, m, COMMIT_AGAIN_MS);
	if (!m->ports->vm_changed(m->ports->context, m, VM_HELD, &err))
		migration_log(m, true, "cannot record that the VM is held: %s", err.text);
}

void source_answer_of_hypervisor(Migration *m, const HvState *state, const Error *failure)
{
	Error err = ERROR_INIT;

	if (failure && m->hv_gone)
		return;
	if (failure) {
		/* Perhaps it just died, and the news come next: then the destination has the only
		 * copy and must not be told to drop it. The deadline bounds the doubt. */
		m->ports->set_tick(m->ports->context, m, SUSPECT_TICK_MS);
		return;
	}
	if (state->status == HV_COMPLETED && state->run_state == HV_POSTMIGRATE) {
		m->hv_completed = true;
		source_commit(m);
		return;
	}
	if (state->status == HV_FAILED || state->status == HV_CANCELLED || state->status == HV_NONE ||
	    state->run_state == HV_RUNNING) {
		error_set(&err, m->suspect.category ? m->suspect.category : ERROR_HYPERVISOR,
			  "the destination is ready, but our hypervisor's migration failed%s%.300s",
			  m->suspect.category ? ": " : "", m->suspect.text);
		source_undo(m, &err);
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
	migration_take_guard_stats(m);
}

/* Given away, and the VM is free of this migration; but its keys here still open it. */
void source_owe_keys(Migration *m, MigrationState state)
{
	Error ignored = ERROR_INIT;

	m->record.state = state;
	migration_enter(m, SRC_OWES_KEYS);
	if (!migration_journal_record(m, &ignored))
		migration_log(m, true, "goes on without the journal");
	migration_log(m, true, "THE KEYS ARE NOT DESTROYED YET: %s is asked for its receipt",
		      m->record.peer_id);
	m->ports->notify(m->ports->context, m);
	m->ports->set_tick(m->ports->context, m, migration_backoff_ms(m));
}

void source_finish_if_all(Migration *m)
{
	Error ignored = ERROR_INIT;

	if (!m->quit_done || !m->destroyed_signed || !m->mover_done || m->step != SRC_FINISH ||
	    (m->record.keys_moving && !m->late))
		return;
	fill_report_of_mover(m);
	/* Without it a person could start the VM here again. */
	if (!m->ports->vm_changed(m->ports->context, m, VM_MOVED, &ignored)) {
		migration_log(m, true, "cannot record that the VM moved: %s", ignored.text);
		m->ports->set_tick(m->ports->context, m, FINISH_AGAIN_MS);
		return;
	}
	m->ports->mover_stop(m->ports->context, m);
	migration_log(m, false, "done downtime_us=%llu total_us=%llu bytes=%llu",
		      (unsigned long long)m->record.report.downtime_us,
		      (unsigned long long)m->record.report.total_us,
		      (unsigned long long)m->record.report.stream_bytes);
	if (m->record.keys_moving) {
		source_owe_keys(m, MIGRATION_OK);
		return;
	}
	migration_end(m, MIGRATION_OK);
}

void source_take_activated(Migration *m, const NotaryVerified *activated)
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
	if (m->ready && !migration_journal(m, STATEMENT_READY, m->ready, &ignored))
		migration_log(m, true, "the destination's ready is not kept");
	m->quit_done = m->hv_gone;
	/* After a restart there is no mover to wait for. */
	m->mover_done = m->mover_done || !m->mover_ready;
	if (!m->quit_done)
		m->ports->hv(m->ports->context, m, HV_QUIT);
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_DESTROYED);
	source_release_early(m);
}

void source_send_destroyed(Migration *m, const NotarySigned *destroyed)
{
	Error ignored = ERROR_INIT;

	if (!migration_journal(m, STATEMENT_DESTROYED, destroyed, &ignored))
		migration_log(m, true, "goes on without the journal");
	/* A courtesy: without it the destination finishes by its deadline. */
	if (m->connected && !migration_send_statement(m, STATEMENT_DESTROYED, destroyed->cms,
						      destroyed->cms_size, &ignored))
		migration_log(m, true, "destroyed was not sent: %s", ignored.text);
	m->destroyed_signed = true;
	source_finish_if_all(m);
}

/* The destination hands the VM back; it never ran there. */
void source_take_declined(Migration *m, const NotaryVerified *declined)
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
	/* What was said while it was stuck is not the reason. */
	migration_clear_error(m);
	source_undo(m, &cause);
}
