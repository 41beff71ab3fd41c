/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/vmdesc.h"

#include <assert.h>
#include <string.h>

#include "qemustream/json_table.h"

enum { JSON_DEPTH = 4 * VMDESC_DEPTH_MAX };

/* A list of fields and subsections that is being walked: a device's, a struct's, a subsection's. */
typedef struct Level {
	JsonTable table;
	uint32_t node; /* what it is inside of; the device at level 0 */
	const char *vmsd_name;
	uint64_t bytes;
	uint64_t steps;
} Level;

typedef struct Build {
	VmDescription *description;
	const VmdescLimits *limits;
	const char *vmsd_name; /* of the device, or its name */
	size_t nodes_allocated;
	size_t text_used, text_size;
	Level levels[VMDESC_DEPTH_MAX];
	size_t depth; /* of the innermost level */
	Error *err;
} Build;

/* All strings together are shorter than the JSON text that held them with their quotes. */
static const char *keep(Build *build, const char *text)
{
	const size_t size = strlen(text) + 1;
	char *kept = build->description->text + build->text_used;

	assert(size <= build->text_size - build->text_used);
	memcpy(kept, text, size);
	build->text_used += size;
	return kept;
}

static const char *keep_member(Build *build, const json_t *object, const char *key, size_t max)
{
	const char *text = json_bounds_text(object, key, max, build->err);

	return text ? keep(build, text) : NULL;
}

