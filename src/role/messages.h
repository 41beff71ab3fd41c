/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between the engine and its children, and the rule tables that say who may send what
 * in which state. Each child includes this file for its own table; the engine for the others.
 */
#ifndef SEALIFT_ROLE_MESSAGES_H
#define SEALIFT_ROLE_MESSAGES_H

#include "ipc/link.h"
#include "wire/peer.h"
#include "wire/statement.h"

/* The descriptor on which each child finds its link after exec; others it is given follow. */
enum { ROLE_LINK_FD = 3, ROLE_EXTRA_FD = 4 };

enum {
	ROLE_SECRET_BYTES = 48, /* the migration's pseudo-random key, SHA-384 size */
	ROLE_EXPORT_BYTES = 48, /* TLS exporter output */
	NONCE_BYTES = 32,
};

typedef enum RoleMessage {
	/* engine to gate and to notary (verify): before ROLE_START */
	ROLE_ANCHOR = 1, /* RoleAnchor: one root of a domain; also later, for a new one */
	ROLE_CRL,	 /* RoleCrl: replaces the domain's CRL */
	ROLE_FORGET,	 /* RoleForget: drops a domain: its roots and CRL */
	ROLE_START,	 /* no payload: close the gates behind you and serve */
	/* every child to engine */
	ROLE_READY,  /* no payload: sandboxed and serving */
	ROLE_FAILED, /* RoleFailure; subject as in the request, 0 for the child as a whole */

	/* engine to gate; subject = connection number, chosen by the engine for those it dials
	 * (below GATE_INBOUND_BASE) and by the gate for those that came in (from it on) */
	GATE_DIAL = 32,	  /* GateDial: open a control connection */
	GATE_DIAL_CHANNEL, /* GateAddress: open a TCP connection for a channel; subject = request */
	GATE_SEND,	   /* PeerMessage, as RolePeer */
	GATE_EXPORT,	   /* GateContext: asks for GATE_EXPORTED */
	GATE_CLOSE,	   /* no payload */
	GATE_JUDGE,	   /* RoleForget: end the domain's connections that its anchors do not vouch for */
	/* gate to engine */
	GATE_CONNECTED,	     /* GateIdentity: handshake done and peer verified; hello comes next */
	GATE_RECEIVED,	     /* RolePeer */
	GATE_EXPORTED,	     /* GateSecret */
	GATE_CLOSED,	     /* RoleFailure */
	GATE_CHANNEL_DIALED, /* no payload, one descriptor; subject = request */
	GATE_CHANNEL,	     /* RolePreamble, one descriptor: a data channel came in */

	/* engine to notary; subject = request */
	NOTARY_SIGN = 64, /* RoleStatement */
	NOTARY_VERIFY,	  /* NotaryVerify */
	NOTARY_CHECK_CRL, /* RoleCrl: is it a newer valid one? answered by NOTARY_CRL */
	/* notary to engine */
	NOTARY_SIGNED,	 /* NotarySigned */
	NOTARY_VERIFIED, /* NotaryVerified */
	NOTARY_CRL,	 /* NotaryCrl */
	NOTARY_IDENTITY, /* GateIdentity: signer's own name and expiry, sent once before ROLE_READY */

	/* engine to mover; subject = number of the channel (0 is main, n is multifd-(n-1), from
	 * LIMIT_STREAM_CHANNELS on disk-0, disk-1 and so on) */
	MOVER_SETUP = 96, /* MoverSetup, once; with a guard at the destination two descriptors: the
			   * twin's stream and the dump (vmm.h), memory that nobody can change */
	MOVER_NETWORK,	  /* RolePreamble, one descriptor: TCP side of a channel */
	MOVER_LOCAL,	  /* no payload, one descriptor: QEMU's side of a channel; of a disk's, the
			   * NBD connection: at the source its client, at the destination its server */
	MOVER_BANDWIDTH,  /* MoverBandwidth */
	MOVER_QUERY,	  /* no payload: asks for MOVER_STATS */
	MOVER_ABORT,	  /* no payload: shut everything down now, end records not sent */
	/* mover to engine */
	MOVER_PROVEN, /* no payload: the peer's first record on this channel has authenticated */
	MOVER_ENDED,  /* MoverEnded: one direction of this channel ended well */
	MOVER_STATS,  /* MoverStats */
	MOVER_DONE,   /* MoverStats: every channel ended well in both directions */
} RoleMessage;

