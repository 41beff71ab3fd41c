/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target names what it must reach; a run that did not get there with its seeds fails, so
 * that a target whose seeds went stale does not look green (after s2n-tls). */
#ifndef SEALIFT_TESTS_FUZZ_FUZZ_H
#define SEALIFT_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_NAMES_MAX = 64 };

/* libFuzzer's entries, which each target defines (llvm.org/docs/LibFuzzer.html). */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Call once, from LLVMFuzzerInitialize. */
void fuzz_expect(const char *const *names, size_t count);
/* An input got there: counts for names[index]. */
void fuzz_reached(size_t index);
/* Stops the run, as a crash does. */
_Noreturn void fuzz_fail(const char *what);

#endif
