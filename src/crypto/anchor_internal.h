/* SPDX-License-Identifier: Apache-2.0 */
/* What anchor.c, anchor_crl.c and anchor_verify.c share. */
#ifndef SEALIFT_CRYPTO_ANCHOR_INTERNAL_H
#define SEALIFT_CRYPTO_ANCHOR_INTERNAL_H

#include "base/bounds.h"
#include "crypto/anchor.h"
#include "crypto/openssl.h"

enum { ANCHOR_CRLS_MAX = 16 }; /* CAs of one domain that have a CRL */

typedef struct AnchorCrlEntry {
	X509_CRL *crl;
	X509 *issuer;
	uint64_t number;
	int64_t this_update_s, next_update_s;
} AnchorCrlEntry;

typedef struct AnchorDomain {
	char name[LIMIT_DOMAIN];
	STACK_OF(X509) * roots;
	STACK_OF(X509) * intermediates;
	AnchorCrlEntry crls[ANCHOR_CRLS_MAX];
	size_t n_crls;
	X509_STORE *trusted; /* roots and CRLs, made anew by each change */
} AnchorDomain;

struct AnchorStore {
	AnchorDomain *domains[LIMIT_ANCHORS];
	size_t n_domains;
};

/* NULL if the store does not know it. */
AnchorDomain *anchor_domain_find(const AnchorStore *store, const char *name);

/* A copy to be changed and put in the place of the old, so that a change is all or nothing. */
MUST_CHECK AnchorDomain *anchor_domain_copy(const AnchorDomain *domain, Error *err);
void anchor_domain_free(AnchorDomain *domain);
DEFINE_CLEANUP(AnchorDomain, anchor_domain, anchor_domain_free)
#define AUTO_ANCHOR_DOMAIN CLEANUP(anchor_domain_cleanup)

/* Makes domain->trusted out of its roots and CRLs. */
MUST_CHECK bool anchor_domain_build(AnchorDomain *domain, Error *err);

/* Whether `issuer` has issued and signed `certificate`. */
bool anchor_has_issued(X509 *issuer, X509 *certificate);

/* 2026-01-31T23:59:59Z; `ret` holds ANCHOR_TIME_TEXT bytes. */
enum { ANCHOR_TIME_TEXT = 32 };
const char *anchor_time_text(int64_t time_s, char ret[ANCHOR_TIME_TEXT]);

#endif
