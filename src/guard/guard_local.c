/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_local.h"

#include <string.h>

#include "base/buffer.h"
#include "guard/guard_layout.h"
#include "qemustream/known_layout.h"

enum {
	/* migration/savevm.h */
	TAG_FULL = 0x04,
	TAG_SUBSECTION = 0x05,
	TAG_FOOTER = 0x7e,
	FOOTER_SIZE = 5,
	NODES_MAX = 65536,
	DEVICES_MAX = 1024,
	/* Footers that are tried: a guest may have such bytes in its buffers, but not many. */
	FOOTERS_MAX = 16,
	/* Where no footer follows, how far from the twin's a length is looked for. */
	LONGER_MAX = 1024,
	SHORTER_MAX = 256,
	NAME_MAX = 255,
};
#define NO_NODE UINT32_MAX

/* What is being read: a device, a struct, a subsection. */
typedef struct Level {
	uint32_t next, end; /* local nodes: fields, then subsections */
	uint32_t node;	    /* that stands for it in the result; NO_NODE for the device */
	size_t begin;	    /* of what is inside */
	const char *vmsd_name;
} Level;

typedef struct Local {
	const VmDescription *local;
	const LocalProbe *probe;
	const uint8_t *bytes;
	size_t size, at;
	VmDescription *out;
	size_t nodes_allocated, devices_allocated;
	const VmDevice *ours;
	uint32_t section_id, version;
	uint32_t told; /* elements of the field that is added: guard_layout.h */
	Level levels[VMDESC_DEPTH_MAX + 1];
	size_t depth;
	Error *err;
} Local;

static bool refuse(const Local *local, GuardRule rule, const char *name, const char *what)
{
	return guard_violation(local->err, rule, "device %.80s, %.80s, byte %zu: %s",
			       local->ours ? local->ours->name : "(none)", name, local->at, what);
}

static size_t left_of(const Local *local)
{
	return local->size - local->at;
}

/* --- the result --- */

static bool grow(void **array, size_t *allocated, size_t used, size_t element, size_t most,
		 Error *err)
{
	size_t wanted = *allocated ? 2 * *allocated : 256;
	void *grown;

	if (used < *allocated)
		return true;
	if (wanted > most)
		return guard_violation(err, GUARD_RULE_DEVICE_LOCAL,
				       "more than %zu devices or fields", most);
	grown = realloc(*array, wanted * element);
	if (!grown)
		return error_set(err, ERROR_INTERNAL, "no memory to describe device state");
	*array = grown;
	*allocated = wanted;
	return true;
}

static bool emit(Local *local, const VmNode *node)
{
	VmDescription *out = local->out;
	void *nodes = out->nodes;

	if (!grow(&nodes, &local->nodes_allocated, out->nodes_count, sizeof(*out->nodes), NODES_MAX,
		  local->err))
		return false;
	out->nodes = nodes;
	out->nodes[out->nodes_count] = *node;
	out->nodes[out->nodes_count].depth = (uint8_t)local->depth;
	out->nodes[out->nodes_count].end = (uint32_t)out->nodes_count + 1;
	out->nodes_count++;
	return true;
}

static bool take(Local *local, const char *name, uint64_t bytes)
{
	if (bytes > left_of(local))
		return refuse(local, GUARD_RULE_DEVICE_FRAME, name,
			      "the bytes end inside what the local layout has here");
	local->at += (size_t)bytes;
	return true;
}

static bool push(Local *local, const Level *level)
{
	if (layout_is_unsteady(level->vmsd_name))
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, level->vmsd_name,
			      "which fields it has nothing tells without a description");
	if (local->depth == VMDESC_DEPTH_MAX)
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, level->vmsd_name, "too deep inside");
	local->levels[++local->depth] = *level;
	return true;
}

static void close_level(Local *local)
{
	const Level *level = &local->levels[local->depth];
	VmNode *node = &local->out->nodes[level->node];

	node->end = (uint32_t)local->out->nodes_count;
	node->size_bytes = (uint32_t)(local->at - level->begin);
	local->depth--;
}

/* --- fields whose decoders tell the length --- */

