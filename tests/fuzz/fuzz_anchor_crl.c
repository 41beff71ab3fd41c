/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/anchor_crl.c: a CRL that a peer sent. Two parts: a root, the CRL (fuzz_anchors.h). */
#include "tests/fuzz/fuzz_anchors.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_CRL, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "anchor_store_check_crl", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return fuzz_mutate_judged(data, size, max_size, 0, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	const AnchorStore *store = fuzz_anchors_root(&reader);
	const uint8_t *crl;
	AnchorCrl summary;
	Error err = ERROR_INIT;

	if (!store || !fuzz_next_part(&reader, &crl, &size))
		return 0;
	if (!anchor_store_check_crl(store, FUZZ_DOMAIN, crl, size, FUZZ_NOW_S, &summary, &err)) {
		if (!err.category || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_CRL);
	if (summary.this_update_s > FUZZ_NOW_S || summary.next_update_s <= FUZZ_NOW_S)
		fuzz_fail("a CRL out of its time");
	if (!summary.newer || anchor_store_crl_next_update(store, FUZZ_DOMAIN))
		fuzz_fail("a check that changed the store");
	return 0;
}
