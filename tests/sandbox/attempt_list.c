/* SPDX-License-Identifier: Apache-2.0 */
/* The attempts themselves. Each works outside of the sandbox and harms nobody but the victim. */
#include "attempts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/securebits.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "victim.h"

/* --- files --- */

static bool act_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY) >= 0;
}

static bool act_stat(void)
{
	struct stat status;

	return !stat("/etc/passwd", &status);
}

static bool act_open_own_maps(void)
{
	return open("/proc/self/maps", O_RDONLY) >= 0;
}

static bool act_create(void)
{
	static const char path[] = "/tmp/sealift-must-not-exist";

	return open(path, O_WRONLY | O_CREAT, 0600) >= 0 && !unlink(path);
}

static bool act_read_victims_environment(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)victim_known(NULL)->pid);
	return open(path, O_RDONLY) >= 0;
}

static bool act_list_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY) >= 0;
}

static bool act_watch_files(void)
{
	return inotify_init1(0) >= 0;
}

/* --- sockets --- */

static bool act_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool connect_unix(bool abstract)
{
	struct sockaddr_un address;
	socklen_t size;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	victim_unix_address(victim_known(NULL), abstract, &address, &size);
	return fd >= 0 && !connect(fd, (const struct sockaddr *)&address, size);
}

static bool act_connect_path(void)
{
	return connect_unix(false);
}

static bool act_connect_abstract(void)
{
	return connect_unix(true);
}

static bool act_udp(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(victim_known(NULL)->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	return fd >= 0 && sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1;
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

/* With a pair of its own it could pack descriptors away, or make one of a kind it must not have. */
static bool act_socket_pair(void)
{
	int pair[2];

	return !socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

/* --- other processes --- */

static bool act_exec(void)
{
	char *const none[] = { NULL };

	return !execve("/bin/true", none, none);
}

static bool act_trace(void)
{
	return !ptrace(PTRACE_ATTACH, victim_known(NULL)->pid, NULL, NULL);
}

static bool act_read_memory(void)
{
	const Victim *victim = victim_known(NULL);
	char byte = 0;
	struct iovec local = { &byte, 1 };
	struct iovec remote = { victim->secret, 1 };

	return process_vm_readv(victim->pid, &local, 1, &remote, 1, 0) == 1 && byte == 's';
}

static bool act_write_memory(void)
{
	const Victim *victim = victim_known(NULL);
	char byte = 'S';
	struct iovec local = { &byte, 1 };
	struct iovec remote = { victim->secret, 1 };

	return process_vm_writev(victim->pid, &local, 1, &remote, 1, 0) == 1;
}

static bool act_take_descriptor(void)
{
	long victim = syscall(SYS_pidfd_open, victim_known(NULL)->pid, 0);

	return victim >= 0 && syscall(SYS_pidfd_getfd, victim, 2, 0) >= 0;
}

static bool act_see(void)
{
	return !kill(victim_known(NULL)->pid, 0) || errno == EPERM;
}

/* The engine, QEMU and other movers are to a role what the victim is. */
static bool act_kill(void)
{
	return !kill(victim_known(NULL)->pid, SIGKILL);
}

static bool act_change_victims_limit(void)
{
	const struct rlimit none = { 0, 0 };

	return !prlimit(victim_known(NULL)->pid, RLIMIT_NOFILE, &none, NULL);
}

static bool act_slow_victim_down(void)
{
	return !setpriority(PRIO_PROCESS, (id_t)victim_known(NULL)->pid, 19);
}

static bool act_fork(void)
{
	long child = syscall(SYS_fork);

	if (!child)
		_exit(0);
	return child > 0;
}

static bool act_clone3(void)
{
	uint64_t arguments[8] = { [4] = SIGCHLD }; /* struct clone_args, first version */
	long child = syscall(SYS_clone3, arguments, sizeof(arguments));

	if (!child)
		_exit(0);
	return child > 0;
}

/* --- shared memory and queues of the host --- */

static bool act_attach_segment(void)
{
	return shmat(victim_known(NULL)->segment, NULL, SHM_RDONLY) != (void *)-1;
}

static bool act_make_segment(void)
{
	int segment = shmget(IPC_PRIVATE, 4096, 0600);

	return segment >= 0 && !shmctl(segment, IPC_RMID, NULL);
}

static bool act_open_queue(void)
{
	char name[32];

	victim_queue_name(victim_known(NULL), name);
	return mq_open(name, O_RDWR) >= 0;
}

/* --- privileges --- */

static bool act_mount(void)
{
	return !mount("", "/tmp", "tmpfs", 0, NULL);
}

static bool act_change_root(void)
{
	return !chroot("/tmp");
}

static bool act_user_namespace(void)
{
	return !unshare(CLONE_NEWUSER);
}

static bool act_name_host(void)
{
	return !sethostname("x", 1);
}

static bool act_set_dumpable(void)
{
	return !prctl(PR_SET_DUMPABLE, 1);
}

static bool act_allow_core(void)
{
	const struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };

	return !setrlimit(RLIMIT_CORE, &more);
}

static bool act_become_root(void)
{
	return !setresuid(0, 0, 0);
}

static bool act_set_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct some[2] = { { .permitted = 1U << CAP_CHOWN,
						    .effective = 1U << CAP_CHOWN } };

	return !syscall(SYS_capset, &header, some);
}

static bool act_secure_bits(void)
{
	return !prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS);
}

