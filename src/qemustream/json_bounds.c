/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/json_bounds.h"

#include <string.h>

static bool scan(const uint8_t *text, size_t size, const JsonBounds *bounds, Error *err)
{
	size_t depth = 0, containers = 0, commas = 0;
	bool in_string = false;

	for (size_t i = 0; i < size; i++) {
		const uint8_t c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		in_string = c == '"';
		commas += c == ',';
		if (c == '{' || c == '[') {
			containers++;
			depth++;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
		if (depth > bounds->max_depth)
			return error_set(err, ERROR_LIMIT,
					 "JSON byte %zu: nested more than %zu deep", i,
					 bounds->max_depth);
		if (containers > bounds->max_containers || commas > bounds->max_values - containers)
			return error_set(
				err, ERROR_LIMIT,
				"JSON byte %zu: more than %zu objects and lists or %zu values", i,
				bounds->max_containers, bounds->max_values);
	}
	return true;
}

json_t *json_bounds_load(const void *data, size_t size, const JsonBounds *bounds, Error *err)
{
	AUTO_JSON_TREE json_t *root = NULL;
	json_error_t where;

	if (size > bounds->max_bytes) {
		error_set(err, ERROR_LIMIT, "JSON of %zu bytes, more than %zu", size,
			  bounds->max_bytes);
		return NULL;
	}
	if (!scan(data, size, bounds, err))
		return NULL;
	root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		error_set(err, ERROR_PEER, "not JSON at byte %d: %.160s", where.position,
			  where.text);
	else if (!json_is_object(root))
		error_set(err, ERROR_PEER, "JSON is not an object");
	else
		return TAKE_PTR(root);
	return NULL;
}

const char *json_bounds_text(const json_t *object, const char *key, size_t max_length, Error *err)
{
	const json_t *member = json_object_get(object, key);
	const char *text = json_string_value(member);
	size_t length = text ? json_string_length(member) : 0;

	if (length < 1 || length > max_length) {
		error_set(err, ERROR_PEER, "member %s is no text of 1 to %zu characters", key,
			  max_length);
		return NULL;
	}
	for (size_t i = 0; i < length; i++)
		if (text[i] < 0x20 || text[i] > 0x7e) {
			error_set(err, ERROR_PEER, "member %s \"%.64s\" is not printable ASCII",
				  key, text);
			return NULL;
		}
	return text;
}

bool json_bounds_number(const json_t *object, const char *key, uint64_t max, uint64_t *ret_value,
			Error *err)
{
	const json_t *member = json_object_get(object, key);
	const json_int_t value = json_integer_value(member);

	if (!json_is_integer(member))
		return error_set(err, ERROR_PEER, "member %s is no whole number", key);
	if (value < 0 || (uint64_t)value > max)
		return error_set(err, ERROR_PEER, "member %s is %lld, not 0 to %llu", key,
				 (long long)value, (unsigned long long)max);
	*ret_value = (uint64_t)value;
	return true;
}

bool json_bounds_list(const json_t *object, const char *key, bool optional, const json_t **ret_list,
		      Error *err)
{
	*ret_list = json_object_get(object, key);
	if (*ret_list ? !json_is_array(*ret_list) : !optional)
		return error_set(err, ERROR_PEER, "member %s is no list", key);
	return true;
}

bool json_bounds_only(const json_t *object, const char *const *known, Error *err)
{
	size_t found = 0;
	const char *name;
	json_t *value;

	for (const char *const *word = known; *word; word++)
		found += json_object_get(object, *word) != NULL;
	if (found == json_object_size(object))
		return true;
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
	{
		bool is_known = false;

		for (const char *const *word = known; *word; word++)
			is_known = is_known || !strcmp(*word, name);
		if (!is_known)
			return error_set(err, ERROR_PEER, "unknown member \"%.64s\"", name);
	}
	return true;
}