#define GATE_INBOUND_BASE (UINT64_C(1) << 32)

typedef struct RoleAnchor {
	char domain[LIMIT_DOMAIN];
	uint8_t root[LIMIT_PEM]; /* PEM, one or more certificates */
	size_t root_size;
} RoleAnchor;

typedef struct RoleCrl {
	char domain[LIMIT_DOMAIN];
	uint8_t crl[LIMIT_CRL]; /* DER or PEM */
	size_t crl_size;
} RoleCrl;

typedef struct RoleForget {
	char domain[LIMIT_DOMAIN];
} RoleForget;

typedef struct RoleFailure {
	uint64_t category; /* ErrorCategory */
	char text[LIMIT_TEXT];
} RoleFailure;

/* A peer message with its kind, so that one schema carries all kinds (FIELD_VARIANT). */
typedef struct RolePeer {
	PeerKind kind;
	PeerMessage message;
} RolePeer;

typedef struct RoleStatement {
	StatementKind kind;
	Statement statement;
} RoleStatement;

typedef struct GateDial {
	char address[LIMIT_ADDRESS]; /* numeric */
	uint64_t port;
	char peer_id[LIMIT_SPIFFE_ID]; /* the only identity that will do */
} GateDial;

typedef struct GateAddress {
	char address[LIMIT_ADDRESS];
	uint64_t port;
} GateAddress;

typedef struct GateContext {
	uint8_t migration[MIGRATION_ID_BYTES]; /* context of the exporter */
} GateContext;

typedef struct GateIdentity {
	char peer_id[LIMIT_SPIFFE_ID];
	char address[LIMIT_ADDRESS]; /* of the peer, empty for NOTARY_IDENTITY */
	uint64_t not_after_s;	     /* the certificate's */
	uint64_t rtt_us;	     /* TCP's estimate after the handshake */
} GateIdentity;

typedef struct GateSecret {
	uint8_t secret[ROLE_EXPORT_BYTES];
} GateSecret;

/* A channel preamble (wire/preamble.h), decoded by the gate when it comes in; at the source the
 * engine fills it in and the mover draws the nonce and sends it. */
typedef struct RolePreamble {
	uint8_t routing[MIGRATION_ID_BYTES];
	uint64_t channel;
	uint64_t generation;
	uint8_t source_nonce[NONCE_BYTES]; /* zeros at the source */
} RolePreamble;

typedef struct NotaryVerify {
	StatementKind kind;	       /* expected */
	char signer[LIMIT_SPIFFE_ID];  /* expected, exact */
	uint8_t cms[LIMIT_STATEMENT];
	size_t cms_size;
} NotaryVerify;

typedef struct NotarySigned {
	uint8_t cms[LIMIT_STATEMENT];
	size_t cms_size;
	uint8_t digest[DIGEST_SHA384_BYTES]; /* of the JSON inside */
} NotarySigned;

typedef struct NotaryVerified {
	StatementKind kind;
	uint8_t digest[DIGEST_SHA384_BYTES];
	Statement statement;
} NotaryVerified;

typedef struct NotaryCrl {
	bool newer; /* than the one in use */
	uint64_t number;
	uint64_t next_update_s;
} NotaryCrl;

typedef enum MoverSide { MOVER_SOURCE, MOVER_DESTINATION, MOVER_SIDE_COUNT } MoverSide;

