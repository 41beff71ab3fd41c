/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the guard is by itself, on one core, with real streams: tests/guard/make-twin made TWIN
 * and DUMP, tests/qemustream/capture.py the rest, with or without --multifd none.
 *
 *	bench-guard MACHINE TWIN DUMP MAIN [MULTIFD...]
 *
 * A channel is shown in records of 512 KiB, as the mover has them, to a sink that drops them.
 *Before each round caches are emptied: in the mover bytes come from decryption. Prints for each
 * channel the best of several rounds; then of RAM alone, behind MAIN's own list of blocks: 256 MiB
 * of pages in ascending order (long runs) and in descending order (each record a unit), and of
 * multifd packets. Only headers are touched: the speed is that of a stream that lies in memory and
 * goes nowhere.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "guard/guard.h"
#include "qemustream/multifd.h"
#include "qemustream/ram.h"
#include "tests/guard/read_files.h"

enum {
	PAGE = 4096,
	RECORD = 512 * 1024,
	ROUNDS = 5,
	FILE_MAX = 1 << 30,
	EVICT_SIZE = 128 * 1024 * 1024,
	CACHE_LINE = 64,
	ARG_MACHINE = 1,
	ARG_TWIN,
	ARG_DUMP,
	ARG_MAIN,
	PACKET_PAGES = 128,
	RAM_PASS_PAGES = 2048, /* pages that a section has, 8 MiB: less than the VM has */
	RAM_PASSES = 32,
	PROLOGUE_MAX = 4096,
	ID_SIZE = 4,
	TAG_PART = 0x02,
	TAG_FOOTER = 0x7e,
};

static void put(Buffer *buffer, const void *bytes, size_t size)
{
	Error err = ERROR_INIT;

	if (!buffer_put(buffer, bytes, size, &err))
		die("%s", err.text);
}

/* Walks over more memory than any cache holds. */
static void empty_caches(void)
{
	static uint8_t memory[EVICT_SIZE];

	for (size_t i = 0; i < EVICT_SIZE; i += CACHE_LINE)
		((volatile uint8_t *)memory)[i]++;
}

static bool drop(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	(void)bytes;
	(void)err;
	*(size_t *)context += size;
	return true;
}

typedef struct Bench {
	GuardExpected expected;
} Bench;

static Guard *make_guard(const Bench *bench)
{
	const GuardOptions options = { .side = GUARD_DESTINATION };
	Error err = ERROR_INIT;
	Guard *guard = guard_new(&options, &bench->expected, &err);

	if (!guard)
		die("%s", err.text);
	return guard;
}

/* Returns the seconds that it took. */
static double run(const Bench *bench, unsigned int channel, const Buffer *bytes,
		  GuardCounters *ret_counters)
{
	AUTO_GUARD Guard *guard = make_guard(bench);
	size_t at = 0, shown = 0, taken, out = 0;
	const GuardSink sink = { .write = drop, .context = &out };
	Error err = ERROR_INIT;
	int64_t begin, end;

	empty_caches();
	begin = clock_monotonic_us(&clock_system);
	while (shown < bytes->used) {
		shown = RECORD < bytes->used - shown ? shown + RECORD : bytes->used;
		if (!guard_take(guard, channel, bytes->data + at, shown - at, &sink, &taken, &err))
			die("%s", err.text);
		at += taken;
	}
	end = clock_monotonic_us(&clock_system);
	if (out != bytes->used)
		die("%zu bytes came out, expected %zu", out, bytes->used);
	guard_counters(guard, ret_counters);
	return (double)(end - begin) / 1e6;
}

static void measure(const Bench *bench, const char *what, unsigned int channel, const Buffer *bytes)
{
	GuardCounters counters;
	double best = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double seconds = run(bench, channel, bytes, &counters);

		if (!round || seconds < best)
			best = seconds;
	}
	printf("%-26s %7.1f MB %8.1f GB/s, device state %" PRIu64 " bytes in %" PRIu64 " us\n",
	       what, (double)bytes->used / 1e6, (double)bytes->used / best / 1e9,
	       counters.device_bytes, counters.judging_us);
}

/* --- RAM alone --- */

static void put_be64(Buffer *buffer, uint64_t value)
{
	uint8_t bytes[8];

	store_be64(bytes, value);
	put(buffer, bytes, sizeof(bytes));
}

/* What stands before the first PART: up to the footer of the START. Both have the id of ram. */
static size_t prologue_of(const Buffer *main, uint8_t id[static ID_SIZE])
{
	for (size_t at = 0; at + 2 * (1 + ID_SIZE) < main->used && at < PROLOGUE_MAX; at++) {
		const uint8_t *footer = main->data + at, *part = footer + 1 + ID_SIZE;

		if (*footer != TAG_FOOTER || *part != TAG_PART ||
		    memcmp(footer + 1, part + 1, ID_SIZE) != 0)
			continue;
		memcpy(id, footer + 1, ID_SIZE);
		return at + 1 + ID_SIZE;
	}
	die("no PART behind the START");
}

