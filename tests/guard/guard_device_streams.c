/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges device state of real QEMUs: guard_device_streams DIR [compare], where DIR is what
 * tests/qemustream/make-device-streams wrote. With `compare` no rule is broken.
 *
 * Each stream that fits its machine must pass, each that does not must not, and the longest time
 * that one took is told. Then each row of device_rules.h is broken in the first stream that has its
 * field, and each hole of device_holes.h is built into one: the rule must say so. Rows that no
 * stream has a field for must be in the list below, and those only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/guard/device_holes.h"

enum { ENTRIES_MAX = 256, RUNS = 9 };

typedef struct Entry {
	char incoming[64], local[64], dump[64];
} Entry;

typedef struct Totals {
	size_t good, differ, broken, wrong;
	int64_t longest_us; /* of the middle run of each stream */
	int64_t longest_first_us;
} Totals;

/* "table/field" of rows that make-device-streams gives no field to: devices that it does not make,
 * and states that its guest does not get into. The unit test breaks them in small streams. */
static const char *const not_seen[] = {
	"cirrus_vga/vga.dac_sub_index",
	"cirrus_vga/vga.dac_state",
	"cirrus_vga/vga.bank_offset",
	"sd-card/state",
	"sd-card/blk_len",
	"sd-card/data_offset",
	"sd-card/pwd_len",
	"usb-ccid/bulk_out_pos",
	"usb-ccid/bulk_in_pending_start",
	"usb-ccid/bulk_in_pending_end",
	"usb-ccid/pending_answers_num",
	"usb-ccid/ulProtocolDataStructureSize",
	"usb-redir-interface-info/interface_count",
	"tpm-emulator/state_blobs.savestate.buffer",
	"tpm-tis/state.rw_offset",
	"tpm-tis/state.active_locty",
	"tpm-tis/state.aborting_locty",
	"tpm-tis/state.next_locty",
	"serial/tsr/tsr_retry",
	"serial/thr_ipending/thr_ipending",
	"serial/timeout_ipending/timeout_ipending",
	"xhci-intr/ev_buffer_put",
	"xhci-intr/ev_buffer_get",
};

static int compare_times(const void *a, const void *b)
{
	const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

/* The first run is what a migration sees: caches are cold. The middle one is what can be compared.
 */
static bool judge_good(const char *folder, const Entry *entry, Totals *totals)
{
	AUTO_HELD_PAIR HeldPair pair = { 0 };
	int64_t took_us[RUNS], first_us;
	Error err = ERROR_INIT;

	if (!held_pair_open(&pair, folder, entry->incoming, entry->local, entry->dump, &err)) {
		printf("WRONG %s to %s: %s\n", entry->incoming, entry->local, err.text);
		return false;
	}
	for (int i = 0; i < RUNS; i++) {
		const int64_t begin = clock_monotonic_us(&clock_system);

		if (!held_pair_judge(&pair, &err)) {
			printf("WRONG %s to %s: %s\n", entry->incoming, entry->local, err.text);
			return false;
		}
		took_us[i] = clock_monotonic_us(&clock_system) - begin;
	}
	first_us = took_us[0];
	qsort(took_us, RUNS, sizeof(took_us[0]), compare_times);
	printf("good %s to %s: %zu bytes, first %lld us, middle %lld us\n", entry->incoming,
	       entry->local, pair.incoming.used, (long long)first_us, (long long)took_us[RUNS / 2]);
	if (took_us[RUNS / 2] > totals->longest_us)
		totals->longest_us = took_us[RUNS / 2];
	if (first_us > totals->longest_first_us)
		totals->longest_first_us = first_us;
	totals->good++;
	return true;
}

static bool judge_differ(const char *folder, const Entry *entry, Totals *totals)
{
	AUTO_HELD_PAIR HeldPair pair = { 0 };
	Error err = ERROR_INIT;

	if (!held_pair_open(&pair, folder, entry->incoming, entry->local, entry->dump, &err) ||
	    held_pair_judge(&pair, &err) || err.category != ERROR_PEER) {
		printf("WRONG %s to %s: %s\n", entry->incoming, entry->local, err.text);
		return false;
	}
	printf("differ %s to %s: %s\n", entry->incoming, entry->local, err.text);
	totals->differ++;
	return true;
}

static bool is_not_seen(const DeviceRule *rule)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/%s", rule->table, rule->field);
	for (size_t i = 0; i < ARRAY_SIZE(not_seen); i++)
		if (!strcmp(not_seen[i], name))
			return true;
	return false;
}

/* Breaks all rows that this stream has a field for and that were not broken yet. */
static bool break_rows(const char *folder, const Entry *entry, bool *broken, Totals *totals)
{
	AUTO_HELD_PAIR HeldPair pair = { 0 };
	Error err = ERROR_INIT;
	bool fine = true;

	if (!held_pair_open(&pair, folder, entry->incoming, entry->local, entry->dump, &err))
		return false;
	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];
		HeldField field;

		if (broken[row] || !held_find(&pair, rule->table, rule->field, &field))
			continue;
		broken[row] = true;
		totals->broken++;
		if (!held_break_row(&pair, rule, &field)) {
			printf("WRONG %s/%s in %s: was not refused by %s\n", rule->table,
			       rule->field, entry->incoming, guard_rule_text(rule->rule)->name);
			fine = false;
		}
	}
	return fine;
}

