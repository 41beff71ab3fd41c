/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/config.h"

#include <libconfig.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/sandbox.h"
#include "vmm/feature_cache.h"
#include "vmm/vm_file.h"

typedef struct Source {
	const char *path;
	Config *config;
} Source;

static bool bad(const Source *source, const config_setting_t *setting, Error *err, const char *what)
{
	return error_set(err, ERROR_CONFIG, "%s:%u: %s: %s", source->path,
			 config_setting_source_line(setting),
			 config_setting_name(setting) ? config_setting_name(setting) : "entry", what);
}

/* --- setters: one kind of value each --- */

typedef struct Row {
	const char *name;
	bool (*set)(const Source *source, const config_setting_t *setting, void *target, size_t size,
		    Error *err);
	size_t offset;
	size_t size;
} Row;

static bool set_text(const Source *source, const config_setting_t *setting, void *target, size_t size,
		     Error *err)
{
	const char *text = config_setting_get_string(setting);

	if (!text || !text_is(TEXT_PRINTABLE, text, 1))
		return bad(source, setting, err, "must be a printable string in quotes");
	if (strlen(text) >= size)
		return bad(source, setting, err, "is too long");
	memcpy(target, text, strlen(text) + 1);
	return true;
}

static bool set_bool(const Source *source, const config_setting_t *setting, void *target, size_t size,
		     Error *err)
{
	(void)size;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return bad(source, setting, err, "must be true or false");
	*(bool *)target = config_setting_get_bool(setting);
	return true;
}

static bool set_count(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	int value = config_setting_get_int(setting);

	(void)size;
	if (config_setting_type(setting) != CONFIG_TYPE_INT || value < 1 || value > 86400)
		return bad(source, setting, err, "must be a whole number from 1 to 86400");
	*(unsigned int *)target = (unsigned int)value;
	return true;
}

static bool set_channels(const Source *source, const config_setting_t *setting, void *target,
			 size_t size, Error *err)
{
	int value = config_setting_get_int(setting);

	(void)size;
	if (config_setting_type(setting) != CONFIG_TYPE_INT || value < 1 || value > LIMIT_CHANNELS - 1)
		return bad(source, setting, err, "must be a whole number from 1 to 16");
	*(uint64_t *)target = value == 1 ? 1 : (uint64_t)value + 1;
	return true;
}

static bool set_size(const Source *source, const config_setting_t *setting, void *target, size_t size,
		     Error *err)
{
	const char *text = config_setting_get_string(setting);

	(void)size;
	if (!text || !vm_file_parse_size(text, target))
		return bad(source, setting, err, "must be a size such as \"512M\"");
	return true;
}

static bool set_seconds_as_ms(const Source *source, const config_setting_t *setting, void *target,
			      size_t size, Error *err)
{
	unsigned int seconds = 0;

	if (!set_count(source, setting, &seconds, size, err))
		return false;
	*(uint64_t *)target = (uint64_t)seconds * 1000;
	return true;
}

/* ADDRESS:PORT, [ADDRESS]:PORT for IPv6. */
static bool read_endpoint(const Source *source, const config_setting_t *setting,
			  char ret_address[LIMIT_ADDRESS], uint16_t *ret_port, Error *err)
{
	char text[LIMIT_ADDRESS + 16], *colon;
	unsigned long port;
	char *end;

	if (!set_text(source, setting, text, sizeof(text), err))
		return false;
	colon = strrchr(text, ':');
	if (!colon)
		return bad(source, setting, err, "must be ADDRESS:PORT, [ADDRESS]:PORT for IPv6");
	*colon = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (*end || port < 1 || port > 65535)
		return bad(source, setting, err, "has a port outside 1..65535");
	if (text[0] == '[' && colon[-1] == ']')
		colon[-1] = '\0';
	snprintf(ret_address, LIMIT_ADDRESS, "%.63s", text[0] == '[' ? text + 1 : text);
	*ret_port = (uint16_t)port;
	return true;
}

