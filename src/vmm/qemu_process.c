/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "sandbox/sandbox.h"

#ifndef P_PIDFD
#define P_PIDFD 3 /* linux/wait.h, where glibc has none */
#endif

enum {
	RECORD_MAX_BYTES = 256,
	STAT_MAX_BYTES = 4096,
	STAT_STATE = 3,
	STAT_START_TIME = 22, /* field number, proc(5) */
	MOVED_FD_FIRST = 64,
};
static_assert((int)QEMU_FD_FIRST + QEMU_FDS_MAX < MOVED_FD_FIRST,
	      "moved descriptors are out of the way");

typedef struct Record {
	pid_t pid;
	uint64_t start_time;
	char boot_id[LIMIT_UUID];
} Record;

void qemu_process_close(QemuProcess *process)
{
	if (process->pid_fd >= 0)
		close(process->pid_fd);
	if (process->log_fd >= 0)
		close(process->log_fd);
	*process = QEMU_PROCESS_INIT;
}

static bool read_boot_id(char ret_id[LIMIT_UUID], Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(64);

	if (!file_read("/proc/sys/kernel/random/boot_id", 64, &text, err))
		return false;
	if (text.used < LIMIT_UUID - 1)
		return error_set(err, ERROR_IO, "the boot id is too short");
	memcpy(ret_id, text.data, LIMIT_UUID - 1);
	ret_id[LIMIT_UUID - 1] = '\0';
	return true;
}

/* proc(5): in clock ticks since boot. The name in parentheses may hold anything. */
static bool read_start_time(pid_t pid, uint64_t *ret_ticks, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(STAT_MAX_BYTES);
	char path[64];
	char *p, *rest = NULL;
	int field = STAT_STATE - 1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!file_read(path, STAT_MAX_BYTES - 1, &text, err) || !buffer_put_u8(&text, 0, err))
		return false;
	p = strrchr((char *)text.data, ')');
	for (p = p ? strtok_r(p + 1, " ", &rest) : NULL; p; p = strtok_r(NULL, " ", &rest))
		if (++field == STAT_START_TIME)
			return sscanf(p, "%" SCNu64, ret_ticks) == 1 ||
			       error_set(err, ERROR_IO, "%s: start time is \"%s\"", path, p);
	return error_set(err, ERROR_IO, "%s has no start time", path);
}

static int open_pid(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* After fork: only async-signal-safe calls. What cannot be had ends the child with a word on the
 * pipe that is its standard error by then. */
static _Noreturn void fail_child(const char *what)
{
	ssize_t ignored = write(STDERR_FILENO, what, strlen(what));

	(void)ignored;
	_exit(127);
}

static void take_descriptors(const QemuCommand *command, int log_fd)
{
	int moved[QEMU_FDS_MAX];

	if (dup2(log_fd, STDERR_FILENO) < 0)
		_exit(127);
	for (size_t i = 0; i < command->fds_count; i++) {
		moved[i] = fcntl(command->fds[i], F_DUPFD_CLOEXEC, MOVED_FD_FIRST);
		if (moved[i] < 0)
			fail_child("cannot move descriptors\n");
	}
	for (size_t i = 0; i < command->fds_count; i++)
		if (dup2(moved[i], QEMU_FD_FIRST + (int)i) < 0)
			fail_child("cannot place descriptors\n");
	close_range(QEMU_FD_FIRST + (unsigned int)command->fds_count, ~0U, CLOSE_RANGE_CLOEXEC);
	if (dup2(open("/dev/null", O_RDWR), STDIN_FILENO) < 0 ||
	    dup2(STDIN_FILENO, STDOUT_FILENO) < 0)
		fail_child("cannot open /dev/null\n");
}

/* While it may still: its next user could not, nor could its parent from then on. */
static void set_limits(const QemuCommand *command)
{
	for (size_t i = 0; i < command->limits_count; i++) {
		const struct rlimit both = { command->limits[i].max, command->limits[i].max };

		if (setrlimit((__rlimit_resource_t)command->limits[i].resource, &both))
			fail_child("cannot set its limits\n");
	}
}

static void drop_privileges(const QemuUser *user)
{
	struct rlimit no_core = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &no_core))
		fail_child("cannot forbid core dumps\n");
	sandbox_drop_bounding_set();
	if (!geteuid() && user->set &&
	    (setgroups(user->groups_count, user->groups) ||
	     setresgid(user->gid, user->gid, user->gid) ||
	     setresuid(user->uid, user->uid, user->uid)))
		fail_child("cannot become QEMU's user\n");
	/* With no user given, root's would else come back with the program. */
	if (!sandbox_drop_capabilities())
		fail_child("cannot give capabilities up\n");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail_child("cannot renounce new privileges\n");
	/* All VMs of a host have one user: without this, one that took over its QEMU could trace the
	 * others. An old kernel has no such means, which is no reason to run no VM. */
	(void)!sandbox_part_from_others();
}

