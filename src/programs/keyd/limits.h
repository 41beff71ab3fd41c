/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often keyd may be asked: buckets that fill with time, one for each caller and one for all. A
 * caller that is not among the last LIMIT_KEY_CALLERS shares a bucket with all such, so that making
 * up names gains nothing. Numbers: base/bounds.h.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_LIMITS_H
#define SEALIFT_PROGRAMS_KEYD_LIMITS_H

#include <stdint.h>

#include "base/bounds.h"
#include "keys/key_store.h"

/* Of the store's room (keys/key.h: LIMIT_KEYS). */
enum {
	LIMIT_VM_KEYS = 512,		    /* of one VM that are not destroyed */
	LIMIT_KEYS_OTHERS = LIMIT_KEYS / 4, /* made, ever, by others than root */
};

typedef enum LimitKind {
	LIMITED_READ,
	LIMITED_CHANGE,	  /* whatever writes to the disk, refusals too */
	LIMITED_TRANSFER, /* the steps of a move, each with signatures to make or to judge */
	LIMITED_COUNT,
} LimitKind;

typedef struct Bucket {
	int64_t filled_us; /* when `micros` was true; 0: never used, full */
	int64_t micros;	   /* millionths of a request that are left */
} Bucket;

typedef struct Caller {
	char who[KEY_WHO_SIZE]; /* "": free */
	int64_t last_us;
	Bucket buckets[LIMITED_COUNT];
} Caller;

/* All zeros: nobody has asked yet. */
typedef struct Limits {
	Caller callers[LIMIT_KEY_CALLERS];
	Bucket others[LIMITED_COUNT], all[LIMITED_COUNT];
} Limits;

/* Takes one request of the caller's share and of everybody's at this time of the monotonic clock.
 * ERROR_LIMIT says which share was used up; nothing is taken then. */
MUST_CHECK bool limits_take(Limits *limits, LimitKind kind, const char *who, int64_t now_us,
			    Error *err);

#endif
