/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU that a guest has taken over cannot do. It is started as ever, but for a thread inside
 * it (qemu_probe.c) that does what the test says; and once more without -sandbox, where the same
 * must work.
 */
#include "vm_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "qemu_probe.h"
#include "sandbox/sandbox.h"
#include "vmm/qemu_vm.h"

enum { WAIT_MS = 20000, NOBODY = 65534, PATH_BYTES = LIMIT_UNIX_PATH, ANSWER_BYTES = 16384 };

typedef struct Probe {
	World *world;
	char directory[64], qemu[LIMIT_PATH];
	int listen_fd, fd; /* fd: of the thread in the QEMU that runs */
	int word_fd;	   /* what a program says that QEMU started */
	int port_fd;
	uint16_t port;
	pid_t neighbour; /* a process of QEMU's user, as another VM is */
} Probe;

static void in_directory(const Probe *probe, const char *name, char path[PATH_BYTES])
{
	snprintf(path, PATH_BYTES, "%s/%s", probe->directory, name);
}

/* --- a host with a door into its QEMU --- */

static void write_script(const Probe *probe, const char *name, const char *text)
{
	char path[PATH_BYTES];
	Error err = ERROR_INIT;

	in_directory(probe, name, path);
	if (!file_replace(path, text, strlen(text), 0755, &err) || chmod(path, 0755))
		fail_msg("%s", err.text);
}

/* The program that the host runs for QEMU, with or without what we ask of it. */
static void choose_qemu(Probe *probe, bool sandboxed)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "#!/bin/sh\n"
		 "%s\n"
		 "SEALIFT_PROBE=%s/probe.sock LD_PRELOAD=%s exec %s \"$@\"\n",
		 sandboxed
			 ? ":"
			 : "for a; do shift; case \"$skip$a\" in -sandbox) skip=1; continue;; 1*) "
			   "skip=; continue;; esac; set -- \"$@\" \"$a\"; done",
		 probe->directory, getenv("SEALIFT_QEMU_PROBE"), probe->qemu);
	write_script(probe, "qemu", text);
	in_directory(probe, "qemu", probe->world->resources->qemu_path);
}

