/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/kmip_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "crypto/openssl.h"
#include "keys/kmip_message.h"
#include "keys/network_tls.h"
#include "keys/ttlv.h"

enum { UNASKED_RECORDS_MAX = 16 }; /* between an answer and the next request */

struct KmipLink {
	SSL *ssl;
	int fd;
	int64_t opened_us;
	bool broken; /* after an error, when OpenSSL wants no more of us */
};

/* --- waiting --- */

static bool wait_for(int fd, short events, int64_t deadline_us, Error *err)
{
	for (;;) {
		int64_t left_us = deadline_us - clock_monotonic_us(&clock_system);
		struct pollfd entry = { .fd = fd, .events = events };
		int got;

		if (left_us <= 0)
			return error_set(err, ERROR_TIMEOUT,
					 "the key manager did not answer in time");
		/* Rounded up, so that the last millisecond is not a busy loop; bounded to an int.
		 */
		left_us = (left_us + 999) / 1000;
		got = poll(&entry, 1, left_us > 60000 ? 60000 : (int)left_us);
		if (got > 0)
			return true;
		if (got < 0 && errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno, "poll");
	}
}

static bool fail(KmipLink *link, int code, int saved_errno, Error *err)
{
	unsigned long queued = ERR_peek_error();
	long verdict = SSL_get_verify_result(link->ssl);

	link->broken = true;
	if (verdict != X509_V_OK) {
		ERR_clear_error();
		return error_set(err, ERROR_AUTH, "the key manager's certificate: %s",
				 X509_verify_cert_error_string(verdict));
	}
	if (ERR_GET_REASON(queued) == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
	    code == SSL_ERROR_ZERO_RETURN || (code == SSL_ERROR_SYSCALL && !saved_errno)) {
		ERR_clear_error();
		return error_set(err, ERROR_UNAVAILABLE, "the key manager closed the connection");
	}
	if (code == SSL_ERROR_SYSCALL && !queued)
		return error_set_errno(err, ERROR_UNAVAILABLE, saved_errno,
				       "the connection to the key manager broke");
	return openssl_error(err, ERROR_AUTH, "TLS with the key manager");
}

/* What to do about a step of OpenSSL that did not succeed: true if it is to be made again. */
static bool settle(KmipLink *link, int result, int64_t deadline_us, Error *err)
{
	int saved_errno = errno;
	int code = SSL_get_error(link->ssl, result);

	if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE)
		return fail(link, code, saved_errno, err);
	if (wait_for(link->fd, code == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_us, err))
		return true;
	link->broken = true;
	return false;
}

/* A peer that feeds us in drops never makes OpenSSL wait: the deadline counts all the same. */
static bool in_time(KmipLink *link, int64_t deadline_us, Error *err)
{
	if (clock_monotonic_us(&clock_system) < deadline_us)
		return true;
	link->broken = true;
	return error_set(err, ERROR_TIMEOUT, "the key manager did not answer in time");
}

/* --- opening --- */

static bool dial(KmipLink *link, const KmipTarget *target, int64_t deadline_us, Error *err)
{
	const struct sockaddr *address = (const struct sockaddr *)&target->address;
	int failure = 0, on = 1;
	socklen_t size = sizeof(failure);

	link->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "socket");
	if (setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return error_set_errno(err, ERROR_IO, errno, "TCP_NODELAY");
	if (connect(link->fd, address, target->address_size) && errno != EINPROGRESS)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "connect to the key manager");
	if (!wait_for(link->fd, POLLOUT, deadline_us, err))
		return false;
	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &failure, &size))
		return error_set_errno(err, ERROR_IO, errno, "SO_ERROR");
	if (failure)
		return error_set_errno(err, ERROR_UNAVAILABLE, failure,
				       "connect to the key manager");
	return true;
}

static bool expect_name(SSL *ssl, const KmipTarget *target)
{
	return network_tls_expect_name(SSL_get0_param(ssl), target->server_name,
				       target->name_is_ip) &&
	       (target->name_is_ip || SSL_set_tlsext_host_name(ssl, target->server_name) == 1);
}

static bool shake_hands(KmipLink *link, const KmipTarget *target, int64_t deadline_us, Error *err)
{
	ERR_clear_error();
	link->ssl = SSL_new(target->tls);
	if (!link->ssl || !SSL_set_fd(link->ssl, link->fd) || !expect_name(link->ssl, target))
		return openssl_error(err, ERROR_INTERNAL, "TLS of a connection");
	for (;;) {
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_connect(link->ssl);
		if (result == 1)
			break;
		if (!settle(link, result, deadline_us, err) || !in_time(link, deadline_us, err))
			return false;
	}
	/* SSL_VERIFY_PEER has seen to it; this is the one place where a mistake would be silent. */
	if (SSL_get_verify_result(link->ssl) != X509_V_OK ||
	    !SSL_get0_peer_certificate(link->ssl) || SSL_session_reused(link->ssl)) {
		link->broken = true;
		return error_set(err, ERROR_AUTH, "a TLS session that proves nothing");
	}
	return true;
}

