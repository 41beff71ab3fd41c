/* SPDX-License-Identifier: Apache-2.0 */
/* wire/json.c under its two families: what comes on a control connection, and what is signed. */
#include "tests/fuzz/fuzz.h"
#include "wire/peer.h"
#include "wire/statement.h"

static PeerMessage message;
static Statement statement;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *names[PEER_KIND_COUNT + STATEMENT_KIND_COUNT];

	(void)argc;
	(void)argv;
	for (int i = 0; i < PEER_KIND_COUNT; i++)
		names[i] = peer_words[i];
	for (int i = 0; i < STATEMENT_KIND_COUNT; i++)
		names[PEER_KIND_COUNT + i] = statement_words[i];
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void try_peer(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(2 * LIMIT_FRAME);
	Error err = ERROR_INIT;

	if (!peer_decode(data, size, &message, &err))
		return;
	fuzz_reached((size_t)message.kind);
	if (!peer_encode_frame(&message, &again, &err))
		fuzz_fail("a message decoded that cannot be encoded");
	if (!peer_decode(again.data + PEER_FRAME_HEADER, again.used - PEER_FRAME_HEADER, &message,
			 &err))
		fuzz_fail("a message does not survive a second decoding");
}

static void try_statement(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	if (!statement_decode_json(data, size, &statement, &err))
		return;
	fuzz_reached(PEER_KIND_COUNT + (size_t)statement.kind);
	if (!statement_encode_json(&statement, &again, &err))
		fuzz_fail("a statement decoded that cannot be encoded");
	if (!statement_decode_json(again.data, again.used, &statement, &err))
		fuzz_fail("a statement does not survive a second decoding");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_peer(data, size);
	try_statement(data, size);
	return 0;
}
