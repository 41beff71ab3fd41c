/* SPDX-License-Identifier: Apache-2.0 */
#include "role/child.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "role/messages.h"
#include "sandbox/sandbox.h"

/* From the end of its link to its own end; more than that is no way to end. */
enum { END_SECONDS = 2 };

struct Child {
	pid_t pid;
	int pid_fd;	   /* -1 until its link has ended */
	struct event *end; /* of the process, likewise */
	char name[LIMIT_NAME]; /* the program's, without its folders */
	IpcLink *link;
	struct event *event;
	ChildEvents events;
	void *context;
	bool *freed; /* set while a callback runs, so that the callback may free us */
};

/* After fork: only async-signal-safe calls. Moves the descriptors to their places by way of high
 * numbers, so that none is overwritten before it was copied. */
static void become_child(const ChildSpec *spec, int link_fd, char *const *argv)
{
	static const char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char *environment[] = { (char *)(uintptr_t)path, NULL };
	int moved[1 + CHILD_FDS_MAX], null;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	for (size_t i = 0; i <= spec->fds_count; i++) {
		moved[i] = fcntl(i ? spec->fds[i - 1] : link_fd, F_DUPFD_CLOEXEC, 64);
		if (moved[i] < 0)
			_exit(127);
	}
	for (size_t i = 0; i <= spec->fds_count; i++)
		if (dup2(moved[i], ROLE_LINK_FD + (int)i) < 0)
			_exit(127);
	/* Standard input and output are not for children; all else that is open, this null too, ends
	 * with exec. */
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || chdir("/"))
		_exit(127);
	close_range(ROLE_LINK_FD + 1 + (unsigned int)spec->fds_count, ~0U, CLOSE_RANGE_CLOEXEC);
	execve(spec->path, argv, environment);
	_exit(127);
}

static void collect_argv(const ChildSpec *spec, char *argv[CHILD_ARGS_MAX])
{
	size_t used = 0;

	argv[used++] = (char *)(uintptr_t)spec->path;
	for (const char *const *arg = spec->args; arg && *arg; arg++) {
		assert(used < CHILD_ARGS_MAX - 1);
		argv[used++] = (char *)(uintptr_t)*arg;
	}
	argv[used] = NULL;
}

/* "was killed by signal 31 (bad system call)" */
static void describe_end(int status, char *text, size_t size)
{
	const char *name;
	char first;

	if (!WIFSIGNALED(status)) {
		snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
		return;
	}
	name = strsignal(WTERMSIG(status));
	first = (char)tolower((unsigned char)name[0]);
	snprintf(text, size, "was killed by signal %d (%c%s)", WTERMSIG(status), first, name + 1);
}

static void reap(Child *child, int *ret_status)
{
	while (waitpid(child->pid, ret_status, 0) < 0 && errno == EINTR)
		;
	child->pid = -1;
}

/* It broke a rule or does not end: we end it, and say why. */
static void end_broken(Child *child, const Error *cause)
{
	int status = 0;
	Error err = *cause;

	event_del(child->event);
	kill(child->pid, SIGKILL);
	reap(child, &status);
	error_prefix(&err, "%s", child->name);
	child->events.on_gone(child->context, child, &err);
}

static void on_end(evutil_socket_t fd, short what, void *context)
{
	Child *child = context;
	char how[96];
	int status = 0;
	Error err = ERROR_INIT;

	(void)fd;
	if (what & EV_TIMEOUT) {
		error_set(&err, ERROR_INTERNAL, "closed its link and did not end within %d s", END_SECONDS);
		end_broken(child, &err);
		return;
	}
	reap(child, &status);
	describe_end(status, how, sizeof(how));
	error_set(&err, ERROR_INTERNAL, "%s %s", child->name, how);
	child->events.on_gone(child->context, child, &err);
}

