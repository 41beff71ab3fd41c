/* SPDX-License-Identifier: Apache-2.0 */
/* What several test programs share. Include it first: cmocka wants its headers in this order. */
#ifndef SEALIFT_TESTS_SUPPORT_H
#define SEALIFT_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"

/* Asserts that a call failed with this category and that its text holds `part`. */
#define assert_fails(call, expected, part, err)                                                    \
	do {                                                                                       \
		*(err) = ERROR_INIT;                                                               \
		assert_false(call);                                                                \
		support_check_error((err), (expected), (part), __FILE__, __LINE__);                \
	} while (0)

/* Asserts that a call succeeded; its error text stands in the failure. */
#define assert_works(call, err)                                                                    \
	do {                                                                                       \
		*(err) = ERROR_INIT;                                                               \
		if (!(call))                                                                       \
			fail_msg("%s: %s: %s", #call, error_word((err)->category), (err)->text);   \
	} while (0)

void support_check_error(const Error *err, ErrorCategory category, const char *part,
			 const char *file, int line);

/* A fresh folder for one test, removed with all that is in it by support_remove_folder. */
typedef struct TestFolder {
	char path[64];
} TestFolder;
void support_make_folder(TestFolder *folder);
void support_remove_folder(const TestFolder *folder);
/* folder/name in a buffer of the caller. */
const char *support_path(const TestFolder *folder, const char *name, char path[static 128]);

/* How many descriptors this process holds. */
size_t support_count_fds(void);

/*
 * Calls judge with every truncation of a good message, each bit of it flipped, and a byte appended.
 * judge asserts what must hold of such input; the copy it gets is exactly as long as `size`, so
 * that a sanitizer sees any read past its end.
 */
typedef enum Mutation { MUTATION_CUT, MUTATION_FLIP, MUTATION_APPEND } Mutation;
typedef void (*SupportJudge)(void *context, Mutation mutation, const uint8_t *data, size_t size);
void support_mutate(const void *good, size_t size, SupportJudge judge, void *context);

/* Runs body in a forked child, for what would change this process (limits, users). The child's
 * asserts do not reach cmocka: body returns whether all was well. */
bool support_in_child(bool (*body)(void *context), void *context);

#endif
