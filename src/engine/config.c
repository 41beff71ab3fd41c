/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/config.h"

#include <errno.h>
#include <grp.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "crypto/aead.h"
#include "engine/config_read.h"
#include "sandbox/sandbox.h"
#include "vmm/feature_cache.h"
#include "vmm/sealed_cache.h"

enum { SECONDS_MAX = 86400, THREADS_MAX = 256 };

static bool set_channels(const char *path, const config_setting_t *setting, const ConfigRow *row,
			 void *target, Error *err)
{
	unsigned int value = 0;

	if (!config_set_count(path, setting, row, &value, err))
		return false;
	/* One is main alone; from two on they are multifd channels beside it. */
	*(uint64_t *)target = value == 1 ? 1 : (uint64_t)value + 1;
	return true;
}

static bool set_listen(const char *path, const config_setting_t *setting, const ConfigRow *row,
		       void *target, Error *err)
{
	Config *config = target;

	(void)row;
	return config_read_endpoint(path, setting, false, config->listen_address,
				    &config->listen_port, err);
}

static bool set_memory(const char *path, const config_setting_t *setting, const ConfigRow *row,
		       void *target, Error *err)
{
	static const char *const words[] = {
		[MEMORY_ANONYMOUS] = "anonymous", [MEMORY_HUGE_2M] = "huge-2m"
	};
	unsigned int kind = 0;

	(void)row;
	if (!config_read_word(path, setting, words, ARRAY_SIZE(words), &kind, err))
		return false;
	*(MemoryKind *)target = (MemoryKind)kind;
	return true;
}

static bool set_guard(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const char *const words[] = { "enforce", "warn" };
	unsigned int kind = 0;

	(void)row;
	if (!config_read_word(path, setting, words, ARRAY_SIZE(words), &kind, err))
		return false;
	*(MoverGuard *)target = kind ? MOVER_GUARD_WARN : MOVER_GUARD_ENFORCE;
	return true;
}

static bool set_accel(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const char *const words[] = { [ACCEL_TCG] = "tcg", [ACCEL_KVM] = "kvm" };
	unsigned int kind = 0;

	(void)row;
	if (!config_read_word(path, setting, words, ARRAY_SIZE(words), &kind, err))
		return false;
	*(AccelKind *)target = (AccelKind)kind;
	return true;
}

static bool set_level(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const char *const words[] = { "error", "warning", "info", "debug" };
	unsigned int index = 0;

	(void)row;
	return config_read_word(path, setting, words, ARRAY_SIZE(words), &index, err) &&
	       (log_level_of_word(words[index], target) ||
		config_wrong(path, setting, err, "is \"%s\": not known to the log", words[index]));
}

/* "auto", or a provider that was built in and suits this processor. */
static bool set_aead(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	char there[128] = "\"auto\"";
	bool known = false;
	size_t count;
	const AeadProvider *const *providers = aead_providers(&count);

	if (!config_set_text(path, setting, row, target, err))
		return false;
	if (!strcmp(target, "auto") || aead_provider_by_name(target))
		return true;
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(there);

		known = known || !strcmp(providers[i]->name, target);
		if (aead_provider_by_name(providers[i]->name))
			snprintf(there + used, sizeof(there) - used, ", \"%s\"",
				 providers[i]->name);
	}
	return config_wrong(path, setting, err, "is \"%s\": %s, there are %s", (const char *)target,
			    known ? "no such provider on this machine" : "no such provider", there);
}

/* Looked up now: the engine's loop must not wait for a name service later. */
static bool set_api_group(const char *path, const config_setting_t *setting, const ConfigRow *row,
			  void *target, Error *err)
{
	Config *config = target;
	const struct group *group;

	if (!config_set_text(path, setting, row, config->api_group, err))
		return false;
	group = getgrnam(config->api_group);
	if (!group)
		return config_wrong(path, setting, err, "is \"%s\": there is no such group",
				    config->api_group);
	config->api_gid = group->gr_gid;
	return true;
}

static bool set_tls(const char *path, const config_setting_t *setting, const ConfigRow *row,
		    void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "certificate", config_set_text, offsetof(Config, tls_certificate), true,
		  LIMIT_PATH },
		{ "key", config_set_text, offsetof(Config, tls_key), true, LIMIT_PATH },
	};

	(void)row;
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), target, err);
}

static bool set_sign(const char *path, const config_setting_t *setting, const ConfigRow *row,
		     void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "certificate", config_set_text, offsetof(Config, sign_certificate), true,
		  LIMIT_PATH },
		{ "key", config_set_text, offsetof(Config, sign_key), true, LIMIT_PATH },
	};

	(void)row;
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), target, err);
}

