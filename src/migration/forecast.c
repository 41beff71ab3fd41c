/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/forecast.h"

enum { ITERATIONS_AHEAD = 64 };

/* A quotient of a tiny rate may exceed what an integer holds. */
static uint64_t whole(double value)
{
	return value < 1e18 ? (uint64_t)value : UINT64_C(1000000000000000000);
}

static void update_rate(Forecast *forecast, const HvProgress *sample, int64_t now_us)
{
	int64_t elapsed = now_us - forecast->sampled_us;
	double rate;

	if (elapsed < 10000 || sample->transferred_bytes < forecast->sampled_bytes)
		return;
	rate = (double)(sample->transferred_bytes - forecast->sampled_bytes) * 1e6 / (double)elapsed;
	/* Half the weight to the last sample: four samples a second, so about one second of memory. */
	forecast->rate_bytes_s = forecast->rate_bytes_s ?
					 whole(0.5 * rate + 0.5 * (double)forecast->rate_bytes_s) :
					 whole(rate);
	forecast->sampled_us = now_us;
	forecast->sampled_bytes = sample->transferred_bytes;
}

/*
 * Plays the iterations to come: while what remains takes longer than the downtime allowed, sending
 * it takes t = remaining / rate, in which dirty * t bytes become dirty again, at most all memory.
 */
static void look_ahead(Forecast *forecast, const HvProgress *sample, int64_t now_us)
{
	double rate = (double)forecast->rate_bytes_s, remaining = (double)sample->remaining_bytes;
	double limit_s = (double)(sample->max_downtime_ms ? sample->max_downtime_ms : 300) / 1000;
	double ahead_s = 0;

	if (rate < 1)
		return;
	for (int i = 0; remaining / rate > limit_s; i++) {
		double pass_s = remaining / rate;

		if (i == ITERATIONS_AHEAD) {
			forecast->total_ms = UINT64_MAX;
			forecast->downtime_ms = whole(1000 * remaining / rate);
			return;
		}
		ahead_s += pass_s;
		remaining = (double)sample->dirty_bytes_s * pass_s;
		if (remaining > (double)sample->total_bytes)
			remaining = (double)sample->total_bytes;
	}
	forecast->downtime_ms = whole(1000 * remaining / rate);
	forecast->total_ms = (uint64_t)((now_us - forecast->started_us) / 1000) +
			     whole(1000 * ahead_s) + forecast->downtime_ms;
}

/* Time passed over time forecast: unlike bytes remaining it does not jump back at a new iteration,
 * and where the forecast grows, the fraction just waits. */
static void update_percent(Forecast *forecast, const HvProgress *sample, int64_t now_us)
{
	double passed_ms = (double)(now_us - forecast->started_us) / 1000, fraction = 0;

	if (forecast->total_ms && forecast->total_ms != UINT64_MAX)
		fraction = passed_ms / (double)forecast->total_ms;
	else if (sample->iteration <= 1 && sample->total_bytes)
		fraction = 0.9 * (1 - (double)sample->remaining_bytes / (double)sample->total_bytes);
	if (fraction > 0.99)
		fraction = 0.99;
	if (fraction > forecast->fraction)
		forecast->fraction = fraction;
	forecast->percent = (unsigned int)(100 * forecast->fraction);
}

void forecast_begin(Forecast *forecast, int64_t now_us)
{
	forecast->started_us = now_us;
	forecast->sampled_us = now_us;
}

void forecast_update(Forecast *forecast, const HvProgress *sample, int64_t now_us)
{
	if (!forecast->started_us) {
		forecast_begin(forecast, now_us);
		forecast->sampled_bytes = sample->transferred_bytes;
	}
	forecast->valid = true;
	forecast->iteration = sample->iteration;
	forecast->total_bytes = sample->total_bytes;
	forecast->done_bytes = sample->transferred_bytes;
	update_rate(forecast, sample, now_us);
	look_ahead(forecast, sample, now_us);
	update_percent(forecast, sample, now_us);
}

void forecast_finish(Forecast *forecast, uint64_t bytes, uint64_t elapsed_us)
{
	if (bytes && elapsed_us) {
		forecast->done_bytes = bytes;
		forecast->rate_bytes_s = (uint64_t)((double)bytes * 1e6 / (double)elapsed_us);
	}
	forecast->fraction = 1;
	forecast->percent = 100;
}
