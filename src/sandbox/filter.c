/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp filters: allow-lists made by libseccomp from names. */
#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "sandbox/stages.h"

static inline void filter_cleanup(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}
#define AUTO_FILTER CLEANUP(filter_cleanup)

/* clang-format off */
/*
 * What every role may do, and who needs it. Of these comments, and those of the roles' policies,
 * scripts/check-policies holds that they are true, and tests/sandbox/test_calls.py that the calls
 * are made, but for those that are made seldom and say when.
 */
static const char *const base_syscalls[] = {
	"exit", "exit_group",	 /* by the C library: the end of a thread, and of main */
	"futex",		 /* by the C library: locks */
	"futex_time64",		 /* by the C library, on processors of 32 bits (seldom) */
	"clock_gettime",
	"gettimeofday", "time",	 /* by the C library, where the vDSO has no clock (seldom) */
	"getrandom",		 /* by OpenSSL: its generators, each hour or so anew (seldom) */
	"getpid",		 /* by OpenSSL: whether it was forked */
	"brk", "munmap", "madvise", /* by the C library: malloc */
	"mremap",		 /* by the C library: a large block that grows (seldom) */
	"mlock",		 /* base/secret.c: mlock() */
	"close", "write",	 /* base/log.c: write(); by the C library: descriptors */
	"rt_sigreturn", "restart_syscall", /* by the kernel, after signals and stops (seldom) */
	"rt_sigprocmask",	 /* by the C library: the end of threads */
	NULL,
};

#define WITHOUT_EXEC { { .index = 2, .mask = PROT_EXEC, .value = 0 } }
/* clang-format on */

/* Memory never becomes code. */
static const SandboxRule base_rules[] = {
	/* by the C library: malloc */
	{ "mmap", WITHOUT_EXEC },
	{ NULL },
};

#if SANDBOX_SANITIZED
/* What AddressSanitizer's and UBSan's run-time needs on top, in such builds only. */
static const char *const sanitizer_syscalls[] = {
	"sched_yield",	"sigaltstack",	     "pipe",   "pipe2",	  "read", "tgkill",
	"rt_sigaction", "sched_getaffinity", "gettid", "munlock", NULL,
};
static const SandboxRule sanitizer_rules[] = {
	{ "mprotect", WITHOUT_EXEC },
	{ "prctl", { { .index = 0, .mask = UINT32_MAX, .value = PR_GET_DUMPABLE } } },
	{ NULL },
};
#else
static const char *const sanitizer_syscalls[] = { NULL };
static const SandboxRule sanitizer_rules[] = { { NULL } };
#endif

/* Forbidden while threads are still being made. A deny-list is no sandbox: it only narrows the
 * short time until the allow-list. */
static const char *const early_syscalls[] = {
	"execve",
	"execveat",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"mount",
	"umount2",
	"pivot_root",
	"chroot",
	"unshare",
	"setns",
	"socket",
	"socketpair",
	"connect",
	"bind",
	"listen",
	"io_uring_setup",
	"bpf",
	"perf_event_open",
	"keyctl",
	"add_key",
	"request_key",
	"init_module",
	"finit_module",
	"kexec_load",
	"userfaultfd",
	"pidfd_getfd",
	"setuid",
	"setgid",
	"setresuid",
	"setresgid",
	NULL,
};

static bool fail(int code, const char *what, const char *name, Error *err)
{
	return error_set_errno(err, ERROR_IO, -code, "filter: cannot %s %s", what, name);
}

static bool add_rule(scmp_filter_ctx filter, uint32_t action, const SandboxRule *rule, Error *err)
{
	struct scmp_arg_cmp conditions[SANDBOX_ARGUMENTS_MAX];
	unsigned int count = 0;
	int number = seccomp_syscall_resolve_name(rule->syscall);
	int code;

	/* Known to a newer libseccomp only, hence to no program built against this one. */
	if (number == __NR_SCMP_ERROR)
		return true;
	for (; count < SANDBOX_ARGUMENTS_MAX && rule->arguments[count].mask; count++) {
		const SandboxArgument *a = &rule->arguments[count];

		conditions[count] =
			(struct scmp_arg_cmp){ a->index, SCMP_CMP_MASKED_EQ, a->mask, a->value };
	}
	code = seccomp_rule_add_array(filter, action, number, count, conditions);
	return !code || fail(code, "add", rule->syscall, err);
}

static bool add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, Error *err)
{
	for (; *names; names++)
		if (!add_rule(filter, action, &(SandboxRule){ .syscall = *names }, err))
			return false;
	return true;
}

static bool add_rules(scmp_filter_ctx filter, const SandboxRule *rules, Error *err)
{
	for (; rules && rules->syscall; rules++)
		if (!add_rule(filter, SCMP_ACT_ALLOW, rules, err))
			return false;
	return true;
}

static bool load(scmp_filter_ctx filter, bool all_threads, Error *err)
{
	int code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, all_threads);

	/* A binary tree of numbers instead of a list: the data path makes many calls. */
	if (!code)
		code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!code)
		code = seccomp_load(filter);
	return !code || fail(code, "load", "it", err);
}

bool sandbox_filter(const SandboxPolicy *policy, bool all_threads, SandboxReport *report,
		    Error *err)
{
	const struct rlimit none = { 0, 0 };
	uint32_t otherwise =
		policy->refuse_with_errno ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
	AUTO_FILTER scmp_filter_ctx filter = seccomp_init(otherwise);

	if (!filter)
		return error_set(err, ERROR_IO, "filter of %s: this machine has no seccomp",
				 policy->role);
	if (setrlimit(RLIMIT_NPROC, &none))
		return error_set_errno(err, ERROR_IO, errno, "cannot forbid new processes");
	if (!add_names(filter, SCMP_ACT_ALLOW, base_syscalls, err) ||
	    !add_names(filter, SCMP_ACT_ALLOW, sanitizer_syscalls, err) ||
	    !add_names(filter, SCMP_ACT_ALLOW, policy->syscalls, err) ||
	    (policy->refused_syscalls &&
	     !add_names(filter, SCMP_ACT_ERRNO(EACCES), policy->refused_syscalls, err)) ||
	    !add_rules(filter, base_rules, err) || !add_rules(filter, sanitizer_rules, err) ||
	    !add_rules(filter, policy->rules, err) || !load(filter, all_threads, err))
		return error_prefix(err, "sandbox of %s", policy->role);
	report->active |= UINT32_C(1) << SANDBOX_SECCOMP;
	return true;
}

bool sandbox_filter_early(Error *err)
{
	AUTO_FILTER scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (!filter)
		return error_set(err, ERROR_IO, "this machine has no seccomp");
	return add_names(filter, SCMP_ACT_KILL_PROCESS, early_syscalls, err) &&
	       load(filter, false, err);
}
