/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration says of domains, pools and networks. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "engine/config_read.h"

static config_setting_t *element(const config_setting_t *list, size_t i)
{
	return config_setting_get_elem(list, (unsigned int)i);
}

static bool set_domains(const char *path, const config_setting_t *setting, const ConfigRow *row,
			void *target, Error *err)
{
	const ConfigRow one = { .size = LIMIT_DOMAIN };
	ResourceAccess *access = target;
	int count = config_setting_length(setting);

	(void)row;
	if (!config_setting_is_aggregate(setting) || config_setting_is_group(setting))
		return config_wrong(path, setting, err, "is not an array [ \"DOMAIN\", ... ]");
	if (count > RESOURCES_DOMAINS)
		return config_wrong(path, setting, err, "has %d domains, at most %d", count,
				    RESOURCES_DOMAINS);
	for (size_t i = 0; i < (size_t)count; i++) {
		if (!config_set_domain(path, element(setting, i), &one, access->domains[i], err))
			return false;
		access->domains_count++;
	}
	return true;
}

bool config_set_disks(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const char *const words[] = { [CONFIG_DISKS_UNSAID] = "",
					     [CONFIG_DISKS_ANY] = "any",
					     [CONFIG_DISKS_SEALED] = "sealed",
					     [CONFIG_DISKS_FRESH_KEY] = "fresh-key" };
	unsigned int kind = 0;

	(void)row;
	if (!config_read_word(path, setting, words + 1, ARRAY_SIZE(words) - 1, &kind, err))
		return false;
	*(ConfigDisks *)target = (ConfigDisks)(kind + 1);
	return true;
}

bool config_set_trust(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "domain", config_set_domain, offsetof(ConfigTrust, domain), true, LIMIT_DOMAIN },
		{ "root", config_set_text, offsetof(ConfigTrust, root), true, LIMIT_PATH },
		{ "crl", config_set_text, offsetof(ConfigTrust, crl), false, LIMIT_PATH },
		{ "disks", config_set_disks, offsetof(ConfigTrust, disks), false },
	};
	Config *config = target;
	const ConfigTrust *trust = config->trust;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  config->trust,
				  sizeof(ConfigTrust),
				  CONFIG_TRUST_MAX,
				  &config->trust_count };

	(void)row;
	if (!config_read_list(path, setting, &list, err))
		return false;
	for (size_t i = 0; i < config->trust_count; i++)
		for (size_t j = 0; j < i; j++)
			if (!strcmp(trust[i].domain, trust[j].domain))
				return config_wrong(path, element(setting, i), err,
						    "domain \"%s\" is in entry %zu already",
						    trust[i].domain, j);
	return true;
}

/* --- pools and networks --- */

/* A domain that finds both entries, "" for VMs that are started here; NULL if there is none. */
static const char *shared_by(const ResourceAccess *a, const ResourceAccess *b)
{
	if (a->local && b->local)
		return "";
	for (size_t i = 0; i < a->domains_count; i++)
		for (size_t j = 0; j < b->domains_count; j++)
			if (!strcmp(a->domains[i], b->domains[j]))
				return a->domains[i];
	return NULL;
}

/* Two entries of one name: whoever may use it must find one of them only. */
static bool check_apart(const char *path, const config_setting_t *setting, const char *name,
			const ResourceAccess *access, const char *other_name,
			const ResourceAccess *other, Error *err)
{
	const char *who = strcmp(name, other_name) ? NULL : shared_by(access, other);

	if (!who)
		return true;
	if (!*who)
		return config_wrong(path, setting, err,
				    "\"%s\" is there twice for VMs that are started here", name);
	return config_wrong(path, setting, err, "\"%s\" is there twice for domain \"%s\"", name,
			    who);
}

bool config_set_pools(const char *path, const config_setting_t *setting, const ConfigRow *row,
		      void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "name", config_set_name, offsetof(PoolResource, name), true, LIMIT_NAME },
		{ "directory", config_set_text, offsetof(PoolResource, directory), true,
		  LIMIT_PATH },
		{ "direct", config_set_bool, offsetof(PoolResource, direct), false },
		{ "own", config_set_bool, offsetof(PoolResource, own), false },
		{ "sealed", config_set_bool, offsetof(PoolResource, sealed), false },
		{ "local", config_set_bool, offsetof(PoolResource, access.local), false },
		{ "domains", set_domains, offsetof(PoolResource, access), false },
	};
	Resources *resources = &((Config *)target)->resources;
	const PoolResource *pools = resources->pools;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  resources->pools,
				  sizeof(PoolResource),
				  RESOURCES_POOLS,
				  &resources->pools_count };

	(void)row;
	if (!config_read_list(path, setting, &list, err))
		return false;
	for (size_t i = 0; i < resources->pools_count; i++) {
		if (pools[i].sealed && !pools[i].own)
			return config_wrong(
				path, element(setting, i), err,
				"is \"sealed\" and not \"own\": what several hosts reach "
				"is not copied");
		for (size_t j = 0; j < i; j++)
			if (!check_apart(path, element(setting, i), pools[i].name, &pools[i].access,
					 pools[j].name, &pools[j].access, err))
				return false;
	}
	return true;
}