static bool fits(Local *local, const VmNode *ours, size_t size)
{
	FrameLevel path[VMDESC_DEPTH_MAX];
	VmNode node = *ours;
	FrameField field = { .device = local->ours,
			     .node = &node,
			     .levels = path,
			     .levels_count = local->depth,
			     .bytes = local->bytes + local->at,
			     .size_bytes = size,
			     .offset = local->at };

	for (size_t i = 0; i < local->depth; i++)
		path[i] = (FrameLevel){ .node = &local->out->nodes[local->levels[i + 1].node] };
	node.size_bytes = (uint32_t)size;
	node.count = 1;
	*local->err = ERROR_INIT;
	return local->probe->fits(local->probe->context, &field, local->err);
}

/* Whether nothing but subsections may stand between what comes and the footer. */
static bool is_last(const Local *local)
{
	for (size_t i = 0; i <= local->depth; i++) {
		const Level *level = &local->levels[i];

		if (level->next < level->end &&
		    local->local->nodes[level->next].kind != VM_SUBSECTION)
			return false;
	}
	return true;
}

static size_t length_by_footer(Local *local, const VmNode *ours)
{
	uint8_t footer[FOOTER_SIZE] = { TAG_FOOTER };
	const uint8_t *begin = local->bytes + local->at, *from = begin;
	const uint8_t *end = local->bytes + local->size;

	store_be32(footer + 1, local->section_id);
	for (int i = 0; i < FOOTERS_MAX; i++) {
		const uint8_t *found = memmem(from, (size_t)(end - from), footer, FOOTER_SIZE);

		if (!found)
			return 0;
		if (found > begin && fits(local, ours, (size_t)(found - begin)))
			return (size_t)(found - begin);
		from = found + 1;
	}
	return 0;
}

static size_t length_by_trial(Local *local, const VmNode *ours)
{
	const size_t left = left_of(local), twin = ours->size_bytes;
	const size_t shortest = twin > SHORTER_MAX ? twin - SHORTER_MAX : 1;

	for (size_t size = twin ? twin : 1; size <= left && size <= twin + LONGER_MAX; size++)
		if (fits(local, ours, size))
			return size;
	for (size_t size = twin; size-- > shortest;)
		if (size <= left && fits(local, ours, size))
			return size;
	return 0;
}

static bool find_length(Local *local, const VmNode *ours, size_t *ret_size)
{
	*ret_size = is_last(local) ? length_by_footer(local, ours) : length_by_trial(local, ours);
	if (*ret_size) {
		*local->err = ERROR_INIT;
		return true;
	}
	if (local->err->category == ERROR_PEER && !strncmp(local->err->text, "guard-", 6))
		return false; /* what its decoder said last */
	return refuse(local, GUARD_RULE_DEVICE_LOCAL, ours->name,
		      "nothing tells its length, and no footer of the section stands behind it");
}

/* --- fields --- */

static bool take_table(Local *local, const LayoutTable *table);

/* Behind a field after which another one may follow, as a number says that was read before. */
static bool take_optional(Local *local, const VmNode *behind)
{
	Level *level = &local->levels[local->depth];
	const LayoutOptional *optional = layout_optional(level->vmsd_name, behind->name);
	const VmNode *next = level->next < level->end ? &local->local->nodes[level->next] : NULL;
	uint64_t number = 0;
	size_t at;

	if (!optional)
		return true;
	if (optional->back_bytes > local->at - level->begin)
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, behind->name,
			      "no number stands before it");
	at = local->at - optional->back_bytes;
	for (uint32_t i = 0; i < optional->number_bytes; i++)
		number = number << 8 | local->bytes[at + i];
	if (next && !strcmp(next->name, optional->added.fields[0].name))
		level->next = next->end;
	if (optional->most && number > optional->most)
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, optional->added.fields[0].name,
			      "more elements than there can be");
	local->told = (uint32_t)number;
	return !number || take_table(local, &optional->added);
}

static bool take_leaf(Local *local, const VmNode *ours)
{
	VmNode node = *ours;
	size_t size;

	if (known_variable_type(ours->type)) {
		if (!find_length(local, ours, &size))
			return false;
		node.size_bytes = (uint32_t)size;
		node.count = 1;
	}
	return take(local, node.name, (uint64_t)node.count * node.size_bytes) &&
	       emit(local, &node) && take_optional(local, ours);
}

/* An array whose elements are all alike, by the tables of QEMU: it has neither subsections nor
 * fields that may be missing, or each element would be told by itself. */
