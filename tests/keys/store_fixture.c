/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/store_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "keys/key_store_internal.h"

int key_fixture_setup(void **state)
{
	KeyFixture *f = test_calloc(1, sizeof(*f));

	support_make_folder(&f->folder);
	support_path(&f->folder, "keys.db", f->path);
	f->root = sample_root(1);
	key_fixture_open(f);
	*state = f;
	return 0;
}

int key_fixture_teardown(void **state)
{
	KeyFixture *f = *state;

	key_fixture_close(f);
	root_key_free(f->root);
	support_remove_folder(&f->folder);
	test_free(f);
	return 0;
}

void key_fixture_open(KeyFixture *f)
{
	f->err = ERROR_INIT;
	f->store = key_store_open(f->path, f->root, &f->err);
	if (!f->store)
		fail_msg("%s", f->err.text);
}

void key_fixture_close(KeyFixture *f)
{
	key_store_free(f->store);
	f->store = NULL;
}

void key_fixture_change(KeyFixture *f, const char *sql)
{
	sqlite3 *database;

	key_fixture_close(f);
	assert_int_equal(sqlite3_open(f->path, &database), SQLITE_OK);
	if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(database));
	assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static Secret *bytes_of(uint8_t first, uint8_t step)
{
	Error err = ERROR_INIT;
	Secret *secret = secret_new(KEY_BYTES, &err);

	assert_non_null(secret);
	for (size_t i = 0; i < KEY_BYTES; i++)
		secret_bytes(secret)[i] = (uint8_t)(first + i * step);
	return secret;
}

RootKey *sample_root(uint8_t number)
{
	AUTO_SECRET Secret *bytes = bytes_of(number, 0);
	Error err = ERROR_INIT;
	RootKey *root = root_key_new("file", bytes, &err);

	assert_non_null(root);
	return root;
}

Secret *sample_value(uint8_t number)
{
	return bytes_of(number, 7);
}

void sample_key(uint8_t number, KeyState state, KeyRecord *ret_key)
{
	AUTO_SECRET Secret *value = sample_value(number);
	Error err = ERROR_INIT;

	*ret_key = (KeyRecord){
		.id = { 0xa0, number },
		.version = 1,
		.purpose = KEY_IMAGE,
		.state = state,
		.owner = "csp-a.example",
		.slot = "vda",
		.epoch = 3,
		.backend = KEY_BACKEND_EMBEDDED,
	};
	snprintf(ret_key->vm, sizeof(ret_key->vm), "7e5710c5-0000-4000-8000-0000000000%02x",
		 number);
	if (state == KEY_EXPORTING || state == KEY_IMPORTED)
		ret_key->migration[0] = 0x3a;
	assert_works(key_fingerprint(ret_key->id, 1, value, ret_key->fingerprint, &err), &err);
}

KeyReason sample_reason(KeyAction action)
{
	return (KeyReason){ action, "uid 0", "for a test", 1000 };
}

bool sample_add(KeyStore *store, uint8_t number, KeyState state, Error *err)
{
	AUTO_SECRET Secret *value = sample_value(number);
	KeyReason reason = sample_reason(state == KEY_IMPORTED ? KEY_RECEIVED : KEY_CREATED);
	KeyRecord key;

	sample_key(number, state, &key);
	return key_store_add(store, &key, value, &reason, err);
}

bool sample_change(KeyStore *store, uint8_t number, KeyAction action, KeyState to, Error *err)
{
	KeyReason reason = sample_reason(action);
	KeyRecord named, key;

	sample_key(number, KEY_ACTIVE, &named);
	if (!key_store_get(store, named.id, 0, &key, err))
		return false;
	key.state = to;
	key.epoch++;
	memset(key.migration, to == KEY_EXPORTING || to == KEY_IMPORTED ? 0x3b : 0,
	       sizeof(key.migration));
	if (action == KEY_RETURNED)
		snprintf(key.exposed_to, sizeof(key.exposed_to), "csp-b.example");
	return key_store_change(store, &key, &reason, err);
}

bool sample_lead(KeyStore *store, uint8_t number, KeyState state, Error *err)
{
	if (state == KEY_PRE_ACTIVE || state == KEY_ACTIVE || state == KEY_IMPORTED)
		return sample_add(store, number, state, err);
	if (!sample_add(store, number, KEY_ACTIVE, err))
		return false;
	if (state == KEY_DEACTIVATED)
		return sample_change(store, number, KEY_RETIRED, state, err);
	return sample_change(store, number, KEY_OFFERED, KEY_EXPORTING, err) &&
	       (state == KEY_EXPORTING || sample_change(store, number, KEY_WIPED, state, err));
}

void sample_envelope(KeyStore *store, uint64_t row, KeyEnvelope *ret_envelope)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_ENVELOPE_GET);
	Error err = ERROR_INIT;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)row);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_works(key_sql_blob(statement, 0, ret_envelope->wrapped, KEY_WRAPPED_BYTES, &err),
		     &err);
	assert_works(key_sql_blob(statement, 1, ret_envelope->sealed, KEY_SEALED_BYTES, &err),
		     &err);
}

static size_t count_in_file(const char *path, const void *bytes, size_t size)
{
	enum { FILE_MAX_BYTES = 64 << 20 };
	AUTO_BUFFER Buffer file = BUFFER_INIT(FILE_MAX_BYTES);
	Error err = ERROR_INIT;
	size_t count = 0;
	const uint8_t *at;

	assert_works(file_read(path, FILE_MAX_BYTES, &file, &err), &err);
	at = file.data;
	while (at && (at = memmem(at, file.used - (size_t)(at - file.data), bytes, size))) {
		count++;
		at++;
	}
	return count;
}

size_t count_in_files(const TestFolder *folder, const void *bytes, size_t size)
{
	DIR *list = opendir(folder->path);
	size_t count = 0;

	assert_non_null(list);
	for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
		char path[128];

		if (entry->d_name[0] != '.')
			count += count_in_file(support_path(folder, entry->d_name, path), bytes,
					       size);
	}
	closedir(list);
	return count;
}
