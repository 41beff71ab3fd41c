/* SPDX-License-Identifier: Apache-2.0 */
/* The one measure that a process cannot take by itself: clone(2), "CLONE_NEWPID". */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sandbox/stages.h"

/* As fork(2), without what the C library does around it: nothing of that is needed before exec. */
static pid_t clone_with(uint64_t flags)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/*
 * Should: give the child back the number of its user, and say so to the parent.
 * Mustn't: leave the copy of the parent's memory open to other processes of this user for longer
 * than the maps take to write, which belong to root as long as it cannot be dumped.
 */
static void map_and_tell(uid_t uid, gid_t gid, int tell_fd)
{
	int dumpable = prctl(PR_GET_DUMPABLE);
	bool mapped = !prctl(PR_SET_DUMPABLE, 1) && namespace_map_user(uid, gid);

	if (prctl(PR_SET_DUMPABLE, dumpable) || !mapped || write(tell_fd, "m", 1) != 1)
		_exit(127);
}

/* Some kernels grant the namespace and then no right in it, so that only the map tells. */
static pid_t fork_with_user_namespace(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int ends[2];
	pid_t child;
	ssize_t got;
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	AUTO_FD int reader = ends[0];
	AUTO_FD int writer = ends[1];

	child = clone_with(CLONE_NEWUSER | CLONE_NEWPID);
	if (child < 0)
		return -1;
	if (!child) {
		map_and_tell(uid, gid, writer);
		return 0;
	}
	close(TAKE_FD(writer));
	do
		got = read(reader, &byte, 1);
	while (got < 0 && errno == EINTR);
	if (got == 1)
		return child;
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return -1;
}

pid_t sandbox_fork(void)
{
	pid_t child = clone_with(CLONE_NEWPID);

	if (child < 0 && geteuid() != 0)
		child = fork_with_user_namespace();
	return child < 0 ? fork() : child;
}

/* proc(5) shows numbers of the namespace that it was mounted in, which is the host's. */
pid_t sandbox_outer_pid(void)
{
	char text[16];
	ssize_t size = readlink("/proc/self", text, sizeof(text) - 1);
	long number;

	if (size <= 0)
		return getpid();
	text[size] = '\0';
	number = strtol(text, NULL, 10);
	return number > 0 && number <= INT_MAX ? (pid_t)number : getpid();
}
