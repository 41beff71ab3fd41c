/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/compare.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "qemustream/compare_dump.h"
#include "qemustream/known_layout.h"

/* Two lists of fields and subsections side by side: of a device, a struct, a subsection. */
typedef struct Pair {
	const char *vmsd_name;
	uint32_t incoming_first, incoming, incoming_end;
	uint32_t local_first, local, local_end;
} Pair;

typedef struct Compare {
	const VmDescription *incoming, *local;
	const DumpVmstate *dump;
	const CompareOptions *options;
	const VmDevice *device; /* the incoming one */
	Pair pairs[VMDESC_DEPTH_MAX + 1];
	size_t depth;
	Error *err;
} Compare;

static bool refuse(const Compare *compare, const char *field, const char *what,
		   unsigned long long incoming, unsigned long long local)
{
	return error_set(compare->err, ERROR_PEER,
			 "device %.80s, %.80s of %.80s: %s (incoming %llu, local %llu)",
			 compare->device->name, field, compare->pairs[compare->depth].vmsd_name,
			 what, incoming, local);
}

static bool is_field(const VmNode *node)
{
	return node && node->kind != VM_SUBSECTION;
}

static uint64_t bytes_of(const VmNode *node)
{
	return (uint64_t)node->size_bytes * node->count;
}

/* Up to how many bytes a field may have that may also be missing, as an array of no elements is; 0:
 * it may not. */
static uint32_t optional_bytes(const Compare *compare, const VmNode *node)
{
	const CompareOptions *options = compare->options;
	const char *vmsd_name = compare->pairs[compare->depth].vmsd_name;
	const KnownOptional *known;

	for (size_t i = 0; i < options->variable_count; i++)
		if (!strcmp(options->variable[i].vmsd_name, vmsd_name) &&
		    !strcmp(options->variable[i].field, node->name))
			return options->variable[i].max_bytes;
	known = known_optional(vmsd_name, node->name);
	return known ? known->size_bytes * known->max_count : 0;
}

/* An incoming field that known_layout.c lists: as many bytes as the loading QEMU reads of it, and
 * what is inside if the local description does not tell. */
static bool check_optional(const Compare *compare, const VmNode *incoming, bool has_local)
{
	const char *vmsd_name = compare->pairs[compare->depth].vmsd_name;
	const KnownOptional *known = known_optional(vmsd_name, incoming->name);

	if (!known)
		return true;
	if ((incoming->kind == VM_STRUCT) != known->is_struct ||
	    incoming->size_bytes != known->size_bytes || incoming->count > known->max_count)
		return refuse(compare, incoming->name, "another length than is known",
			      bytes_of(incoming), known->size_bytes);
	return has_local || !known->is_struct ||
	       compare_dump_field(compare->incoming, compare->device, vmsd_name, incoming,
				  compare->dump, known->size_bytes * known->max_count,
				  compare->err);
}

/* Up to how many bytes a field may have whose length may differ from ours; 0: it may not. */
static uint32_t variable_bytes(const Compare *compare, const VmNode *node)
{
	uint32_t bytes;

	/* The one buffer of an old-style device has no table around it. */
	if (known_variable_type(node->type) || !compare->pairs[compare->depth].vmsd_name[0])
		return compare->options->variable_max_bytes;
	bytes = known_buffer_bytes(compare->pairs[compare->depth].vmsd_name, node->name);
	return bytes ? bytes : optional_bytes(compare, node);
}

static void push(Compare *compare, const VmNode *incoming, const VmNode *local)
{
	const uint32_t a = (uint32_t)(incoming - compare->incoming->nodes) + 1;
	const uint32_t b = (uint32_t)(local - compare->local->nodes) + 1;

	assert(compare->depth < VMDESC_DEPTH_MAX);
	compare->pairs[++compare->depth] = (Pair){ .vmsd_name = incoming->vmsd_name,
						   .incoming_first = a,
						   .incoming = a,
						   .incoming_end = incoming->end,
						   .local_first = b,
						   .local = b,
						   .local_end = local->end };
}

