/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain in memory for tests, and PEM of what it issues. Every function asserts success with
 * cmocka, so that a test can use it without checks.
 */
#ifndef SEALIFT_TESTS_FIXTURE_PKI_H
#define SEALIFT_TESTS_FIXTURE_PKI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "crypto/anchor.h"
#include "crypto/cms.h"
#include "crypto/cms_envelope.h"
#include "crypto/pki.h"

/* The instant at which fixtures are made valid unless told: 2026-01-01T00:00:00Z. */
#define FIXTURE_NOW_S INT64_C(1767225600)

typedef struct FixtureDomain {
	const char *name;
	PkiPair root;
	Buffer root_pem;
} FixtureDomain;

/* A root valid from now_s - 1 hour for 10 years. `name` must outlive it. */
void fixture_domain_open(FixtureDomain *domain, const char *name, int64_t now_s);
void fixture_domain_close(FixtureDomain *domain);
#define AUTO_FIXTURE_DOMAIN CLEANUP(fixture_domain_close)

/* A certificate and its key as PEM. */
typedef struct FixturePem {
	Buffer certificate;
	Buffer key;
} FixturePem;
void fixture_pem_clear(FixturePem *pem);
#define AUTO_FIXTURE_PEM CLEANUP(fixture_pem_clear)

/* For a role (name for hosts only), valid from now_s - 1 hour to now_s + 1 day. */
PkiPair fixture_issue(const FixtureDomain *domain, SpiffeRole role, const char *name, PkiUse use,
		      int64_t now_s);
FixturePem fixture_issue_pem(const FixtureDomain *domain, SpiffeRole role, const char *name,
			     PkiUse use, int64_t now_s);
/* The same bytes for a pair that was made otherwise. */
FixturePem fixture_pem_of(const PkiPair *pair);
/* What a certificate is made of when it is to be wrong somehow. Texts are in OpenSSL's notation for
 * extensions; NULL leaves one out. Zero times are those of fixture_issue. */
typedef struct FixtureOdd {
	const char *names;	    /* subjectAltName */
	const char *usage;	    /* keyUsage */
	const char *extended_usage; /* extendedKeyUsage */
	const char *basic;	    /* basicConstraints; NULL: critical,CA:FALSE */
	const char *curve;	    /* NULL: P-384; "RSA-2048", "RSA-3072" */
	int64_t not_before_s, not_after_s;
	bool weak_digest;    /* SHA-1 */
	const char *subject; /* organisation; NULL: "odd" */
} FixtureOdd;
PkiPair fixture_issue_odd(const PkiPair *issuer, const FixtureOdd *odd, int64_t now_s);
/* A loaded signer. */
CmsSigner *fixture_signer(const FixtureDomain *domain, SpiffeRole role, const char *name,
			  int64_t now_s);
/* A loaded key manager's key to seal for. */
EnvelopeKey *fixture_envelope_key(const FixtureDomain *domain, int64_t now_s);
/* A CRL as PEM, fresh until now_s + 1 day, that revokes `revoked` (may be NULL). */
Buffer fixture_crl(const FixtureDomain *domain, uint64_t number, int64_t now_s,
		   const X509 *revoked);
/* Adds the domain's root and an empty CRL number 1 to a store. */
void fixture_trust(AnchorStore *store, const FixtureDomain *domain, int64_t now_s);

/* A fresh temporary directory below $TMPDIR or /tmp; remove it with everything in it afterwards. */
char *fixture_directory_new(void);
void fixture_directory_remove(char *path);
void fixture_write(const char *path, const Buffer *contents);

#endif
