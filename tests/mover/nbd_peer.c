/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mover/nbd_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

enum {
	DEADLINE_MS = 20000,
	LISTEN_FD = 3, /* where a service manager hands over a socket: sd_listen_fds(3) */
	GREETING_BYTES = 18,
	FLAGS_BYTES = 4,
	FIXED_NO_ZEROES = 3,
	OPTION_GO = 7,
	REPLY_ACK = 1,
	REPLY_INFO = 3,
	/* HAS_FLAGS, SEND_FLUSH */
	EXPORT_FLAGS = 0x5,
	/* two replies' headers, and what an export is */
	EXPORT_BYTES = 2 * 20 + 12,
};

#define OPTION_MAGIC	   UINT64_C(0x49484156454f5054)
#define OPTION_REPLY_MAGIC UINT64_C(0x3e889045565a9)
#define REQUEST_MAGIC	   UINT32_C(0x25609513)
#define SIMPLE_REPLY_MAGIC UINT32_C(0x67446698)

static const char export_name[] = "disk-0";

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,        \
				strerror(errno));                                                  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	REQUIRE(strlen(path) < sizeof(address.sun_path));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

int nbd_listen(const char *path)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	REQUIRE(fd >= 0 && !bind(fd, (const struct sockaddr *)(void *)&address, sizeof(address)) &&
		!listen(fd, 1));
	return fd;
}

static void run(const char *const *argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void become_server(const char *image, const char *name, int listen_fd)
{
	const char *argv[] = { "qemu-nbd", "-f", "raw", "-x", name, image, NULL };
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (listen_fd == LISTEN_FD ? fcntl(listen_fd, F_SETFD, 0) : dup2(listen_fd, LISTEN_FD) < 0)
		_exit(127);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", pid, 1);
	run(argv);
}

pid_t nbd_start_server(const char *image, const char *name, int *ret_fd)
{
	char path[128];
	struct sockaddr_un address;
	pid_t pid;
	int listen_fd;

	snprintf(path, sizeof(path), "%s.socket", image);
	address = address_of(path);
	listen_fd = nbd_listen(path);
	pid = fork();
	REQUIRE(pid >= 0);
	if (!pid)
		become_server(image, name, listen_fd);
	*ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* It waits in the backlog until the server is there. */
	REQUIRE(*ret_fd >= 0 &&
		!connect(*ret_fd, (const struct sockaddr *)(void *)&address, sizeof(address)));
	close(listen_fd);
	return pid;
}

static void await(int fd, short events)
{
	struct pollfd row = { .fd = fd, .events = events };

	REQUIRE(poll(&row, 1, DEADLINE_MS) == 1);
}

int nbd_accept(int listen_fd)
{
	int fd;

	await(listen_fd, POLLIN);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	REQUIRE(fd >= 0);
	return fd;
}

pid_t nbd_start_client(const char *image, const char *name, const char *path, int *ret_fd)
{
	int listen_fd = nbd_listen(path);
	char target[256];
	const char *argv[] = { "qemu-img", "convert", "-n",  "-f",   "raw",
			       "-O",	   "raw",     image, target, NULL };
	pid_t pid = fork();

	REQUIRE(pid >= 0);
	snprintf(target, sizeof(target), "nbd+unix:///%s?socket=%s", name, path);
	if (!pid)
		run(argv);
	*ret_fd = nbd_accept(listen_fd);
	close(listen_fd);
	return pid;
}

int nbd_is_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && !status;
}

