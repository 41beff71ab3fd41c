/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the control connection: be32 length, then one JSON object with "message": KIND.
 * PROTOCOL.md, section "Control connection". What has legal weight travels inside `statement`, as
 * CMS; the rest only coordinates and is believed by nobody for more than that.
 */
#ifndef SEALIFT_WIRE_PEER_H
#define SEALIFT_WIRE_PEER_H

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/schema.h"
#include "wire/statement.h"

/* Minor versions of the protocol "sealift/1" that this build speaks. */
enum { PEER_VERSION_MIN = 0, PEER_VERSION_MAX = 0, PEER_FRAME_HEADER = 4, MIGRATION_KEY_BYTES = 32 };

typedef enum PeerKind {
	PEER_HELLO,	/* first in each direction */
	PEER_STATEMENT, /* a signed statement */
	PEER_KEY,	/* source to destination: the migration key */
	PEER_KEYED,	/* destination to source: channels may be opened now */
	PEER_REFUSE,	/* the destination will not go on, and why */
	PEER_CANCEL,	/* the source gives up, before commit */
	PEER_QUERY,	/* recovery, source to destination: where do you stand? */
	PEER_STATE,	/* the answer */
	PEER_PING,
	PEER_PONG,
	PEER_KEYS,	/* a signed document of a key manager */
	PEER_DISKS,	/* where the copying of disks stands */
	PEER_KIND_COUNT,
} PeerKind;
extern const char *const peer_words[PEER_KIND_COUNT];

/* Where a destination stands in a migration, for a source that recovers. */
typedef enum PeerState {
	PEER_STATE_UNKNOWN,   /* never heard of it, or undone: nothing runs here */
	PEER_STATE_PREPARING, /* reserved or loading: nothing runs here */
	PEER_STATE_READY,     /* loaded and paused, waits for commit */
	PEER_STATE_ACTIVE,    /* committed: it runs here, activated follows */
	PEER_STATE_DECLINED,  /* declined, the statement follows */
	PEER_STATE_COUNT,
} PeerState;
extern const char *const peer_state_words[PEER_STATE_COUNT];

/* What key managers say to each other through their hosts. PROTOCOL.md, "Key packages". */
typedef enum KeyDocument {
	KEY_DOCUMENT_OFFER,	/* destination: seal the package for this certificate */
	KEY_DOCUMENT_PACKAGE,	/* source: the keys */
	KEY_DOCUMENT_IMPORTED,	/* destination's receipts: the keys are here, and asleep */
	KEY_DOCUMENT_ACTIVATED, /* the VM runs here, its keys are active */
	KEY_DOCUMENT_DISCARDED, /* it did not come to that: they are destroyed here */
	KEY_DOCUMENT_DESTROYED, /* source's receipts: they are destroyed there */
	KEY_DOCUMENT_KEPT,	/* the offer said keep_keys */
	KEY_DOCUMENT_COUNT,
} KeyDocument;
extern const char *const key_document_words[KEY_DOCUMENT_COUNT];

/* Block migration: the disks' part of the switchover. */
typedef enum DisksWord {
	DISKS_COPIED, /* source, its guest stopped: every byte was sent, the channels have ended */
	DISKS_TAKEN,  /* destination: the images are whole and in the hypervisor's hands */
	DISKS_WORD_COUNT,
} DisksWord;
extern const char *const disks_words[DISKS_WORD_COUNT];

typedef struct PeerMessage {
	PeerKind kind;
	/* hello */
	uint64_t version_min, version_max;
	char software[LIMIT_NAME];
	uint8_t crl[LIMIT_CRL]; /* DER, of the speaker's own domain */
	size_t crl_size;
	/* statement */
	StatementKind statement; /* what the CMS claims to hold; the notary finds out */
	uint8_t cms[LIMIT_STATEMENT];
	size_t cms_size;
	/* key, keyed, refuse, cancel, query, state, and statement (for routing only) */
	uint8_t migration[MIGRATION_ID_BYTES];
	uint8_t key[MIGRATION_KEY_BYTES];
	char category[LIMIT_NAME]; /* refuse, cancel: error_word() */
	char text[LIMIT_TEXT];
	PeerState state;
	/* ping, pong */
	uint64_t stamp_us;
	/* keys */
	KeyDocument document;
	uint8_t package[LIMIT_PACKAGE]; /* CMS, DER */
	size_t package_size;
	/* disks */
	DisksWord disks;
} PeerMessage;

extern const Schema *const peer_schemas[PEER_KIND_COUNT];
extern const Schema peer_hello_schema, peer_statement_schema, peer_key_schema, peer_keyed_schema,
	peer_refuse_schema, peer_cancel_schema, peer_query_schema, peer_state_schema,
	peer_ping_schema, peer_pong_schema, peer_keys_schema, peer_disks_schema;

/* Whether a peer that speaks min..max and this build have a version in common. */
bool peer_version_fits(uint64_t min, uint64_t max);

/* Appends a whole frame, length included. */
MUST_CHECK bool peer_encode_frame(const PeerMessage *message, Buffer *buffer, Error *err);
/* Decodes the JSON of one frame (without the length). Sets ret_message->kind. */
MUST_CHECK bool peer_decode(const void *data, size_t size, PeerMessage *ret_message, Error *err);

#endif