static bool set_forward_host(const char *path, const config_setting_t *setting,
			     const ConfigRow *row, void *target, Error *err)
{
	ForwardResource *forward = target;

	(void)row;
	return config_read_endpoint(path, setting, true, forward->host_address, &forward->host_port,
				    err);
}

static bool set_forward_guest(const char *path, const config_setting_t *setting,
			      const ConfigRow *row, void *target, Error *err)
{
	ForwardResource *forward = target;

	(void)row;
	return config_read_endpoint(path, setting, true, forward->guest_address,
				    &forward->guest_port, err);
}

static bool set_forwards(const char *path, const config_setting_t *setting, const ConfigRow *row,
			 void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "listen", set_forward_host, 0, true },
		{ "guest", set_forward_guest, 0, true },
	};
	NetworkResource *network = target;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  network->forwards,
				  sizeof(ForwardResource),
				  RESOURCES_FORWARDS,
				  &network->forwards_count };

	(void)row;
	return config_read_list(path, setting, &list, err);
}

static bool set_network_type(const char *path, const config_setting_t *setting,
			     const ConfigRow *row, void *target, Error *err)
{
	static const char *const words[] = { [NETWORK_BRIDGE] = "bridge", [NETWORK_USER] = "user" };
	unsigned int kind = 0;

	(void)row;
	if (!config_read_word(path, setting, words, ARRAY_SIZE(words), &kind, err))
		return false;
	*(NetworkKind *)target = (NetworkKind)kind;
	return true;
}

/* IPv4 with a prefix that leaves room for QEMU's own addresses. */
static bool set_subnet(const char *path, const config_setting_t *setting, const ConfigRow *row,
		       void *target, Error *err)
{
	char address[LIMIT_ADDRESS];
	struct in_addr binary;
	unsigned int bits = 0;
	const char *slash;
	int used = 0;

	if (!config_set_text(path, setting, row, target, err))
		return false;
	slash = strchr(target, '/');
	snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - (char *)target) : 0,
		 (char *)target);
	if (!slash || inet_pton(AF_INET, address, &binary) != 1 || slash[1] < '0' ||
	    slash[1] > '9' || sscanf(slash, "/%2u%n", &bits, &used) != 1 || slash[used] ||
	    bits < 8 || bits > 27)
		return config_wrong(
			path, setting, err,
			"is \"%s\": not an IPv4 network such as \"10.0.0.0/24\", /8 to /27",
			(char *)target);
	return true;
}

static bool check_kind(const char *path, const config_setting_t *setting,
		       const NetworkResource *network, Error *err)
{
	if (network->kind == NETWORK_BRIDGE && !network->bridge[0])
		return config_wrong(path, setting, err,
				    "has no \"bridge\", which type \"bridge\" needs");
	if (network->kind == NETWORK_BRIDGE && (network->subnet[0] || network->forwards_count))
		return config_wrong(
			path, setting, err,
			"has \"subnet\" or \"forwards\", which only type \"user\" knows");
	if (network->kind == NETWORK_USER && network->bridge[0])
		return config_wrong(path, setting, err,
				    "has \"bridge\", which type \"user\" does not know");
	return true;
}

bool config_set_networks(const char *path, const config_setting_t *setting, const ConfigRow *row,
			 void *target, Error *err)
{
	static const ConfigRow rows[] = {
		{ "name", config_set_name, offsetof(NetworkResource, name), true, LIMIT_NAME },
		{ "type", set_network_type, offsetof(NetworkResource, kind), false },
		{ "bridge", config_set_text, offsetof(NetworkResource, bridge), false, IFNAMSIZ },
		{ "subnet", set_subnet, offsetof(NetworkResource, subnet), false, LIMIT_ADDRESS },
		{ "forwards", set_forwards, 0, false },
		{ "local", config_set_bool, offsetof(NetworkResource, access.local), false },
		{ "domains", set_domains, offsetof(NetworkResource, access), false },
	};
	Resources *resources = &((Config *)target)->resources;
	const NetworkResource *networks = resources->networks;
	const ConfigList list = { rows,
				  ARRAY_SIZE(rows),
				  resources->networks,
				  sizeof(NetworkResource),
				  RESOURCES_NETWORKS,
				  &resources->networks_count };

	(void)row;
	if (!config_read_list(path, setting, &list, err))
		return false;
	for (size_t i = 0; i < resources->networks_count; i++) {
		if (!check_kind(path, element(setting, i), &networks[i], err))
			return false;
		for (size_t j = 0; j < i; j++)
			if (!check_apart(path, element(setting, i), networks[i].name,
					 &networks[i].access, networks[j].name, &networks[j].access,
					 err))
				return false;
	}
	return true;
}
