/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/refusal.h"

#include <stdio.h>

static void flush(Gate *gate)
{
	RefusalLog *log = &gate->refusals;

	if (!log->count)
		return;
	log_warning(gate->log, "refused %llu connection(s), the last one from %s",
		    (unsigned long long)log->count, log->last);
	log->count = 0;
	log->logged_us = clock_monotonic_us(gate->clock);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	flush(context);
}

bool refusal_setup(Gate *gate, Error *err)
{
	gate->refusals.logged_us = INT64_MIN / 2;
	gate->refusals.timer = evtimer_new(gate->base, on_timer, gate);
	return gate->refusals.timer || error_set(err, ERROR_INTERNAL, "no memory for a timer");
}

void refusal_teardown(Gate *gate)
{
	if (gate->refusals.timer)
		event_free(gate->refusals.timer);
}

void refusal_note(Gate *gate, const char *address, const Error *cause)
{
	const struct timeval later = { .tv_sec = REFUSAL_LOG_MS / 1000 };
	RefusalLog *log = &gate->refusals;

	log->count++;
	snprintf(log->last, sizeof(log->last), "%s: %.*s", address,
		 (int)(sizeof(log->last) - LIMIT_ADDRESS - 4), cause->text);
	if (clock_monotonic_us(gate->clock) - log->logged_us >= REFUSAL_LOG_MS * INT64_C(1000))
		flush(gate);
	else if (!evtimer_pending(log->timer, NULL))
		evtimer_add(log->timer, &later);
}
