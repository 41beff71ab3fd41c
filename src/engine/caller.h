/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of a UNIX socket, as the kernel says it: unix(7). */
#ifndef SEALIFT_ENGINE_CALLER_H
#define SEALIFT_ENGINE_CALLER_H

#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

typedef struct Caller {
	uid_t uid;
	bool in_group; /* the one that was asked for is its group or one of its supplementary groups
			*/
} Caller;

/* The credentials with which the peer of `fd` connected (SO_PEERCRED, SO_PEERGROUPS); no name
 * service is asked. `group` is (gid_t)-1 for none. ERROR_IO. */
MUST_CHECK bool caller_of(int fd, gid_t group, Caller *ret_caller, Error *err);

/* Whether the caller may use the engine at all: root, the engine's own user, a member of the group.
 */
bool caller_may_use(const Caller *caller, uid_t engine_uid);

/* Whether it may have the engine open whatever file it names: only who could open it without us. */
bool caller_may_name_files(const Caller *caller, uid_t engine_uid);

#endif
