/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/spiffe.c: the name in a certificate, which anybody can make. */
#include <string.h>

#include "crypto/spiffe.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_ROLE /* one for each role */, REACHED_REFUSAL = SPIFFE_ROLE_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *names[SPIFFE_ROLE_COUNT + 1];

	(void)argc;
	(void)argv;
	for (int i = 0; i < SPIFFE_ROLE_COUNT; i++)
		names[i] = spiffe_role_word((SpiffeRole)i);
	names[REACHED_REFUSAL] = "its refusal";
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SpiffeId id, again;
	Error err = ERROR_INIT;

	if (!spiffe_parse((const char *)data, size, &id, &err)) {
		if (err.category != ERROR_AUTH || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_ROLE + (size_t)id.role);
	if (strlen(id.text) != size || memcmp(id.text, data, size))
		fuzz_fail("the text is not what came");
	if (!spiffe_make(id.role, id.domain, id.name, &again, &err))
		fuzz_fail("parsed what cannot be made");
	if (strcmp(again.text, id.text))
		fuzz_fail("two texts of one identity");
	return 0;
}
