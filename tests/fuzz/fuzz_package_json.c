/* SPDX-License-Identifier: Apache-2.0 */
/* keys/package_json.c: what stands in an envelope. A text that is accepted is the only one of its
 * package. */
#include <string.h>

#include "keys/package_json.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_GOOD, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "package_decode_json", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Package package;
	Error err = ERROR_INIT;

	if (!buffer_put(&text, data, size, &err))
		return 0;
	if (!package_decode_json(text.data, text.used, &package, &err)) {
		if (err.category != ERROR_PEER || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_GOOD);
	if (!package_encode_json(&package, &again, &err))
		fuzz_fail("a package decoded that cannot be encoded");
	if (again.used != size || memcmp(again.data, data, size))
		fuzz_fail("two texts of one package");
	return 0;
}