static bool set_role_user(const char *path, const config_setting_t *setting, const ConfigRow *row,
			  void *target, Error *err)
{
	SandboxUser user;
	Error ignored = ERROR_INIT;

	return config_set_text(path, setting, row, target, err) &&
	       (sandbox_user_parse(target, &user, &ignored) ||
		config_wrong(path, setting, err,
			     "is \"%s\": not UID:GID in digits, neither of them 0",
			     (const char *)target));
}

static bool set_qemu_user(const char *path, const config_setting_t *setting, const ConfigRow *row,
			  void *target, Error *err)
{
	char text[LIMIT_NAME];
	Resources *resources = target;
	SandboxUser user;
	Error reason = ERROR_INIT;

	if (!config_set_text(path, setting, row, text, err))
		return false;
	if (sandbox_user_parse(text, &user, &reason)) {
		resources->user = (QemuUser){ .set = true, .uid = user.uid, .gid = user.gid };
		return true;
	}
	if (strchr(text, ':'))
		return config_wrong(path, setting, err,
				    "is \"%s\": not UID:GID in digits, neither of them 0", text);
	return resources_set_user(resources, text, &reason) ||
	       config_wrong(path, setting, err, "is \"%s\": %s", text, reason.text);
}

static bool set_users(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "gate", set_role_user, offsetof(Config, gate_user), false, LIMIT_NAME },
		{ "notary", set_role_user, offsetof(Config, notary_user), false, LIMIT_NAME },
		{ "mover", set_role_user, offsetof(Config, mover_user), false, LIMIT_NAME },
		{ "keyd", set_role_user, offsetof(Config, keyd_user), false, LIMIT_NAME },
		{ "keyhelper", set_role_user, offsetof(Config, keyhelper_user), false, LIMIT_NAME },
		{ "qemu", set_qemu_user, offsetof(Config, resources), false, LIMIT_NAME },
	};

	(void)row;
	return config_read_group(path, setting, rows, ARRAY_SIZE(rows), target, err);
}

#define TEXT(name, member) CONFIG_TEXT(Config, name, member)
#define COUNT(name, set, member, min, max)                                                         \
	{                                                                                          \
		name, set, offsetof(Config, member), false, 0, min, max                            \
	}
/* Directories in which names are made: what is added must fit behind them. */
#define DIRECTORY(name, member)                                                                    \
	{                                                                                          \
		name, config_set_text, offsetof(Config, member), false, CONFIG_DIRECTORY_MAX + 1   \
	}
static const ConfigRow rows[] = {
	DIRECTORY("state_directory", state_directory),
	DIRECTORY("run_directory", run_directory),
	TEXT("socket", socket),
	DIRECTORY("libexec_directory", libexec_directory),
	{ "listen", set_listen, 0, false },
	{ "tls", set_tls, 0, true },
	{ "sign", set_sign, 0, true },
	TEXT("crl", domain_crl),
	{ "trust", config_set_trust, 0, false },
	{ "users", set_users, 0, false },
	{ "api_group", set_api_group, 0, false, LIMIT_NAME },
	{ "pools", config_set_pools, 0, false },
	{ "networks", config_set_networks, 0, false },
	{ "keys", config_set_keys, offsetof(Config, keys), false },
	DIRECTORY("boot_directory", boot_directory),
	TEXT("qemu", resources.qemu_path),
	TEXT("qemu_img", resources.qemu_img_path),
	TEXT("swtpm", resources.swtpm_path),
	DIRECTORY("tpm_directory", resources.tpm_directory),
	{ "accel", set_accel, offsetof(Config, resources.accel), false },
	{ "memory", set_memory, offsetof(Config, resources.memory), false },
	COUNT("prealloc_threads", config_set_count, resources.prealloc_threads, 1, THREADS_MAX),
	{ "guard", set_guard, offsetof(Config, policy.guard), false },
	{ "allow_disabled", config_set_bool, offsetof(Config, policy.allow_disabled), false },
	{ "forbid_encryption", config_set_bool, offsetof(Config, policy.forbid_encryption), false },
	COUNT("reserve_memory", config_set_size, policy.reserve_bytes, 0, LIMIT_MEMORY_BYTES),
	COUNT("max_vcpus", config_set_count, max_vcpus, 1, LIMIT_VCPUS),
	COUNT("reservations_per_peer", config_set_count, policy.per_peer, 1, LIMIT_MIGRATIONS),
	COUNT("reservations_per_domain", config_set_count, per_domain, 1, LIMIT_MIGRATIONS),
	COUNT("lease_seconds", config_set_count, policy.lease_s, 1, SECONDS_MAX),
	COUNT("transfer_seconds", config_set_seconds_as_ms, policy.transfer_ms, 1, SECONDS_MAX),
	COUNT("max_channels", set_channels, policy.max_channels, 1, LIMIT_STREAM_CHANNELS - 1),
	{ "aead", set_aead, offsetof(Config, policy.aead), false, LIMIT_NAME },
	{ "disks", config_set_disks, offsetof(Config, disks), false },
	{ "log_level", set_level, offsetof(Config, log_level), false },
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
	config->policy.max_channels = LIMIT_STREAM_CHANNELS;
	snprintf(config->policy.aead, sizeof(config->policy.aead), "auto");
	config->policy.guard = MOVER_GUARD_ENFORCE;
}

