/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "wire/keys.h"

const RecordLimits record_limits_default = {
	.records = UINT64_C(1) << 18,
	.blocks = UINT64_C(1) << 32,
};

enum { BLOCK_SIZE = 16 };

#define LIMIT_RECORDS_MIN UINT64_C(2) /* a ping alone never uses a key up */
#define LIMIT_RECORDS_MAX (UINT64_C(1) << 32)
#define LIMIT_BLOCKS_MIN  (UINT64_C(1) << 16)
#define LIMIT_BLOCKS_MAX  (UINT64_C(1) << 32)

/* One direction: its keys, and what they have been used for. */
typedef struct Traffic {
	const AeadProvider *provider;
	Secret *secret;
	Secret *iv;
	AeadKey *key;
	RecordOptions options;
	uint64_t sequence; /* of the next record = records under this key: the bound on records
			    * keeps it far from wrapping */
	uint64_t blocks;
	uint64_t bytes;	  /* of data */
	uint64_t records; /* under all keys */
	bool begun;	  /* by a ping */
	bool ended;
	bool dead;
} Traffic;

struct RecordSealer {
	Traffic traffic;
};

struct RecordOpener {
	Traffic traffic;
};

static bool check_options(const RecordOptions *options, Error *err)
{
	const RecordLimits *limits = &options->limits;

	if (limits->records < LIMIT_RECORDS_MIN || limits->records > LIMIT_RECORDS_MAX ||
	    limits->blocks < LIMIT_BLOCKS_MIN || limits->blocks > LIMIT_BLOCKS_MAX)
		return error_set(err, ERROR_INTERNAL, "key limits of %llu records, %llu blocks",
				 (unsigned long long)limits->records,
				 (unsigned long long)limits->blocks);
	if (options->padding > RECORD_PADDING_MAX || (options->padding & (options->padding - 1)))
		return error_set(err, ERROR_INTERNAL,
				 "padding to %zu bytes is no power of two up to %d",
				 options->padding, RECORD_PADDING_MAX);
	return true;
}

static bool load_keys(Traffic *traffic, Error *err)
{
	AUTO_SECRET Secret *key = keys_derive_key(traffic->secret, err);

	secret_free(traffic->iv);
	traffic->iv = key ? keys_derive_iv(traffic->secret, err) : NULL;
	traffic->sequence = 0;
	traffic->blocks = 0;
	if (!traffic->iv)
		return false;
	if (traffic->key)
		return aead_key_replace(traffic->key, key, err);
	traffic->key = aead_key_new(traffic->provider, key, err);
	return traffic->key != NULL;
}

static bool traffic_init(Traffic *traffic, const AeadProvider *provider, Secret *secret,
			 const RecordOptions *options, Error *err)
{
	*traffic = (Traffic){ .provider = provider, .secret = secret, .options = *options };
	if (secret_size(secret) != KEYS_TRAFFIC_SIZE)
		return error_set(err, ERROR_INTERNAL, "a traffic secret has %zu bytes, expected %d",
				 secret_size(secret), KEYS_TRAFFIC_SIZE);
	return check_options(options, err) && load_keys(traffic, err);
}

static void traffic_clear(Traffic *traffic)
{
	aead_key_free(traffic->key);
	secret_free(traffic->iv);
	secret_free(traffic->secret);
}

static bool traffic_update(Traffic *traffic, Error *err)
{
	Secret *next = keys_derive_next(traffic->secret, err);

	if (!next)
		return false;
	secret_free(traffic->secret);
	traffic->secret = next;
	return load_keys(traffic, err);
}

static bool is_used_up(const Traffic *traffic)
{
	return traffic->sequence >= traffic->options.limits.records ||
	       traffic->blocks >= traffic->options.limits.blocks;
}