static bool set_listen(const Source *source, const config_setting_t *setting, void *target, size_t size,
		       Error *err)
{
	Config *config = target;

	(void)size;
	return read_endpoint(source, setting, config->listen_address, &config->listen_port, err);
}

static bool set_forward_host(const Source *source, const config_setting_t *setting, void *target,
			     size_t size, Error *err)
{
	ForwardResource *forward = target;

	(void)size;
	return read_endpoint(source, setting, forward->host_address, &forward->host_port, err);
}

static bool set_forward_guest(const Source *source, const config_setting_t *setting, void *target,
			      size_t size, Error *err)
{
	ForwardResource *forward = target;

	(void)size;
	return read_endpoint(source, setting, forward->guest_address, &forward->guest_port, err);
}

static bool set_memory(const Source *source, const config_setting_t *setting, void *target, size_t size,
		       Error *err)
{
	const char *text = config_setting_get_string(setting);

	(void)size;
	if (!text || (strcmp(text, "anonymous") && strcmp(text, "huge-2m")))
		return bad(source, setting, err, "must be \"anonymous\" or \"huge-2m\"");
	*(MemoryKind *)target = strcmp(text, "huge-2m") ? MEMORY_ANONYMOUS : MEMORY_HUGE_2M;
	return true;
}

static bool set_accel(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	const char *text = config_setting_get_string(setting);

	(void)size;
	if (!text || (strcmp(text, "kvm") && strcmp(text, "tcg")))
		return bad(source, setting, err, "must be \"kvm\" or \"tcg\"");
	*(AccelKind *)target = strcmp(text, "kvm") ? ACCEL_TCG : ACCEL_KVM;
	return true;
}

static bool set_level(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	const char *text = config_setting_get_string(setting);

	(void)size;
	return (text && log_level_of_word(text, target)) ||
	       bad(source, setting, err, "must be \"error\", \"warning\", \"info\" or \"debug\"");
}

static bool set_qemu_user(const Source *source, const config_setting_t *setting, void *target,
			  size_t size, Error *err)
{
	char text[LIMIT_NAME];
	Resources *resources = target;
	unsigned int uid, gid;
	int used = 0;

	(void)size;
	if (!set_text(source, setting, text, sizeof(text), err))
		return false;
	if (sscanf(text, "%u:%u%n", &uid, &gid, &used) == 2 && !text[used] && uid && gid) {
		resources->user = (QemuUser){ .set = true, .uid = uid, .gid = gid };
		return true;
	}
	return resources_set_user(resources, text, err) || bad(source, setting, err, err->text);
}

static bool read_group(const Source *source, const config_setting_t *group, const Row *rows,
		       size_t n_rows, void *target, Error *err);

static bool set_tls(const Source *source, const config_setting_t *setting, void *target, size_t size,
		    Error *err)
{
	static const Row rows[] = {
		{ "certificate", set_text, offsetof(Config, tls_certificate), LIMIT_PATH },
		{ "key", set_text, offsetof(Config, tls_key), LIMIT_PATH },
	};

	(void)size;
	return read_group(source, setting, rows, ARRAY_SIZE(rows), target, err);
}

static bool set_sign(const Source *source, const config_setting_t *setting, void *target, size_t size,
		     Error *err)
{
	static const Row rows[] = {
		{ "certificate", set_text, offsetof(Config, sign_certificate), LIMIT_PATH },
		{ "key", set_text, offsetof(Config, sign_key), LIMIT_PATH },
	};

	(void)size;
	return read_group(source, setting, rows, ARRAY_SIZE(rows), target, err);
}

static bool set_role_user(const Source *source, const config_setting_t *setting, void *target,
			  size_t size, Error *err)
{
	SandboxUser user;
	Error ignored = ERROR_INIT;

	return set_text(source, setting, target, size, err) &&
	       (sandbox_user_parse(target, &user, &ignored) ||
		bad(source, setting, err, "must be \"UID:GID\" in digits, neither of them 0"));
}

