/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: what persons decided, kept for good. A file of one JSON object a line, mode 0600,
 * only ever appended to; a line is on the disk before what it says is done.
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

#endif
