/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/random.h"
#include "keys/key_store.h"
#include "tests/fault/fault.h"
#include "tests/fault/folder.h"

static RootKey *fixed_root(Error *err)
{
	AUTO_SECRET Secret *bytes = secret_new(KEY_BYTES, err);

	if (!bytes)
		return NULL;
	memset(secret_bytes(bytes), 0x17, KEY_BYTES);
	return root_key_new("file", bytes, err);
}

/* A value that the id tells, so that it can be known again. */
static Secret *value_of(const KeyRecord *key, Error *err)
{
	Secret *value = secret_new(KEY_BYTES, err);

	if (value)
		memcpy(secret_bytes(value), key->id, KEY_ID_BYTES);
	return value;
}

static bool make_key(KeyRecord *ret_key, Error *err)
{
	AUTO_SECRET Secret *value = NULL;

	*ret_key = (KeyRecord){
		.version = 1,
		.state = KEY_ACTIVE,
		.vm = "7e5710c5-0000-4000-8000-000000000001",
		.owner = "csp-a.example",
		.slot = "vda",
		.epoch = 1,
		.backend = KEY_BACKEND_EMBEDDED,
	};
	if (!random_bytes(ret_key->id, KEY_ID_BYTES, err))
		return false;
	value = value_of(ret_key, err);
	return value && key_fingerprint(ret_key->id, 1, value, ret_key->fingerprint, err);
}

static bool add(KeyStore *store, const KeyRecord *key, Error *err)
{
	const KeyReason reason = { KEY_CREATED, "uid 0", "", 1000 };
	AUTO_SECRET Secret *value = value_of(key, err);

	return value && key_store_add(store, key, value, &reason, err);
}

static bool change(KeyStore *store, KeyRecord *key, KeyAction action, KeyState to, Error *err)
{
	const KeyReason reason = { action, "uid 0", "", 1001 };
	KeyRecord changed = *key;

	changed.state = to;
	if (!key_store_change(store, &changed, &reason, err))
		return false;
	*key = changed;
	return true;
}

static bool check_value(KeyStore *store, const KeyRecord *key, Error *err)
{
	AUTO_SECRET Secret *wanted = value_of(key, err);
	AUTO_SECRET Secret *opened = wanted ? key_store_value(store, key, err) : NULL;

	return opened && (secret_equal(opened, wanted) || fault_wrong(err, "another value"));
}

/* --- a store from its first byte on --- */

static bool make_store(void *fixture, Error *err)
{
	AUTO_ROOT_KEY RootKey *root = fixed_root(err);
	AUTO_KEY_STORE KeyStore *store = NULL;
	char path[LIMIT_PATH], journal[LIMIT_PATH];
	uint64_t entries;
	KeyRecord key;

	(void)unlink(fault_path(fixture, "keys.db", path));
	(void)unlink(fault_path(fixture, "keys.db-journal", journal));
	store = root ? key_store_open(path, root, err) : NULL;
	if (!store || !make_key(&key, err) || !add(store, &key, err) ||
	    !check_value(store, &key, err) ||
	    !change(store, &key, KEY_RETIRED, KEY_DEACTIVATED, err) ||
	    !change(store, &key, KEY_WIPED, KEY_DESTROYED, err) ||
	    !key_store_verify(store, &entries, err))
		return false;
	return entries == 3 || fault_wrong(err, "entries are missing");
}

/* As after a restart: whatever was done before the failure is whole. */
static bool check_store(void *fixture, Error *err)
{
	AUTO_ROOT_KEY RootKey *root = fixed_root(err);
	AUTO_KEY_STORE KeyStore *store = NULL;
	char path[LIMIT_PATH];
	uint64_t entries;

	store = root ? key_store_open(fault_path(fixture, "keys.db", path), root, err) : NULL;
	if (!store || !key_store_verify(store, &entries, err))
		return false;
	return entries <= 3 || fault_wrong(err, "more entries than changes");
}

/* --- a store that stays open, as the key manager's does --- */

typedef struct OpenKeys {
	FaultFolder *folder;
	RootKey *root;
	KeyStore *store;
	KeyRecord key;	  /* of the last run */
	KeyState reached; /* the last state that was said to be kept */
	bool added;
} OpenKeys;

static void *open_keys_new(void)
{
	OpenKeys *f = calloc(1, sizeof(*f));
	char path[LIMIT_PATH];
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->folder = fault_folder_new();
	f->root = fixed_root(&err);
	fault_must(f->root, &err);
	f->store = key_store_open(fault_path(f->folder, "keys.db", path), f->root, &err);
	fault_must(f->store, &err);
	return f;
}

/* After all those failures the whole log is a chain, and every record what its last entry says. */
static void open_keys_free(void *fixture)
{
	OpenKeys *f = fixture;
	uint64_t entries;
	Error err = ERROR_INIT;

	fault_must(key_store_verify(f->store, &entries, &err), &err);
	key_store_free(f->store);
	root_key_free(f->root);
	fault_folder_free(f->folder);
	free(f);
}

