/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress and forecast of a pre-copy migration, from what each iteration did: the dirty set of one
 * iteration is what the next must carry, so the series of iterations, not the bytes remaining now,
 * says when (and whether) it converges. Percent never runs backwards.
 */
#ifndef SEALIFT_MIGRATION_FORECAST_H
#define SEALIFT_MIGRATION_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

/* A sample of QEMU's query-migrate. */
typedef struct HvProgress {
	uint64_t total_bytes;	    /* guest memory */
	uint64_t transferred_bytes; /* so far, all iterations */
	uint64_t remaining_bytes;   /* of this iteration */
	uint64_t iteration;	    /* dirty-sync-count */
	uint64_t dirty_bytes_s;	    /* measured by QEMU at the last synchronisation */
	uint64_t expected_downtime_ms;
	uint64_t max_downtime_ms;   /* the limit in force */
} HvProgress;

typedef struct Forecast {
	bool valid;
	unsigned int percent; /* 0..100, never falls */
	uint64_t iteration;
	uint64_t total_bytes, done_bytes;
	uint64_t rate_bytes_s;	  /* smoothed */
	uint64_t total_ms;	  /* forecast from the start of the transfer; UINT64_MAX: diverges */
	uint64_t downtime_ms;
	/* inside */
	int64_t started_us, sampled_us;
	uint64_t sampled_bytes;
	double fraction;
} Forecast;

/* The transfer begins. */
void forecast_begin(Forecast *forecast, int64_t now_us);
/* Takes one sample at the time now_us; begins by itself if that was not said. */
void forecast_update(Forecast *forecast, const HvProgress *sample, int64_t now_us);
/* 100 percent: what was really sent (bytes), and how long that took. */
void forecast_finish(Forecast *forecast, uint64_t bytes, uint64_t elapsed_us);

#endif
