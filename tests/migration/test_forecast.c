/* SPDX-License-Identifier: Apache-2.0 */
/* A toy of pre-copy plays a guest: each iteration carries what the one before left dirty. */
#include "tests/support/support.h"

#include <string.h>

#include "migration/forecast.h"

enum { SAMPLE_US = 250000, SAMPLES_MAX = 4000, MIB = 1 << 20 };

typedef struct Guest {
	double total, remaining, dirty, sent; /* bytes; dirty of the running iteration */
	double rate, dirty_rate;	      /* bytes a second */
	double noise;			      /* share of the rate, 0..1 */
	uint64_t iteration;
	uint64_t seed;
} Guest;

static double noisy(Guest *guest, double value)
{
	guest->seed = guest->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return value * (1 + guest->noise * (2 * (double)(guest->seed >> 40) / (1 << 24) - 1));
}

/* Lets the guest go on for a sample; false once what remains fits into the downtime. */
static bool play(Guest *guest, double limit_s)
{
	double seconds = SAMPLE_US / 1e6, rate = noisy(guest, guest->rate);
	double send = rate * seconds;

	guest->dirty += noisy(guest, guest->dirty_rate) * seconds;
	if (guest->dirty > guest->total)
		guest->dirty = guest->total;
	guest->sent += send < guest->remaining ? send : guest->remaining;
	guest->remaining -= send;
	if (guest->remaining > 0)
		return true;
	guest->remaining = guest->dirty;
	guest->dirty = 0;
	guest->iteration++;
	return guest->remaining / guest->rate > limit_s;
}

static HvProgress sample_of(const Guest *guest)
{
	return (HvProgress){
		.total_bytes = (uint64_t)guest->total,
		.transferred_bytes = (uint64_t)guest->sent,
		.remaining_bytes = (uint64_t)(guest->remaining > 0 ? guest->remaining : 0),
		.iteration = guest->iteration,
		.dirty_bytes_s = guest->iteration > 1 ? (uint64_t)guest->dirty_rate : 0,
		.max_downtime_ms = 300,
	};
}

static Guest new_guest(double rate_mib, double dirty_mib, double noise)
{
	return (Guest){ .total = 1024.0 * MIB,
			.remaining = 1024.0 * MIB,
			.rate = rate_mib * MIB,
			.dirty_rate = dirty_mib * MIB,
			.noise = noise,
			.iteration = 1,
			.seed = 7 };
}

typedef struct Seen {
	unsigned int samples, percent;
	bool diverged;
	int64_t elapsed_us;
} Seen;

static Seen watch(Guest *guest, Forecast *forecast)
{
	Seen seen = { 0 };
	bool goes_on = true;

	while (goes_on && seen.samples < SAMPLES_MAX) {
		HvProgress sample = sample_of(guest);

		forecast_update(forecast, &sample, 5000000 + seen.elapsed_us);
		assert_true(forecast->percent >= seen.percent);
		assert_true(forecast->percent <= 99);
		seen.percent = forecast->percent;
		seen.diverged = forecast->total_ms == UINT64_MAX;
		seen.samples++;
		seen.elapsed_us += SAMPLE_US;
		goes_on = play(guest, 0.3);
	}
	return seen;
}

static void a_quiet_guest_comes_to_its_end(void **state)
{
	Guest guest = new_guest(100, 0, 0);
	Forecast forecast = { 0 };
	Seen seen = watch(&guest, &forecast);

	(void)state;
	assert_false(seen.diverged);
	assert_true(seen.percent >= 90);
	assert_in_range(forecast.rate_bytes_s, 99 * MIB, 101 * MIB);
	/* 1024 MiB at 100 MiB/s. */
	assert_in_range(forecast.total_ms, 9500, 11500);
	assert_in_range(forecast.iteration, 1, 2);
}

static void a_converging_guest_is_foretold(void **state)
{
	Guest guest = new_guest(200, 80, 0);
	Forecast forecast = { 0 };
	Seen seen = watch(&guest, &forecast);
	int64_t total_ms = (int64_t)forecast.total_ms, elapsed_ms = seen.elapsed_us / 1000;

	(void)state;
	assert_false(seen.diverged);
	assert_true(seen.samples < SAMPLES_MAX);
	assert_true(forecast.downtime_ms <= 300);
	/* At its last sample the forecast is right to within a few samples. */
	assert_true(total_ms - elapsed_ms < 1500 && elapsed_ms - total_ms < 1500);
}

