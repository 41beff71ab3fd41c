/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by raw system calls, since the C library has no wrappers and Debian 12's headers end at
 * ABI 2. Numbers from Documentation/userspace-api/landlock.rst of Linux.
 */
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox/stages.h"

enum {
	CREATE_RULESET_VERSION = 1,
	FS_MAKE_BLOCK = 1 << 11,
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

/* No rule is added: what is handled and not allowed is forbidden. */
static bool enforce(const Ruleset *rules, size_t size)
{
	AUTO_FD int fd = (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);

	return fd >= 0 && syscall(SYS_landlock_restrict_self, fd, 0) == 0;
}

bool landlock_forbid_all(int abi, bool keep_network)
{
	size_t row = (size_t)abi < ARRAY_SIZE(fs_rights) ? (size_t)abi : ARRAY_SIZE(fs_rights) - 1;
	Ruleset rules = { .handled_access_fs = (UINT64_C(1) << fs_rights[row]) - 1 };
	size_t size = sizeof(uint64_t);

	if (abi <= 0)
		return false;
	if (abi >= 4) {
		rules.handled_access_net = NET_BIND_TCP | (keep_network ? 0 : NET_CONNECT_TCP);
		size = 2 * sizeof(uint64_t);
	}
	if (abi >= 6) {
		rules.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
		size = sizeof(rules);
	}
	return enforce(&rules, size);
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
	return enforce(&rules, size);
}
