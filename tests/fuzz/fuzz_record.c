/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/record.c. Byte 0 chooses: 0, the rest is what comes from the wire, as it is; 1, the rest is
 * pairs of be16 length and inner bytes, which are sealed here as an authentic peer would, so that
 * the fuzzer gets behind the tag to the grammar.
 */
#include <string.h>

#include "base/buffer.h"
#include "tests/fuzz/fuzz.h"
#include "wire/keys.h"
#include "wire/record.h"

static uint8_t buffer[RECORD_BUFFER_SIZE];

enum { REACHED_HEADER, REACHED_TYPE /* and three more: data, end, ping, update */ };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "record_check_header", "data", "end", "ping",
					     "update" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static RecordOpener *new_opener(Secret **ret_traffic)
{
	static const uint8_t fixed[KEYS_TRAFFIC_SIZE] = { 1, 2, 3 };
	RecordOptions options = { .sealed = true, .limits = { 16, 1 << 16 } };
	Error err = ERROR_INIT;
	Secret *mine = secret_new_from(fixed, sizeof(fixed), &err);
	RecordOpener *opener =
		record_opener_new(aead_provider_by_name("openssl"), mine, &options, &err);

	*ret_traffic = secret_new_from(fixed, sizeof(fixed), &err);
	if (!opener || !*ret_traffic)
		fuzz_fail(err.text);
	return opener;
}

/* The record that stands in the buffer, of which `there` bytes follow the header. */
static bool open_one(RecordOpener *opener, size_t there, RecordType *ret_type)
{
	RecordView view;
	size_t rest;
	Error err = ERROR_INIT;

	if (!record_check_header(buffer, &rest, &err) || rest > there)
		return false;
	fuzz_reached(REACHED_HEADER);
	if (rest < RECORD_REST_MIN || rest > RECORD_REST_MAX)
		fuzz_fail("a length past its bounds");
	if (!record_open(opener, buffer, rest, &view, &err))
		return false;
	if (view.type < RECORD_DATA || view.type > RECORD_UPDATE)
		fuzz_fail("a record of no type");
	if (view.size > RECORD_CONTENT_MAX || (view.type == RECORD_DATA && !view.size))
		fuzz_fail("a record past its bounds");
	fuzz_reached(REACHED_TYPE + (size_t)view.type - RECORD_DATA);
	*ret_type = view.type;
	return true;
}

static void try_wire(RecordOpener *opener, Reader *reader)
{
	const uint8_t *record;
	RecordType type;
	size_t rest;
	Error err = ERROR_INIT;

	while (reader->left >= RECORD_HEADER_SIZE &&
	       record_check_header(reader->data, &rest, &err) &&
	       reader_skip(reader, RECORD_HEADER_SIZE + rest, &record)) {
		memcpy(buffer, record, RECORD_HEADER_SIZE + rest);
		if (!open_one(opener, rest, &type))
			return;
	}
}

/* One generation of keys of the authentic peer. */
typedef struct Peer {
	Secret *traffic, *iv;
	AeadKey *key;
	uint64_t sequence;
} Peer;

static void peer_derive(Peer *peer)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *key = keys_derive_key(peer->traffic, &err);

	aead_key_free(peer->key);
	secret_free(peer->iv);
	peer->iv = keys_derive_iv(peer->traffic, &err);
	peer->key = key ? aead_key_new(aead_provider_by_name("openssl"), key, &err) : NULL;
	peer->sequence = 0;
	if (!peer->key || !peer->iv)
		fuzz_fail(err.text);
}

static void peer_update(Peer *peer)
{
	Error err = ERROR_INIT;
	Secret *next = keys_derive_next(peer->traffic, &err);

	if (!next)
		fuzz_fail(err.text);
	secret_free(peer->traffic);
	peer->traffic = next;
	peer_derive(peer);
}

static size_t peer_seal(Peer *peer, const uint8_t *inner, size_t size)
{
	uint8_t nonce[AEAD_NONCE_SIZE], sequence[8];
	size_t rest = size + AEAD_TAG_SIZE;
	Error err = ERROR_INIT;

	memcpy(nonce, secret_peek(peer->iv), sizeof(nonce));
	store_be64(sequence, peer->sequence++);
	for (size_t i = 0; i < sizeof(sequence); i++)
		nonce[AEAD_NONCE_SIZE - sizeof(sequence) + i] ^= sequence[i];
	store_be32(buffer, (uint32_t)rest);
	if (!aead_seal(peer->key, nonce, buffer, RECORD_HEADER_SIZE, inner,
		       buffer + RECORD_HEADER_SIZE, size, buffer + RECORD_HEADER_SIZE + size, &err))
		fuzz_fail(err.text);
	return rest;
}

static void try_inner(RecordOpener *opener, Peer *peer, Reader *reader)
{
	const uint8_t *inner;
	uint16_t size;
	RecordType type;

	peer_derive(peer);
	while (reader_get_be16(reader, &size) && reader_skip(reader, size, &inner)) {
		if (!open_one(opener, peer_seal(peer, inner, size), &type))
			return;
		if (type == RECORD_UPDATE)
			peer_update(peer);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	Peer peer = { 0 };
	uint8_t choice;

	if (!reader_get_u8(&reader, &choice) || choice > 1)
		return 0;

	AUTO_RECORD_OPENER RecordOpener *opener = new_opener(&peer.traffic);

	if (choice)
		try_inner(opener, &peer, &reader);
	else
		try_wire(opener, &reader);
	aead_key_free(peer.key);
	secret_free(peer.iv);
	secret_free(peer.traffic);
	return 0;
}
