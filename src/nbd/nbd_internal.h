/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the NBD guard share: nbd_guard.c walks, handshake.c, request.c and reply.c
 * judge one unit each. All of it under the guard's lock. */
#ifndef SEALIFT_NBD_NBD_INTERNAL_H
#define SEALIFT_NBD_NBD_INTERNAL_H

#include <pthread.h>

#include "base/buffer.h"
#include "nbd/nbd_guard.h"
#include "nbd/protocol.h"
#include "nbd/rules.h"

typedef enum NbdPhase {
	NBD_PHASE_GREETING,	/* the server speaks first */
	NBD_PHASE_CLIENT_FLAGS, /* the client's answer */
	NBD_PHASE_OPTIONS,
	NBD_PHASE_ABORTED, /* the client gave up among the options */
	NBD_PHASE_TRANSMISSION,
	NBD_PHASE_DISCONNECTED, /* the client said DISC */
	NBD_PHASE_COUNT,
} NbdPhase;

/* In which form requests and replies come, as was agreed among the options. */
typedef enum NbdMode {
	NBD_MODE_SIMPLE,
	NBD_MODE_STRUCTURED,
	NBD_MODE_EXTENDED,
} NbdMode;

/* A request that waits for its answer. */
typedef struct NbdRequest {
	bool used;
	NbdCommand command;
	uint64_t cookie, offset, length;
	uint64_t answered; /* READ: bytes from offset on that chunks gave; BLOCK_STATUS: the extent
			    */
	bool sending;	   /* its payload has not come wholly */
	bool failed;	   /* an error chunk came */
} NbdRequest;

typedef struct NbdStream {
	uint64_t position; /* of the unit that is judged */
	uint64_t payload_left;
	NbdRequest *payload_of; /* whose payload that is */
	bool payload_last;	/* of a reply: the request is answered with it */
	size_t held_size;	/* nbd_guard_watch */
	uint8_t held[NBD_GUARD_WINDOW];
} NbdStream;

struct NbdGuard {
	pthread_mutex_t lock;
	NbdGuardOptions options;
	size_t name_length;
	bool broken;
	NbdPhase phase;
	NbdStream streams[NBD_FROM_COUNT];
	/* handshake */
	NbdOption pending;     /* waits for its final reply; NBD_OPTION_NONE */
	uint32_t options_seen; /* a bit each */
	NbdMode mode;
	bool has_context; /* base:allocation, under this id */
	uint32_t context_id;
	bool has_export;
	uint16_t export_flags;
	bool has_block_size;
	uint32_t block_min, payload_max;
	/* transmission */
	NbdRequest requests[NBD_GUARD_REQUESTS_MAX];
	uint64_t in_flight_bytes;
	NbdGuardCounters counters;
};

/*
 * Judges the unit at the front of a direction's bytes. *ret_size is its size without payload that
 * streams, or 0 if more bytes are needed, which is only so below NBD_GUARD_WINDOW. False with *err:
 * a violation.
 */
typedef bool NbdJudge(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
		      Error *err);

NbdJudge nbd_judge_greeting, nbd_judge_client_flags, nbd_judge_option, nbd_judge_option_reply;
NbdJudge nbd_judge_request, nbd_judge_reply;

/* Sets err to the rule's name, who did it, where, and the formatted text; its category says whether
 * that is the peer. Returns false always. */
bool nbd_violation(const NbdGuard *guard, NbdFrom from, NbdRule rule, Error *err,
		   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A request is answered and its slot free. */
void nbd_request_release(NbdGuard *guard, NbdRequest *request);

/* "WRITE"; a number's own text is the caller's. NULL for none that is known. */
const char *nbd_command_name(unsigned int command);

/* Text of a server for people: bounded by the caller, and without control bytes, since it ends in
 * the log of a QEMU. */
bool nbd_is_text(const uint8_t *bytes, size_t size);

#endif
