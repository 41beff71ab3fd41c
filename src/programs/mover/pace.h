/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bandwidth limit: one token bucket for all channels of a mover. A sender takes tokens for
 * bytes it is about to write and may thereby go into debt, which the next ones wait for; so the
 * long-run rate is exact whatever the record sizes, and a lone small record waits for nobody. They
 * have their turn in the order in which they came, so that of those who always have something to
 * send, memory and disks, none starves.
 */
#ifndef SEALIFT_PROGRAMS_MOVER_PACE_H
#define SEALIFT_PROGRAMS_MOVER_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/error.h"

/* On the stack of the one who waits. */
typedef struct PaceWaiter {
	TAILQ_ENTRY(PaceWaiter) link;
} PaceWaiter;

typedef struct Pace {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	atomic_uint_fast64_t rate; /* bytes a second; 0: unlimited */
	TAILQ_HEAD(, PaceWaiter) waiters;
	double tokens;	   /* bytes; negative: debt */
	int64_t filled_us; /* when tokens was right */
	bool stopped;
} Pace;

MUST_CHECK bool pace_init(Pace *pace, Error *err);
void pace_clear(Pace *pace);
/* At once, also for those who wait. What was saved or owed under the old rate is forgotten. */
void pace_set_rate(Pace *pace, uint64_t bytes_per_second);
/* Waits until `bytes` may be written. False once pace_stop was called. */
MUST_CHECK bool pace_take(Pace *pace, size_t bytes);
/* The largest piece that keeps the rate smooth: about 20 ms worth, at least 16 KiB, at most max. */
size_t pace_piece_size(const Pace *pace, size_t max);
/* Lets everybody go. */
void pace_stop(Pace *pace);

#endif