static bool act_raise_limit(void)
{
	const struct rlimit less = { 10, 10 }, more = { 11, 11 };

	return !setrlimit(RLIMIT_NOFILE, &less) && !setrlimit(RLIMIT_NOFILE, &more);
}

/* --- code --- */

static bool act_make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED && !mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static bool act_make_code_with_key(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page != MAP_FAILED &&
	       !syscall(SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1);
}

static bool act_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

/* Then what is mapped to be read could be executed too. */
static bool act_personality(void)
{
	return personality(READ_IMPLIES_EXEC) != -1;
}

static bool act_memfd(void)
{
	return memfd_create("x", 0) >= 0;
}

static bool act_exec_memfd(void)
{
	char *const none[] = { NULL };
	int fd = memfd_create("x", 0);
	/* A file of no format: to be told so, one must have been let in. */
	bool is_written = fd >= 0 && write(fd, "x", 1) == 1 && !fchmod(fd, 0700);

	return is_written && syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH) < 0 &&
	       errno == ENOEXEC;
}

/* --- parts of the kernel that are large --- */

static bool act_io_uring(void)
{
	char parameters[256] = { 0 };

	return syscall(SYS_io_uring_setup, 1, parameters) >= 0;
}

static bool act_bpf(void)
{
	union bpf_attr map;

	memset(&map, 0, sizeof(map));
	map.map_type = BPF_MAP_TYPE_ARRAY;
	map.key_size = map.value_size = sizeof(uint32_t);
	map.max_entries = 1;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)) >= 0;
}

static bool act_perf(void)
{
	struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE,
					      .size = sizeof(attributes),
					      .config = PERF_COUNT_SW_CPU_CLOCK };

	return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0) >= 0;
}

static bool act_add_key(void)
{
	return syscall(SYS_add_key, "user", "x", "x", 1, -3) >= 0;
}

static bool act_read_keyring(void)
{
	return syscall(SYS_keyctl, 0, -3, 1) >= 0; /* KEYCTL_GET_KEYRING_ID */
}

static bool act_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, 0) >= 0;
}

static bool act_ask_seccomp(void)
{
	uint32_t action = 0x7fff0000; /* SECCOMP_RET_ALLOW */

	return !syscall(SYS_seccomp, 2, 0, &action); /* SECCOMP_GET_ACTION_AVAIL */
}

#define BIT(measure) (UINT32_C(1) << SANDBOX_##measure)
#define NO_FILES     (BIT(LANDLOCK) | BIT(EMPTY_ROOT))
#define NO_PROCESSES (BIT(PID_NAMESPACE))
#define NO_TRACING   (BIT(PID_NAMESPACE) | BIT(LANDLOCK))
#define NO_PRIVILEGE (BIT(NO_CAPABILITIES))

