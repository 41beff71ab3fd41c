/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two files of the main channel: RAM and commands, and what is held. */
#ifndef SEALIFT_GUARD_GUARD_MAIN_H
#define SEALIFT_GUARD_GUARD_MAIN_H

#include "guard/guard_internal.h"

typedef struct MainJudge {
	Guard *guard;
	MainUnit unit;
	Error *err;
} MainJudge;

/* A violation with the unit's place before the text. Returns false always. */
bool guard_main_refuse(const MainJudge *judge, GuardRule rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Keeps the unit's bytes, and tells the decoder to hold what follows if it does not know how long
 * that is. False with *err past the bound. */
MUST_CHECK bool guard_held_add(const MainJudge *judge, const uint8_t *bytes);

/* Whether the unit that was added last ends what is held: an early section, or a package. Then
 * guard_held_judge judges all of it; flow->release has it. False with *err: a violation in it. */
bool guard_held_is_whole(const MainJudge *judge);
MUST_CHECK bool guard_held_judge(const MainJudge *judge, GuardFlow *flow);

/*
 * After all of a window was added to the device state of precopy: if it may be complete, judges all
 * of it. Then it is in flow->release, and stays held until that was written. False with *err: a
 * violation in it.
 */
MUST_CHECK bool guard_held_try(const MainJudge *judge, GuardFlow *flow);

/* A record of a dirty bitmap: the unit. */
MUST_CHECK bool guard_bitmap_judge(const MainJudge *judge);

#endif
