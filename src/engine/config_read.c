/* SPDX-License-Identifier: Apache-2.0 */
/* Groups, lists and values of a configuration file. */
#include "engine/config_read.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/vm_file.h"

enum { DEPTH_MAX = 8 };

/* "networks[0].forwards[1].listen" */
static void name_setting(const config_setting_t *setting, char *text, size_t size)
{
	const config_setting_t *steps[DEPTH_MAX];
	size_t depth = 0, used = 0;

	text[0] = '\0';
	for (; setting && !config_setting_is_root(setting) && depth < DEPTH_MAX; depth++) {
		steps[depth] = setting;
		setting = config_setting_parent(setting);
	}
	while (depth-- && used < size) {
		const char *name = config_setting_name(steps[depth]);
		int put =
			name ? snprintf(text + used, size - used, "%s%.64s", used ? "." : "", name)
			     : snprintf(text + used, size - used, "[%d]",
					config_setting_index(steps[depth]));

		used += put > 0 ? (size_t)put : 0;
	}
}

bool config_wrong(const char *path, const config_setting_t *setting, Error *err, const char *format,
		  ...)
{
	const char *file = config_setting_source_file(setting);
	char name[ERROR_TEXT_SIZE / 2], text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	name_setting(setting, name, sizeof(name));
	return error_set(err, ERROR_CONFIG, "%s:%u: %s: %s", file ? file : path,
			 config_setting_source_line(setting), name, text);
}

static const ConfigRow *find_row(const ConfigRow *rows, size_t n_rows, const char *name)
{
	for (size_t i = 0; i < n_rows; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	return NULL;
}

bool config_read_group(const char *path, const config_setting_t *group, const ConfigRow *rows,
		       size_t n_rows, void *target, Error *err)
{
	if (!config_setting_is_group(group))
		return config_wrong(path, group, err, "is not a group { name = value; ... }");
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);
		const ConfigRow *row = find_row(rows, n_rows, config_setting_name(setting));

		if (!row)
			return config_wrong(path, setting, err, "is no known setting");
		if (!row->set(path, setting, row, (char *)target + row->offset, err))
			return false;
	}
	for (size_t i = 0; i < n_rows; i++) {
		if (!rows[i].required || config_setting_get_member(group, rows[i].name))
			continue;
		if (config_setting_is_root(group))
			return error_set(err, ERROR_CONFIG, "%s: there is no \"%s\"", path,
					 rows[i].name);
		return config_wrong(path, group, err, "has no \"%s\"", rows[i].name);
	}
	return true;
}

bool config_read_list(const char *path, const config_setting_t *list, const ConfigList *into,
		      Error *err)
{
	int length = config_setting_length(list);

	*into->ret_count = 0;
	if (!config_setting_is_list(list))
		return config_wrong(path, list, err, "is not a list ( { ... }, ... )");
	if (length < 0 || (size_t)length > into->max)
		return config_wrong(path, list, err, "has %d entries, at most %zu", length,
				    into->max);
	for (int i = 0; i < length; i++) {
		void *entry = (char *)into->entries + *into->ret_count * into->entry_size;

		if (!config_read_group(path, config_setting_get_elem(list, (unsigned int)i),
				       into->rows, into->n_rows, entry, err))
			return false;
		(*into->ret_count)++;
	}
	return true;
}

/* --- values --- */

bool config_set_text(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	const char *text = config_setting_get_string(setting);

	if (!text)
		return config_wrong(path, setting, err, "is not a string in quotes");
	if (!text_is(TEXT_PRINTABLE, text, 1))
		return config_wrong(path, setting, err, "is empty or not printable ASCII");
	if (strlen(text) >= row->size)
		return config_wrong(path, setting, err, "has %zu characters, at most %zu",
				    strlen(text), row->size - 1);
	memcpy(target, text, strlen(text) + 1);
	return true;
}

bool config_set_name(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	return config_set_text(path, setting, row, target, err) &&
	       (text_is(TEXT_NAME, target, 1) ||
		config_wrong(path, setting, err,
			     "is \"%s\": not letters and digits, then also \".\", \"_\" and \"-\"",
			     (const char *)target));
}

bool config_set_domain(const char *path, const config_setting_t *setting, const ConfigRow *row,
		       void *target, Error *err)
{
	return config_set_text(path, setting, row, target, err) &&
	       (text_is(TEXT_DOMAIN, target, 1) ||
		config_wrong(path, setting, err,
			     "is \"%s\": not a domain such as \"north.example\"",
			     (const char *)target));
}

