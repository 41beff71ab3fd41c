/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust anchors: for each domain its own roots and revocation lists, and the one place where a
 * certificate is judged. A certificate speaks for a domain only if it chains to a root of that
 * domain; what other domains' roots say about it never counts (RFC 5280, and stricter).
 */
#ifndef SEALIFT_CRYPTO_ANCHOR_H
#define SEALIFT_CRYPTO_ANCHOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/spiffe.h"

/* Not for several threads at once. */
typedef struct AnchorStore AnchorStore;

/*
 * What a certificate is to be used for. The sets are disjoint: a TLS certificate needs the extended
 * key usage of its side, a signing certificate must have neither a TLS usage nor
 * anyExtendedKeyUsage, so that a stolen TLS key signs no statement. One for key agreement has the
 * key usage keyAgreement and no other, no extended key usage at all, and an EC P-384 key.
 */
typedef enum AnchorPurpose {
	ANCHOR_TLS_SERVER, /* the peer is the server */
	ANCHOR_TLS_CLIENT, /* the peer is the client */
	ANCHOR_SIGN,
	ANCHOR_AGREE, /* content is sealed for it: crypto/cms_envelope.h */
	ANCHOR_PURPOSE_COUNT,
} AnchorPurpose;

typedef struct AnchorCrl {
	uint64_t number;       /* the lowest CRL number in the file */
	int64_t this_update_s; /* the earliest, seconds since 1970 */
	int64_t next_update_s; /* the earliest */
	bool newer;	       /* brings at least one CRL that is newer than the one in the store */
} AnchorCrl;

MUST_CHECK AnchorStore *anchor_store_new(Error *err);
void anchor_store_free(AnchorStore *store);
DEFINE_CLEANUP(AnchorStore, anchor_store, anchor_store_free)
#define AUTO_ANCHOR_STORE CLEANUP(anchor_store_cleanup)

/*
 * Adds PEM certificates (1..LIMIT_PEM bytes, copied) to a domain: self-signed CA certificates
 * become its roots, several may overlap while roots are rotated; other CA certificates must chain
 * to one of its roots and serve as known intermediates. What is there already is passed over. At
 * most LIMIT_ANCHORS in all. ERROR_AUTH for what is not a CA certificate or its signature is wrong,
 * ERROR_CONFIG for no or broken PEM or a bad domain, ERROR_LIMIT. All or nothing.
 */
MUST_CHECK bool anchor_store_add_root(AnchorStore *store, const char *domain, const void *pem,
				      size_t size, Error *err);

/* Forgets a domain with its roots and CRLs; true if it was there. */
bool anchor_store_remove(AnchorStore *store, const char *domain);

/* Whether the domain has a root. */
bool anchor_store_has(const AnchorStore *store, const char *domain);

/*
 * Judges a file of one DER or one or more PEM CRLs (1..LIMIT_CRL bytes) at the time now_s: each
 * must be issued and signed by a CA of the domain, have a number that is not lower than the one
 * that the store holds from that CA, and be neither stale (nextUpdate passed) nor from the future.
 * ERROR_AUTH with the reason, ERROR_NOT_FOUND if the domain has no root here.
 */
MUST_CHECK bool anchor_store_check_crl(const AnchorStore *store, const char *domain,
				       const void *der_or_pem, size_t size, int64_t now_s,
				       AnchorCrl *ret_crl, Error *err);

/* The same, and takes each into the store in the place of that CA's former one. All or nothing. */
MUST_CHECK bool anchor_store_set_crl(AnchorStore *store, const char *domain, const void *der_or_pem,
				     size_t size, int64_t now_s, Error *err);

/* When the first of the domain's CRLs goes stale, seconds since 1970; 0 if it has none. */
int64_t anchor_store_crl_next_update(const AnchorStore *store, const char *domain);

/*
 * Judges a certificate at the time now_s. It must have exactly one subject alternative name, a URI
 * that spiffe_parse accepts, and for the domain of that name: chain to one of the domain's roots
 * (with `untrusted`, which may be NULL, as candidates for intermediates), be valid, not revoked by
 * a fresh CRL of each CA in the chain (no or stale CRL refuses), of strict form (X509_STRICT), with
 * keys of at least 128 bits of strength (EC P-256, P-384, RSA from 3072 bits), key usage
 * digitalSignature (but for ANCHOR_AGREE), and fit the purpose. ERROR_AUTH with one clear reason.
 * The caller compares *ret_id with the name that it expects.
 *
 * For TLS: from the callback of SSL_CTX_set_cert_verify_callback(3), with
 * X509_STORE_CTX_get0_cert(ctx) and X509_STORE_CTX_get0_untrusted(ctx).
 */
MUST_CHECK bool anchor_verify_certificate(const AnchorStore *store, X509 *leaf,
					  STACK_OF(X509) * untrusted, int64_t now_s,
					  AnchorPurpose purpose, SpiffeId *ret_id, Error *err);

/* The one name in a certificate, without judging anything else: for our own certificates. */
MUST_CHECK bool anchor_certificate_id(const X509 *certificate, SpiffeId *ret_id, Error *err);

/* Seconds since 1970 of an ASN.1 time; -1 if it is not one. */
int64_t anchor_time_s(const ASN1_TIME *time);

#endif
