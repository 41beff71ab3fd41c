/* SPDX-License-Identifier: Apache-2.0 */
#include "role/messages.h"

#include <assert.h>
#include <stdio.h>

static const char *const side_words[] = { "source", "destination" };
const char *const mover_guard_words[MOVER_GUARD_COUNT] = { "off", "enforce", "warn" };

static const Field anchor_fields[] = {
	SCHEMA_TEXT(RoleAnchor, domain, TEXT_DOMAIN, 1),
	SCHEMA_BYTES(RoleAnchor, root, 1),
};
SCHEMA_DEFINE(role_anchor_schema, "anchor", RoleAnchor, anchor_fields);

static const Field crl_fields[] = {
	SCHEMA_TEXT(RoleCrl, domain, TEXT_DOMAIN, 1),
	SCHEMA_BYTES(RoleCrl, crl, 1),
};
SCHEMA_DEFINE(role_crl_schema, "crl", RoleCrl, crl_fields);

static const Field forget_fields[] = { SCHEMA_TEXT(RoleForget, domain, TEXT_DOMAIN, 1) };
SCHEMA_DEFINE(role_forget_schema, "forget", RoleForget, forget_fields);

static const Field failure_fields[] = {
	SCHEMA_U64(RoleFailure, category, 1, ERROR_CATEGORY_COUNT - 1),
	SCHEMA_TEXT(RoleFailure, text, TEXT_PRINTABLE, 0),
};
SCHEMA_DEFINE(role_failure_schema, "failure", RoleFailure, failure_fields);