/* The table inside both, then its fields. */
static bool enter(Compare *compare, const VmNode *incoming, const VmNode *local)
{
	if (strcmp(incoming->vmsd_name, local->vmsd_name))
		return error_set(compare->err, ERROR_PEER,
				 "device %.80s, %.80s: table %.80s, not the local %.80s",
				 compare->device->name, incoming->name, incoming->vmsd_name,
				 local->vmsd_name);
	if (incoming->version > local->version)
		return refuse(compare, incoming->name, "newer than ours", incoming->version,
			      local->version);
	/* That of a subsection stands in the stream, and QEMU loads by it; that of a struct does
	 * not. */
	if (incoming->kind == VM_SUBSECTION && incoming->version != local->version)
		return refuse(compare, incoming->name, "older than ours", incoming->version,
			      local->version);
	push(compare, incoming, local);
	return true;
}

/* Fields of the same name and type: their length. */
static bool compare_length(Compare *compare, const VmNode *incoming, const VmNode *local)
{
	const uint32_t variable = variable_bytes(compare, incoming);

	if (variable) {
		if (bytes_of(incoming) > variable)
			return refuse(compare, incoming->name, "longer than the bound",
				      bytes_of(incoming), variable);
		return check_optional(compare, incoming, true);
	}
	if (incoming->count != local->count)
		return refuse(compare, incoming->name, "another count", incoming->count,
			      local->count);
	/* The length of a struct is that of what is inside, which may have more subsections. */
	if (incoming->kind == VM_LEAF && incoming->size_bytes != local->size_bytes)
		return refuse(compare, incoming->name, "another size", incoming->size_bytes,
			      local->size_bytes);
	return true;
}

/* So many leaves from `at`, before `end`: their bytes; 0 if there are fewer, or others. */
static uint64_t sum_leaves(const VmNode *nodes, uint32_t at, uint32_t end, uint32_t count)
{
	uint64_t bytes = 0;

	if (count > end - at)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		if (nodes[at + i].kind != VM_LEAF)
			return 0;
		bytes += bytes_of(&nodes[at + i]);
	}
	return bytes;
}

/* Steps over fields that another version of QEMU describes otherwise. */
static bool take_alias(Compare *compare, Pair *pair, const VmNode *incoming, const VmNode *local)
{
	for (size_t side = 0; side < 2; side++) {
		const KnownAlias *alias =
			known_alias(pair->vmsd_name, incoming->name, local->name, side);
		uint64_t bytes;

		if (!alias)
			continue;
		bytes = sum_leaves(compare->incoming->nodes, pair->incoming, pair->incoming_end,
				   alias->count[side]);
		if (!bytes || bytes != sum_leaves(compare->local->nodes, pair->local,
						  pair->local_end, alias->count[!side]))
			continue;
		pair->incoming += alias->count[side];
		pair->local += alias->count[!side];
		return true;
	}
	return false;
}

/* Bytes that one side writes as zeros and does not read: a field that came or went between two
 * versions of QEMU. What we read of it is read by its local name, and judged by that or not at all:
 * a peer may not take a field away from who judges it. */
static bool is_unused(const Compare *compare, const char *vmsd_name, const VmNode *incoming,
		      const VmNode *local)
{
	const CompareOptions *options = compare->options;

	if (incoming->kind != VM_LEAF || local->kind != VM_LEAF ||
	    bytes_of(incoming) != bytes_of(local))
		return false;
	if (!strcmp(local->type, "unused_buffer"))
		return true;
	return !strcmp(incoming->type, "unused_buffer") && !known_variable_type(local->type) &&
	       !strstr(local->type, " equal") &&
	       !(options->is_judged && options->is_judged(vmsd_name, local->name));
}

static bool is_same_field(const Compare *compare, const VmNode *incoming, const VmNode *local)
{
	return incoming->kind == local->kind && !strcmp(incoming->name, local->name) &&
	       !strcmp(incoming->type, local->type) &&
	       (incoming->kind == VM_STRUCT || variable_bytes(compare, incoming) ||
		bytes_of(incoming) == bytes_of(local));
}

/* An incoming field that we do not have: QEMU reads what may be there once, and in its place. What
 * was described again, or elsewhere, would be read as another field. */
