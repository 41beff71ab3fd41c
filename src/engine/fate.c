/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hypervisor at the destination that refuses its stream may only be the first to tell that its
 * mover is gone. So the mover is asked before the refusal counts: it answers, or its end is known,
 * or what it had to say was on its way before the answer.
 */
#include <event2/event.h>

#include "engine/engine.h"

enum { FATE_MS = 1000, FATE_SUBJECT = 1 };

void fate_tell(Job *job)
{
	const Error end = job->hypervisor_end;

	if (!job->fate_waits)
		return;
	event_del(job->fate);
	job->fate_waits = false;
	job->hypervisor_end = ERROR_INIT;
	migration_on_hv_status(job->migration, HV_FAILED);
	if (end.category)
		migration_on_hv_gone(job->migration, &end);
}

static void on_patience_ends(evutil_socket_t fd, short what, void *context)
{
	Job *job = context;

	(void)fd;
	(void)what;
	fate_tell(job);
	job_settle(job);
}

bool fate_wait_for_mover(Job *job)
{
	const struct timeval patience = { .tv_sec = FATE_MS / 1000,
					  .tv_usec = FATE_MS % 1000 * 1000 };
	Error ignored = ERROR_INIT;

	if (job->fate_waits)
		return true;
	if (!job->mover || migration_record(job->migration)->role != MIGRATION_DESTINATION)
		return false;
	if (!job->fate)
		job->fate = evtimer_new(job->engine->base, on_patience_ends, job);
	if (!job->fate || evtimer_add(job->fate, &patience))
		return false;
	/* One that cannot be asked is at its end, which comes by itself. */
	if (!child_send(job->mover, MOVER_QUERY, FATE_SUBJECT, NULL, NULL, NULL, 0, &ignored))
		log_debug(job->engine->log, "mover: %s", ignored.text);
	job->fate_waits = true;
	return true;
}

bool fate_keep_end(Job *job, const Error *cause)
{
	if (job->fate_waits)
		job->hypervisor_end = *cause;
	return job->fate_waits;
}

void fate_on_mover_answer(Job *job, uint64_t subject)
{
	if (subject == FATE_SUBJECT)
		fate_tell(job);
}

void fate_free(Job *job)
{
	if (job->fate)
		event_free(job->fate);
	job->fate = NULL;
	job->fate_waits = false;
}
