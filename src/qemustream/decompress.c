/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/decompress.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* ZSTD_MAGICNUMBER, little-endian as it stands in the stream. */
static const uint8_t zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

struct Decompressor {
	MultifdCompression method;
	bool begun, refused;
	z_stream zlib;
	ZSTD_DCtx *zstd;
	uint8_t scratch[DECOMPRESS_SCRATCH_BYTES];
};

/* Reads from *input, writes at most `room` bytes to the scratch. */
typedef bool (*Expand)(Decompressor *decompressor, Reader *input, size_t room, size_t *ret_made,
		       Error *err);

static bool expand_zlib(Decompressor *decompressor, Reader *input, size_t room, size_t *ret_made,
			Error *err)
{
	z_stream *zlib = &decompressor->zlib;
	int result;

	/* Without z_const the input is not const in the header; inflate only reads it. */
	zlib->next_in = (Bytef *)(uintptr_t)input->data;
	zlib->avail_in = (uInt)input->left;
	zlib->next_out = decompressor->scratch;
	zlib->avail_out = (uInt)room;
	result = inflate(zlib, Z_NO_FLUSH);
	input->data += input->left - zlib->avail_in;
	input->left = zlib->avail_in;
	*ret_made = room - zlib->avail_out;
	zlib->next_in = NULL;
	zlib->avail_in = 0;
	/* Z_BUF_ERROR: nothing to read or no room; nothing is lost. */
	if (result == Z_OK || result == Z_BUF_ERROR)
		return true;
	if (result == Z_STREAM_END)
		return error_set(err, ERROR_PEER, "the zlib stream ends, which only a channel may");
	if (result == Z_MEM_ERROR)
		return error_set(err, ERROR_INTERNAL, "no memory to expand zlib");
	return error_set(err, ERROR_PEER, "zlib: %s (%d)", zlib->msg ? zlib->msg : "bad stream",
			 result);
}

static bool expand_zstd(Decompressor *decompressor, Reader *input, size_t room, size_t *ret_made,
			Error *err)
{
	ZSTD_inBuffer in = { .src = input->data, .size = input->left };
	ZSTD_outBuffer out = { .dst = decompressor->scratch, .size = room };
	size_t result = ZSTD_decompressStream(decompressor->zstd, &out, &in);

	input->data += in.pos;
	input->left -= in.pos;
	*ret_made = out.pos;
	if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
		return error_set(err, ERROR_INTERNAL, "no memory to expand zstd");
	if (ZSTD_isError(result))
		return error_set(err, ERROR_PEER, "zstd: %s", ZSTD_getErrorName(result));
	/* 0 is the end of a frame, all of it put out. */
	if (!result)
		return error_set(err, ERROR_PEER, "the zstd frame ends, which only a channel may");
	return true;
}

static const Expand expanders[] = {
	[MULTIFD_COMPRESSION_ZLIB] = expand_zlib,
	[MULTIFD_COMPRESSION_ZSTD] = expand_zstd,
};
static_assert(ARRAY_SIZE(expanders) == MULTIFD_COMPRESSION_COUNT, "a function for each");

static bool start_zstd(Decompressor *decompressor, int window_log, Error *err)
{
	decompressor->zstd = ZSTD_createDCtx();
	if (!decompressor->zstd)
		return error_set(err, ERROR_INTERNAL, "no memory for zstd");
	if (ZSTD_isError(
		    ZSTD_DCtx_setParameter(decompressor->zstd, ZSTD_d_windowLogMax, window_log)))
		return error_set(err, ERROR_INTERNAL, "zstd knows no window of 2^%d bytes",
				 window_log);
	return true;
}

static bool start_zlib(Decompressor *decompressor, Error *err)
{
	if (inflateInit(&decompressor->zlib) != Z_OK)
		return error_set(err, ERROR_INTERNAL, "no memory for zlib");
	return true;
}

Decompressor *decompressor_new(MultifdCompression method, Error *err)
{
	return decompressor_new_within(method, DECOMPRESS_ZSTD_WINDOW_LOG, err);
}

