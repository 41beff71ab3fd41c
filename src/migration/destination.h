/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the destination's side share: destination.c takes events, destination_forward.c
 * follows the source from the offer to activated, destination_back.c tears a reservation down or finds
 * out, after a restart, how far it was, destination_handover.c takes keys and disks, destination_cold.c
 * keeps a stopped VM stopped. */
#ifndef SEALIFT_MIGRATION_DESTINATION_H
#define SEALIFT_MIGRATION_DESTINATION_H

#include "migration/internal.h"

enum {
	STATE_TICK_MS = 2,
	CONT_ATTEMPTS = 8, /* until a person is told; it goes on trying */
	SIGN_PATIENCE_MS = 5000,
	UNDO_AGAIN_MS = 5000,
};

/* destination_forward.c: the steps in their order */
void destination_take_offer(Migration *m, const NotaryVerified *verified);
void destination_accept_if_reserved(Migration *m);
uint64_t destination_lease_tick_ms(const Migration *m);
void destination_send_accept(Migration *m, const NotarySigned *accept);
void destination_take_key(Migration *m, const PeerMessage *message);
void destination_look_if_loaded(Migration *m, const HvState *state, const Error *failure);
void destination_send_ready(Migration *m, const NotarySigned *ready);
void destination_decline(Migration *m, const char *reason);
void destination_take_commit(Migration *m, const NotaryVerified *commit);
void destination_take_late_commit(Migration *m, const NotaryVerified *commit);
void destination_running(Migration *m);
void destination_send_activated(Migration *m, const NotarySigned *activated);
void destination_finish(Migration *m);
/* Ends it once the keys are active here and both of the source's receipts were heard. */
void destination_finish_if_all(Migration *m);

/* destination_handover.c */
void destination_all_proven(Migration *m);
void destination_load(Migration *m);
void destination_take_document(Migration *m, const PeerMessage *message);
void destination_disks_opened(Migration *m);
void destination_activate_keys(Migration *m);
void destination_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result,
			 const Error *failure);
/* True if the keys are still to be discarded: destination_undone is called again then. */
bool destination_discard_keys(Migration *m);
void destination_take_disks(Migration *m, const PeerMessage *message);
void destination_disks_attached(Migration *m);
MUST_CHECK bool destination_check_disks(const Migration *m, Error *err);

/* destination_cold.c: where a live one would run, its hypervisor is ended in order */
void destination_settle(Migration *m);
void destination_settled(Migration *m);
void destination_settle_again(Migration *m);
/* Whether the loaded VM stands as its manner wants. ERROR_HYPERVISOR: it does not, and will not. */
MUST_CHECK bool destination_stands(const Migration *m, const HvState *state, bool *ret_wait, Error *err);
/* It began to run. */
void destination_stop_running(Migration *m);

/* destination_back.c: undo is only ever before `activating` stands in the journal */
void destination_undone(Migration *m);
void destination_undo(Migration *m, const Error *cause);
void destination_killed(Migration *m);
void destination_recover(Migration *m);
void destination_ended_here(Migration *m, const Error *cause);
void destination_adopted(Migration *m, const Error *failure);
void destination_answer_query(Migration *m);
void destination_commit_again(Migration *m, const PeerMessage *message);

#endif
