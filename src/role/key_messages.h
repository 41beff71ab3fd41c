/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of sealift-keyhelper, which speaks with a key manager of others or with a module or
 * chip that holds the root key, one process for each that is configured. It has two links:
 *
 *   ROLE_LINK_FD   to the engine: one configuration, then the credentials as descriptors that the
 *                  engine opened and did not read, then ROLE_START, answered by ROLE_READY
 *   ROLE_EXTRA_FD  to sealift-keyd, for the requests; the engine never sees their values
 *
 * Each provider has its own rule tables on both links: a helper that was started for KMIP takes no
 * configuration of a module, and none but a root's wraps keys. Requests are answered in their
 * order, with the subject of the request; whatever goes wrong by ROLE_FAILED, but for HELPER_PUT.
 */
#ifndef SEALIFT_ROLE_KEY_MESSAGES_H
#define SEALIFT_ROLE_KEY_MESSAGES_H

#include "keys/key_wrap.h"
#include "keys/provider.h"
#include "role/messages.h"

enum {
	LIMIT_HELPER_SERVER = 254, /* bytes of a server's name with its NUL */
	LIMIT_HELPER_LABEL = 128,  /* of what people see in the key manager */
	LIMIT_HELPER_WORD = 256,   /* of a user's name */
	LIMIT_HELPER_URL = 256,
	LIMIT_HELPER_CREDENTIAL = 65,
};

typedef enum HelperMessage {
	/* engine to keyhelper, the first message: who it is */
	HELPER_KMIP = 160, /* HelperKmip */
	HELPER_PKCS11,	   /* HelperPkcs11 */
	HELPER_TPM2,	   /* HelperTpm2 */
	HELPER_BARBICAN,   /* HelperBarbican */
	/* then, once for each part that there is */
	HELPER_FILE, /* HelperFile, one descriptor to read it from */

	/* keyd to keyhelper; subject = request */
	HELPER_PUT = 176, /* HelperPut */
	HELPER_GET,	  /* HelperReference */
	HELPER_DESTROY,	  /* HelperReference */
	HELPER_CHECK,	  /* no payload */
	HELPER_WRAP,	  /* HelperKey */
	HELPER_UNWRAP,	  /* HelperWrapped */
	HELPER_UNSEAL,	  /* no payload, once: asks for HELPER_KEY, after which the helper ends */
	/* keyhelper to keyd */
	HELPER_STORED = 192, /* HelperReference */
	HELPER_NOT_STORED,   /* HelperNotStored */
	HELPER_VALUE,	     /* HelperValue */
	HELPER_DESTROYED,    /* no payload */
	HELPER_OK,	     /* HelperOk */
	HELPER_WRAPPED,	     /* HelperWrapped */
	HELPER_KEY,	     /* HelperKey: unwrapped or unsealed */
} HelperMessage;

/* What a helper is for: its argument of --provider. */
typedef enum HelperKind {
	HELPER_KIND_KMIP,	 /* keeps values */
	HELPER_KIND_PKCS11,	 /* keeps values in a token */
	HELPER_KIND_PKCS11_ROOT, /* a token keeps the root key */
	HELPER_KIND_TPM2,	 /* a TPM keeps the root key sealed */
	HELPER_KIND_BARBICAN,	 /* keeps values */
	HELPER_KIND_COUNT,
} HelperKind;
extern const char *const helper_kind_words[HELPER_KIND_COUNT];

/* What comes as a descriptor. Each at most once. */
typedef enum HelperPart {
	HELPER_PART_CA,		 /* PEM, kmip and barbican */
	HELPER_PART_CRL,	 /* PEM, both: also decides that revocation is checked */
	HELPER_PART_CERTIFICATE, /* PEM, kmip */
	HELPER_PART_KEY,	 /* PEM, kmip */
	/* One line, whose end is dropped: kmip, pkcs11 (the PIN), barbican (the credential's) */
	HELPER_PART_PASSWORD,
	HELPER_PART_BLOB,   /* tpm2: what tpm2_root_create made */
	HELPER_PART_DEVICE, /* tpm2: /dev/tpmrm0, open for reading and writing */
	HELPER_PART_COUNT,
} HelperPart;
extern const char *const helper_part_words[HELPER_PART_COUNT];

/* See KmipConfig (keys/kmip.h) for what the fields mean. */
typedef struct HelperKmip {
	char address[LIMIT_ADDRESS]; /* numeric */
	uint64_t port;
	char server_name[LIMIT_HELPER_SERVER];
	char username[LIMIT_HELPER_WORD]; /* "": none */
	bool weak_ciphers;
	uint64_t deadline_ms, link_ms; /* 0: as KmipConfig says */
} HelperKmip;