static bool set_users(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	static const Row rows[] = {
		{ "gate", set_role_user, offsetof(Config, gate_user), LIMIT_NAME },
		{ "notary", set_role_user, offsetof(Config, notary_user), LIMIT_NAME },
		{ "mover", set_role_user, offsetof(Config, mover_user), LIMIT_NAME },
		{ "qemu", set_qemu_user, offsetof(Config, resources), 0 },
	};

	(void)size;
	return read_group(source, setting, rows, ARRAY_SIZE(rows), target, err);
}

/* --- lists of groups --- */

static bool set_domains(const Source *source, const config_setting_t *setting, void *target,
			size_t size, Error *err)
{
	ResourceAccess *access = target;
	int count = config_setting_length(setting);

	(void)size;
	if (!config_setting_is_aggregate(setting) || count > RESOURCES_DOMAINS)
		return bad(source, setting, err, "must be a list of at most 16 domains");
	for (int i = 0; i < count; i++) {
		const char *text = config_setting_get_string_elem(setting, i);

		if (!text || strlen(text) >= LIMIT_DOMAIN || !text_is(TEXT_DOMAIN, text, 1))
			return bad(source, setting, err, "must hold domains such as \"north.example\"");
		snprintf(access->domains[access->domains_count++], LIMIT_DOMAIN, "%s", text);
	}
	return true;
}

static bool set_network_type(const Source *source, const config_setting_t *setting, void *target,
			     size_t size, Error *err)
{
	const char *text = config_setting_get_string(setting);

	(void)size;
	if (!text || (strcmp(text, "bridge") && strcmp(text, "user")))
		return bad(source, setting, err, "must be \"bridge\" or \"user\"");
	*(NetworkKind *)target = strcmp(text, "bridge") ? NETWORK_USER : NETWORK_BRIDGE;
	return true;
}

static bool read_list(const Source *source, const config_setting_t *list, const Row *rows,
		      size_t n_rows, void *entries, size_t entry_size, size_t max, size_t *count,
		      Error *err)
{
	int length = config_setting_length(list);

	if (!config_setting_is_list(list) || length < 0 || (size_t)length > max)
		return bad(source, list, err, "must be a list ( {...}, ... ) that is not too long");
	for (int i = 0; i < length; i++) {
		void *entry = (char *)entries + *count * entry_size;

		if (!read_group(source, config_setting_get_elem(list, (unsigned int)i), rows, n_rows, entry,
				err))
			return false;
		(*count)++;
	}
	return true;
}

static bool set_domain(const Source *source, const config_setting_t *setting, void *target, size_t size,
		       Error *err)
{
	return set_text(source, setting, target, size, err) &&
	       (text_is(TEXT_DOMAIN, target, 1) ||
		bad(source, setting, err, "must be a domain such as \"north.example\""));
}

static bool set_trust(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	static const Row rows[] = {
		{ "domain", set_domain, offsetof(ConfigTrust, domain), LIMIT_DOMAIN },
		{ "root", set_text, offsetof(ConfigTrust, root), LIMIT_PATH },
		{ "crl", set_text, offsetof(ConfigTrust, crl), LIMIT_PATH },
	};
	Config *config = target;

	(void)size;
	return read_list(source, setting, rows, ARRAY_SIZE(rows), config->trust, sizeof(ConfigTrust),
			 CONFIG_TRUST_MAX, &config->trust_count, err);
}

static bool set_pools(const Source *source, const config_setting_t *setting, void *target, size_t size,
		      Error *err)
{
	static const Row rows[] = {
		{ "name", set_text, offsetof(PoolResource, name), LIMIT_NAME },
		{ "directory", set_text, offsetof(PoolResource, directory), LIMIT_PATH },
		{ "direct", set_bool, offsetof(PoolResource, direct), 0 },
		{ "local", set_bool, offsetof(PoolResource, access.local), 0 },
		{ "domains", set_domains, offsetof(PoolResource, access), 0 },
	};
	Resources *resources = &((Config *)target)->resources;

	(void)size;
	return read_list(source, setting, rows, ARRAY_SIZE(rows), resources->pools,
			 sizeof(PoolResource), RESOURCES_POOLS, &resources->pools_count, err);
}