static void a_diverging_guest_is_told_so(void **state)
{
	Guest guest = new_guest(100, 150, 0);
	Forecast forecast = { 0 };
	Seen seen = watch(&guest, &forecast);

	(void)state;
	assert_int_equal(seen.samples, SAMPLES_MAX);
	assert_true(seen.diverged);
	assert_true(forecast.total_ms == UINT64_MAX);
	/* What it would cost to stop it now: all its memory, at the rate. */
	assert_true(forecast.downtime_ms > 300);
	assert_true(seen.percent < 100);
}

static void noise_moves_percent_forward_only(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) {
		Guest guest = new_guest(100 + 10 * i, 5 * i, 0.9);
		Forecast forecast = { 0 };

		guest.seed = (uint64_t)i + 1;
		watch(&guest, &forecast);
		assert_true(forecast.valid);
	}
}

/* The same guest, throttled in the middle: the forecast grows, the percent waits. */
static void a_slower_link_does_not_turn_back(void **state)
{
	Guest guest = new_guest(400, 10, 0);
	Forecast forecast = { 0 };
	unsigned int percent = 0;
	uint64_t before = 0;

	(void)state;
	for (int i = 0; i < 12; i++) {
		HvProgress sample = sample_of(&guest);

		forecast_update(&forecast, &sample, 1000000 + i * SAMPLE_US);
		assert_true(forecast.percent >= percent);
		percent = forecast.percent;
		if (i == 5) {
			before = forecast.total_ms;
			guest.rate /= 8;
		}
		play(&guest, 0.3);
	}
	assert_true(forecast.total_ms > before);
}

static void strange_figures_do_no_harm(void **state)
{
	static const HvProgress samples[] = {
		{ 0 },
		{ .total_bytes = UINT64_MAX, .transferred_bytes = UINT64_MAX, .remaining_bytes = UINT64_MAX,
		  .dirty_bytes_s = UINT64_MAX, .iteration = UINT64_MAX },
		{ .total_bytes = 1, .transferred_bytes = 0, .remaining_bytes = UINT64_MAX, .iteration = 1 },
		{ .total_bytes = UINT64_C(16) << 40, .transferred_bytes = 1,
		  .remaining_bytes = UINT64_C(16) << 40, .dirty_bytes_s = 1, .iteration = 2 },
	};

	(void)state;
	for (size_t first = 0; first < ARRAY_SIZE(samples); first++)
		for (size_t then = 0; then < ARRAY_SIZE(samples); then++) {
			Forecast forecast = { 0 };

			forecast_update(&forecast, &samples[first], 1000000);
			forecast_update(&forecast, &samples[then], 1250000);
			/* Two at one instant divide by nothing. */
			forecast_update(&forecast, &samples[then], 1250000);
			assert_true(forecast.percent <= 99);
		}
}

static void the_end_is_a_hundred_percent(void **state)
{
	Guest guest = new_guest(100, 0, 0);
	HvProgress sample = sample_of(&guest);
	Forecast forecast = { 0 };

	(void)state;
	forecast_begin(&forecast, 1000000);
	forecast_update(&forecast, &sample, 1250000);
	assert_true(forecast.percent < 100);
	forecast_finish(&forecast, 50 * MIB, 2000000);
	assert_int_equal(forecast.percent, 100);
	assert_int_equal(forecast.rate_bytes_s, 25 * MIB);
	/* A sample that was still on its way takes nothing back. */
	forecast_update(&forecast, &sample, 1500000);
	assert_int_equal(forecast.percent, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_guest_comes_to_its_end),
		cmocka_unit_test(a_converging_guest_is_foretold),
		cmocka_unit_test(a_diverging_guest_is_told_so),
		cmocka_unit_test(noise_moves_percent_forward_only),
		cmocka_unit_test(a_slower_link_does_not_turn_back),
		cmocka_unit_test(strange_figures_do_no_harm),
		cmocka_unit_test(the_end_is_a_hundred_percent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
