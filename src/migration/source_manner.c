/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source does for a move that is not live.
 *
 * Offline: the guest is stopped before its memory is sent, which the journal knows before. From
 * then on each way back ends with a guest that runs. One that somebody else has stopped stays as it
 * is, and is not moved: it would run at the destination.
 *
 * Cold: the VM is stopped. Its hypervisor is started with all that it has for a start, and its CPUs
 * never run; what that process holds is of no worth to anybody, so each way back before the commit
 * is its end, whatever became of it.
 */
#include "migration/source.h"

/* --- cold --- */

VmState source_home_state(const Migration *m)
{
	return migration_is_cold(m) ? VM_STOPPED : VM_RUNNING;
}

void source_boot(Migration *m)
{
	migration_enter(m, SRC_BOOT);
	m->hv_booted = true;
	m->ports->hv(m->ports->context, m, HV_BOOT);
}

void source_booted(Migration *m, const Error *failure)
{
	if (m->step != SRC_BOOT)
		return;
	if (failure)
		source_undo(m, failure);
	else
		m->ports->hv_query(m->ports->context, m);
}

void source_look_if_asleep(Migration *m, const HvState *state, const Error *failure)
{
	Error err = ERROR_INIT;

	if (failure) {
		source_undo(m, failure);
		return;
	}
	if (state->run_state != HV_PRELAUNCH) {
		error_set(&err, ERROR_HYPERVISOR,
			  "the hypervisor of a stopped VM does not stand still");
		source_undo(m, &err);
		return;
	}
	source_dial(m);
}

void source_end_copy(Migration *m)
{
	if (!m->hv_booted || m->hv_gone) {
		source_finish_undo(m);
		return;
	}
	/* Armed first: the answer may be the end. */
	m->ports->set_tick(m->ports->context, m, END_COPY_MS);
	m->ports->hv(m->ports->context, m, HV_KILL);
}

void source_end_copy_again(Migration *m)
{
	if (migration_now_us(m) - m->entered_us >= (int64_t)UNDO_PATIENCE_MS * 1000 &&
	    m->record.state != MIGRATION_STUCK) {
		m->record.state = MIGRATION_STUCK;
		m->ports->mover_stop(m->ports->context, m);
		migration_log(m, true, "the hypervisor of the stopped VM does not end");
		m->ports->notify(m->ports->context, m);
	}
	source_end_copy(m);
}

/* --- offline --- */

/* Disks, if any, are alike and stay so. */
void source_begin_memory(Migration *m)
{
	if (m->record.manner != MANNER_OFFLINE) {
		source_begin_transfer(m);
		return;
	}
	migration_enter(m, SRC_PAUSE);
	m->ports->hv_query(m->ports->context, m);
}

void source_look_before_pause(Migration *m, const HvState *state, const Error *failure)
{
	Error err = ERROR_INIT;

	if (m->record.paused)
		return;
	if (failure) {
		source_undo(m, failure);
		return;
	}
	if (state->run_state != HV_RUNNING) {
		error_set(&err, ERROR_CONFLICT,
			  "the guest does not run: somebody else has stopped it");
		source_undo(m, &err);
		return;
	}
	m->record.paused = true;
	/* Before it is stopped: a restart must know that it is ours to run again. */
	if (!migration_journal_record(m, &err)) {
		source_undo(m, &err);
		return;
	}
	m->ports->hv(m->ports->context, m, HV_STOP);
}

void source_paused(Migration *m, const Error *failure)
{
	if (m->step != SRC_PAUSE)
		return;
	if (failure)
		source_undo(m, failure);
	else
		source_begin_transfer(m);
}

bool source_left_as_found(const Migration *m, const HvState *state)
{
	return m->record.manner == MANNER_OFFLINE && !m->record.paused &&
	       state->run_state == HV_PAUSED;
}
