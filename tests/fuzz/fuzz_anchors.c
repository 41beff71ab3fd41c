/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_anchors.h"

#include <string.h>

#include "base/bounds.h"

/* A root costs a signature to be verified, a thousand times what the fuzzer does itself. */
static struct {
	uint8_t root[LIMIT_PEM], crl[LIMIT_CRL];
	size_t root_size, crl_size;
	AnchorStore *with_root, *with_crl;
} kept;

bool fuzz_next_part(Reader *reader, const uint8_t **ret_part, size_t *ret_size)
{
	uint16_t size;

	if (!reader_get_be16(reader, &size) || !reader_skip(reader, size, ret_part))
		return false;
	*ret_size = size;
	return true;
}

size_t fuzz_mutate_judged(uint8_t *data, size_t size, size_t max_size, size_t skip, int parts)
{
	enum { LENGTH = 2 };
	Reader reader = reader_of(data, size);
	const uint8_t *ignored;
	size_t ignored_size, before, judged;
	bool whole = reader_skip(&reader, skip, &ignored);

	for (int i = 0; whole && i < parts; i++)
		whole = fuzz_next_part(&reader, &ignored, &ignored_size);
	before = size - reader.left + LENGTH;
	if (!whole || reader.left < LENGTH || before >= max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	judged = LLVMFuzzerMutate(data + before, size - before, max_size - before);
	store_be16(data + before - LENGTH, (uint16_t)judged);
	return before + judged;
}

static AnchorStore *new_store(const uint8_t *root, size_t size)
{
	Error err = ERROR_INIT;
	AUTO_ANCHOR_STORE AnchorStore *store = anchor_store_new(&err);

	if (!store || !anchor_store_add_root(store, FUZZ_DOMAIN, root, size, &err))
		return NULL;
	return TAKE_PTR(store);
}

static AnchorStore *keep_root(const uint8_t *root, size_t size)
{
	if (size > sizeof(kept.root))
		return NULL;
	if (kept.with_root && kept.root_size == size && !memcmp(kept.root, root, size))
		return kept.with_root;
	anchor_store_free(kept.with_root);
	anchor_store_free(kept.with_crl);
	kept.with_crl = NULL;
	memcpy(kept.root, root, size);
	kept.root_size = size;
	kept.with_root = new_store(root, size);
	return kept.with_root;
}

AnchorStore *fuzz_anchors_root(Reader *reader)
{
	const uint8_t *root;
	size_t size;

	return fuzz_next_part(reader, &root, &size) ? keep_root(root, size) : NULL;
}

AnchorStore *fuzz_anchors(Reader *reader)
{
	const uint8_t *crl;
	size_t size;
	AnchorStore *store = fuzz_anchors_root(reader);
	Error err = ERROR_INIT;

	if (!store || !fuzz_next_part(reader, &crl, &size) || size > sizeof(kept.crl))
		return NULL;
	if (kept.with_crl && kept.crl_size == size && !memcmp(kept.crl, crl, size))
		return kept.with_crl;
	anchor_store_free(kept.with_crl);
	kept.with_crl = new_store(kept.root, kept.root_size);
	memcpy(kept.crl, crl, size);
	kept.crl_size = size;
	if (!kept.with_crl ||
	    !anchor_store_set_crl(kept.with_crl, FUZZ_DOMAIN, crl, size, FUZZ_NOW_S, &err)) {
		anchor_store_free(kept.with_crl);
		kept.with_crl = NULL;
	}
	return kept.with_crl;
}