static bool take_optional(Compare *compare, Pair *pair, const VmNode *incoming)
{
	const KnownOptional *known = known_optional(pair->vmsd_name, incoming->name);
	const VmNode *nodes = compare->incoming->nodes, *before = NULL;

	for (uint32_t i = pair->incoming_first; i < pair->incoming; i = nodes[i].end) {
		before = &nodes[i];
		if (!strcmp(before->name, incoming->name))
			return refuse(compare, incoming->name, "a field that is described twice", 2,
				      1);
	}
	if (known && (!before || strcmp(before->name, known->behind) != 0))
		return refuse(compare, incoming->name, "a field that is not in its place", 0, 0);
	pair->incoming = incoming->end;
	return check_optional(compare, incoming, false);
}

/* Fields that are not the same: passes those that need not be, and says how the others differ. */
static bool pass_other(Compare *compare, Pair *pair, const VmNode *incoming, const VmNode *local)
{
	if (is_unused(compare, pair->vmsd_name, incoming, local)) {
		pair->incoming = incoming->end;
		pair->local = local->end;
		return true;
	}
	if (take_alias(compare, pair, incoming, local))
		return true;
	if (!strcmp(incoming->name, local->name))
		return strcmp(incoming->type, local->type)
			       ? error_set(compare->err, ERROR_PEER,
					   "device %.80s: field %.80s of type %s, not the local %s",
					   compare->device->name, incoming->name, incoming->type,
					   local->type)
			       : compare_length(compare, incoming, local);
	/* An array of no elements is not there at all. */
	if (optional_bytes(compare, local)) {
		pair->local = local->end;
		return true;
	}
	if (bytes_of(incoming) && bytes_of(incoming) <= optional_bytes(compare, incoming))
		return take_optional(compare, pair, incoming);
	return error_set(compare->err, ERROR_PEER,
			 "device %.80s: field %.80s of %.80s, not the local %.80s",
			 compare->device->name, incoming->name, pair->vmsd_name, local->name);
}

static bool compare_fields(Compare *compare, Pair *pair, const VmNode *incoming,
			   const VmNode *local)
{
	if (!is_same_field(compare, incoming, local))
		return pass_other(compare, pair, incoming, local);
	if (incoming->index != local->index && incoming->index != VMDESC_NO_INDEX &&
	    local->index != VMDESC_NO_INDEX)
		return refuse(compare, incoming->name, "another index", incoming->index,
			      local->index);
	if (!compare_length(compare, incoming, local))
		return false;
	pair->incoming = incoming->end;
	pair->local = local->end;
	return incoming->kind == VM_LEAF || enter(compare, incoming, local);
}

/* A field that only one side has. */
static bool compare_single(Compare *compare, Pair *pair, const VmNode *incoming,
			   const VmNode *local)
{
	const VmNode *node = incoming ? incoming : local;
	const uint32_t optional = optional_bytes(compare, node);

	if (!optional || (incoming && bytes_of(incoming) > optional))
		return refuse(compare, node->name, "a field of one side only",
			      incoming ? bytes_of(incoming) : 0, local ? bytes_of(local) : 0);
	if (incoming)
		return take_optional(compare, pair, incoming);
	pair->local = local->end;
	return true;
}

static const VmNode *find_subsection(const VmDescription *description, uint32_t first, uint32_t end,
				     const char *name)
{
	for (uint32_t i = first; i < end; i = description->nodes[i].end)
		if (description->nodes[i].kind == VM_SUBSECTION &&
		    !strcmp(description->nodes[i].name, name))
			return &description->nodes[i];
	return NULL;
}

static bool compare_known(Compare *compare, const VmNode *incoming, const KnownSubsection *known)
{
	if (incoming->version != known->version)
		return refuse(compare, incoming->name, "another version than is known",
			      incoming->version, known->version);
	if (incoming->size_bytes < known->min_bytes || incoming->size_bytes > known->max_bytes)
		return refuse(compare, incoming->name, "another length than is known",
			      incoming->size_bytes, known->max_bytes);
	return true;
}