static bool place_socket(const char *path, const config_t *file, Config *config, Error *err)
{
	static const char name[] = "/sealiftd.sock";
	const size_t most = sizeof(config->socket) - sizeof(name);
	size_t length = strlen(config->run_directory);

	if (config->socket[0])
		return true;
	if (length > most)
		return config_wrong(path, config_lookup(file, "run_directory"), err,
				    "has %zu characters, at most %zu unless \"socket\" is set",
				    length, most);
	snprintf(config->socket, sizeof(config->socket), "%.*s%s", (int)most, config->run_directory,
		 name);
	return true;
}

static bool finish(const char *path, const config_t *file, Config *config, Error *err)
{
	char twins[LIMIT_PATH];

	if (!place_socket(path, file, config, err))
		return false;
	snprintf(config->resources.run_directory, LIMIT_PATH, "%.*s/vm", CONFIG_DIRECTORY_MAX,
		 config->run_directory);
	if (!config->boot_directory[0])
		snprintf(config->boot_directory, LIMIT_PATH, "%.*s/boot", CONFIG_DIRECTORY_MAX,
			 config->state_directory);
	if (!config->resources.tpm_directory[0])
		snprintf(config->resources.tpm_directory, LIMIT_PATH, "%.*s/tpm", CONFIG_DIRECTORY_MAX,
			 config->state_directory);
	if (!config->keys.store[0])
		snprintf(config->keys.store, LIMIT_PATH, "%.*s/keys", CONFIG_DIRECTORY_MAX,
			 config->state_directory);
	/* Two hosts' worth: raising what one host may have must not be in vain. */
	if (!config->per_domain)
		config->per_domain = 2 * config->policy.per_peer;
	config->aead_measured = !strcmp(config->policy.aead, "auto");
	config->resources.boot_files = boot_files_new(config->boot_directory, err);
	if (!config->resources.boot_files)
		return false;
	config->resources.feature_cache = feature_cache_new(err);
	snprintf(twins, sizeof(twins), "%.*s/twins", CONFIG_DIRECTORY_MAX, config->state_directory);
	config->resources.twin_cache = sealed_cache_new(twins, err);
	return config->resources.feature_cache && config->resources.twin_cache;
}

static void destroy_cleanup(config_t *file)
{
	config_destroy(file);
}

/* libconfig's scanner would end the process at a directory. */
static bool open_regular(const char *path, FILE **ret_stream, Error *err)
{
	AUTO_FILE FILE *stream = fopen(path, "re");
	struct stat status;

	if (!stream || fstat(fileno(stream), &status))
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "%s is not a regular file", path);
	*ret_stream = TAKE_PTR(stream);
	return true;
}

bool config_load(const char *path, Config *ret_config, Error *err)
{
	CLEANUP(destroy_cleanup) config_t file;
	AUTO_FILE FILE *stream = NULL;

	config_init(&file);
	set_defaults(ret_config);
	if (!open_regular(path, &stream, err))
		return false;
	if (!config_read(&file, stream))
		return error_set(err, ERROR_CONFIG, "%s:%d: %s",
				 config_error_file(&file) ? config_error_file(&file) : path,
				 config_error_line(&file), config_error_text(&file));
	return config_read_group(path, config_root_setting(&file), rows, ARRAY_SIZE(rows),
				 ret_config, err) &&
	       finish(path, &file, ret_config, err);
}

ConfigDisks config_disks(const Config *config, const char *domain)
{
	ConfigDisks disks = config->disks;

	for (size_t i = 0; i < config->trust_count; i++)
		if (!strcmp(config->trust[i].domain, domain) && config->trust[i].disks)
			disks = config->trust[i].disks;
	return disks ? disks : CONFIG_DISKS_ANY;
}

void config_release(Config *config)
{
	boot_files_free(config->resources.boot_files);
	feature_cache_free(config->resources.feature_cache);
	config->resources.boot_files = NULL;
	config->resources.feature_cache = NULL;
	sealed_cache_free(config->resources.twin_cache);
	config->resources.twin_cache = NULL;
}
