/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/device_length.h"

#include <string.h>

#include "qemustream/known_layout.h"

enum { ANY_BYTES = 0, AS_CPUS = UINT32_MAX };

/* What a device of QEMU has there. */
typedef struct Length {
	const char *around; /* the table around the one that has the field; NULL: any */
	const char *table, *field;
	uint32_t length; /* bytes; AS_CPUS: elements; ANY_BYTES: a row of device_rules.c holds it */
} Length;

static const Length lengths[] = {
	/* UART_FIFO_LENGTH, hw/char/serial.c */
	{ "serial/recv_fifo", "Fifo8", "data", 16 },
	{ "serial/xmit_fifo", "Fifo8", "data", 16 },
	/* IDE_DMA_BUF_SECTORS * 512 + 4, ide_init_drive in hw/ide/core.c */
	{ NULL, "ide_drive/pio_state", "io_buffer", 256 * 512 + 4 },
	/* One for each that may be plugged, hw/acpi/cpu.c */
	{ NULL, "CPU hotplug state", "devs", AS_CPUS },
	{ NULL, "vmxnet3/mcast_list", "mcast_list", ANY_BYTES },
};

typedef struct Judge {
	const VmDescription *incoming, *local;
	const DumpVmstate *dump;
	const VmDevice *device, *ours;
	uint32_t cpus;
	const VmNode *path[VMDESC_DEPTH_MAX + 1];
	Error *err;
} Judge;

static bool refuse(const Judge *judge, const VmNode *node, const char *what, uint64_t is,
		   uint64_t should)
{
	return guard_violation(judge->err, GUARD_RULE_DEVICE_LENGTH,
			       "device %.80s, %.80s: %s (%llu, not %llu)", judge->device->name,
			       node->name, what, (unsigned long long)is,
			       (unsigned long long)should);
}

static uint32_t count_cpus(const VmDescription *description)
{
	uint32_t cpus = 0;

	for (size_t i = 0; i < description->devices_count; i++)
		cpus += !strcmp(description->devices[i].vmsd_name, "cpu_common");
	return cpus;
}

/* The table that a node at this depth stands in. */
static const char *table_at(const Judge *judge, uint8_t depth)
{
	return depth ? judge->path[depth - 1]->vmsd_name : judge->device->vmsd_name;
}

static const Length *find_length(const Judge *judge, const char *table, uint8_t depth)
{
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		if (!strcmp(lengths[i].table, table) &&
		    (!lengths[i].around || !strcmp(lengths[i].around, table_at(judge, depth))))
			return &lengths[i];
	return NULL;
}

/* A struct or subsection whose table is listed: all elements of the field, however described. */
static bool judge_listed(const Judge *judge, const VmNode *around)
{
	const VmNode *nodes = judge->incoming->nodes;
	const Length *length = find_length(judge, around->vmsd_name, around->depth);
	uint64_t bytes = 0, elements = 0;

	if (!length || length->length == ANY_BYTES)
		return true;
	for (uint32_t i = (uint32_t)(around - nodes) + 1; i < around->end; i = nodes[i].end) {
		if (strcmp(nodes[i].name, length->field))
			continue;
		bytes += (uint64_t)nodes[i].count * nodes[i].size_bytes;
		elements += nodes[i].count;
	}
	if (length->length == AS_CPUS)
		return elements == judge->cpus ||
		       refuse(judge, around, "elements, one for each CPU", elements, judge->cpus);
	return bytes == length->length ||
	       refuse(judge, around, "bytes of its array", bytes, length->length);
}

/* Fields of which the type and the name alone do not tell how long they are. */
static bool is_array(const VmNode *node)
{
	return node->count > 1 || node->index != VMDESC_NO_INDEX ||
	       (node->kind == VM_LEAF && !known_type_size(node->type));
}