static int listen_for_probes(const Probe *probe)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	in_directory(probe, "probe.sock", address.sun_path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(chmod(address.sun_path, 0666), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int listen_on_port(uint16_t *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void become_nobody(void)
{
	if (!geteuid() && (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)))
		_exit(1);
}

static pid_t start_neighbour(void)
{
	pid_t parent = getpid(), child = fork();

	if (child)
		return child;
	become_nobody();
	if (prctl(PR_SET_DUMPABLE, 1) || prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	for (;;)
		pause();
}

static int setup(void **state)
{
	Probe *probe = calloc(1, sizeof(*probe));
	char path[PATH_BYTES];
	void *world;

	world_setup(&world);
	probe->world = world;
	memcpy(probe->qemu, probe->world->resources->qemu_path, sizeof(probe->qemu));
	strcpy(probe->directory, "/tmp/sealift-qemu-probe.XXXXXX");
	assert_non_null(mkdtemp(probe->directory));
	assert_int_equal(chmod(probe->directory, 0755), 0);
	probe->listen_fd = listen_for_probes(probe);
	probe->fd = -1;
	in_directory(probe, "word", path);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_int_equal(chmod(path, 0666), 0);
	probe->word_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	probe->port_fd = listen_on_port(&probe->port);
	probe->neighbour = start_neighbour();
	*state = probe;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "probe.sock", "word", "qemu", "helper" };
	Probe *probe = *state;
	void *world = probe->world;
	char path[PATH_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		in_directory(probe, names[i], path);
		unlink(path);
	}
	rmdir(probe->directory);
	cleanup_fd(&probe->fd);
	close(probe->listen_fd);
	close(probe->word_fd);
	close(probe->port_fd);
	kill(probe->neighbour, SIGKILL);
	waitpid(probe->neighbour, NULL, 0);
	free(probe);
	return world_teardown(&world);
}

/* vmm_start, and the thread inside. */
static pid_t start(Probe *probe)
{
	World *world = probe->world;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources,
			   .instance = world->source.name,
			   .vm = &vm,
			   .deadline_ms = WAIT_MS };
	struct pollfd row = { .fd = probe->listen_fd, .events = POLLIN };

	world_resolve(world, NULL, &vm);
	world->source.vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events,
				     &world->source, on_done, &call, &err);
	if (!world->source.vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 30, "the VM runs");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	assert_int_equal(poll(&row, 1, WAIT_MS), 1);
	cleanup_fd(&probe->fd);
	probe->fd = accept4(probe->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(probe->fd >= 0);
	return vmm_pid(world->source.vm);
}

typedef enum Answer { ANSWER_DONE, ANSWER_REFUSED, ANSWER_KILLED } Answer;

/* Has the QEMU try it. If it dies, then by its filter, which the engine is told. */
static Answer attempt(Probe *probe, ProbeAct act, int *ret_errno)
{
	Host *host = &probe->world->source;
	const ProbeOrder order = { .act = act, .neighbour = probe->neighbour, .port = probe->port };
	struct pollfd row = { .fd = probe->fd, .events = POLLIN };
	ProbeAnswer answer = 0;

	assert_int_equal(send(probe->fd, &order, sizeof(order), MSG_NOSIGNAL), sizeof(order));
	assert_int_equal(poll(&row, 1, WAIT_MS), 1);
	if (recv(probe->fd, &answer, sizeof(answer), 0) == sizeof(answer)) {
		*ret_errno = answer;
		return answer ? ANSWER_REFUSED : ANSWER_DONE;
	}
	world_wait(probe->world, host_has_exited, host, 15, "QEMU has ended");
	if (act != PROBE_EXEC || !strstr(host->cause.text, "ended with status 0"))
		assert_non_null(strstr(host->cause.text, "was ended by signal 31"));
	else
		return host_kill(host), ANSWER_DONE;
	host_kill(host);
	return ANSWER_KILLED;
}

/* --- as the kernel sees it --- */

static void read_process_file(pid_t pid, const char *name, Buffer *text)
{
	char path[64];
	Error err = ERROR_INIT;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	if (!file_read(path, 16000, text, &err) || !buffer_put_u8(text, 0, &err))
		fail_msg("%s", err.text);
}

static void assert_says(const Buffer *status, const char *line)
{
	if (!strstr((const char *)status->data, line))
		fail_msg("/proc/PID does not say %s", line + 1);
}

static void qemu_has_no_privilege(void **state)
{
	static const char *const lines[] = {
		"\nNoNewPrivs:\t1\n",
		"\nSeccomp:\t2\n",
		"\nCapPrm:\t0000000000000000\n",
		"\nCapEff:\t0000000000000000\n",
		"\nCapInh:\t0000000000000000\n",
		"\nCapAmb:\t0000000000000000\n",
	};
	static const char *const lines_of_root[] = {
		"\nUid:\t65534\t65534\t65534\t65534\n",
		"\nGid:\t65534\t65534\t65534\t65534\n",
		"\nGroups:\t65534 \n",
		"\nCapBnd:\t0000000000000000\n",
	};
	Probe *probe = *state;
	AUTO_BUFFER Buffer status = BUFFER_INIT(16384);
	AUTO_BUFFER Buffer limits = BUFFER_INIT(16384);
	char path[64];
	struct stat owner;
	pid_t pid;

	choose_qemu(probe, true);
	pid = start(probe);
	read_process_file(pid, "status", &status);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_says(&status, lines[i]);
	assert_null(strstr((const char *)status.data, "\nSeccomp_filters:\t0\n"));
	for (size_t i = 0; !geteuid() && i < ARRAY_SIZE(lines_of_root); i++)
		assert_says(&status, lines_of_root[i]);
	read_process_file(pid, "limits", &limits);
	assert_says(&limits, "\nMax core file size        0                    0 ");
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	assert_int_equal(stat(path, &owner), 0);
	assert_int_equal(owner.st_uid, geteuid() ? geteuid() : NOBODY);
}

/* An engine of root that was told no user for QEMU: it is root's process, with no right of root. */
static void qemu_of_root_has_no_capability(void **state)
{
	Probe *probe = *state;
	AUTO_BUFFER Buffer status = BUFFER_INIT(16384);

	if (geteuid())
		skip();
	probe->world->resources->user.set = false;
	choose_qemu(probe, true);
	read_process_file(start(probe), "status", &status);
	assert_says(&status, "\nUid:\t0\t0\t0\t0\n");
	assert_says(&status, "\nCapPrm:\t0000000000000000\n");
	assert_says(&status, "\nCapEff:\t0000000000000000\n");
	assert_says(&status, "\nCapBnd:\t0000000000000000\n");
}

/* --- as it sees the host --- */

static const struct {
	ProbeAct act;
	const char *what;
	bool on_some_kernels; /* it is refused anyway */
} denied_by_option[] = {
	{ PROBE_FORK, "fork", false },
	{ PROBE_VFORK, "vfork", false },
	{ PROBE_CLONE, "clone", false },
	{ PROBE_SETUID, "change its user", false },
	{ PROBE_SETGID, "change its group", false },
	{ PROBE_SETREUID, "change its user by setreuid", false },
	{ PROBE_SETPRIORITY, "change its priority", false },
	{ PROBE_SETAFFINITY, "choose its processors", false },
	{ PROBE_SYSFS, "make an obsolete call", true },
	{ PROBE_EXEC, "exec", false },
};

static void the_option_denies(void **state)
{
	Probe *probe = *state;
	bool runs = false;

	choose_qemu(probe, true);
	for (size_t i = 0; i < ARRAY_SIZE(denied_by_option); i++) {
		int error = 0;
		Answer answer;

		if (!runs)
			start(probe);
		answer = attempt(probe, denied_by_option[i].act, &error);
		runs = answer != ANSWER_KILLED;
		printf("%s: %s\n", denied_by_option[i].what,
		       answer == ANSWER_KILLED ? "killed" : strerror(error));
		if (answer == ANSWER_DONE || (answer == ANSWER_REFUSED && error != EPERM))
			fail_msg("QEMU could %s", denied_by_option[i].what);
	}
}

static void without_the_option_it_works(void **state)
{
	Probe *probe = *state;

	choose_qemu(probe, false);
	start(probe);
	for (size_t i = 0; i < ARRAY_SIZE(denied_by_option); i++) {
		int error = 0;

		if (attempt(probe, denied_by_option[i].act, &error) != ANSWER_DONE &&
		    !denied_by_option[i].on_some_kernels)
			fail_msg("%s: %s", denied_by_option[i].what, strerror(error));
	}
}

/* What our own start of it forbids, with or without the option. */
static void it_is_parted_from_others(void **state)
{
	static const ProbeAct acts[] = { PROBE_TRACE, PROBE_READ_MEMORY, PROBE_SIGNAL,
					 PROBE_CORE_LIMIT, PROBE_CHROOT };
	const SandboxUser none = { 0 };
	Probe *probe = *state;
	SandboxReport report;
	Error err = ERROR_INIT;

	assert_true(sandbox_probe(&none, &report, &err));
	choose_qemu(probe, false);
	start(probe);
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		int error = 0;

		if ((!report.landlock_abi && i < 3) ||
		    (report.landlock_abi < 6 && acts[i] == PROBE_SIGNAL))
			continue;
		assert_int_equal(attempt(probe, acts[i], &error), ANSWER_REFUSED);
		assert_int_equal(error, EPERM);
	}
}

