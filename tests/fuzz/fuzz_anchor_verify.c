/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/anchor_verify.c: a certificate out of a TLS handshake or a statement. Byte 0 chooses the
 * purpose, then three parts: a root, its CRL (fuzz_anchors.h), the certificate as DER.
 */
#include <openssl/err.h>
#include <string.h>

#include "crypto/openssl.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_anchors.h"

enum { REACHED_PURPOSE /* one for each */, REACHED_NAME = ANCHOR_PURPOSE_COUNT, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = {
		[ANCHOR_TLS_SERVER] = "TLS server",
		[ANCHOR_TLS_CLIENT] = "TLS client",
		[ANCHOR_SIGN] = "signing",
		[ANCHOR_AGREE] = "key agreement",
		[REACHED_NAME] = "anchor_certificate_id",
		[REACHED_REFUSAL] = "its refusal",
	};

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void judge(const AnchorStore *store, X509 *leaf, AnchorPurpose purpose)
{
	SpiffeId name, id;
	Error err = ERROR_INIT;
	bool has_name = anchor_certificate_id(leaf, &name, &err);

	if (!has_name)
		fuzz_reached(REACHED_REFUSAL);
	else
		fuzz_reached(REACHED_NAME);
	if (!anchor_verify_certificate(store, leaf, NULL, FUZZ_NOW_S, purpose, &id, &err)) {
		if (!err.category || !err.text[0])
			fuzz_fail("a refusal without a reason");
		return;
	}
	fuzz_reached(REACHED_PURPOSE + (size_t)purpose);
	if (!has_name || strcmp(name.text, id.text) || strcmp(id.domain, FUZZ_DOMAIN))
		fuzz_fail("verified under another name");
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return fuzz_mutate_judged(data, size, max_size, 1, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	uint8_t purpose;
	const AnchorStore *store;
	const uint8_t *der;

	if (!reader_get_u8(&reader, &purpose) || purpose >= ANCHOR_PURPOSE_COUNT)
		return 0;
	store = fuzz_anchors(&reader);
	if (!store || !fuzz_next_part(&reader, &der, &size))
		return 0;

	AUTO_X509 X509 *leaf = d2i_X509(NULL, &der, (long)size);

	ERR_clear_error();
	if (leaf)
		judge(store, leaf, (AnchorPurpose)purpose);
	return 0;
}
