/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/dump_vmstate.h"

#include <assert.h>
#include <string.h>

#include "qemustream/json_table.h"
#include "qemustream/vmdesc.h"

/* A table that is being walked. */
typedef struct Level {
	JsonTable table;
	uint32_t node; /* what it is inside of; no meaning at level 0 */
} Level;

typedef struct Build {
	DumpVmstate *dump;
	size_t nodes_allocated, text_used, text_size;
	Level levels[DUMP_DEPTH_MAX];
	size_t depth;
	Error *err;
} Build;

static const char *keep(Build *build, const char *text)
{
	const size_t size = strlen(text) + 1;
	char *kept = build->dump->text + build->text_used;

	/* Shorter than the JSON text, which has two quotes for each NUL. */
	assert(size <= build->text_size - build->text_used);
	memcpy(kept, text, size);
	build->text_used += size;
	return kept;
}

static bool keep_member(Build *build, const json_t *object, const char *key, const char **ret_text)
{
	const char *text = json_bounds_text(object, key, VMDESC_NAME_MAX, build->err);

	*ret_text = text ? keep(build, text) : "";
	return text;
}

static bool get_u32(Build *build, const json_t *object, const char *key, uint32_t *ret_value)
{
	uint64_t value;

	if (!json_bounds_number(object, key, INT32_MAX, &value, build->err))
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

static DumpNode *add_node(Build *build)
{
	DumpVmstate *d = build->dump;

	if (d->nodes_count >= DUMP_NODES_MAX) {
		error_set(build->err, ERROR_LIMIT, "more than %d fields", DUMP_NODES_MAX);
		return NULL;
	}
	if (d->nodes_count == build->nodes_allocated) {
		const size_t more = build->nodes_allocated ? 2 * build->nodes_allocated : 1024;
		DumpNode *grown = reallocarray(d->nodes, more, sizeof(*grown));

		if (!grown) {
			error_set(build->err, ERROR_INTERNAL, "no memory for %zu fields", more);
			return NULL;
		}
		d->nodes = grown;
		build->nodes_allocated = more;
	}
	d->nodes[d->nodes_count] =
		(DumpNode){ .vmsd_name = "", .count = 1, .end = (uint32_t)d->nodes_count + 1 };
	return &d->nodes[d->nodes_count++];
}

/* {name, version_id, minimum_version_id, [Fields], [Subsections]} */
static bool open_level(Build *build, Level *level, const json_t *table, const char **ret_name,
		       uint32_t *ret_version, uint32_t *ret_minimum)
{
	static const char *const known[] = { "name",   "version_id",  "minimum_version_id",
					     "Fields", "Subsections", NULL };

	return json_bounds_only(table, known, build->err) &&
	       keep_member(build, table, "name", ret_name) &&
	       get_u32(build, table, "version_id", ret_version) &&
	       get_u32(build, table, "minimum_version_id", ret_minimum) &&
	       json_bounds_list(table, "Fields", true, &level->table.fields, build->err) &&
	       json_bounds_list(table, "Subsections", true, &level->table.subsections, build->err);
}

static bool push(Build *build, DumpNode *node, const json_t *table)
{
	Level *level;

	if (build->depth + 1 >= DUMP_DEPTH_MAX)
		return error_set(build->err, ERROR_LIMIT, "nested more than %d deep",
				 DUMP_DEPTH_MAX);
	level = &build->levels[build->depth + 1];
	*level = (Level){ .node = (uint32_t)(node - build->dump->nodes) };
	if (!open_level(build, level, table, &node->vmsd_name, &node->version,
			&node->minimum_version))
		return false;
	build->depth++;
	return true;
}

static bool read_field(void *context, const json_t *field)
{
	static const char *const known[] = { "field", "version_id", "field_exists",
					     "size",  "num",	    "Description",
					     NULL };
	const json_t *table = json_object_get(field, "Description");
	Build *build = context;
	DumpNode *node = add_node(build);

	if (!node || !json_bounds_only(field, known, build->err) ||
	    !keep_member(build, field, "field", &node->name) ||
	    !get_u32(build, field, "version_id", &node->field_version) ||
	    !json_bounds_number(field, "size", INT64_MAX, &node->size_bytes, build->err))
		return false;
	if (json_object_get(field, "num") && !get_u32(build, field, "num", &node->count))
		return false;
	node->is_conditional = json_is_true(json_object_get(field, "field_exists"));
	node->kind = table ? DUMP_STRUCT : DUMP_FIELD;
	return !table || push(build, node, table) ||
	       error_prefix(build->err, "field %s", node->name);
}

static bool read_subsection(void *context, const json_t *table)
{
	Build *build = context;
	DumpNode *node = add_node(build);

	if (!node || !push(build, node, table))
		return false;
	node->kind = DUMP_SUBSECTION;
	node->name = node->vmsd_name;
	return true;
}

static JsonTable *innermost(void *context)
{
	Build *build = context;

	return &build->levels[build->depth].table;
}

static bool pop(void *context, bool *ret_is_outermost)
{
	Build *build = context;

	*ret_is_outermost = !build->depth;
	if (build->depth) {
		build->dump->nodes[build->levels[build->depth].node].end =
			(uint32_t)build->dump->nodes_count;
		build->depth--;
	}
	return true;
}

static const JsonTableVisitor visitor = { innermost, read_field, read_subsection, pop };

static bool read_type(Build *build, const char *name, const json_t *object, DumpType *type)
{
	const json_t *table = json_object_get(object, "Description");
	Level *level = &build->levels[0];

	*type = (DumpType){ .name = keep(build, name),
			    .vmsd_name = "",
			    .first = (uint32_t)build->dump->nodes_count,
			    .end = (uint32_t)build->dump->nodes_count };
	/* "vmschkmachine" says what machine it was; other types may have no table. */
	if (!table)
		return true;
	build->depth = 0;
	*level = (Level){ 0 };
	if (!open_level(build, level, table, &type->vmsd_name, &type->version,
			&type->minimum_version) ||
	    !json_table_walk(&visitor, build))
		return error_prefix(build->err, "type %.100s", name);
	type->end = (uint32_t)build->dump->nodes_count;
	return true;
}

static bool read_root(Build *build, const json_t *root)
{
	const size_t count = json_object_size(root);
	const char *name;
	json_t *object;

	if (count > DUMP_TYPES_MAX)
		return error_set(build->err, ERROR_LIMIT, "%zu types, more than %d", count,
				 DUMP_TYPES_MAX);
	build->dump->types = calloc(count ? count : 1, sizeof(*build->dump->types));
	if (!build->dump->types)
		return error_set(build->err, ERROR_INTERNAL, "no memory for %zu types", count);
	json_object_foreach(
		(json_t *)(uintptr_t)root, name,
		object) if (!read_type(build, name, object,
				       &build->dump
						->types[build->dump->types_count++])) return false;
	return true;
}

DumpVmstate *dump_vmstate_parse(const void *json, size_t size, Error *err)
{
	static const JsonBounds bounds = { .max_bytes = DUMP_BYTES_MAX,
					   .max_depth = 4 * DUMP_DEPTH_MAX,
					   .max_containers = 4 * DUMP_NODES_MAX,
					   .max_values = 12 * DUMP_NODES_MAX };
	AUTO_DUMP_VMSTATE DumpVmstate *dump = calloc(1, sizeof(*dump));
	AUTO_JSON_TREE json_t *root = NULL;
	Build build = { .dump = dump, .text_size = size, .err = err };

	if (dump)
		dump->text = malloc(size ? size : 1);
	if (!dump || !dump->text) {
		error_set(err, ERROR_INTERNAL, "no memory for QEMU's tables of %zu bytes", size);
		return NULL;
	}
	root = json_bounds_load(json, size, &bounds, err);
	if (root && read_root(&build, root))
		return TAKE_PTR(dump);
	/* Our own QEMU wrote it: no peer is to blame. */
	if (err->category == ERROR_PEER)
		err->category = ERROR_HYPERVISOR;
	error_prefix(err, "-dump-vmstate");
	return NULL;
}

void dump_vmstate_free(DumpVmstate *dump)
{
	if (!dump)
		return;
	free(dump->types);
	free(dump->nodes);
	free(dump->text);
	free(dump);
}

const DumpType *dump_vmstate_find(const DumpVmstate *dump, const char *vmsd_name,
				  const DumpType *previous)
{
	for (size_t i = previous ? (size_t)(previous - dump->types) + 1 : 0; i < dump->types_count;
	     i++)
		if (dump->types[i].vmsd_name[0] && !strcmp(dump->types[i].vmsd_name, vmsd_name))
			return &dump->types[i];
	return NULL;
}

const DumpNode *dump_vmstate_subsection(const DumpVmstate *dump, const DumpType *type,
					const char *name)
{
	for (uint32_t i = type->first; i < type->end; i++)
		if (dump->nodes[i].kind == DUMP_SUBSECTION && !strcmp(dump->nodes[i].name, name))
			return &dump->nodes[i];
	return NULL;
}
