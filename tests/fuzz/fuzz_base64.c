/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/base64.c: statements and certificates inside a peer's JSON. */
#include <string.h>

#include "base/bounds.h"
#include "crypto/base64.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_BYTES, REACHED_REFUSAL, REACHED_LIMIT };
enum { BYTES_MAX = 64 }; /* small, so that the bound is met */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "base64_decode", "its refusal", "its bound" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(BYTES_MAX);
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_FRAME);
	Error err = ERROR_INIT;

	if (!base64_decode((const char *)data, size, &bytes, &err)) {
		if (bytes.used)
			fuzz_fail("a refusal that left bytes behind");
		fuzz_reached(err.category == ERROR_LIMIT ? REACHED_LIMIT : REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_BYTES);
	if (!base64_encode(bytes.data, bytes.used, &text, &err))
		fuzz_fail("decoded what cannot be encoded");
	if (text.used != size || (size && memcmp(text.data, data, size)))
		fuzz_fail("two texts of the same bytes");
	return 0;
}
