/* SPDX-License-Identifier: Apache-2.0 */
/* The group `keys` of the configuration: sealift.conf(5). */
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
	if (config_setting_is_group(setting))
		return config_wrong(path, setting, err,
				    "is a group: this version takes the root key from a file only, "
				    "as \"/etc/sealift/root.key\"");
	return set_path(path, setting, row, target, err);
}

static bool set_backends(const char *path, const config_setting_t *setting, const ConfigRow *row,
			 void *target, Error *err)
{
	(void)row;
	(void)target;
	return config_wrong(path, setting, err,
			    "this version keeps keys in its own store only; leave it out");
}

bool config_set_keys(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "root", set_root, offsetof(ConfigKeys, root), true, LIMIT_PATH },
		{ "store", set_path, offsetof(ConfigKeys, store), false, CONFIG_DIRECTORY_MAX + 1 },
		{ "backends", set_backends, 0, false },
		{ "group_may_destroy", config_set_bool, offsetof(ConfigKeys, group_may_destroy),
		  false },
	};
	ConfigKeys *keys = target;

	(void)row;
	keys->wanted = true;
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), keys, err);
}
