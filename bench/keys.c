/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the key store is when it holds many keys. Usage: bench-keys FOLDER [KEYS [verify]].
 * Makes a store of KEYS keys (100000 if none is said) in FOLDER/bench-keys.db, which it removes at
 * the end, and prints what creating, looking up, opening and changing took; and, if that is asked
 * for, what the key manager does when it starts: to open the store and to verify all of it
 * (programs/keyd/walk.h). Of what takes long the time of the CPU is printed too, which a busy
 * machine changes less. Run by hand.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "keys/key_store.h"
#include "programs/keyd/walk.h"

enum {
	BATCH = 1000, /* keys of one transaction while the store is filled */
	SINGLE = 200, /* changes that stand for themselves */
	LOOKUPS = 20000,
	KEYS_OF_A_VM = 4,
};

typedef struct Bench {
	KeyStore *store;
	size_t keys;
	int64_t took_us[LOOKUPS];
} Bench;

static int64_t now_us(void)
{
	return clock_monotonic_us(&clock_system);
}

static int64_t cpu_now_us(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now))
		return 0;
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Since both were zero. */
typedef struct Watch {
	int64_t clock_us, cpu_us;
} Watch;

static Watch watch_begin(void)
{
	return (Watch){ now_us(), cpu_now_us() };
}

static void watch_print(const Watch *since, const char *what, uint64_t count, const char *of)
{
	double clock_s = (double)(now_us() - since->clock_us) / 1e6;
	double cpu_s = (double)(cpu_now_us() - since->cpu_us) / 1e6;

	printf("%-28s %7.0f %s/s  (%" PRIu64 " in %.1f s, CPU %.1f s)\n", what,
	       (double)count / clock_s, of, count, clock_s, cpu_s);
}

/* The number is the id, spread over all of it as a random one is. */
static void name_key(uint64_t number, KeyRecord *ret_key)
{
	uint64_t mixed = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

	*ret_key = (KeyRecord){ .version = 1, .state = KEY_ACTIVE, .epoch = 1 };
	store_be64(ret_key->id, mixed);
	store_be64(ret_key->id + 8, number);
	snprintf(ret_key->vm, sizeof(ret_key->vm), "7e5710c5-0000-4000-8000-%012" PRIx64,
		 number / KEYS_OF_A_VM % (UINT64_C(1) << 48));
	snprintf(ret_key->owner, sizeof(ret_key->owner), "csp-a.example");
	snprintf(ret_key->slot, sizeof(ret_key->slot), "vd%c", (char)('a' + number % KEYS_OF_A_VM));
	snprintf(ret_key->backend, sizeof(ret_key->backend), KEY_BACKEND_EMBEDDED);
}

static bool add(Bench *bench, Error *err)
{
	const KeyReason reason = { KEY_CREATED, "uid 0", "", 1700000000 };
	AUTO_SECRET Secret *value = random_secret(KEY_BYTES, err);
	KeyRecord key;

	name_key(bench->keys, &key);
	if (!value || !key_fingerprint(key.id, key.version, value, key.fingerprint, err) ||
	    !key_store_add(bench->store, &key, value, &reason, err))
		return false;
	bench->keys++;
	return true;
}

