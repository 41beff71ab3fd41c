/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/steps.h"

#include <assert.h>

#include "base/cleanup.h"

#define S GUEST_AT_SOURCE
#define N GUEST_NOWHERE
#define D GUEST_AT_DESTINATION

/*
 * Deadlines of 0: transfer and disks have the policy's; undo, asking and owing retry on a tick with bounds of
 * their own; SRC_COMMITTED and DST_READY may not end by time, since only the other side's word (or
 * a person) can tell who owns the guest: after a minute they are shown as stuck and go on waiting.
 * DST_RESERVE has the source's patience (SRC_ACCEPT) as its bound: populating takes its time.
 */
static const StepRow table[STEP_COUNT] = {
	[SRC_NEW] = { "new", PHASE_BEGIN, 0, true, S },
	[SRC_BOOT] = { "boot", PHASE_BEGIN, 130000, true, S },
	[SRC_DIAL] = { "dial", PHASE_BEGIN, 15000, true, S },
	[SRC_OFFER] = { "offer", PHASE_BEGIN, 10000, true, S },
	[SRC_ACCEPT] = { "wait-accept", PHASE_BEGIN, 180000, true, S },
	[SRC_KEY] = { "key", PHASE_PREPARE, 15000, true, S },
	[SRC_CHANNELS] = { "channels", PHASE_PREPARE, 15000, true, S },
	[SRC_KEYS] = { "keys", PHASE_PREPARE, 90000, true, S },
	[SRC_DISKS] = { "disks", PHASE_TRANSFER, 0, true, S },
	[SRC_PAUSE] = { "pause", PHASE_TRANSFER, 30000, true, S },
	[SRC_TRANSFER] = { "transfer", PHASE_TRANSFER, 0, true, S },
	[SRC_DETACH] = { "detach", PHASE_SWITCHOVER, 30000, true, N },
	[SRC_SWITCHOVER] = { "switchover", PHASE_SWITCHOVER, 60000, true, N },
	[SRC_QUESTION] = { "question", PHASE_SWITCHOVER, 10000, true, N },
	[SRC_COMMITTED] = { "wait-activated", PHASE_COMMIT, 60000, false, D },
	[SRC_FINISH] = { "finish", PHASE_FINISH, 30000, false, D },
	[SRC_UNDO] = { "undo", PHASE_FINISH, 0, false, S },
	[SRC_ASK] = { "ask", PHASE_SWITCHOVER, 0, true, N },
	[SRC_OWES_CANCEL] = { "owes-cancel", PHASE_FINISH, 0, false, S },
	[SRC_OWES_KEYS] = { "owes-keys", PHASE_FINISH, 0, false, D },
	[SRC_DONE] = { "done", PHASE_DONE, 0, false, D },
	[DST_NEW] = { "new", PHASE_BEGIN, 15000, true, S },
	[DST_OFFER] = { "judge", PHASE_BEGIN, 10000, true, S },
	[DST_RESERVE] = { "reserve", PHASE_PREPARE, 170000, true, S },
	[DST_ACCEPT] = { "accept", PHASE_PREPARE, 10000, true, S },
	[DST_KEY] = { "wait-key", PHASE_PREPARE, 15000, true, S },
	[DST_CHANNELS] = { "wait-channels", PHASE_PREPARE, 20000, true, S },
	[DST_KEYS] = { "keys", PHASE_PREPARE, 90000, true, S },
	[DST_LOADING] = { "loading", PHASE_TRANSFER, 0, true, S },
	[DST_SIGN_READY] = { "sign-ready", PHASE_SWITCHOVER, 10000, true, N },
	[DST_READY] = { "wait-commit", PHASE_SWITCHOVER, 60000, false, N },
	[DST_COMMIT] = { "commit", PHASE_COMMIT, 10000, false, N },
	[DST_ACTIVATING] = { "activating", PHASE_COMMIT, 30000, false, D },
	[DST_ACTIVE] = { "active", PHASE_FINISH, 30000, false, D },
	[DST_DECLINING] = { "declining", PHASE_COMMIT, 10000, false, S },
	[DST_UNDO] = { "undo", PHASE_FINISH, 30000, false, S },
	[DST_ADOPT] = { "adopt", PHASE_SWITCHOVER, 0, false, N },
	[DST_ENDED_ASKED] = { "asked-again", PHASE_DONE, 30000, false, S },
	[DST_DONE] = { "done", PHASE_DONE, 0, false, D },
};

const StepRow *step_row(Step step)
{
	assert(step < STEP_COUNT && table[step].name);
	return &table[step];
}