/* A change of user takes the wish back, so that it comes last; a parent that died before is noticed
 * by its number. */
static void die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(127);
}

static _Noreturn void become_qemu(const QemuCommand *command, const QemuUser *user, pid_t parent,
				  int go_fd, int log_fd)
{
	static const char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	/*
	 * QEMU's populating threads begin with a malloc. Each would make an arena of its own by
	 * mmap(2), which waits until the thread that came first has populated its whole part:
	 * populating holds the lock of the address space. With one arena they run side by side
	 * (measured: 3 GiB of cold memory by two threads 3.4 s instead of 6.3 s).
	 */
	static const char arenas[] = "MALLOC_ARENA_MAX=1";
	char *environment[] = { (char *)(uintptr_t)path, (char *)(uintptr_t)arenas, NULL };
	sigset_t none;
	char go;

	/* No word from the parent: it died before there was a record. */
	if (read(go_fd, &go, 1) != 1)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < 32; number++)
		signal(number, SIG_DFL);
	setsid();
	/* It outlives us: it must not hold on to the directory that we were started in. */
	if (chdir("/"))
		_exit(127);
	umask(0077);
	take_descriptors(command, log_fd);
	set_limits(command);
	drop_privileges(user);
	if (parent)
		die_with(parent);
	execve(command->argv[0], command->argv, environment);
	fail_child("cannot run this program\n");
}

static bool write_record(pid_t pid, const char *path, Error *err)
{
	Record record = { .pid = pid };
	char text[RECORD_MAX_BYTES];
	int length;

	if (!read_boot_id(record.boot_id, err) || !read_start_time(pid, &record.start_time, err))
		return false;
	length = snprintf(text, sizeof(text), "%d %" PRIu64 " %s\n", record.pid, record.start_time,
			  record.boot_id);
	return file_replace(path, text, (size_t)length, 0600, err);
}

static bool read_record(const char *path, Record *ret_record, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(RECORD_MAX_BYTES);

	if (!file_read(path, RECORD_MAX_BYTES - 1, &text, err) || !buffer_put_u8(&text, 0, err))
		return false;
	if (sscanf((const char *)text.data, "%d %" SCNu64 " %36[0-9a-f-]", &ret_record->pid,
		   &ret_record->start_time, ret_record->boot_id) != 3 ||
	    ret_record->pid <= 1)
		return error_set(err, ERROR_NOT_FOUND, "%s is no record of a process", path);
	return true;
}

/* The child waits for a byte that comes only when its record is on disk. */
static bool release_child(QemuProcess *process, int go_fd, const char *record_path, Error *err)
{
	process->pid_fd = open_pid(process->pid);
	if (process->pid_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot watch process %d",
				       process->pid);
	return (!record_path || write_record(process->pid, record_path, err)) &&
	       file_write_fd(go_fd, "g", 1, err);
}

