/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mover/nbd_mirror.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/mover/nbd_peer.h"

enum { DEADLINE_MS = 20000, LINE = 512 };

static void fail(const NbdMirror *mirror, const char *what)
{
	fprintf(stderr, "%s: the storage daemon said %s\n", what, mirror->heard);
	abort();
}

/* Until it has said this, and no error. */
static void await(NbdMirror *mirror, const char *text)
{
	while (!strstr(mirror->heard, text)) {
		struct pollfd row = { .fd = mirror->qmp, .events = POLLIN };
		ssize_t got;

		if (strstr(mirror->heard, "\"error\"") ||
		    mirror->used + 1 >= sizeof(mirror->heard) || poll(&row, 1, DEADLINE_MS) != 1)
			fail(mirror, text);
		got = recv(mirror->qmp, mirror->heard + mirror->used,
			   sizeof(mirror->heard) - 1 - mirror->used, 0);
		if (got <= 0)
			fail(mirror, text);
		mirror->used += (size_t)got;
	}
}

static void say(const NbdMirror *mirror, const char *command, const char *arguments)
{
	char line[LINE];
	int size = snprintf(line, sizeof(line),
			    "{\"execute\": \"%s\", \"arguments\": {%s}, \"id\": \"%s\"}\n", command,
			    arguments, command);

	if (size >= LINE)
		abort();
	nbd_say(mirror->qmp, line, (size_t)size);
}

static void await_answer(NbdMirror *mirror, const char *command)
{
	char text[64];

	snprintf(text, sizeof(text), "\"id\": \"%s\"", command);
	await(mirror, text);
}

static void become_daemon(const char *image, int qmp)
{
	char node[LINE];
	const char *argv[] = { "qemu-storage-daemon", "--chardev",  "stdio,id=qmp", "--monitor",
			       "chardev=qmp",	      "--blockdev", node,	    NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(qmp, 0) < 0 || dup2(qmp, 1) < 0)
		_exit(127);
	snprintf(node, sizeof(node), "driver=raw,node-name=image,file.driver=file,file.filename=%s",
		 image);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void nbd_mirror_start(NbdMirror *mirror, const char *image, const char *name, const char *path,
		      int *ret_fd)
{
	int listen_fd = nbd_listen(path), pair[2];
	char target[LINE];

	memset(mirror, 0, sizeof(*mirror));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	mirror->qmp = pair[0];
	mirror->pid = fork();
	if (mirror->pid < 0)
		abort();
	if (!mirror->pid)
		become_daemon(image, pair[1]);
	close(pair[1]);
	say(mirror, "qmp_capabilities", "");
	await_answer(mirror, "qmp_capabilities");
	snprintf(target, sizeof(target),
		 "\"driver\": \"nbd\", \"node-name\": \"target\", \"export\": \"%s\", "
		 "\"server\": {\"type\": \"unix\", \"path\": \"%s\"}",
		 name, path);
	/* Answered when the handshake is done, for which somebody has to take *ret_fd. */
	say(mirror, "blockdev-add", target);
	*ret_fd = nbd_accept(listen_fd);
	close(listen_fd);
}

void nbd_mirror_copy(NbdMirror *mirror)
{
	await_answer(mirror, "blockdev-add");
	say(mirror, "blockdev-mirror",
	    "\"job-id\": \"copy\", \"device\": \"image\", \"target\": \"target\", \"sync\": \"full\"");
	await_answer(mirror, "blockdev-mirror");
	await(mirror, "BLOCK_JOB_READY");
}

void nbd_mirror_detach(NbdMirror *mirror)
{
	/* Of a job that is ready: it ends when both are alike. */
	say(mirror, "block-job-cancel", "\"device\": \"copy\"");
	await_answer(mirror, "block-job-cancel");
	await(mirror, "BLOCK_JOB_COMPLETED");
	say(mirror, "blockdev-del", "\"node-name\": \"target\"");
	await_answer(mirror, "blockdev-del");
}

void nbd_mirror_stop(NbdMirror *mirror)
{
	say(mirror, "quit", "");
	await_answer(mirror, "quit");
	if (!nbd_is_well(mirror->pid))
		fail(mirror, "quit");
	close(mirror->qmp);
}
