/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Self-isolation of a role, in stages, after passt's isolation.c. Its parent calls
 *
 *	sandbox_fork()	   instead of fork(2), then exec
 *
 * and the program
 *
 *	sandbox_enter()    first thing in main(): before any thread, secret or byte of a peer
 *	...                read key files from descriptors, make threads, fill tables
 *	sandbox_filter()   last thing before it serves
 *
 * sandbox_enter closes every descriptor that the policy does not keep, sets limits, leaves the
 * host's namespaces and file system, becomes its own user, drops all capabilities, forbids itself
 * all files by Landlock. sandbox_filter leaves only the system calls of the policy.
 *
 * The floor, without which both refuse: no new privileges, not dumpable, seccomp, and Landlock or
 * an empty root. What is missing above the floor stands in a SandboxReport.
 */
#ifndef SEALIFT_SANDBOX_SANDBOX_H
#define SEALIFT_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	SANDBOX_KEEP_MAX = 8,	   /* descriptors kept besides 0, 1, 2 */
	SANDBOX_ARGUMENTS_MAX = 3, /* conditions of one rule */
	SANDBOX_PORTS_MAX = 8,	   /* TCP ports that a role may connect to */
	SANDBOX_TEXT_SIZE = 256,
};

/* One condition on a system call: (argument & mask) == value. */
typedef struct SandboxArgument {
	unsigned int index; /* 0..5 */
	uint64_t mask;	    /* 0 ends the list */
	uint64_t value;
} SandboxArgument;

/* A system call that is permitted only if all conditions hold. Several rules of one call: any. */
typedef struct SandboxRule {
	const char *syscall; /* NULL ends a table of rules */
	SandboxArgument arguments[SANDBOX_ARGUMENTS_MAX];
} SandboxRule;

/* What a role may do: one constant per program. */
typedef struct SandboxPolicy {
	const char *role; /* for messages: "gate" */
	/* Names of system calls, NULL ends the list. The base (memory without PROT_EXEC, time,
	 * exit, futex, getrandom, close, write, signal return) is always there and need not be
	 * named. */
	const char *const *syscalls;
	const SandboxRule *rules;  /* with conditions; NULL if none */
	/* What gets EACCES instead of death: calls that a library of others tries and can do
	 * without. NULL: none. */
	const char *const *refused_syscalls;
	uint64_t nofile_max;	   /* RLIMIT_NOFILE: descriptors, kept ones included */
	uint64_t memory_bytes_max; /* RLIMIT_AS; 0: unlimited; ignored in sanitizer builds */
	uint64_t file_bytes_max;   /* RLIMIT_FSIZE; 0 for all roles but those with SandboxPaths */
	/* The descriptor of a directory, which is kept (sandbox_enter closes it): the only one that
	 * the role may use, and its present directory; instead of the empty root it is the root,
	 * where that can be had. 0: none. Not with SandboxPaths. */
	int directory_fd;
	bool keep_network;	   /* stay in the network namespace and be able to connect by TCP */
	/* With keep_network: to these ports only, where the kernel's Landlock can say so (ABI 4). The
	 * first 0 ends the list; an empty one permits all. */
	uint16_t connect_ports[SANDBOX_PORTS_MAX];
	bool refuse_with_errno;	   /* tests only: a forbidden call gives EPERM instead of death */
} SandboxPolicy;

/* The user that a role becomes when it was started as root: --user UID:GID. */
typedef struct SandboxUser {
	bool given;
	uid_t uid;
	gid_t gid;
} SandboxUser;

/* Strict "UID:GID" in decimal, neither may be 0. ERROR_USAGE. */
MUST_CHECK bool sandbox_user_parse(const char *text, SandboxUser *ret_user, Error *err);

typedef enum SandboxMeasure {
	SANDBOX_NO_NEW_PRIVILEGES, /* prctl(2) PR_SET_NO_NEW_PRIVS */
	SANDBOX_NOT_DUMPABLE,	   /* no core, no ptrace by others of the same user */
	SANDBOX_SECCOMP,
	SANDBOX_LANDLOCK,
	SANDBOX_EMPTY_ROOT,	   /* pivot_root(2) into an empty read-only tmpfs, or into the policy's
				    * directory */
	SANDBOX_NETWORK_NAMESPACE, /* not counted for a policy with keep_network */
	SANDBOX_IPC_NAMESPACE,	   /* IPC and UTS */
	SANDBOX_NO_CAPABILITIES,   /* all sets and the bounding set */
	SANDBOX_OWN_USER,	   /* neither root nor the user of the engine */
	SANDBOX_PID_NAMESPACE,	   /* by sandbox_fork: no other process can be seen or signalled */
	SANDBOX_MEASURE_COUNT,
} SandboxMeasure;
extern const char *const sandbox_measure_words[SANDBOX_MEASURE_COUNT];

