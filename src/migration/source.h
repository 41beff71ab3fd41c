/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the source's side share: source.c takes events, source_forward.c leads from the
 * offer to destroyed, source_back.c brings the guest back or finds out, after a restart, where it is, source_handover.c
 * gives keys and disks, source_manner.c stops the guest, or carries a stopped VM. */
#ifndef SEALIFT_MIGRATION_SOURCE_H
#define SEALIFT_MIGRATION_SOURCE_H

#include "migration/internal.h"

enum {
	QUESTION_TICK_MS = 2,
	SUSPECT_TICK_MS = 250,
	SUSPECT_RUNNING_MS = 1000,
	UNDO_TICK_MS = 50,
	UNDO_PATIENCE_MS = 20000, /* until a person is asked */
	CANCEL_ATTEMPTS = 5760, /* a day of the longest back-off */
	ASK_ATTEMPTS = 12,	/* until a person is told; it goes on asking */
	COMMIT_AGAIN_MS = 3000,
	FINISH_AGAIN_MS = 5000,
	END_COPY_MS = 1000,
};

/* source_forward.c: the steps in their order */
void source_dial(Migration *m);
void source_make_offer(Migration *m);
void source_send_offer(Migration *m, const NotarySigned *offer);
void source_send_key(Migration *m);
void source_take_accept(Migration *m, const NotaryVerified *verified);
void source_open_channels(Migration *m);
void source_ready_arrived(Migration *m, const NotaryVerified *ready);
void source_commit(Migration *m);
void source_answer_of_hypervisor(Migration *m, const HvState *state, const Error *failure);
void source_finish_if_all(Migration *m);
void source_owe_keys(Migration *m, MigrationState state);
void source_take_activated(Migration *m, const NotaryVerified *activated);
void source_send_destroyed(Migration *m, const NotarySigned *destroyed);
void source_take_declined(Migration *m, const NotaryVerified *declined);

/* source_handover.c */
void source_all_proven(Migration *m);
/* The guest's memory, from now on. */
void source_begin_transfer(Migration *m);
void source_mirrored(Migration *m);
void source_take_document(Migration *m, const PeerMessage *message);
void source_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result, const Error *failure);
void source_take_back(Migration *m);
void source_give_up_keys(Migration *m);
void source_release_early(Migration *m);
void source_release_again(Migration *m);
void source_detach(Migration *m);
void source_detached(Migration *m);
void source_take_disks(Migration *m, const PeerMessage *message);

/* source_manner.c */
/* What the VM is here while it is nobody else's. */
VmState source_home_state(const Migration *m);
/* Cold: the first step. */
void source_boot(Migration *m);
void source_booted(Migration *m, const Error *failure);
void source_look_if_asleep(Migration *m, const HvState *state, const Error *failure);
/* Cold, in SRC_UNDO: the process ends, and with it the undo. The second, when it has not yet. */
void source_end_copy(Migration *m);
void source_end_copy_again(Migration *m);
/* Offline: the guest stops first. */
void source_begin_memory(Migration *m);
void source_look_before_pause(Migration *m, const HvState *state, const Error *failure);
void source_paused(Migration *m, const Error *failure);
/* Offline: the guest was stopped, and not by us. */
bool source_left_as_found(const Migration *m, const HvState *state);

/* source_back.c: undo is only ever before commit, or after a declined */
void source_finish_undo(Migration *m);
/* Ends it once neither cancel nor keys are owed. */
void source_undone_if_all(Migration *m);
void source_hang_up(Migration *m);
void source_undo(Migration *m, const Error *cause);
void source_undo_answer(Migration *m, const HvState *state, const Error *failure);
void source_redial(Migration *m);
void source_give_up_asking(Migration *m);
void source_recover(Migration *m);
void source_adopted(Migration *m, const Error *failure);
void source_look_at_given(Migration *m, const HvState *state, const Error *failure);
void source_state_answered(Migration *m, const PeerMessage *message);

#endif
