/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "store/store.h"
#include "tests/fault/fault.h"
#include "tests/fault/folder.h"
#include "tests/store/records.h"

enum { NUMBER = 7, OLD_EPOCH = 1, NEW_EPOCH = 2 };

static const char key[] = "07070707070707070707070707070707";
static const uint8_t cms_bytes[] = "a signed statement";

static bool journal(Store *store, uint64_t epoch, Error *err)
{
	const StoredStatement statement = {
		.kind = STATEMENT_OFFER,
		.cms = cms_bytes,
		.cms_size = sizeof(cms_bytes),
		.digest = { (uint8_t)epoch },
	};
	MigrationRecord record;

	sample_migration(NUMBER, &record);
	record.epoch = epoch;
	return store_journal(store, &record, &statement, err);
}

/* The row and its statement belong together: they came in one transaction. */
static bool read_back(Store *store, uint64_t *ret_epoch, Error *err)
{
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	uint8_t digest[DIGEST_SHA384_BYTES];
	MigrationRecord record;

	if (!store_get(store, STORE_MIGRATIONS, key, &record, err) ||
	    !store_statement(store, record.id, STATEMENT_OFFER, &cms, digest, err))
		return false;
	if (digest[0] != record.epoch || cms.used != sizeof(cms_bytes) ||
	    memcmp(cms.data, cms_bytes, cms.used) != 0)
		return fault_wrong(err, "a row with another's statement");
	*ret_epoch = record.epoch;
	return true;
}

static Store *open_store(const FaultFolder *folder, Error *err)
{
	char path[LIMIT_PATH];

	return store_open(fault_path(folder, "engine.db", path), err);
}

static bool put_and_get(void *fixture, Error *err)
{
	AUTO_STORE Store *store = open_store(fixture, err);
	uint64_t epoch;

	if (!store || !journal(store, OLD_EPOCH, err) || !journal(store, NEW_EPOCH, err) ||
	    !read_back(store, &epoch, err))
		return false;
	return epoch == NEW_EPOCH || fault_wrong(err, "the old row");
}

/* As after a restart of the engine. */
static bool check_again(void *fixture, Error *err)
{
	AUTO_STORE Store *store = open_store(fixture, err);
	uint64_t epoch;

	if (!store || !read_back(store, &epoch, err))
		return false;
	return epoch == OLD_EPOCH || epoch == NEW_EPOCH || fault_wrong(err, "neither row");
}

/* --- a store that stays open, as the engine's does --- */

typedef struct OpenStore {
	FaultFolder *folder;
	Store *store;
	uint64_t epoch; /* of the last journal entry that was said to be kept */
} OpenStore;

static void *open_store_new(void)
{
	OpenStore *f = calloc(1, sizeof(*f));
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->folder = fault_folder_new();
	f->store = open_store(f->folder, &err);
	fault_must(f->store, &err);
	return f;
}

static void open_store_free(void *fixture)
{
	OpenStore *f = fixture;

	store_close(f->store);
	fault_folder_free(f->folder);
	free(f);
}

static bool journal_next(void *fixture, Error *err)
{
	OpenStore *f = fixture;

	if (!journal(f->store, f->epoch + 1, err))
		return false;
	f->epoch++;
	return true;
}

/* What was kept is there, and what was refused is not: the next decision is taken on that. */
static bool check_journal(void *fixture, Error *err)
{
	const OpenStore *f = fixture;
	uint64_t epoch;

	if (!read_back(f->store, &epoch, err))
		return false;
	return epoch == f->epoch || fault_wrong(err, "the row is not the one that was kept");
}

static bool count_row(void *context, const void *object, Error *err)
{
	size_t *count = context;

	(void)object;
	(void)err;
	++*count;
	return true;
}

static bool walk(void *fixture, Error *err)
{
	const OpenStore *f = fixture;
	HostRecord host;
	size_t count = 0;

	sample_host("alpha", &host);
	if (!store_put(f->store, STORE_HOSTS, host.name, &host, err) ||
	    !store_each(f->store, STORE_HOSTS, count_row, &count, err))
		return false;
	return count == 1 || fault_wrong(err, "rows were left out");
}

/* A failure must not make a replay pass: an id that was called new is known from then on. */
static bool see_once(void *fixture, Error *err)
{
	enum { NOW_S = 1000, EXPIRES_S = 2000 };
	OpenStore *f = fixture;
	uint8_t id[MIGRATION_ID_BYTES] = { 0 };
	Error replay = ERROR_INIT;

	f->epoch++;
	memcpy(id, &f->epoch, sizeof(f->epoch));
	if (!store_see_once(f->store, id, EXPIRES_S, NOW_S, err))
		return false;
	if (store_see_once(f->store, id, EXPIRES_S, NOW_S, &replay))
		return fault_wrong(err, "a replay passed");
	return replay.category == ERROR_CONFLICT ||
	       error_set(err, replay.category, "%s", replay.text);
}

static bool change_hosts(void *fixture, Error *err)
{
	const OpenStore *f = fixture;
	HostRecord host, again;
	bool ok;

	sample_host("beta", &host);
	ok = store_put(f->store, STORE_HOSTS, host.name, &host, err) &&
	     store_get(f->store, STORE_HOSTS, host.name, &again, err) &&
	     store_delete(f->store, STORE_HOSTS, host.name, err) &&
	     store_prune_migrations(f->store, 1, err);
	return ok && (!strcmp(again.id, host.id) || fault_wrong(err, "another host"));
}

#define OPEN(name, run, check)                                                                     \
	{                                                                                          \
		name, open_store_new, run, check, open_store_free, 1000                            \
	}
const Scenario scenarios_store[] = {
	{ "store opened", fault_folder_new, put_and_get, check_again, fault_folder_free, 400 },
	OPEN("store journal", journal_next, check_journal),
	OPEN("store rows walked", walk, NULL),
	OPEN("store hosts changed", change_hosts, NULL),
	OPEN("store replay", see_once, NULL),
	{ 0 },
};
