/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/file.h"

enum { END_TIMEOUT_MS = 2000, LAST_WORDS = 160 };

/* After fork: only async-signal-safe calls. */
static void become_program(const char *const *argv, int io, int errors)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(io, 0) < 0 || dup2(io, 1) < 0 || dup2(errors, 2) < 0)
		_exit(127);
	close_range(3, ~0U, 0);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

bool trial_start(Trial *trial, const char *const *argv, unsigned int timeout_ms, Error *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket pair");
	AUTO_FD int child_end = ends[1];

	trial->io = ends[0];
	trial->errors = file_make_memory("sealift-trial");
	if (trial->errors < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a memfd");
	trial->pid = fork();
	if (trial->pid < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot fork");
	if (!trial->pid)
		become_program(argv, child_end, trial->errors);
	trial->pidfd = (int)syscall(SYS_pidfd_open, trial->pid, 0);
	trial->deadline_us = clock_monotonic_us(&clock_system) + (int64_t)timeout_ms * 1000;
	return true;
}

void trial_end(Trial *trial)
{
	struct pollfd ended = { .fd = trial->pidfd, .events = POLLIN };

	if (trial->pid > 0) {
		kill(trial->pid, SIGKILL);
		if (trial->pidfd < 0 || poll(&ended, 1, END_TIMEOUT_MS) == 1)
			while (waitpid(trial->pid, NULL, 0) < 0 && errno == EINTR)
				;
	}
	cleanup_fd(&trial->pidfd);
	cleanup_fd(&trial->io);
	cleanup_fd(&trial->errors);
	*trial = TRIAL_INIT;
}

bool trial_write(Trial *trial, const char *text, Error *err)
{
	size_t length = strlen(text);

	/* Requests are shorter than any socket buffer. */
	if (send(trial->io, text, length, MSG_NOSIGNAL) != (ssize_t)length)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot speak with it");
	return true;
}

/* The end of what it wrote to standard error, which says why it ended. */
static bool set_last_words(const Trial *trial, Error *err)
{
	char text[LAST_WORDS + 1];
	off_t end = lseek(trial->errors, 0, SEEK_END);
	off_t start = end > LAST_WORDS ? end - LAST_WORDS : 0;
	ssize_t got = pread(trial->errors, text, LAST_WORDS, start);
	char *line;

	while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
		got--;
	if (got <= 0)
		return error_set(err, ERROR_UNAVAILABLE, "it ended without a word");
	text[got] = '\0';
	line = strrchr(text, '\n');
	return error_set(err, ERROR_UNAVAILABLE, "it ended: %s", line ? line + 1 : text);
}

bool trial_read(Trial *trial, Buffer *buffer, Error *err)
{
	struct pollfd event = { .fd = trial->io, .events = POLLIN };
	char chunk[16384];

	for (;;) {
		int64_t left_ms = (trial->deadline_us - clock_monotonic_us(&clock_system)) / 1000;
		ssize_t got;

		if (left_ms <= 0)
			return error_set(err, ERROR_TIMEOUT, "nothing came in time");
		if (poll(&event, 1, (int)left_ms) <= 0)
			continue;
		got = recv(trial->io, chunk, sizeof(chunk), MSG_DONTWAIT);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return set_last_words(trial, err);
		return buffer_put(buffer, chunk, (size_t)got, err);
	}
}
