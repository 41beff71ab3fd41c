/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A KMIP server as a back-end of keys (provider.h): KMIP 1.2 to 1.4 in TTLV over TLS (OASIS KMIP
 * Specification and Profiles 1.2). One connection is kept and dialled anew when it broke; there is
 * one request at a time on it.
 *
 * The server proves itself by a certificate of the given CA that bears the given name (RFC 6125:
 * subjectAltName only, no partial wildcards). TLS 1.3, or 1.2 with ECDHE and AES-GCM; no
 * resumption, no renegotiation. With `weak_ciphers` also ECDHE with AES-CBC, for servers that have
 * nothing else: kmip_provider_describe tells when that came to be.
 *
 * Put is Register and Activate: an active object can nowhere be destroyed by a slip. Destroy is
 * Revoke, Destroy, and a question for its state. It believes the server: "Item Not Found" counts as
 * gone, and a server that keeps a copy is not found out; that is why values are wrapped.
 *
 * A call that found the kept connection broken is made once more on a new one, but never Register
 * and Revoke, whose first half may have been heard: then the call fails and says so.
 *
 * The process ignores SIGPIPE. Nothing is read from files but what the libraries try by themselves
 * (OpenSSL's configuration, /etc/localtime) and do without.
 */
#ifndef SEALIFT_KEYS_KMIP_H
#define SEALIFT_KEYS_KMIP_H

#include "keys/provider.h"

enum {
	KMIP_PORT = 5696, /* registered with IANA */
	LIMIT_KMIP_SERVER_NAME = 254,
	KMIP_DESCRIPTION_SIZE = 256,
	KMIP_ANCHORS_MAX = 16,
	KMIP_DEADLINE_MAX_MS = 600000,
	KMIP_LINK_MS = 600000, /* so that certificates are looked at again */
};

/* All is copied, nothing is kept. */
typedef struct KmipConfig {
	const char *address; /* numeric: a resolver's answer is bytes from the network */
	uint16_t port;
	const char *server_name; /* a DNS name or a numeric IP address */
	const void *ca_pem;	 /* roots, 1..LIMIT_PEM bytes */
	size_t ca_size;
	/* By lists of every CA of the chain; without one, or with a stale one, nobody passes. A
	 * flag of its own, so that an empty file is an error and not a choice. */
	bool check_revocation;
	const void *crl_pem; /* 1..LIMIT_CRL bytes */
	size_t crl_size;
	const void *certificate_pem; /* ours, its chain behind it */
	size_t certificate_size;
	const void *key_pem; /* ours, not encrypted; the caller wipes it */
	size_t key_size;
	const char *username;	/* NULL: none */
	const Secret *password; /* NULL: none; UTF-8 */
	bool weak_ciphers;
	uint64_t deadline_ms; /* for each call; 0: PROVIDER_DEADLINE_MS */
	uint64_t link_ms;     /* age at which a connection is dialled anew; 0: KMIP_LINK_MS */
} KmipConfig;

/* Does not dial yet. ERROR_CONFIG with the reason. Categories of the calls are those of provider.h;
 * further ERROR_DENIED (the server says that we may not: also what belongs to somebody else, with
 * some) and ERROR_CONFLICT (the object's state forbids it, or the label is taken). */
MUST_CHECK KeyProvider *kmip_provider_new(const KmipConfig *config, Error *err);

/* How it speaks with the server now: "KMIP 1.4, TLSv1.3 TLS_AES_256_GCM_SHA384", with ", weakened:
 * no authenticated encryption" behind it if so; "not connected" before the first call. */
void kmip_provider_describe(const KeyProvider *provider, char ret_text[KMIP_DESCRIPTION_SIZE]);

#endif
