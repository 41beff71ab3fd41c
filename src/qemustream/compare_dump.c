/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/compare_dump.h"

#include <assert.h>
#include <string.h>

#include "qemustream/known_layout.h"

typedef struct Pair {
	uint32_t node, node_end;
	uint32_t table_first, table, table_end;
	uint32_t version;  /* of the table, as it was sent */
	uint64_t elements; /* of the field of the table, when they are told one by one */
} Pair;

typedef struct Cover {
	const VmDescription *description;
	const VmDevice *device;
	const DumpVmstate *dump;
	uint32_t max_bytes;
	Pair pairs[VMDESC_DEPTH_MAX + 1];
	size_t depth;
	Error *err;
} Cover;

static bool refuse(const Cover *cover, const VmNode *node, const char *what,
		   unsigned long long incoming, unsigned long long local)
{
	return error_set(cover->err, ERROR_PEER,
			 "device %.80s, %.80s: %s (incoming %llu, local %llu)", cover->device->name,
			 node->name, what, incoming, local);
}

/* A description numbers names that a table has more than once: "config[1]". */
static bool is_name_of(const char *name, const char *in_table)
{
	const size_t length = strlen(in_table);

	if (strncmp(name, in_table, length))
		return false;
	if (!name[length])
		return true;
	return name[length] == '[' && name[length + 1] != ']' &&
	       name[length + 1 + strspn(name + length + 1, "0123456789")] == ']' &&
	       !name[length + 2 + strspn(name + length + 1, "0123456789")];
}

static bool enter(Cover *cover, const VmNode *node, const DumpNode *table)
{
	const uint32_t first = (uint32_t)(table - cover->dump->nodes) + 1;

	if (strcmp(node->vmsd_name, table->vmsd_name))
		return refuse(cover, node, "another table inside", node->version, table->version);
	if (node->version > table->version || node->version < table->minimum_version)
		return refuse(cover, node, "a version that we do not load", node->version,
			      table->version);
	/* That of a struct stands in no stream: QEMU loads it as its own is. */
	if (node->kind == VM_STRUCT && node->version != table->version)
		return refuse(cover, node, "a struct of another version", node->version,
			      table->version);
	assert(cover->depth < VMDESC_DEPTH_MAX);
	cover->pairs[++cover->depth] =
		(Pair){ .node = (uint32_t)(node - cover->description->nodes) + 1,
			.node_end = node->end,
			.table_first = first,
			.table = first,
			.table_end = table->end,
			.version = node->version };
	return true;
}

/* `elements`: so far, with this node's. What QEMU's loader reads of an array is as long as its own
 * is, which the table tells of arrays that cannot vary. */
static bool check_count(const Cover *cover, const VmNode *node, const DumpNode *field,
			uint64_t elements, bool more)
{
	if (field->count > 1 && (more ? elements > field->count : elements != field->count))
		return refuse(cover, node, "another count", elements, field->count);
	/* The bound of bytes does not hold what takes none, and a struct is walked for each. */
	if (elements > COMPARE_ELEMENTS_MAX && (node->kind == VM_STRUCT || !node->size_bytes))
		return refuse(cover, node, "more elements than the bound", elements,
			      COMPARE_ELEMENTS_MAX);
	if ((uint64_t)node->size_bytes * node->count > cover->max_bytes)
		return refuse(cover, node, "longer than the bound",
			      (unsigned long long)node->size_bytes * node->count, cover->max_bytes);
	return true;
}

static bool check_field(Cover *cover, const VmNode *node, const DumpNode *field)
{
	const uint32_t type_size = known_type_size(node->type);

	if ((node->kind == VM_STRUCT) != (field->kind == DUMP_STRUCT) &&
	    strcmp(node->type, "nullptr"))
		return refuse(cover, node, "a struct on one side only", node->kind, field->kind);
	if (node->kind == VM_LEAF && type_size && node->size_bytes != type_size)
		return refuse(cover, node, "not the size of its type", node->size_bytes, type_size);
	return node->kind == VM_LEAF || enter(cover, node, field);
}

/* Steps over fields of the table that may be missing, up to the one of this name (NULL: to the
 * end of the fields). NULL with *err set if one may not. */
static bool skip_to(Cover *cover, Pair *pair, const VmNode *node, const DumpNode **ret_field)
{
	const DumpNode *nodes = cover->dump->nodes;

	*ret_field = NULL;
	for (; pair->table < pair->table_end && nodes[pair->table].kind != DUMP_SUBSECTION;
	     pair->table = nodes[pair->table].end) {
		const DumpNode *field = &nodes[pair->table];

		if (node && is_name_of(node->name, field->name)) {
			if (!field->is_conditional && field->field_version > pair->version)
				return refuse(cover, node, "a field that we leave out of a version",
					      pair->version, field->field_version);
			*ret_field = field;
			return true;
		}
		if (!field->is_conditional && field->field_version <= pair->version)
			return error_set(cover->err, ERROR_PEER,
					 "device %.80s: field %.80s is missing before %.80s",
					 cover->device->name, field->name,
					 node ? node->name : "the end");
	}
	return !node || error_set(cover->err, ERROR_PEER, "device %.80s: no table has field %.80s",
				  cover->device->name, node->name);
}

/* Elements of an array that is told one by one share one field of the table. */
static bool is_next_element(const Cover *cover, const VmNode *node)
{
	const VmNode *next = &cover->description->nodes[node->end];

	return node->index != VMDESC_NO_INDEX && node->end < cover->pairs[cover->depth].node_end &&
	       !strcmp(next->name, node->name) &&
	       (next->index == VMDESC_NO_INDEX || next->index == node->index + 1);
}

