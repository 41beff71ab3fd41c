/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's end of a child process: fork and exec, its link on the event loop, its end.
 * Children live as long as their link: when the engine goes, they see end of file and exit.
 */
#ifndef SEALIFT_ROLE_CHILD_H
#define SEALIFT_ROLE_CHILD_H

#include <sys/types.h>

#include "ipc/link.h"

struct event_base;

enum { CHILD_FDS_MAX = 8, CHILD_ARGS_MAX = 12 };

typedef struct ChildSpec {
	const char *path;	    /* absolute, of the program */
	const char *const *args;    /* after argv[0], ended by NULL, at most CHILD_ARGS_MAX - 2 */
	int fds[CHILD_FDS_MAX];	    /* become ROLE_EXTRA_FD and up; stay the caller's; -1 ends early */
	size_t fds_count;
	const IpcRule *rules;	    /* what the engine accepts from it */
} ChildSpec;

typedef struct Child Child;

typedef struct ChildEvents {
	/* A message that follows the rules; descriptors that are not taken are closed afterwards. */
	void (*on_message)(void *context, Child *child, IpcMessage *message);
	/* The child is gone, with the status or signal that ended it, or broke a rule (then it was
	 * killed); called once, never from child_send or child_free. The owner then calls child_free.
	 * Between the end of its link and this, child_send fails. */
	void (*on_gone)(void *context, Child *child, const Error *cause);
} ChildEvents;

/* Starts the program, in a PID namespace of its own if that can be had (sandbox_fork). The child gets
 * only the link, the given descriptors and standard error, and an environment of PATH alone. Owned by
 * the caller. */
Child *child_new(struct event_base *base, const ChildSpec *spec, const ChildEvents *events,
		 void *context, Error *err);
/* Kills (SIGKILL) and reaps it if it still runs; no event follows. NULL is fine. */
void child_free(Child *child);
MUST_CHECK bool child_send(Child *child, uint16_t type, uint64_t subject, const Schema *schema,
			   const void *payload, const int *fds, size_t n_fds, Error *err);
pid_t child_pid(const Child *child);

#endif
