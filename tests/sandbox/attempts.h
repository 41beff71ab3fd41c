/* SPDX-License-Identifier: Apache-2.0 */
/* What no role may do, tried for real: shared by the sandbox tests of all roles. */
#ifndef SEALIFT_TESTS_SANDBOX_ATTEMPTS_H
#define SEALIFT_TESTS_SANDBOX_ATTEMPTS_H

#include "sandbox/sandbox.h"

typedef struct Attempt {
	const char *name;
	bool (*act)(void);  /* true: it worked, which it must not; false: refused, errno says how */
	bool refused_early; /* also by sandbox_enter alone, before any filter */
} Attempt;

/* Ended by a row without a name. */
extern const Attempt attempts[];

/* How a forked child that ran `act` inside a policy came to its end. */
typedef enum Outcome {
	OUTCOME_WORKED,
	OUTCOME_REFUSED, /* with an error */
	OUTCOME_KILLED,	 /* by the filter, SIGSYS */
	OUTCOME_BROKEN,	 /* the sandbox did not come up, or another signal */
} Outcome;

/* Forks; the child becomes user 65534 first if `as_nobody`, enters the policy (and the filter, if
 * `filtered`), then acts. */
Outcome attempt_in(const SandboxPolicy *policy, const SandboxUser *user, bool as_nobody,
		   bool filtered, bool (*act)(void));

/* Asserts that each attempt kills a process inside the whole policy, and that those marked
 * refused_early fail without the filter too. */
void attempts_assert_refused(const SandboxPolicy *policy);

#endif
