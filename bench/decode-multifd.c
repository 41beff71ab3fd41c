/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast does one core decode a multifd channel? Full packets of pages, then the same compressed,
 * as a relay with a window of 512 KiB (1 MiB for compressed ones) would see them. Uncompressed
 * pages are not touched and headers are in the cache, as they are right after decryption: that rate
 * says how little of a core the decoder takes, not how fast bytes move.
 *
 * Usage: decode-multifd [MIB]
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "qemustream/decompress.h"
#include "tests/qemustream/multifd_samples.h"

enum { MIB_DEFAULT = 256, ROUNDS = 5, COMPRESSED_MIB_MAX = 64 };

typedef struct Run {
	const char *name;
	MultifdCompression method;
	uint32_t flags;
	int level;
} Run;

static const Run runs[] = {
	{ "none", MULTIFD_COMPRESSION_NONE, 0, 0 },
	{ "zlib", MULTIFD_COMPRESSION_ZLIB, SAMPLE_ZLIB, 1 },
	{ "zstd", MULTIFD_COMPRESSION_ZSTD, SAMPLE_ZSTD, 1 },
};

static _Noreturn void give_up(const Error *err)
{
	fprintf(stderr, "decode-multifd: %s\n", err->text);
	exit(1);
}

/* Half of each page is noise: it compresses to about the half. */
static void fill_pages(uint8_t *pages, uint32_t *seed)
{
	for (size_t i = 0; i < MULTIFD_PACKET_BYTES; i++) {
		*seed = *seed * 1664525 + 1013904223;
		pages[i] = i % SAMPLE_PAGE < SAMPLE_PAGE / 2 ? (uint8_t)(*seed >> 24) : 'p';
	}
}

static void make_stream(const Run *run, size_t packets, Buffer *stream)
{
	AUTO_SAMPLE_COMPRESSOR SampleCompressor *source =
		run->flags ? sample_compressor_new(run->method, run->level) : NULL;
	AUTO_FREE uint8_t *pages = malloc(MULTIFD_PACKET_BYTES);
	uint32_t seed = 1;
	Error err = ERROR_INIT;

	if (!pages)
		exit(1);
	sample_multifd_initial(stream, 0);
	for (size_t i = 0; i < packets; i++) {
		size_t header = stream->used;

		sample_multifd_packet(stream, &(SamplePacket){ .block = "pc.ram",
							       .flags = run->flags,
							       .normal_pages = SAMPLE_PAGES_MAX,
							       .packet_num = i });
		fill_pages(pages, &seed);
		if (source)
			sample_compress(source, pages, MULTIFD_PACKET_BYTES, SAMPLE_FLUSH, stream);
		else if (!buffer_put(stream, pages, MULTIFD_PACKET_BYTES, &err))
			give_up(&err);
		store_be32(stream->data + header + AT_NEXT_PACKET_SIZE,
			   (uint32_t)(stream->used - header - SAMPLE_HEADER));
	}
}

/* The bytes of pages that were decoded; judged as a guard would, one comparison for each page. */
static uint64_t decode(const Run *run, const Buffer *stream)
{
	const MultifdOptions options = { .page_size = SAMPLE_PAGE, .compression = run->method };
	const size_t window_max = run->flags ? MULTIFD_WINDOW : 512 * 1024;
	AUTO_DECOMPRESSOR Decompressor *checker = NULL;
	uint64_t done = 0;
	MultifdStream decoder;
	Error err = ERROR_INIT;

	if (run->flags)
		checker = decompressor_new(run->method, &err);
	multifd_stream_init(&decoder, &options);
	for (size_t at = 0; at < stream->used;) {
		size_t left = stream->used - at;
		MultifdUnit unit;
		UnitResult result =
			multifd_stream_next(&decoder, stream->data + at,
					    left < window_max ? left : window_max, &unit, &err);

		if (result != UNIT_WHOLE)
			give_up(&err);
		for (uint32_t i = 0;
		     unit.kind == MULTIFD_UNIT_PACKET && i < unit.packet.normal_pages; i++)
			if (multifd_packet_offset(&unit.packet, i) > UINT64_C(1) << 40)
				exit(1);
		if (unit.kind == MULTIFD_UNIT_COMPRESSED &&
		    !decompressor_check(checker, unit.payload.bytes, unit.size_bytes,
					unit.payload.expanded_bytes, &err))
			give_up(&err);
		if (unit.kind == MULTIFD_UNIT_PAYLOAD)
			done += unit.size_bytes;
		if (unit.kind == MULTIFD_UNIT_COMPRESSED)
			done += unit.payload.expanded_bytes;
		at += unit.size_bytes;
	}
	return done;
}

static void measure(const Run *run, size_t mib)
{
	size_t wanted = run->flags && mib > COMPRESSED_MIB_MAX ? COMPRESSED_MIB_MAX : mib;
	AUTO_BUFFER Buffer stream = BUFFER_INIT((wanted << 20) + (wanted << 14));
	int64_t best_us = INT64_MAX;
	uint64_t done = 0;

	make_stream(run, (wanted << 20) / MULTIFD_PACKET_BYTES, &stream);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t begin = clock_monotonic_us(&clock_system), took;

		done = decode(run, &stream);
		took = clock_monotonic_us(&clock_system) - begin;
		if (took < best_us)
			best_us = took > 0 ? took : 1;
	}
	printf("%s: %" PRIu64
	       " MiB of pages, %zu MiB in the stream: %.1f GB/s of pages, %.2f us a packet\n",
	       run->name, done >> 20, stream.used >> 20, (double)done / (double)best_us / 1000,
	       (double)best_us * MULTIFD_PACKET_BYTES / (double)done);
}

int main(int argc, char **argv)
{
	unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : MIB_DEFAULT;

	if (argc > 2 || mib < 1 || mib > 4096) {
		fprintf(stderr, "usage: decode-multifd [MIB], 1..4096\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		measure(&runs[i], mib);
	return 0;
}
