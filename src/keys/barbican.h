/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenStack's Barbican as a back-end of keys (provider.h): Key Manager API v1 over HTTPS, with
 * tokens that Keystone (Identity API v3) gives for an application credential. The credential's
 * project is where the values live; in it the credential needs the role "member" (or "creator",
 * where Barbican has its old policy).
 *
 * Both services prove themselves by a certificate of the given CA that bears the host's name
 * (network_tls.h). A token is kept as a Secret, renewed before it ends, and once when Barbican says
 * that it is none. Lists of revoked certificates are not looked at: give a CA that is these
 * services' own.
 *
 * Put appends a random word to the label, so that the name is unique. If it stays unknown what
 * became of the request, Barbican is asked for that name before the call fails, a quarter of the
 * deadline being kept for it.
 *
 * Destroy is a soft deletion: Barbican hides the value, and keeps its ciphertext and the project's
 * key for it until an operator runs `barbican-manage db clean`. And it believes Barbican, asking
 * once more for the secret. So a value that is not to outlive its deletion must be wrapped before
 * it comes here, by a key that we destroy ourselves; our key manager does that (key_wrap.h), so
 * that what Barbican, its database or its backups keep opens nothing.
 *
 * Memory: our own buffers are wiped, and so is what libcurl, Jansson and OpenSSL gave back
 * (wiping_memory.h). What cannot be wiped while it is in use: libcurl's buffers during a request,
 * and the kernel's of the sockets. So the process that runs this is not dumpable, and does nothing
 * else.
 *
 * The process ignores SIGPIPE and has called wiping_memory_install. After that no file is opened,
 * and of system calls these are made, beside those for memory and random bytes: socketpair and
 * fcntl by barbican_provider_new; socket, setsockopt, connect, getsockopt, getsockname,
 * getpeername, fcntl, poll, sendto, recvfrom, read, write, close, futex, getpid by the calls.
 */
#ifndef SEALIFT_KEYS_BARBICAN_H
#define SEALIFT_KEYS_BARBICAN_H

#include "keys/barbican_json.h"
#include "keys/provider.h"

enum {
	BARBICAN_HOSTS_MAX = 8,
	LIMIT_BARBICAN_HOST = 254,
	LIMIT_BARBICAN_CREDENTIAL = 65, /* Keystone's ids are up to 64 characters */
	BARBICAN_LABEL_MAX = LIMIT_BARBICAN_NAME - 1 - 17, /* bytes: the random word comes behind */
	BARBICAN_DESCRIPTION_SIZE = 640,
	BARBICAN_DEADLINE_MAX_MS = 600000,
};

/* A host that may be dialled, and where it is: a resolver's answer is bytes from the network. */
typedef struct BarbicanHost {
	char name[LIMIT_BARBICAN_HOST];
	char address[LIMIT_ADDRESS]; /* numeric */
} BarbicanHost;

/* All is copied, nothing is kept. */
typedef struct BarbicanConfig {
	const char *keystone_url; /* "https://keystone.example:5000/v3" */
	/* NULL: the one in the catalogue that comes with the token, if its host is in `hosts`. */
	const char *barbican_url;
	const char *interface; /* in the catalogue; NULL: "public" */
	const char *region;    /* in the catalogue; NULL: any, if there is only one */
	const BarbicanHost *hosts;
	size_t hosts_count;
	const char *credential_id;
	const Secret *credential_secret;
	const void *ca_pem; /* roots of both, 1..LIMIT_PEM bytes; NULL only with permit_http */
	size_t ca_size;
	/* By lists of every CA of the chain; without one, or with a stale one, nobody passes. A
	 * flag of its own, so that an empty file is an error and not a choice. */
	bool check_revocation;
	const void *crl_pem; /* 1..LIMIT_CRL bytes */
	size_t crl_size;
	bool permit_http; /* to a loopback address, without TLS: for a proxy on this host, and tests
			   */
	uint64_t deadline_ms; /* for each call; 0: PROVIDER_DEADLINE_MS */
} BarbicanConfig;

/* Does not dial yet. ERROR_CONFIG with the reason. Categories of the calls are those of provider.h;
 * further ERROR_DENIED (the role or the project forbids it), ERROR_LIMIT (Barbican is full, or the
 * project's quota is), ERROR_CONFIG (the catalogue's answer does not fit the configuration). */
MUST_CHECK KeyProvider *barbican_provider_new(const BarbicanConfig *config, Error *err);

/* Whom it speaks with: "Keystone URL, Barbican URL", with ", weakened: plain HTTP" behind each that
 * is not encrypted; a Barbican that only the catalogue knows is "not known yet" before the first
 * token. */
void barbican_provider_describe(const KeyProvider *provider,
				char ret_text[BARBICAN_DESCRIPTION_SIZE]);

#endif
