/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

static bool act_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY) >= 0;
}

static bool act_open_absent_library(void)
{
	return open("/proc/self/maps", O_RDONLY) >= 0;
}

static bool act_create(void)
{
	return open("/tmp/sealift-must-not-exist", O_WRONLY | O_CREAT, 0600) >= 0;
}

static bool act_read_init_environment(void)
{
	return open("/proc/1/environ", O_RDONLY) >= 0;
}

static bool act_list_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY) >= 0;
}

static bool act_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool act_udp_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0) >= 0;
}

static bool act_raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_TCP) >= 0;
}

static bool act_netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
}

static bool act_bind(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd >= 0 && !bind(fd, (const struct sockaddr *)&any, sizeof(any));
}

static bool act_exec(void)
{
	char *const none[] = { NULL };

	return !execve("/bin/true", none, none);
}

static bool act_ptrace_parent(void)
{
	return !ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static bool act_read_parent_memory(void)
{
	char byte;
	struct iovec local = { &byte, 1 };
	struct iovec remote = { (void *)(uintptr_t)attempts, 1 };

	return process_vm_readv(getppid(), &local, 1, &remote, 1, 0) == 1;
}

static bool act_fork(void)
{
	long child = syscall(SYS_fork);

	if (!child)
		_exit(0);
	return child > 0;
}

static bool act_kill_parent(void)
{
	return !kill(getppid(), 0);
}

static bool act_mount(void)
{
	return !mount("", "/", "tmpfs", 0, NULL);
}

static bool act_unshare(void)
{
	return !unshare(CLONE_NEWUSER);
}

static bool act_set_dumpable(void)
{
	return !prctl(PR_SET_DUMPABLE, 1);
}

static bool act_become_root(void)
{
	return !setresuid(0, 0, 0);
}

static bool act_raise_limit(void)
{
	const struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };

	return !setrlimit(RLIMIT_NOFILE, &more);
}

static bool act_make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED && !mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static bool act_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static bool act_memfd(void)
{
	return memfd_create("x", 0) >= 0;
}

static bool act_io_uring(void)
{
	char parameters[256] = { 0 };

	return syscall(SYS_io_uring_setup, 1, parameters) >= 0;
}

static bool act_keyring(void)
{
	return syscall(SYS_add_key, "user", "x", "x", 1, -3) >= 0;
}

const Attempt attempts[] = {
	{ "open a file", act_open, true },
	{ "open its own maps", act_open_absent_library, true },
	{ "create a file", act_create, true },
	{ "read the environment of process 1", act_read_init_environment, true },
	{ "list the root", act_list_root, true },
	{ "make a UNIX socket", act_unix_socket, false },
	{ "make a UDP socket", act_udp_socket, false },
	{ "make a raw socket", act_raw_socket, true },
	{ "make a netlink socket", act_netlink_socket, false },
	{ "bind a port", act_bind, false },
	{ "exec", act_exec, true },
	{ "trace its parent", act_ptrace_parent, true },
	{ "read its parent's memory", act_read_parent_memory, true },
	{ "fork", act_fork, false },
	{ "signal its parent", act_kill_parent, false },
	{ "mount", act_mount, true },
	{ "make a user namespace", act_unshare, false },
	{ "become dumpable", act_set_dumpable, false },
	{ "become root", act_become_root, false },
	{ "raise a limit", act_raise_limit, true },
	{ "turn memory into code", act_make_code, false },
	{ "map code", act_map_code, false },
	{ "make a memfd", act_memfd, false },
	{ "set up a ring", act_io_uring, false },
	{ "add a key", act_keyring, false },
	{ NULL, NULL, false },
};

static void run_child(const SandboxPolicy *policy, const SandboxUser *user, bool as_nobody,
		      bool filtered, bool (*act)(void))
{
	Error err = ERROR_INIT;
	SandboxReport report;

	if (as_nobody && geteuid() == 0 &&
	    (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		_exit(100);
	if (!sandbox_enter(policy, user, NULL, 0, &report, &err) ||
	    (filtered && !sandbox_filter(policy, false, &report, &err))) {
		(void)!write(2, err.text, strlen(err.text));
		_exit(100);
	}
	_exit(act() ? 0 : 1);
}

Outcome attempt_in(const SandboxPolicy *policy, const SandboxUser *user, bool as_nobody,
		   bool filtered, bool (*act)(void))
{
	int status;
	pid_t child = fork();

	if (!child)
		run_child(policy, user, as_nobody, filtered, act);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return OUTCOME_BROKEN;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? OUTCOME_KILLED : OUTCOME_BROKEN;
	if (WEXITSTATUS(status) > 1)
		return OUTCOME_BROKEN;
	return WEXITSTATUS(status) ? OUTCOME_REFUSED : OUTCOME_WORKED;
}

static void assert_outcome(const char *what, Outcome found, Outcome expected)
{
	if (found != expected)
		print_error("attempt to %s: outcome %d, expected %d\n", what, (int)found,
			    (int)expected);
	assert_int_equal(found, expected);
}

void attempts_assert_refused(const SandboxPolicy *policy)
{
	const SandboxUser none = { 0 };

	for (const Attempt *a = attempts; a->name; a++) {
		assert_outcome(a->name, attempt_in(policy, &none, false, true, a->act),
			       OUTCOME_KILLED);
		if (a->refused_early)
			assert_outcome(a->name, attempt_in(policy, &none, false, false, a->act),
				       OUTCOME_REFUSED);
	}
}