static bool get_u32(Build *build, const json_t *object, const char *key, uint32_t max,
		    uint32_t *ret_value)
{
	uint64_t value;

	if (!json_bounds_number(object, key, max, &value, build->err))
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

static VmNode *add_node(Build *build)
{
	VmDescription *d = build->description;

	if (d->nodes_count >= build->limits->nodes) {
		error_set(build->err, ERROR_LIMIT, "more than %zu fields", build->limits->nodes);
		return NULL;
	}
	if (d->nodes_count == build->nodes_allocated) {
		const size_t more = build->nodes_allocated ? 2 * build->nodes_allocated : 1024;
		VmNode *grown = reallocarray(d->nodes, more, sizeof(*grown));

		if (!grown) {
			error_set(build->err, ERROR_INTERNAL, "no memory for %zu fields", more);
			return NULL;
		}
		d->nodes = grown;
		build->nodes_allocated = more;
	}
	d->nodes[d->nodes_count] = (VmNode){ .depth = (uint8_t)build->depth,
					     .type = "",
					     .vmsd_name = "",
					     .index = VMDESC_NO_INDEX,
					     .count = 1,
					     .end = (uint32_t)d->nodes_count + 1 };
	return &d->nodes[d->nodes_count++];
}

/* Adds to the level's sum; both factors are at most the limit, so the product fits. */
static bool add_bytes(Build *build, Level *level, uint64_t bytes, uint64_t steps)
{
	level->bytes += bytes;
	level->steps += steps;
	if (level->bytes > build->limits->payload_bytes)
		return error_set(build->err, ERROR_LIMIT, "more than %llu bytes of device state",
				 (unsigned long long)build->limits->payload_bytes);
	if (level->steps > VMDESC_STEPS_MAX)
		return error_set(build->err, ERROR_LIMIT, "arrays of more than %d fields",
				 VMDESC_STEPS_MAX);
	return true;
}

/* Fills a level with what `body` describes: {vmsd_name, version, fields, [subsections]}. */
static bool open_level(Build *build, Level *level, const json_t *body, uint32_t *ret_version)
{
	level->vmsd_name = keep_member(build, body, "vmsd_name", VMDESC_NAME_MAX);
	return level->vmsd_name && get_u32(build, body, "version", INT32_MAX, ret_version) &&
	       json_bounds_list(body, "fields", false, &level->table.fields, build->err) &&
	       json_bounds_list(body, "subsections", true, &level->table.subsections, build->err);
}

static bool push(Build *build, VmNode *node, const json_t *body)
{
	Level *level;

	if (build->depth + 1 >= VMDESC_DEPTH_MAX)
		return error_set(build->err, ERROR_LIMIT, "nested more than %d deep",
				 VMDESC_DEPTH_MAX);
	level = &build->levels[build->depth + 1];
	*level = (Level){ .node = (uint32_t)(node - build->description->nodes) };
	if (!open_level(build, level, body, &node->version))
		return false;
	node->vmsd_name = level->vmsd_name;
	build->depth++;
	return true;
}

static bool read_count(Build *build, const json_t *field, VmNode *node)
{
	if (json_object_get(field, "array_len")) {
		if (json_object_get(field, "index"))
			return error_set(build->err, ERROR_PEER, "both array_len and index");
		/* QEMU tells it of arrays of two and more. */
		return get_u32(build, field, "array_len", INT32_MAX, &node->count) &&
		       (node->count > 1 ||
			error_set(build->err, ERROR_PEER, "array_len is %u", node->count));
	}
	return !json_object_get(field, "index") ||
	       get_u32(build, field, "index", INT32_MAX, &node->index);
}

/* Sorts out where a field's inside is described. NULL in *ret_body for a leaf. QEMU writes a
 * struct's as a member of its own, that of a vstruct or tmp among the field's members. */
static bool find_body(Build *build, const json_t *field, VmNode *node, const json_t **ret_body)
{
	static const char *const plain[] = { "name", "type", "size", "array_len", "index", NULL };
	static const char *const with_struct[] = { "name",  "type",   "size", "array_len",
						   "index", "struct", NULL };
	static const char *const inlined[] = { "name",	      "type",	   "size",    "array_len",
					       "index",	      "vmsd_name", "version", "fields",
					       "subsections", NULL };
	static const char *const body_only[] = { "vmsd_name", "version", "fields", "subsections",
						 NULL };
	const bool is_struct = !strcmp(node->type, "struct");

	*ret_body = NULL;
	if (!is_struct && strcmp(node->type, "vstruct") && strcmp(node->type, "tmp")) {
		if (json_object_get(field, "fields"))
			return error_set(build->err, ERROR_PEER,
					 "a %s that holds elements cannot be judged", node->type);
		return json_bounds_only(field, plain, build->err);
	}
	if (!json_bounds_only(field, is_struct ? with_struct : inlined, build->err))
		return false;
	*ret_body = is_struct ? json_object_get(field, "struct") : field;
	if (!json_is_object(*ret_body))
		return error_set(build->err, ERROR_PEER, "no description of the struct");
	/* How QEMU before 10.0 tells a pointer to nowhere in an array of pointers to structs. */
	if (is_struct && !json_object_size(*ret_body) && node->size_bytes == 1) {
		*ret_body = NULL;
		node->type = "nullptr";
		return true;
	}
	return !is_struct || json_bounds_only(*ret_body, body_only, build->err);
}

static bool read_field(void *context, const json_t *field)
{
	Build *build = context;
	const uint32_t max = (uint32_t)build->limits->payload_bytes;
	Level *level = &build->levels[build->depth];
	VmNode *node = add_node(build);
	const json_t *body;

	if (!node)
		return false;
	if (!json_is_object(field))
		return error_set(build->err, ERROR_PEER, "a field is no object");
	node->name = keep_member(build, field, "name", VMDESC_NAME_MAX);
	if (!node->name)
		return false;
	node->type = keep_member(build, field, "type", VMDESC_TYPE_MAX);
	if (!node->type || !get_u32(build, field, "size", max, &node->size_bytes) ||
	    !read_count(build, field, node) || !find_body(build, field, node, &body))
		return error_prefix(build->err, "field %s", node->name);
	node->kind = body ? VM_STRUCT : VM_LEAF;
	if (body)
		return push(build, node, body) || error_prefix(build->err, "field %s", node->name);
	return add_bytes(build, level, (uint64_t)node->size_bytes * node->count, 1) ||
	       error_prefix(build->err, "field %s", node->name);
}

/* QEMU takes bytes for a subsection only if their name begins with that of what they extend. */
static bool read_subsection(void *context, const json_t *body)
{
	static const char *const known[] = { "vmsd_name", "version", "fields", "subsections",
					     NULL };
	Build *build = context;
	const Level *level = &build->levels[build->depth];
	const size_t parent_length = strlen(level->vmsd_name);
	VmNode *node = add_node(build);

	if (!node)
		return false;
	if (!json_is_object(body))
		return error_set(build->err, ERROR_PEER, "a subsection is no object");
	node->kind = VM_SUBSECTION;
	if (!json_bounds_only(body, known, build->err) || !push(build, node, body))
		return error_prefix(build->err, "subsection");
	node->name = node->vmsd_name;
	if (strncmp(node->name, level->vmsd_name, parent_length) ||
	    strlen(node->name) <= parent_length)
		return error_set(build->err, ERROR_PEER, "subsection %.100s of %.100s", node->name,
				 level->vmsd_name);
	return true;
}

/* Its sum belongs to what it is inside of. */
static bool pop_inner(Build *build)
{
	const Level inner = build->levels[build->depth];
	VmNode *node = &build->description->nodes[inner.node];
	Level *outer = &build->levels[--build->depth];

	node->end = (uint32_t)build->description->nodes_count;
	if (node->kind == VM_SUBSECTION) {
		node->size_bytes = (uint32_t)inner.bytes;
		return add_bytes(build, outer,
				 VMDESC_SUBSECTION_HEADER + strlen(node->name) + inner.bytes,
				 1 + inner.steps);
	}
	if (inner.bytes != node->size_bytes)
		return error_set(build->err, ERROR_PEER,
				 "field %s has %u bytes, what is inside it %llu", node->name,
				 node->size_bytes, (unsigned long long)inner.bytes);
	/* An element of no bytes is nothing to walk over, however often. */
	return add_bytes(build, outer, inner.bytes * node->count,
			 1 + (inner.bytes ? node->count * inner.steps : 0)) ||
	       error_prefix(build->err, "field %s", node->name);
}

static bool pop(void *context, bool *ret_is_outermost)
{
	Build *build = context;

	*ret_is_outermost = !build->depth;
	return !build->depth || pop_inner(build);
}

static JsonTable *innermost(void *context)
{
	Build *build = context;

	return &build->levels[build->depth].table;
}

static const JsonTableVisitor visitor = { innermost, read_field, read_subsection, pop };

static bool read_body(Build *build, const json_t *body, VmDevice *device)
{
	VmDescription *d = build->description;
	Level *level = &build->levels[0];

	build->depth = 0;
	*level = (Level){ .vmsd_name = "" };
	device->first = (uint32_t)d->nodes_count;
	if (!open_level(build, level, body, &device->version) || !json_table_walk(&visitor, build))
		return false;
	device->vmsd_name = level->vmsd_name;
	device->end = (uint32_t)d->nodes_count;
	device->size_bytes = (uint32_t)level->bytes;
	return true;
}

/* What save_state handlers of old wrote: QEMU knows no more than how many bytes it was. */
static bool read_old_style(Build *build, const json_t *object, VmDevice *device)
{
	VmDescription *d = build->description;
	Level *level = &build->levels[0];
	const json_t *fields;
	uint32_t size;

	build->depth = 0;
	*level = (Level){ .vmsd_name = "" };
	device->first = (uint32_t)d->nodes_count;
	if (!get_u32(build, object, "size", (uint32_t)build->limits->payload_bytes, &size) ||
	    !json_bounds_list(object, "fields", false, &fields, build->err))
		return false;
	if (json_array_size(fields) != 1)
		return error_set(build->err, ERROR_PEER, "an old device with %zu fields, not 1",
				 json_array_size(fields));
	if (!read_field(build, json_array_get(fields, 0)))
		return false;
	if (build->depth || level->bytes != size)
		return error_set(build->err, ERROR_PEER,
				 "an old device of %u bytes, its field has %llu", size,
				 (unsigned long long)level->bytes);
	device->vmsd_name = "";
	device->end = (uint32_t)d->nodes_count;
	device->size_bytes = size;
	return true;
}

static bool read_device(Build *build, const json_t *object, VmDevice *device)
{
	static const char *const known[] = { "name",   "instance_id", "vmsd_name", "version",
					     "fields", "subsections", NULL };
	static const char *const known_old[] = { "name", "instance_id", "size", "fields", NULL };
	const bool is_old = json_object_get(object, "vmsd_name") == NULL;

	device->name = keep_member(build, object, "name", VMDESC_NAME_MAX);
	if (!device->name)
		return false;
	if (!json_bounds_only(object, is_old ? known_old : known, build->err) ||
	    !get_u32(build, object, "instance_id", UINT32_MAX, &device->instance_id) ||
	    !(is_old ? read_old_style(build, object, device) : read_body(build, object, device)))
		return error_prefix(build->err, "device %s", device->name);
	return true;
}

static bool read_devices(Build *build, const json_t *list)
{
	VmDescription *d = build->description;
	const size_t count = json_array_size(list);

	if (count > build->limits->devices)
		return error_set(build->err, ERROR_LIMIT, "%zu devices, more than %zu", count,
				 build->limits->devices);
	d->devices = calloc(count ? count : 1, sizeof(*d->devices));
	if (!d->devices)
		return error_set(build->err, ERROR_INTERNAL, "no memory for %zu devices", count);
	for (size_t i = 0; i < count; i++) {
		VmDevice *device = &d->devices[i];

		if (!read_device(build, json_array_get(list, i), device))
			return false;
		if (vmdesc_find(d, device->name, device->instance_id))
			return error_set(build->err, ERROR_PEER, "device %s instance %u twice",
					 device->name, device->instance_id);
		d->devices_count++;
		d->payload_bytes += device->size_bytes;
		if (d->payload_bytes > build->limits->payload_bytes)
			return error_set(build->err, ERROR_LIMIT,
					 "device %s: more than %llu bytes of device state",
					 device->name,
					 (unsigned long long)build->limits->payload_bytes);
	}
	return true;
}

static bool read_root(Build *build, const json_t *root)
{
	static const char *const known[] = { "configuration", "page_size", "devices", NULL };
	static const char *const body_only[] = { "vmsd_name", "version", "fields", "subsections",
						 NULL };
	VmDescription *d = build->description;
	const json_t *configuration = json_object_get(root, "configuration"), *devices;
	uint32_t page_size;

	if (!json_bounds_only(root, known, build->err) ||
	    !get_u32(build, root, "page_size", 1 << 20, &page_size) ||
	    !json_bounds_list(root, "devices", false, &devices, build->err))
		return false;
	if (configuration) {
		d->has_configuration = true;
		d->configuration.name = "configuration";
		if (!json_bounds_only(configuration, body_only, build->err) ||
		    !read_body(build, configuration, &d->configuration))
			return error_prefix(build->err, "configuration");
	}
	return read_devices(build, devices);
}

VmDescription *vmdesc_parse(const void *json, size_t size, const VmdescLimits *limits, Error *err)
{
	const JsonBounds bounds = { .max_bytes = limits->json_bytes,
				    .max_depth = JSON_DEPTH,
				    /* A struct is its own object, a member and a list. */
				    .max_containers = 3 * limits->nodes + 2 * limits->devices + 16,
				    .max_values = 10 * limits->nodes + 8 * limits->devices + 16 };
	AUTO_VMDESC VmDescription *description = calloc(1, sizeof(*description));
	AUTO_JSON_TREE json_t *root = NULL;
	Build build = {
		.description = description, .limits = limits, .text_size = size, .err = err
	};

	assert(limits->payload_bytes <= INT32_MAX);
	if (description)
		description->text = malloc(size ? size : 1);
	if (!description || !description->text) {
		error_set(err, ERROR_INTERNAL, "no memory for a vmdesc of %zu bytes", size);
		return NULL;
	}
	root = json_bounds_load(json, size, &bounds, err);
	if (!root || !read_root(&build, root)) {
		error_prefix(err, "vmdesc");
		return NULL;
	}
	return TAKE_PTR(description);
}

void vmdesc_free(VmDescription *description)
{
	if (!description)
		return;
	free(description->devices);
	free(description->nodes);
	free(description->text);
	free(description);
}

const VmDevice *vmdesc_find(const VmDescription *description, const char *name,
			    uint32_t instance_id)
{
	for (size_t i = 0; i < description->devices_count; i++)
		if (description->devices[i].instance_id == instance_id &&
		    !strcmp(description->devices[i].name, name))
			return &description->devices[i];
	return NULL;
}

uint64_t vmdesc_payload_size(const VmDevice *device)
{
	return device->size_bytes;
}
