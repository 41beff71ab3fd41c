/* SPDX-License-Identifier: Apache-2.0 */
/* A real child program at the end of a link, and the engine's side of it played by a test. Each
 * function asserts success with cmocka; waiting has a deadline. */
#ifndef SEALIFT_TESTS_ROLE_FIXTURE_H
#define SEALIFT_TESTS_ROLE_FIXTURE_H

#include <sys/types.h>

#include "base/buffer.h"
#include "crypto/anchor.h"
#include "role/messages.h"

enum { ROLE_WAIT_MS = 20000, ROLE_FDS_MAX = 8 };

typedef struct Role {
	pid_t pid;
	IpcLink *link;
} Role;

/* Runs `path` with args (NULL at the end); fds become ROLE_EXTRA_FD and up and stay the caller's.
 */
void role_start(Role *role, const char *path, const char *const *args, const int *fds, size_t n_fds,
		const IpcRule *rules);
void role_send(Role *role, uint16_t type, uint64_t subject, const Schema *schema,
	       const void *payload);
/* The next message, which must be of this type; clear it with ipc_message_clear. */
void role_expect(Role *role, uint16_t type, IpcMessage *ret_message);
/* The same for a failure (ROLE_FAILED, GATE_CLOSED) of a category whose text has these words. */
void role_expect_failure(Role *role, uint16_t type, uint64_t subject, ErrorCategory category,
			 const char *words);
/* No message for the moment: the child was given `ms` to send one. */
void role_expect_nothing(Role *role, int ms);
/* Closes the link and asserts the exit status. */
void role_stop(Role *role, int expected_status);
/* Waits for the end without closing the link first. */
void role_expect_exit(Role *role, int expected_status);

void role_send_anchor(Role *role, const char *domain, const Buffer *root_pem);
void role_send_crl(Role *role, const char *domain, const Buffer *crl_pem);

/* A descriptor from which the bytes of a buffer can be read. */
int role_memory_fd(const Buffer *buffer);

#endif
