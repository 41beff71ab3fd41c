/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "migration/internal.h"
#include "wire/keys.h"

enum { STATEMENT_LIFE_S = 30 * 86400, BACKOFF_FIRST_MS = 250, BACKOFF_MAX_MS = 15000, END_AGAIN_MS = 5000 };

static const MigrationSide *side(const Migration *m)
{
	return m->record.role == MIGRATION_SOURCE ? &source_side : &destination_side;
}

int64_t migration_now_us(const Migration *m)
{
	return clock_monotonic_us(m->ports->clock);
}

void migration_log(Migration *m, bool warning, const char *format, ...)
{
	char text[LIMIT_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	m->ports->log(m->ports->context, m, warning, text);
}

static uint64_t deadline_of(const Migration *m, Step step)
{
	if (step == SRC_DISKS || step == SRC_TRANSFER || step == DST_LOADING)
		return m->ports->policy->transfer_ms;
	return step_row(step)->deadline_ms;
}

void migration_enter(Migration *m, Step step)
{
	const StepRow *row = step_row(step);
	bool new_phase = row->phase != m->record.phase;

	m->step = step;
	m->entered_us = migration_now_us(m);
	m->attempts = 0;
	/* What a notary may still answer belongs to the step that asked: one that never answers must
	 * not keep later steps from asking. */
	m->is_signing = false;
	m->is_verifying = false;
	m->record.phase = row->phase;
	m->ports->set_deadline(m->ports->context, m, deadline_of(m, step));
	m->ports->set_tick(m->ports->context, m, 0);
	if (new_phase)
		m->ports->notify(m->ports->context, m);
}

bool migration_journal(Migration *m, StatementKind kind, const NotarySigned *stored, Error *err)
{
	StoredStatement statement;

	statement = (StoredStatement){ .kind = kind };
	if (stored) {
		statement.cms = stored->cms;
		statement.cms_size = stored->cms_size;
		memcpy(statement.digest, stored->digest, sizeof(statement.digest));
	}
	if (store_journal(m->ports->store, &m->record, stored ? &statement : NULL, err))
		return true;
	migration_log(m, true, "journal: %s", err->text);
	return false;
}

bool migration_journal_record(Migration *m, Error *err)
{
	return migration_journal(m, STATEMENT_OFFER, NULL, err);
}

void migration_note_error(Migration *m, const Error *cause)
{
	if (m->error.category)
		return;
	m->error = *cause;
	m->record.category = (uint64_t)cause->category;
	snprintf(m->record.error, sizeof(m->record.error), "%s", cause->text);
}

void migration_clear_error(Migration *m)
{
	m->error = ERROR_INIT;
	m->record.category = 0;
	m->record.error[0] = '\0';
}

void migration_end(Migration *m, MigrationState state)
{
	m->record.state = state;
	m->record.booked_bytes = 0;
	m->record.ended_s = (uint64_t)clock_wall_s(m->ports->clock);
	migration_enter(m, m->record.role == MIGRATION_SOURCE ? SRC_DONE : DST_DONE);
	if (state == MIGRATION_OK)
		forecast_finish(&m->forecast, m->record.report.stream_bytes, m->record.report.stream_us);
	m->ports->notify(m->ports->context, m);
	m->ports->hang_up(m->ports->context, m);
	m->connected = false;
	migration_try_to_end(m);
}

/* Bookings and "is being migrated" are read from the journal: an end that is not in it is none. */
void migration_try_to_end(Migration *m)
{
	Error ignored = ERROR_INIT;

	m->ended = migration_journal_record(m, &ignored);
	if (!m->ended)
		m->ports->set_tick(m->ports->context, m, END_AGAIN_MS);
}

void migration_sign(Migration *m, Statement *statement, StatementKind kind)
{
	Error err = ERROR_INIT;

	statement->kind = kind;
	statement->version = PEER_VERSION_MAX;
	statement->version_min = PEER_VERSION_MIN;
	statement->version_max = PEER_VERSION_MAX;
	memcpy(statement->migration, m->record.id, sizeof(statement->migration));
	memcpy(statement->previous, m->last_digest, sizeof(statement->previous));
	snprintf(statement->vm, sizeof(statement->vm), "%s", m->record.uuid);
	snprintf(statement->owner, sizeof(statement->owner), "%s", m->record.owner);
	statement->epoch = m->record.epoch;
	snprintf(statement->source, sizeof(statement->source), "%s",
		 m->record.role == MIGRATION_SOURCE ? m->ports->policy->host_id : m->record.peer_id);
	snprintf(statement->destination, sizeof(statement->destination), "%s",
		 m->record.role == MIGRATION_SOURCE ? m->record.peer_id : m->ports->policy->host_id);
	statement->issued_s = (uint64_t)clock_wall_s(m->ports->clock);
	statement->expires_s = statement->issued_s + (kind == STATEMENT_OFFER ? LIMIT_STATEMENT_AGE_S :
										 STATEMENT_LIFE_S);
	if (!random_bytes(statement->id, sizeof(statement->id), &err)) {
		side(m)->on_trouble(m, &err);
		return;
	}
	m->signing = kind;
	m->is_signing = true;
	m->ports->sign(m->ports->context, m, statement);
}

void migration_verify(Migration *m, StatementKind kind, const PeerMessage *message)
{
	NotaryVerify request;

	memset(&request, 0, sizeof(request));
	request.kind = kind;
	snprintf(request.signer, sizeof(request.signer), "%s", m->record.peer_id);
	memcpy(request.cms, message->cms, message->cms_size);
	request.cms_size = message->cms_size;
	if (!m->received)
		m->received = calloc(1, sizeof(*m->received));
	if (!m->received) {
		Error err = ERROR_INIT;

		error_set(&err, ERROR_INTERNAL, "no memory for a statement");
		side(m)->on_trouble(m, &err);
		return;
	}
	memcpy(m->received->cms, message->cms, message->cms_size);
	m->received->cms_size = message->cms_size;
	m->verifying = kind;
	m->is_verifying = true;
	m->ports->verify(m->ports->context, m, &request);
}

static bool same(const char *what, const char *said, const char *expected, Error *err)
{
	return !strcmp(said, expected) ||
	       error_set(err, ERROR_PEER, "%s is \"%s\", expected \"%s\"", what, said, expected);
}

bool migration_check_statement(const Migration *m, const Statement *statement, Error *err)
{
	bool source = m->record.role == MIGRATION_SOURCE;
	const char *own = m->ports->policy->host_id;

	if (memcmp(statement->migration, m->record.id, sizeof(m->record.id)))
		return error_set(err, ERROR_PEER, "%s is of another migration",
				 statement_words[statement->kind]);
	if (statement->epoch != m->record.epoch)
		return error_set(err, ERROR_PEER, "%s has epoch %llu, expected %llu",
				 statement_words[statement->kind], (unsigned long long)statement->epoch,
				 (unsigned long long)m->record.epoch);
	/* An undone destination answers a late commit whatever ready it names: by declining. */
	if (m->step != DST_ENDED_ASKED &&
	    memcmp(statement->previous, m->last_digest, sizeof(m->last_digest)))
		return error_set(err, ERROR_PEER, "%s does not answer our last statement",
				 statement_words[statement->kind]);
	return (same("vm", statement->vm, m->record.uuid, err) &&
		same("owner", statement->owner, m->record.owner, err) &&
		same("source", statement->source, source ? own : m->record.peer_id, err) &&
		same("destination", statement->destination, source ? m->record.peer_id : own, err)) ||
	       error_prefix(err, "%s", statement_words[statement->kind]);
}

PeerMessage *migration_new_message(const Migration *m, PeerKind kind, Error *err)
{
	PeerMessage *message = calloc(1, sizeof(*message));

	if (!message) {
		error_set(err, ERROR_INTERNAL, "no memory for a message");
		return NULL;
	}
	message->kind = kind;
	memcpy(message->migration, m->record.id, sizeof(message->migration));
	return message;
}

bool migration_send_and_free(Migration *m, PeerMessage *message, Error *err)
{
	bool ok = m->ports->send(m->ports->context, m, message, err);

	explicit_bzero(message, sizeof(*message));
	free(message);
	return ok;
}

bool migration_send(Migration *m, PeerKind kind, Error *err)
{
	PeerMessage *message = migration_new_message(m, kind, err);

	if (!message)
		return false;
	if (kind == PEER_KEY)
		memcpy(message->key, secret_peek(m->migration_key), sizeof(message->key));
	return migration_send_and_free(m, message, err);
}

bool migration_send_reason(Migration *m, PeerKind kind, const Error *reason, Error *err)
{
	PeerMessage *message = migration_new_message(m, kind, err);

	if (!message)
		return false;
	snprintf(message->category, sizeof(message->category), "%s", error_word(reason->category));
	snprintf(message->text, sizeof(message->text), "%s", reason->text);
	return migration_send_and_free(m, message, err);
}

bool migration_send_statement(Migration *m, StatementKind kind, const uint8_t *cms, size_t cms_size,
			      Error *err)
{
	PeerMessage *message = migration_new_message(m, PEER_STATEMENT, err);

	if (!message)
		return false;
	assert(cms_size <= sizeof(message->cms));
	message->statement = kind;
	memcpy(message->cms, cms, cms_size);
	message->cms_size = cms_size;
	return migration_send_and_free(m, message, err);
}

bool migration_send_stored(Migration *m, StatementKind kind, Error *err)
{
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	uint8_t digest[DIGEST_SHA384_BYTES];

	return store_statement(m->ports->store, m->record.id, kind, &cms, digest, err) &&
	       migration_send_statement(m, kind, cms.data, cms.used, err);
}

bool migration_setup_mover(Migration *m, const uint8_t peer_share[SHARE_BYTES], Error *err)
{
	AUTO_SECRET Secret *shared = ecdh_derive(m->ecdh, peer_share, err);
	AUTO_SECRET Secret *secret = NULL;
	MoverSetup setup = { .side = m->record.role == MIGRATION_SOURCE ? MOVER_SOURCE :
									   MOVER_DESTINATION };
	bool ok;

	if (!shared)
		return false;
	secret = keys_derive_prk(m->offer_digest, m->accept_digest, m->migration_key, shared,
				 m->exported, err);
	if (!secret)
		return false;
	setup.sealed = m->record.mode != SEAL_DISABLED;
	setup.channels = m->record.channels;
	setup.guard = m->ports->policy->guard;
	snprintf(setup.machine, sizeof(setup.machine), "%s", m->vm.manifest.machine);
	snprintf(setup.uuid, sizeof(setup.uuid), "%s", m->vm.manifest.uuid);
	snprintf(m->record.guard, sizeof(m->record.guard), "%s", mover_guard_words[setup.guard]);
	if (setup.guard == MOVER_GUARD_WARN)
		migration_log(m, true, "THE GUARD ONLY WARNS: by this host's configuration");
	setup.bandwidth_bytes_s = m->options.bandwidth_bytes_s;
	snprintf(setup.aead, sizeof(setup.aead), "%s", m->ports->policy->aead);
	memcpy(setup.secret, secret_peek(secret), sizeof(setup.secret));
	memcpy(setup.routing, m->accept.routing, sizeof(setup.routing));
	ok = m->ports->mover_setup(m->ports->context, m, &setup, err);
	explicit_bzero(&setup, sizeof(setup));
	/* From here on only the mover needs any of it. */
	ecdh_key_free(TAKE_PTR(m->ecdh));
	secret_free(TAKE_PTR(m->exported));
	return ok;
}

uint64_t migration_backoff_ms(Migration *m)
{
	uint64_t delay = (uint64_t)BACKOFF_FIRST_MS << (m->attempts < 6 ? m->attempts : 6);

	m->attempts++;
	return delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS;
}

bool migration_all_proven(const Migration *m)
{
	const uint64_t stream = (UINT64_C(1) << m->record.channels) - 1;
	const uint64_t disks = (UINT64_C(1) << migration_disk_channels(m)) - 1;

	return m->record.channels && m->proven == (stream | disks << LIMIT_STREAM_CHANNELS);
}

static Migration *new_migration(const MigrationPorts *ports, MigrationRole role, Error *err)
{
	Migration *m = calloc(1, sizeof(*m));

	if (!m) {
		error_set(err, ERROR_INTERNAL, "no memory for a migration");
		return NULL;
	}
	m->ports = ports;
	m->record.role = role;
	m->record.created_s = (uint64_t)clock_wall_s(ports->clock);
	m->started_us = clock_monotonic_us(ports->clock);
	m->last_heard_us = m->started_us;
	m->step = role == MIGRATION_SOURCE ? SRC_NEW : DST_NEW;
	snprintf(m->record.aead, sizeof(m->record.aead), "%s", ports->policy->aead);
	return m;
}

Migration *migration_new_source(const MigrationPorts *ports, const VmRecord *vm,
				const HostRecord *host, const MigrationOptions *options, Error *err)
{
	AUTO_MIGRATION Migration *m = new_migration(ports, MIGRATION_SOURCE, err);

	if (!m || !random_bytes(m->record.id, sizeof(m->record.id), err))
		return NULL;
	m->vm = *vm;
	m->has_vm = true;
	m->options = *options;
	snprintf(m->record.vm, sizeof(m->record.vm), "%s", vm->name);
	snprintf(m->record.uuid, sizeof(m->record.uuid), "%s", vm->manifest.uuid);
	snprintf(m->record.owner, sizeof(m->record.owner), "%s", vm->owner);
	m->record.epoch = vm->epoch + 1;
	m->record.mode = vm->mode;
	m->record.channels = options->channels;
	m->record.keep_keys = options->keep_keys;
	m->record.manner = options->manner;
	/* There is next to nothing in a memory that was never used. */
	if (options->manner == MANNER_COLD)
		m->vm.manifest.populate = POPULATE_NONE;
	snprintf(m->record.peer_id, sizeof(m->record.peer_id), "%s", host->id);
	snprintf(m->record.peer_address, sizeof(m->record.peer_address), "%s", host->address);
	m->record.peer_port = host->port;
	return TAKE_PTR(m);
}

Migration *migration_new_destination(const MigrationPorts *ports, const char *peer_id, Error *err)
{
	Migration *m = new_migration(ports, MIGRATION_DESTINATION, err);

	if (m) {
		snprintf(m->record.peer_id, sizeof(m->record.peer_id), "%s", peer_id);
		m->connected = true;
		migration_enter(m, DST_NEW);
	}
	return m;
}

Migration *migration_new_recovered(const MigrationPorts *ports, const MigrationRecord *record,
				   const VmRecord *vm, Error *err)
{
	Migration *m = new_migration(ports, record->role, err);

	if (!m)
		return NULL;
	m->record = *record;
	if (vm) {
		m->vm = *vm;
		m->has_vm = true;
	}
	if (record->category) {
		m->error.category = (ErrorCategory)record->category;
		snprintf(m->error.text, sizeof(m->error.text), "%s", record->error);
	}
	if (record->state != MIGRATION_ACTIVE && record->state != MIGRATION_STUCK)
		m->step = record->role == MIGRATION_SOURCE ? SRC_DONE : DST_ENDED_ASKED;
	return m;
}

void migration_free(Migration *m)
{
	if (!m)
		return;
	ecdh_key_free(m->ecdh);
	secret_free(m->migration_key);
	secret_free(m->exported);
	free(m->commit);
	free(m->received);
	free(m->ready);
	free(m->early);
	free(m->judged);
	free(m->imported);
	free(m->receipt);
	explicit_bzero(m, sizeof(*m));
	free(m);
}

void migration_start(Migration *m)
{
	assert(m->record.role == MIGRATION_SOURCE);
	source_start(m);
}

void migration_recover(Migration *m)
{
	side(m)->recover(m);
}

bool migration_cancel(Migration *m, Error *err)
{
	Error cause = ERROR_INIT;

	if (m->adopting)
		return error_set(err, ERROR_CONFLICT, "cannot cancel: the VM's process is still looked for");
	if (m->record.role == MIGRATION_SOURCE && m->hv_gone &&
	    (m->step != SRC_ASK || m->record.state != MIGRATION_STUCK))
		return error_set(err, ERROR_CONFLICT,
				 "cannot cancel: our copy is gone, the destination may have the only one");
	if (!step_row(m->step)->cancellable)
		return error_set(err, ERROR_CONFLICT, "cannot cancel in phase %s: %s",
				 migration_phase_words[m->record.phase],
				 m->record.committed ? "the VM is already given to the destination" :
				 m->ended	     ? "the migration has ended" :
						       "the other side decides now");
	error_set(&cause, ERROR_CANCELLED, "cancelled by a person in phase %s",
		  migration_phase_words[m->record.phase]);
	side(m)->cancel(m, &cause);
	return true;
}

bool migration_resolve_run_here(Migration *m, Error *err)
{
	if (m->record.role != MIGRATION_SOURCE)
		return error_set(err, ERROR_CONFLICT, "only the source of a migration can be resolved to run here");
	return source_run_here(m, err);
}

bool migration_resolve_discard(Migration *m, Error *err)
{
	if (m->record.role != MIGRATION_DESTINATION)
		return error_set(err, ERROR_CONFLICT, "only at the destination a copy can be discarded");
	return destination_discard(m, err);
}

/* --- events --- */

/* Decided; at most its last entry is still to be written. */
static bool is_over(const Migration *m)
{
	return m->ended || m->step == SRC_DONE || m->step == DST_DONE;
}

void migration_on_peer_open(Migration *m, uint64_t rtt_us)
{
	m->connected = true;
	m->dialling = false;
	m->rtt_us = rtt_us;
	m->last_heard_us = migration_now_us(m);
	side(m)->on_peer_open(m);
}

void migration_on_peer_message(Migration *m, const PeerMessage *message)
{
	m->last_heard_us = migration_now_us(m);
	if (message->kind == PEER_PONG && (uint64_t)m->last_heard_us >= message->stamp_us)
		m->rtt_us = (uint64_t)m->last_heard_us - message->stamp_us;
	if (message->kind == PEER_PING || message->kind == PEER_PONG || is_over(m))
		return;
	side(m)->on_peer_message(m, message);
}

void migration_on_peer_closed(Migration *m, const Error *cause)
{
	m->connected = false;
	m->dialling = false;
	if (!is_over(m))
		side(m)->on_peer_closed(m, cause);
}

void migration_on_exported(Migration *m, const uint8_t secret[ROLE_EXPORT_BYTES])
{
	Error err = ERROR_INIT;

	secret_free(m->exported);
	m->exported = secret_new_from(secret, ROLE_EXPORT_BYTES, &err);
	if (!m->exported)
		side(m)->on_trouble(m, &err);
	else
		side(m)->on_exported(m);
}

void migration_on_signed(Migration *m, const NotarySigned *result)
{
	if (!m->is_signing || is_over(m))
		return;
	m->is_signing = false;
	side(m)->on_signed(m, m->signing, result);
}

void migration_on_verified(Migration *m, const NotaryVerified *result)
{
	Error err = ERROR_INIT;

	if (!m->is_verifying || is_over(m))
		return;
	m->is_verifying = false;
	memcpy(m->received->digest, result->digest, sizeof(m->received->digest));
	if (result->kind != m->verifying)
		error_set(&err, ERROR_PEER, "the notary answered for %s, asked for %s",
			  statement_words[result->kind], statement_words[m->verifying]);
	else if (m->verifying == STATEMENT_OFFER || migration_check_statement(m, &result->statement, &err)) {
		side(m)->on_verified(m, m->verifying, result);
		return;
	}
	side(m)->on_trouble(m, &err);
}

void migration_on_notary_failed(Migration *m, const Error *cause)
{
	m->is_signing = false;
	m->is_verifying = false;
	if (!is_over(m))
		side(m)->on_trouble(m, cause);
}

void migration_on_mover_ready(Migration *m)
{
	m->mover_ready = true;
	side(m)->on_mover_ready(m);
}

static bool has_channel(const Migration *m, uint64_t channel)
{
	return channel < m->record.channels ||
	       (channel >= LIMIT_STREAM_CHANNELS &&
		channel - LIMIT_STREAM_CHANNELS < migration_disk_channels(m));
}

void migration_on_mover_proven(Migration *m, uint64_t channel)
{
	if (!has_channel(m, channel))
		return;
	m->proven |= UINT64_C(1) << channel;
	if (migration_all_proven(m))
		side(m)->on_all_proven(m);
}

void migration_on_mover_stats(Migration *m, const MoverStats *stats, bool done)
{
	m->stats = *stats;
	if (done)
		side(m)->on_mover_done(m);
}

void migration_on_guard_warning(Migration *m)
{
	m->record.report.guard_warnings++;
	m->ports->notify(m->ports->context, m);
}

void migration_on_guard_refusal(Migration *m, const Error *cause)
{
	m->violated = true;
	migration_on_mover_failed(m, cause);
}

void migration_take_guard_stats(Migration *m)
{
	MigrationReport *report = &m->record.report;

	report->guard_us = m->stats.guard_us;
	/* The mover's last word may not have come, or count what is no event (mover/session.c). */
	if (m->stats.guard_warnings > report->guard_warnings)
		report->guard_warnings = m->stats.guard_warnings;
}

void migration_on_mover_failed(Migration *m, const Error *cause)
{
	if (!is_over(m))
		side(m)->on_mover_failed(m, cause);
}

void migration_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result,
		       const Error *failure)
{
	if (!m->keys_asked || m->keys_asking != kind)
		return;
	m->keys_asked = false;
	/* What our key manager found good is evidence from now on. */
	if (result && m->judged)
		migration_keep_document(m, m->judged->document, m->judged->package, m->judged->package_size);
	migration_drop(&m->judged);
	if (!m->ended)
		side(m)->on_keys(m, kind, result, failure);
}

