/* SPDX-License-Identifier: Apache-2.0 */
/* The group `keys` of the configuration: sealift.conf(5). */
#include <string.h>

#include "engine/config_read.h"

static bool set_path(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	const char *text = target;

	return config_set_text(path, setting, row, target, err) &&
	       (text[0] == '/' ||
		config_wrong(path, setting, err, "is \"%s\": not an absolute path", text));
}

static bool set_root(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	ConfigKeys *keys = target;

	return config_setting_is_group(setting) ? config_read_root(path, setting, keys, err)
						: set_path(path, setting, row, keys->root, err);
}

/* With some of them it could sign what it could not open. */
static bool check_certificates(const char *path, const config_setting_t *setting,
			       const ConfigKeys *keys, Error *err)
{
	int set = !!keys->certificate[0] + !!keys->key[0] + !!keys->agree_certificate[0] +
		  !!keys->agree_key[0];

	return !set || set == 4 ||
	       config_wrong(path, setting, err,
			    "has %d of certificate, key, agree_certificate and agree_key: all four, "
			    "or none",
			    set);
}

bool config_set_keys(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "root", set_root, 0, true, LIMIT_PATH },
		{ "store", set_path, offsetof(ConfigKeys, store), false, CONFIG_DIRECTORY_MAX + 1 },
		{ "backends", config_set_backends, 0, false },
		{ "default_backend", config_set_name, offsetof(ConfigKeys, default_backend), false,
		  LIMIT_NAME },
		{ "group_may_destroy", config_set_bool, offsetof(ConfigKeys, group_may_destroy),
		  false },
		{ "rekey_after_move", config_set_bool, offsetof(ConfigKeys, rekey_after_move), false },
		{ "certificate", set_path, offsetof(ConfigKeys, certificate), false, LIMIT_PATH },
		{ "key", set_path, offsetof(ConfigKeys, key), false, LIMIT_PATH },
		{ "agree_certificate", set_path, offsetof(ConfigKeys, agree_certificate), false,
		  LIMIT_PATH },
		{ "agree_key", set_path, offsetof(ConfigKeys, agree_key), false, LIMIT_PATH },
	};
	ConfigKeys *keys = target;

	(void)row;
	keys->wanted = keys->rekey_after_move = true;
	memcpy(keys->default_backend, KEY_BACKEND_EMBEDDED, sizeof(KEY_BACKEND_EMBEDDED));
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), keys, err) &&
	       check_certificates(path, setting, keys, err) &&
	       config_check_default_backend(path, setting, keys, err);
}
