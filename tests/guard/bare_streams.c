/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state read without its description, beside the same with it:
 *
 *	bare_streams FOLDER
 *
 * FOLDER is what make-device-streams made, with its `list`. Of each pair that is to be compared,
 * the sections alone are judged by the local machine's layout (guard_local.h), as the package of
 * postcopy is; that must cut them as the peer's own description does, field by field. Then bytes
 * all over them are changed, one at a time: what passes is cut to its last byte. A stream may be
 * refused by a rule of device state, since what its description explains nothing else may: which
 * ones is printed. Machines that ran (run-*) must pass.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_device.h"
#include "qemustream/frame.h"
#include "tests/guard/read_files.h"

enum {
	FILE_MAX = 64 << 20,
	JSON_MAX = 2 << 20,
	MARK_SIZE = 6,
	PATH_SIZE = 512,
	LINE_SIZE = 256,
	CHANGES = 500,
	CHANGE_SPREAD = 61
};

typedef struct Totals {
	unsigned int passed, refused, wrong;
} Totals;

static void read_file(const char *folder, const char *name, const char *suffix, Buffer *bytes)
{
	char path[PATH_SIZE];

	*bytes = BUFFER_INIT(FILE_MAX);
	snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
	read_whole(path, bytes);
}

static size_t sections_of(const Buffer *held, VmDescription **ret_description)
{
	Error err = ERROR_INIT;
	size_t eof;

	if (!frame_find_vmdesc(held->data, held->used, JSON_MAX, &eof, &err))
		die("%s", err.text);
	*ret_description = vmdesc_parse(held->data + eof + MARK_SIZE, held->used - eof - MARK_SIZE,
					&VMDESC_LIMITS_DEFAULT, &err);
	if (!*ret_description)
		die("%s", err.text);
	return eof;
}

/* Leaves in their order, as bytes: structs and subsections between them are what cuts them. */
static bool next_leaf(const VmDescription *description, const VmDevice *device, uint32_t *at)
{
	while (*at < device->end && description->nodes[*at].kind != VM_LEAF)
		++*at;
	return *at < device->end;
}

/* Fields that one version describes as several have the same bytes: sums are compared at names. */
static bool same_leaves(const VmDescription *a, const VmDevice *of_a, const VmDescription *b,
			const VmDevice *of_b)
{
	uint32_t i = of_a->first, j = of_b->first;

	if (of_a->size_bytes != of_b->size_bytes)
		return false;
	while (next_leaf(a, of_a, &i) && next_leaf(b, of_b, &j)) {
		const VmNode *left = &a->nodes[i++], *right = &b->nodes[j++];

		if (!strcmp(left->name, right->name) &&
		    (uint64_t)left->count * left->size_bytes !=
			    (uint64_t)right->count * right->size_bytes &&
		    strcmp(of_a->name, "globalstate") != 0)
			return false;
	}
	return true;
}

static bool same_cut(const VmDescription *described, const VmDescription *bare)
{
	if (described->devices_count != bare->devices_count)
		return false;
	for (size_t i = 0; i < described->devices_count; i++) {
		const VmDevice *device = &described->devices[i];
		const VmDevice *ours = vmdesc_find(bare, device->name, device->instance_id);

		if (ours && same_leaves(described, device, bare, ours))
			continue;
		printf("WRONG %s: %u bytes, described are %u\n", device->name,
		       ours ? ours->size_bytes : 0, device->size_bytes);
		return false;
	}
	return true;
}

/* One byte in CHANGES of them, each to another value. */
static bool changes_are_held(GuardDevice *device, uint8_t *sections, size_t size)
{
	for (unsigned int i = 0; i < CHANGES; i++) {
		size_t at = (size_t)((uint64_t)size * i / CHANGES) + i % CHANGE_SPREAD;
		const VmDescription *incoming;
		GuardCounters counters = { 0 };
		Error err = ERROR_INIT;
		size_t taken = 0;
		bool ok;

		if (at >= size)
			break;
		sections[at] ^= (uint8_t)(1u << i % 8);
		ok = guard_device_judge_bare(device, sections, size, true, &incoming, &taken,
					     &counters, &err);
		sections[at] ^= (uint8_t)(1u << i % 8);
		if (ok ? taken == size : !strncmp(err.text, "guard-device-", 13))
			continue;
		printf("WRONG: byte %zu changed: %zu of %zu bytes; %s\n", at, taken, size,
		       err.text);
		return false;
	}
	return true;
}

/* What stands behind the sections is not looked at, and what is missing is seen. */
static bool ends_are_held(GuardDevice *device, const uint8_t *sections, size_t size)
{
	const VmDescription *incoming;
	GuardCounters counters = { 0 };
	Error err = ERROR_INIT;
	size_t taken;

	if (guard_device_judge_bare(device, sections, size - 1, true, &incoming, &taken, &counters,
				    &err)) {
		printf("WRONG: a footer that is cut passed\n");
		return false;
	}
	return true;
}

static void judge_pair(const char *folder, const char *incoming_name, const char *local_name,
		       const char *dump_name, Totals *totals)
{
	AUTO_BUFFER Buffer incoming = BUFFER_INIT(0), local = BUFFER_INIT(0), dump = BUFFER_INIT(0);
	AUTO_VMDESC VmDescription *described = NULL;
	AUTO_GUARD_DEVICE GuardDevice *device = NULL;
	AUTO_DUMP_VMSTATE DumpVmstate *tables = NULL;
	const VmDescription *bare;
	GuardCounters counters = { 0 };
	Error err = ERROR_INIT;
	size_t size, taken = 0;

	read_file(folder, incoming_name, ".held", &incoming);
	read_file(folder, local_name, ".held", &local);
	read_file(folder, dump_name, ".dump", &dump);
	tables = dump_vmstate_parse(dump.data, dump.used, &err);
	device = tables ? guard_device_new(local.data, local.used, tables, &err) : NULL;
	if (!device)
		die("%s", err.text);
	size = sections_of(&incoming, &described);
	if (!guard_device_judge_bare(device, incoming.data, size, true, &bare, &taken, &counters,
				     &err)) {
		bool is_right = strncmp(err.text, "guard-device-", 13) == 0 &&
				strncmp(incoming_name, "run-", 4) != 0;

		totals->refused++;
		totals->wrong += !is_right;
		printf("%s %s by %s: %s\n", is_right ? "refused" : "WRONG", incoming_name,
		       local_name, err.text);
		return;
	}
	totals->passed++;
	if (taken != size || !same_cut(described, bare) ||
	    !ends_are_held(device, incoming.data, size) ||
	    !changes_are_held(device, incoming.data, size)) {
		printf("WRONG %s by %s: %zu of %zu bytes\n", incoming_name, local_name, taken,
		       size);
		totals->wrong++;
	}
}

int main(int argc, char **argv)
{
	char path[PATH_SIZE], line[LINE_SIZE], word[16], incoming[64], local[64], dump[64];
	Totals totals = { 0 };
	AUTO_FILE FILE *list = NULL;

	if (argc < 2)
		die("which folder?");
	snprintf(path, sizeof(path), "%s/list", argv[1]);
	list = fopen(path, "re");
	if (!list)
		die("no %s", path);
	while (fgets(line, sizeof(line), list))
		if (sscanf(line, "%15s %63s %63s %63s", word, incoming, local, dump) == 4 &&
		    !strcmp(word, "compare"))
			judge_pair(argv[1], incoming, local, dump, &totals);
	printf("%u cut alike, %u refused, %u wrong\n", totals.passed, totals.refused, totals.wrong);
	return totals.wrong || !totals.passed;
}