static bool compare_subsection(Compare *compare, Pair *pair, const VmNode *incoming)
{
	const VmNode *local =
		find_subsection(compare->local, pair->local_first, pair->local_end, incoming->name);
	const KnownSubsection *known;

	if (find_subsection(compare->incoming, pair->incoming_first, pair->incoming,
			    incoming->name))
		return refuse(compare, incoming->name, "a subsection twice", 2, 1);
	pair->incoming = incoming->end;
	if (local)
		return enter(compare, incoming, local);
	known = known_subsection(pair->vmsd_name, incoming->name);
	if (known)
		return compare_known(compare, incoming, known);
	return compare_dump_subsection(compare->incoming, compare->device, incoming, compare->dump,
				       compare->options->variable_max_bytes, compare->err);
}

/* One step at the innermost level; a level whose lists have ended is left. */
static bool step(Compare *compare)
{
	Pair *pair = &compare->pairs[compare->depth];
	const VmNode *incoming = pair->incoming < pair->incoming_end
					 ? &compare->incoming->nodes[pair->incoming]
					 : NULL;
	const VmNode *local =
		pair->local < pair->local_end ? &compare->local->nodes[pair->local] : NULL;

	if (is_field(incoming) && is_field(local))
		return compare_fields(compare, pair, incoming, local);
	if (is_field(incoming))
		return compare_single(compare, pair, incoming, NULL);
	if (is_field(local))
		return compare_single(compare, pair, NULL, local);
	if (incoming)
		return compare_subsection(compare, pair, incoming);
	/* Subsections that only we have are defaults there. The lowest level stays. */
	if (compare->depth)
		compare->depth--;
	return true;
}

static bool has_ended(const Compare *compare)
{
	const Pair *pair = &compare->pairs[0];
	const VmNode *local =
		pair->local < pair->local_end ? &compare->local->nodes[pair->local] : NULL;

	return !compare->depth && pair->incoming == pair->incoming_end && !is_field(local);
}

static bool compare_device(Compare *compare, const VmDevice *incoming, const VmDevice *local)
{
	compare->device = incoming;
	compare->depth = 0;
	compare->pairs[0] = (Pair){ .vmsd_name = incoming->vmsd_name,
				    .incoming_first = incoming->first,
				    .incoming = incoming->first,
				    .incoming_end = incoming->end,
				    .local_first = local->first,
				    .local = local->first,
				    .local_end = local->end };
	if (strcmp(incoming->vmsd_name, local->vmsd_name))
		return error_set(compare->err, ERROR_PEER,
				 "device %.80s: table \"%.80s\", not the local \"%.80s\"",
				 incoming->name, incoming->vmsd_name, local->vmsd_name);
	if (incoming->vmsd_name[0] && incoming->version != local->version)
		return error_set(compare->err, ERROR_PEER, "device %.80s: version %u, ours is %u",
				 incoming->name, incoming->version, local->version);
	while (!has_ended(compare))
		if (!step(compare))
			return false;
	return true;
}

static bool is_optional(const CompareOptions *options, const char *name)
{
	for (size_t i = 0; i < options->optional_devices_count; i++)
		if (!strcmp(options->optional_devices[i], name))
			return true;
	return false;
}

bool vmdesc_compare(const VmDescription *incoming, const VmDescription *local,
		    const DumpVmstate *dump, const CompareOptions *options, Error *err)
{
	Compare compare = {
		.incoming = incoming, .local = local, .dump = dump, .options = options, .err = err
	};

	for (size_t i = 0; i < incoming->devices_count; i++) {
		const VmDevice *device = &incoming->devices[i];
		const VmDevice *ours = vmdesc_find(local, device->name, device->instance_id);

		if (!ours)
			return error_set(err, ERROR_PEER,
					 "device %.80s instance %u: this machine has none",
					 device->name, device->instance_id);
		if (!compare_device(&compare, device, ours))
			return false;
	}
	for (size_t i = 0; i < local->devices_count; i++) {
		const VmDevice *device = &local->devices[i];

		if (!vmdesc_find(incoming, device->name, device->instance_id) &&
		    !is_optional(options, device->name))
			return error_set(err, ERROR_PEER, "device %.80s instance %u is missing",
					 device->name, device->instance_id);
	}
	return true;
}