void migration_on_hv_done(Migration *m, HvOperation operation, const Error *failure)
{
	if (!is_over(m))
		side(m)->on_hv_done(m, operation, failure);
}

void migration_on_hv_state(Migration *m, const HvState *state, const Error *failure)
{
	if (!is_over(m))
		side(m)->on_hv_state(m, state, failure);
}

void migration_on_hv_status(Migration *m, HvStatus status)
{
	if (!is_over(m))
		side(m)->on_hv_status(m, status);
}

void migration_on_hv_progress(Migration *m, const HvProgress *progress)
{
	forecast_update(&m->forecast, progress, migration_now_us(m));
	m->ports->notify(m->ports->context, m);
}

void migration_on_hv_stop(Migration *m, int64_t when_us)
{
	/* The last one counts: a stop before it was taken back. */
	if (m->record.role == MIGRATION_SOURCE)
		m->stop_us = when_us;
}

void migration_on_hv_resume(Migration *m, int64_t when_us)
{
	m->resume_us = when_us;
	if (!is_over(m))
		side(m)->on_hv_resume(m);
}

void migration_on_hv_reconnected(Migration *m)
{
	if (!is_over(m))
		m->ports->hv_query(m->ports->context, m);
}

void migration_on_hv_gone(Migration *m, const Error *cause)
{
	m->hv_gone = true;
	if (!is_over(m))
		side(m)->on_hv_gone(m, cause);
}