/* The nonce of the next record (RFC 8446, section 5.3), which is thereby spent. */
static void take_nonce(Traffic *traffic, size_t inner, uint8_t ret_nonce[AEAD_NONCE_SIZE])
{
	uint8_t sequence[8];

	memcpy(ret_nonce, secret_peek(traffic->iv), AEAD_NONCE_SIZE);
	store_be64(sequence, traffic->sequence);
	for (size_t i = 0; i < sizeof(sequence); i++)
		ret_nonce[AEAD_NONCE_SIZE - sizeof(sequence) + i] ^= sequence[i];
	traffic->sequence++;
	traffic->records++;
	/* the header and the lengths block count too */
	traffic->blocks += (inner + BLOCK_SIZE - 1) / BLOCK_SIZE + 2;
}

RecordSealer *record_sealer_new(const AeadProvider *provider, Secret *traffic,
				const RecordOptions *options, Error *err)
{
	AUTO_SECRET Secret *secret = traffic;
	AUTO_RECORD_SEALER RecordSealer *sealer = calloc(1, sizeof(*sealer));

	if (!sealer) {
		error_set(err, ERROR_INTERNAL, "no memory for a record layer");
		return NULL;
	}
	if (!traffic_init(&sealer->traffic, provider, TAKE_PTR(secret), options, err))
		return NULL;
	return TAKE_PTR(sealer);
}

RecordOpener *record_opener_new(const AeadProvider *provider, Secret *traffic,
				const RecordOptions *options, Error *err)
{
	AUTO_SECRET Secret *secret = traffic;
	AUTO_RECORD_OPENER RecordOpener *opener = calloc(1, sizeof(*opener));

	if (!opener) {
		error_set(err, ERROR_INTERNAL, "no memory for a record layer");
		return NULL;
	}
	if (!traffic_init(&opener->traffic, provider, TAKE_PTR(secret), options, err))
		return NULL;
	return TAKE_PTR(opener);
}

void record_sealer_free(RecordSealer *sealer)
{
	if (sealer)
		traffic_clear(&sealer->traffic);
	free(sealer);
}

void record_opener_free(RecordOpener *opener)
{
	if (opener)
		traffic_clear(&opener->traffic);
	free(opener);
}

uint64_t record_sealer_bytes(const RecordSealer *sealer)
{
	return sealer->traffic.bytes;
}

uint64_t record_sealer_records(const RecordSealer *sealer)
{
	return sealer->traffic.records;
}

uint64_t record_opener_records(const RecordOpener *opener)
{
	return opener->traffic.records;
}

uint64_t record_opener_bytes(const RecordOpener *opener)
{
	return opener->traffic.bytes;
}

bool record_opener_ended(const RecordOpener *opener)
{
	return opener->traffic.ended;
}

/* Content and type, rounded up. A ping keeps its size, so that its receiver can ask for it, and an
 * update, for which the buffer has just that room behind another record. */
static size_t padded_size(const Traffic *traffic, RecordType type, size_t size)
{
	size_t multiple = traffic->options.padding;
	size_t inner = size + RECORD_TYPE_SIZE;

	if (multiple < 2 || type == RECORD_PING || type == RECORD_UPDATE)
		return inner;
	return (inner + multiple - 1) & ~(multiple - 1);
}

static bool seal_record(Traffic *traffic, RecordType type, uint8_t *buffer, size_t size,
			size_t *ret_size, Error *err)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	uint8_t *content = buffer + RECORD_HEADER_SIZE;
	size_t inner = padded_size(traffic, type, size);
	bool ok;

	store_be32(buffer, (uint32_t)(inner + AEAD_TAG_SIZE));
	content[size] = (uint8_t)type;
	memset(content + size + 1, 0, inner - size - 1);
	take_nonce(traffic, inner, nonce);
	if (traffic->options.sealed)
		ok = aead_seal(traffic->key, nonce, buffer, RECORD_HEADER_SIZE, content, content,
			       inner, content + inner, err);
	else
		ok = aead_seal(traffic->key, nonce, buffer, RECORD_HEADER_SIZE + inner, NULL, NULL,
			       0, content + inner, err);
	*ret_size = RECORD_HEADER_SIZE + inner + AEAD_TAG_SIZE;
	return ok;
}

