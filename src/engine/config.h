/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's configuration file (libconfig); sealift.conf(5). */
#ifndef SEALIFT_ENGINE_CONFIG_H
#define SEALIFT_ENGINE_CONFIG_H

#include <sys/types.h>

#include "base/log.h"
#include "migration/migration.h"
#include "vmm/resources.h"

enum {
	CONFIG_TRUST_MAX = 32,
	CONFIG_DIRECTORY_MAX =
		200, /* characters of a directory in which we make names of our own */
};

typedef struct ConfigTrust {
	char domain[LIMIT_DOMAIN];
	char root[LIMIT_PATH];
	char crl[LIMIT_PATH];
} ConfigTrust;

/* The key manager's part. */
typedef struct ConfigKeys {
	bool wanted;		/* the group is there */
	char root[LIMIT_PATH];	/* the root key's file */
	char store[LIMIT_PATH]; /* directory of the key store */
	bool group_may_destroy; /* members of api_group may destroy keys */
} ConfigKeys;

typedef struct Config {
	char state_directory[LIMIT_PATH];
	char run_directory[LIMIT_PATH];
	char socket[LIMIT_UNIX_PATH];
	char libexec_directory[LIMIT_PATH];
	char listen_address[LIMIT_ADDRESS];
	uint16_t listen_port;
	char tls_certificate[LIMIT_PATH], tls_key[LIMIT_PATH];
	char sign_certificate[LIMIT_PATH], sign_key[LIMIT_PATH];
	char domain_crl[LIMIT_PATH]; /* our own domain's, sent to peers; "": none */
	ConfigTrust trust[CONFIG_TRUST_MAX];
	size_t trust_count;
	/* "UID:GID" that each role becomes when the engine is root; "": the engine's own, warned of
	 */
	char gate_user[LIMIT_NAME], notary_user[LIMIT_NAME], mover_user[LIMIT_NAME];
	char keyd_user[LIMIT_NAME];
	ConfigKeys keys;
	char api_group[LIMIT_NAME]; /* "": none */
	gid_t api_gid;		    /* its number, looked up when the file was read */
	char boot_directory[LIMIT_PATH];
	LogLevel log_level;
	bool aead_measured;	 /* aead = "auto" */
	unsigned int max_vcpus;	 /* of an incoming VM; 0: as many as this host has online */
	unsigned int per_domain; /* reservations at once from all hosts of one domain */
	Resources resources;
	MigrationPolicy policy;
} Config;

/* Reads the file. ERROR_CONFIG as FILE:LINE: SETTING: VALUE, BOUND. Unknown settings are refused.
 * In either case the caller releases what is in *ret_config by config_release. */
MUST_CHECK bool config_load(const char *path, Config *ret_config, Error *err);
void config_release(Config *config);

#endif
