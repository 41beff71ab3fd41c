/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's configuration file (libconfig); sealift.conf(5). */
#ifndef SEALIFT_ENGINE_CONFIG_H
#define SEALIFT_ENGINE_CONFIG_H

#include <sys/types.h>

#include "base/log.h"
#include "migration/migration.h"
#include "role/keylink_messages.h"
#include "vmm/resources.h"

enum {
	CONFIG_TRUST_MAX = 32,
	CONFIG_DIRECTORY_MAX =
		200, /* characters of a directory in which we make names of our own */
};

/* How disks that are copied may come from, and go to, other hosts. Shared ones are not concerned. */
typedef enum ConfigDisks {
	CONFIG_DISKS_UNSAID,
	CONFIG_DISKS_ANY,
	CONFIG_DISKS_SEALED,	/* as ciphertext only, their keys are handed over */
	CONFIG_DISKS_FRESH_KEY, /* never so: an encrypted one gets a key of the destination's own */
} ConfigDisks;

typedef struct ConfigTrust {
	char domain[LIMIT_DOMAIN];
	char root[LIMIT_PATH];
	char crl[LIMIT_PATH];
	ConfigDisks disks;
} ConfigTrust;

/* What a helper of the key manager is told: role/key_messages.h. */
typedef struct ConfigHelper {
	char name[LIMIT_NAME]; /* of the back-end; "" of a root key */
	HelperKind kind;
	union {
		HelperKmip kmip;
		HelperPkcs11 pkcs11;
		HelperTpm2 tpm2;
		HelperBarbican barbican;
	};
	char files[HELPER_PART_COUNT][LIMIT_PATH]; /* opened for it; "": it gets none */
} ConfigHelper;

/* The key manager's part. */
typedef struct ConfigKeys {
	bool wanted;		/* the group is there */
	char root[LIMIT_PATH];	/* the root key's file; "" if a helper has it */
	bool root_is_helper;
	ConfigHelper root_helper;
	ConfigHelper backends[KEYD_BACKENDS - 1];
	size_t backends_count;
	char default_backend[LIMIT_NAME]; /* of keys that are made without one being named */
	char store[LIMIT_PATH]; /* directory of the key store */
	bool group_may_destroy; /* members of api_group may destroy keys */
	bool rekey_after_move;	/* disks whose key another domain had get a new one by themselves */
	/* PEM: what the key manager signs by, and what is sealed for it; all "" or none */
	char certificate[LIMIT_PATH], key[LIMIT_PATH];
	char agree_certificate[LIMIT_PATH], agree_key[LIMIT_PATH];
	/* Another host's key manager in the place of one's own; "": none */
	char manager_address[LIMIT_ADDRESS], manager_id[LIMIT_SPIFFE_ID];
	uint16_t manager_port;
	/* Where other hosts of the domain find ours, and which; "": nowhere */
	char serve_address[LIMIT_ADDRESS];
	uint16_t serve_port;
	KeylinkServe hosts;
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
	char keyd_user[LIMIT_NAME], keyhelper_user[LIMIT_NAME];
	ConfigKeys keys;
	char api_group[LIMIT_NAME]; /* "": none */
	gid_t api_gid;		    /* its number, looked up when the file was read */
	char boot_directory[LIMIT_PATH];
	LogLevel log_level;
	bool aead_measured;	 /* aead = "auto" */
	unsigned int max_vcpus;	 /* of an incoming VM; 0: as many as this host has online */
	unsigned int per_domain; /* reservations at once from all hosts of one domain */
	ConfigDisks disks;	 /* where a domain's own entry says nothing */
	Resources resources;
	MigrationPolicy policy;
} Config;

/* Reads the file. ERROR_CONFIG as FILE:LINE: SETTING: VALUE, BOUND. Unknown settings are refused.
 * In either case the caller releases what is in *ret_config by config_release. */
MUST_CHECK bool config_load(const char *path, Config *ret_config, Error *err);
void config_release(Config *config);

/* What holds for disks from and to this domain; never CONFIG_DISKS_UNSAID. */
ConfigDisks config_disks(const Config *config, const char *domain);

#endif