static bool seal(Traffic *traffic, RecordType type, uint8_t *buffer, size_t size, size_t *ret_size,
		 Error *err)
{
	size_t update_size;

	if (traffic->dead || traffic->ended || (!traffic->begun && type != RECORD_PING))
		return error_set(err, ERROR_INTERNAL, "record type %d cannot be sent now",
				 (int)type);
	traffic->dead = true;
	if (!seal_record(traffic, type, buffer, size, ret_size, err))
		return false;
	if (is_used_up(traffic) && type != RECORD_END) {
		if (!seal_record(traffic, RECORD_UPDATE, buffer + *ret_size, 0, &update_size,
				 err) ||
		    !traffic_update(traffic, err))
			return false;
		*ret_size += update_size;
	}
	traffic->begun = true;
	traffic->dead = false;
	return true;
}

bool record_seal_data(RecordSealer *sealer, uint8_t *buffer, size_t size, size_t *ret_size,
		      Error *err)
{
	if (!size || size > RECORD_CONTENT_MAX)
		return error_set(err, ERROR_INTERNAL,
				 "a data record of %zu bytes, expected 1 to %d", size,
				 RECORD_CONTENT_MAX);
	if (!seal(&sealer->traffic, RECORD_DATA, buffer, size, ret_size, err))
		return false;
	sealer->traffic.bytes += size;
	return true;
}

bool record_seal_ping(RecordSealer *sealer, uint8_t *buffer, size_t *ret_size, Error *err)
{
	return seal(&sealer->traffic, RECORD_PING, buffer, 0, ret_size, err);
}

bool record_seal_end(RecordSealer *sealer, uint8_t *buffer, size_t *ret_size, Error *err)
{
	store_be64(buffer + RECORD_HEADER_SIZE, sealer->traffic.bytes);
	if (!seal(&sealer->traffic, RECORD_END, buffer, RECORD_END_CONTENT, ret_size, err))
		return false;
	sealer->traffic.ended = true;
	return true;
}

bool record_check_header(const uint8_t header[RECORD_HEADER_SIZE], size_t *ret_rest, Error *err)
{
	uint32_t rest = load_be32(header);

	if (rest < RECORD_REST_MIN || rest > RECORD_REST_MAX)
		return error_set(err, ERROR_PEER, "a record of %u bytes, expected %d to %d", rest,
				 RECORD_REST_MIN, RECORD_REST_MAX);
	*ret_rest = rest;
	return true;
}

static bool check_data(Traffic *traffic, const RecordView *record, Error *err)
{
	if (!record->size)
		return error_set(err, ERROR_PEER, "a data record without data");
	traffic->bytes += record->size;
	return true;
}

static bool check_end(Traffic *traffic, const RecordView *record, Error *err)
{
	uint64_t count;

	if (record->size != RECORD_END_CONTENT)
		return error_set(err, ERROR_PEER, "an end record with %zu bytes, expected %d",
				 record->size, RECORD_END_CONTENT);
	count = load_be64(record->content);
	if (count != traffic->bytes)
		return error_set(err, ERROR_PEER, "the peer ended after %llu bytes, %llu arrived",
				 (unsigned long long)count, (unsigned long long)traffic->bytes);
	traffic->ended = true;
	return true;
}

static bool check_ping(Traffic *traffic, const RecordView *record, Error *err)
{
	if (record->size)
		return error_set(err, ERROR_PEER, "a ping with %zu bytes, expected 0",
				 record->size);
	traffic->begun = true;
	return true;
}

