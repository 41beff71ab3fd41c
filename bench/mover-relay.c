/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast are two movers, and what do they cost? One process writes a constant page into UNIX
 * sockets as QEMU would, two real movers carry it over loopback TCP, the same process reads it.
 * Everything shares the processors of one machine, so the rate is that of the whole chain; the CPU
 * seconds are each mover's own.
 *
 * Usage: mover-relay MOVER [MIB [CHANNELS [PIECE_BYTES [AEAD [MODE]]]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/aead.h"
#include "tests/mover/rig.h"

typedef struct Case {
	const char *aead;
	bool sealed;
} Case;

static const Case cases[] = {
	{ "openssl", true },
	{ "openssl", false },
	{ "ipsec-mb", true },
	{ "ipsec-mb", false },
};

static const char *mode_word(const Case *c)
{
	return c->sealed ? "required" : "disabled";
}

static void print_result(const Case *c, const Rig *rig, double gib, double seconds)
{
	const MoverStats *s = &rig->movers[MOVER_SOURCE].stats;
	const MoverStats *d = &rig->movers[MOVER_DESTINATION].stats;

	printf("%-9s %-9s %2u channels: %5.2f GiB/s, CPU s/GiB source %.3f destination %.3f, "
	       "memory MiB %.1f %.1f, bytes a record %.0f\n",
	       c->aead, mode_word(c), rig->options.channels, gib / seconds,
	       (double)s->cpu_us / 1e6 / gib, (double)d->cpu_us / 1e6 / gib,
	       (double)s->peak_memory_bytes / (1 << 20), (double)d->peak_memory_bytes / (1 << 20),
	       (double)s->stream_out_bytes / (double)s->records_out);
	fflush(stdout);
}

static void run_case(const Case *c, const char *path, uint64_t bytes, unsigned int channels,
		     size_t piece)
{
	const RigOptions options = {
		.path = path, .aead = c->aead, .sealed = c->sealed, .channels = channels
	};
	RigStream writers[LIMIT_CHANNELS], readers[LIMIT_CHANNELS];
	int64_t start_us;
	double seconds;
	Rig rig;

	rig_start(&rig, &options);
	rig_connect_all(&rig);
	start_us = clock_monotonic_us(&clock_system);
	for (unsigned int i = 0; i < channels; i++) {
		writers[i] = (RigStream){ .fd = rig.qemu[MOVER_SOURCE][i],
					  .seed = i + 1,
					  .bytes = bytes / channels,
					  .piece = piece,
					  .constant = true };
		readers[i] = (RigStream){ .fd = rig.qemu[MOVER_DESTINATION][i], .constant = true };
		rig_read_start(&readers[i]);
		rig_write_start(&writers[i]);
	}
	for (unsigned int i = 0; i < channels; i++) {
		rig_stream_join(&writers[i]);
		rig_stream_join(&readers[i]);
		close(rig.qemu[MOVER_DESTINATION][i]);
		rig.qemu[MOVER_DESTINATION][i] = -1;
	}
	seconds = (double)(clock_monotonic_us(&clock_system) - start_us) / 1e6;
	rig_wait(&rig, MOVER_SOURCE, &rig.movers[MOVER_SOURCE].done);
	rig_wait(&rig, MOVER_DESTINATION, &rig.movers[MOVER_DESTINATION].done);
	print_result(c, &rig, (double)bytes / (1 << 30), seconds);
	rig_stop(&rig);
}

static bool is_wanted(const Case *c, int argc, char **argv)
{
	return aead_provider_by_name(c->aead) && (argc < 6 || !strcmp(argv[5], c->aead)) &&
	       (argc < 7 || !strcmp(argv[6], mode_word(c)));
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 2048;
	unsigned long channels = argc > 3 ? strtoul(argv[3], NULL, 10) : 2;
	size_t piece = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;

	if (argc < 2 || !mib || !channels || channels > LIMIT_CHANNELS) {
		fprintf(stderr,
			"usage: mover-relay MOVER [MIB [CHANNELS [PIECE_BYTES [AEAD [MODE]]]]]\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (is_wanted(&cases[i], argc, argv))
			run_case(&cases[i], argv[1], mib << 20, (unsigned int)channels, piece);
	return 0;
}
