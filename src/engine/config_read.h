/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a configuration file is read: a group is a table of rows, a row is a name and what to do with
 * its value. Private to config*.c. Every refusal is ERROR_CONFIG as FILE:LINE: PATH OF THE SETTING:
 * value and bound.
 */
#ifndef SEALIFT_ENGINE_CONFIG_READ_H
#define SEALIFT_ENGINE_CONFIG_READ_H

#include <libconfig.h>

#include "engine/config.h"

typedef struct ConfigRow ConfigRow;

/* Takes the setting's value to `target`, which is the group's struct and the row's offset. */
typedef bool ConfigSet(const char *path, const config_setting_t *setting, const ConfigRow *row,
		       void *target, Error *err);

struct ConfigRow {
	const char *name;
	ConfigSet *set;
	size_t offset;
	bool required;
	size_t size;	   /* of a text, with its NUL */
	uint64_t min, max; /* of a number */
};

#define CONFIG_TEXT(type, name, member)                                                            \
	{                                                                                          \
		name, config_set_text, offsetof(type, member), false, sizeof(((type *)0)->member)  \
	}

/* Sets err to what is wrong with this setting. Returns false always. `path` is the main file's; an
 * included file is named by itself. */
bool config_wrong(const char *path, const config_setting_t *setting, Error *err, const char *format,
		  ...) __attribute__((format(printf, 4, 5)));

/* Every setting of the group by its row; a setting without a row and a required row without a
 * setting are refused. */
MUST_CHECK bool config_read_group(const char *path, const config_setting_t *group,
				  const ConfigRow *rows, size_t n_rows, void *target, Error *err);

/* A list of groups into an array of `max` zeroed entries; *ret_count is written in any case. */
typedef struct ConfigList {
	const ConfigRow *rows;
	size_t n_rows;
	void *entries;
	size_t entry_size, max;
	size_t *ret_count;
} ConfigList;
MUST_CHECK bool config_read_list(const char *path, const config_setting_t *list,
				 const ConfigList *into, Error *err);

/* A printable text, not empty. */
ConfigSet config_set_text;
/* A text of [A-Za-z0-9._-], as manifests name pools and networks. */
ConfigSet config_set_name;
ConfigSet config_set_domain;
ConfigSet config_set_bool;
/* unsigned int, row->min to row->max. */
ConfigSet config_set_count;
/* The same in seconds, taken as uint64_t milliseconds. */
ConfigSet config_set_seconds_as_ms;
/* uint64_t bytes, "512M", at most row->max. */
ConfigSet config_set_size;

/* One of the words; its index is the value. */
MUST_CHECK bool config_read_word(const char *path, const config_setting_t *setting,
				 const char *const *words, size_t count, unsigned int *ret_index,
				 Error *err);

/* ADDRESS:PORT, [ADDRESS]:PORT for IPv6; numeric. */
MUST_CHECK bool config_read_endpoint(const char *path, const config_setting_t *setting,
				     bool only_v4, char ret_address[LIMIT_ADDRESS],
				     uint16_t *ret_port, Error *err);

/* What names mean on this host; target is Config. */
ConfigSet config_set_trust;
/* Target is ConfigDisks. */
ConfigSet config_set_disks;
ConfigSet config_set_pools;
ConfigSet config_set_networks;

/* The key manager; target is ConfigKeys. */
ConfigSet config_set_keys;
/* config_helpers.c: the same target. */
ConfigSet config_set_backends;
MUST_CHECK bool config_read_root(const char *path, const config_setting_t *setting,
				 ConfigKeys *keys, Error *err);
MUST_CHECK bool config_check_default_backend(const char *path, const config_setting_t *keys_group,
					     const ConfigKeys *keys, Error *err);

#endif
