/* SPDX-License-Identifier: Apache-2.0 */
/* Multifd streams for tests and seeds, written as QEMU's sources write them. What fails here is
 * the test's own bug and ends the program. */
#ifndef SEALIFT_TESTS_QEMUSTREAM_MULTIFD_SAMPLES_H
#define SEALIFT_TESTS_QEMUSTREAM_MULTIFD_SAMPLES_H

#include "base/buffer.h"
#include "qemustream/multifd.h"

enum {
	SAMPLE_PAGE = 4096,
	SAMPLE_PAGES_MAX = MULTIFD_PACKET_BYTES / SAMPLE_PAGE,
	SAMPLE_HEADER = MULTIFD_OFFSETS_AT + 8 * SAMPLE_PAGES_MAX,
	SAMPLE_INITIAL = 64,
	SAMPLE_DEVICE_HEADER = 276,
	/* where fields stand in a packet */
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_FLAGS = 8,
	AT_PAGES_ALLOC = 12,
	AT_NORMAL_PAGES = 16,
	AT_NEXT_PACKET_SIZE = 20,
	AT_PACKET_NUM = 24,
	AT_ZERO_PAGES = 32,
	AT_RESERVED = 36,
	AT_NAME = 64,
	/* and in a device-state packet */
	AT_DEVICE_NAME = 12,
	AT_DEVICE_INSTANCE = 268,
	AT_DEVICE_SIZE = 272,
	/* flags */
	SAMPLE_SYNC = 1,
	SAMPLE_ZLIB = 2,
	SAMPLE_ZSTD = 4,
	SAMPLE_DEVICE_STATE = 0x40,
};

void sample_multifd_initial(Buffer *buffer, uint8_t id);

/* The header of a packet for SAMPLE_PAGES_MAX pages of `block`, at offsets of whole pages. */
typedef struct SamplePacket {
	const char *block;
	uint32_t flags, normal_pages, zero_pages, next_packet_size;
	uint64_t packet_num;
} SamplePacket;
void sample_multifd_packet(Buffer *buffer, const SamplePacket *packet);

/* What QEMU since 9.2 sends for a SYNC. */
void sample_multifd_sync(Buffer *buffer, uint64_t packet_num);

/* An uncompressed packet and its pages, each filled with one value. */
void sample_multifd_pages(Buffer *buffer, const char *block, uint32_t normal_pages,
			  uint32_t zero_pages, uint64_t packet_num);

/* A device-state packet and its payload. */
void sample_multifd_device(Buffer *buffer, const char *idstr, uint32_t size);

/* A compressing source: one stream over a channel, flushed for each payload. */
typedef struct SampleCompressor SampleCompressor;
SampleCompressor *sample_compressor_new(MultifdCompression method, int level);
void sample_compressor_free(SampleCompressor *compressor);
DEFINE_CLEANUP(SampleCompressor, sample_compressor, sample_compressor_free)
#define AUTO_SAMPLE_COMPRESSOR CLEANUP(sample_compressor_cleanup)

typedef enum SampleEnd {
	SAMPLE_FLUSH,	 /* as QEMU ends a payload */
	SAMPLE_NO_FLUSH, /* some bytes stay behind */
	SAMPLE_FINISH,	 /* the stream ends, as no QEMU does */
} SampleEnd;
/* Appends what `size` bytes compress to. */
void sample_compress(SampleCompressor *compressor, const void *bytes, size_t size, SampleEnd end,
		     Buffer *buffer);

#endif