typedef struct SandboxReport {
	uint32_t active;  /* bit 1 << SandboxMeasure */
	uint32_t missing; /* wanted by the policy but not to be had here */
	int landlock_abi; /* 0: none */
} SandboxReport;

/* Words of what is missing, "own-user, network-namespace"; empty if nothing is. */
void sandbox_report_missing(const SandboxReport *report, char ret_text[SANDBOX_TEXT_SIZE]);

/*
 * As fork(2), but the child is process 1 of a PID namespace of its own where that can be had: by
 * privilege, else (not for root) with a user namespace in which the present user and group keep
 * their numbers. Where neither can be had it is an ordinary child, which sandbox_enter reports. The
 * caller has one thread; the child makes only async-signal-safe calls until it executes or exits.
 * -1 with errno only if fork(2) fails.
 *
 * Process 1 has no default signals (pid_namespaces(7)): from outside only SIGKILL ends it, and
 * abort(3) ends it by the instruction that the C library keeps for that, as SIGSEGV. What the
 * kernel itself raises (a fault, a call that a filter forbids) ends it as ever.
 */
pid_t sandbox_fork(void);

/* The number by which the parent and the host know this process, for its log; getpid(2) if /proc is
 * not there. Before sandbox_enter. */
pid_t sandbox_outer_pid(void);

/*
 * Everything but the filter. The process must have one thread. Descriptors 0 and 1 become
 * /dev/null, 2 stays, of the rest only keep[0..n_keep) that are open; all others are closed.
 * Afterwards threads can still be made. *ret_report is complete but for SANDBOX_SECCOMP.
 * ERROR_IO: a measure of the floor or a limit failed; the caller exits.
 */
MUST_CHECK bool sandbox_enter(const SandboxPolicy *policy, const SandboxUser *user, const int *keep,
			      size_t n_keep, SandboxReport *ret_report, Error *err);

/* What a role may open that cannot live without files: below this path, or the file itself. */
typedef struct SandboxPath {
	const char *path; /* absolute; need not exist */
	bool write;	  /* also change, make and remove regular files and folders */
} SandboxPath;

/*
 * As sandbox_enter, but for files: the root is not empty, and Landlock, which is then part of the
 * floor, permits what is below the paths and nothing else. Reading includes mapping as code
 * (until sandbox_filter); executing stays forbidden. `variables` are "NAME=VALUE", ended by NULL, or
 * NULL: the environment that a library of others needs, which is empty but for them. Before
 * sandbox_filter_early. ERROR_CONFIG for a path that is not absolute.
 */
MUST_CHECK bool sandbox_enter_with_files(const SandboxPolicy *policy, const SandboxUser *user,
					 const int *keep, size_t n_keep, const SandboxPath *paths,
					 size_t n_paths, const char *const *variables,
					 SandboxReport *ret_report, Error *err);

/*
 * The last filter: RLIMIT_NPROC 0 (no process and no thread from here on) and the seccomp filter
 * of the policy on this thread, or on all threads of the process. Whatever is not allowed kills the
 * process. Sets SANDBOX_SECCOMP in *report. ERROR_IO if the kernel or libseccomp refuses.
 */
MUST_CHECK bool sandbox_filter(const SandboxPolicy *policy, bool all_threads, SandboxReport *report,
			       Error *err);

/*
 * A filter for the time in which a program still makes threads: forbids once and for all, on this
 * thread and those it makes, to exec, trace, mount, connect, bind, make sockets, rings or
 * namespaces, and kills the process for it. (Files are forbidden by sandbox_enter already, with an
 * error instead of death, which the start of some libraries needs.) May be called between
 * sandbox_enter and sandbox_filter, not by a program that connects later. ERROR_IO.
 */
MUST_CHECK bool sandbox_filter_early(Error *err);

/* Empties the bounding set as far as it may, and ends the special rights of user 0; while still
 * privileged, before a change of user. Async-signal-safe, as the next. */
void sandbox_drop_bounding_set(void);
/* Empties all other sets; false if the kernel refuses. */
MUST_CHECK bool sandbox_drop_capabilities(void);

/*
 * For a program that is not ours and needs files and sockets, as QEMU: from here on this process
 * and those it makes can trace no process outside (Landlock does that by itself), and where the ABI
 * has it (6), neither signal one nor connect to its abstract sockets. Files stay as they were but
 * for making block devices, which is forbidden. Async-signal-safe; needs no new privileges. False
 * if this kernel has no Landlock or refuses.
 */
MUST_CHECK bool sandbox_part_from_others(void);

/* For `sealift doctor`: what this machine would grant to a role started by this user, tried for
 * real in a child process that is waited for. ERROR_IO if no child can be made. */
MUST_CHECK bool sandbox_probe(const SandboxUser *user, SandboxReport *ret_report, Error *err);

#endif
