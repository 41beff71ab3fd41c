/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* libFuzzer calls us without a context, so this is the one place with state of its own. */
static struct {
	const char *names[FUZZ_NAMES_MAX];
	size_t counts[FUZZ_NAMES_MAX];
	size_t used;
} expected;

static void judge_at_exit(void)
{
	size_t missing = 0;

	for (size_t i = 0; i < expected.used; i++) {
		fprintf(stderr, "reached %s: %zu times\n", expected.names[i], expected.counts[i]);
		missing += !expected.counts[i];
	}
	if (missing && getenv("SEALIFT_FUZZ_MUST_REACH")) {
		fprintf(stderr, "%zu never reached: run tests/fuzz/make-corpus\n", missing);
		_exit(1);
	}
}

void fuzz_expect(const char *const *names, size_t count)
{
	assert(count <= FUZZ_NAMES_MAX);
	for (size_t i = 0; i < count; i++)
		expected.names[i] = names[i];
	expected.used = count;
	atexit(judge_at_exit);
}

void fuzz_reached(size_t index)
{
	assert(index < expected.used);
	expected.counts[index]++;
}

_Noreturn void fuzz_fail(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}
