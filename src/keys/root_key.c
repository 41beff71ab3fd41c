/* SPDX-License-Identifier: Apache-2.0 */
/* Root keys whose bytes are in our memory. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "keys/key_wrap.h"

typedef struct MemoryRoot {
	RootKey root;
	Secret *bytes;
} MemoryRoot;

static bool memory_wrap(RootKey *root, const Secret *key, uint8_t ret_wrapped[KEY_WRAPPED_BYTES],
			Error *err)
{
	return key_wrap(((MemoryRoot *)root)->bytes, key, ret_wrapped, err);
}

static bool memory_unwrap(RootKey *root, const uint8_t wrapped[KEY_WRAPPED_BYTES], Secret *ret_key,
			  Error *err)
{
	return key_unwrap(((MemoryRoot *)root)->bytes, wrapped, ret_key, err);
}

static void memory_free(RootKey *root)
{
	secret_free(((MemoryRoot *)root)->bytes);
	free(root);
}

static const RootKeyType memory_types[] = {
	{ "file", memory_wrap, memory_unwrap, memory_free },
	{ "tpm2", memory_wrap, memory_unwrap, memory_free },
};

static bool is_all_zeros(const Secret *bytes)
{
	uint8_t seen = 0;

	for (size_t i = 0; i < secret_size(bytes); i++)
		seen |= secret_peek(bytes)[i];
	return !seen;
}

RootKey *root_key_new(const char *name, const Secret *bytes, Error *err)
{
	const RootKeyType *type = NULL;
	AUTO_FREE MemoryRoot *memory = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(memory_types); i++)
		if (!strcmp(memory_types[i].name, name))
			type = &memory_types[i];
	if (!type || secret_size(bytes) != KEY_BYTES) {
		error_set(err, ERROR_USAGE, "no root key of the kind \"%.64s\" with %zu bytes",
			  name, secret_size(bytes));
		return NULL;
	}
	memory = calloc(1, sizeof(*memory));
	if (!memory) {
		error_set(err, ERROR_INTERNAL, "no memory for a root key");
		return NULL;
	}
	memory->root.type = type;
	memory->bytes = secret_new_from(secret_peek(bytes), KEY_BYTES, err);
	if (!memory->bytes)
		return NULL;
	return &TAKE_PTR(memory)->root;
}

static bool check_file(int fd, Error *err)
{
	struct stat status;

	if (fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot examine the root key's file");
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "the root key is not in a regular file");
	if (status.st_mode & 077)
		return error_set(
			err, ERROR_CONFIG,
			"the root key's file has mode %04o: others may use it, 0600 is wanted",
			(unsigned int)status.st_mode & 07777);
	return true;
}

/* Into the secret alone: what a buffer between would keep is the key. */
static bool read_text(int fd, Secret *text, size_t *ret_size, Error *err)
{
	size_t used = 0;
	ssize_t got;

	do {
		got = pread(fd, secret_bytes(text) + used, secret_size(text) - used, (off_t)used);
		if (got < 0 && errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno, "cannot read the root key");
		if (got > 0)
			used += (size_t)got;
	} while (got && used < secret_size(text));
	*ret_size = used;
	return true;
}

RootKey *root_key_read(int fd, Error *err)
{
	enum { HEX = 2 * KEY_BYTES, TEXT = HEX + 2 }; /* a line end, and one more to see too many */
	AUTO_SECRET Secret *text = secret_new(TEXT, err);
	AUTO_SECRET Secret *bytes = text ? secret_new(KEY_BYTES, err) : NULL;
	size_t size = 0;

	if (!bytes || !check_file(fd, err) || !read_text(fd, text, &size, err))
		return NULL;
	if (size == HEX + 1 && secret_peek(text)[HEX] == '\n')
		secret_bytes(text)[HEX] = '\0';
	else if (size != HEX)
		size = 0;
	if (!size || !hex_decode((const char *)secret_peek(text), secret_bytes(bytes), KEY_BYTES)) {
		error_set(err, ERROR_CONFIG,
			  "the root key's file is not one line of %d lower-case hex digits", HEX);
		return NULL;
	}
	if (is_all_zeros(bytes)) {
		error_set(err, ERROR_CONFIG, "the root key's file holds zeros, not a key");
		return NULL;
	}
	return root_key_new("file", bytes, err);
}

void root_key_free(RootKey *root)
{
	if (root)
		root->type->free(root);
}
