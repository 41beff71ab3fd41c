/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of an NBD connection: real ones of QEMU, and lying ones in the test's hand. */
#ifndef SEALIFT_TESTS_MOVER_NBD_PEER_H
#define SEALIFT_TESTS_MOVER_NBD_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* qemu-nbd with a raw image as an export, for one client; *ret_fd is connected to it. Dies with the
 * test. */
pid_t nbd_start_server(const char *image, const char *name, int *ret_fd);
/* qemu-img that writes a raw image to the export of this name at the socket `path` (to be made
 * here); *ret_fd is its connection. Dies with the test. */
pid_t nbd_start_client(const char *image, const char *name, const char *path, int *ret_fd);
/* A socket that listens, and the next one who connects to it. */
int nbd_listen(const char *path);
int nbd_accept(int listen_fd);
/* Whether it ended with status 0. */
int nbd_is_well(pid_t pid);

/*
 * Both ends of a connection, played step by step: what `from` says arrives at the other socket,
 * unchanged. `client` and `server` are what the test has of the local sockets.
 */
typedef struct NbdTalk {
	int client, server;
	uint64_t size_bytes;
} NbdTalk;
/* Handshake as QEMU's client makes it, but for structured replies: export "disk-0". All of it, up
 * to the client's GO, and what the server says to that. */
void nbd_handshake(const NbdTalk *talk);
void nbd_ask(const NbdTalk *talk);
void nbd_say_export(const NbdTalk *talk);
/* Bytes go in at one end and come out at the other. */
void nbd_pass(int from, int to, const void *bytes, size_t size);
void nbd_say(int from, const void *bytes, size_t size);

enum { NBD_REQUEST_BYTES = 28, NBD_SIMPLE_REPLY_BYTES = 16 };
enum { NBD_WRITE = 1, NBD_DISC = 2 };
void nbd_make_request(uint8_t bytes[NBD_REQUEST_BYTES], uint16_t type, uint64_t cookie,
		      uint64_t offset, uint32_t length);
void nbd_make_reply(uint8_t bytes[NBD_SIMPLE_REPLY_BYTES], uint64_t cookie);

/* True if the other end closes without another byte, before the deadline. */
int nbd_is_closed(int fd);

#endif
