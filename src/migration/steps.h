/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a migration: DESIGN's phases, cut where one side waits for something. The table says
 * of each step its phase, its deadline, whether a person may still cancel, and who may run the
 * guest; tests check that the last column changes hands once.
 */
#ifndef SEALIFT_MIGRATION_STEPS_H
#define SEALIFT_MIGRATION_STEPS_H

#include "store/records.h"

typedef enum Step {
	/* source */
	SRC_NEW,
	SRC_BOOT,	/* cold: its hypervisor is started, the guest's CPUs are not */
	SRC_DIAL,	/* control connection, hello */
	SRC_OFFER,	/* exporter, then our notary signs the offer */
	SRC_ACCEPT,	/* the destination judges, reserves, accepts */
	SRC_KEY,	/* keys derived, mover set up, key sent; waits for keyed */
	SRC_CHANNELS,	/* channels opened and proven */
	SRC_KEYS,	/* the key managers: offer, package, imported */
	SRC_DISKS,	/* disks are copied, the guest runs */
	SRC_PAUSE,	/* offline: the guest is being stopped */
	SRC_TRANSFER,	/* memory flows, the guest runs, unless it is moved offline or cold */
	SRC_DETACH,	/* the guest is stopped; the last of the disks is sent, waits for taken */
	SRC_SWITCHOVER, /* the guest is stopped; waits for ready */
	SRC_QUESTION,	/* ready is here; our own QEMU is asked, the commit is being signed */
	SRC_COMMITTED,	/* past the point of no return; waits for activated or declined */
	SRC_FINISH,	/* quits the stopped copy, signs destroyed, has its keys destroyed */
	SRC_UNDO,	/* brings the guest back here */
	SRC_ASK,	/* recovery: the hypervisor is gone; asks where the destination stands */
	SRC_OWES_CANCEL, /* undone here; keeps trying to tell the destination, and to have its keys back */
	SRC_OWES_KEYS,	/* moved; keeps asking for the receipt that lets its keys be destroyed */
	SRC_DONE,
	/* destination */
	DST_NEW,
	DST_OFFER,	/* verifies and judges the offer */
	DST_RESERVE,	/* starts the incoming VM, populates, starts the mover */
	DST_ACCEPT,	/* our notary signs the accept */
	DST_KEY,	/* waits for the migration key */
	DST_CHANNELS,	/* waits for the channels to be proven */
	DST_KEYS,	/* its key manager offered; waits for the package, then opens the disks */
	DST_LOADING,	/* the stream flows into the hypervisor */
	DST_SIGN_READY, /* loaded and paused */
	DST_READY,	/* waits for commit, as long as it takes */
	DST_COMMIT,	/* verifies the commit */
	DST_ACTIVATING, /* the guest may be running from here on; cold: its hypervisor is being ended */
	DST_ACTIVE,	/* activated is sent, the keys become active; waits for destroyed */
	DST_DECLINING,	/* will not run it; signs declined */
	DST_UNDO,	/* tears the reservation down */
	DST_ADOPT,	/* recovery: looks for the hypervisor */
	DST_ENDED_ASKED, /* an ended one whose source asks again */
	DST_DONE,
	STEP_COUNT,
} Step;

typedef enum GuestOwner { GUEST_AT_SOURCE, GUEST_NOWHERE, GUEST_AT_DESTINATION } GuestOwner;

typedef struct StepRow {
	const char *name;
	MigrationPhase phase;
	uint64_t deadline_ms;	/* 0: none of its own (see the comment in steps.c) */
	bool cancellable;	/* by a person on this side */
	GuestOwner guest;	/* who may run it, as far as this side can know */
} StepRow;

const StepRow *step_row(Step step);

#endif
