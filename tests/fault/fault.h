/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation and every system call of a scenario fails in turn, after curl's torture tests.
 * After each failure these hold:
 *
 *	the scenario returned true, because the failure did not matter, or false with a category and
 * a text; it did not die, and what it made is right; no descriptor is left open (and no memory lost:
 *LeakSanitizer looks after each scenario); what the scenario has to check afterwards (a store that
 * opens with the old row or the new); without a failure it works again.
 */
#ifndef SEALIFT_TESTS_FAULT_FAULT_H
#define SEALIFT_TESTS_FAULT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "tests/fault/inject.h"

typedef struct Scenario {
	const char *name;
	/* Made once, without failures, ends the program if it cannot; NULL: there is none. */
	void *(*prepare)(void);
	/* Sets up, does the work and tears down, all of it under failures. */
	bool (*run)(void *fixture, Error *err);
	/* After each failure, without another; NULL: nothing to look at. */
	bool (*check)(void *fixture, Error *err);
	void (*release)(void *fixture);
	/* At most so many failures of one class, evenly spread over its calls; 0: every call. */
	size_t faults_max;
} Scenario;

/* From run or check: the call said that it went well, but the outcome is wrong. */
bool fault_wrong(Error *err, const char *what);
/* For prepare: ends the program unless ok. */
void fault_must(bool ok, const Error *err);

/* The scenarios of each layer, ended by one without a name. */
extern const Scenario scenarios_base[], scenarios_wire[], scenarios_ipc[], scenarios_crypto[],
	scenarios_store[], scenarios_vmm[], scenarios_qemu[], scenarios_mover[], scenarios_guard[],
	scenarios_migration[], scenarios_keys[], scenarios_keyd[], scenarios_package[];
/* Broken on purpose, to see that each rule is looked after. */
extern const Scenario scenarios_broken[];

#endif