/* The word tables live in another file: their sizes are the enum's. */
#define WORDS(o, m, table, n) \
	{ .name = #m, .kind = FIELD_ENUM, .offset = offsetof(o, m), .words = (table), .n_words = (n) }
static const Field peer_fields[] = {
	WORDS(RolePeer, kind, peer_words, PEER_KIND_COUNT),
	SCHEMA_VARIANT(RolePeer, message, kind, peer_schemas),
};
SCHEMA_DEFINE(role_peer_schema, "peer", RolePeer, peer_fields);

static const Schema *const statement_variants[STATEMENT_KIND_COUNT] = {
	[STATEMENT_OFFER] = &statement_offer_schema,
	[STATEMENT_ACCEPT] = &statement_accept_schema,
	[STATEMENT_READY] = &statement_ready_schema,
	[STATEMENT_COMMIT] = &statement_commit_schema,
	[STATEMENT_DECLINED] = &statement_declined_schema,
	[STATEMENT_ACTIVATED] = &statement_activated_schema,
	[STATEMENT_DESTROYED] = &statement_destroyed_schema,
};
static const Field statement_fields[] = {
	WORDS(RoleStatement, kind, statement_words, STATEMENT_KIND_COUNT),
	SCHEMA_VARIANT(RoleStatement, statement, kind, statement_variants),
};
SCHEMA_DEFINE(role_statement_schema, "statement", RoleStatement, statement_fields);

static const Field dial_fields[] = {
	SCHEMA_TEXT(GateDial, address, TEXT_PRINTABLE, 1),
	SCHEMA_U64(GateDial, port, 1, 65535),
	SCHEMA_TEXT(GateDial, peer_id, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(gate_dial_schema, "dial", GateDial, dial_fields);

static const Field address_fields[] = {
	SCHEMA_TEXT(GateAddress, address, TEXT_PRINTABLE, 1),
	SCHEMA_U64(GateAddress, port, 1, 65535),
};
SCHEMA_DEFINE(gate_address_schema, "address", GateAddress, address_fields);

static const Field context_fields[] = { SCHEMA_HEX(GateContext, migration) };
SCHEMA_DEFINE(gate_context_schema, "context", GateContext, context_fields);

static const Field identity_fields[] = {
	SCHEMA_TEXT(GateIdentity, peer_id, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(GateIdentity, address, TEXT_PRINTABLE, 0),
	SCHEMA_U64(GateIdentity, not_after_s, 0, INT64_MAX),
	SCHEMA_U64(GateIdentity, rtt_us, 0, INT64_MAX),
};
SCHEMA_DEFINE(gate_identity_schema, "identity", GateIdentity, identity_fields);

static const Field secret_fields[] = { SCHEMA_HEX(GateSecret, secret) };
SCHEMA_DEFINE(gate_secret_schema, "secret", GateSecret, secret_fields);

static const Field preamble_fields[] = {
	SCHEMA_HEX(RolePreamble, routing),
	SCHEMA_U64(RolePreamble, channel, 0, LIMIT_CHANNELS - 1),
	SCHEMA_U64(RolePreamble, generation, 0, UINT32_MAX),
	SCHEMA_HEX(RolePreamble, source_nonce),
};
SCHEMA_DEFINE(role_preamble_schema, "preamble", RolePreamble, preamble_fields);

static const Field verify_fields[] = {
	WORDS(NotaryVerify, kind, statement_words, STATEMENT_KIND_COUNT),
	SCHEMA_TEXT(NotaryVerify, signer, TEXT_PRINTABLE, 1),
	SCHEMA_BYTES(NotaryVerify, cms, 1),
};
SCHEMA_DEFINE(notary_verify_schema, "verify", NotaryVerify, verify_fields);

static const Field signed_fields[] = {
	SCHEMA_BYTES(NotarySigned, cms, 1),
	SCHEMA_HEX(NotarySigned, digest),
};
SCHEMA_DEFINE(notary_signed_schema, "signed", NotarySigned, signed_fields);

static const Field verified_fields[] = {
	WORDS(NotaryVerified, kind, statement_words, STATEMENT_KIND_COUNT),
	SCHEMA_HEX(NotaryVerified, digest),
	SCHEMA_VARIANT(NotaryVerified, statement, kind, statement_variants),
};
SCHEMA_DEFINE(notary_verified_schema, "verified", NotaryVerified, verified_fields);

static const Field notary_crl_fields[] = {
	SCHEMA_BOOL(NotaryCrl, newer),
	SCHEMA_U64(NotaryCrl, number, 0, INT64_MAX),
	SCHEMA_U64(NotaryCrl, next_update_s, 0, INT64_MAX),
};
SCHEMA_DEFINE(notary_crl_schema, "crl-state", NotaryCrl, notary_crl_fields);

static const Field mover_disk_fields[] = {
	SCHEMA_TEXT(MoverDisk, export_name, TEXT_NAME, 1),
	SCHEMA_U64(MoverDisk, size_bytes, 1, INT64_MAX),
};
static SCHEMA_DEFINE(mover_disk_schema, "disk", MoverDisk, mover_disk_fields);

static const Field setup_fields[] = {
	SCHEMA_ENUM(MoverSetup, side, side_words),
	SCHEMA_ENUM(MoverSetup, guard, mover_guard_words),
	SCHEMA_TEXT(MoverSetup, machine, TEXT_NAME, 0),
	SCHEMA_TEXT(MoverSetup, uuid, TEXT_PRINTABLE, 0),
	SCHEMA_BOOL(MoverSetup, sealed),
	SCHEMA_U64(MoverSetup, channels, 1, LIMIT_STREAM_CHANNELS),
	SCHEMA_LIST(MoverSetup, disks, &mover_disk_schema, 0),
	SCHEMA_U64(MoverSetup, bandwidth_bytes_s, 0, INT64_MAX),
	SCHEMA_TEXT(MoverSetup, aead, TEXT_NAME, 1),
	SCHEMA_HEX(MoverSetup, secret),
	SCHEMA_HEX(MoverSetup, routing),
};
SCHEMA_DEFINE(mover_setup_schema, "setup", MoverSetup, setup_fields);

static const Field bandwidth_fields[] = {
	SCHEMA_U64(MoverBandwidth, bandwidth_bytes_s, 0, INT64_MAX)
};
SCHEMA_DEFINE(mover_bandwidth_schema, "bandwidth", MoverBandwidth, bandwidth_fields);

static const Field ended_fields[] = {
	SCHEMA_BOOL(MoverEnded, outbound),
	SCHEMA_U64(MoverEnded, bytes, 0, INT64_MAX),
};
SCHEMA_DEFINE(mover_ended_schema, "ended", MoverEnded, ended_fields);

#define STAT(m) SCHEMA_U64(MoverStats, m, 0, INT64_MAX)
static const Field stats_fields[] = {
	STAT(stream_out_bytes), STAT(stream_in_bytes), STAT(wire_out_bytes), STAT(wire_in_bytes),
	STAT(records_out),	STAT(records_in),      STAT(cpu_us),	     STAT(first_byte_us),
	STAT(last_byte_us),	STAT(peak_memory_bytes), STAT(guard_device_bytes),
	STAT(guard_us),		STAT(guard_warnings),  STAT(disk_bytes[0]),  STAT(disk_bytes[1]),
	STAT(disk_bytes[2]),	STAT(disk_bytes[3]),   STAT(disk_bytes[4]),  STAT(disk_bytes[5]),
	STAT(disk_bytes[6]),	STAT(disk_bytes[7]),
};
static_assert(LIMIT_DISKS == 8, "each disk has its row");
SCHEMA_DEFINE(mover_stats_schema, "stats", MoverStats, stats_fields);

#define STARTING IPC_IN(ROLE_STARTING)
#define SERVING IPC_IN(ROLE_SERVING)

/* type, schema, least and most descriptors, states, next state, name */
const IpcRule gate_rules[] = {
	{ ROLE_ANCHOR, &role_anchor_schema, 0, 0, IPC_ANY, IPC_KEEP, "anchor" },
	{ ROLE_CRL, &role_crl_schema, 0, 0, IPC_ANY, IPC_KEEP, "crl" },
	{ ROLE_FORGET, &role_forget_schema, 0, 0, IPC_ANY, IPC_KEEP, "forget" },
	{ ROLE_START, NULL, 0, 0, STARTING, ROLE_SERVING, "start" },
	{ GATE_DIAL, &gate_dial_schema, 0, 0, SERVING, IPC_KEEP, "dial" },
	{ GATE_DIAL_CHANNEL, &gate_address_schema, 0, 0, SERVING, IPC_KEEP, "dial-channel" },
	{ GATE_SEND, &role_peer_schema, 0, 0, SERVING, IPC_KEEP, "send" },
	{ GATE_EXPORT, &gate_context_schema, 0, 0, SERVING, IPC_KEEP, "export" },
	{ GATE_CLOSE, NULL, 0, 0, SERVING, IPC_KEEP, "close" },
	{ GATE_JUDGE, &role_forget_schema, 0, 0, IPC_ANY, IPC_KEEP, "judge" },
	{ 0 },
};

const IpcRule engine_gate_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	{ GATE_CONNECTED, &gate_identity_schema, 0, 0, SERVING, IPC_KEEP, "connected" },
	{ GATE_RECEIVED, &role_peer_schema, 0, 0, SERVING, IPC_KEEP, "received" },
	{ GATE_EXPORTED, &gate_secret_schema, 0, 0, SERVING, IPC_KEEP, "exported" },
	{ GATE_CLOSED, &role_failure_schema, 0, 0, SERVING, IPC_KEEP, "closed" },
	{ GATE_CHANNEL_DIALED, NULL, 1, 1, SERVING, IPC_KEEP, "channel-dialed" },
	{ GATE_CHANNEL, &role_preamble_schema, 1, 1, SERVING, IPC_KEEP, "channel" },
	{ 0 },
};

const IpcRule notary_verify_rules[] = {
	{ ROLE_ANCHOR, &role_anchor_schema, 0, 0, IPC_ANY, IPC_KEEP, "anchor" },
	{ ROLE_CRL, &role_crl_schema, 0, 0, IPC_ANY, IPC_KEEP, "crl" },
	{ ROLE_FORGET, &role_forget_schema, 0, 0, IPC_ANY, IPC_KEEP, "forget" },
	{ ROLE_START, NULL, 0, 0, STARTING, ROLE_SERVING, "start" },
	{ NOTARY_VERIFY, &notary_verify_schema, 0, 0, SERVING, IPC_KEEP, "verify" },
	{ NOTARY_CHECK_CRL, &role_crl_schema, 0, 0, SERVING, IPC_KEEP, "check-crl" },
	{ 0 },
};

const IpcRule notary_sign_rules[] = {
	{ ROLE_START, NULL, 0, 0, STARTING, ROLE_SERVING, "start" },
	{ NOTARY_SIGN, &role_statement_schema, 0, 0, SERVING, IPC_KEEP, "sign" },
	{ 0 },
};

/* One table for both notary roles: the engine knows from the request what it waits for. */
const IpcRule engine_notary_rules[] = {
	{ NOTARY_IDENTITY, &gate_identity_schema, 0, 0, STARTING, IPC_KEEP, "identity" },
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	{ NOTARY_SIGNED, &notary_signed_schema, 0, 0, SERVING, IPC_KEEP, "signed" },
	{ NOTARY_VERIFIED, &notary_verified_schema, 0, 0, SERVING, IPC_KEEP, "verified" },
	{ NOTARY_CRL, &notary_crl_schema, 0, 0, SERVING, IPC_KEEP, "crl-state" },
	{ 0 },
};

const IpcRule mover_rules[] = {
	{ MOVER_SETUP, &mover_setup_schema, 0, 2, STARTING, ROLE_SERVING, "setup" },
	{ MOVER_NETWORK, &role_preamble_schema, 1, 1, SERVING, IPC_KEEP, "network" },
	{ MOVER_LOCAL, NULL, 1, 1, SERVING, IPC_KEEP, "local" },
	{ MOVER_BANDWIDTH, &mover_bandwidth_schema, 0, 0, SERVING, IPC_KEEP, "bandwidth" },
	{ MOVER_QUERY, NULL, 0, 0, SERVING, IPC_KEEP, "query" },
	{ MOVER_ABORT, NULL, 0, 0, SERVING, IPC_KEEP, "abort" },
	{ 0 },
};

const IpcRule engine_mover_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	{ MOVER_PROVEN, NULL, 0, 0, SERVING, IPC_KEEP, "proven" },
	{ MOVER_ENDED, &mover_ended_schema, 0, 0, SERVING, IPC_KEEP, "ended" },
	{ MOVER_STATS, &mover_stats_schema, 0, 0, SERVING, IPC_KEEP, "stats" },
	{ MOVER_DONE, &mover_stats_schema, 0, 0, SERVING, IPC_KEEP, "done" },
	{ 0 },
};

bool role_send_failure(IpcLink *link, uint64_t subject, const Error *failure, Error *err)
{
	RoleFailure payload = { .category = (uint64_t)failure->category };

	snprintf(payload.text, sizeof(payload.text), "%s", failure->text);
	return ipc_send(link, ROLE_FAILED, subject, &role_failure_schema, &payload, NULL, 0, err);
}
