/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of streams that broke a rule of the guard: into the ledger, the log and the events.
 * Whoever sends such streams decides how many there are, so each migration has a bound of lines,
 * and so has the engine: what is beyond is counted, and the count written.
 */
#ifndef SEALIFT_ENGINE_VIOLATIONS_H
#define SEALIFT_ENGINE_VIOLATIONS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* Lines of all migrations: at once, and how soon there is room for one more. A day has at
	 * most 8896 of them, of at most 2 KiB each. */
	VIOLATIONS_BURST = 256,
	VIOLATIONS_REFILL_S = 10,
};

/* All zero to begin with. */
typedef struct ViolationBudget {
	bool begun;
	int64_t refilled_us; /* on the monotonic clock */
	unsigned int left;
	uint64_t omitted; /* since the last line */
} ViolationBudget;

/* Whether there is room for a line now; else it is counted as omitted. */
bool violations_may_write(ViolationBudget *budget, int64_t now_us);

/* The name of the rule in a text of the mover, of the guard or of that of disks, a constant; "unknown"
 * if it names none. */
const char *violations_rule_of(const char *text);

typedef struct Job Job;

/* The mover told of one; `subject` as in migration/violation.h; `warns`: the migration goes on. */
void violations_note(Job *job, uint64_t subject, bool warns, const char *text);
/* The job ends: writes how many there were beyond the bound. */
void violations_close(Job *job);

#endif