/* What the guard does with a stream that breaks a rule; see guard/guard.h. */
typedef enum MoverGuard {
	MOVER_GUARD_OFF, /* there is none: nothing is known to judge by */
	MOVER_GUARD_ENFORCE,
	MOVER_GUARD_WARN,
	MOVER_GUARD_COUNT,
} MoverGuard;
extern const char *const mover_guard_words[MOVER_GUARD_COUNT];

/* A disk that is copied. Its channel carries one NBD connection. */
typedef struct MoverDisk {
	char export_name[LIMIT_NAME]; /* the one that may be asked for */
	uint64_t size_bytes;	      /* of the export: what the server must say */
} MoverDisk;

typedef struct MoverSetup {
	MoverSide side;
	MoverGuard guard;
	char machine[LIMIT_NAME];	       /* exact machine type, for the guard; or "" */
	char uuid[LIMIT_UUID];		       /* the VM's, for the guard; or "" */
	bool sealed;			       /* false: GMAC, readable */
	uint64_t channels;		       /* 1..LIMIT_STREAM_CHANNELS */
	MoverDisk disks[LIMIT_DISKS];	       /* one for each disk channel, in their order */
	size_t disks_count;
	uint64_t bandwidth_bytes_s;	       /* 0: unlimited; source only */
	char aead[LIMIT_NAME];		       /* provider's name */
	uint8_t secret[ROLE_SECRET_BYTES];     /* PRK of the key schedule (wire/keys.h) */
	uint8_t routing[MIGRATION_ID_BYTES];
} MoverSetup;

typedef struct MoverBandwidth {
	uint64_t bandwidth_bytes_s;
} MoverBandwidth;

typedef struct MoverEnded {
	bool outbound; /* true: our end record was sent; false: the peer's has authenticated */
	uint64_t bytes; /* of the hypervisor's stream in this direction */
} MoverEnded;

typedef struct MoverStats {
	uint64_t stream_out_bytes, stream_in_bytes; /* hypervisor's bytes, but for disks' channels */
	uint64_t wire_out_bytes, wire_in_bytes;	    /* TCP payload, preambles included */
	uint64_t records_out, records_in;
	uint64_t cpu_us;	  /* of the whole process */
	uint64_t first_byte_us;	  /* CLOCK_MONOTONIC of the first stream byte (no disk's), 0 before it */
	uint64_t last_byte_us;
	uint64_t peak_memory_bytes;
	uint64_t guard_device_bytes; /* device state that the guard held and released */
	uint64_t guard_us;	     /* how long it took to judge it */
	uint64_t guard_warnings;     /* rules broken that it only warned of */
	uint64_t disk_bytes[LIMIT_DISKS]; /* of each disk's channel, towards the destination */
} MoverStats;

extern const Schema role_anchor_schema, role_crl_schema, role_forget_schema, role_failure_schema,
	role_peer_schema, role_statement_schema, gate_dial_schema, gate_address_schema,
	gate_context_schema, gate_identity_schema, gate_secret_schema, role_preamble_schema,
	notary_verify_schema, notary_signed_schema, notary_verified_schema, notary_crl_schema,
	mover_setup_schema, mover_bandwidth_schema, mover_ended_schema, mover_stats_schema;

/* What each side of each link may receive, ended by a row of type 0. States: a child starts in
 * ROLE_STARTING and enters ROLE_SERVING with ROLE_START or MOVER_SETUP (in its own view) and with
 * ROLE_READY (in the engine's view). */
enum { ROLE_STARTING = 0, ROLE_SERVING = 1 };
extern const IpcRule gate_rules[], notary_verify_rules[], notary_sign_rules[], mover_rules[];
extern const IpcRule engine_gate_rules[], engine_notary_rules[], engine_mover_rules[];

/* Sends ROLE_FAILED with the error. */
MUST_CHECK bool role_send_failure(IpcLink *link, uint64_t subject, const Error *failure, Error *err);

#endif