/* The same by a process of the same user that is not parted. */
static bool neighbour_can_be_traced(void *context)
{
	const Probe *probe = context;
	char byte;
	struct iovec local = { &byte, 1 };
	struct iovec remote = { (void *)(uintptr_t)&denied_by_option, 1 };

	become_nobody();
	return !kill(probe->neighbour, SIGCONT) &&
	       process_vm_readv(probe->neighbour, &local, 1, &remote, 1, 0) == 1 &&
	       !ptrace(PTRACE_SEIZE, probe->neighbour, NULL, NULL);
}

static void others_are_not(void **state)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(neighbour_can_be_traced(*state) ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* SECURITY.md says so: should this change, it must too. */
static void what_remains_is_known(void **state)
{
	Probe *probe = *state;
	int error = 0;

	choose_qemu(probe, true);
	start(probe);
	assert_int_equal(attempt(probe, PROBE_OPEN_FILE, &error), ANSWER_DONE);
	assert_int_equal(attempt(probe, PROBE_CONNECT, &error), ANSWER_DONE);
}

/* --- as somebody who has its monitor --- */

static int connect_monitor(const Probe *probe)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/source/" QEMU_FILE_QMP,
		 probe->world->directory);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	return fd;
}

/* Sends a command and waits for its answer. */
static void command(int fd, const char *text, char answer[ANSWER_BYTES])
{
	size_t used = 0;

	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	while (used < ANSWER_BYTES - 1) {
		ssize_t got = recv(fd, answer + used, ANSWER_BYTES - 1 - used, 0);

		assert_true(got > 0);
		used += (size_t)got;
		answer[used] = '\0';
		if (strstr(answer, "\"return\"") || strstr(answer, "\"error\""))
			return;
	}
	fail_msg("no end of an answer");
}

