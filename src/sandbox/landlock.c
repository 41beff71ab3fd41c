/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by raw system calls, since the C library has no wrappers and Debian 12's headers end at
 * ABI 2. Numbers from Documentation/userspace-api/landlock.rst of Linux.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "sandbox/stages.h"

enum {
	CREATE_RULESET_VERSION = 1,
	RULE_PATH_BENEATH = 1,
	RULE_NET_PORT = 2, /* ABI 4 */
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_BLOCK = 1 << 11,
	FS_TRUNCATE = 1 << 14, /* ABI 3 */
	NET_BIND_TCP = 1 << 0,
	NET_CONNECT_TCP = 1 << 1,
	SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0,
	SCOPE_SIGNAL = 1 << 1,
};

typedef struct Ruleset {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4 */
	uint64_t scoped;	     /* ABI 6 */
} Ruleset;

/* How many of the file rights, counted from bit 0, each ABI knows; 7 and later add none. */
static const uint8_t fs_rights[] = { 0, 13, 14, 15, 15, 16 };

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

/* As the kernel has it: packed. */
typedef struct __attribute__((packed)) PathRule {
	uint64_t allowed_access;
	int32_t parent_fd;
} PathRule;

static bool allow(int ruleset, uint64_t handled, const SandboxPath *path)
{
	uint64_t file = FS_READ_FILE | (path->write ? FS_WRITE_FILE | FS_TRUNCATE : 0);
	uint64_t folder =
		FS_READ_DIR |
		(path->write ? FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG : 0);
	AUTO_FD int fd = open(path->path, O_PATH | O_CLOEXEC);
	PathRule rule = { .parent_fd = fd };
	struct stat status;

	if (fd < 0)
		return true;
	if (fstat(fd, &status))
		return false;
	rule.allowed_access = (file | (S_ISDIR(status.st_mode) ? folder : 0)) & handled;
	return !syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

typedef struct PortRule {
	uint64_t allowed_access;
	uint64_t port;
} PortRule;

/* Only where connecting is handled; NULL: no ports are named. */
static bool allow_ports(int ruleset, const Ruleset *rules, const uint16_t *ports)
{
	for (size_t i = 0; ports && i < SANDBOX_PORTS_MAX && ports[i]; i++) {
		const PortRule rule = { NET_CONNECT_TCP, ports[i] };

		if ((rules->handled_access_net & NET_CONNECT_TCP) &&
		    syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0))
			return false;
	}
	return true;
}

/* What is handled and not allowed is forbidden. */
static bool enforce(const Ruleset *rules, size_t size, const uint16_t *ports,
		    const SandboxPath *paths, size_t n_paths)
{
	AUTO_FD int fd = (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);

	if (fd < 0 || !allow_ports(fd, rules, ports))
		return false;
	for (size_t i = 0; i < n_paths; i++)
		if (!allow(fd, rules->handled_access_fs, &paths[i]))
			return false;
	return syscall(SYS_landlock_restrict_self, fd, 0) == 0;
}

bool landlock_forbid_all_but(int abi, const SandboxPolicy *policy, const SandboxPath *paths,
			     size_t n_paths)
{
	bool connects_anywhere = policy->keep_network && !policy->connect_ports[0];
	const uint16_t *ports = policy->keep_network ? policy->connect_ports : NULL;
	size_t row = (size_t)abi < ARRAY_SIZE(fs_rights) ? (size_t)abi : ARRAY_SIZE(fs_rights) - 1;
	Ruleset rules = { .handled_access_fs = (UINT64_C(1) << fs_rights[row]) - 1 };
	size_t size = sizeof(uint64_t);

	if (abi <= 0)
		return false;
	if (abi >= 4) {
		rules.handled_access_net = NET_BIND_TCP | (connects_anywhere ? 0 : NET_CONNECT_TCP);
		size = 2 * sizeof(uint64_t);
	}
	if (abi >= 6) {
		rules.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
		size = sizeof(rules);
	}
	return enforce(&rules, size, ports, paths, n_paths);
}

/* A ruleset must handle something. This is what no program here ever does. */
bool sandbox_part_from_others(void)
{
	Ruleset rules = { .handled_access_fs = FS_MAKE_BLOCK };
	int abi = landlock_abi();
	size_t size = sizeof(uint64_t);

	if (abi <= 0)
		return false;
	if (abi >= 6) {
		rules.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
		size = sizeof(rules);
	}
	return enforce(&rules, size, NULL, NULL, 0);
}
