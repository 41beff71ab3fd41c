/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a domain's certificates, in memory: a root, certificates for hosts, the authority and the
 * key manager, revocation lists (RFC 5280). All keys are EC P-384, all signatures
 * ecdsa-with-SHA384. The directory that `sealift pki` keeps is in crypto/pki_directory.h.
 */
#ifndef SEALIFT_CRYPTO_PKI_H
#define SEALIFT_CRYPTO_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buffer.h"
#include "crypto/spiffe.h"

enum {
	PKI_SERIAL_SIZE = 16, /* bytes; the first is 0x01..0x7f */
	PKI_BACKDATE_S = 300, /* new things are valid from so long ago: clocks differ */
	PKI_DAY_S = 86400,
	PKI_ROOT_DAYS = 3650, /* default lifetimes */
	PKI_LEAF_DAYS = 90,
	PKI_CRL_DAYS = 7,
};

typedef enum PkiUse {
	PKI_USE_TLS,   /* serverAuth and clientAuth */
	PKI_USE_SIGN,  /* statements; no extended key usage, so no TLS */
	PKI_USE_AGREE, /* key agreement, and nothing else */
	PKI_USE_COUNT,
} PkiUse;

/* A certificate with its private key. */
typedef struct PkiPair {
	X509 *certificate;
	EVP_PKEY *key;
} PkiPair;

/* Releases both members, wiping the key; fine on a zeroed pair. */
void pki_pair_clear(PkiPair *pair);
#define AUTO_PKI_PAIR CLEANUP(pki_pair_clear)

typedef struct PkiRevoked {
	uint8_t serial[PKI_SERIAL_SIZE];
	int64_t revoked_s;
} PkiRevoked;

/* A self-signed root, pathlen 0, name constraint (critical) to URIs of the domain. Its subject is
 * unique, so that roots can overlap. ERROR_USAGE for a bad domain. */
MUST_CHECK bool pki_make_root(const char *domain, int64_t not_before_s, int64_t not_after_s,
			      PkiPair *ret_root, Error *err);

/* A certificate for `id`, issued by `root`; not_after_s is cut to the root's. Random serial. */
MUST_CHECK bool pki_issue(const PkiPair *root, const SpiffeId *id, PkiUse use, int64_t not_before_s,
			  int64_t not_after_s, PkiPair *ret_pair, Error *err);

/* A full CRL of `root`, number 1.., owned by the caller. */
MUST_CHECK X509_CRL *pki_make_crl(const PkiPair *root, uint64_t number, int64_t this_update_s,
				  int64_t next_update_s, const PkiRevoked *revoked,
				  size_t n_revoked, Error *err);

/* The serial as PKI_SERIAL_SIZE bytes. ERROR_CONFIG if it is of another size: not made by us. */
MUST_CHECK bool pki_serial(const X509 *certificate, uint8_t ret_serial[PKI_SERIAL_SIZE],
			   Error *err);

/* Append PEM to a buffer. The buffer with a key is a secret: buffer_clear wipes it. */
MUST_CHECK bool pki_put_certificate(const X509 *certificate, Buffer *buffer, Error *err);
MUST_CHECK bool pki_put_key(const EVP_PKEY *key, Buffer *buffer, Error *err);
MUST_CHECK bool pki_put_crl(const X509_CRL *crl, Buffer *buffer, Error *err);

/* The first certificate and the key out of PEM bytes; ERROR_CONFIG if there is none. */
MUST_CHECK X509 *pki_get_certificate(const void *pem, size_t size, Error *err);
MUST_CHECK EVP_PKEY *pki_get_key(const void *pem, size_t size, Error *err);

#endif
