/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record layer of a data channel: PROTOCOL.md, sections "Records" and "Key update".
 *
 *	be32 length | ciphertext | 16-byte tag		length counts ciphertext and tag
 *	ciphertext = AES-256-GCM(content || type || zero padding), header as associated data,
 *	nonce = IV xor be64(sequence)			as in RFC 8446, sections 5.2 to 5.4
 *
 * In readable mode (`disabled`) nothing is encrypted: the tag is GMAC over header and content.
 *
 * Each side has a RecordSealer for what it sends and a RecordOpener for what it gets. Both keep the
 * whole grammar of a direction: first a ping, which proves the key; then data, ping and update in
 * any order; then one end with the count of content bytes; then nothing. Both work in place: the
 * caller owns a buffer of RECORD_BUFFER_SIZE bytes, content begins at RECORD_HEADER_SIZE.
 * For one thread at a time each.
 */
#ifndef SEALIFT_WIRE_RECORD_H
#define SEALIFT_WIRE_RECORD_H

#include <stdint.h>

#include "base/bounds.h"
#include "crypto/aead.h"

enum {
	RECORD_HEADER_SIZE = 4,
	RECORD_TYPE_SIZE = 1,
	RECORD_OVERHEAD = RECORD_HEADER_SIZE + RECORD_TYPE_SIZE + AEAD_TAG_SIZE,
	RECORD_CONTENT_MAX = LIMIT_RECORD_PLAINTEXT - RECORD_TYPE_SIZE,
	RECORD_REST_MIN = RECORD_TYPE_SIZE + AEAD_TAG_SIZE, /* least value of the length field */
	RECORD_REST_MAX = LIMIT_RECORD_PLAINTEXT + AEAD_TAG_SIZE,
	RECORD_PING_SIZE = RECORD_OVERHEAD, /* on the wire; pings and updates are never padded */
	RECORD_PING_BUFFER_SIZE = 2 * RECORD_OVERHEAD, /* enough to seal or open a ping */
	RECORD_END_CONTENT = 8,
	/* the largest record and, behind it, a key update */
	RECORD_BUFFER_SIZE = RECORD_HEADER_SIZE + RECORD_REST_MAX + RECORD_OVERHEAD,
	RECORD_PADDING_MAX = 65536,
};

/* Zero is no type, so that padding has an end (RFC 8446, section 5.4). */
typedef enum RecordType {
	RECORD_DATA = 1,   /* 1..RECORD_CONTENT_MAX bytes of the stream */
	RECORD_END = 2,	   /* be64: the count of data bytes in this direction */
	RECORD_PING = 3,   /* empty */
	RECORD_UPDATE = 4, /* empty; the next record has the next key and sequence 0 */
} RecordType;

/*
 * When a key is replaced. A sealer sends an update as soon as one bound is reached; an opener
 * refuses a peer that went past one. The default: 2^18 records or 2^32 blocks of 16 bytes (64 GiB).
 * With s = 2^32 blocks under one key the advantage over an ideal cipher is about s^2 / 2^129 =
 * 2^-65 (RFC 8446, section 5.5, allows 2^24.5 records of 2^10 blocks for 2^-57); the nonces are
 * counted, far from the 2^32 invocations of NIST SP 800-38D, section 8.3; one forgery ends the
 * connection.
 */
typedef struct RecordLimits {
	uint64_t records; /* 2..2^32 */
	uint64_t blocks;  /* 2^16..2^32 */
} RecordLimits;
extern const RecordLimits record_limits_default;

typedef struct RecordOptions {
	bool sealed;	/* false: readable, authenticated by GMAC */
	size_t padding; /* inner size is rounded up to a multiple of this power of two at most
			   RECORD_PADDING_MAX; 0 or 1: no padding. Sealer only */
	RecordLimits limits;
} RecordOptions;

typedef struct RecordSealer RecordSealer;
typedef struct RecordOpener RecordOpener;

/* traffic: KEYS_TRAFFIC_SIZE bytes; taken, and wiped on failure too. Owned by the caller.
 * ERROR_INTERNAL for bad options or without memory. */
MUST_CHECK RecordSealer *record_sealer_new(const AeadProvider *provider, Secret *traffic,
					   const RecordOptions *options, Error *err);
MUST_CHECK RecordOpener *record_opener_new(const AeadProvider *provider, Secret *traffic,
					   const RecordOptions *options, Error *err);
/* Wipe and release; NULL is fine. */
void record_sealer_free(RecordSealer *sealer);
void record_opener_free(RecordOpener *opener);
DEFINE_CLEANUP(RecordSealer, record_sealer, record_sealer_free)
DEFINE_CLEANUP(RecordOpener, record_opener, record_opener_free)
#define AUTO_RECORD_SEALER CLEANUP(record_sealer_cleanup)
#define AUTO_RECORD_OPENER CLEANUP(record_opener_cleanup)

/*
 * Seals in place: buffer has RECORD_BUFFER_SIZE bytes and, for data, `size` (1..RECORD_CONTENT_MAX)
 * content bytes at RECORD_HEADER_SIZE. *ret_size bytes from its start are then to be sent; where a
 * bound of the key is reached an update stands behind the record and is counted in.
 * ERROR_INTERNAL for what the grammar forbids; the sealer is of no use then.
 */
MUST_CHECK bool record_seal_data(RecordSealer *sealer, uint8_t *buffer, size_t size,
				 size_t *ret_size, Error *err);
MUST_CHECK bool record_seal_ping(RecordSealer *sealer, uint8_t *buffer, size_t *ret_size,
				 Error *err);
/* The end, with the count of all data sealed before. Nothing can follow. */
MUST_CHECK bool record_seal_end(RecordSealer *sealer, uint8_t *buffer, size_t *ret_size,
				Error *err);
/* Content bytes of all data records so far, and the count of all records, pings and updates too. */
uint64_t record_sealer_bytes(const RecordSealer *sealer);
uint64_t record_sealer_records(const RecordSealer *sealer);

/* How many bytes follow this header, RECORD_REST_MIN..RECORD_REST_MAX: to be checked before they
 * are read. ERROR_PEER with the value and the bound. */
MUST_CHECK bool record_check_header(const uint8_t header[RECORD_HEADER_SIZE], size_t *ret_rest,
				    Error *err);

typedef struct RecordView {
	RecordType type;
	const uint8_t *content; /* inside the buffer */
	size_t size;
} RecordView;

/*
 * Opens in place a record that begins with its header and has `rest` bytes behind it. ERROR_AUTH if
 * the tag does not fit: flipped, repeated, reordered, another channel or key. ERROR_PEER for what
 * is authentic but against the grammar: no type, an unknown type, empty data, a first record that
 * is no ping, an end with another count, anything after the end, a key used past its bounds, an
 * update under a key that carried nothing. An update is carried out inside. The opener is dead
 * after an error.
 */
MUST_CHECK bool record_open(RecordOpener *opener, uint8_t *buffer, size_t rest,
			    RecordView *ret_record, Error *err);
uint64_t record_opener_bytes(const RecordOpener *opener);
uint64_t record_opener_records(const RecordOpener *opener);
bool record_opener_ended(const RecordOpener *opener);

#endif
