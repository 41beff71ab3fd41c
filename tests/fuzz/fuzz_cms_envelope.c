/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/cms_envelope_encoding.c: the one form of an envelope. The input is a part (be16 length)
 * with the name of our certificate, then the envelope. What is accepted must be to OpenSSL's
 * decoder the same bytes and nothing else, since that is what sees it next.
 */
#include <openssl/err.h>
#include <string.h>

#include "crypto/cms_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_anchors.h"

enum { REACHED_GOOD, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "cms_check_envelope", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void compare(const uint8_t *der, size_t size)
{
	const uint8_t *end = der;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &end, (long)size);
	uint8_t *again = NULL;
	int length;

	ERR_clear_error();
	/* The name is compared with ours and is whatever the input says that ours is. */
	if (!cms)
		return;
	length = i2d_CMS_ContentInfo(cms, &again);
	if (end != der + size || length < 0 || (size_t)length != size || memcmp(again, der, size))
		fuzz_fail("an envelope that is not canonical");
	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_id_smime_ct_authEnvelopedData)
		fuzz_fail("an envelope of another type");
	OPENSSL_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	const uint8_t *name;
	size_t name_size;
	Error err = ERROR_INIT;

	if (!fuzz_next_part(&reader, &name, &name_size))
		return 0;
	if (cms_check_envelope(reader.data, reader.left, name, name_size, &err)) {
		fuzz_reached(REACHED_GOOD);
		compare(reader.data, reader.left);
		return 0;
	}
	if (!err.text[0] || (err.category != ERROR_AUTH && err.category != ERROR_LIMIT))
		fuzz_fail("a refusal without a reason");
	fuzz_reached(REACHED_REFUSAL);
	return 0;
}
