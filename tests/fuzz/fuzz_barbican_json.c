/* SPDX-License-Identifier: Apache-2.0 */
/* keys/barbican_json.c. Byte 0, a digit, says which answer was waited for; the rest is the answer.
 */
#include <string.h>

#include "keys/barbican_json.h"
#include "keys/wiping_memory.h"
#include "tests/fuzz/fuzz.h"

enum { ASKED_TOKEN, ASKED_CREATED, ASKED_LIST, ASKED_NAME, ASKED_REFUSAL, ASKED_COUNT };
enum { REACHED_CATALOG = ASKED_COUNT, REACHED_NONE, REACHED_LIE, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *names[REACHED_COUNT] = {
		[ASKED_TOKEN] = "a token",
		[ASKED_CREATED] = "a reference",
		[ASKED_LIST] = "a list",
		[ASKED_NAME] = "a list by name",
		[ASKED_REFUSAL] = "words of a refusal",
		[REACHED_CATALOG] = "a key manager in the catalogue",
		[REACHED_NONE] = "an empty list",
		[REACHED_LIE] = "a lie",
	};
	Error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	if (!wiping_memory_install(&err))
		fuzz_fail(err.text);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static bool try_token(const uint8_t *data, size_t size, Error *err)
{
	BarbicanToken token;

	if (!barbican_decode_token(data, size, "public", "r", &token, err))
		return false;
	if (!token.lifetime_s || !memchr(token.key_manager, '\0', sizeof(token.key_manager)))
		fuzz_fail("a token past its bounds");
	fuzz_reached(token.key_manager[0] ? REACHED_CATALOG : ASKED_TOKEN);
	return true;
}

static bool try_reference(uint8_t asked, const uint8_t *data, size_t size, Error *err)
{
	char uuid[LIMIT_UUID] = "?";

	if (asked == ASKED_CREATED
		    ? !barbican_decode_created(data, size, uuid, err)
		    : !barbican_decode_list(data, size, asked == ASKED_NAME ? "n" : NULL, uuid,
					    err)) {
		if (strcmp(uuid, "?") != 0)
			fuzz_fail("a lie that left something behind");
		return false;
	}
	if (uuid[0] ? !text_is(TEXT_UUID, uuid, LIMIT_UUID - 1) : asked == ASKED_CREATED)
		fuzz_fail("a reference that is none");
	fuzz_reached(uuid[0] ? asked : REACHED_NONE);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char words[LIMIT_BARBICAN_REFUSAL];
	Error err = ERROR_INIT;
	uint8_t asked;
	bool ok;

	if (size < 1 || data[0] < '0' || data[0] >= '0' + ASKED_COUNT)
		return 0;
	asked = (uint8_t)(data[0] - '0');
	if (asked == ASKED_REFUSAL) {
		barbican_decode_refusal(data + 1, size - 1, words);
		if (words[0])
			fuzz_reached(ASKED_REFUSAL);
		return 0;
	}
	ok = asked == ASKED_TOKEN ? try_token(data + 1, size - 1, &err)
				  : try_reference(asked, data + 1, size - 1, &err);
	if (!ok) {
		if (err.category == ERROR_NONE)
			fuzz_fail("a failure without an error");
		fuzz_reached(REACHED_LIE);
	}
	return 0;
}
