/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/violations.h"

#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/ledger.h"
#include "guard/rules.h"
#include "migration/violation.h"
#include "nbd/rules.h"

bool violations_may_write(ViolationBudget *budget, int64_t now_us)
{
	const int64_t each_us = (int64_t)VIOLATIONS_REFILL_S * 1000000;
	int64_t more;

	if (!budget->begun) {
		*budget = (ViolationBudget){ .begun = true,
					     .refilled_us = now_us,
					     .left = VIOLATIONS_BURST };
	}
	more = (now_us - budget->refilled_us) / each_us;
	if (more >= VIOLATIONS_BURST - (int64_t)budget->left) {
		budget->left = VIOLATIONS_BURST;
		budget->refilled_us = now_us;
	} else if (more > 0) {
		budget->left += (unsigned int)more;
		budget->refilled_us += more * each_us;
	}
	if (!budget->left) {
		budget->omitted++;
		return false;
	}
	budget->left--;
	return true;
}

static bool is_rule(const char *name, const char *at)
{
	size_t size = strlen(name);

	return !strncmp(name, at, size) && (at[size] == ':' || !at[size]);
}

const char *violations_rule_of(const char *text)
{
	/* What stands before it is the mover's own and has no such words. */
	const char *stream = strstr(text, "guard-"), *disk = strstr(text, "nbd-");

	/* What follows a rule's name may be the peer's own words. */
	if (stream && disk && disk > stream)
		disk = NULL;
	for (int i = 0; disk && i < NBD_RULE_COUNT; i++)
		if (is_rule(nbd_rule_text((NbdRule)i)->name, disk))
			return nbd_rule_text((NbdRule)i)->name;
	for (int i = 0; !disk && stream && i < GUARD_RULE_COUNT; i++)
		if (is_rule(guard_rule_text((GuardRule)i)->name, stream))
			return guard_rule_text((GuardRule)i)->name;
	return "unknown";
}

static void write_entry(Job *job, LedgerViolation *entry)
{
	Engine *engine = job->engine;
	ViolationBudget *budget = &engine->violations;
	Error err = ERROR_INIT;

	if (!violations_may_write(budget, clock_monotonic_us(&clock_system)))
		return;
	entry->time_s = clock_wall_s(&clock_system);
	entry->migration = migration_record(job->migration);
	entry->omitted = budget->omitted;
	/* A disk that is full must not keep the migration from ending. */
	if (ledger_append_violation(engine->config.state_directory, entry, &err))
		budget->omitted = 0;
	else
		log_error(engine->log,
			  "a rule of the guard was broken, and the ledger has it not: %s",
			  err.text);
}

void violations_note(Job *job, uint64_t subject, bool warns, const char *text)
{
	LedgerViolation entry = { .warned = warns,
				  .rule = violations_rule_of(text),
				  .channel = subject & VIOLATION_CHANNEL,
				  .text = text };

	/* The mover keeps to the same bound; but it is the mover that such a stream may take over.
	 */
	if (job->violations++ >= VIOLATIONS_MAX)
		return;
	write_entry(job, &entry);
	if (entry.warned)
		engine_warn(job->engine, "VM %s, from %s: the guard only warns: %s",
			    migration_record(job->migration)->vm,
			    migration_record(job->migration)->peer_id, text);
}

void violations_close(Job *job)
{
	LedgerViolation entry = { .warned = true };

	if (job->violations <= VIOLATIONS_MAX)
		return;
	entry.more = job->violations - VIOLATIONS_MAX;
	job->violations = 0;
	write_entry(job, &entry);
}
