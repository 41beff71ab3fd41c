/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_qemu.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEADLINE_MS = 10000, LINE_BYTES = 65536 };

ScriptedQemu scripted_qemu_start(Script *script)
{
	ScriptedQemu qemu = { .pid = -1, .fd = -1 };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return qemu;
	qemu.pid = fork();
	if (!qemu.pid) {
		close(pair[0]);
		signal(SIGPIPE, SIG_IGN);
		_exit(script(pair[1]) ? 0 : 1);
	}
	close(pair[1]);
	qemu.fd = pair[0];
	return qemu;
}

bool scripted_qemu_end(ScriptedQemu *qemu)
{
	int status = -1;

	if (waitpid(qemu->pid, &status, 0) != qemu->pid)
		return false;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

bool script_say(int fd, const char *text)
{
	size_t size = strlen(text);

	while (size) {
		ssize_t put = write(fd, text, size);

		if (put < 0)
			return false;
		text += put;
		size -= (size_t)put;
	}
	return true;
}

static ssize_t receive_byte(int fd, char *byte, int *ret_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct cmsghdr *header;
	ssize_t got;

	if (poll(&ready, 1, DEADLINE_MS) != 1)
		return -1;
	got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	header = CMSG_FIRSTHDR(&message);
	if (got == 1 && header && header->cmsg_type == SCM_RIGHTS && ret_fd)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	return got;
}

bool script_expect(int fd, const char *part, int *ret_fd)
{
	char line[LINE_BYTES];
	size_t used = 0;

	while (used < sizeof(line) - 1) {
		if (receive_byte(fd, &line[used], ret_fd) != 1)
			return false;
		if (line[used] == '\n')
			break;
		used++;
	}
	line[used] = '\0';
	if (strstr(line, part))
		return true;
	fprintf(stderr, "script: \"%s\" is not in %s\n", part, line);
	return false;
}

bool script_expect_end(int fd)
{
	char byte;
	ssize_t got;

	do
		got = receive_byte(fd, &byte, NULL);
	while (got > 0);
	return !got || errno == ECONNRESET;
}

bool script_greet(int fd)
{
	return script_say(fd, "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n") &&
	       script_expect(fd, "qmp_capabilities", NULL) &&
	       script_say(fd, "{\"return\": {}, \"id\": 1}\r\n");
}