static bool take_array(Local *local, const VmNode *ours)
{
	const VmNode *nodes = local->local->nodes;
	const uint32_t first = (uint32_t)(ours - nodes);
	const uint32_t base = (uint32_t)local->out->nodes_count;

	if (!take(local, ours->name, (uint64_t)ours->count * ours->size_bytes))
		return false;
	for (uint32_t i = first; i < ours->end; i++) {
		VmNode *added;

		if (nodes[i].kind == VM_SUBSECTION ||
		    (nodes[i].kind == VM_LEAF && known_variable_type(nodes[i].type)))
			return refuse(local, GUARD_RULE_DEVICE_LOCAL, nodes[i].name,
				      "an element of an array of which nothing tells the length");
		if (!emit(local, &nodes[i]))
			return false;
		added = &local->out->nodes[local->out->nodes_count - 1];
		added->depth = (uint8_t)(local->depth + nodes[i].depth - ours->depth);
		added->end = base + nodes[i].end - first;
	}
	return true;
}

static bool take_field(Local *local, const VmNode *ours)
{
	Level inside = { .next = (uint32_t)(ours - local->local->nodes) + 1,
			 .end = ours->end,
			 .node = (uint32_t)local->out->nodes_count,
			 .begin = local->at,
			 .vmsd_name = ours->vmsd_name };

	local->levels[local->depth].next = ours->end;
	if (ours->kind == VM_LEAF)
		return take_leaf(local, ours);
	if (ours->count > 1)
		return take_array(local, ours);
	return emit(local, ours) && push(local, &inside);
}

/* --- subsections --- */

/* As vmstate_subsection_load (migration/vmstate.c) looks for one. */
static bool is_subsection(const Local *local)
{
	const char *around = local->levels[local->depth].vmsd_name;
	const uint8_t *next = local->bytes + local->at;
	const size_t length = strlen(around), left = left_of(local);

	return length && left >= 2 && next[0] == TAG_SUBSECTION && next[1] > length &&
	       left - 2 >= next[1] && !memcmp(next + 2, around, length);
}

static const VmNode *find_sibling(const Local *local, const char *name)
{
	const Level *level = &local->levels[local->depth];
	const VmNode *nodes = local->local->nodes;

	for (uint32_t i = level->next; i < level->end; i = nodes[i].end)
		if (nodes[i].kind == VM_SUBSECTION && !strcmp(nodes[i].name, name))
			return &nodes[i];
	return NULL;
}

/* In any device of the twin that has the same table, around the same one. */
static const VmNode *find_in_twin(const Local *local, const char *name)
{
	const char *around = local->levels[local->depth].vmsd_name;
	const VmNode *nodes = local->local->nodes;
	const VmNode *path[VMDESC_DEPTH_MAX + 1];

	for (size_t d = 0; d < local->local->devices_count; d++) {
		const VmDevice *device = &local->local->devices[d];

		if (strcmp(device->vmsd_name, local->ours->vmsd_name) != 0)
			continue;
		for (uint32_t i = device->first; i < device->end; i++) {
			const VmNode *node = &nodes[i];

			path[node->depth] = node;
			if (node->kind == VM_SUBSECTION && !strcmp(node->name, name) &&
			    !strcmp(node->depth ? path[node->depth - 1]->vmsd_name
						: device->vmsd_name,
				    around))
				return node;
		}
	}
	return NULL;
}

static uint32_t count_cpus(const VmDescription *description)
{
	uint32_t cpus = 0;

	for (size_t i = 0; i < description->devices_count; i++)
		cpus += !strcmp(description->devices[i].vmsd_name, "cpu_common");
	return cpus;
}

static VmNode node_of(const Local *local, const LayoutField *field)
{
	VmNode node = { .kind = field->inside ? VM_STRUCT : VM_LEAF,
			.name = field->name,
			.type = field->type,
			.vmsd_name = field->inside ? field->inside->vmsd_name : "",
			.version = field->inside ? field->inside->version : 0,
			.index = VMDESC_NO_INDEX,
			.count = field->count ? field->count : 1,
			.size_bytes = field->size_bytes };

	if (field->count == LAYOUT_AS_CPUS)
		node.count = count_cpus(local->local);
	if (field->count == LAYOUT_AS_TOLD)
		node.count = local->told;
	return node;
}

