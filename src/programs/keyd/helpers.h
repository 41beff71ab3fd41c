/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyd's ends of the links to its helpers (role/key_messages.h): one for each key manager of others
 * that is configured. A helper does one request after the other, so each has a queue of its own
 * here, and what waits for a slow one holds up neither another's nor our own store's requests.
 *
 * What a helper says is as little believed as what its peer says: an answer that nobody waits for,
 * or of another kind than was asked for, ends its link, and the engine is told to end the process.
 *
 * Deadlines, of the monotonic clock: HELPER_DEADLINE_MS until a request is sent, and as long again
 * until it is answered. A helper has a shorter one for its peer, so one that does not answer hangs.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_HELPERS_H
#define SEALIFT_PROGRAMS_KEYD_HELPERS_H

#include <poll.h>
#include <sys/queue.h>

#include "role/keyd_messages.h"

enum {
	HELPERS_MAX = KEYD_BACKENDS - 1, /* all places but our own store */
	HELPER_QUEUE = 32,		 /* requests of one helper, the one under way included */
	HELPER_DEADLINE_MS = 10000,
};

/* One of the two is NULL. Told once. `sent`: the helper may have done it. It may ask again, after
 * which the answer is gone. */
typedef void HelperDone(void *context, const IpcMessage *answer, const Error *failure, bool sent);

typedef struct HelperRequest {
	TAILQ_ENTRY(HelperRequest) link;
	uint16_t type;
	union {
		HelperPut put;
		HelperReference reference;
	};
	HelperDone *done;
	void *context;
	int64_t until_us;
} HelperRequest;

typedef struct HelperPlace {
	char name[LIMIT_NAME]; /* "": the place is free */
	HelperKind kind;
	IpcLink *link;	      /* NULL: it is not there */
	char why[LIMIT_TEXT]; /* then */
	uint64_t number;      /* of the message that told of it */
	TAILQ_HEAD(, HelperRequest) queue;
	size_t queued;
	bool sent;	  /* the first of the queue is under way */
	uint64_t subject; /* of it */
} HelperPlace;

typedef struct Helpers {
	HelperPlace places[HELPERS_MAX];
	/* To be told when a link was ended here: the engine must end the process. */
	void (*on_lost)(void *context, const HelperPlace *place);
	void *context;
} Helpers;

void helpers_init(Helpers *helpers, void (*on_lost)(void *context, const HelperPlace *place),
		  void *context);
void helpers_clear(Helpers *helpers);

/* As the message says, whose subject is `number`; takes fd, which may be -1. ERROR_LIMIT past
 * HELPERS_MAX, ERROR_USAGE for a kind that keeps no values. */
MUST_CHECK bool helpers_set(Helpers *helpers, const KeydHelper *helper, uint64_t number, int fd,
			    Error *err);
/* NULL: none of this name is configured. */
HelperPlace *helpers_find(Helpers *helpers, const char *name);

/* Each copies its request. ERROR_UNAVAILABLE with the reason if the helper is not there,
 * ERROR_LIMIT if HELPER_QUEUE wait for it: done is not told then. Else it is, later. `label` is cut
 * to what the message holds. */
MUST_CHECK bool helpers_put(Helpers *helpers, HelperPlace *place, const char *label,
			    const Secret *blob, HelperDone *done, void *context, int64_t now_us,
			    Error *err);
/* HELPER_GET, HELPER_DESTROY; HELPER_CHECK without a reference. */
MUST_CHECK bool helpers_ask(Helpers *helpers, HelperPlace *place, uint16_t type,
			    const char *reference, HelperDone *done, void *context, int64_t now_us,
			    Error *err);

/* Fills in what to wait for; returns how many, at most HELPERS_MAX. */
size_t helpers_poll(const Helpers *helpers, struct pollfd ret_waits[HELPERS_MAX]);
/* Takes the answers of those that have some: poll(2) filled in revents. */
void helpers_take(Helpers *helpers, const struct pollfd *waits, size_t count, int64_t now_us);
/* Fails what is late. Milliseconds until the next deadline, for poll(2); -1: none. */
int helpers_expire(Helpers *helpers, int64_t now_us);

#endif
