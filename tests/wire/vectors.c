/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/wire/vectors.h"

static void find_line(const char *page, const char *name, char ret_hex[static 2 * VECTOR_MAX + 1])
{
	char start[64];
	const char *at;
	size_t size;

	snprintf(start, sizeof(start), "\n%s = ", name);
	at = strstr(page, start);
	if (!at)
		fail_msg("PROTOCOL.md has no vector %s", name);
	at += strlen(start);
	size = strcspn(at, "\n");
	assert_true(size && size <= 2 * VECTOR_MAX);
	memcpy(ret_hex, at, size);
	ret_hex[size] = '\0';
}

Vector vector_read(const char *name)
{
	AUTO_BUFFER Buffer page = BUFFER_INIT(1 << 20);
	char hex[2 * VECTOR_MAX + 1];
	Vector vector;
	Error err;

	assert_non_null(getenv("SEALIFT_TEST_PROTOCOL"));
	assert_works(file_read(getenv("SEALIFT_TEST_PROTOCOL"), 1 << 19, &page, &err), &err);
	assert_works(buffer_put_u8(&page, 0, &err), &err);
	find_line((const char *)page.data, name, hex);
	vector.size = strlen(hex) / 2;
	assert_true(hex_decode(hex, vector.bytes, vector.size));
	return vector;
}

Secret *vector_secret(const char *name)
{
	Vector vector = vector_read(name);
	Error err = ERROR_INIT;
	Secret *secret = secret_new_from(vector.bytes, vector.size, &err);

	assert_non_null(secret);
	return secret;
}

void vector_assert(const char *name, const void *bytes, size_t size)
{
	Vector vector = vector_read(name);

	assert_int_equal(size, vector.size);
	assert_memory_equal(bytes, vector.bytes, size);
}
