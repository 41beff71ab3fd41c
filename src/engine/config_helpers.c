/* SPDX-License-Identifier: Apache-2.0 */
/* In the group `keys` of the configuration: other key managers, and root keys that are not a file.
 * sealift.conf(5). */
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

static bool set_back_end_name(const char *path, const config_setting_t *setting,
			      const ConfigRow *row, void *target, Error *err)
{
	return config_set_name(path, setting, row, target, err) &&
	       (strcmp(target, KEY_BACKEND_EMBEDDED) != 0 ||
		config_wrong(path, setting, err,
			     "is \"" KEY_BACKEND_EMBEDDED
			     "\": that is the key manager's own store"));
}

/* It chose the rows. */
static bool skip(const char *path, const config_setting_t *setting, const ConfigRow *row,
		 void *target, Error *err)
{
	(void)path;
	(void)setting;
	(void)row;
	(void)target;
	(void)err;
	return true;
}

#define MEMBER(member) offsetof(ConfigHelper, member), false, sizeof(((ConfigHelper *)0)->member)
#define NEEDED(member) offsetof(ConfigHelper, member), true, sizeof(((ConfigHelper *)0)->member)
#define FILE_ROW(name, part, need)                                                                 \
	{                                                                                          \
		name, set_path, offsetof(ConfigHelper, files[part]), need, LIMIT_PATH              \
	}
#define NAME_ROW                                                                                   \
	{                                                                                          \
		"name", set_back_end_name, NEEDED(name)                                            \
	}
#define TYPE_ROW                                                                                   \
	{                                                                                          \
		"type", skip, 0, true                                                              \
	}

static bool set_kmip_endpoint(const char *path, const config_setting_t *setting,
			      const ConfigRow *row, void *target, Error *err)
{
	ConfigHelper *helper = target;
	uint16_t port = 0;

	(void)row;
	if (!config_read_endpoint(path, setting, false, helper->kmip.address, &port, err))
		return false;
	helper->kmip.port = port;
	return true;
}

static const ConfigRow kmip_rows[] = {
	NAME_ROW,
	TYPE_ROW,
	{ "address", set_kmip_endpoint, 0, true },
	{ "server_name", config_set_text, MEMBER(kmip.server_name) },
	{ "username", config_set_text, MEMBER(kmip.username) },
	{ "weak_ciphers", config_set_bool, offsetof(ConfigHelper, kmip.weak_ciphers), false },
	FILE_ROW("ca", HELPER_PART_CA, true),
	FILE_ROW("crl", HELPER_PART_CRL, false),
	FILE_ROW("certificate", HELPER_PART_CERTIFICATE, true),
	FILE_ROW("key", HELPER_PART_KEY, true),
	FILE_ROW("password_file", HELPER_PART_PASSWORD, false),
};

static bool set_hosts(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const ConfigRow rows[] = {
		CONFIG_TEXT(HelperHost, "name", name),
		CONFIG_TEXT(HelperHost, "address", address),
	};
	HelperBarbican *barbican = target;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  barbican->hosts,
				  sizeof(*barbican->hosts),
				  LIMIT_HELPER_HOSTS,
				  &barbican->hosts_count };

	(void)row;
	return config_read_list(path, setting, &list, err);
}

static const ConfigRow barbican_rows[] = {
	NAME_ROW,
	TYPE_ROW,
	{ "keystone_url", config_set_text, NEEDED(barbican.keystone_url) },
	{ "barbican_url", config_set_text, MEMBER(barbican.barbican_url) },
	{ "interface", config_set_text, MEMBER(barbican.interface) },
	{ "region", config_set_text, MEMBER(barbican.region) },
	{ "credential_id", config_set_text, NEEDED(barbican.credential_id) },
	FILE_ROW("credential_file", HELPER_PART_PASSWORD, true),
	{ "hosts", set_hosts, offsetof(ConfigHelper, barbican), false },
	FILE_ROW("ca", HELPER_PART_CA, false),
	FILE_ROW("crl", HELPER_PART_CRL, false),
	{ "permit_http", config_set_bool, offsetof(ConfigHelper, barbican.permit_http), false },
};