static bool cover_field(Cover *cover, Pair *pair, const VmNode *node)
{
	const bool more = is_next_element(cover, node);
	const DumpNode *field;

	if (!skip_to(cover, pair, node, &field))
		return false;
	pair->node = node->end;
	pair->elements += node->count;
	if (!check_count(cover, node, field, pair->elements, more))
		return false;
	if (!more) {
		pair->table = field->end;
		pair->elements = 0;
	}
	return check_field(cover, node, field);
}

static bool cover_subsection(Cover *cover, Pair *pair, const VmNode *node)
{
	const DumpNode *nodes = cover->dump->nodes;

	pair->node = node->end;
	for (uint32_t i = pair->table_first; i < pair->table_end; i = nodes[i].end)
		if (nodes[i].kind == DUMP_SUBSECTION && !strcmp(nodes[i].name, node->name))
			return enter(cover, node, &nodes[i]);
	return refuse(cover, node, "a subsection that no table has", node->version, 0);
}

/* What is inside of a struct or subsection that was entered; a leaf was not. */
static bool cover_inside(Cover *cover)
{
	while (cover->depth) {
		Pair *pair = &cover->pairs[cover->depth];
		const VmNode *node =
			pair->node < pair->node_end ? &cover->description->nodes[pair->node] : NULL;
		const DumpNode *none;

		if (node && node->kind != VM_SUBSECTION) {
			if (!cover_field(cover, pair, node))
				return false;
		} else if (!skip_to(cover, pair, NULL, &none)) {
			return false;
		} else if (!node) {
			cover->depth--;
		} else if (!cover_subsection(cover, pair, node)) {
			return false;
		}
	}
	return true;
}

static bool covers_subsection(Cover *cover, const VmNode *subsection, const DumpNode *table)
{
	cover->depth = 0;
	return enter(cover, subsection, table) && cover_inside(cover);
}

static bool covers_field(Cover *cover, const VmNode *node, const DumpNode *field)
{
	cover->depth = 0;
	return check_count(cover, node, field, node->count, false) &&
	       check_field(cover, node, field) && cover_inside(cover);
}

/* A field among nodes[first..end) that are directly in one table. */
static const DumpNode *find_field(const DumpVmstate *dump, uint32_t first, uint32_t end,
				  const char *name)
{
	for (uint32_t i = first; i < end; i = dump->nodes[i].end)
		if (dump->nodes[i].kind != DUMP_SUBSECTION && is_name_of(name, dump->nodes[i].name))
			return &dump->nodes[i];
	return NULL;
}

/* In a table of this name, which may be the type's own or stand inside it. */
static const DumpNode *find_in_type(const DumpVmstate *dump, const DumpType *type,
				    const char *vmsd_name, const char *name)
{
	if (!strcmp(type->vmsd_name, vmsd_name))
		return find_field(dump, type->first, type->end, name);
	for (uint32_t i = type->first; i < type->end; i++)
		if (dump->nodes[i].kind != DUMP_FIELD &&
		    !strcmp(dump->nodes[i].vmsd_name, vmsd_name))
			return find_field(dump, i + 1, dump->nodes[i].end, name);
	return NULL;
}

/* A device's name may stand for several types: one that covers the node is enough. `vmsd_name`: of the
 * table in which the node is a field; NULL: it is a subsection. *ret_found: some type has it. */
static bool some_type_covers(Cover *cover, const char *vmsd_name, const VmNode *node, bool *ret_found)
{
	const DumpVmstate *dump = cover->dump;
	const DumpType *type = NULL;

	*ret_found = false;
	while (dump && (type = dump_vmstate_find(dump, cover->device->vmsd_name, type))) {
		const DumpNode *local = vmsd_name
						? find_in_type(dump, type, vmsd_name, node->name)
						: dump_vmstate_subsection(dump, type, node->name);

		if (!local)
			continue;
		*ret_found = true;
		if (vmsd_name ? covers_field(cover, node, local)
			      : covers_subsection(cover, node, local)) {
			*cover->err = ERROR_INIT;
			return true;
		}
	}
	return false;
}

bool compare_dump_subsection(const VmDescription *description, const VmDevice *device,
			     const VmNode *subsection, const DumpVmstate *dump, uint32_t max_bytes,
			     Error *err)
{
	Cover cover = { .description = description,
			.device = device,
			.dump = dump,
			.max_bytes = max_bytes,
			.err = err };
	bool found;

	if (some_type_covers(&cover, NULL, subsection, &found))
		return true;
	return !found && error_set(err, ERROR_PEER,
				   "device %.80s: subsection %.80s is known neither to the local "
				   "description nor to the local tables",
				   device->name, subsection->name);
}

bool compare_dump_field(const VmDescription *description, const VmDevice *device,
			const char *vmsd_name, const VmNode *node, const DumpVmstate *dump,
			uint32_t max_bytes, Error *err)
{
	Cover cover = { .description = description,
			.device = device,
			.dump = dump,
			.max_bytes = max_bytes,
			.err = err };
	bool found;

	if (some_type_covers(&cover, vmsd_name, node, &found))
		return true;
	return !found && error_set(err, ERROR_PEER,
				   "device %.80s: field %.80s of %.80s is known neither to the "
				   "local description nor to the local tables",
				   device->name, node->name, vmsd_name);
}
