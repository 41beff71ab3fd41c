/* SPDX-License-Identifier: Apache-2.0 */
/* A child for test_child.c: does what its argument says. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "role/messages.h"
#include "sandbox/sandbox.h"

static bool is_null_device(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Nothing of the engine's may be here but what it gave. */
static const char *find_fault(void)
{
	struct sigaction action;
	struct stat root, here;
	char text[8] = "";
	sigset_t mask;

	if (!is_null_device(0) || !is_null_device(1))
		return "standard input or output is not /dev/null";
	if (read(ROLE_EXTRA_FD, text, sizeof(text) - 1) != 5 || strcmp(text, "hello"))
		return "the first descriptor is not the one that was given";
	if (!is_open(ROLE_EXTRA_FD + 1))
		return "the second descriptor is missing";
	for (int fd = ROLE_EXTRA_FD + 2; fd < 1024; fd++)
		if (is_open(fd))
			return "a descriptor that was not given";
	if (!environ[0] || strncmp(environ[0], "PATH=", 5) || environ[1])
		return "the environment is more than PATH";
	if (stat("/", &root) || stat(".", &here) || root.st_ino != here.st_ino)
		return "the working directory is not the root";
	if (sigprocmask(SIG_SETMASK, NULL, &mask) || sigismember(&mask, SIGUSR1))
		return "a signal is blocked";
	if (sigaction(SIGPIPE, NULL, &action) || action.sa_handler != SIG_DFL)
		return "SIGPIPE is ignored";
	return NULL;
}

static void wait_for_the_engine(IpcLink *link)
{
	IpcMessage message;
	Error err = ERROR_INIT;

	while (ipc_receive(link, &message, &err) == IPC_MESSAGE)
		ipc_message_clear(&message, link);
}

static void inspect(IpcLink *link)
{
	const char *fault = find_fault();
	Error failure = ERROR_INIT, err = ERROR_INIT;

	if (!fault)
		return;
	error_set(&failure, ERROR_INTERNAL, "%s", fault);
	if (!role_send_failure(link, 0, &failure, &err))
		_exit(9);
	wait_for_the_engine(link);
	_exit(9);
}

/* As a role ends that does what its policy forbids. */
static void break_filter(void)
{
	static const char *const none[] = { NULL };
	static const SandboxPolicy policy = { .role = "example", .syscalls = none };
	SandboxReport report = { 0 };
	Error err = ERROR_INIT;

	if (sandbox_filter(&policy, false, &report, &err))
		(void)getppid();
}

/* NULL if it is process 1 and there is no other: no parent, nobody by the engine's number. */
static const char *find_company(void)
{
	if (getpid() != 1)
		return "not process 1";
	if (getppid())
		return "its parent can be named";
	for (pid_t pid = 2; pid < 100000; pid++)
		if (!kill(pid, 0) || errno != ESRCH)
			return "another process can be named";
	return NULL;
}

static void be_alone(IpcLink *link)
{
	const char *fault = find_company();
	Error failure = ERROR_INIT, err = ERROR_INIT;

	if (!fault)
		return;
	error_set(&failure, ERROR_INTERNAL, "%s", fault);
	if (role_send_failure(link, 0, &failure, &err))
		wait_for_the_engine(link);
	_exit(9);
}

/* The link ends, the process goes on until it is told to end. */
static void end_late(IpcLink *link)
{
	char byte;

	ipc_link_free(link);
	if (write(ROLE_EXTRA_FD, "c", 1) != 1 || read(ROLE_EXTRA_FD, &byte, 1) != 1)
		_exit(9);
	_exit(5);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	Error err = ERROR_INIT;
	AUTO_IPC_LINK IpcLink *link = ipc_link_new(ROLE_LINK_FD, mover_rules, &err);

	if (!link)
		return 4;
	/* With the link still open, as a child ends that meets its own error. */
	if (!strcmp(what, "exit"))
		_exit(3);
	if (!strcmp(what, "abort")) {
		/* Where a sanitizer's handler is, which would make an exit of it. */
		signal(SIGSEGV, SIG_DFL);
		abort();
	}
	if (!strcmp(what, "bad-call"))
		break_filter();
	if (!strcmp(what, "late"))
		end_late(TAKE_PTR(link));
	if (!strcmp(what, "inspect"))
		inspect(link);
	if (!strcmp(what, "alone"))
		be_alone(link);
	if (!ipc_send(link, !strcmp(what, "wrong") ? MOVER_PROVEN : ROLE_READY, 5, NULL, NULL, NULL,
		      0, &err))
		return 4;
	if (!strcmp(what, "hang"))
		for (;;)
			pause();
	wait_for_the_engine(link);
	return 0;
}
