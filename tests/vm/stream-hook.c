/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a QEMU of the whole-VM tests. SEALIFT_CORRUPT=PATTERN:DELTA:BYTES, all but DELTA
 * in hex: the first time that PATTERN goes out on a socket, what stands DELTA bytes behind its
 * begin is BYTES instead, as a QEMU that means harm would send it. SEALIFT_RECORD=FILE: what came
 * in on the sockets of a migration, which are those that begin with its magics, is appended there.
 * SEALIFT_ANSWER=MAGIC:BYTES, in hex: on the first socket on which MAGIC comes in, BYTES go back.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATTERN_MAX = 64, FDS = 1024 };

typedef ssize_t SendMessage(int fd, const struct msghdr *message, int flags);
typedef ssize_t ReceiveMessage(int fd, struct msghdr *message, int flags);

static struct {
	SendMessage *send;
	ReceiveMessage *receive;
	uint8_t pattern[PATTERN_MAX], bytes[PATTERN_MAX];
	size_t pattern_size, bytes_size, delta;
	atomic_bool done;
	uint8_t magic[PATTERN_MAX], answer[PATTERN_MAX];
	size_t magic_size, answer_size;
	atomic_bool answered;
	int record_fd;
	atomic_bool records[FDS];
} hook = { .record_fd = -1 };

static size_t read_hex(const char *text, uint8_t bytes[PATTERN_MAX])
{
	size_t used = 0;
	unsigned int byte;

	while (used < PATTERN_MAX && sscanf(text + 2 * used, "%2x", &byte) == 1)
		bytes[used++] = (uint8_t)byte;
	return used;
}

__attribute__((constructor)) static void load(void)
{
	char pattern[2 * PATTERN_MAX + 1], bytes[2 * PATTERN_MAX + 1];
	const char *corrupt = getenv("SEALIFT_CORRUPT"), *record = getenv("SEALIFT_RECORD");
	const char *answer = getenv("SEALIFT_ANSWER");

	*(void **)&hook.send = dlsym(RTLD_NEXT, "sendmsg");
	*(void **)&hook.receive = dlsym(RTLD_NEXT, "recvmsg");
	if (corrupt &&
	    sscanf(corrupt, "%128[0-9a-f]:%zu:%128[0-9a-f]", pattern, &hook.delta, bytes) == 3) {
		hook.pattern_size = read_hex(pattern, hook.pattern);
		hook.bytes_size = read_hex(bytes, hook.bytes);
	}
	if (answer && sscanf(answer, "%128[0-9a-f]:%128[0-9a-f]", pattern, bytes) == 2) {
		hook.magic_size = read_hex(pattern, hook.magic);
		hook.answer_size = read_hex(bytes, hook.answer);
	}
	if (record)
		hook.record_fd = open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static size_t flatten(const struct msghdr *message, uint8_t **ret_bytes)
{
	size_t size = 0, used = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++)
		size += message->msg_iov[i].iov_len;
	*ret_bytes = malloc(size + 1);
	for (size_t i = 0; *ret_bytes && i < message->msg_iovlen; i++) {
		memcpy(*ret_bytes + used, message->msg_iov[i].iov_base,
		       message->msg_iov[i].iov_len);
		used += message->msg_iov[i].iov_len;
	}
	return used;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr changed = *message;
	struct iovec whole;
	uint8_t *bytes = NULL, *at;
	size_t size;
	ssize_t sent;

	if (!hook.pattern_size || atomic_load(&hook.done))
		return hook.send(fd, message, flags);
	size = flatten(message, &bytes);
	at = bytes ? memmem(bytes, size, hook.pattern, hook.pattern_size) : NULL;
	if (at && hook.delta + hook.bytes_size <= size - (size_t)(at - bytes)) {
		memcpy(at + hook.delta, hook.bytes, hook.bytes_size);
		whole = (struct iovec){ .iov_base = bytes, .iov_len = size };
		changed.msg_iov = &whole;
		changed.msg_iovlen = 1;
	}
	sent = hook.send(fd, &changed, flags);
	/* A part that stops short of the change comes again. */
	if (changed.msg_iov == &whole && sent > at - bytes + (ssize_t)hook.delta)
		atomic_store(&hook.done, true);
	free(bytes);
	return sent;
}

static bool is_stream(int fd, const struct msghdr *message, size_t size)
{
	static const uint8_t main_magic[] = "QEVM", multifd_magic[] = { 0x11, 0x22, 0x33, 0x44 };
	const void *bytes = message->msg_iovlen ? message->msg_iov[0].iov_base : NULL;

	if (fd < 0 || fd >= FDS)
		return false;
	if (bytes && size >= 4 && message->msg_iov[0].iov_len >= 4 &&
	    (!memcmp(bytes, main_magic, 4) || !memcmp(bytes, multifd_magic, 4)))
		atomic_store(&hook.records[fd], true);
	return atomic_load(&hook.records[fd]);
}

static void answer(int fd, const struct msghdr *message, size_t size)
{
	const void *bytes = message->msg_iovlen ? message->msg_iov[0].iov_base : NULL;

	if (hook.magic_size && bytes && size >= hook.magic_size &&
	    message->msg_iov[0].iov_len >= hook.magic_size &&
	    !memcmp(bytes, hook.magic, hook.magic_size) && !atomic_exchange(&hook.answered, true)) {
		ssize_t sent = send(fd, hook.answer, hook.answer_size, MSG_NOSIGNAL);

		(void)sent;
	}
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t got = hook.receive(fd, message, flags);
	size_t left = got > 0 && !(flags & MSG_PEEK) ? (size_t)got : 0;

	answer(fd, message, left);
	if (hook.record_fd < 0 || !is_stream(fd, message, left))
		return got;
	for (size_t i = 0; left && i < message->msg_iovlen; i++) {
		size_t part =
			message->msg_iov[i].iov_len < left ? message->msg_iov[i].iov_len : left;
		ssize_t put = write(hook.record_fd, message->msg_iov[i].iov_base, part);

		(void)put;
		left -= part;
	}
	return got;
}