/* clang-format off */
const Attempt attempts[] = {
	{ "open a file", act_open, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "ask after a file", act_stat, POSSIBLE_FOR_ANYONE, BIT(EMPTY_ROOT) },
	{ "open its own maps", act_open_own_maps, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "create a file", act_create, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "read another's environment", act_read_victims_environment, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "list the root", act_list_root, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "watch files", act_watch_files, POSSIBLE_FOR_ANYONE, 0 },
	{ "make a UNIX socket", act_unix_socket, POSSIBLE_FOR_ANYONE, 0 },
	{ "connect to a UNIX socket by its path", act_connect_path, POSSIBLE_FOR_ANYONE, BIT(EMPTY_ROOT) },
	{ "connect to an abstract UNIX socket", act_connect_abstract, POSSIBLE_FOR_ANYONE, BIT(NETWORK_NAMESPACE) },
	{ "send a UDP datagram", act_udp, POSSIBLE_FOR_ANYONE, BIT(NETWORK_NAMESPACE) },
	{ "make a raw socket", act_raw_socket, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "make a netlink socket", act_netlink_socket, POSSIBLE_FOR_ANYONE, 0 },
	{ "bind a port", act_bind, POSSIBLE_FOR_ANYONE, BIT(NETWORK_NAMESPACE) },
	{ "make a pair of sockets", act_socket_pair, POSSIBLE_FOR_ANYONE, 0 },
	{ "exec", act_exec, POSSIBLE_FOR_ANYONE, NO_FILES },
	{ "trace another", act_trace, POSSIBLE_FOR_ANYONE, NO_TRACING },
	{ "read another's memory", act_read_memory, POSSIBLE_FOR_ANYONE, NO_TRACING },
	{ "write another's memory", act_write_memory, POSSIBLE_FOR_ANYONE, NO_TRACING },
	{ "take another's descriptor", act_take_descriptor, POSSIBLE_FOR_ANYONE, NO_TRACING },
	{ "see another", act_see, POSSIBLE_FOR_ANYONE, NO_PROCESSES },
	{ "kill another", act_kill, POSSIBLE_FOR_ANYONE, NO_PROCESSES },
	{ "limit another", act_change_victims_limit, POSSIBLE_FOR_ANYONE, NO_PROCESSES },
	{ "slow another down", act_slow_victim_down, POSSIBLE_FOR_ANYONE, NO_PROCESSES },
	{ "fork", act_fork, POSSIBLE_FOR_ANYONE, 0 },
	{ "fork by clone3", act_clone3, POSSIBLE_FOR_ANYONE, 0 },
	{ "attach a shared segment", act_attach_segment, POSSIBLE_ON_SOME_HOSTS, BIT(IPC_NAMESPACE) },
	{ "make a shared segment", act_make_segment, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "open a message queue", act_open_queue, POSSIBLE_ON_SOME_HOSTS, BIT(IPC_NAMESPACE) },
	{ "mount", act_mount, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "change the root", act_change_root, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "make a user namespace", act_user_namespace, POSSIBLE_FOR_ROOT, 0 },
	{ "rename the host", act_name_host, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "become dumpable", act_set_dumpable, POSSIBLE_FOR_ANYONE, 0 },
	{ "allow core dumps", act_allow_core, POSSIBLE_ON_SOME_HOSTS, NO_PRIVILEGE },
	{ "become root", act_become_root, POSSIBLE_FOR_ROOT, 0 },
	{ "set capabilities", act_set_capabilities, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "set secure bits", act_secure_bits, POSSIBLE_FOR_ROOT, NO_PRIVILEGE },
	{ "raise a limit", act_raise_limit, POSSIBLE_ON_SOME_HOSTS, NO_PRIVILEGE },
	{ "turn memory into code", act_make_code, POSSIBLE_FOR_ANYONE, 0 },
	{ "turn memory into code by a key", act_make_code_with_key, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "map code", act_map_code, POSSIBLE_FOR_ANYONE, 0 },
	{ "take on a personality", act_personality, POSSIBLE_FOR_ANYONE, 0 },
	{ "make a memfd", act_memfd, POSSIBLE_FOR_ANYONE, 0 },
	{ "exec a memfd", act_exec_memfd, POSSIBLE_FOR_ANYONE, 0 },
	{ "set up a ring", act_io_uring, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "make a BPF map", act_bpf, POSSIBLE_ON_SOME_HOSTS, NO_PRIVILEGE },
	{ "count by perf", act_perf, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "add a key", act_add_key, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "read a keyring", act_read_keyring, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "handle page faults", act_userfaultfd, POSSIBLE_ON_SOME_HOSTS, 0 },
	{ "speak with seccomp", act_ask_seccomp, POSSIBLE_FOR_ANYONE, 0 },
	{ NULL, NULL, POSSIBLE_FOR_ANYONE, 0 },
};
/* clang-format on */