static bool set_paths(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "path", set_path, offsetof(HelperPath, path), true, LIMIT_PATH },
		{ "write", config_set_bool, offsetof(HelperPath, write), false },
	};
	HelperPkcs11 *pkcs11 = target;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  pkcs11->paths,
				  sizeof(*pkcs11->paths),
				  LIMIT_HELPER_PATHS,
				  &pkcs11->paths_count };

	(void)row;
	return config_read_list(path, setting, &list, err);
}

static bool set_environment(const char *path, const config_setting_t *setting, const ConfigRow *row,
			    void *target, Error *err)
{
	const ConfigRow text = { .size = LIMIT_PATH };
	HelperPkcs11 *pkcs11 = target;
	int count = config_setting_length(setting);

	(void)row;
	if (!config_setting_is_array(setting) || count < 0 || count > LIMIT_HELPER_VARIABLES)
		return config_wrong(path, setting, err,
				    "is not an array of at most %d [ \"NAME=VALUE\", ... ]",
				    LIMIT_HELPER_VARIABLES);
	for (int i = 0; i < count; i++)
		if (!config_set_text(path, config_setting_get_elem(setting, (unsigned int)i), &text,
				     pkcs11->variables[pkcs11->variables_count++].text, err))
			return false;
	return true;
}

#define PKCS11_ROWS                                                                                \
	TYPE_ROW, { "module", set_path, NEEDED(pkcs11.module) },                                   \
		{ "token", config_set_text, NEEDED(pkcs11.token) },                                \
		FILE_ROW("pin_file", HELPER_PART_PASSWORD, false),                                 \
		{ "paths", set_paths, offsetof(ConfigHelper, pkcs11), false },                     \
		{ "environment", set_environment, offsetof(ConfigHelper, pkcs11), false },         \
	{                                                                                          \
		"after_failure", config_set_bool, offsetof(ConfigHelper, pkcs11.after_failure),    \
			false                                                                      \
	}

static const ConfigRow pkcs11_rows[] = { NAME_ROW, PKCS11_ROWS };

static const ConfigRow pkcs11_root_rows[] = {
	PKCS11_ROWS,
	{ "label", config_set_text, NEEDED(pkcs11.key) },
};

static const ConfigRow tpm2_rows[] = {
	TYPE_ROW,
	FILE_ROW("blob", HELPER_PART_BLOB, true),
	FILE_ROW("device", HELPER_PART_DEVICE, false),
};

typedef struct Rows {
	const ConfigRow *rows;
	size_t count;
} Rows;

/* Which groups are of this type: its word, in a list of backends or as a root key. */
static bool read_typed(const char *path, const config_setting_t *group, const char *const *words,
		       const HelperKind *kinds, size_t count, ConfigHelper *helper, Error *err)
{
	static const Rows rows[HELPER_KIND_COUNT] = {
		[HELPER_KIND_KMIP] = { kmip_rows, ARRAY_SIZE(kmip_rows) },
		[HELPER_KIND_PKCS11] = { pkcs11_rows, ARRAY_SIZE(pkcs11_rows) },
		[HELPER_KIND_PKCS11_ROOT] = { pkcs11_root_rows, ARRAY_SIZE(pkcs11_root_rows) },
		[HELPER_KIND_TPM2] = { tpm2_rows, ARRAY_SIZE(tpm2_rows) },
		[HELPER_KIND_BARBICAN] = { barbican_rows, ARRAY_SIZE(barbican_rows) },
	};
	const config_setting_t *type;
	unsigned int index = 0;

	if (!config_setting_is_group(group))
		return config_wrong(path, group, err, "is not a group { type = ...; ... }");
	type = config_setting_get_member(group, "type");
	if (!type)
		return config_wrong(path, group, err, "has no \"type\"");
	if (!config_read_word(path, type, words, count, &index, err))
		return false;
	helper->kind = kinds[index];
	return config_read_group(path, group, rows[helper->kind].rows, rows[helper->kind].count,
				 helper, err);
}

