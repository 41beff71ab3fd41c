/* SPDX-License-Identifier: Apache-2.0 */
/* A peer of the gate that is not ours: plain sockets and OpenSSL, free to misbehave. */
#ifndef SEALIFT_TESTS_RAW_PEER_H
#define SEALIFT_TESTS_RAW_PEER_H

#include <openssl/ssl.h>

#include "fixture_pki.h"

typedef struct RawOptions {
	const PkiPair *pair; /* NULL: no certificate */
	const char *from;    /* own address, 127.0.0.1 if NULL */
	const char *alpn;    /* NULL: none */
	int version;	     /* 0: TLS 1.3 */
} RawOptions;

typedef struct RawPeer {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
} RawPeer;

/* A TCP connection from one of our addresses to 127.0.0.1; reads give up after 20 s. */
int raw_connect(const char *from, uint16_t port);
/* Connects and shakes hands as far as the other side lets it. True if our side is done, which in
 * TLS 1.3 says nothing about what the server thinks of our certificate. */
bool raw_open(RawPeer *peer, const RawOptions *options, uint16_t port);
void raw_close(RawPeer *peer);

/* One frame with this text (length 0: strlen). */
void raw_send_frame(RawPeer *peer, const char *json);
void raw_send_bytes(RawPeer *peer, const void *data, size_t size);
/* Whether the other side ends the connection, by whatever means, before the deadline. */
bool raw_is_ended(RawPeer *peer);
bool raw_is_closed(int fd);

#endif