/* One table of guard_layout.c: what is inside a struct stands behind it in the result. Their depth
 * is 3 at most, so that this needs a small stack and no recursion. */
static bool take_table(Local *local, const LayoutTable *table)
{
	enum { TABLES_MAX = 4 };
	struct {
		const LayoutTable *table;
		size_t field;
		uint32_t count;
	} stack[TABLES_MAX] = { { table, 0, 1 } };
	size_t top = 0;

	for (;;) {
		const LayoutField *field = &stack[top].table->fields[stack[top].field];
		bool ended = stack[top].field == LAYOUT_FIELDS_MAX || !field->name;
		VmNode node;

		if (ended && !top)
			return true;
		if (ended) {
			Level *level = &local->levels[local->depth];
			size_t element = local->at - level->begin;

			if (!take(local, level->vmsd_name,
				  (uint64_t)element * (stack[top].count - 1)))
				return false;
			local->out->nodes[level->node].end = (uint32_t)local->out->nodes_count;
			local->out->nodes[level->node].size_bytes = (uint32_t)element;
			local->depth--;
			top--;
			continue;
		}
		stack[top].field++;
		node = node_of(local, field);
		if (!field->inside) {
			if (!take(local, node.name, (uint64_t)node.count * node.size_bytes) ||
			    !emit(local, &node))
				return false;
			continue;
		}
		if (top + 1 == TABLES_MAX || !node.count || !emit(local, &node) ||
		    !push(local, &(Level){ .node = (uint32_t)local->out->nodes_count - 1,
					   .begin = local->at,
					   .vmsd_name = node.vmsd_name }))
			return false;
		stack[++top].table = field->inside;
		stack[top].field = 0;
		stack[top].count = node.count;
	}
}

/* What the twin does not have. */
static bool take_listed(Local *local, const char *around, const char *name, const VmNode *node)
{
	const LayoutSubsection *row = layout_subsection(around, name);
	const KnownSubsection *known = known_subsection(around, name);
	VmNode added = *node, bytes = { .kind = VM_LEAF,
					.name = "data",
					.type = "buffer",
					.vmsd_name = "",
					.index = VMDESC_NO_INDEX,
					.count = 1 };

	if (known && known->min_bytes != known->max_bytes)
		known = NULL;
	if (!row && !known)
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, name,
			      "a subsection of which nothing here tells the length");
	if (node->version != (row ? row->table.version : known->version))
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, name,
			      "a subsection of another version than is known");
	added.name = added.vmsd_name = row ? row->table.vmsd_name : known->name;
	if (!emit(local, &added) ||
	    !push(local, &(Level){ .node = (uint32_t)local->out->nodes_count - 1,
				   .begin = local->at,
				   .vmsd_name = added.name }))
		return false;
	if (row)
		return take_table(local, &row->table);
	bytes.size_bytes = known->min_bytes;
	return take(local, name, known->min_bytes) && emit(local, &bytes);
}

static bool take_subsection(Local *local)
{
	const char *around = local->levels[local->depth].vmsd_name;
	const uint8_t *next = local->bytes + local->at;
	const size_t length = next[1];
	char name[NAME_MAX + 1] = { 0 };
	VmNode node = { .kind = VM_SUBSECTION, .type = "", .index = VMDESC_NO_INDEX, .count = 1 };
	const VmNode *ours;

	memcpy(name, next + 2, length);
	if (!take(local, name, VMDESC_SUBSECTION_HEADER + length))
		return false;
	node.version = load_be32(next + 2 + length);
	ours = find_sibling(local, name);
	if (!ours)
		ours = find_in_twin(local, name);
	if (!ours)
		return take_listed(local, around, name, &node);
	if (ours->version != node.version)
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, name,
			      "a subsection of another version than the local one");
	if (!emit(local, ours))
		return false;
	return push(local, &(Level){ .next = (uint32_t)(ours - local->local->nodes) + 1,
				     .end = ours->end,
				     .node = (uint32_t)local->out->nodes_count - 1,
				     .begin = local->at,
				     .vmsd_name = ours->vmsd_name });
}

/* --- sections --- */