static bool check_rows(const bool *broken)
{
	bool fine = true;

	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];

		if (broken[row] != is_not_seen(rule))
			continue;
		printf("WRONG %s/%s: %s\n", rule->table, rule->field,
		       broken[row] ? "a stream has it: take it from the list"
				   : "no stream has it, and it is not in the list");
		fine = false;
	}
	return fine;
}

/* The same as CVE-2013-4535, with as many buffers as may be. */
static bool judge_good_request(const char *folder, const Entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		AUTO_HELD_PAIR HeldPair pair = { 0 };
		Error err = ERROR_INIT;

		if (!held_pair_open(&pair, folder, entries[i].incoming, entries[i].local,
				    entries[i].dump, &err) ||
		    !device_holes_good_request(&pair))
			continue;
		if (held_pair_judge(&pair, &err))
			return true;
		printf("WRONG a request that waits: %s\n", err.text);
		return false;
	}
	printf("WRONG a request that waits: no stream has a disk with two queues\n");
	return false;
}

static bool build_holes(const char *folder, const Entry *entries, size_t count)
{
	bool fine = true;

	for (size_t hole = 0; hole < device_holes_count; hole++) {
		bool built = false;

		for (size_t i = 0; i < count && !built; i++) {
			AUTO_HELD_PAIR HeldPair pair = { 0 };
			Error err = ERROR_INIT;

			if (!held_pair_open(&pair, folder, entries[i].incoming, entries[i].local,
					    entries[i].dump, &err) ||
			    !device_holes[hole].build(&pair))
				continue;
			built = true;
			if (held_pair_judge(&pair, &err) || err.category != ERROR_PEER) {
				printf("WRONG %s: passed\n", device_holes[hole].name);
				fine = false;
			}
			printf("hole %s: %s\n", device_holes[hole].name, err.text);
		}
		if (!built) {
			printf("WRONG %s: no stream has what it needs\n", device_holes[hole].name);
			fine = false;
		}
	}
	return fine;
}

static size_t read_list(const char *folder, const char *verb, Entry *entries)
{
	AUTO_FILE FILE *list = NULL;
	char path[512], line[256], word[16];
	size_t count = 0;

	snprintf(path, sizeof(path), "%s/list", folder);
	list = fopen(path, "re");
	while (list && count < ENTRIES_MAX && fgets(line, sizeof(line), list)) {
		Entry *entry = &entries[count];

		if (sscanf(line, "%15s %63s %63s %63s", word, entry->incoming, entry->local,
			   entry->dump) == 4 &&
		    !strcmp(word, verb))
			count++;
	}
	return count;
}

/* How much of it went wrong. */
static size_t break_all(const char *folder, const Entry *good, size_t count, bool *broken,
			Totals *totals)
{
	size_t wrong = 0;

	for (size_t i = 0; i < count; i++)
		wrong += !break_rows(folder, &good[i], broken, totals);
	wrong += !check_rows(broken);
	wrong += !build_holes(folder, good, count);
	return wrong + !judge_good_request(folder, good, count);
}

int main(int argc, char **argv)
{
	static Entry good[ENTRIES_MAX], differ[ENTRIES_MAX], unwanted[ENTRIES_MAX];
	Totals totals = { 0 };
	AUTO_FREE bool *broken = calloc(device_rules_count, sizeof(*broken));
	size_t good_count, differ_count, unwanted_count;

	if (argc < 2 || argc > 3 || !broken)
		return 2;
	good_count = read_list(argv[1], "compare", good);
	differ_count = read_list(argv[1], "differ", differ);
	unwanted_count = read_list(argv[1], "unwanted", unwanted);
	/* Its table differs between versions: here it goes to its own. */
	if (argc == 2 && good_count && good_count < ENTRIES_MAX)
		good[good_count++] = (Entry){ "esp-new", "esp-new", "q35-new" };
	for (size_t i = 0; i < good_count; i++)
		totals.wrong += !judge_good(argv[1], &good[i], &totals);
	for (size_t i = 0; i < differ_count; i++)
		totals.wrong += !judge_differ(argv[1], &differ[i], &totals);
	for (size_t i = 0; i < unwanted_count; i++)
		totals.wrong += !judge_differ(argv[1], &unwanted[i], &totals);
	if (argc == 2)
		totals.wrong += break_all(argv[1], good, good_count, broken, &totals);
	printf("%zu good, %zu that differ, %zu of %zu rows broken, %zu holes; judging took at most "
	       "%lld us, %lld us the first time; %zu wrong\n",
	       totals.good, totals.differ, totals.broken, device_rules_count, device_holes_count,
	       (long long)totals.longest_us, (long long)totals.longest_first_us, totals.wrong);
	return totals.wrong || !good_count || (argc == 2 && !totals.broken);
}
