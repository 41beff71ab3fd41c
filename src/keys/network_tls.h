/* SPDX-License-Identifier: Apache-2.0 */
/* What every TLS client of the key helper insists on, whichever library dials. */
#ifndef SEALIFT_KEYS_NETWORK_TLS_H
#define SEALIFT_KEYS_NETWORK_TLS_H

#include <openssl/ssl.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"

enum { NETWORK_TLS_ANCHORS_MAX = 16 };

/* TLS 1.3, or 1.2 with ECDHE and AES-GCM; no resumption, no renegotiation; what was read is wiped
 * from OpenSSL's buffer. With `weak_ciphers` also ECDHE with AES-CBC. False: openssl_error tells.
 */
MUST_CHECK bool network_tls_narrow(SSL_CTX *tls, bool weak_ciphers);

/* The server must be this name or numeric address by its subjectAltName (RFC 6125, no partial
 * wildcards, no common name). False: openssl_error tells. */
MUST_CHECK bool network_tls_expect_name(X509_VERIFY_PARAM *param, const char *name, bool is_ip);

/* The certificates of a PEM file of 1..LIMIT_PEM bytes as the only anchors. ERROR_CONFIG. Owned by
 * the caller. */
MUST_CHECK X509_STORE *network_tls_anchors(const void *pem, size_t size, Error *err);

/* From now on each certificate of a chain needs a fresh list of its issuer: none, or a stale one,
 * refuses. 1..LIMIT_CRL bytes of PEM, up to NETWORK_TLS_ANCHORS_MAX lists. ERROR_CONFIG. */
MUST_CHECK bool network_tls_revocations(X509_STORE *store, const void *pem, size_t size,
					Error *err);

#endif
