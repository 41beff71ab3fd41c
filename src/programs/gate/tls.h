/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 as PROTOCOL.md, section "Control connection", narrows it. */
#ifndef SEALIFT_PROGRAMS_GATE_TLS_H
#define SEALIFT_PROGRAMS_GATE_TLS_H

#include "programs/gate/gate.h"

/* Makes both contexts of the gate from our chain and key (PEM; the caller wipes the key). Peers'
 * certificates are judged by the gate's anchors, at the time of the handshake. ERROR_CONFIG. */
MUST_CHECK bool tls_setup(Gate *gate, const Buffer *chain_pem, const Buffer *key_pem, Error *err);

/* Gives the connection its SSL object on its descriptor. */
MUST_CHECK bool tls_start(Connection *connection, Error *err);

/* What a step of OpenSSL came to. */
typedef enum TlsStep {
	TLS_DONE,
	TLS_WANT_READ,
	TLS_WANT_WRITE,
	TLS_END,    /* the peer's authenticated close_notify */
	TLS_FAILED, /* *err says why */
} TlsStep;

MUST_CHECK TlsStep tls_handshake(Connection *connection, Error *err);
MUST_CHECK TlsStep tls_read(Connection *connection, void *data, size_t size, size_t *ret_got,
			    Error *err);
MUST_CHECK TlsStep tls_write(Connection *connection, const void *data, size_t size, size_t *ret_put,
			     Error *err);

/* Judges the peer's certificate again, now. */
MUST_CHECK bool tls_verify_again(const Connection *connection, Error *err);

/* When the peer's certificate ends, seconds since 1970. */
uint64_t tls_not_after_s(const Connection *connection);

/* RFC 8446, section 7.5: label "EXPORTER-sealift-migration", context the migration id. */
MUST_CHECK bool tls_export(const Connection *connection,
			   const uint8_t migration[MIGRATION_ID_BYTES],
			   uint8_t ret_secret[ROLE_EXPORT_BYTES], Error *err);

#endif
