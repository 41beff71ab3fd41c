/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the decoder of the main channel is by itself: pages of one RAM section in memory, shown
 * in windows of 512 KiB as the mover has them. Prints GB/s of stream for pages in ascending order
 * (long runs) and in descending order (each record a unit), and the same of zero pages. Only
 * headers are touched, so caches are emptied before each round: in the mover the bytes come from
 * decryption.
 *
 *	decode-main [MIB]	default 256
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "qemustream/main.h"

enum {
	PAGE = 4096,
	WINDOW = 512 * 1024,
	ROUNDS = 5,
	PROLOGUE_MAX = 256,
	EVICT_SIZE = 128 * 1024 * 1024,
	CACHE_LINE = 64,
};

typedef struct Stream {
	uint8_t *bytes;
	size_t used;
	uint8_t *evict; /* EVICT_SIZE bytes */
} Stream;

static _Noreturn void die(const char *text)
{
	fprintf(stderr, "decode-main: %s\n", text);
	exit(1);
}

static void put(Stream *stream, const void *bytes, size_t size)
{
	memcpy(stream->bytes + stream->used, bytes, size);
	stream->used += size;
}

static void put_be64(Stream *stream, uint64_t value)
{
	store_be64(stream->bytes + stream->used, value);
	stream->used += 8;
}

/* Everything up to the PART's header: one block of n pages. */
static void put_prologue(Stream *stream, uint64_t n_pages)
{
	static const uint8_t begin[] = "QEVM\0\0\0\3\7\0\0\0\3q35"
				       "\1\0\0\0\2\3ram\0\0\0\0\0\0\0\4";
	static const uint8_t end[] = "\0\0\0\0\0\0\0\20\176\0\0\0\2\2\0\0\0\2";

	put(stream, begin, sizeof(begin) - 1);
	put_be64(stream, n_pages * PAGE | RAM_FLAG_MEM_SIZE);
	put(stream, "\6pc.ram", 7);
	put_be64(stream, n_pages * PAGE);
	put(stream, end, sizeof(end) - 1);
}

static void put_page(Stream *stream, uint64_t index, bool first, uint32_t flag)
{
	put_be64(stream, index * PAGE | flag | (first ? 0 : RAM_FLAG_CONTINUE));
	if (first)
		put(stream, "\6pc.ram", 7);
	if (flag == RAM_FLAG_ZERO)
		stream->bytes[stream->used] = 0;
	else
		memset(stream->bytes + stream->used, (int)(index | 1), PAGE);
	stream->used += flag == RAM_FLAG_ZERO ? 1 : PAGE;
}

static uint64_t decode(const Stream *stream)
{
	const MainStreamOptions options = { .page_size = PAGE };
	Error err = ERROR_INIT;
	AUTO_MAIN_STREAM MainStream *decoder = main_stream_new(&options, &err);
	uint64_t pages = 0;
	size_t at = 0;
	MainUnit unit;

	if (!decoder)
		die(err.text);
	for (;;) {
		/* A window that moves on by what was decoded, as a ring of the mover does. */
		size_t left = stream->used - at;
		UnitResult result = main_stream_next(decoder, stream->bytes + at,
						     left < WINDOW ? left : WINDOW, &unit, &err);

		if (result == UNIT_BAD)
			die(err.text);
		if (result == UNIT_MORE)
			return pages;
		pages += unit.kind == MAIN_RAM ? unit.ram.count : 0;
		at += unit.size_bytes;
	}
}

/* Walks over more memory than any cache holds. */
static void empty_caches(uint8_t *memory)
{
	for (size_t i = 0; i < EVICT_SIZE; i += CACHE_LINE)
		((volatile uint8_t *)memory)[i]++;
}

static void measure(const char *what, Stream *stream, uint64_t n_pages, uint32_t flag,
		    bool descending)
{
	double best = 0, seconds;

	stream->used = 0;
	put_prologue(stream, n_pages);
	for (uint64_t i = 0; i < n_pages; i++)
		put_page(stream, descending ? n_pages - 1 - i : i, !i, flag);
	for (int round = 0; round < ROUNDS; round++) {
		int64_t begin;

		empty_caches(stream->evict);
		begin = clock_monotonic_us(&clock_system);

		if (decode(stream) != n_pages)
			die("not all pages were decoded");
		seconds = (double)(clock_monotonic_us(&clock_system) - begin) / 1e6;
		if (!round || seconds < best)
			best = seconds;
	}
	printf("%-20s %8.1f GB/s %8.1f million pages/s\n", what, (double)stream->used / best / 1e9,
	       (double)n_pages / best / 1e6);
}

int main(int argc, char **argv)
{
	unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
	uint64_t n_pages = mib << 8;
	Stream stream = { .used = 0 };

	if (!mib || mib > 4096)
		die("1 to 4096 MiB");
	stream.bytes = malloc(n_pages * (PAGE + 8) + PROLOGUE_MAX);
	stream.evict = calloc(1, EVICT_SIZE);
	if (!stream.bytes || !stream.evict)
		die("no memory");
	measure("pages, ascending", &stream, n_pages, RAM_FLAG_PAGE, false);
	measure("pages, descending", &stream, n_pages, RAM_FLAG_PAGE, true);
	measure("zeros, ascending", &stream, n_pages, RAM_FLAG_ZERO, false);
	measure("zeros, descending", &stream, n_pages, RAM_FLAG_ZERO, true);
	free(stream.bytes);
	free(stream.evict);
	return 0;
}