static bool use_store(void *fixture, Error *err)
{
	OpenKeys *f = fixture;

	f->added = false;
	if (!make_key(&f->key, err) || !add(f->store, &f->key, err))
		return false;
	f->added = true;
	f->reached = KEY_ACTIVE;
	if (!check_value(f->store, &f->key, err) ||
	    !change(f->store, &f->key, KEY_RETIRED, KEY_DEACTIVATED, err))
		return false;
	f->reached = KEY_DEACTIVATED;
	if (!check_value(f->store, &f->key, err) ||
	    !change(f->store, &f->key, KEY_WIPED, KEY_DESTROYED, err))
		return false;
	f->reached = KEY_DESTROYED;
	return true;
}

/* What was kept is there; after an error one step more may be: its header says so. */
static bool check_use(void *fixture, Error *err)
{
	const OpenKeys *f = fixture;
	KeyRecord key;

	if (!key_store_get(f->store, f->key.id, 1, &key, err))
		return !f->added && err->category == ERROR_NOT_FOUND;
	if (f->added && key.state != f->reached && !key_state_may_follow(f->reached, key.state))
		return fault_wrong(err, "the state is not the one that was kept");
	return key.state == KEY_DESTROYED || check_value(f->store, &key, err);
}

/* Two keys at once: both or none. */
static bool use_both(void *fixture, Error *err)
{
	OpenKeys *f = fixture;
	KeyRecord first, second, seen;
	Error missing = ERROR_INIT;
	bool ok;

	if (!make_key(&first, err) || !make_key(&second, err) || !key_store_begin(f->store, err))
		return false;
	ok = add(f->store, &first, err) && add(f->store, &second, err);
	if (ok)
		ok = key_store_commit(f->store, err);
	key_store_undo(f->store);
	if (!ok)
		return false;
	if (!key_store_get(f->store, first.id, 1, &seen, err))
		return false;
	if (!key_store_get(f->store, second.id, 1, &seen, &missing))
		return missing.category == ERROR_NOT_FOUND
			       ? fault_wrong(err, "one of two")
			       : error_set(err, missing.category, "%s", missing.text);
	return true;
}

static bool read_log(void *fixture, Error *err)
{
	const KeyReason reason = { KEY_REFUSED, "uid 0", "no", 1000 };
	const OpenKeys *f = fixture;
	KeyLogEntry entry;
	KeyRecord keys[2];
	uint64_t entries, cursor = 0;
	uint8_t chain[KEY_DIGEST_BYTES];
	size_t count;

	if (!key_store_note(f->store, NULL, &reason, err))
		return false;
	key_store_head(f->store, &entries, chain);
	if (!key_store_log(f->store, entries, &entry, 1, &count, err) ||
	    !key_store_list(f->store, "", &cursor, keys, 2, &(size_t){ 0 }, err))
		return false;
	return (count == 1 && entry.number == entries &&
		!memcmp(entry.chain, chain, sizeof(chain))) ||
	       fault_wrong(err, "the last entry is another");
}

/* --- a value that is given away, and the root key --- */

static bool give_away(void *fixture, Error *err)
{
	AUTO_SECRET Secret *value = NULL, *blob_key = NULL, *blob = NULL, *opened = NULL,
			   *text = NULL;
	KeyRecord key;

	(void)fixture;
	if (!make_key(&key, err))
		return false;
	value = value_of(&key, err);
	if (!value || !key_blob_seal(&key, value, &blob_key, &blob, err))
		return false;
	opened = key_blob_open(&key, blob_key, blob, err);
	if (!opened)
		return false;
	text = key_passphrase(opened, err);
	return text && (secret_equal(opened, value) || fault_wrong(err, "another value"));
}

static bool read_root(void *fixture, Error *err)
{
	static const char text[] = "0102030405060708090a0b0c0d0e0f10"
				   "1112131415161718191a1b1c1d1e1f20\n";
	AUTO_ROOT_KEY RootKey *root = NULL;
	AUTO_FD int fd = -1;
	char path[LIMIT_PATH];

	fault_path(fixture, "root.key", path);
	if (!file_replace(path, text, sizeof(text) - 1, 0600, err))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, ERROR_IO, "cannot open");
	root = root_key_read(fd, err);
	return root != NULL;
}

#define OPEN(name, run, check)                                                                     \
	{                                                                                          \
		name, open_keys_new, run, check, open_keys_free, 400                               \
	}
const Scenario scenarios_keys[] = {
	{ "key store made", fault_folder_new, make_store, check_store, fault_folder_free, 300 },
	OPEN("keys added and changed", use_store, check_use),
	OPEN("keys added together", use_both, NULL),
	OPEN("key log written", read_log, NULL),
	{ "key given away", fault_folder_new, give_away, NULL, fault_folder_free, 0 },
	{ "root key read", fault_folder_new, read_root, NULL, fault_folder_free, 0 },
	{ 0 },
};
