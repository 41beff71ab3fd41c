/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QMP client (QEMU Machine Protocol Specification) on libevent: one connection, replies matched
 * by id, a deadline for each command. QEMU itself is judged like a peer: a line too long, half a
 * line at the end, text that is not JSON, a reply nobody asked for end the connection with one
 * clear error.
 *
 * Callbacks run from the event loop only, never from inside qmp_open or qmp_execute, and may call
 * anything here, qmp_free included.
 */
#ifndef SEALIFT_VMM_QMP_H
#define SEALIFT_VMM_QMP_H

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct event_base;

enum {
	QMP_LINE_MAX_BYTES = 4 << 20, /* query-qmp-schema of QEMU 10 is about 0.3 MiB */
	QMP_PENDING_MAX = 64,	      /* commands without an answer yet */
	QMP_OUTPUT_MAX_BYTES = 1 << 20,
};

typedef struct QmpClient QmpClient;

typedef struct QmpEvents {
	/* The greeting came and qmp_capabilities is done; once. */
	void (*on_ready)(void *context);
	/* `data` is borrowed and may be NULL; wall_us is QEMU's own time stamp, microseconds since
	 * 1970, 0 if it gave none. */
	void (*on_event)(void *context, const char *name, json_t *data, int64_t wall_us);
	/* The connection is gone, after which every pending command has its reply callback called
	 * with the same error. Once; not after qmp_free. The owner still calls qmp_free. */
	void (*on_closed)(void *context, const Error *cause);
} QmpEvents;

/* Exactly one of ret (borrowed) and err is not NULL. Called exactly once for each command that
 * qmp_execute accepted. ERROR_HYPERVISOR: QEMU refused, or broke the protocol; ERROR_TIMEOUT: no
 * reply in time (a later one is dropped); ERROR_UNAVAILABLE: the connection ended;
 * ERROR_CANCELLED: qmp_free. */
typedef void QmpReply(void *context, json_t *ret, const Error *err);

/* Connects to the UNIX socket at path, at most LIMIT_PATH bytes. The greeting must be there within
 * greeting_ms. ERROR_UNAVAILABLE if nobody listens. Owned by the caller. */
QmpClient *qmp_open(struct event_base *base, const char *path, int64_t greeting_ms,
		    const QmpEvents *events, void *context, Error *err);
/* The same over a connected stream socket, which becomes the client's in any case. */
QmpClient *qmp_open_fd(struct event_base *base, int fd, int64_t greeting_ms,
		       const QmpEvents *events, void *context, Error *err);
/* Closes. Pending commands are told ERROR_CANCELLED before this returns; no event follows. */
void qmp_free(QmpClient *client);
DEFINE_CLEANUP(QmpClient, qmp, qmp_free)
#define AUTO_QMP CLEANUP(qmp_cleanup)

/* Sends a command. `arguments` may be NULL and is stolen in any case. ERROR_UNAVAILABLE before
 * on_ready and after on_closed, ERROR_LIMIT with too many pending. `reply` may be NULL. */
MUST_CHECK bool qmp_execute(QmpClient *client, const char *command, json_t *arguments,
			    int64_t deadline_ms, QmpReply *reply, void *context, Error *err);
/* The same with a descriptor beside it (SCM_RIGHTS), for add-fd and getfd. fd stays the caller's.
 */
MUST_CHECK bool qmp_execute_with_fd(QmpClient *client, const char *command, json_t *arguments,
				    int fd, int64_t deadline_ms, QmpReply *reply, void *context,
				    Error *err);

#endif
