/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

static const unsigned char alpn[] = "\x09sealift/1";
enum { ALPN_SIZE = sizeof(alpn) - 1 };

static bool openssl_failed(Error *err, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	error_set(err, ERROR_CONFIG, "%s: %s", what, reason ? reason : "unknown reason");
	ERR_clear_error();
	return false;
}

/* Judges by our own rules only (crypto/anchor.h); what OpenSSL would say is not asked. */
static int on_certificate(X509_STORE_CTX *context, void *argument)
{
	const Gate *gate = argument;
	SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
	Connection *connection = SSL_get_app_data(ssl);
	SpiffeId id;

	connection->refusal = ERROR_INIT;
	if (!anchor_verify_certificate(gate->anchors, X509_STORE_CTX_get0_cert(context),
				       X509_STORE_CTX_get0_untrusted(context),
				       clock_wall_s(gate->clock),
				       SSL_is_server(ssl) ? ANCHOR_TLS_CLIENT : ANCHOR_TLS_SERVER,
				       &id, &connection->refusal)) {
		X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
		return 0;
	}
	if (id.role != SPIFFE_HOST)
		error_set(&connection->refusal, ERROR_AUTH, "%s is not a host", id.text);
	else if (connection->expected[0] && strcmp(connection->expected, id.text))
		error_set(&connection->refusal, ERROR_AUTH, "the peer is %s, expected %s", id.text,
			  connection->expected);
	if (connection->refusal.category != ERROR_NONE) {
		X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
		return 0;
	}
	connection->peer = id;
	return 1;
}

