/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/multifd_samples.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "multifd samples: %s\n", what);
	abort();
}

static void put(Buffer *buffer, const void *bytes, size_t size)
{
	Error err = ERROR_INIT;

	must(buffer_put(buffer, bytes, size, &err), err.text);
}

void sample_multifd_initial(Buffer *buffer, uint8_t id)
{
	uint8_t bytes[SAMPLE_INITIAL] = { 0 };

	store_be32(bytes, 0x11223344);
	store_be32(bytes + 4, 1);
	for (uint8_t i = 0; i < MULTIFD_UUID_SIZE; i++)
		bytes[8 + i] = (uint8_t)(0xa0 + i);
	bytes[24] = id;
	put(buffer, bytes, sizeof(bytes));
}

void sample_multifd_packet(Buffer *buffer, const SamplePacket *packet)
{
	uint8_t bytes[SAMPLE_HEADER] = { 0 };
	uint32_t pages = packet->normal_pages + packet->zero_pages;

	must(pages <= SAMPLE_PAGES_MAX, "too many pages");
	store_be32(bytes + AT_MAGIC, 0x11223344);
	store_be32(bytes + AT_VERSION, 1);
	store_be32(bytes + AT_FLAGS, packet->flags);
	store_be32(bytes + AT_PAGES_ALLOC, SAMPLE_PAGES_MAX);
	store_be32(bytes + AT_NORMAL_PAGES, packet->normal_pages);
	store_be32(bytes + AT_NEXT_PACKET_SIZE, packet->next_packet_size);
	store_be64(bytes + AT_PACKET_NUM, packet->packet_num);
	store_be32(bytes + AT_ZERO_PAGES, packet->zero_pages);
	must(strlen(packet->block) < UNIT_NAME_SIZE, "too long a name");
	memcpy(bytes + AT_NAME, packet->block, strlen(packet->block));
	for (uint32_t i = 0; i < pages; i++)
		store_be64(bytes + MULTIFD_OFFSETS_AT + 8 * (size_t)i,
			   (uint64_t)SAMPLE_PAGE * (1 + 3 * (uint64_t)i));
	put(buffer, bytes, sizeof(bytes));
}

void sample_multifd_sync(Buffer *buffer, uint64_t packet_num)
{
	const SamplePacket packet = { .block = "", .flags = SAMPLE_SYNC, .packet_num = packet_num };

	sample_multifd_packet(buffer, &packet);
	store_be32(buffer->data + buffer->used - SAMPLE_HEADER + AT_PAGES_ALLOC, 0);
}

void sample_multifd_pages(Buffer *buffer, const char *block, uint32_t normal_pages,
			  uint32_t zero_pages, uint64_t packet_num)
{
	const SamplePacket packet = { .block = block,
				      .normal_pages = normal_pages,
				      .zero_pages = zero_pages,
				      .next_packet_size = normal_pages * SAMPLE_PAGE,
				      .packet_num = packet_num };
	uint8_t page[SAMPLE_PAGE];

	sample_multifd_packet(buffer, &packet);
	for (uint32_t i = 0; i < normal_pages; i++) {
		memset(page, (int)(i + 1), sizeof(page));
		put(buffer, page, sizeof(page));
	}
}

void sample_multifd_device(Buffer *buffer, const char *idstr, uint32_t size)
{
	uint8_t bytes[SAMPLE_DEVICE_HEADER] = { 0 };

	store_be32(bytes + AT_MAGIC, 0x11223344);
	store_be32(bytes + AT_VERSION, 1);
	store_be32(bytes + AT_FLAGS, SAMPLE_DEVICE_STATE);
	memcpy(bytes + AT_DEVICE_NAME, idstr, strlen(idstr));
	store_be32(bytes + AT_DEVICE_INSTANCE, 7);
	store_be32(bytes + AT_DEVICE_SIZE, size);
	put(buffer, bytes, sizeof(bytes));
	for (uint32_t i = 0; i < size; i++) {
		uint8_t value = (uint8_t)i;

		put(buffer, &value, 1);
	}
}

struct SampleCompressor {
	MultifdCompression method;
	z_stream zlib;
	ZSTD_CCtx *zstd;
	uint8_t out[64 * 1024];
};

SampleCompressor *sample_compressor_new(MultifdCompression method, int level)
{
	SampleCompressor *compressor = calloc(1, sizeof(*compressor));

	must(compressor, "no memory");
	compressor->method = method;
	if (method == MULTIFD_COMPRESSION_ZLIB) {
		must(deflateInit(&compressor->zlib, level) == Z_OK, "deflateInit");
		return compressor;
	}
	compressor->zstd = ZSTD_createCCtx();
	must(compressor->zstd && !ZSTD_isError(ZSTD_CCtx_setParameter(
					 compressor->zstd, ZSTD_c_compressionLevel, level)),
	     "ZSTD_createCCtx");
	return compressor;
}

void sample_compressor_free(SampleCompressor *compressor)
{
	if (!compressor)
		return;
	deflateEnd(&compressor->zlib);
	ZSTD_freeCCtx(compressor->zstd);
	free(compressor);
}

static void compress_zlib(SampleCompressor *compressor, const void *bytes, size_t size,
			  SampleEnd end, Buffer *buffer)
{
	static const int flush[] = { [SAMPLE_FLUSH] = Z_SYNC_FLUSH,
				     [SAMPLE_NO_FLUSH] = Z_NO_FLUSH,
				     [SAMPLE_FINISH] = Z_FINISH };
	z_stream *zlib = &compressor->zlib;

	zlib->next_in = (Bytef *)(uintptr_t)bytes;
	zlib->avail_in = (uInt)size;
	do {
		zlib->next_out = compressor->out;
		zlib->avail_out = sizeof(compressor->out);
		must(deflate(zlib, flush[end]) != Z_STREAM_ERROR, "deflate");
		put(buffer, compressor->out, sizeof(compressor->out) - zlib->avail_out);
	} while (!zlib->avail_out);
}

static void compress_zstd(SampleCompressor *compressor, const void *bytes, size_t size,
			  SampleEnd end, Buffer *buffer)
{
	static const ZSTD_EndDirective flush[] = { [SAMPLE_FLUSH] = ZSTD_e_flush,
						   [SAMPLE_NO_FLUSH] = ZSTD_e_continue,
						   [SAMPLE_FINISH] = ZSTD_e_end };
	ZSTD_inBuffer in = { .src = bytes, .size = size };
	size_t left;

	do {
		ZSTD_outBuffer out = { .dst = compressor->out, .size = sizeof(compressor->out) };

		left = ZSTD_compressStream2(compressor->zstd, &out, &in, flush[end]);
		must(!ZSTD_isError(left), "ZSTD_compressStream2");
		put(buffer, compressor->out, out.pos);
	} while (end == SAMPLE_NO_FLUSH ? in.pos < in.size : left);
}

void sample_compress(SampleCompressor *compressor, const void *bytes, size_t size, SampleEnd end,
		     Buffer *buffer)
{
	if (compressor->method == MULTIFD_COMPRESSION_ZLIB)
		compress_zlib(compressor, bytes, size, end, buffer);
	else
		compress_zstd(compressor, bytes, size, end, buffer);
}
