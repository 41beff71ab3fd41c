/* SPDX-License-Identifier: Apache-2.0 */
/* wire/preamble.c: the first bytes of a data channel and their answer. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "wire/preamble.h"

enum { REACHED_PREAMBLE, REACHED_REPLY };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "preamble_decode", "preamble_reply_decode" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void try_preamble(const uint8_t data[PREAMBLE_SIZE])
{
	uint8_t again[PREAMBLE_SIZE];
	Preamble preamble;
	Error err = ERROR_INIT;

	if (!preamble_decode(data, &preamble, &err))
		return;
	fuzz_reached(REACHED_PREAMBLE);
	if (preamble.channel >= LIMIT_CHANNELS)
		fuzz_fail("a channel past its bound");
	preamble_encode(&preamble, again);
	if (memcmp(again, data, sizeof(again)))
		fuzz_fail("two encodings of one preamble");
}

static void try_reply(const uint8_t data[PREAMBLE_REPLY_SIZE])
{
	uint8_t again[PREAMBLE_REPLY_SIZE];
	PreambleReply reply;
	Error err = ERROR_INIT;

	if (!preamble_reply_decode(data, &reply, &err))
		return;
	fuzz_reached(REACHED_REPLY);
	preamble_reply_encode(&reply, again);
	if (memcmp(again, data, sizeof(again)))
		fuzz_fail("two encodings of one reply");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == PREAMBLE_SIZE)
		try_preamble(data);
	if (size == PREAMBLE_REPLY_SIZE)
		try_reply(data);
	return 0;
}
