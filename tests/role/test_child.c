/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "role/child.h"
#include "role/messages.h"
#include "sandbox/sandbox.h"

enum { DEADLINE_S = 20 };

typedef struct Fixture {
	struct event_base *base;
	const char *path; /* of the example child */
	Child *child;
	unsigned int messages, gone;
	uint16_t type;
	bool free_in_callback;
	Error cause, err;
	size_t fds_before;
} Fixture;

static const char *example_path(const char *set)
{
	static const char *path;

	if (set)
		path = set;
	return path;
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));

	f->fds_before = support_count_fds();
	f->base = event_base_new();
	assert_non_null(f->base);
	f->path = example_path(NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	child_free(f->child);
	event_base_free(f->base);
	assert_int_equal(support_count_fds(), f->fds_before);
	/* Each child was reaped. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	test_free(f);
	return 0;
}

static void on_message(void *context, Child *child, IpcMessage *message)
{
	Fixture *f = context;

	f->messages++;
	f->type = message->type;
	if (message->type == ROLE_FAILED)
		error_set(&f->cause, ERROR_INTERNAL, "%s", ((RoleFailure *)message->payload)->text);
	if (f->free_in_callback) {
		child_free(child);
		f->child = NULL;
	}
	event_base_loopbreak(f->base);
}

static void on_gone(void *context, Child *child, const Error *cause)
{
	Fixture *f = context;

	f->gone++;
	f->cause = *cause;
	if (f->free_in_callback) {
		child_free(child);
		f->child = NULL;
	}
	event_base_loopbreak(f->base);
}

static void start(Fixture *f, const char *what, const int *fds, size_t fds_count)
{
	static const ChildEvents events = { on_message, on_gone };
	const char *args[] = { what, NULL };
	ChildSpec spec = {
		.path = f->path, .args = args, .fds_count = fds_count, .rules = engine_mover_rules
	};

	for (size_t i = 0; i < fds_count; i++)
		spec.fds[i] = fds[i];
	f->child = child_new(f->base, &spec, &events, f, &f->err);
	if (!f->child)
		fail_msg("%s", f->err.text);
}

/* Until one callback has run. */
static void run(Fixture *f)
{
	const struct timeval deadline = { DEADLINE_S, 0 };
	unsigned int before = f->messages + f->gone;

	event_base_loopexit(f->base, &deadline);
	event_base_dispatch(f->base);
	if (f->messages + f->gone == before)
		fail_msg("nothing from the child in %d s", DEADLINE_S);
}

static void a_child_gets_what_it_was_given_and_no_more(void **state)
{
	Fixture *f = *state;
	sigset_t blocked, old;
	int pair[2], inherited = open("/dev/null", O_RDONLY);

	assert_int_equal(pipe(pair), 0);
	assert_int_equal(write(pair[1], "hello", 5), 5);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	signal(SIGPIPE, SIG_IGN);
	start(f, "inspect", (int[]){ pair[0], pair[1] }, 2);
	sigprocmask(SIG_SETMASK, &old, NULL);
	run(f);
	if (f->type != ROLE_READY)
		fail_msg("%s", f->cause.text);
	close(pair[0]);
	close(pair[1]);
	close(inherited);
}

/* Descriptors that already stand where others are to go. */
static void descriptors_may_come_in_any_order(void **state)
{
	Fixture *f = *state;
	int pair[2];

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_int_equal(write(pair[1], "hello", 5), 5);

	AUTO_FD int on_third = -1;
	AUTO_FD int on_fifth = -1;

	/* 3 and 5 are taken by the loop's own; numbers beyond them do as well. */
	on_third = fcntl(pair[1], F_DUPFD_CLOEXEC, 4);
	on_fifth = fcntl(pair[0], F_DUPFD_CLOEXEC, 5);
	start(f, "inspect", (int[]){ on_fifth, on_third }, 2);
	run(f);
	if (f->type != ROLE_READY)
		fail_msg("%s", f->cause.text);
	close(pair[0]);
	close(pair[1]);
}

/* What is said of a child that ends like this. */
static void check_end(Fixture *f, const char *what, const char *said)
{
	start(f, what, NULL, 0);
	run(f);
	assert_int_equal(f->messages, 0);
	assert_int_equal(f->gone, 1);
	assert_int_equal(f->cause.category, ERROR_INTERNAL);
	assert_string_equal(f->cause.text, said);
}

static void a_child_that_exits_is_told_with_its_status(void **state)
{
	check_end(*state, "exit", "role_example_child ended with status 3");
}

/* Whether children are process 1 of a namespace here. */
static bool have_pid_namespaces(void)
{
	int status = -1;
	pid_t child = sandbox_fork();

	if (!child)
		_exit(getpid() == 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Process 1 of a namespace has no default signals, not even of its own sending: abort(3) gets through
 * by the instruction that comes after them. */
static void a_child_that_dies_is_told_with_its_signal(void **state)
{
	check_end(*state, "abort",
		  have_pid_namespaces() ?
			  "role_example_child was killed by signal 11 (segmentation fault)" :
			  "role_example_child was killed by signal 6 (aborted)");
}

/* As in containers whose filter knows no clone3(2). */
static bool refuse_namespaces(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool ok = filter &&
		  !seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) &&
		  !seccomp_load(filter);

	seccomp_release(filter);
	return ok && !have_pid_namespaces();
}

/* A host that grants no namespace still gets its children. */
static bool without_namespaces(void *context)
{
	static const ChildEvents events = { on_message, on_gone };
	const char *args[] = { "abort", NULL };
	const ChildSpec spec = { .path = example_path(NULL), .args = args, .rules = engine_mover_rules };
	Fixture f = { .base = event_base_new() };
	bool ok;

	(void)context;
	if (!refuse_namespaces())
		return false;
	f.child = child_new(f.base, &spec, &events, &f, &f.err);
	if (!f.child)
		return false;
	run(&f);
	ok = f.gone == 1 && strstr(f.cause.text, "killed by signal 6 (aborted)");
	child_free(f.child);
	event_base_free(f.base);
	return ok;
}

static void a_child_starts_without_namespaces_too(void **state)
{
	(void)state;
	assert_true(support_in_child(without_namespaces, NULL));
}

static void a_child_that_broke_its_filter_is_told_so(void **state)
{
	check_end(*state, "bad-call", "role_example_child was killed by signal 31 (bad system call)");
}

/* By somebody else, as the kernel does when memory ends. */
static void a_child_that_was_killed_is_told_so(void **state)
{
	Fixture *f = *state;

	start(f, "hang", NULL, 0);
	run(f);
	assert_int_equal(f->type, ROLE_READY);
	assert_int_equal(kill(child_pid(f->child), SIGKILL), 0);
	run(f);
	assert_int_equal(f->gone, 1);
	assert_string_equal(f->cause.text, "role_example_child was killed by signal 9 (killed)");
}

/* It can neither see the engine nor anybody else, and nobody's stray signal ends it. */
static void a_child_is_alone(void **state)
{
	Fixture *f = *state;

	if (!have_pid_namespaces())
		skip();
	start(f, "alone", NULL, 0);
	run(f);
	if (f->type != ROLE_READY)
		fail_msg("%s", f->cause.text);
	assert_int_equal(kill(child_pid(f->child), SIGTERM), 0);
	assert_int_equal(kill(child_pid(f->child), 0), 0);
	child_free(f->child);
	f->child = NULL;
	assert_int_equal(f->gone, 0);
}

static void on_late_child(evutil_socket_t fd, short what, void *context)
{
	bool *told = context;
	char byte;

	(void)what;
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(write(fd, "e", 1), 1);
	*told = true;
}

/* Its link is gone before it is: the engine waits for its word instead of killing it. */
static void a_child_that_ends_after_its_link_keeps_its_status(void **state)
{
	Fixture *f = *state;
	struct event *late;
	bool told = false;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	late = event_new(f->base, pair[0], EV_READ, on_late_child, &told);
	assert_non_null(late);
	assert_int_equal(event_add(late, NULL), 0);
	start(f, "late", &pair[1], 1);
	run(f);
	assert_true(told);
	assert_string_equal(f->cause.text, "role_example_child ended with status 5");
	event_free(late);
	close(pair[0]);
	close(pair[1]);
}

/* But not for ever. */
static void a_child_that_outlives_its_link_is_killed(void **state)
{
	Fixture *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	start(f, "late", &pair[1], 1);
	run(f);
	assert_int_equal(f->gone, 1);
	assert_string_equal(f->cause.text,
			    "role_example_child: closed its link and did not end within 2 s");
	close(pair[0]);
	close(pair[1]);
}

static void a_child_that_breaks_a_rule_is_killed(void **state)
{
	Fixture *f = *state;
	pid_t pid;

	start(f, "wrong", NULL, 0);
	pid = child_pid(f->child);
	run(f);
	assert_int_equal(f->messages, 0);
	assert_int_equal(f->gone, 1);
	assert_int_equal(f->cause.category, ERROR_PEER);
	assert_non_null(strstr(f->cause.text, "message proven is not permitted in state 0"));
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void a_child_that_hangs_ends_with_its_handle(void **state)
{
	Fixture *f = *state;
	pid_t pid;

	start(f, "hang", NULL, 0);
	run(f);
	assert_int_equal(f->type, ROLE_READY);
	pid = child_pid(f->child);
	child_free(f->child);
	f->child = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(f->gone, 0);
}

static void a_callback_may_free_the_child(void **state)
{
	Fixture *f = *state;

	f->free_in_callback = true;
	start(f, "ready", NULL, 0);
	run(f);
	assert_null(f->child);
	start(f, "exit", NULL, 0);
	run(f);
	assert_null(f->child);
	assert_int_equal(f->gone, 1);
}

static void sending_to_a_dead_child_is_an_error(void **state)
{
	Fixture *f = *state;
	Error err = ERROR_INIT;

	start(f, "ready", NULL, 0);
	run(f);
	assert_works(child_send(f->child, MOVER_QUERY, 0, NULL, NULL, NULL, 0, &err), &err);
	run(f); /* it ends: a query is not permitted before setup */
	assert_int_equal(f->gone, 1);
	assert_fails(child_send(f->child, MOVER_QUERY, 0, NULL, NULL, NULL, 0, &err),
		     ERROR_UNAVAILABLE, "", &err);
}

static void a_program_that_cannot_be_run_is_an_error(void **state)
{
	Fixture *f = *state;
	static const ChildEvents events = { on_message, on_gone };
	ChildSpec spec = { .path = "/nonexistent/child", .rules = engine_mover_rules };

	assert_null(child_new(f->base, &spec, &events, f, &f->err));
	support_check_error(&f->err, ERROR_CONFIG, "cannot run /nonexistent/child", __FILE__,
			    __LINE__);
	spec.path = "/etc/passwd";
	f->err = ERROR_INIT;
	assert_null(child_new(f->base, &spec, &events, f, &f->err));
	support_check_error(&f->err, ERROR_CONFIG, "cannot run /etc/passwd", __FILE__, __LINE__);
}

#define CHILD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CHILD_TEST(a_child_gets_what_it_was_given_and_no_more),
		CHILD_TEST(descriptors_may_come_in_any_order),
		CHILD_TEST(a_child_that_exits_is_told_with_its_status),
		CHILD_TEST(a_child_that_dies_is_told_with_its_signal),
		CHILD_TEST(a_child_that_broke_its_filter_is_told_so),
		CHILD_TEST(a_child_that_was_killed_is_told_so),
		CHILD_TEST(a_child_is_alone),
		CHILD_TEST(a_child_starts_without_namespaces_too),
		CHILD_TEST(a_child_that_ends_after_its_link_keeps_its_status),
		CHILD_TEST(a_child_that_outlives_its_link_is_killed),
		CHILD_TEST(a_child_that_breaks_a_rule_is_killed),
		CHILD_TEST(a_child_that_hangs_ends_with_its_handle),
		CHILD_TEST(a_callback_may_free_the_child),
		CHILD_TEST(sending_to_a_dead_child_is_an_error),
		CHILD_TEST(a_program_that_cannot_be_run_is_an_error),
	};

	if (argc != 2)
		return 2;
	example_path(argv[1]);
	return cmocka_run_group_tests_name("role/child", tests, NULL, NULL);
}