KmipLink *kmip_link_open(const KmipTarget *target, int64_t deadline_us, Error *err)
{
	AUTO_KMIP_LINK KmipLink *link = calloc(1, sizeof(*link));

	if (!link) {
		error_set(err, ERROR_INTERNAL, "no memory for a connection");
		return NULL;
	}
	link->fd = -1;
	link->opened_us = clock_monotonic_us(&clock_system);
	if (!dial(link, target, deadline_us, err) || !shake_hands(link, target, deadline_us, err))
		return NULL;
	return TAKE_PTR(link);
}

void kmip_link_close(KmipLink *link)
{
	if (!link)
		return;
	if (link->ssl && !link->broken && SSL_is_init_finished(link->ssl))
		(void)SSL_shutdown(link->ssl);
	SSL_free(link->ssl);
	ERR_clear_error();
	if (link->fd >= 0)
		close(link->fd);
	free(link);
}

static bool is_readable(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return poll(&entry, 1, 0) > 0;
}

/* TLS 1.3 servers send session tickets unasked: only OpenSSL can tell them from an end. It takes
 * one record at a time. */
bool kmip_link_is_quiet(KmipLink *link)
{
	for (int i = 0; i < UNASKED_RECORDS_MAX; i++) {
		uint8_t byte;
		int result;

		ERR_clear_error();
		result = SSL_read(link->ssl, &byte, sizeof(byte));
		if (result > 0 || SSL_get_error(link->ssl, result) != SSL_ERROR_WANT_READ) {
			ERR_clear_error();
			link->broken = result <= 0;
			return false;
		}
		if (!is_readable(link->fd))
			return true;
	}
	return false;
}

int64_t kmip_link_opened_us(const KmipLink *link)
{
	return link->opened_us;
}

/* --- talking --- */

/* A TLS 1.3 server judges our certificate after our side of the handshake is over: its alert may
 * wait to be read while the request already meets a closed door. Puts the alert in the place of
 * `err` if there is one. */
static void hear_why(KmipLink *link, Error *err)
{
	for (int i = 0; i < UNASKED_RECORDS_MAX; i++) {
		uint8_t byte;
		int result, code;

		ERR_clear_error();
		result = SSL_read(link->ssl, &byte, sizeof(byte));
		code = SSL_get_error(link->ssl, result);
		if (code == SSL_ERROR_SSL &&
		    ERR_GET_REASON(ERR_peek_error()) >= SSL_AD_REASON_OFFSET)
			openssl_error(err, ERROR_AUTH, "TLS with the key manager");
		if (code != SSL_ERROR_WANT_READ)
			break;
	}
	ERR_clear_error();
}

static bool send_all(KmipLink *link, const Buffer *request, int64_t deadline_us, Error *err)
{
	size_t sent = 0;

	while (sent < request->used) {
		size_t part = 0;
		int result;

		if (!in_time(link, deadline_us, err))
			return false;
		ERR_clear_error();
		errno = 0;
		result = SSL_write_ex(link->ssl, request->data + sent, request->used - sent, &part);
		if (result == 1)
			sent += part;
		else if (!settle(link, result, deadline_us, err)) {
			if (err->category == ERROR_UNAVAILABLE)
				hear_why(link, err);
			return false;
		}
	}
	return true;
}

/* Appends until the buffer holds `wanted` bytes. */
static bool receive_up_to(KmipLink *link, Buffer *answer, size_t wanted, int64_t deadline_us,
			  Error *err)
{
	uint8_t chunk[4096];
	bool ok = true;

	while (ok && answer->used < wanted) {
		size_t part = 0, room = wanted - answer->used;
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_read_ex(link->ssl, chunk, room < sizeof(chunk) ? room : sizeof(chunk),
				     &part);
		if (result == 1)
			ok = buffer_put(answer, chunk, part, err);
		else
			ok = settle(link, result, deadline_us, err);
		ok = ok && in_time(link, deadline_us, err);
	}
	explicit_bzero(chunk, sizeof(chunk));
	return ok;
}

bool kmip_link_exchange(KmipLink *link, const Buffer *request, Buffer *answer, int64_t deadline_us,
			Error *err)
{
	size_t size;

	if (!send_all(link, request, deadline_us, err) ||
	    !receive_up_to(link, answer, TTLV_HEADER_BYTES, deadline_us, err) ||
	    !kmip_decode_size(answer->data, &size, err) ||
	    !receive_up_to(link, answer, size, deadline_us, err))
		return false;
	if (SSL_pending(link->ssl))
		return error_set(err, ERROR_PEER, "%d bytes behind the key manager's answer",
				 SSL_pending(link->ssl));
	return true;
}

const char *kmip_link_version(const KmipLink *link)
{
	return SSL_get_version(link->ssl);
}

const char *kmip_link_cipher(const KmipLink *link)
{
	return SSL_get_cipher_name(link->ssl);
}

bool kmip_link_is_strong(const KmipLink *link)
{
	return SSL_CIPHER_is_aead(SSL_get_current_cipher(link->ssl));
}