bool config_set_bool(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	(void)row;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return config_wrong(path, setting, err, "is not true or false");
	*(bool *)target = config_setting_get_bool(setting);
	return true;
}

bool config_set_count(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	int type = config_setting_type(setting);
	long long value;

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return config_wrong(path, setting, err, "is not a whole number from %llu to %llu",
				    (unsigned long long)row->min, (unsigned long long)row->max);
	value = config_setting_get_int64(setting);
	if (value < (long long)row->min || value > (long long)row->max)
		return config_wrong(path, setting, err, "is %lld: outside %llu to %llu", value,
				    (unsigned long long)row->min, (unsigned long long)row->max);
	*(unsigned int *)target = (unsigned int)value;
	return true;
}

bool config_set_seconds_as_ms(const char *path, const config_setting_t *setting,
			      const ConfigRow *row, void *target, Error *err)
{
	unsigned int seconds = 0;

	if (!config_set_count(path, setting, row, &seconds, err))
		return false;
	*(uint64_t *)target = (uint64_t)seconds * 1000;
	return true;
}

bool config_set_size(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	const char *text = config_setting_get_string(setting);
	uint64_t bytes;

	if (!text)
		return config_wrong(path, setting, err, "is not a size in quotes such as \"512M\"");
	if (!vm_file_parse_size(text, &bytes))
		return config_wrong(path, setting, err, "is \"%.64s\": not a size such as \"512M\"",
				    text);
	if (bytes > row->max)
		return config_wrong(path, setting, err, "is \"%.64s\": more than %lluG", text,
				    (unsigned long long)(row->max >> 30));
	*(uint64_t *)target = bytes;
	return true;
}

bool config_read_word(const char *path, const config_setting_t *setting, const char *const *words,
		      size_t count, unsigned int *ret_index, Error *err)
{
	const char *text = config_setting_get_string(setting);
	char known[128] = "";

	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(known);

		if (text && !strcmp(text, words[i])) {
			*ret_index = (unsigned int)i;
			return true;
		}
		snprintf(known + used, sizeof(known) - used, "%s\"%s\"", i ? ", " : "", words[i]);
	}
	if (!text)
		return config_wrong(path, setting, err, "is not one of %s", known);
	return config_wrong(path, setting, err, "is \"%.64s\": not one of %s", text, known);
}

/* Digits alone: strtoul would take a sign and blanks. */
static bool parse_port(const char *text, uint16_t *ret_port)
{
	unsigned long value = 0;
	size_t digits = strspn(text, "0123456789");

	if (!digits || digits > 5 || text[digits])
		return false;
	for (size_t i = 0; i < digits; i++)
		value = 10 * value + (unsigned long)(text[i] - '0');
	*ret_port = (uint16_t)value;
	return value >= 1 && value <= 65535;
}

bool config_read_endpoint(const char *path, const config_setting_t *setting, bool only_v4,
			  char ret_address[LIMIT_ADDRESS], uint16_t *ret_port, Error *err)
{
	char text[LIMIT_ADDRESS + 16], address[LIMIT_ADDRESS + 16];
	const ConfigRow row = { .size = sizeof(text) };
	uint8_t binary[16];
	char *colon;
	bool v6;

	if (!config_set_text(path, setting, &row, text, err))
		return false;
	colon = strrchr(text, ':');
	v6 = text[0] == '[' && colon && colon[-1] == ']';
	snprintf(address, sizeof(address), "%.*s", colon ? (int)(colon - text) - 2 * v6 : 0,
		 text + v6);
	if (!colon || (v6 && only_v4) || inet_pton(v6 ? AF_INET6 : AF_INET, address, binary) != 1)
		return config_wrong(path, setting, err,
				    "is \"%s\": not ADDRESS:PORT with a numeric IPv4 address%s",
				    text, only_v4 ? "" : " or [ADDRESS]:PORT with an IPv6 one");
	if (!parse_port(colon + 1, ret_port))
		return config_wrong(path, setting, err, "is \"%s\": port outside 1 to 65535", text);
	snprintf(ret_address, LIMIT_ADDRESS, "%.*s", LIMIT_ADDRESS - 1, address);
	return true;
}
