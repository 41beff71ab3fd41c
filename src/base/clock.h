/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks, behind one seam so that a test can set them. */
#ifndef SEALIFT_BASE_CLOCK_H
#define SEALIFT_BASE_CLOCK_H

#include <stdint.h>

/* A source of time; clock_system is the real one, replay tests bring their own. */
typedef struct Clock {
	int64_t (*monotonic_us)(void *context); /* since an arbitrary instant, never back */
	int64_t (*wall_s)(void *context);	/* seconds since 1970, UTC, may jump */
	void *context;
} Clock;

extern const Clock clock_system;

static inline int64_t clock_monotonic_us(const Clock *clock)
{
	return clock->monotonic_us(clock->context);
}
static inline int64_t clock_wall_s(const Clock *clock)
{
	return clock->wall_s(clock->context);
}

#endif