static bool fill(Bench *bench, size_t wanted, Error *err)
{
	Watch watch = watch_begin();

	while (bench->keys < wanted) {
		if (!key_store_begin(bench->store, err))
			return false;
		for (size_t i = 0; i < BATCH && bench->keys < wanted; i++)
			if (!add(bench, err))
				return false;
		if (!key_store_commit(bench->store, err))
			return false;
	}
	watch_print(&watch, "create, 1000 in one", wanted, "keys");
	return true;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_times(Bench *bench, const char *what, size_t count)
{
	qsort(bench->took_us, count, sizeof(bench->took_us[0]), compare);
	printf("%-28s p50 %6" PRId64 " us  p99 %6" PRId64 " us  most %6" PRId64 " us\n", what,
	       bench->took_us[count / 2], bench->took_us[count * 99 / 100],
	       bench->took_us[count - 1]);
}

static bool add_singly(Bench *bench, Error *err)
{
	for (size_t i = 0; i < SINGLE; i++) {
		int64_t begin_us = now_us();

		if (!add(bench, err))
			return false;
		bench->took_us[i] = now_us() - begin_us;
	}
	print_times(bench, "create, each for itself", SINGLE);
	return true;
}

static bool change_singly(Bench *bench, Error *err)
{
	const KeyReason reason = { KEY_RETIRED, "uid 0", "", 1700000001 };

	for (size_t i = 0; i < SINGLE; i++) {
		int64_t begin_us = now_us();
		KeyRecord key, named;

		name_key(i * 7919 % bench->keys, &named);
		if (!key_store_get(bench->store, named.id, 0, &key, err))
			return false;
		key.state = KEY_DEACTIVATED;
		if (!key_store_change(bench->store, &key, &reason, err))
			return false;
		bench->took_us[i] = now_us() - begin_us;
	}
	print_times(bench, "change, each for itself", SINGLE);
	return true;
}

static bool look_up(Bench *bench, bool open, Error *err)
{
	uint64_t random = 1;

	for (size_t i = 0; i < LOOKUPS; i++) {
		AUTO_SECRET Secret *value = NULL;
		KeyRecord named, key;
		int64_t begin_us;
		bool ok;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
		name_key((random >> 33) % bench->keys, &named);
		begin_us = now_us();
		if (open)
			ok = (value = key_store_value(bench->store, &named, err)) != NULL;
		else
			ok = key_store_get(bench->store, named.id, 0, &key, err);
		bench->took_us[i] = now_us() - begin_us;
		if (!ok)
			return false;
	}
	print_times(bench, open ? "open a value" : "look up a record", LOOKUPS);
	return true;
}

static bool list_vms(Bench *bench, Error *err)
{
	enum { VMS = 1000 };
	KeyRecord named, keys[2 * KEYS_OF_A_VM];

	for (size_t i = 0; i < VMS; i++) {
		int64_t begin_us = now_us();
		uint64_t cursor = 0;
		size_t count;

		name_key(i * 7919 % bench->keys, &named);
		if (!key_store_list(bench->store, named.vm, &cursor, keys, 2 * KEYS_OF_A_VM, &count,
				    err))
			return false;
		bench->took_us[i] = now_us() - begin_us;
	}
	print_times(bench, "list the keys of a VM", VMS);
	return true;
}

/* As the key manager does before it serves. */
static bool verify(Bench *bench, Error *err)
{
	Watch all = watch_begin(), part = all;
	uint64_t entries;
	bool done = false;
	Walk walk;

	walk_begin(&walk);
	for (WalkPart before = walk.part; !done; before = walk.part) {
		if (!walk_step(&walk, bench->store, &done, err))
			return false;
		if (walk.part == before)
			continue;
		entries = before == WALK_KEYS ? walk.keys : walk.log.entries;
		if (before == WALK_FILE)
			entries = bench->keys;
		watch_print(&part,
			    before == WALK_FILE	 ? "verify: file and indexes"
			    : before == WALK_LOG ? "verify: log"
						 : "verify: keys",
			    entries, before == WALK_LOG ? "entries" : "keys");
		part = watch_begin();
	}
	watch_print(&all, "verify at the start", walk.keys, "keys");
	return true;
}

static bool open_again(Bench *bench, const char *path, RootKey *root, Error *err)
{
	Watch watch;

	key_store_free(TAKE_PTR(bench->store));
	watch = watch_begin();
	bench->store = key_store_open(path, root, err);
	if (!bench->store)
		return false;
	watch_print(&watch, "open the store", 1, "stores");
	return true;
}

static void print_size(const Bench *bench, const char *path)
{
	struct stat status;

	if (!stat(path, &status))
		printf("%-28s %7.0f MiB, %.0f bytes a key\n", "the file",
		       (double)status.st_size / 1048576,
		       (double)status.st_size / (double)bench->keys);
}

static bool measure(Bench *bench, const char *path, size_t wanted, bool verifying, Error *err)
{
	AUTO_SECRET Secret *bytes = random_secret(KEY_BYTES, err);
	AUTO_ROOT_KEY RootKey *root = bytes ? root_key_new("file", bytes, err) : NULL;
	bool ok;

	bench->store = root ? key_store_open(path, root, err) : NULL;
	ok = bench->store && fill(bench, wanted, err) && look_up(bench, false, err) &&
	     look_up(bench, true, err) && list_vms(bench, err) && add_singly(bench, err) &&
	     change_singly(bench, err) &&
	     (!verifying || (open_again(bench, path, root, err) && verify(bench, err)));
	if (ok)
		print_size(bench, path);
	/* Before the root key, which it borrows. */
	key_store_free(TAKE_PTR(bench->store));
	return ok;
}

static void print_load(void)
{
	double load[3];

	if (getloadavg(load, 3) == 3)
		printf("%-28s %.1f %.1f %.1f\n", "load", load[0], load[1], load[2]);
}

int main(int argc, char **argv)
{
	char path[512], journal[520];
	size_t wanted = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
	AUTO_FREE Bench *bench = calloc(1, sizeof(*bench));
	Error err = ERROR_INIT;
	bool ok;

	if (!bench || argc < 2 || wanted < SINGLE || wanted > LIMIT_KEYS - SINGLE) {
		fprintf(stderr, "usage: bench-keys FOLDER [%d..%d [verify]]\n", SINGLE,
			LIMIT_KEYS - SINGLE);
		return 2;
	}
	snprintf(path, sizeof(path), "%s/bench-keys.db", argv[1]);
	snprintf(journal, sizeof(journal), "%s-journal", path);
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* Of a run that was killed: its root key is gone. */
	(void)unlink(path);
	(void)unlink(journal);
	print_load();
	ok = measure(bench, path, wanted, argc > 3, &err);
	print_load();
	if (!ok)
		fprintf(stderr, "bench-keys: %s\n", err.text);
	(void)unlink(path);
	(void)unlink(journal);
	return ok ? 0 : 1;
}