void migration_on_populated(Migration *m, uint64_t populate_us)
{
	m->record.report.populate_us = populate_us;
}

void migration_on_deadline(Migration *m)
{
	Error cause = ERROR_INIT;

	if (is_over(m))
		return;
	error_set(&cause, ERROR_TIMEOUT, "step %s took longer than %llu ms", step_row(m->step)->name,
		  (unsigned long long)deadline_of(m, m->step));
	side(m)->on_deadline(m, &cause);
}

void migration_on_tick(Migration *m)
{
	if (m->ended)
		return;
	if (m->step == SRC_DONE || m->step == DST_DONE)
		migration_try_to_end(m);
	else
		side(m)->on_tick(m);
}

/* --- views --- */

const MigrationRecord *migration_record(const Migration *m)
{
	return &m->record;
}

const VmRecord *migration_vm(const Migration *m)
{
	return m->has_vm ? &m->vm : NULL;
}

const MigrationOptions *migration_options(const Migration *m)
{
	return &m->options;
}

const Forecast *migration_forecast(const Migration *m)
{
	return &m->forecast;
}

const char *migration_step_name(const Migration *m)
{
	return step_row(m->step)->name;
}

bool migration_ended(const Migration *m)
{
	return m->ended;
}

uint64_t migration_elapsed_ms(const Migration *m)
{
	return (uint64_t)(migration_now_us(m) - m->started_us) / 1000;
}

bool migration_takes_channel(const Migration *m, const RolePreamble *preamble)
{
	return m->step == DST_CHANNELS && has_channel(m, preamble->channel) &&
	       !memcmp(preamble->routing, m->accept.routing, sizeof(preamble->routing));
}

bool migration_guest_may_run_here(const Migration *m)
{
	GuestOwner owner = step_row(m->step)->guest;

	if (migration_is_cold(m))
		return false;
	/* The table has the good end; how it really ended, the record says. */
	if (m->step == SRC_DONE || m->step == DST_DONE || m->step == DST_ENDED_ASKED)
		owner = m->record.state == MIGRATION_OK ? GUEST_AT_DESTINATION : GUEST_AT_SOURCE;
	return owner == (m->record.role == MIGRATION_SOURCE ? GUEST_AT_SOURCE : GUEST_AT_DESTINATION);
}
