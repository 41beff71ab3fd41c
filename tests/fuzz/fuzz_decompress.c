/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/decompress.c: a byte that chooses the method, then payloads of one channel, each be16
 * size, u8 pages and its bytes. What is accepted must be accepted by a receiver that works as
 * QEMU's do, page by page into memory, with nothing left over.
 */
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "qemustream/decompress.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_ZLIB, REACHED_ZLIB_SECOND, REACHED_ZSTD, REACHED_ZSTD_SECOND, PAGE = 4096 };

typedef struct Receiver {
	MultifdCompression method;
	z_stream zlib;
	ZSTD_DCtx *zstd;
} Receiver;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "zlib", "zlib, second payload", "zstd",
					     "zstd, second payload" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

/* multifd_zlib_recv and multifd_zstd_recv go on to the next page only when this one is full. */
static bool page_by_zlib(z_stream *zlib, uint8_t page[PAGE])
{
	int result;

	zlib->next_out = page;
	zlib->avail_out = PAGE;
	do
		result = inflate(zlib, Z_NO_FLUSH);
	while (result == Z_OK && zlib->avail_in && zlib->avail_out);
	return result == Z_OK && !zlib->avail_out;
}

static bool page_by_zstd(ZSTD_DCtx *zstd, ZSTD_inBuffer *in, uint8_t page[PAGE])
{
	ZSTD_outBuffer out = { .dst = page, .size = PAGE };
	size_t result;

	do
		result = ZSTD_decompressStream(zstd, &out, in);
	while (!ZSTD_isError(result) && result && in->pos < in->size && out.pos < PAGE);
	return !ZSTD_isError(result) && out.pos == PAGE;
}

static bool receive(Receiver *receiver, const uint8_t *payload, size_t size, unsigned int pages)
{
	ZSTD_inBuffer in = { .src = payload, .size = size };
	uint8_t page[PAGE];

	receiver->zlib.next_in = (Bytef *)(uintptr_t)payload;
	receiver->zlib.avail_in = (uInt)size;
	for (unsigned int i = 0; i < pages; i++)
		if (receiver->method == MULTIFD_COMPRESSION_ZLIB
			    ? !page_by_zlib(&receiver->zlib, page)
			    : !page_by_zstd(receiver->zstd, &in, page))
			return false;
	return receiver->method == MULTIFD_COMPRESSION_ZLIB ? !receiver->zlib.avail_in
							    : in.pos == in.size;
}

static void try_payloads(Decompressor *checker, Receiver *receiver, Reader *reader)
{
	bool zlib = receiver->method == MULTIFD_COMPRESSION_ZLIB;
	const uint8_t *payload;
	uint16_t size;
	uint8_t pages;

	for (int count = 0; reader_get_be16(reader, &size) && reader_get_u8(reader, &pages) &&
			    reader_skip(reader, size, &payload);
	     count++) {
		Error err = ERROR_INIT;

		if (!size || !pages)
			return;
		if (!decompressor_check(checker, payload, size, (uint32_t)pages * PAGE, &err)) {
			if (err.category != ERROR_PEER || !err.text[0])
				fuzz_fail("a refusal without a reason");
			return;
		}
		if (!receive(receiver, payload, size, pages))
			fuzz_fail("QEMU would not take what was accepted");
		fuzz_reached(zlib ? REACHED_ZLIB : REACHED_ZSTD);
		if (count)
			fuzz_reached(zlib ? REACHED_ZLIB_SECOND : REACHED_ZSTD_SECOND);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	Receiver receiver = { 0 };
	Error err = ERROR_INIT;
	uint8_t choice;

	if (!reader_get_u8(&reader, &choice) || choice > 1)
		return 0;
	receiver.method = choice ? MULTIFD_COMPRESSION_ZSTD : MULTIFD_COMPRESSION_ZLIB;

	AUTO_DECOMPRESSOR Decompressor *checker = decompressor_new(receiver.method, &err);

	receiver.zstd = ZSTD_createDCtx();
	if (!checker || !receiver.zstd || inflateInit(&receiver.zlib) != Z_OK)
		fuzz_fail("no memory");
	try_payloads(checker, &receiver, &reader);
	inflateEnd(&receiver.zlib);
	ZSTD_freeDCtx(receiver.zstd);
	return 0;
}