void qemu_process_destroy(QemuProcess *process)
{
	kill(process->pid, SIGKILL);
	while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
		;
	qemu_process_close(process);
}

bool qemu_process_spawn(const QemuCommand *command, const QemuUser *user, const char *record_path,
			QemuProcess *ret_process, Error *err)
{
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	int go[2], log[2];

	if (access(command->argv[0], X_OK))
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot run %s", command->argv[0]);
	if (pipe2(go, O_CLOEXEC))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a pipe");

	AUTO_FD int go_read = go[0];
	AUTO_FD int go_write = go[1];

	/* Non-blocking on QEMU's side too: a full pipe may not stop a guest. */
	if (pipe2(log, O_CLOEXEC | O_NONBLOCK))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a pipe");
	process.log_fd = log[0];

	AUTO_FD int log_write_fd = log[1];

	pid_t parent = record_path ? 0 : getpid();

	process.pid = fork();
	if (process.pid < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot fork");
	if (!process.pid) {
		close(go_write);
		become_qemu(command, user, parent, go_read, log_write_fd);
	}
	if (!release_child(&process, go_write, record_path, err)) {
		qemu_process_destroy(&process);
		return false;
	}
	*ret_process = process;
	process = QEMU_PROCESS_INIT;
	return true;
}

/* Its standard error is a pipe without a reader by now; opening it anew makes us the reader. */
static int open_log_again(pid_t pid)
{
	char path[64];
	struct stat status;
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd/2", pid);
	if (stat(path, &status) || !S_ISFIFO(status.st_mode))
		return -1;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return TAKE_FD(fd);
}

bool qemu_process_find(const char *record_path, QemuProcess *ret_process, Error *err)
{
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	char boot_id[LIMIT_UUID];
	uint64_t start_time = 0;
	Record record;

	if (!read_record(record_path, &record, err) || !read_boot_id(boot_id, err))
		return false;
	/* The pidfd first: what is then read of this id is read of this process, or of none. */
	process.pid = record.pid;
	if (!strcmp(boot_id, record.boot_id))
		process.pid_fd = open_pid(record.pid);
	if (process.pid_fd < 0 || !read_start_time(record.pid, &start_time, &(Error){ 0 }) ||
	    start_time != record.start_time)
		return error_set(err, ERROR_NOT_FOUND, "process %d is gone", record.pid);
	process.log_fd = open_log_again(record.pid);
	*ret_process = process;
	process = QEMU_PROCESS_INIT;
	return true;
}

bool qemu_process_cpu_us(const QemuProcess *process, int64_t *ret_us, Error *err)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(process->pid, &clock) || clock_gettime(clock, &used))
		return error_set(err, ERROR_NOT_FOUND, "process %d is gone", process->pid);
	*ret_us = (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
	return true;
}

bool qemu_process_kill(const QemuProcess *process, Error *err)
{
	if (syscall(SYS_pidfd_send_signal, process->pid_fd, SIGKILL, NULL, 0) && errno != ESRCH)
		return error_set_errno(err, ERROR_IO, errno, "cannot kill process %d",
				       process->pid);
	return true;
}

void qemu_process_reap(const QemuProcess *process, Error *ret_cause)
{
	siginfo_t info = { 0 };

	/* Not our child after an engine's restart: then nobody here knows how it ended. */
	if (waitid(P_PIDFD, (id_t)process->pid_fd, &info, WEXITED | WNOHANG) || !info.si_pid)
		error_set(ret_cause, ERROR_HYPERVISOR, "QEMU (process %d) is gone", process->pid);
	else if (info.si_code == CLD_EXITED)
		error_set(ret_cause, ERROR_HYPERVISOR, "QEMU (process %d) ended with status %d",
			  process->pid, info.si_status);
	else
		error_set(ret_cause, ERROR_HYPERVISOR, "QEMU (process %d) was ended by signal %d",
			  process->pid, info.si_status);
}