static bool set_forwards(const Source *source, const config_setting_t *setting, void *target,
			 size_t size, Error *err)
{
	static const Row rows[] = {
		{ "listen", set_forward_host, 0, 0 },
		{ "guest", set_forward_guest, 0, 0 },
	};
	NetworkResource *network = target;

	(void)size;
	return read_list(source, setting, rows, ARRAY_SIZE(rows), network->forwards,
			 sizeof(ForwardResource), RESOURCES_FORWARDS, &network->forwards_count, err);
}

static bool set_networks(const Source *source, const config_setting_t *setting, void *target,
			 size_t size, Error *err)
{
	static const Row rows[] = {
		{ "name", set_text, offsetof(NetworkResource, name), LIMIT_NAME },
		{ "type", set_network_type, offsetof(NetworkResource, kind), 0 },
		{ "bridge", set_text, offsetof(NetworkResource, bridge), IFNAMSIZ },
		{ "subnet", set_text, offsetof(NetworkResource, subnet), LIMIT_ADDRESS },
		{ "forwards", set_forwards, 0, 0 },
		{ "local", set_bool, offsetof(NetworkResource, access.local), 0 },
		{ "domains", set_domains, offsetof(NetworkResource, access), 0 },
	};
	Resources *resources = &((Config *)target)->resources;

	(void)size;
	return read_list(source, setting, rows, ARRAY_SIZE(rows), resources->networks,
			 sizeof(NetworkResource), RESOURCES_NETWORKS, &resources->networks_count, err);
}

static bool read_group(const Source *source, const config_setting_t *group, const Row *rows,
		       size_t n_rows, void *target, Error *err)
{
	int length = config_setting_length(group);

	if (!config_setting_is_group(group))
		return bad(source, group, err, "must be a group { name = value; ... }");
	for (int i = 0; i < length; i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);
		const Row *row = NULL;

		for (size_t r = 0; r < n_rows; r++)
			if (!strcmp(rows[r].name, config_setting_name(setting)))
				row = &rows[r];
		if (!row)
			return bad(source, setting, err, "is no known setting");
		if (!row->set(source, setting, (char *)target + row->offset, row->size, err))
			return false;
	}
	return true;
}

#define TEXT(name, member) { name, set_text, offsetof(Config, member), sizeof(((Config *)0)->member) }
static const Row top_rows[] = {
	TEXT("state_directory", state_directory),
	TEXT("run_directory", run_directory),
	TEXT("socket", socket),
	TEXT("libexec_directory", libexec_directory),
	{ "listen", set_listen, 0, 0 },
	{ "tls", set_tls, 0, 0 },
	{ "sign", set_sign, 0, 0 },
	TEXT("crl", domain_crl),
	{ "trust", set_trust, 0, 0 },
	{ "users", set_users, 0, 0 },
	TEXT("api_group", api_group),
	{ "pools", set_pools, 0, 0 },
	{ "networks", set_networks, 0, 0 },
	TEXT("boot_directory", boot_directory),
	TEXT("qemu", resources.qemu_path),
	{ "accel", set_accel, offsetof(Config, resources.accel), 0 },
	{ "memory", set_memory, offsetof(Config, resources.memory), 0 },
	{ "prealloc_threads", set_count, offsetof(Config, resources.prealloc_threads), 0 },
	{ "allow_disabled", set_bool, offsetof(Config, policy.allow_disabled), 0 },
	{ "forbid_encryption", set_bool, offsetof(Config, policy.forbid_encryption), 0 },
	{ "reserve_memory", set_size, offsetof(Config, policy.reserve_bytes), 0 },
	{ "reservations_per_peer", set_count, offsetof(Config, policy.per_peer), 0 },
	{ "lease_seconds", set_count, offsetof(Config, policy.lease_s), 0 },
	{ "transfer_seconds", set_seconds_as_ms, offsetof(Config, policy.transfer_ms), 0 },
	{ "max_channels", set_channels, offsetof(Config, policy.max_channels), 0 },
	TEXT("aead", policy.aead),
	{ "log_level", set_level, offsetof(Config, log_level), 0 },
};

