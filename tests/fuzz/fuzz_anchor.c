/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/anchor.c: a root file that a person was given by another domain, twice into one store. */
#include "base/bounds.h"
#include "crypto/anchor.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_ROOT, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "anchor_store_add_root", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char domain[] = "north.example";
	Error err = ERROR_INIT;
	AUTO_ANCHOR_STORE AnchorStore *store = anchor_store_new(&err);

	if (!store)
		fuzz_fail(err.text);
	if (!anchor_store_add_root(store, domain, data, size, &err)) {
		if (!err.category || !err.text[0])
			fuzz_fail("a refusal without a reason");
		if (anchor_store_has(store, domain))
			fuzz_fail("a refusal that left a root behind");
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_ROOT);
	if (!anchor_store_has(store, domain))
		fuzz_fail("an anchor without a domain");
	/* What is there already is passed over. */
	if (!anchor_store_add_root(store, domain, data, size, &err))
		fuzz_fail(err.text);
	return 0;
}
