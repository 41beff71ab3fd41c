/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static bool write_map(const char *path, const char *text)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

bool namespace_map_user(uid_t uid, gid_t gid)
{
	char map[64];

	snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
	if (!write_map("/proc/self/uid_map", map) || !write_map("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
	return write_map("/proc/self/gid_map", map);
}

/*
 * Should: give an unprivileged process the right to leave the other namespaces.
 * Mustn't: change who it is for files it holds, nor run when secrets are in memory: for the maps in
 * /proc to be its own, the process has to be dumpable for this moment.
 */
bool namespace_enter_user(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	return !prctl(PR_SET_DUMPABLE, 1) && !unshare(CLONE_NEWUSER) &&
	       namespace_map_user(uid, gid);
}

static bool mount_anywhere(void)
{
	static const char *const points[] = { "/tmp", "/run", "/proc", "/dev" };
	const unsigned long flags = MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RDONLY;

	for (size_t i = 0; i < ARRAY_SIZE(points); i++)
		if (!mount("", points[i], "tmpfs", flags, "nr_inodes=2,nr_blocks=1,mode=0555"))
			return chdir(points[i]) == 0;
	return false;
}

/*
 * Should: leave the process with a root in which there is nothing and nothing can be made.
 * Mustn't: touch the mounts of anybody else: everything is made private first.
 */
bool root_make_empty(void)
{
	return !mount("", "/", "", MS_PRIVATE | MS_REC, NULL) && mount_anywhere() &&
	       !syscall(SYS_pivot_root, ".", ".") && !umount2(".", MNT_DETACH) && !chdir("/");
}

/* That programs and devices of it are none is a second lock: no call that could use them passes the
 * filter. So a mount that keeps its own flags, as one of another user namespace may, will do. */
static bool bind_anywhere(void)
{
	static const char *const points[] = { "/tmp", "/run", "/proc", "/dev" };
	const unsigned long flags = MS_NODEV | MS_NOEXEC | MS_NOSUID;

	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		if (mount(".", points[i], NULL, MS_BIND, NULL))
			continue;
		(void)mount("", points[i], NULL, MS_REMOUNT | MS_BIND | flags, NULL);
		return chdir(points[i]) == 0;
	}
	return false;
}

/*
 * Should: leave the process with a root in which there is its directory's content and nothing else.
 * Mustn't: touch the mounts of anybody else, as above.
 */
bool root_make_directory(void)
{
	return !mount("", "/", "", MS_PRIVATE | MS_REC, NULL) && bind_anywhere() &&
	       !syscall(SYS_pivot_root, ".", ".") && !umount2(".", MNT_DETACH) && !chdir("/");
}

/*
 * Should: take away what a set-uid program could give back.
 * Mustn't: fail where CAP_SETPCAP is not there: such a process has nothing to lose, and no new
 * privileges comes later anyway.
 */
void sandbox_drop_bounding_set(void)
{
	(void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
					       SECBIT_NO_CAP_AMBIENT_RAISE |
					       SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap);
}

/*
 * Should: leave no capability in any set of this process.
 * Mustn't: run before the last stage that needs one.
 */
bool sandbox_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return !syscall(SYS_capset, &header, none);
}
