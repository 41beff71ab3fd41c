/* SPDX-License-Identifier: Apache-2.0 */
#include "raw_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

int raw_connect(const char *from, uint16_t port)
{
	const struct timeval patience = { .tv_sec = 20 };
	struct sockaddr_in own = { .sin_family = AF_INET };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, from ? from : "127.0.0.1", &own.sin_addr), 1);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &to.sin_addr), 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

bool raw_open(RawPeer *peer, const RawOptions *options, uint16_t port)
{
	unsigned char alpn[32];
	size_t length = options->alpn ? strlen(options->alpn) : 0;
	int version = options->version ? options->version : TLS1_3_VERSION;

	*peer = (RawPeer){ .fd = raw_connect(options->from, port),
			   .context = SSL_CTX_new(TLS_client_method()) };
	assert_non_null(peer->context);
	assert_int_equal(SSL_CTX_set_max_proto_version(peer->context, version), 1);
	if (options->pair) {
		assert_int_equal(SSL_CTX_use_certificate(peer->context, options->pair->certificate),
				 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(peer->context, options->pair->key), 1);
	}
	if (length) {
		alpn[0] = (unsigned char)length;
		memcpy(alpn + 1, options->alpn, length);
		assert_int_equal(
			SSL_CTX_set_alpn_protos(peer->context, alpn, (unsigned int)length + 1), 0);
	}
	peer->ssl = SSL_new(peer->context);
	assert_non_null(peer->ssl);
	assert_int_equal(SSL_set_fd(peer->ssl, peer->fd), 1);
	return SSL_connect(peer->ssl) == 1;
}

void raw_close(RawPeer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->context);
	close(peer->fd);
}

void raw_send_bytes(RawPeer *peer, const void *data, size_t size)
{
	assert_int_equal(SSL_write(peer->ssl, data, (int)size), size);
}

void raw_send_frame(RawPeer *peer, const char *json)
{
	AUTO_BUFFER Buffer frame = BUFFER_INIT(1 << 17);
	Error err = ERROR_INIT;

	assert_true(buffer_put_be32(&frame, (uint32_t)strlen(json), &err));
	assert_true(buffer_put(&frame, json, strlen(json), &err));
	raw_send_bytes(peer, frame.data, frame.used);
}

bool raw_is_ended(RawPeer *peer)
{
	char scratch[4096];
	int got;

	do
		got = SSL_read(peer->ssl, scratch, sizeof(scratch));
	while (got > 0);
	return !(SSL_get_error(peer->ssl, got) == SSL_ERROR_SYSCALL && errno == EAGAIN) &&
	       SSL_get_error(peer->ssl, got) != SSL_ERROR_WANT_READ;
}

bool raw_is_closed(int fd)
{
	char scratch[4096];
	ssize_t got;

	do
		got = recv(fd, scratch, sizeof(scratch), 0);
	while (got > 0);
	return got == 0 || errno == ECONNRESET;
}
