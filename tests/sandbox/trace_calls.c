/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a role as its argument 0 (or SEALIFT_TRACE_PROGRAM) says, in its place, and writes to the
 * file SEALIFT_TRACE_FILE the name of each system call that it makes once its last filter, which is
 * number SEALIFT_TRACE_FILTERS, is in force. ptrace(2), "Syscall-stops".
 */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 1024 };

typedef struct Trace {
	pid_t first, filtering; /* who is loading a filter, 0: nobody */
	int file;
	long filters, wanted;
	bool seen[CALLS];
} Trace;

static const char *setting(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value ? value : otherwise;
}

static void note_call(Trace *trace, uint64_t number)
{
	char line[80];
	char *name;
	int size;

	if (trace->filters < trace->wanted || number >= CALLS || trace->seen[number])
		return;
	trace->seen[number] = true;
	name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)number);
	size = snprintf(line, sizeof(line), "%s\n", name ? name : "unknown");
	free(name);
	/* At once: a test may kill us. */
	if (write(trace->file, line, (size_t)size) != size)
		_exit(126);
}

static void on_call(Trace *trace, pid_t thread)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		note_call(trace, info.entry.nr);
		if ((info.entry.nr == SYS_seccomp && !info.entry.args[0]) ||
		    (info.entry.nr == SYS_seccomp && info.entry.args[0] == 1) ||
		    (info.entry.nr == SYS_prctl && info.entry.args[0] == PR_SET_SECCOMP))
			trace->filtering = thread;
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && trace->filtering == thread) {
		trace->filtering = 0;
		trace->filters += !info.exit.is_error && !info.exit.rval;
	}
}

/* Ends as the role did. */
static _Noreturn void end_like(int status)
{
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}

static void follow(Trace *trace)
{
	int status;
	pid_t thread;

	while ((thread = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		int deliver = 0;

		if (thread <= 0)
			continue;
		if (!WIFSTOPPED(status)) {
			if (thread == trace->first)
				end_like(status);
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			on_call(trace, thread);
		else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
			deliver = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(intptr_t)deliver);
	}
}

int main(int argc, char **argv)
{
	Trace trace = { .wanted = strtol(setting("SEALIFT_TRACE_FILTERS", "1"), NULL, 10) };
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
			     PTRACE_O_EXITKILL;
	int status;

	(void)argc;
	trace.file = open(setting("SEALIFT_TRACE_FILE", "/dev/null"),
			  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	trace.first = fork();
	if (!trace.first) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execv(setting("SEALIFT_TRACE_PROGRAM", argv[0]), argv);
		_exit(127);
	}
	/* What was inherited is the role's: its ends must be seen by others. */
	if (trace.file < 0 || dup2(trace.file, 3) != 3 || close_range(4, ~0U, 0) ||
	    waitpid(trace.first, &status, 0) != trace.first ||
	    ptrace(PTRACE_SETOPTIONS, trace.first, NULL, (void *)options) ||
	    ptrace(PTRACE_SYSCALL, trace.first, NULL, NULL))
		return 126;
	trace.file = 3;
	follow(&trace);
	return 126;
}
