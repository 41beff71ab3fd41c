/* SPDX-License-Identifier: Apache-2.0 */
/* The group `keys` of the configuration: sealift.conf(5). */
#include <string.h>

#include "crypto/spiffe.h"
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
	       config_wrong(
		       path, setting, err,
		       "has %d of certificate, key, agree_certificate and agree_key: all four, "
		       "or none",
		       set);
}

static bool set_manager(const char *path, const config_setting_t *setting, const ConfigRow *row,
			void *target, Error *err)
{
	ConfigKeys *keys = target;

	(void)row;
	return config_read_endpoint(path, setting, false, keys->manager_address,
				    &keys->manager_port, err);
}

static bool set_serve(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	ConfigKeys *keys = target;

	(void)row;
	return config_read_endpoint(path, setting, false, keys->serve_address, &keys->serve_port,
				    err);
}

static bool set_manager_id(const char *path, const config_setting_t *setting, const ConfigRow *row,
			   void *target, Error *err)
{
	SpiffeId id;
	const char *text = target;

	if (!config_set_text(path, setting, row, target, err))
		return false;
	if (!spiffe_parse(text, strlen(text), &id, err))
		return config_wrong(path, setting, err, "is \"%s\": not spiffe://DOMAIN/host/NAME",
				    text);
	return id.role == SPIFFE_HOST ||
	       config_wrong(path, setting, err, "is \"%s\": not a host", text);
}

static bool set_hosts(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	KeylinkServe *hosts = target;
	const ConfigRow name = { .name = row->name, .size = LIMIT_NAME };
	int count = config_setting_length(setting);

	if (!config_setting_is_array(setting) || count < 1 || count > KEYLINK_HOSTS_MAX)
		return config_wrong(path, setting, err,
				    "is not a list of 1 to %d names of hosts: [ \"NAME\", ... ]",
				    KEYLINK_HOSTS_MAX);
	for (int i = 0; i < count; i++) {
		char *host = hosts->hosts[hosts->hosts_count].name;

		if (!config_set_name(path, config_setting_get_elem(setting, (unsigned int)i), &name,
				     host, err))
			return false;
		for (size_t j = 0; j < hosts->hosts_count; j++)
			if (!strcmp(hosts->hosts[j].name, host))
				return config_wrong(path, setting, err, "names \"%s\" twice", host);
		hosts->hosts_count++;
	}
	return true;
}

/* What belongs to a key manager of one's own, and what to another host's. */
static bool check_manager(const char *path, const config_setting_t *setting, const ConfigKeys *keys,
			  Error *err)
{
	static const char *const own[] = { "root",     "store", "backends", "certificate",
					   "key",      "serve", "hosts",    "agree_certificate",
					   "agree_key" };

	if (!keys->manager_address[0] != !keys->manager_id[0])
		return config_wrong(path, setting, err,
				    "has one of manager and manager_id: both or none");
	for (size_t i = 0; keys->manager_address[0] && i < ARRAY_SIZE(own); i++)
		if (config_setting_get_member(setting, own[i]))
			return config_wrong(
				path, setting, err,
				"has \"manager\" and \"%s\", which belongs to that host's own "
				"configuration",
				own[i]);
	if (!keys->manager_address[0] && !config_setting_get_member(setting, "root"))
		return config_wrong(
			path, setting, err,
			"has neither \"root\" for a key manager of its own nor \"manager\" for "
			"another host's");
	return !keys->serve_address[0] == !keys->hosts.hosts_count ||
	       config_wrong(path, setting, err, "has one of serve and hosts: both or none");
}

bool config_set_keys(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "root", set_root, 0, false, LIMIT_PATH },
		{ "store", set_path, offsetof(ConfigKeys, store), false, CONFIG_DIRECTORY_MAX + 1 },
		{ "backends", config_set_backends, 0, false },
		{ "default_backend", config_set_name, offsetof(ConfigKeys, default_backend), false,
		  LIMIT_NAME },
		{ "group_may_destroy", config_set_bool, offsetof(ConfigKeys, group_may_destroy),
		  false },
		{ "rekey_after_move", config_set_bool, offsetof(ConfigKeys, rekey_after_move),
		  false },
		{ "certificate", set_path, offsetof(ConfigKeys, certificate), false, LIMIT_PATH },
		{ "key", set_path, offsetof(ConfigKeys, key), false, LIMIT_PATH },
		{ "agree_certificate", set_path, offsetof(ConfigKeys, agree_certificate), false,
		  LIMIT_PATH },
		{ "agree_key", set_path, offsetof(ConfigKeys, agree_key), false, LIMIT_PATH },
		{ "manager", set_manager, 0, false },
		{ "manager_id", set_manager_id, offsetof(ConfigKeys, manager_id), false,
		  LIMIT_SPIFFE_ID },
		{ "serve", set_serve, 0, false },
		{ "hosts", set_hosts, offsetof(ConfigKeys, hosts), false },
	};
	ConfigKeys *keys = target;

	(void)row;
	keys->wanted = keys->rekey_after_move = true;
	memcpy(keys->default_backend, KEY_BACKEND_EMBEDDED, sizeof(KEY_BACKEND_EMBEDDED));
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), keys, err) &&
	       check_manager(path, setting, keys, err) &&
	       check_certificates(path, setting, keys, err) &&
	       /* Which ones there are the other host knows. */
	       (keys->manager_address[0] || config_check_default_backend(path, setting, keys, err));
}