/* Whether the twin has such a field of this length, in this device. */
static bool is_in_twin(const Judge *judge, const VmNode *node)
{
	const VmNode *nodes = judge->local->nodes;
	const VmNode *const around = node->depth ? judge->path[node->depth - 1] : NULL;
	const VmNode *path[VMDESC_DEPTH_MAX + 1];

	for (uint32_t i = judge->ours->first; around && i < judge->ours->end; i++) {
		const VmNode *other = &nodes[i];

		path[other->depth] = other;
		if (other->depth && !strcmp(other->name, node->name) &&
		    !strcmp(other->type, node->type) && other->count == node->count &&
		    other->index == node->index &&
		    (other->kind != VM_LEAF || other->size_bytes == node->size_bytes) &&
		    !strcmp(path[other->depth - 1]->vmsd_name, around->vmsd_name))
			return true;
	}
	return false;
}

/* Whether a table of the local QEMU tells its count. */
static bool is_told(const Judge *judge, const VmNode *subsection, const VmNode *node)
{
	const DumpType *type = NULL;

	if (!judge->dump || node->count < 2 ||
	    (node->kind == VM_LEAF && !known_type_size(node->type)))
		return false;
	while ((type = dump_vmstate_find(judge->dump, judge->device->vmsd_name, type))) {
		const DumpNode *table =
			dump_vmstate_subsection(judge->dump, type, subsection->name);
		const DumpNode *nodes = judge->dump->nodes;

		for (uint32_t i = table ? (uint32_t)(table - nodes) : 0; table && i < table->end;
		     i++)
			if (!strcmp(nodes[i].name, node->name) && nodes[i].count == node->count)
				return true;
	}
	return false;
}

static bool is_listed(const Judge *judge, const VmNode *node)
{
	const VmNode *around = node->depth ? judge->path[node->depth - 1] : NULL;
	const Length *length = around ? find_length(judge, around->vmsd_name, around->depth) : NULL;

	return length && !strcmp(length->field, node->name);
}

/* The CPU's, which no table tells (known_layout.h): the length of the whole is compared, and that
 * is what QEMU reads if it cannot vary. */
static bool judge_known(const Judge *judge, const VmNode *node, bool *ret_is_known)
{
	const KnownSubsection *known = known_subsection(table_at(judge, node->depth), node->name);

	*ret_is_known = known;
	return !known || node->size_bytes == known->min_bytes ||
	       refuse(judge, node, "a subsection of more than its least length", node->size_bytes,
		      known->min_bytes);
}

static bool judge_device(Judge *judge)
{
	const VmNode *nodes = judge->incoming->nodes, *outer = NULL;
	bool is_known;

	for (uint32_t i = judge->device->first; i < judge->device->end; i++) {
		const VmNode *node = &nodes[i];

		judge->path[node->depth] = node;
		if (outer && i >= outer->end)
			outer = NULL;
		if (!outer && node->kind == VM_SUBSECTION)
			outer = node;
		if (!outer)
			continue;
		if (node->kind == VM_SUBSECTION) {
			if (!judge_known(judge, node, &is_known))
				return false;
			if (is_known) {
				i = node->end - 1;
				continue;
			}
		}
		if (node->kind != VM_LEAF && !judge_listed(judge, node))
			return false;
		if (node->kind != VM_SUBSECTION && is_array(node) && !is_listed(judge, node) &&
		    !is_in_twin(judge, node) && !is_told(judge, outer, node))
			return refuse(judge, node, "an array of which nothing tells the length",
				      node->count, 0);
	}
	return true;
}

bool device_length_judge(const VmDescription *incoming, const VmDescription *local,
			 const DumpVmstate *dump, Error *err)
{
	Judge judge = { .incoming = incoming,
			.local = local,
			.dump = dump,
			.cpus = count_cpus(local),
			.err = err };

	for (size_t i = 0; i < incoming->devices_count; i++) {
		judge.device = &incoming->devices[i];
		judge.ours = vmdesc_find(local, judge.device->name, judge.device->instance_id);
		if (judge.ours && !judge_device(&judge))
			return false;
	}
	return true;
}
