/* SPDX-License-Identifier: Apache-2.0 */
/* The destination follows: from the offer to activated. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "migration/destination.h"

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
	memcpy(m->record.keys, offer->keys, sizeof(m->record.keys));
	m->record.keys_count = offer->keys_count;
	m->record.keep_keys = offer->keep_keys;
	m->record.manner = offer->manner;
}

void destination_take_offer(Migration *m, const NotaryVerified *verified)
{
	Error err = ERROR_INIT;
	const Statement *offer = &verified->statement;

	memcpy(m->record.id, offer->migration, sizeof(m->record.id));
	if (!admission_judge(m, offer, &err)) {
		destination_undo(m, &err);
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
		destination_undo(m, &err);
		return;
	}
	migration_log(m, false, "offer from=%s vm=%s memory_mib=%llu mode=%s manner=%s", m->record.peer_id,
		      m->record.vm, (unsigned long long)(m->record.booked_bytes >> 20),
		      seal_mode_words[m->record.mode], move_manner_words[m->record.manner]);
	m->ports->export_secret(m->ports->context, m);
	m->ports->mover_start(m->ports->context, m, m->record.channels);
	m->ports->hv(m->ports->context, m, HV_PREPARE);
}

/* --- prepare --- */

void destination_accept_if_reserved(Migration *m)
{
	Error err = ERROR_INIT;

	if (m->step != DST_RESERVE || !m->hv_prepared || !m->mover_ready || !m->exported)
		return;
	migration_enter(m, DST_ACCEPT);
	m->ecdh = ecdh_key_new(&err);
	memset(&m->accept, 0, sizeof(m->accept));
	if (!m->ecdh || !random_bytes(m->accept.routing, sizeof(m->accept.routing), &err)) {
		destination_undo(m, &err);
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

uint64_t destination_lease_tick_ms(const Migration *m)
{
	return (uint64_t)m->ports->policy->lease_s * 1000 / 4 + 1;
}

void destination_send_accept(Migration *m, const NotarySigned *accept)
{
	Error err = ERROR_INIT;

	memcpy(m->accept_digest, accept->digest, sizeof(m->accept_digest));
	memcpy(m->last_digest, accept->digest, sizeof(m->last_digest));
	/* Populated memory is not free any more: booked as well it would count twice. */
	if (m->accept.populated)
		m->record.booked_bytes = 0;
	migration_enter(m, DST_KEY);
	/* The offer is kept as evidence of what was agreed on: it was the last that was verified. */
	if (!migration_set_permit(m, &err) || !migration_journal(m, STATEMENT_ACCEPT, accept, &err) ||
	    !migration_journal(m, STATEMENT_OFFER, m->received, &err) ||
	    !migration_send_statement(m, STATEMENT_ACCEPT, accept->cms, accept->cms_size, &err))
		destination_undo(m, &err);
}

void destination_take_key(Migration *m, const PeerMessage *message)
{
	Error err = ERROR_INIT;

	m->migration_key = secret_new_from(message->key, sizeof(message->key), &err);
	if (!m->migration_key || !migration_setup_mover(m, m->offer.share, &err)) {
		destination_undo(m, &err);
		return;
	}
	secret_free(TAKE_PTR(m->migration_key));
	migration_enter(m, DST_CHANNELS);
	if (!migration_send(m, PEER_KEYED, &err))
		destination_undo(m, &err);
}

/* --- switchover --- */

void destination_look_if_loaded(Migration *m, const HvState *state, const Error *failure)
{
	Statement statement;
	Error err = ERROR_INIT;
	bool wait = false;

	if (failure) {
		destination_undo(m, failure);
		return;
	}
	if (state->status == HV_FAILED || state->run_state == HV_RUNNING) {
		error_set(&err, ERROR_HYPERVISOR, "the hypervisor here could not load the VM");
		destination_undo(m, &err);
		return;
	}
	m->hv_completed |= state->status == HV_COMPLETED;
	if (!m->hv_completed)
		return;
	if (!destination_stands(m, state, &wait, &err)) {
		destination_undo(m, &err);
		return;
	}
	if (wait) {
		/* The event comes a moment before the run state follows. */
		m->ports->set_tick(m->ports->context, m, STATE_TICK_MS);
		return;
	}
	if (!destination_check_disks(m, &err)) {
		destination_undo(m, &err);
		return;
	}
	migration_enter(m, DST_SIGN_READY);
	memset(&statement, 0, sizeof(statement));
	migration_sign(m, &statement, STATEMENT_READY);
}

void destination_send_ready(Migration *m, const NotarySigned *ready)
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

void destination_decline(Migration *m, const char *reason)
{
	Statement statement;

	migration_log(m, true, "declines: %s", reason);
	migration_enter(m, DST_DECLINING);
	memset(&statement, 0, sizeof(statement));
	snprintf(statement.reason, sizeof(statement.reason), "%s", reason);
	migration_sign(m, &statement, STATEMENT_DECLINED);
}

/* The journal entry in here is the destination's point of no return. */
void destination_take_commit(Migration *m, const NotaryVerified *commit)
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
	if (migration_is_cold(m))
		destination_settle(m);
	else
		m->ports->hv(m->ports->context, m, HV_CONT);
}

void destination_take_late_commit(Migration *m, const NotaryVerified *commit)
{
	memcpy(m->last_digest, commit->digest, sizeof(m->last_digest));
	destination_decline(m, m->error.category ? m->error.text : "the reservation was undone");
}

void destination_running(Migration *m)
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

void destination_send_activated(Migration *m, const NotarySigned *activated)
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
	if (!m->ports->vm_changed(m->ports->context, m, migration_is_cold(m) ? VM_STOPPED : VM_RUNNING, &err))
		migration_log(m, true, "cannot record that the VM is here: %s", err.text);
	migration_log(m, false, "activated resume_us=%llu",
		      (unsigned long long)m->record.report.resume_us);
	destination_activate_keys(m);
}

void destination_finish_if_all(Migration *m)
{
	bool heard = m->destroyed_heard && (!m->record.keys_count || m->released);
	bool judges = m->keys_asked || m->is_verifying;

	if (m->step == DST_ACTIVE && !m->record.keys_moving && (heard || (m->late && !judges)))
		destination_finish(m);
}

void destination_finish(Migration *m)
{
	m->record.report.stream_bytes = m->stats.stream_in_bytes;
	m->record.report.wire_bytes = m->stats.wire_out_bytes + m->stats.wire_in_bytes;
	m->record.report.mover_cpu_us = m->stats.cpu_us;
	m->record.report.mover_peak_bytes = m->stats.peak_memory_bytes;
	migration_take_guard_stats(m);
	m->ports->mover_stop(m->ports->context, m);
	migration_end(m, m->died && !m->died_active ? MIGRATION_FAILED : MIGRATION_OK);
}
