/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this layer share: the struct, and the steps both sides take alike. */
#ifndef SEALIFT_MIGRATION_INTERNAL_H
#define SEALIFT_MIGRATION_INTERNAL_H

#include "crypto/ecdh.h"
#include "migration/migration.h"
#include "migration/steps.h"

struct Migration {
	const MigrationPorts *ports;
	Step step;
	MigrationRecord record;
	VmRecord vm;
	bool has_vm;
	MigrationOptions options;
	Forecast forecast;
	bool ended;
	Error error; /* why it is being undone; set once */
	Error suspect; /* source: what broke first; a better word for it may be on its way */
	bool violated; /* our own guard refused what came */

	/* keys */
	EcdhKey *ecdh;
	Secret *migration_key, *exported;
	Statement offer, accept;
	uint8_t offer_digest[DIGEST_SHA384_BYTES], accept_digest[DIGEST_SHA384_BYTES];
	uint8_t last_digest[DIGEST_SHA384_BYTES]; /* the newest statement of the chain */

	/* what is there */
	bool connected, dialling;
	bool mover_ready;
	bool hv_prepared;
	bool hv_migrating; /* source: its hypervisor was told to migrate */
	bool hv_booted;	   /* source, cold: it may have a process here */
	bool hv_gone;
	bool killed;	   /* destination, undone: nothing of its hypervisor is to be waited for */
	bool hv_completed; /* source: it said so after ready arrived */
	bool went_on;	   /* source: the guest may have run since it was stopped: what was sent is old */
	bool accept_verified;
	bool offer_sent;
	uint64_t proven; /* bit for each channel, disks' from LIMIT_STREAM_CHANNELS on */
	StatementKind signing, verifying;
	bool is_signing, is_verifying;
	NotarySigned *commit;	/* source: signed, not yet journalled */
	NotarySigned *received; /* the statement of the peer that was verified last */
	NotarySigned *ready;	/* source: what the commit answers, not yet journalled */
	bool adopting;		/* recovery: whether its hypervisor lives is not known yet */
	bool quit_done, destroyed_signed, mover_done;
	bool late; /* nothing more is expected of the peer in this step: it finishes when its own work is done */
	bool died, died_active; /* destination: the guest ended after it was given to us; it was active then */
	unsigned int attempts; /* of what the step retries */
	int64_t entered_us;    /* when the step began */

	/* handover of keys and disks */
	PeerMessage *early;	/* a document that came before its step; one, the newest */
	PeerMessage *receipt;	/* source: `activated`, until its release was answered */
	bool receipt_refused;	/* what came was not good: no other is looked at before the next tick */
	PeerMessage *judged;	/* a document that our key manager looks at now */
	bool keys_asked;	/* our key manager was asked, for keys_asking */
	TransferKind keys_asking;
	bool keys_named;	/* source: the record has them */
	bool keys_active;	/* destination */
	bool released;		/* destination: the source's key manager has let go, or keeps them */
	bool hv_mirroring;	/* source: its hypervisor was told to copy disks */
	bool unmirroring;	/* and to give it up */
	KeyTransferred *imported; /* destination: to be sent once the disks are open */
	bool disks_attaching, disks_attached; /* destination */
	bool destroyed_heard;	/* destination: the source host's own statement */

	/* times, microseconds of the monotonic clock, 0: not yet */
	int64_t started_us, stop_us, resume_us, commit_received_us, activated_us, last_heard_us;
	int64_t keys_us; /* source: when its channels were proven, and the keys' turn came */
	uint64_t rtt_us;
	MoverStats stats;
};

