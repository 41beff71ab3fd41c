/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a QEMU: connects to SEALIFT_PROBE and does there what it is told. */
#include "qemu_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int of(long result)
{
	return result < 0 ? errno : 0;
}

static int fork_by(long number, unsigned long flags)
{
	long child = number == SYS_clone ? syscall(number, flags, 0, 0, 0, 0) : syscall(number);

	if (!child)
		_exit(0);
	return of(child);
}

static int run_program(void)
{
	char *const none[] = { NULL };

	return of(execve("/bin/true", none, none));
}

static int affinity(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return errno;
	return of(sched_setaffinity(0, sizeof(set), &set));
}

static int read_memory(pid_t neighbour)
{
	char byte;
	struct iovec local = { &byte, 1 };
	struct iovec remote = { (void *)(uintptr_t)&environ, 1 };
	long got = process_vm_readv(neighbour, &local, 1, &remote, 1, 0);

	/* Another program has nothing at that address: then it was not forbidden to look. */
	return got < 0 && errno != EFAULT ? errno : 0;
}

static int limit_core(void)
{
	const struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };

	return of(setrlimit(RLIMIT_CORE, &more));
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return of(connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
			  (const struct sockaddr *)&to, sizeof(to)));
}

static int act(const ProbeOrder *order)
{
	switch ((ProbeAct)order->act) {
	case PROBE_FORK:
		return fork_by(SYS_fork, 0);
	case PROBE_VFORK:
		/* As vfork(2), whose child may not return from this frame. */
		return fork_by(SYS_clone, CLONE_VFORK | SIGCHLD);
	case PROBE_CLONE:
		return fork_by(SYS_clone, SIGCHLD);
	case PROBE_EXEC:
		return run_program();
	case PROBE_SETUID:
		return of(syscall(SYS_setresuid, getuid(), getuid(), getuid()));
	case PROBE_SETGID:
		return of(syscall(SYS_setresgid, getgid(), getgid(), getgid()));
	case PROBE_SETREUID:
		return of(syscall(SYS_setreuid, -1, getuid()));
	case PROBE_SETPRIORITY:
		return of(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0)));
	case PROBE_SETAFFINITY:
		return affinity();
	case PROBE_SYSFS:
		return of(syscall(SYS_sysfs, 3));
	case PROBE_TRACE:
		return of(ptrace(PTRACE_SEIZE, order->neighbour, NULL, NULL));
	case PROBE_SIGNAL:
		return of(kill(order->neighbour, SIGCONT));
	case PROBE_READ_MEMORY:
		return read_memory(order->neighbour);
	case PROBE_CORE_LIMIT:
		return limit_core();
	case PROBE_CHROOT:
		return of(chroot("/"));
	case PROBE_OPEN_FILE:
		return of(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	case PROBE_CONNECT:
		return connect_to(order->port);
	case PROBE_ACT_COUNT:
	default:
		return ENOSYS;
	}
}

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	ProbeOrder order;

	while (recv(fd, &order, sizeof(order), 0) == sizeof(order)) {
		ProbeAnswer answer = act(&order);

		if (send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	return NULL;
}

static __attribute__((constructor)) void begin(void)
{
	const char *path = getenv("SEALIFT_PROBE");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pthread_t thread;

	if (!path || fd < 0)
		return;
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) ||
	    pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
		abort();
}
