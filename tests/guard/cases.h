/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that break one rule and nothing else, beside the same that do not. */
#ifndef SEALIFT_TESTS_GUARD_CASES_H
#define SEALIFT_TESTS_GUARD_CASES_H

#include "guard/rules.h"
#include "tests/guard/samples.h"

typedef void (*PutStream)(Build *build);

typedef struct Case {
	GuardRule rule;
	const char *what;
	GuardSide side;
	unsigned int channel;
	PutStream good, bad;
	const char *text; /* of the refusal */
	PutStream before; /* what another channel has had, or this one at the source */
	uint32_t agreed;
	bool resumes; /* after that all connections were lost */
} Case;

/* Shows both to guards, in pieces of several sizes; what is refused stays refused. */
void case_run_pair(const Case *c);
/* In mode warn: each byte comes through, and one warning. */
void case_run_warn(const Case *c);

/* Of what was agreed. */
extern const Case agreed_cases[];
extern const size_t agreed_cases_count;

#endif
