/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's configuration file (libconfig); sealift.conf(5). */
#ifndef SEALIFT_ENGINE_CONFIG_H
#define SEALIFT_ENGINE_CONFIG_H

#include "base/log.h"
#include "migration/migration.h"
#include "vmm/resources.h"

enum { CONFIG_TRUST_MAX = 32 };

typedef struct ConfigTrust {
	char domain[LIMIT_DOMAIN];
	char root[LIMIT_PATH];
	char crl[LIMIT_PATH];
} ConfigTrust;

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
	/* "UID:GID" that each role becomes when the engine is root; "": the engine's own, warned of */
	char gate_user[LIMIT_NAME], notary_user[LIMIT_NAME], mover_user[LIMIT_NAME];
	char api_group[LIMIT_NAME];
	char boot_directory[LIMIT_PATH];
	LogLevel log_level;
	bool aead_measured; /* aead = "auto" */
	unsigned int default_channels;
	Resources resources;
	MigrationPolicy policy;
} Config;

/* Reads the file. ERROR_CONFIG as FILE:LINE: WHAT, VALUE, BOUND. Unknown settings are refused. */
MUST_CHECK bool config_load(const char *path, Config *ret_config, Error *err);

#endif
