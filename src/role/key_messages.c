/* SPDX-License-Identifier: Apache-2.0 */
#include "role/key_messages.h"

const char *const helper_kind_words[HELPER_KIND_COUNT] = { "kmip", "pkcs11", "pkcs11-root", "tpm2",
							   "barbican" };
const char *const helper_part_words[HELPER_PART_COUNT] = {
	"CA", "CRL", "certificate", "private key", "password", "sealed root key", "device",
};

static const Field kmip_fields[] = {
	SCHEMA_TEXT(HelperKmip, address, TEXT_PRINTABLE, 1),
	SCHEMA_U64(HelperKmip, port, 1, 65535),
	SCHEMA_TEXT(HelperKmip, server_name, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(HelperKmip, username, TEXT_PRINTABLE, 0),
	SCHEMA_BOOL(HelperKmip, weak_ciphers),
	SCHEMA_U64(HelperKmip, deadline_ms, 0, UINT32_MAX),
	SCHEMA_U64(HelperKmip, link_ms, 0, UINT32_MAX),
};
SCHEMA_DEFINE(helper_kmip_schema, "kmip", HelperKmip, kmip_fields);

static const Field path_fields[] = {
	SCHEMA_TEXT(HelperPath, path, TEXT_PRINTABLE, 2),
	SCHEMA_BOOL(HelperPath, write),
};
static SCHEMA_DEFINE(path_schema, "path", HelperPath, path_fields);

static const Field variable_fields[] = { SCHEMA_TEXT(HelperVariable, text, TEXT_PRINTABLE, 2) };
static SCHEMA_DEFINE(variable_schema, "variable", HelperVariable, variable_fields);

static const Field pkcs11_fields[] = {
	SCHEMA_TEXT(HelperPkcs11, module, TEXT_PRINTABLE, 2),
	SCHEMA_TEXT(HelperPkcs11, token, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(HelperPkcs11, key, TEXT_PRINTABLE, 0),
	SCHEMA_BOOL(HelperPkcs11, after_failure),
	SCHEMA_LIST(HelperPkcs11, paths, &path_schema, 0),
	SCHEMA_LIST(HelperPkcs11, variables, &variable_schema, 0),
};
SCHEMA_DEFINE(helper_pkcs11_schema, "pkcs11", HelperPkcs11, pkcs11_fields);

static const Field host_fields[] = {
	SCHEMA_TEXT(HelperHost, name, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(HelperHost, address, TEXT_PRINTABLE, 1),
};
static SCHEMA_DEFINE(host_schema, "host", HelperHost, host_fields);

static const Field barbican_fields[] = {
	SCHEMA_TEXT(HelperBarbican, keystone_url, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(HelperBarbican, barbican_url, TEXT_PRINTABLE, 0),
	SCHEMA_TEXT(HelperBarbican, interface, TEXT_PRINTABLE, 0),
	SCHEMA_TEXT(HelperBarbican, region, TEXT_PRINTABLE, 0),
	SCHEMA_TEXT(HelperBarbican, credential_id, TEXT_PRINTABLE, 1),
	SCHEMA_LIST(HelperBarbican, hosts, &host_schema, 0),
	SCHEMA_BOOL(HelperBarbican, permit_http),
	SCHEMA_U64(HelperBarbican, deadline_ms, 0, UINT32_MAX),
};
SCHEMA_DEFINE(helper_barbican_schema, "barbican", HelperBarbican, barbican_fields);

static const Field tpm2_fields[] = { SCHEMA_U64(HelperTpm2, deadline_ms, 1, UINT32_MAX) };
SCHEMA_DEFINE(helper_tpm2_schema, "tpm2", HelperTpm2, tpm2_fields);

static const Field file_fields[] = { SCHEMA_ENUM(HelperFile, part, helper_part_words) };
SCHEMA_DEFINE(helper_file_schema, "file", HelperFile, file_fields);

static const Field put_fields[] = {
	SCHEMA_TEXT(HelperPut, label, TEXT_PRINTABLE, 1),
	SCHEMA_BYTES(HelperPut, blob, 1),
};
SCHEMA_DEFINE(helper_put_schema, "put", HelperPut, put_fields);

static const Field reference_fields[] = {
	SCHEMA_TEXT(HelperReference, reference, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(helper_reference_schema, "reference", HelperReference, reference_fields);

static const Field not_stored_fields[] = {
	SCHEMA_OBJECT(HelperNotStored, failure, &role_failure_schema),
	SCHEMA_BOOL(HelperNotStored, certain),
	SCHEMA_TEXT(HelperNotStored, reference, TEXT_PRINTABLE, 0),
};
SCHEMA_DEFINE(helper_not_stored_schema, "not-stored", HelperNotStored, not_stored_fields);

static const Field value_fields[] = { SCHEMA_BYTES(HelperValue, blob, 1) };
SCHEMA_DEFINE(helper_value_schema, "value", HelperValue, value_fields);

static const Field ok_fields[] = { SCHEMA_TEXT(HelperOk, text, TEXT_PRINTABLE, 0) };
SCHEMA_DEFINE(helper_ok_schema, "ok", HelperOk, ok_fields);

static const Field key_fields[] = { SCHEMA_HEX(HelperKey, key) };
SCHEMA_DEFINE(helper_key_schema, "key", HelperKey, key_fields);

static const Field wrapped_fields[] = { SCHEMA_HEX(HelperWrapped, wrapped) };
SCHEMA_DEFINE(helper_wrapped_schema, "wrapped", HelperWrapped, wrapped_fields);

#define STARTING   IPC_IN(ROLE_STARTING)
#define CONFIGURED IPC_IN(HELPER_CONFIGURED)

/* type, schema, least and most descriptors, states, next state, name */
#define FILE_ROW                                                                                   \
	{                                                                                          \
		HELPER_FILE, &helper_file_schema, 1, 1, CONFIGURED, IPC_KEEP, "file"               \
	}
#define START_ROW                                                                                  \
	{                                                                                          \
		ROLE_START, NULL, 0, 0, CONFIGURED, ROLE_SERVING, "start"                          \
	}

static const IpcRule kmip_rules[] = {
	{ HELPER_KMIP, &helper_kmip_schema, 0, 0, STARTING, HELPER_CONFIGURED, "kmip" },
	FILE_ROW,
	START_ROW,
	{ 0 },
};

static const IpcRule barbican_rules[] = {
	{ HELPER_BARBICAN, &helper_barbican_schema, 0, 0, STARTING, HELPER_CONFIGURED, "barbican" },
	FILE_ROW,
	START_ROW,
	{ 0 },
};

static const IpcRule pkcs11_rules[] = {
	{ HELPER_PKCS11, &helper_pkcs11_schema, 0, 0, STARTING, HELPER_CONFIGURED, "pkcs11" },
	FILE_ROW,
	START_ROW,
	{ 0 },
};

static const IpcRule tpm2_rules[] = {
	{ HELPER_TPM2, &helper_tpm2_schema, 0, 0, STARTING, HELPER_CONFIGURED, "tpm2" },
	FILE_ROW,
	START_ROW,
	{ 0 },
};

const IpcRule *const helper_rules[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = kmip_rules,	  [HELPER_KIND_PKCS11] = pkcs11_rules,
	[HELPER_KIND_PKCS11_ROOT] = pkcs11_rules, [HELPER_KIND_TPM2] = tpm2_rules,
	[HELPER_KIND_BARBICAN] = barbican_rules,
};

const IpcRule engine_helper_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	{ 0 },
};

#define CHECK_ROW                                                                                  \
	{                                                                                          \
		HELPER_CHECK, NULL, 0, 0, STARTING, IPC_KEEP, "check"                              \
	}

static const IpcRule provider_requests[] = {
	{ HELPER_PUT, &helper_put_schema, 0, 0, STARTING, IPC_KEEP, "put" },
	{ HELPER_GET, &helper_reference_schema, 0, 0, STARTING, IPC_KEEP, "get" },
	{ HELPER_DESTROY, &helper_reference_schema, 0, 0, STARTING, IPC_KEEP, "destroy" },
	CHECK_ROW,
	{ 0 },
};

static const IpcRule root_requests[] = {
	{ HELPER_WRAP, &helper_key_schema, 0, 0, STARTING, IPC_KEEP, "wrap" },
	{ HELPER_UNWRAP, &helper_wrapped_schema, 0, 0, STARTING, IPC_KEEP, "unwrap" },
	CHECK_ROW,
	{ 0 },
};

static const IpcRule sealed_requests[] = {
	{ HELPER_UNSEAL, NULL, 0, 0, STARTING, HELPER_SPENT, "unseal" },
	{ 0 },
};

const IpcRule *const helper_request_rules[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = provider_requests,	    [HELPER_KIND_PKCS11] = provider_requests,
	[HELPER_KIND_PKCS11_ROOT] = root_requests,  [HELPER_KIND_TPM2] = sealed_requests,
	[HELPER_KIND_BARBICAN] = provider_requests,
};

#define FAILED_ROW                                                                                 \
	{                                                                                          \
		ROLE_FAILED, &role_failure_schema, 0, 0, STARTING, IPC_KEEP, "failed"              \
	}
#define OK_ROW                                                                                     \
	{                                                                                          \
		HELPER_OK, &helper_ok_schema, 0, 0, STARTING, IPC_KEEP, "ok"                       \
	}

static const IpcRule provider_answers[] = {
	{ HELPER_STORED, &helper_reference_schema, 0, 0, STARTING, IPC_KEEP, "stored" },
	{ HELPER_NOT_STORED, &helper_not_stored_schema, 0, 0, STARTING, IPC_KEEP, "not-stored" },
	{ HELPER_VALUE, &helper_value_schema, 0, 0, STARTING, IPC_KEEP, "value" },
	{ HELPER_DESTROYED, NULL, 0, 0, STARTING, IPC_KEEP, "destroyed" },
	OK_ROW,
	FAILED_ROW,
	{ 0 },
};

static const IpcRule root_answers[] = {
	{ HELPER_WRAPPED, &helper_wrapped_schema, 0, 0, STARTING, IPC_KEEP, "wrapped" },
	{ HELPER_KEY, &helper_key_schema, 0, 0, STARTING, IPC_KEEP, "key" },
	OK_ROW,
	FAILED_ROW,
	{ 0 },
};

static const IpcRule sealed_answers[] = {
	{ HELPER_KEY, &helper_key_schema, 0, 0, STARTING, HELPER_SPENT, "key" },
	FAILED_ROW,
	{ 0 },
};

const IpcRule *const keyd_helper_rules[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = provider_answers,	   [HELPER_KIND_PKCS11] = provider_answers,
	[HELPER_KIND_PKCS11_ROOT] = root_answers,  [HELPER_KIND_TPM2] = sealed_answers,
	[HELPER_KIND_BARBICAN] = provider_answers,
};
