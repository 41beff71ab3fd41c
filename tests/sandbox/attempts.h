/* SPDX-License-Identifier: Apache-2.0 */
/* What no role may do, tried for real: shared by the sandbox tests of all roles. */
#ifndef SEALIFT_TESTS_SANDBOX_ATTEMPTS_H
#define SEALIFT_TESTS_SANDBOX_ATTEMPTS_H

#include "sandbox/sandbox.h"

/* With whom the attempt works outside of any sandbox, so that its refusal means something. */
typedef enum Possible {
	POSSIBLE_FOR_ANYONE,
	POSSIBLE_FOR_ROOT,
	POSSIBLE_ON_SOME_HOSTS, /* whose kernel was built with it, whose root was not cut down */
} Possible;

typedef struct Attempt {
	const char *name;
	bool (*act)(void); /* true: it worked, which it must not; false: refused, errno says how */
	Possible possible;
	uint32_t
		early; /* bits of SandboxMeasure: one of them alone refuses it, before any filter */
} Attempt;

/* Ended by a row without a name. */
extern const Attempt attempts[];

/* How a forked child that ran `act` inside a policy came to its end. */
typedef enum Outcome {
	OUTCOME_WORKED,
	OUTCOME_REFUSED, /* with an error */
	OUTCOME_KILLED,	 /* by the filter, SIGSYS */
	OUTCOME_BROKEN,	 /* the sandbox did not come up, or another signal */
	OUTCOME_COUNT,
} Outcome;

/* Beside a victim (victim.h), both user 65534 if `as_nobody`: a child of sandbox_fork enters the
 * policy (and the filter, if `filtered`), then acts. With policy NULL it just acts, in a mount
 * namespace of its own if it may have one. */
Outcome attempt_in(const SandboxPolicy *policy, const SandboxUser *user, bool as_nobody,
		   bool filtered, bool (*act)(void));

/* Asserts that each attempt kills a process inside the whole policy, and that those that a measure
 * refuses early, which this machine has, fail without the filter too. */
void attempts_assert_refused(const SandboxPolicy *policy);
/* Asserts that each of them works outside, as far as this user and kernel can. */
void attempts_assert_possible(void);

#endif
