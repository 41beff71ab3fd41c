/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a mover tells its engine that a stream broke a rule of the guard: by ROLE_FAILED, whose
 * subject has one of these beside the channel. Both read it here.
 */
#ifndef SEALIFT_MIGRATION_VIOLATION_H
#define SEALIFT_MIGRATION_VIOLATION_H

#include "base/bounds.h"

enum {
	VIOLATION_CHANNEL = 0xff,
	VIOLATION_REFUSED = 0x100, /* the migration ends: the failure is this */
	VIOLATION_WARNED = 0x200,  /* guard = "warn": no failure, it goes on */
	/* Told of one migration. The guard warns of a channel once, then looks away. */
	VIOLATIONS_MAX = LIMIT_CHANNELS,
};

#endif