static bool take_payload(Local *local)
{
	const VmDevice *ours = local->ours;

	local->depth = 0;
	local->levels[0] = (Level){ .next = ours->first,
				    .end = ours->end,
				    .node = NO_NODE,
				    .begin = local->at,
				    .vmsd_name = ours->vmsd_name };
	if (layout_is_unsteady(ours->vmsd_name))
		return refuse(local, GUARD_RULE_DEVICE_LOCAL, ours->vmsd_name,
			      "which fields it has nothing tells without a description");
	for (;;) {
		const Level *level = &local->levels[local->depth];
		const VmNode *node =
			level->next < level->end ? &local->local->nodes[level->next] : NULL;
		bool ok = true;

		if (node && node->kind != VM_SUBSECTION)
			ok = take_field(local, node);
		else if (is_subsection(local))
			ok = take_subsection(local);
		else if (local->depth)
			close_level(local);
		else
			return true;
		if (!ok)
			return false;
	}
}

static bool take_header(Local *local)
{
	Reader reader = reader_of(local->bytes + local->at, left_of(local));
	uint8_t tag = 0, length = 0;
	char name[NAME_MAX + 1] = { 0 };
	uint32_t instance_id = 0;

	local->ours = NULL;
	if (!reader_get_u8(&reader, &tag) || !reader_get_be32(&reader, &local->section_id) ||
	    !reader_get_u8(&reader, &length) || !reader_get_bytes(&reader, name, length) ||
	    !reader_get_be32(&reader, &instance_id) || !reader_get_be32(&reader, &local->version))
		return refuse(local, GUARD_RULE_DEVICE_FRAME, "a section", "cut in its header");
	local->ours = vmdesc_find(local->local, name, instance_id);
	if (!local->ours)
		return guard_violation(local->err, GUARD_RULE_DEVICE_UNKNOWN,
				       "device %.80s instance %u: this machine has none", name,
				       instance_id);
	if (local->ours->vmsd_name[0] && local->version != local->ours->version)
		return guard_violation(local->err, GUARD_RULE_DEVICE_LOCAL,
				       "device %.80s: version %u without a description, the local "
				       "one is %u",
				       name, local->version, local->ours->version);
	local->at = local->size - reader.left;
	return true;
}

static bool take_footer(Local *local)
{
	Reader reader = reader_of(local->bytes + local->at, left_of(local));
	uint8_t tag = 0;
	uint32_t id = 0;

	if (!reader_get_u8(&reader, &tag) || tag != TAG_FOOTER || !reader_get_be32(&reader, &id) ||
	    id != local->section_id)
		return refuse(local, GUARD_RULE_DEVICE_FRAME, "the footer",
			      "none stands where the local layout has it");
	local->at += FOOTER_SIZE;
	return true;
}

static bool take_section(Local *local)
{
	VmDescription *out = local->out;
	void *devices = out->devices;
	VmDevice device;
	size_t begin;

	if (!grow(&devices, &local->devices_allocated, out->devices_count, sizeof(*out->devices),
		  DEVICES_MAX, local->err))
		return false;
	out->devices = devices;
	if (!take_header(local))
		return false;
	device = *local->ours;
	device.first = (uint32_t)out->nodes_count;
	begin = local->at;
	if (!take_payload(local))
		return false;
	device.end = (uint32_t)out->nodes_count;
	device.size_bytes = (uint32_t)(local->at - begin);
	out->payload_bytes += device.size_bytes;
	if (vmdesc_find(out, device.name, device.instance_id))
		return refuse(local, GUARD_RULE_DEVICE_FRAME, "its section", "comes twice");
	out->devices[out->devices_count++] = device;
	return take_footer(local);
}

VmDescription *local_describe(const VmDescription *description, const uint8_t *bytes, size_t size,
			      const LocalProbe *probe, size_t *ret_size, Error *err)
{
	AUTO_VMDESC VmDescription *out = calloc(1, sizeof(*out));
	Local local = { .local = description,
			.probe = probe,
			.bytes = bytes,
			.size = size,
			.out = out,
			.err = err };

	if (!out) {
		error_set(err, ERROR_INTERNAL, "no memory to describe device state");
		return NULL;
	}
	while (local.at < size && bytes[local.at] == TAG_FULL)
		if (!take_section(&local))
			return NULL;
	*ret_size = local.at;
	return TAKE_PTR(out);
}
