/* SPDX-License-Identifier: Apache-2.0 */
/* Who the other side is: TLS 1.3 with both certificates, as on the control connection
 * (PROTOCOL.md). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/buffer.h"
#include "programs/keylink/conn.h"

/* Its number is raised with any change of a message: the codec has no names of fields. */
static const unsigned char alpn[] = "\x0esealift-keys/1";
enum { ALPN_SIZE = sizeof(alpn) - 1 };

static bool is_allowed(const Trust *trust, const char *name)
{
	for (size_t i = 0; i < trust->allowed.hosts_count; i++)
		if (!strcmp(trust->allowed.hosts[i].name, name))
			return true;
	return false;
}

static bool judge_name(const Trust *trust, bool serves, const SpiffeId *id, Error *err)
{
	if (id->role != SPIFFE_HOST)
		return error_set(err, ERROR_AUTH, "%s is not a host", id->text);
	if (strcmp(id->domain, trust->own.domain) != 0)
		return error_set(err, ERROR_AUTH, "%s is of another domain than %s", id->text,
				 trust->own.domain);
	if (!serves)
		return !strcmp(id->text, trust->expected) ||
		       error_set(err, ERROR_AUTH, "the key manager's host is %s, expected %s",
				 id->text, trust->expected);
	return is_allowed(trust, id->name) ||
	       error_set(err, ERROR_DENIED, "%s is not among keys.hosts", id->text);
}

/* Judges by our own rules only (crypto/anchor.h); what OpenSSL would say is not asked. */
static int on_certificate(X509_STORE_CTX *context, void *argument)
{
	const Trust *trust = argument;
	SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
	Conn *conn = SSL_get_app_data(ssl);
	bool serves = SSL_is_server(ssl);
	SpiffeId id;

	conn->refusal = ERROR_INIT;
	if (anchor_verify_certificate(
		    trust->anchors, X509_STORE_CTX_get0_cert(context),
		    X509_STORE_CTX_get0_untrusted(context), clock_wall_s(trust->clock),
		    serves ? ANCHOR_TLS_CLIENT : ANCHOR_TLS_SERVER, &id, &conn->refusal) &&
	    judge_name(trust, serves, &id, &conn->refusal)) {
		conn->peer = id;
		return 1;
	}
	X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
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

/* Nothing that outlives a connection, and no plaintext that stays in the library's memory. */
static bool narrow(SSL_CTX *context, Trust *trust)
{
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set_mode(context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(context, on_certificate, trust);
	SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
	SSL_CTX_set_max_cert_list(context, LIMIT_PEM);
	SSL_CTX_set_security_level(context, 3);
	return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_num_tickets(context, 0) == 1 &&
	       SSL_CTX_set_max_early_data(context, 0) == 1 &&
	       SSL_CTX_set_recv_max_early_data(context, 0) == 1 &&
	       SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") == 1 &&
	       SSL_CTX_set1_groups_list(context, "P-384") == 1 &&
	       SSL_CTX_set1_sigalgs_list(context, "ecdsa_secp384r1_sha384:ecdsa_secp256r1_sha256:"
						  "rsa_pss_rsae_sha384:rsa_pss_rsae_sha256") == 1 &&
	       SSL_CTX_set_alpn_protos(context, alpn, ALPN_SIZE) == 0;
}

static bool use_leaf(Trust *trust, X509 *certificate, Error *err)
{
	if (!anchor_certificate_id(certificate, &trust->own, err))
		return false;
	if (trust->own.role != SPIFFE_HOST)
		return error_set(err, ERROR_CONFIG, "%s is not a host's certificate",
				 trust->own.text);
	return SSL_CTX_use_certificate(trust->context, certificate) == 1 ||
	       error_set(err, ERROR_CONFIG, "OpenSSL does not take it");
}

static bool use_chain(Trust *trust, const Buffer *pem, Error *err)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->used);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	bool ok = certificate ? use_leaf(trust, certificate, err)
			      : error_set(err, ERROR_CONFIG, "no certificate in PEM");

	X509_free(certificate);
	/* Bounded by the file's size. */
	while (ok && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (!SSL_CTX_add0_chain_cert(trust->context, certificate)) {
			X509_free(certificate);
			ok = error_set(err, ERROR_CONFIG, "OpenSSL does not take its chain");
		}
	BIO_free(bio);
	return ok;
}

static bool use_key(SSL_CTX *context, const Buffer *pem, Error *err)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->used);
	/* An empty password: an encrypted key is refused instead of asked about on a terminal. */
	EVP_PKEY *key =
		bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
	bool ok = key && SSL_CTX_use_PrivateKey(context, key) == 1 &&
		  SSL_CTX_check_private_key(context) == 1;

	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok || error_set(err, ERROR_CONFIG, "no private key of this certificate");
}

bool trust_load(Trust *trust, bool serve, const Buffer *chain_pem, const Buffer *key_pem,
		Error *err)
{
	bool ok;

	trust->context = SSL_CTX_new(serve ? TLS_server_method() : TLS_client_method());
	if (!trust->context || !narrow(trust->context, trust))
		return error_set(err, ERROR_INTERNAL, "TLS cannot be set up");
	ok = (use_chain(trust, chain_pem, err) || error_prefix(err, "TLS certificate")) &&
	     (use_key(trust->context, key_pem, err) || error_prefix(err, "TLS key"));
	/* The end of the chain's file leaves "no start line" behind. */
	ERR_clear_error();
	return ok;
}

void trust_clear(Trust *trust)
{
	SSL_CTX_free(trust->context);
	anchor_store_free(trust->anchors);
	*trust = (Trust){ 0 };
}