Decompressor *decompressor_new_within(MultifdCompression method, int zstd_window_log, Error *err)
{
	AUTO_DECOMPRESSOR Decompressor *decompressor = NULL;
	bool started;

	assert(method == MULTIFD_COMPRESSION_ZLIB || method == MULTIFD_COMPRESSION_ZSTD);
	decompressor = calloc(1, sizeof(*decompressor));
	if (!decompressor) {
		error_set(err, ERROR_INTERNAL, "no memory for a decompressor");
		return NULL;
	}
	decompressor->method = method;
	started = method == MULTIFD_COMPRESSION_ZLIB
			  ? start_zlib(decompressor, err)
			  : start_zstd(decompressor, zstd_window_log, err);
	return started ? TAKE_PTR(decompressor) : NULL;
}

void decompressor_free(Decompressor *decompressor)
{
	if (!decompressor)
		return;
	/* Both take what was never started. */
	inflateEnd(&decompressor->zlib);
	ZSTD_freeDCtx(decompressor->zstd);
	free(decompressor);
}

/*
 * QEMU expands page by page until the last one is full and never looks at what is left of the
 * packet. So nothing may be left then, nor anything be waiting in the decompressor: QEMU would
 * give it to the packet after.
 */
static bool judge_end(Decompressor *decompressor, Reader *input, uint32_t expanded_bytes,
		      Error *err)
{
	size_t made;

	if (input->left)
		return error_set(err, ERROR_PEER,
				 "%zu bytes are left after all %" PRIu32 " bytes of its pages",
				 input->left, expanded_bytes);
	if (!expanders[decompressor->method](decompressor, input, 1, &made, err))
		return false;
	if (made)
		return error_set(err, ERROR_PEER,
				 "expands to more than the %" PRIu32 " bytes of its pages",
				 expanded_bytes);
	return true;
}

static bool check_payload(Decompressor *decompressor, const uint8_t *payload, size_t size,
			  uint32_t expanded_bytes, Error *err)
{
	Reader input = reader_of(payload, size);
	uint32_t done = 0;

	/* Each round makes bytes, or reads them without, or is the last: bounded by both sizes. */
	while (done < expanded_bytes) {
		size_t room = expanded_bytes - done, left_before = input.left, made;

		if (room > sizeof(decompressor->scratch))
			room = sizeof(decompressor->scratch);
		if (!expanders[decompressor->method](decompressor, &input, room, &made, err))
			return false;
		if (!made && input.left == left_before)
			return error_set(err, ERROR_PEER,
					 "expands to %" PRIu32
					 " bytes where its pages have %" PRIu32,
					 done, expanded_bytes);
		done += (uint32_t)made;
	}
	return judge_end(decompressor, &input, expanded_bytes, err);
}

/*
 * libzstd would also read formats older than RFC 8878, with decoders that nobody looks at any more
 * and that know no bound of the window, and frames to be skipped. The stream is one frame, so it
 * is enough to look once.
 */
static bool judge_begin(Decompressor *decompressor, const uint8_t *payload, size_t size, Error *err)
{
	if (decompressor->begun || decompressor->method != MULTIFD_COMPRESSION_ZSTD)
		return true;
	if (size < sizeof(zstd_magic) || memcmp(payload, zstd_magic, sizeof(zstd_magic)))
		return error_set(
			err, ERROR_PEER,
			"begins no zstd frame: magic 0x%08" PRIx32 " where 0x%08" PRIx32 " must be",
			size < sizeof(zstd_magic) ? 0 : load_be32(payload), load_be32(zstd_magic));
	decompressor->begun = true;
	return true;
}

bool decompressor_check(Decompressor *decompressor, const uint8_t *payload, size_t size,
			uint32_t expanded_bytes, Error *err)
{
	assert(size && size <= MULTIFD_COMPRESSED_MAX && expanded_bytes);
	if (decompressor->refused)
		return error_set(err, ERROR_PEER, "a payload of %zu bytes after a refused one",
				 size);
	if (judge_begin(decompressor, payload, size, err) &&
	    check_payload(decompressor, payload, size, expanded_bytes, err))
		return true;
	decompressor->refused = true;
	return error_prefix(err, "a compressed payload of %zu bytes", size);
}
