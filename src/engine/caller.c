/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/caller.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* limits.h of the kernel: NGROUPS_MAX. */
enum { GROUPS_MAX = 65536 };

static bool has_group(int fd, gid_t group, bool *ret_has, Error *err)
{
	AUTO_FREE gid_t *groups = NULL;
	socklen_t size = 0;

	*ret_has = false;
	/* The first call tells the size; without a group there is nothing to fetch. */
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size))
		return true;
	if (errno != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
		return error_set_errno(err, ERROR_IO, errno, "groups of an API caller");
	groups = malloc(size);
	if (!groups)
		return error_set(err, ERROR_INTERNAL, "no memory for the groups of an API caller");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
		return error_set_errno(err, ERROR_IO, errno, "groups of an API caller");
	for (size_t i = 0; i < size / sizeof(gid_t); i++)
		*ret_has = *ret_has || groups[i] == group;
	return true;
}

bool caller_of(int fd, gid_t group, Caller *ret_caller, Error *err)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	bool in_group;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return error_set_errno(err, ERROR_IO, errno, "credentials of an API caller");
	in_group = group != (gid_t)-1 && peer.gid == group;
	if (group != (gid_t)-1 && !in_group && !has_group(fd, group, &in_group, err))
		return false;
	*ret_caller = (Caller){ .uid = peer.uid, .in_group = in_group };
	return true;
}

bool caller_may_use(const Caller *caller, uid_t engine_uid)
{
	return !caller->uid || caller->uid == engine_uid || caller->in_group;
}

bool caller_may_name_files(const Caller *caller, uid_t engine_uid)
{
	return !caller->uid || caller->uid == engine_uid;
}
