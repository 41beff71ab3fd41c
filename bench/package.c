/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a key package costs: package_make at the sender, package_open at the receiver, with the
 * recipient's certificate judged each time, as a key manager does. Keys of P-384, no intermediates.
 *
 *	bench-package [ROUNDS]
 *
 * Prints for 1, 3 and 24 keys the size, the median by the clock, and the median and the 99th
 * percentile of CPU time, which a busy machine changes less, in milliseconds.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "tests/keys/package_world.h"

enum { ROUNDS = 200, ROUNDS_MAX = 10000, US_PER_MS = 1000 };

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* What `rounds` calls took, by the clock and of the CPU. */
typedef struct Times {
	int64_t clock_us[ROUNDS_MAX], cpu_us[ROUNDS_MAX];
	int64_t clock_begin_us, cpu_begin_us;
} Times;

static int64_t cpu_now_us(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now))
		return 0;
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void begin(Times *times)
{
	times->clock_begin_us = clock_monotonic_us(&clock_system);
	times->cpu_begin_us = cpu_now_us();
}

static void end(Times *times, size_t round)
{
	times->cpu_us[round] = cpu_now_us() - times->cpu_begin_us;
	times->clock_us[round] = clock_monotonic_us(&clock_system) - times->clock_begin_us;
}

static void report(const char *what, size_t n_keys, size_t size, Times *times, size_t rounds)
{
	qsort(times->clock_us, rounds, sizeof(int64_t), compare);
	qsort(times->cpu_us, rounds, sizeof(int64_t), compare);
	printf("%-12s %2zu keys %5zu bytes   clock p50 %.2f ms   CPU p50 %.2f p99 %.2f ms\n", what,
	       n_keys, size, (double)times->clock_us[rounds / 2] / US_PER_MS,
	       (double)times->cpu_us[rounds / 2] / US_PER_MS,
	       (double)times->cpu_us[rounds * 99 / 100] / US_PER_MS);
}

static void fail(const Error *err)
{
	fprintf(stderr, "bench-package: %s\n", err->text);
	exit(1);
}

static void make_once(const PackageWorld *world, const FixturePem *agree, Buffer *der)
{
	Error err = ERROR_INIT;
	AUTO_ENVELOPE_RECIPIENT EnvelopeRecipient *recipient =
		envelope_recipient_load(world->store, world->now_s, agree->certificate.data,
					agree->certificate.used, PACKAGE_RECEIVER, &err);

	der->used = 0;
	if (!recipient || !package_make(world->signer, recipient, &world->package, der, &err))
		fail(&err);
}

static void open_once(const PackageWorld *world, const Buffer *der)
{
	Package package;
	Error err = ERROR_INIT;

	if (!package_open(world->store, world->key, world->now_s, der->data, der->used,
			  &world->expected, &package, &err))
		fail(&err);
	package_wipe(&package);
}

static void measure(size_t n_keys, size_t rounds)
{
	static Times made, opened;
	AUTO_PACKAGE_WORLD PackageWorld world;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);

	package_world_open(&world, n_keys, FIXTURE_NOW_S);

	AUTO_FIXTURE_PEM FixturePem agree = fixture_pem_of(&world.agree);

	for (size_t i = 0; i < rounds; i++) {
		begin(&made);
		make_once(&world, &agree, &der);
		end(&made, i);
		begin(&opened);
		open_once(&world, &der);
		end(&opened, i);
	}
	report("package_make", n_keys, der.used, &made, rounds);
	report("package_open", n_keys, der.used, &opened, rounds);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;

	if (!rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "bench-package: 1 to %d rounds\n", ROUNDS_MAX);
		return 2;
	}
	measure(1, rounds);
	measure(3, rounds);
	measure(LIMIT_PACKAGE_KEYS, rounds);
	return 0;
}