/* See Pkcs11Config (keys/pkcs11.h). `paths` are all that the helper may open besides the system's
 * libraries: the module's folder is among them, its configuration and its token too. */
typedef struct HelperPath {
	char path[LIMIT_PATH]; /* absolute */
	bool write;	       /* change, make and remove files there, too */
} HelperPath;

typedef struct HelperVariable {
	char text[LIMIT_PATH]; /* NAME=VALUE, for the module: "SOFTHSM2_CONF=/etc/..." */
} HelperVariable;

enum { LIMIT_HELPER_PATHS = 8, LIMIT_HELPER_VARIABLES = 4 };

typedef struct HelperPkcs11 {
	char module[LIMIT_PATH];
	char token[LIMIT_NAME];
	char key[LIMIT_NAME]; /* the root key's label; "" where values are kept */
	bool after_failure;
	HelperPath paths[LIMIT_HELPER_PATHS];
	size_t paths_count;
	HelperVariable variables[LIMIT_HELPER_VARIABLES];
	size_t variables_count;
} HelperPkcs11;

/* See BarbicanConfig (keys/barbican.h). The credential's secret is HELPER_PART_PASSWORD. */
typedef struct HelperHost {
	char name[LIMIT_HELPER_SERVER];
	char address[LIMIT_ADDRESS]; /* numeric */
} HelperHost;

enum { LIMIT_HELPER_HOSTS = 8 };

typedef struct HelperBarbican {
	char keystone_url[LIMIT_HELPER_URL];
	char barbican_url[LIMIT_HELPER_URL]; /* "": from the catalogue */
	char interface[LIMIT_NAME];	     /* "": "public" */
	char region[LIMIT_HELPER_WORD];	     /* "": any */
	char credential_id[LIMIT_HELPER_CREDENTIAL];
	HelperHost hosts[LIMIT_HELPER_HOSTS];
	size_t hosts_count;
	bool permit_http;
	uint64_t deadline_ms; /* 0: as BarbicanConfig says */
} HelperBarbican;

typedef struct HelperTpm2 {
	uint64_t deadline_ms; /* of each command to the chip */
} HelperTpm2;

typedef struct HelperFile {
	HelperPart part;
} HelperFile;

typedef struct HelperPut {
	char label[LIMIT_HELPER_LABEL];
	uint8_t blob[PROVIDER_BLOB_MAX];
	size_t blob_size;
} HelperPut;

typedef struct HelperReference {
	char reference[LIMIT_KEY_REFERENCE];
} HelperReference;

/* A put that failed. Unless `certain`, the key manager may have the blob: keyd then destroys the
 * blob key, writes down `reference` (if it is not "") and the label, and looks for it later. */
typedef struct HelperNotStored {
	RoleFailure failure;
	bool certain; /* nothing was stored */
	char reference[LIMIT_KEY_REFERENCE];
} HelperNotStored;

typedef struct HelperValue {
	uint8_t blob[PROVIDER_BLOB_MAX];
	size_t blob_size;
} HelperValue;

typedef struct HelperOk {
	char text[LIMIT_TEXT]; /* with whom and how it speaks, for people */
} HelperOk;

typedef struct HelperKey {
	uint8_t key[KEY_BYTES];
} HelperKey;

typedef struct HelperWrapped {
	uint8_t wrapped[KEY_WRAPPED_BYTES];
} HelperWrapped;

extern const Schema helper_kmip_schema, helper_barbican_schema, helper_pkcs11_schema,
	helper_tpm2_schema, helper_file_schema, helper_put_schema, helper_reference_schema,
	helper_not_stored_schema, helper_value_schema, helper_ok_schema, helper_key_schema,
	helper_wrapped_schema;

/* States of the helper's end of the engine's link between ROLE_STARTING and ROLE_SERVING; and of
 * the ends of keyd's link after HELPER_UNSEAL. */
enum { HELPER_CONFIGURED = 2, HELPER_SPENT = 2 };

/* What the helper of a kind may receive from the engine, and from keyd; and keyd from it. The
 * engine receives by engine_helper_rules. keyd's links begin in their first state and stay there,
 * but for HELPER_UNSEAL. */
extern const IpcRule *const helper_rules[HELPER_KIND_COUNT];
extern const IpcRule *const helper_request_rules[HELPER_KIND_COUNT];
extern const IpcRule *const keyd_helper_rules[HELPER_KIND_COUNT];
extern const IpcRule engine_helper_rules[];

#endif