void nbd_say(int from, const void *bytes, size_t size)
{
	REQUIRE(send(from, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void hear(int fd, uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t got;

		await(fd, POLLIN);
		got = recv(fd, bytes, size, 0);
		REQUIRE(got > 0);
		bytes += got;
		size -= (size_t)got;
	}
}

void nbd_pass(int from, int to, const void *bytes, size_t size)
{
	uint8_t got[1024];

	REQUIRE(size <= sizeof(got));
	nbd_say(from, bytes, size);
	hear(to, got, size);
	REQUIRE(!memcmp(got, bytes, size));
}

static void pass_go(const NbdTalk *talk)
{
	const uint32_t name_size = (uint32_t)strlen(export_name);
	Buffer option = BUFFER_INIT(128);
	Error err = ERROR_INIT;

	/* name, and no wish for information */
	REQUIRE(buffer_put_be64(&option, OPTION_MAGIC, &err) &&
		buffer_put_be32(&option, OPTION_GO, &err) &&
		buffer_put_be32(&option, 4 + name_size + 2, &err) &&
		buffer_put_be32(&option, name_size, &err) &&
		buffer_put(&option, export_name, name_size, &err) &&
		buffer_put_be16(&option, 0, &err));
	nbd_pass(talk->client, talk->server, option.data, option.used);
	buffer_clear(&option);
}

static void put_option_reply(Buffer *reply, uint32_t type, const Buffer *data)
{
	Error err = ERROR_INIT;

	REQUIRE(buffer_put_be64(reply, OPTION_REPLY_MAGIC, &err) &&
		buffer_put_be32(reply, OPTION_GO, &err) && buffer_put_be32(reply, type, &err) &&
		buffer_put_be32(reply, (uint32_t)data->used, &err) &&
		(!data->used || buffer_put(reply, data->data, data->used, &err)));
}

void nbd_ask(const NbdTalk *talk)
{
	uint8_t greeting[GREETING_BYTES] = "NBDMAGICIHAVEOPT", flags[FLAGS_BYTES];

	store_be16(greeting + GREETING_BYTES - 2, FIXED_NO_ZEROES);
	store_be32(flags, FIXED_NO_ZEROES);
	nbd_pass(talk->server, talk->client, greeting, sizeof(greeting));
	nbd_pass(talk->client, talk->server, flags, sizeof(flags));
	pass_go(talk);
}

void nbd_say_export(const NbdTalk *talk)
{
	Buffer info = BUFFER_INIT(64), nothing = BUFFER_INIT(1), replies = BUFFER_INIT(128);
	Error err = ERROR_INIT;

	REQUIRE(buffer_put_be16(&info, 0, &err) && buffer_put_be64(&info, talk->size_bytes, &err) &&
		buffer_put_be16(&info, EXPORT_FLAGS, &err));
	put_option_reply(&replies, REPLY_INFO, &info);
	put_option_reply(&replies, REPLY_ACK, &nothing);
	nbd_say(talk->server, replies.data, replies.used);
	buffer_clear(&info);
	buffer_clear(&replies);
}

void nbd_handshake(const NbdTalk *talk)
{
	uint8_t replies[EXPORT_BYTES];

	nbd_ask(talk);
	nbd_say_export(talk);
	hear(talk->client, replies, sizeof(replies));
}

void nbd_make_request(uint8_t bytes[NBD_REQUEST_BYTES], uint16_t type, uint64_t cookie,
		      uint64_t offset, uint32_t length)
{
	store_be32(bytes, REQUEST_MAGIC);
	store_be16(bytes + 4, 0);
	store_be16(bytes + 6, type);
	store_be64(bytes + 8, cookie);
	store_be64(bytes + 16, offset);
	store_be32(bytes + 24, length);
}

void nbd_make_reply(uint8_t bytes[NBD_SIMPLE_REPLY_BYTES], uint64_t cookie)
{
	store_be32(bytes, SIMPLE_REPLY_MAGIC);
	store_be32(bytes + 4, 0);
	store_be64(bytes + 8, cookie);
}

int nbd_is_closed(int fd)
{
	uint8_t byte;
	ssize_t got;

	await(fd, POLLIN);
	got = recv(fd, &byte, 1, 0);
	return got == 0 || (got < 0 && errno == ECONNRESET);
}
