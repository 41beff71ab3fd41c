/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/pace.h"

#include <time.h>

#include "base/clock.h"

enum {
	PIECES_PER_SECOND = 50,
	PIECE_MIN = 16384,
	BURST_US = 10000, /* what may be saved while nothing is sent */
};

bool pace_init(Pace *pace, Error *err)
{
	pthread_condattr_t attributes;
	bool ok;

	*pace = (Pace){ .filled_us = clock_monotonic_us(&clock_system) };
	TAILQ_INIT(&pace->waiters);
	if (pthread_condattr_init(&attributes))
		return error_set(err, ERROR_INTERNAL, "no memory for a condition variable");
	ok = !pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) &&
	     !pthread_cond_init(&pace->changed, &attributes) &&
	     !pthread_mutex_init(&pace->lock, NULL);
	pthread_condattr_destroy(&attributes);
	return ok || error_set(err, ERROR_INTERNAL, "no memory for a condition variable");
}

void pace_clear(Pace *pace)
{
	pthread_cond_destroy(&pace->changed);
	pthread_mutex_destroy(&pace->lock);
}

void pace_set_rate(Pace *pace, uint64_t bytes_per_second)
{
	pthread_mutex_lock(&pace->lock);
	atomic_store(&pace->rate, bytes_per_second);
	pace->tokens = 0;
	pace->filled_us = clock_monotonic_us(&clock_system);
	pthread_cond_broadcast(&pace->changed);
	pthread_mutex_unlock(&pace->lock);
}

static void refill(Pace *pace, double rate)
{
	int64_t now_us = clock_monotonic_us(&clock_system);
	double most = rate * BURST_US / 1e6;

	pace->tokens += rate * (double)(now_us - pace->filled_us) / 1e6;
	if (pace->tokens > most)
		pace->tokens = most;
	pace->filled_us = now_us;
}

static void wait_for_tokens(Pace *pace, double rate)
{
	double wait_s = -pace->tokens / rate;
	struct timespec until;
	int64_t until_us;

	/* Bounded, since a tiny rate makes it long and the sum must not overflow. */
	if (wait_s > 1)
		wait_s = 1;
	until_us = pace->filled_us + (int64_t)(wait_s * 1e6) + 1;
	until = (struct timespec){ .tv_sec = until_us / 1000000,
				   .tv_nsec = until_us % 1000000 * 1000 };
	pthread_cond_timedwait(&pace->changed, &pace->lock, &until);
}

bool pace_take(Pace *pace, size_t bytes)
{
	PaceWaiter self;
	bool go;

	/* The usual case costs no lock. */
	if (!atomic_load_explicit(&pace->rate, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&pace->lock);
	TAILQ_INSERT_TAIL(&pace->waiters, &self, link);
	for (;;) {
		double rate = (double)atomic_load(&pace->rate);

		if (pace->stopped || rate <= 0)
			break;
		if (TAILQ_FIRST(&pace->waiters) != &self) {
			pthread_cond_wait(&pace->changed, &pace->lock);
			continue;
		}
		refill(pace, rate);
		if (pace->tokens >= 0) {
			pace->tokens -= (double)bytes;
			break;
		}
		wait_for_tokens(pace, rate);
	}
	TAILQ_REMOVE(&pace->waiters, &self, link);
	if (!TAILQ_EMPTY(&pace->waiters))
		pthread_cond_broadcast(&pace->changed);
	go = !pace->stopped;
	pthread_mutex_unlock(&pace->lock);
	return go;
}

size_t pace_piece_size(const Pace *pace, size_t max)
{
	uint64_t rate = atomic_load_explicit(&pace->rate, memory_order_relaxed);
	uint64_t piece = rate / PIECES_PER_SECOND;

	if (!rate || piece >= max)
		return max;
	return piece < PIECE_MIN ? (max < PIECE_MIN ? max : PIECE_MIN) : (size_t)piece;
}

void pace_stop(Pace *pace)
{
	pthread_mutex_lock(&pace->lock);
	pace->stopped = true;
	pthread_cond_broadcast(&pace->changed);
	pthread_mutex_unlock(&pace->lock);
}