/* sequence already counts the update itself. */
static bool check_update(Traffic *traffic, const RecordView *record, Error *err)
{
	if (record->size)
		return error_set(err, ERROR_PEER, "a key update with %zu bytes, expected 0",
				 record->size);
	if (traffic->sequence < 2)
		return error_set(err, ERROR_PEER, "a key update under a key that carried nothing");
	return traffic_update(traffic, err);
}

static const struct {
	bool (*check)(Traffic *traffic, const RecordView *record, Error *err);
} record_types[] = {
	[RECORD_DATA] = { check_data },
	[RECORD_END] = { check_end },
	[RECORD_PING] = { check_ping },
	[RECORD_UPDATE] = { check_update },
};
static_assert(ARRAY_SIZE(record_types) == RECORD_UPDATE + 1, "each record type has a row");

/* RFC 8446, section 5.4: the type is the last byte that is not zero. */
static bool find_type(const uint8_t *inner, size_t size, uint8_t *ret_type, size_t *ret_content,
		      Error *err)
{
	while (size && !inner[size - 1])
		size--;
	if (!size)
		return error_set(err, ERROR_PEER, "a record of padding only, without a type");
	*ret_type = inner[size - 1];
	*ret_content = size - 1;
	return true;
}

static bool authenticate(Traffic *traffic, uint8_t *buffer, size_t inner, Error *err)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	uint8_t *content = buffer + RECORD_HEADER_SIZE;
	uint64_t sequence = traffic->sequence;
	bool ok;

	take_nonce(traffic, inner, nonce);
	if (traffic->options.sealed)
		ok = aead_open(traffic->key, nonce, buffer, RECORD_HEADER_SIZE, content, content,
			       inner, content + inner, err);
	else
		ok = aead_open(traffic->key, nonce, buffer, RECORD_HEADER_SIZE + inner, NULL, NULL,
			       0, content + inner, err);
	if (ok)
		return true;
	/* The aead layer knows no sequence: say which record, for the person who looks for it. */
	return error_set(
		err, ERROR_AUTH,
		"record %llu of %zu bytes is not authentic: changed, dropped, repeated, out of "
		"order or from another channel",
		(unsigned long long)sequence, inner);
}

static bool open_record(Traffic *traffic, uint8_t *buffer, size_t rest, RecordView *ret_record,
			Error *err)
{
	size_t inner = rest - AEAD_TAG_SIZE;
	const bool used_up = is_used_up(traffic);
	uint8_t type = 0;

	if (traffic->ended)
		return error_set(err, ERROR_PEER, "a record after the end of the stream");
	if (!authenticate(traffic, buffer, inner, err))
		return false;
	ret_record->content = buffer + RECORD_HEADER_SIZE;
	if (!find_type(ret_record->content, inner, &type, &ret_record->size, err))
		return false;
	if (type >= ARRAY_SIZE(record_types) || !record_types[type].check)
		return error_set(err, ERROR_PEER, "record type %u is not known, the last is %d",
				 type, RECORD_UPDATE);
	ret_record->type = (RecordType)type;
	if (!traffic->begun && type != RECORD_PING)
		return error_set(err, ERROR_PEER, "the first record has type %u, expected a ping",
				 type);
	if (used_up && type != RECORD_UPDATE)
		return error_set(
			err, ERROR_PEER,
			"a key past its bounds of %llu records and %llu blocks without update",
			(unsigned long long)traffic->options.limits.records,
			(unsigned long long)traffic->options.limits.blocks);
	return record_types[type].check(traffic, ret_record, err);
}

bool record_open(RecordOpener *opener, uint8_t *buffer, size_t rest, RecordView *ret_record,
		 Error *err)
{
	Traffic *traffic = &opener->traffic;

	assert(rest >= RECORD_REST_MIN && rest <= RECORD_REST_MAX);
	if (traffic->dead)
		return error_set(err, ERROR_INTERNAL, "a record after one that was refused");
	traffic->dead = !open_record(traffic, buffer, rest, ret_record, err);
	return !traffic->dead;
}
