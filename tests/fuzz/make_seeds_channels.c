/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/fuzz/make_seeds.h"
#include "tests/qemustream/multifd_samples.h"

enum { SEED_MAX = 65536, WIDE_PAGE = 0x80, DEVICE = 0x40 };

static Buffer begin(uint8_t first)
{
	Buffer seed = BUFFER_INIT(SEED_MAX);
	Error err = ERROR_INIT;

	seeds_must(buffer_put_u8(&seed, first, &err), &err);
	return seed;
}

/* No pieces (stream.h), and this choice. */
static Buffer begin_channel(uint8_t choice)
{
	Buffer seed = begin(0);
	Error err = ERROR_INIT;

	seeds_must(buffer_put_u8(&seed, choice, &err), &err);
	return seed;
}

/* The packet at the end, made one for pages of 64 KiB: its header is a quarter as long. */
static void widen(Buffer *seed)
{
	uint8_t *packet = seed->data + seed->used - SAMPLE_HEADER;
	uint32_t pages = load_be32(packet + AT_NORMAL_PAGES) + load_be32(packet + AT_ZERO_PAGES);

	if (load_be32(packet + AT_PAGES_ALLOC))
		store_be32(packet + AT_PAGES_ALLOC, 8);
	for (uint32_t i = 0; i < pages; i++)
		store_be64(packet + MULTIFD_OFFSETS_AT + 8 * (size_t)i, (uint64_t)i << 16);
	seed->used -= 8 * (SAMPLE_PAGES_MAX - 8);
}

static void write_multifd(const char *root)
{
	AUTO_BUFFER Buffer plain = begin_channel(MULTIFD_COMPRESSION_NONE);
	AUTO_BUFFER Buffer wide = begin_channel(WIDE_PAGE | 1); /* 0x81 % 3 is none */
	AUTO_BUFFER Buffer zlib = begin_channel(WIDE_PAGE | 2); /* and 0x82 % 3 is zlib */
	AUTO_BUFFER Buffer device = begin_channel(DEVICE | 2);	/* 0x42 % 3 is none */
	SamplePacket packet = { .block = "pc.ram", .zero_pages = 3 };
	Error err = ERROR_INIT;

	sample_multifd_initial(&plain, 0);
	sample_multifd_pages(&plain, "pc.ram", 1, 2, 3);
	seeds_write(root, "multifd", "plain", plain.data, plain.used);

	sample_multifd_initial(&wide, 1);
	sample_multifd_packet(&wide, &packet);
	widen(&wide);
	sample_multifd_sync(&wide, 1);
	widen(&wide);
	/* As sources before 9.0 leave them. */
	packet = (SamplePacket){ .block = "pc.ram", .flags = SAMPLE_SYNC, .next_packet_size = 5 };
	sample_multifd_packet(&wide, &packet);
	widen(&wide);
	seeds_write(root, "multifd", "zero-pages", wide.data, wide.used);

	sample_multifd_initial(&zlib, 2);
	packet = (SamplePacket){
		.block = "pc.ram", .flags = SAMPLE_ZLIB, .normal_pages = 2, .next_packet_size = 3
	};
	sample_multifd_packet(&zlib, &packet);
	widen(&zlib);
	seeds_must(buffer_put(&zlib, "abc", 3, &err), &err);
	seeds_write(root, "multifd", "zlib", zlib.data, zlib.used);

	sample_multifd_initial(&device, 2);
	sample_multifd_device(&device, "vfio", 20);
	seeds_write(root, "multifd", "device", device.data, device.used);
}

static void write_decompress(const char *root, MultifdCompression method, const char *name)
{
	AUTO_BUFFER Buffer seed = begin(method == MULTIFD_COMPRESSION_ZSTD);
	AUTO_SAMPLE_COMPRESSOR SampleCompressor *source = sample_compressor_new(method, 1);
	Error err = ERROR_INIT;

	for (uint8_t pages = 1; pages <= 3; pages++) {
		AUTO_BUFFER Buffer payload = BUFFER_INIT(SEED_MAX);
		uint8_t raw[3 * SAMPLE_PAGE];

		for (size_t i = 0; i < sizeof(raw); i++)
			raw[i] = (uint8_t)((size_t) "a guest's pages "[i % 16] + i / 700 * pages);
		sample_compress(source, raw, (size_t)pages * SAMPLE_PAGE, SAMPLE_FLUSH, &payload);
		seeds_must(buffer_put_be16(&seed, (uint16_t)payload.used, &err) &&
				   buffer_put_u8(&seed, pages, &err) &&
				   buffer_put(&seed, payload.data, payload.used, &err),
			   &err);
	}
	seeds_write(root, "decompress", name, seed.data, seed.used);
}

#define REQUEST "\0\0\0\0\0\0\40\0\0\0\20\0"

static void write_return_path(const char *root)
{
	/* No pieces, then messages. */
	static const char precopy[] = "\0\0\7\0\0\0\2\0\4\0\0\0\1\0\1\0\4\0\0\0";
	static const char postcopy[] = "\0\0\3\0\23" REQUEST "\6pc.ram"
				       "\0\4\0\14" REQUEST;
	static const char recovery[] = "\0\0\5\0\7\6pc.ram\0\0\0\0\0\0\0\10"
				       "01234567\x01\x23\x45\x67\x89\xab\xcd\xef\0\6\0\4\0\0\0\1";

	seeds_write(root, "return_path", "precopy", precopy, sizeof(precopy));
	seeds_write(root, "return_path", "postcopy", postcopy, sizeof(postcopy) - 1);
	seeds_write(root, "return_path", "recovery", recovery, sizeof(recovery) - 1);
}

void seeds_write_channels(const char *root)
{
	write_multifd(root);
	write_decompress(root, MULTIFD_COMPRESSION_ZLIB, "zlib");
	write_decompress(root, MULTIFD_COMPRESSION_ZSTD, "zstd");
	write_return_path(root);
}