/* The link ends a moment before the process does, and a signal now would hide how it ended. */
static void await_end(Child *child)
{
	const struct timeval deadline = { .tv_sec = END_SECONDS };
	Error err = ERROR_INIT;

	event_del(child->event);
	child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pid_fd >= 0)
		child->end = event_new(event_get_base(child->event), child->pid_fd, EV_READ, on_end, child);
	if (child->end && !event_add(child->end, &deadline))
		return;
	error_set(&err, ERROR_INTERNAL, "is gone, and how it ended cannot be told");
	end_broken(child, &err);
}

/* IPC_NOTHING too if a callback freed the child. */
static IpcReceived take_messages(Child *child, Error *err)
{
	bool freed = false;
	IpcReceived got = IPC_NOTHING;

	child->freed = &freed;
	/* A bound on how long one child may keep the loop. */
	for (int i = 0; i < 16; i++) {
		IpcMessage message;

		got = ipc_receive(child->link, &message, err);
		if (got != IPC_MESSAGE)
			break;
		child->events.on_message(child->context, child, &message);
		if (freed) {
			for (size_t f = 0; f < message.fds_count; f++)
				cleanup_fd(&message.fds[f]);
			return IPC_NOTHING;
		}
		ipc_message_clear(&message, child->link);
	}
	child->freed = NULL;
	return got;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	Child *child = context;
	Error err = ERROR_INIT;
	IpcReceived got = take_messages(child, &err);

	(void)fd;
	(void)what;
	if (got == IPC_CLOSED)
		await_end(child);
	else if (got == IPC_BROKEN)
		end_broken(child, &err);
}

Child *child_new(struct event_base *base, const ChildSpec *spec, const ChildEvents *events,
		 void *context, Error *err)
{
	char *argv[CHILD_ARGS_MAX];
	const char *name;
	int pair[2];
	Child *child;

	if (access(spec->path, X_OK)) {
		error_set_errno(err, ERROR_CONFIG, errno, "cannot run %s", spec->path);
		return NULL;
	}
	if (!ipc_pair(pair, err))
		return NULL;

	AUTO_FD int ours = pair[0];
	AUTO_FD int theirs = pair[1];

	child = calloc(1, sizeof(*child));
	if (child)
		child->pid_fd = -1;
	if (!child || fcntl(ours, F_SETFL, O_NONBLOCK)) {
		free(child);
		error_set(err, ERROR_INTERNAL, "no memory for a child");
		return NULL;
	}
	collect_argv(spec, argv);
	child->pid = sandbox_fork();
	if (!child->pid)
		become_child(spec, theirs, argv);
	if (child->pid > 0)
		child->link = ipc_link_new(TAKE_FD(ours), spec->rules, err);
	else
		error_set_errno(err, ERROR_IO, errno, "cannot fork");
	if (child->link)
		child->event = event_new(base, ipc_link_fd(child->link), EV_READ | EV_PERSIST, on_readable,
					 child);
	if (!child->event || event_add(child->event, NULL)) {
		if (!err->category)
			error_set(err, ERROR_INTERNAL, "no memory for a child");
		child_free(child);
		return NULL;
	}
	name = strrchr(spec->path, '/');
	snprintf(child->name, sizeof(child->name), "%s", name ? name + 1 : spec->path);
	child->events = *events;
	child->context = context;
	return child;
}

void child_free(Child *child)
{
	if (!child)
		return;
	if (child->freed)
		*child->freed = true;
	if (child->event)
		event_free(child->event);
	if (child->end)
		event_free(child->end);
	cleanup_fd(&child->pid_fd);
	ipc_link_free(child->link);
	if (child->pid > 0) {
		kill(child->pid, SIGKILL);
		reap(child, NULL);
	}
	free(child);
}

bool child_send(Child *child, uint16_t type, uint64_t subject, const Schema *schema,
		const void *payload, const int *fds, size_t n_fds, Error *err)
{
	return ipc_send(child->link, type, subject, schema, payload, fds, n_fds, err);
}

pid_t child_pid(const Child *child)
{
	return child->pid;
}