static void set_defaults(Config *config)
{
	memset(config, 0, sizeof(*config));
	snprintf(config->state_directory, LIMIT_PATH, "/var/lib/sealift");
	snprintf(config->run_directory, LIMIT_PATH, "/run/sealift");
	snprintf(config->libexec_directory, LIMIT_PATH, "%s", SEALIFT_LIBEXECDIR);
	snprintf(config->listen_address, sizeof(config->listen_address), "::");
	config->listen_port = 7468;
	config->log_level = LOG_LEVEL_INFO;
	snprintf(config->resources.qemu_path, LIMIT_PATH, "/usr/bin/qemu-system-x86_64");
	config->resources.accel = ACCEL_KVM;
	config->policy.reserve_bytes = UINT64_C(512) << 20;
	config->policy.per_peer = 1;
	config->policy.lease_s = 30;
	config->policy.transfer_ms = 3600000;
	config->policy.max_channels = LIMIT_CHANNELS;
	snprintf(config->policy.aead, sizeof(config->policy.aead), "auto");
}

static bool check_required(const char *path, const Config *config, Error *err)
{
	const struct {
		const char *value, *name;
	} required[] = {
		{ config->tls_certificate, "tls.certificate" },
		{ config->tls_key, "tls.key" },
		{ config->sign_certificate, "sign.certificate" },
		{ config->sign_key, "sign.key" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!required[i].value[0])
			return error_set(err, ERROR_CONFIG, "%s: %s is missing", path, required[i].name);
	for (size_t i = 0; i < config->trust_count; i++)
		if (!config->trust[i].domain[0] || !config->trust[i].root[0])
			return error_set(err, ERROR_CONFIG, "%s: trust[%zu] needs domain and root", path, i);
	for (size_t i = 0; i < config->resources.networks_count; i++)
		if (config->resources.networks[i].kind == NETWORK_BRIDGE &&
		    !config->resources.networks[i].bridge[0])
			return error_set(err, ERROR_CONFIG, "%s: network \"%s\" needs bridge", path,
					 config->resources.networks[i].name);
	return true;
}

static bool finish(const char *path, Config *config, Error *err)
{
	if (!config->socket[0] &&
	    snprintf(config->socket, sizeof(config->socket), "%.200s/sealiftd.sock",
		     config->run_directory) >= (int)sizeof(config->socket))
		return error_set(err, ERROR_CONFIG, "%s: run_directory is longer than %zu characters", path,
				 sizeof(config->socket) - sizeof("/sealiftd.sock"));
	if (snprintf(config->resources.run_directory, LIMIT_PATH, "%.240s/vm", config->run_directory) >=
	    LIMIT_PATH)
		return error_set(err, ERROR_CONFIG, "%s: run_directory is too long", path);
	if (!config->boot_directory[0])
		snprintf(config->boot_directory, LIMIT_PATH, "%.240s/boot", config->state_directory);
	config->aead_measured = !strcmp(config->policy.aead, "auto");
	config->resources.boot_files = boot_files_new(config->boot_directory, err);
	if (!config->resources.boot_files)
		return false;
	config->resources.feature_cache = feature_cache_new(err);
	return config->resources.feature_cache != NULL;
}

static void destroy_cleanup(config_t *file)
{
	config_destroy(file);
}

bool config_load(const char *path, Config *ret_config, Error *err)
{
	CLEANUP(destroy_cleanup) config_t file;
	Source source = { .path = path, .config = ret_config };

	config_init(&file);
	set_defaults(ret_config);
	if (!config_read_file(&file, path))
		return error_set(err, ERROR_CONFIG, "%s:%d: %s", path, config_error_line(&file),
				 config_error_text(&file));
	return read_group(&source, config_root_setting(&file), top_rows, ARRAY_SIZE(top_rows), ret_config,
			  err) &&
	       check_required(path, ret_config, err) && finish(path, ret_config, err);
}
