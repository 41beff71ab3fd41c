/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key-value STORE ROOT VM: prints the values of a VM's keys that can be opened, a line of id, version
 * and value in hex each, from a copy of a key manager's store and with the file of its root key. No
 * program of Sealift prints one; a test that looks for them where they must not be has to know them.
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "keys/key_store.h"

static bool print_value(KeyStore *store, const KeyRecord *key, Error *err)
{
	Error why = ERROR_INIT;
	AUTO_SECRET Secret *value = key_store_value(store, key, &why);
	char id[KEY_ID_HEX], text[2 * KEY_BYTES + 1];

	if (!value && why.category == ERROR_CONFLICT)
		return true; /* destroyed */
	if (!value)
		return *err = why, false;
	key_id_text(key->id, id);
	hex_encode(secret_peek(value), KEY_BYTES, text);
	printf("%s %llu %s\n", id, (unsigned long long)key->version, text);
	return true;
}

static bool print_values(const char *path, const char *root_path, const char *vm, Error *err)
{
	AUTO_FD int fd = open(root_path, O_RDONLY | O_CLOEXEC);
	AUTO_ROOT_KEY RootKey *root = fd < 0 ? NULL : root_key_read(fd, err);
	AUTO_KEY_STORE KeyStore *store = root ? key_store_open(path, root, err) : NULL;
	uint64_t cursor = 0;
	size_t count;

	if (fd < 0)
		return error_set(err, ERROR_IO, "cannot open %s", root_path);
	if (!store)
		return false;
	do {
		KeyRecord keys[8];

		if (!key_store_list(store, vm, &cursor, keys, ARRAY_SIZE(keys), &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			if (!print_value(store, &keys[i], err))
				return false;
	} while (cursor);
	return true;
}

int main(int argc, char **argv)
{
	Error err = ERROR_INIT;

	if (argc == 4 && print_values(argv[1], argv[2], argv[3], &err))
		return 0;
	fprintf(stderr, "%s\n", argc == 4 ? err.text : "usage: key-value STORE ROOT VM");
	return 1;
}
