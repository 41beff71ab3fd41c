/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs that bring what they are to be judged by: parts of be16 length and bytes, the first a root
 * as PEM, the second its CRL. The keys are made with the seeds, so no key is kept in the tree.
 */
#ifndef SEALIFT_TESTS_FUZZ_FUZZ_ANCHORS_H
#define SEALIFT_TESTS_FUZZ_FUZZ_ANCHORS_H

#include "base/buffer.h"
#include "crypto/anchor.h"

#define FUZZ_DOMAIN "north.example"
/* 2026-01-01T00:00:00Z, as FIXTURE_NOW_S: the seeds are valid then. */
#define FUZZ_NOW_S INT64_C(1767225600)

/* The next part; false if there is no whole one. */
bool fuzz_next_part(Reader *reader, const uint8_t **ret_part, size_t *ret_size);

/* For LLVMFuzzerCustomMutator: changes only what stands behind `skip` bytes and `parts` parts, the
 * part that is judged; what changes the root or its CRL gets no further than those. Returns the new
 * size. */
size_t fuzz_mutate_judged(uint8_t *data, size_t size, size_t max_size, size_t skip, int parts);

/* A store with the root of the first part, NULL if it is no root. It is kept for the next input,
 * which mostly has the same root: do not change it otherwise than by a CRL. Owned by this file. */
AnchorStore *fuzz_anchors_root(Reader *reader);

/* A store with the first two parts, NULL if they are not a root and its CRL. Kept as well. */
AnchorStore *fuzz_anchors(Reader *reader);

/* libFuzzer's own mutation and the entry for another (llvm.org/docs/LibFuzzer.html). */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#endif
