/* SPDX-License-Identifier: Apache-2.0 */
/* What can go wrong in the world, and what then is repaired. */
#ifndef SEALIFT_TESTS_MIGRATION_FAULT_H
#define SEALIFT_TESTS_MIGRATION_FAULT_H

#include "tests/migration/world.h"

typedef enum FaultKind {
	CRASH_SOURCE,
	CRASH_DESTINATION,
	CRASH_BOTH,
	CUT_LINK,
	CUT_CONTROL,
	CUT_DATA,
	KILL_SOURCE,
	KILL_DESTINATION,
	DISK_FULL_SOURCE,
	DISK_FULL_DESTINATION,
	NOTARY_DOWN_SOURCE,
	NOTARY_DOWN_DESTINATION,
	NOTARY_HANGS_SOURCE,
	NOTARY_HANGS_DESTINATION,
	KEYD_DOWN_SOURCE,
	KEYD_DOWN_DESTINATION,
	DEAF_SOURCE,
	DEAF_DESTINATION,
	CLOCK_AHEAD_SOURCE,
	CLOCK_BACK_SOURCE,
	CLOCK_AHEAD_DESTINATION,
	CLOCK_BACK_DESTINATION,
	CANCEL_SOURCE,
	CANCEL_DESTINATION,
	FAULT_KINDS,
} FaultKind;

const char *fault_word(FaultKind kind);
bool fault_kills(FaultKind kind);
/* Happens now; what can be repaired is, after this time. A cancel says whether it was accepted. */
bool fault_happens(World *world, FaultKind kind, int64_t repair_us);
/* The engine loses its power at its n-th action from now. */
void fault_arm_power(World *world, HostName name, unsigned int action);

#endif