static int on_alpn(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_size,
		   const unsigned char *offered, unsigned int size, void *argument)
{
	unsigned char *chosen;

	(void)ssl;
	(void)argument;
	if (SSL_select_next_proto(&chosen, ret_size, alpn, ALPN_SIZE, offered, size) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret_chosen = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool use_chain(SSL_CTX *context, const Buffer *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->used);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	bool ok = certificate && SSL_CTX_use_certificate(context, certificate) == 1;

	X509_free(certificate);
	while (ok && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (!SSL_CTX_add0_chain_cert(context, certificate)) {
			X509_free(certificate);
			ok = false;
		}
	BIO_free(bio);
	return ok;
}

static bool use_key(SSL_CTX *context, const Buffer *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->used);
	/* An empty password: an encrypted key is refused instead of asked about on a terminal. */
	EVP_PKEY *key =
		bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
	bool ok = key && SSL_CTX_use_PrivateKey(context, key) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok && SSL_CTX_check_private_key(context) == 1;
}

/* Nothing that outlives a connection: no tickets, no cache, no early data. */
static bool narrow(SSL_CTX *context, Gate *gate)
{
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_NO_COMPRESSION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(context, on_certificate, gate);
	SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
	SSL_CTX_set_max_cert_list(context, LIMIT_PEM);
	SSL_CTX_set_security_level(context, 3);
	return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_num_tickets(context, 0) == 1 &&
	       SSL_CTX_set_max_early_data(context, 0) == 1 &&
	       SSL_CTX_set_recv_max_early_data(context, 0) == 1 &&
	       SSL_CTX_set_ciphersuites(
		       context, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
	       SSL_CTX_set1_groups_list(context, "P-384:X25519") == 1 &&
	       SSL_CTX_set1_sigalgs_list(context, "ecdsa_secp384r1_sha384:ecdsa_secp256r1_sha256:"
						  "rsa_pss_rsae_sha384:rsa_pss_rsae_sha256") == 1 &&
	       SSL_CTX_set_alpn_protos(context, alpn, ALPN_SIZE) == 0;
}

static SSL_CTX *make_context(Gate *gate, const SSL_METHOD *method, const Buffer *chain_pem,
			     const Buffer *key_pem, Error *err)
{
	SSL_CTX *context = SSL_CTX_new(method);

	if (!context || !narrow(context, gate))
		openssl_failed(err, "TLS setup");
	else if (!use_chain(context, chain_pem))
		openssl_failed(err, "TLS certificate chain");
	else if (!use_key(context, key_pem))
		openssl_failed(err, "TLS private key");
	else {
		/* The end of the chain's PEM file leaves "no start line" behind. */
		ERR_clear_error();
		return context;
	}
	SSL_CTX_free(context);
	return NULL;
}

bool tls_setup(Gate *gate, const Buffer *chain_pem, const Buffer *key_pem, Error *err)
{
	gate->server = make_context(gate, TLS_server_method(), chain_pem, key_pem, err);
	if (!gate->server)
		return false;
	gate->client = make_context(gate, TLS_client_method(), chain_pem, key_pem, err);
	return gate->client != NULL;
}

bool tls_start(Connection *connection, Error *err)
{
	const Gate *gate = connection->gate;

	connection->ssl = SSL_new(connection->inbound ? gate->server : gate->client);
	if (!connection->ssl || !SSL_set_fd(connection->ssl, connection->fd)) {
		ERR_clear_error();
		return error_set(err, ERROR_INTERNAL, "no memory for TLS");
	}
	SSL_set_app_data(connection->ssl, connection);
	if (connection->inbound)
		SSL_set_accept_state(connection->ssl);
	else
		SSL_set_connect_state(connection->ssl);
	return true;
}

static TlsStep failed(Connection *connection, int code, int saved_errno, Error *err)
{
	unsigned long queued = ERR_peek_error();
	const char *reason = ERR_reason_error_string(queued);

	ERR_clear_error();
	if (connection->refusal.category != ERROR_NONE)
		*err = connection->refusal;
	else if (ERR_GET_REASON(queued) == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
		 (code == SSL_ERROR_SYSCALL && !saved_errno))
		error_set(err, ERROR_UNAVAILABLE, "the peer closed the connection without an end");
	else if (code == SSL_ERROR_SYSCALL && !queued)
		error_set_errno(err, ERROR_UNAVAILABLE, saved_errno, "the connection broke");
	else
		error_set(err, ERROR_AUTH, "TLS: %s", reason ? reason : "unknown reason");
	return TLS_FAILED;
}

static TlsStep step(Connection *connection, int result, Error *err)
{
	int saved_errno = errno;
	int code;

	if (result == 1)
		return TLS_DONE;
	code = SSL_get_error(connection->ssl, result);
	if (code == SSL_ERROR_WANT_READ)
		return TLS_WANT_READ;
	if (code == SSL_ERROR_WANT_WRITE)
		return TLS_WANT_WRITE;
	if (code == SSL_ERROR_ZERO_RETURN)
		return TLS_END;
	return failed(connection, code, saved_errno, err);
}

static bool alpn_agreed(const Connection *connection)
{
	const unsigned char *chosen;
	unsigned int size;

	SSL_get0_alpn_selected(connection->ssl, &chosen, &size);
	return size == ALPN_SIZE - 1 && !memcmp(chosen, alpn + 1, size);
}

TlsStep tls_handshake(Connection *connection, Error *err)
{
	TlsStep result;

	ERR_clear_error();
	errno = 0;
	result = step(connection, SSL_do_handshake(connection->ssl), err);
	if (result == TLS_END)
		error_set(err, ERROR_UNAVAILABLE,
			  "the peer closed the connection in the handshake");
	if (result != TLS_DONE)
		return result == TLS_END ? TLS_FAILED : result;
	/* A peer without the extension never meets the callback. */
	if (!alpn_agreed(connection)) {
		error_set(err, ERROR_PEER, "the peer does not offer the protocol sealift/1 (ALPN)");
		return TLS_FAILED;
	}
	if (SSL_session_reused(connection->ssl) || SSL_version(connection->ssl) != TLS1_3_VERSION) {
		error_set(err, ERROR_PEER, "not a fresh TLS 1.3 session");
		return TLS_FAILED;
	}
	return TLS_DONE;
}

TlsStep tls_read(Connection *connection, void *data, size_t size, size_t *ret_got, Error *err)
{
	*ret_got = 0;
	ERR_clear_error();
	errno = 0;
	return step(connection, SSL_read_ex(connection->ssl, data, size, ret_got), err);
}

TlsStep tls_write(Connection *connection, const void *data, size_t size, size_t *ret_put,
		  Error *err)
{
	*ret_put = 0;
	ERR_clear_error();
	errno = 0;
	return step(connection, SSL_write_ex(connection->ssl, data, size, ret_put), err);
}

bool tls_verify_again(const Connection *connection, Error *err)
{
	const Gate *gate = connection->gate;
	AnchorPurpose purpose = connection->inbound ? ANCHOR_TLS_CLIENT : ANCHOR_TLS_SERVER;
	SpiffeId id;

	return anchor_verify_certificate(gate->anchors, SSL_get0_peer_certificate(connection->ssl),
					 SSL_get_peer_cert_chain(connection->ssl),
					 clock_wall_s(gate->clock), purpose, &id, err);
}

uint64_t tls_not_after_s(const Connection *connection)
{
	int64_t end = anchor_time_s(X509_get0_notAfter(SSL_get0_peer_certificate(connection->ssl)));

	return end > 0 ? (uint64_t)end : 0;
}

bool tls_export(const Connection *connection, const uint8_t migration[MIGRATION_ID_BYTES],
		uint8_t ret_secret[ROLE_EXPORT_BYTES], Error *err)
{
	static const char label[] = "EXPORTER-sealift-migration";

	if (SSL_export_keying_material(connection->ssl, ret_secret, ROLE_EXPORT_BYTES, label,
				       sizeof(label) - 1, migration, MIGRATION_ID_BYTES, 1) == 1)
		return true;
	ERR_clear_error();
	return error_set(err, ERROR_INTERNAL, "TLS gives no exported secret");
}
