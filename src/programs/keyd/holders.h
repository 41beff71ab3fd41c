/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose keys are whose, where several hosts of a domain share this key manager: a key is of the
 * host that made it, or that it came to, until it is handed over. All of it stands in the log of
 * the store, which nobody without the root key changes unseen, and is read from there at each
 * start:
 *
 *   created, received	its `who` begins with the host's name; without one it is our own host
 *   attested		"handover MIGRATION begun HOST", "handover MIGRATION done", "... undone"
 *
 * A key of which nothing is known here is our own host's.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_HOLDERS_H
#define SEALIFT_PROGRAMS_KEYD_HOLDERS_H

#include "keys/key_store.h"

enum {
	HOLDER_OWN = 0,		 /* our own host */
	HOLDER_UNKNOWN = 0xffff, /* a name that holds nothing, or one too many: nobody */
	HOLDERS_NAMES_MAX = 1024,
	HANDOVERS_MAX = 4096, /* that are remembered; the oldest that has ended goes first */
	HANDOVER_HEX = 33,
};

typedef enum HandoverState {
	HANDOVER_NONE,
	HANDOVER_BEGUN,
	HANDOVER_DONE,
	HANDOVER_UNDONE
} HandoverState;

/* A move between two hosts that share this key manager. */
typedef struct Handover {
	uint8_t migration[16];
	HandoverState state;
	uint16_t from, to;
	uint64_t number; /* the log entry that began it */
} Handover;

typedef struct Holder {
	uint8_t id[KEY_ID_BYTES];
	uint16_t host;
	uint16_t handover; /* index + 1 of the last one; 0: none */
	bool used;
} Holder;

/* All zeros: an empty log was read. */
typedef struct Holders {
	Holder *places; /* open addressing; NULL: none */
	size_t size, used;
	char (*names)[LIMIT_SPIFFE_ID]; /* of number 1 and on */
	size_t names_count;
	Handover *handovers; /* HANDOVERS_MAX, or NULL */
	uint64_t entries;    /* of the log that were read */
	Error failure;	     /* memory was short: nothing is known for certain any more */
} Holders;

void holders_clear(Holders *holders);
/* Takes the next entry of the log; those that were read already are passed over. */
void holders_note(Holders *holders, const KeyLogEntry *entry);
/* Reads what is new in the log. ERROR_INTERNAL if it cannot be known who has what. */
MUST_CHECK bool holders_read(Holders *holders, KeyStore *store, Error *err);

/* The number of the host that a `who` is of. */
uint16_t holders_host(const Holders *holders, const char *who);
/* "" for our own. */
const char *holders_name(const Holders *holders, uint16_t host);
uint16_t holders_of(const Holders *holders, const uint8_t id[KEY_ID_BYTES]);
/* NULL: none is known of this migration; and that of a key. */
const Handover *holders_handover(const Holders *holders, const uint8_t migration[16]);
const Handover *holders_handover_of(const Holders *holders, const uint8_t id[KEY_ID_BYTES]);

#endif