int64_t migration_now_us(const Migration *m);
/* Whether the VM is stopped on both sides, whatever process carries it. */
static inline bool migration_is_cold(const Migration *m)
{
	return m->record.manner == MANNER_COLD;
}
/* Enters a step: deadline, record's phase, notification. */
void migration_enter(Migration *m, Step step);
/* Writes the record, with a statement unless NULL. A failure is logged too. */
MUST_CHECK bool migration_journal(Migration *m, StatementKind kind, const NotarySigned *stored, Error *err);
MUST_CHECK bool migration_journal_record(Migration *m, Error *err);
/* The last entry; what cannot be written is logged, since nothing can be undone any more. */
void migration_end(Migration *m, MigrationState state);
void migration_try_to_end(Migration *m);
void migration_note_error(Migration *m, const Error *cause);
void migration_clear_error(Migration *m);
void migration_log(Migration *m, bool warning, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Fills what every statement has, with previous = last_digest, and has the notary sign it. */
void migration_sign(Migration *m, Statement *statement, StatementKind kind);
/* Has the notary verify what the peer sent; its signer must be the peer. */
void migration_verify(Migration *m, StatementKind kind, const PeerMessage *message);
/* Whether a verified statement belongs to this migration and answers last_digest. ERROR_PEER. */
MUST_CHECK bool migration_check_statement(const Migration *m, const Statement *statement, Error *err);
/* For migration_send_and_free, which wipes and releases it. */
PeerMessage *migration_new_message(const Migration *m, PeerKind kind, Error *err);
MUST_CHECK bool migration_send_and_free(Migration *m, PeerMessage *message, Error *err);
MUST_CHECK bool migration_send(Migration *m, PeerKind kind, Error *err);
MUST_CHECK bool migration_send_statement(Migration *m, StatementKind kind, const uint8_t *cms,
					 size_t cms_size, Error *err);
/* Sends a statement that the store holds. */
MUST_CHECK bool migration_send_stored(Migration *m, StatementKind kind, Error *err);
MUST_CHECK bool migration_send_reason(Migration *m, PeerKind kind, const Error *reason, Error *err);
/* Derives the migration's secret and hands it to the mover (PROTOCOL.md, "Key schedule"). */
MUST_CHECK bool migration_setup_mover(Migration *m, const uint8_t peer_share[SHARE_BYTES], Error *err);
/* Delay before retry number m->attempts, and counts it: 250 ms doubling up to 15 s. */
uint64_t migration_backoff_ms(Migration *m);
bool migration_all_proven(const Migration *m);
/* Into the report. */
void migration_take_guard_stats(Migration *m);

/* --- handover.c: what both sides do for keys and copied disks --- */
/* Keeps of the VM's keys those that travel; ERROR_NOT_FOUND names what has none. */
MUST_CHECK bool migration_choose_keys(MigrationRecord *record, const Manifest *manifest,
				      const OfferedKey *keys, size_t count, Error *err);
/* Whether these are just the keys that this manifest needs. ERROR_PEER. */
MUST_CHECK bool migration_check_keys(const Manifest *manifest, const OfferedKey *keys, size_t count,
				     Error *err);
MUST_CHECK bool migration_set_permit(Migration *m, Error *err);
/* Asks our key manager; false if it is being asked already. */
bool migration_ask_keys(Migration *m, TransferKind kind, const PeerMessage *in);
/* Sends what our key manager signed. */
MUST_CHECK bool migration_send_document(Migration *m, KeyDocument document,
					const KeyTransferred *result, Error *err);
/* Whether what our key manager said is no statement, but a line between two hosts that share it:
 * nothing was packed, and nothing is destroyed (PROTOCOL.md). */
bool migration_keys_stayed(const KeyTransferred *result);
/* Puts evidence aside for auditors. */
void migration_keep_document(Migration *m, KeyDocument document, const void *cms, size_t size);
MUST_CHECK bool migration_send_disks(Migration *m, DisksWord word, Error *err);
/* Keeps a copy in *slot for a later step. */
MUST_CHECK bool migration_keep(PeerMessage **slot, const PeerMessage *message, Error *err);
void migration_drop(PeerMessage **slot);

/* The two sides; core.c calls the one of the record's role. */
typedef struct MigrationSide {
	void (*recover)(Migration *m);
	void (*cancel)(Migration *m, const Error *cause);
	void (*on_peer_open)(Migration *m);
	void (*on_peer_message)(Migration *m, const PeerMessage *message);
	void (*on_peer_closed)(Migration *m, const Error *cause);
	void (*on_exported)(Migration *m);
	void (*on_signed)(Migration *m, StatementKind kind, const NotarySigned *result);
	void (*on_verified)(Migration *m, StatementKind kind, const NotaryVerified *result);
	void (*on_trouble)(Migration *m, const Error *cause); /* notary, mover, deadline */
	void (*on_mover_ready)(Migration *m);
	void (*on_all_proven)(Migration *m);
	void (*on_mover_done)(Migration *m);
	void (*on_mover_failed)(Migration *m, const Error *cause);
	void (*on_keys)(Migration *m, TransferKind kind, const KeyTransferred *result,
			const Error *failure);
	void (*on_hv_done)(Migration *m, HvOperation operation, const Error *failure);
	void (*on_hv_state)(Migration *m, const HvState *state, const Error *failure);
	void (*on_hv_status)(Migration *m, HvStatus status);
	void (*on_hv_resume)(Migration *m);
	void (*on_hv_gone)(Migration *m, const Error *cause);
	void (*on_deadline)(Migration *m, const Error *cause);
	void (*on_tick)(Migration *m);
} MigrationSide;
extern const MigrationSide source_side, destination_side;

void source_start(Migration *m);
MUST_CHECK bool source_run_here(Migration *m, Error *err);
MUST_CHECK bool destination_discard(Migration *m, Error *err);
/* Destination: the judgement of an offer against policy, bookings and the store. */
MUST_CHECK bool admission_judge(Migration *m, const Statement *offer, Error *err);

#endif