static void put_tag(Buffer *buffer, uint8_t tag, const uint8_t id[static ID_SIZE])
{
	put(buffer, &tag, 1);
	put(buffer, id, ID_SIZE);
}

static void put_passes(Buffer *ram, const Buffer *main, uint32_t flag, bool descending)
{
	static const uint8_t page[PAGE] = { [PAGE - 1] = 1 };
	uint8_t id[ID_SIZE];

	put(ram, main->data, prologue_of(main, id));
	for (int pass = 0; pass < RAM_PASSES; pass++) {
		put_tag(ram, TAG_PART, id);
		for (uint64_t i = 0; i < RAM_PASS_PAGES; i++) {
			uint64_t index = descending ? RAM_PASS_PAGES - 1 - i : i;

			put_be64(ram, index * PAGE | flag | (i ? RAM_FLAG_CONTINUE : 0));
			if (!i)
				put(ram, "\6pc.ram", 7);
			put(ram, page, flag == RAM_FLAG_ZERO ? 1 : PAGE);
		}
		put_be64(ram, RAM_FLAG_EOS);
		put_tag(ram, TAG_FOOTER, id);
	}
}

static void measure_ram(const Bench *bench, const Buffer *main, const char *what, uint32_t flag,
			bool descending)
{
	AUTO_BUFFER Buffer ram = BUFFER_INIT(FILE_MAX);

	put_passes(&ram, main, flag, descending);
	measure(bench, what, 0, &ram);
}

/* --- multifd alone --- */

static void put_packet(Buffer *buffer, uint64_t number, uint32_t pages)
{
	enum { HEADER = MULTIFD_OFFSETS_AT + 8 * PACKET_PAGES };
	static uint8_t bytes[HEADER + PACKET_PAGES * PAGE];

	memset(bytes, 0, HEADER);
	store_be32(bytes, 0x11223344);
	store_be32(bytes + 4, 1);
	store_be32(bytes + 8, pages ? 0 : 1);
	store_be32(bytes + 12, pages ? PACKET_PAGES : 0);
	store_be32(bytes + 16, pages);
	store_be32(bytes + 20, pages * PAGE);
	store_be64(bytes + 24, number);
	if (pages)
		memcpy(bytes + 64, "pc.ram", 6);
	for (uint64_t i = 0; i < pages; i++)
		store_be64(bytes + MULTIFD_OFFSETS_AT + 8 * i, i * PAGE);
	put(buffer, bytes, HEADER + (size_t)pages * PAGE);
}

static void measure_multifd(const Bench *bench)
{
	enum { PACKETS = 512, PACKETS_A_PASS = 16 };
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FILE_MAX);
	uint8_t initial[64] = { 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1 };

	put(&bytes, initial, sizeof(initial));
	for (uint64_t i = 0; i < PACKETS; i++)
		put_packet(&bytes, i, i % PACKETS_A_PASS ? PACKET_PAGES : 0);
	measure(bench, "multifd pages", 1, &bytes);
}

int main(int argc, char **argv)
{
	AUTO_BUFFER Buffer twin = BUFFER_INIT(FILE_MAX);
	AUTO_BUFFER Buffer dump = BUFFER_INIT(FILE_MAX);
	AUTO_BUFFER Buffer main_channel = BUFFER_INIT(FILE_MAX);
	Bench bench = { .expected = { .channels = LIMIT_CHANNELS } };

	if (argc <= ARG_MAIN)
		die("usage: bench-guard MACHINE TWIN DUMP MAIN [MULTIFD...]");
	read_whole(argv[ARG_TWIN], &twin);
	read_whole(argv[ARG_DUMP], &dump);
	read_whole(argv[ARG_MAIN], &main_channel);
	snprintf(bench.expected.machine, sizeof(bench.expected.machine), "%s", argv[ARG_MACHINE]);
	bench.expected.twin = twin.data;
	bench.expected.twin_size = twin.used;
	bench.expected.dump = dump.data;
	bench.expected.dump_size = dump.used;
	measure(&bench, "main as recorded", 0, &main_channel);
	measure_ram(&bench, &main_channel, "main, pages", RAM_FLAG_PAGE, false);
	measure_ram(&bench, &main_channel, "main, pages descending", RAM_FLAG_PAGE, true);
	measure_ram(&bench, &main_channel, "main, zero pages", RAM_FLAG_ZERO, false);
	measure_multifd(&bench);
	for (int i = ARG_MAIN + 1; i < argc; i++) {
		AUTO_BUFFER Buffer bytes = BUFFER_INIT(FILE_MAX);

		read_whole(argv[i], &bytes);
		measure(&bench, "multifd as recorded", (unsigned int)(i - ARG_MAIN), &bytes);
	}
	return 0;
}
