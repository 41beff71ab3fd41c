/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_features.h"

#include <string.h>

/* The entity of this name, of this meta-type. */
static const json_t *find_entity(const json_t *schema, const char *name, const char *meta_type)
{
	size_t count = json_array_size(schema);

	for (size_t i = 0; name && i < count; i++) {
		const json_t *entity = json_array_get(schema, i);
		const char *found = json_string_value(json_object_get(entity, "name"));
		const char *meta = json_string_value(json_object_get(entity, "meta-type"));

		if (found && meta && !strcmp(found, name) && !strcmp(meta, meta_type))
			return entity;
	}
	return NULL;
}

static const char *member_type(const json_t *object, const char *member)
{
	const json_t *members = json_object_get(object, "members");

	for (size_t i = 0; i < json_array_size(members); i++) {
		const json_t *entry = json_array_get(members, i);
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (name && !strcmp(name, member))
			return json_string_value(json_object_get(entry, "type"));
	}
	return NULL;
}

static const json_t *command_arguments(const json_t *schema, const char *command)
{
	const json_t *entity = find_entity(schema, command, "command");

	return find_entity(schema, json_string_value(json_object_get(entity, "arg-type")),
			   "object");
}

/* migrate-set-capabilities takes an array of objects with an enum in each. */
static const json_t *capability_enum(const json_t *schema)
{
	const json_t *arguments = command_arguments(schema, "migrate-set-capabilities");
	const json_t *array = find_entity(schema, member_type(arguments, "capabilities"), "array");
	const json_t *status = find_entity(
		schema, json_string_value(json_object_get(array, "element-type")), "object");

	return find_entity(schema, member_type(status, "capability"), "enum");
}

/* "values" is in every version that we support; "members" came with 6.2. */
static bool has_value(const json_t *enumeration, const char *value)
{
	const json_t *values = json_object_get(enumeration, "values");

	for (size_t i = 0; i < json_array_size(values); i++) {
		const char *found = json_string_value(json_array_get(values, i));

		if (found && !strcmp(found, value))
			return true;
	}
	return false;
}

bool qemu_features_of_schema(const json_t *schema, VmmFeatures *ret_features, Error *err)
{
	const json_t *capabilities = capability_enum(schema);

	if (!capabilities)
		return error_set(err, ERROR_HYPERVISOR,
				 "QEMU's schema does not tell its migration capabilities");
	*ret_features = (VmmFeatures){
		.return_path = has_value(capabilities, "return-path"),
		.pause_before_switchover = has_value(capabilities, "pause-before-switchover"),
		.events = has_value(capabilities, "events"),
		.multifd = has_value(capabilities, "multifd"),
		.late_block_activate = has_value(capabilities, "late-block-activate"),
		.switchover_ack = has_value(capabilities, "switchover-ack"),
		.zero_page_detection = member_type(
			command_arguments(schema, "migrate-set-parameters"), "zero-page-detection"),
		.exit_on_error =
			member_type(command_arguments(schema, "migrate-incoming"), "exit-on-error"),
		.announce_self = find_entity(schema, "announce-self", "command"),
		.mirror_change = find_entity(schema, "block-job-change", "command"),
		.late_disks = find_entity(schema, "blockdev-reopen", "command"),
	};
	return true;
}
