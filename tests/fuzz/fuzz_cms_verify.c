/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/cms_verify.c and crypto/cms_encoding.c: a signed statement of a peer. Byte 0 chooses the
 * kind, then three parts: a root, its CRL (fuzz_anchors.h), the statement.
 */
#include <string.h>

#include "base/bounds.h"
#include "crypto/cms.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_anchors.h"

enum { REACHED_GOOD, REACHED_PACKAGE, REACHED_AUTH, REACHED_LIMIT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "cms_verify", "cms_verify_package", "its refusal",
					     "its bound" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

/* A package is for the permit of zeros, and by a key manager. */
static bool verify(const AnchorStore *store, CmsContentType type, const uint8_t *der, size_t size,
		   SpiffeId *signer, Buffer *content, Error *err)
{
	static const uint8_t permit[CMS_PERMIT_BYTES];

	if (type == CMS_CONTENT_KEY_PACKAGE)
		return cms_verify_package(store, FUZZ_NOW_S, der, size, permit, signer, content,
					  err);
	return cms_verify(store, FUZZ_NOW_S, der, size, type, SPIFFE_HOST, signer, content, err);
}

static void judge(const AnchorStore *store, CmsContentType type, const uint8_t *der, size_t size)
{
	const CmsContentType other = (CmsContentType)((type + 1) % CMS_CONTENT_TYPE_COUNT);
	const bool package = type == CMS_CONTENT_KEY_PACKAGE;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_ENVELOPE);
	SpiffeId signer;
	Error err = ERROR_INIT;

	if (!verify(store, type, der, size, &signer, &content, &err)) {
		if (!err.text[0] || content.used)
			fuzz_fail("a refusal without a reason, or with content");
		if (err.category == ERROR_INTERNAL)
			fuzz_fail(err.text);
		fuzz_reached(err.category == ERROR_LIMIT ? REACHED_LIMIT : REACHED_AUTH);
		return;
	}
	fuzz_reached(package ? REACHED_PACKAGE : REACHED_GOOD);
	if (signer.role != (package ? SPIFFE_KEYD : SPIFFE_HOST) ||
	    strcmp(signer.domain, FUZZ_DOMAIN) || !content.used)
		fuzz_fail("a statement of nobody, or of nothing");
	if (verify(store, other, der, size, &signer, &content, &err))
		fuzz_fail("one statement of two kinds");
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return fuzz_mutate_judged(data, size, max_size, 1, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	uint8_t type;
	const AnchorStore *store;
	const uint8_t *der;

	if (!reader_get_u8(&reader, &type) || type >= CMS_CONTENT_TYPE_COUNT)
		return 0;
	store = fuzz_anchors(&reader);
	if (store && fuzz_next_part(&reader, &der, &size))
		judge(store, (CmsContentType)type, der, size);
	return 0;
}
