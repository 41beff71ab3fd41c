/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: what persons decided, and which streams broke a rule of the guard, kept for good. A
 * file of one JSON object a line, mode 0600, only ever appended to; a decision is on the disk
 * before it is done. Its members stand in sealiftd(8).
 */
#ifndef SEALIFT_ENGINE_LEDGER_H
#define SEALIFT_ENGINE_LEDGER_H

#include <sys/types.h>

#include "base/cleanup.h"
#include "store/records.h"

/* In the state directory. */
#define LEDGER_NAME "decisions.jsonl"

typedef struct LedgerEntry {
	int64_t time_s; /* since 1970 */
	uid_t uid;	/* who asked, by the API socket */
	const char *action;
	const MigrationRecord *migration;
	const Error *refused; /* NULL: it is about to be done; else it was not, for this reason */
} LedgerEntry;

/* Appends and syncs, the file's name too if it is new. ERROR_IO: nothing may be done then. What a
 * crash left of a line before stays as it is, on a line of its own. */
MUST_CHECK bool ledger_append(const char *state_directory, const LedgerEntry *entry, Error *err);

/* A rule of the guard that a peer's stream broke. All is borrowed. */
typedef struct LedgerViolation {
	int64_t time_s;
	const MigrationRecord *migration; /* with the side that judged, its guard and its peer */
	bool warned;			  /* it went on; else the migration was refused */
	const char *rule;
	uint64_t channel;
	const char *text; /* printable; of the mover */
	uint64_t more; /* not 0: it stands for so many of this migration; no rule, channel, text */
	uint64_t omitted; /* of any migration, since the entry before: the bound was reached */
} LedgerViolation;

/* As ledger_append. */
MUST_CHECK bool ledger_append_violation(const char *state_directory,
					const LedgerViolation *violation, Error *err);

#endif