/* Each has QEMU start a program that says a word. */
static void order_spawn(const Probe *probe, bool helper, char text[512])
{
	if (helper)
		snprintf(text, 512,
			 "{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"bridge\","
			 "\"id\":\"b0\",\"helper\":\"%s/helper\"}}\n",
			 probe->directory);
	else
		snprintf(text, 512,
			 "{\"execute\":\"migrate\",\"arguments\":{\"uri\":"
			 "\"exec:echo w > %s/word\"}}\n",
			 probe->directory);
}

static bool word_comes(const Probe *probe, int wait_ms)
{
	struct pollfd row = { .fd = probe->word_fd, .events = POLLIN };
	char word[16];

	return poll(&row, 1, wait_ms) == 1 && read(probe->word_fd, word, sizeof(word)) > 0;
}

static void try_spawn(Probe *probe, bool sandboxed, bool helper)
{
	Host *host = &probe->world->source;
	char text[512], script[256], answer[ANSWER_BYTES];
	Call adopted = { 0 };
	Error err = ERROR_INIT;
	int status, fd;
	pid_t pid;

	snprintf(script, sizeof(script), "#!/bin/sh\necho w > %s/word\n", probe->directory);
	write_script(probe, "helper", script);
	choose_qemu(probe, sandboxed);
	pid = start(probe);
	/* The engine lets go of the monitor, for us. */
	vmm_free(TAKE_PTR(host->vm));
	fd = connect_monitor(probe);
	command(fd, "{\"execute\":\"qmp_capabilities\"}\n", answer);
	order_spawn(probe, helper, text);
	command(fd, text, answer);
	if (sandboxed) {
		printf("%s", answer);
		assert_non_null(strstr(answer, "\"error\""));
		assert_non_null(strstr(answer, "Operation not permitted"));
	}
	assert_int_equal(word_comes(probe, sandboxed ? 0 : WAIT_MS), !sandboxed);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fd);
	/* Which clears up. */
	assert_null(vmm_adopt(&vmm_driver_qemu, probe->world->base, probe->world->resources,
			      host->name, &host_events, host, on_run_state, &adopted, &err));
}

static void its_monitor_starts_no_program(void **state)
{
	try_spawn(*state, true, false);
	try_spawn(*state, true, true);
}

static void without_the_option_its_monitor_does(void **state)
{
	try_spawn(*state, false, false);
	try_spawn(*state, false, true);
}

#define QEMU_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QEMU_TEST(qemu_has_no_privilege),
		QEMU_TEST(qemu_of_root_has_no_capability),
		QEMU_TEST(the_option_denies),
		QEMU_TEST(without_the_option_it_works),
		QEMU_TEST(it_is_parted_from_others),
		QEMU_TEST(others_are_not),
		QEMU_TEST(what_remains_is_known),
		QEMU_TEST(its_monitor_starts_no_program),
		QEMU_TEST(without_the_option_its_monitor_does),
	};

	if (world_is_impossible())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
