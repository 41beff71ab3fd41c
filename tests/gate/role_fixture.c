/* SPDX-License-Identifier: Apache-2.0 */
#include "role_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "sandbox/sandbox.h"

static void become(const char *path, const char *const *args, int link_fd, const int *fds,
		   size_t n_fds)
{
	char *argv[8] = { (char *)(uintptr_t)path };
	int high[1 + ROLE_FDS_MAX];
	const char *tracer = getenv("SEALIFT_TRACER");

	for (size_t i = 0; args[i] && i < ARRAY_SIZE(argv) - 2; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	for (size_t i = 0; i <= n_fds; i++)
		high[i] = fcntl(i ? fds[i - 1] : link_fd, F_DUPFD_CLOEXEC, 100);
	for (size_t i = 0; i <= n_fds; i++)
		if (dup2(high[i], ROLE_LINK_FD + (int)i) < 0)
			_exit(126);
	/* tests/sandbox/trace_calls.c, if asked for, stands between and runs argv[0]. */
	execv(tracer ? tracer : path, argv);
	_exit(127);
}

void role_start(Role *role, const char *path, const char *const *args, const int *fds, size_t n_fds,
		const IpcRule *rules)
{
	Error err = ERROR_INIT;
	int ends[2];

	assert_true(n_fds <= ROLE_FDS_MAX);
	assert_true(ipc_pair(ends, &err));
	role->pid = sandbox_fork();
	assert_true(role->pid >= 0);
	if (!role->pid)
		become(path, args, ends[1], fds, n_fds);
	close(ends[1]);
	role->link = ipc_link_new(ends[0], rules, &err);
	assert_non_null(role->link);
}

void role_send(Role *role, uint16_t type, uint64_t subject, const Schema *schema,
	       const void *payload)
{
	Error err = ERROR_INIT;

	if (!ipc_send(role->link, type, subject, schema, payload, NULL, 0, &err))
		fail_msg("message %u: %s", type, err.text);
}

void role_expect(Role *role, uint16_t type, IpcMessage *ret_message)
{
	struct pollfd waits = { .fd = ipc_link_fd(role->link), .events = POLLIN };
	Error err = ERROR_INIT;
	IpcReceived got;

	if (poll(&waits, 1, ROLE_WAIT_MS) != 1)
		fail_msg("no message %u within %d ms", type, ROLE_WAIT_MS);
	got = ipc_receive(role->link, ret_message, &err);
	if (got != IPC_MESSAGE)
		fail_msg("no message %u: received %d: %s", type, (int)got, err.text);
	if (ret_message->type != type &&
	    (ret_message->type == ROLE_FAILED || ret_message->type == GATE_CLOSED))
		fail_msg("expected %u, came %u: %s", type, ret_message->type,
			 ((const RoleFailure *)ret_message->payload)->text);
	assert_int_equal(ret_message->type, type);
}

void role_expect_failure(Role *role, uint16_t type, uint64_t subject, ErrorCategory category,
			 const char *words)
{
	IpcMessage message;
	const RoleFailure *failure;

	role_expect(role, type, &message);
	failure = message.payload;
	if (!strstr(failure->text, words))
		fail_msg("\"%s\" does not say \"%s\"", failure->text, words);
	assert_int_equal(failure->category, category);
	assert_int_equal(message.subject, subject);
	ipc_message_clear(&message, role->link);
}

void role_expect_nothing(Role *role, int ms)
{
	struct pollfd waits = { .fd = ipc_link_fd(role->link), .events = POLLIN };

	assert_int_equal(poll(&waits, 1, ms), 0);
}

void role_expect_exit(Role *role, int expected_status)
{
	struct pollfd waits = { .fd = ipc_link_fd(role->link), .events = 0 };
	int status;

	/* Its end of the link closes when it ends, and not before. */
	if (poll(&waits, 1, ROLE_WAIT_MS) != 1)
		kill(role->pid, SIGKILL);
	assert_int_equal(waitpid(role->pid, &status, 0), role->pid);
	ipc_link_free(TAKE_PTR(role->link));
	if (WIFSIGNALED(status))
		fail_msg("the program was ended by signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), expected_status);
}

void role_stop(Role *role, int expected_status)
{
	int status;

	ipc_link_free(TAKE_PTR(role->link));
	assert_int_equal(waitpid(role->pid, &status, 0), role->pid);
	if (WIFSIGNALED(status))
		fail_msg("the program was ended by signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), expected_status);
}

void role_send_anchor(Role *role, const char *domain, const Buffer *root_pem)
{
	RoleAnchor *anchor = calloc(1, sizeof(*anchor));

	assert_non_null(anchor);
	snprintf(anchor->domain, sizeof(anchor->domain), "%s", domain);
	assert_true(root_pem->used <= sizeof(anchor->root));
	memcpy(anchor->root, root_pem->data, root_pem->used);
	anchor->root_size = root_pem->used;
	role_send(role, ROLE_ANCHOR, 0, &role_anchor_schema, anchor);
	free(anchor);
}

void role_send_crl(Role *role, const char *domain, const Buffer *crl_pem)
{
	RoleCrl *crl = calloc(1, sizeof(*crl));

	assert_non_null(crl);
	snprintf(crl->domain, sizeof(crl->domain), "%s", domain);
	assert_true(crl_pem->used <= sizeof(crl->crl));
	memcpy(crl->crl, crl_pem->data, crl_pem->used);
	crl->crl_size = crl_pem->used;
	role_send(role, ROLE_CRL, 0, &role_crl_schema, crl);
	free(crl);
}

int role_memory_fd(const Buffer *buffer)
{
	int fd = memfd_create("pem", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, buffer->data, buffer->used), buffer->used);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}
