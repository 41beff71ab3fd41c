/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this layer share; not for other layers. */
#ifndef SEALIFT_SANDBOX_STAGES_H
#define SEALIFT_SANDBOX_STAGES_H

#include "sandbox/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

/* The Landlock ABI of this kernel, 0 if there is none. */
int landlock_abi(void);
/* Forbids this thread and its children all files but for these paths, all TCP ports but those that
 * the policy lets it connect to, foreign abstract sockets and signals to processes outside, as far
 * as the ABI can. Paths that do not exist are left out. Needs no new privileges. False if the
 * kernel refuses. */
bool landlock_forbid_all_but(int abi, const SandboxPolicy *policy, const SandboxPath *paths,
			     size_t n_paths);

/* pivot_root(2) into an empty read-only tmpfs; needs an own mount namespace. */
bool root_make_empty(void);
/* pivot_root(2) into the present directory alone, which stays the present one; likewise. It was
 * entered before the mount namespace was made. */
bool root_make_directory(void);
/* An own user namespace in which the present user and group keep their numbers. */
bool namespace_enter_user(void);
/* Maps this user and this group, by their numbers outside, to themselves in the user namespace that
 * the process was just put into. Needs /proc and a dumpable process. Async-signal-safe but for
 * snprintf, which the callers' single thread makes up for. */
bool namespace_map_user(uid_t uid, gid_t gid);

#endif