/* What cannot be said by a row; the rest the helper's own code refuses, with its reason. */
static bool check_backend(const char *path, const config_setting_t *group, const ConfigKeys *keys,
			  const ConfigHelper *helper, Error *err)
{
	for (size_t i = 0; i < keys->backends_count; i++)
		if (!strcmp(keys->backends[i].name, helper->name))
			return config_wrong(path, group, err, "is the second with the name \"%s\"",
					    helper->name);
	if (helper->kind == HELPER_KIND_KMIP &&
	    !!helper->kmip.username[0] != !!helper->files[HELPER_PART_PASSWORD][0])
		return config_wrong(path, group, err,
				    "has one of \"username\" and \"password_file\": both, or none");
	return helper->kind != HELPER_KIND_BARBICAN || helper->barbican.permit_http ||
	       helper->files[HELPER_PART_CA][0] || config_wrong(path, group, err, "has no \"ca\"");
}

bool config_set_backends(const char *path, const config_setting_t *setting, const ConfigRow *row,
			 void *target, Error *err)
{
	static const HelperKind kinds[] = { HELPER_KIND_KMIP, HELPER_KIND_BARBICAN,
					    HELPER_KIND_PKCS11 };
	static const char *const words[] = { "kmip", "barbican", "pkcs11" };
	ConfigKeys *keys = target;
	int count = config_setting_length(setting);

	(void)row;
	if (!config_setting_is_list(setting))
		return config_wrong(path, setting, err, "is not a list ( { ... }, ... )");
	if (count < 0 || (size_t)count > ARRAY_SIZE(keys->backends))
		return config_wrong(path, setting, err, "has %d entries, at most %zu", count,
				    ARRAY_SIZE(keys->backends));
	for (int i = 0; i < count; i++) {
		const config_setting_t *group = config_setting_get_elem(setting, (unsigned int)i);
		ConfigHelper *helper = &keys->backends[keys->backends_count];

		if (!read_typed(path, group, words, kinds, ARRAY_SIZE(kinds), helper, err) ||
		    !check_backend(path, group, keys, helper, err))
			return false;
		if (helper->kind == HELPER_KIND_KMIP && !helper->kmip.server_name[0])
			memcpy(helper->kmip.server_name, helper->kmip.address,
			       sizeof(helper->kmip.address));
		keys->backends_count++;
	}
	return true;
}

bool config_read_root(const char *path, const config_setting_t *setting, ConfigKeys *keys,
		      Error *err)
{
	static const HelperKind kinds[] = { HELPER_KIND_PKCS11_ROOT, HELPER_KIND_TPM2 };
	static const char *const words[] = { "pkcs11", "tpm2" };
	ConfigHelper *helper = &keys->root_helper;

	if (!read_typed(path, setting, words, kinds, ARRAY_SIZE(kinds), helper, err))
		return false;
	keys->root_is_helper = true;
	if (helper->kind == HELPER_KIND_TPM2 && !helper->files[HELPER_PART_DEVICE][0])
		memcpy(helper->files[HELPER_PART_DEVICE], "/dev/tpmrm0", sizeof("/dev/tpmrm0"));
	return true;
}

bool config_check_default_backend(const char *path, const config_setting_t *keys_group,
				  const ConfigKeys *keys, Error *err)
{
	if (!strcmp(keys->default_backend, KEY_BACKEND_EMBEDDED))
		return true;
	for (size_t i = 0; i < keys->backends_count; i++)
		if (!strcmp(keys->backends[i].name, keys->default_backend))
			return true;
	return config_wrong(path, config_setting_get_member(keys_group, "default_backend"), err,
			    "is \"%s\": none of \"backends\" has this name", keys->default_backend);
}
