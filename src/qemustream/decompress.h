/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a compressed multifd payload expands to the pages that its packet announced.
 *
 * QEMU compresses each channel as one stream of zlib or zstd over the whole migration and flushes
 * it at the end of each packet, so this keeps a decompressor for each channel and must be shown
 * every COMPRESSED unit, in order. What comes out goes into a small scratch and is dropped: the
 * bytes are passed on as they came, once they are known to be exactly the pages' number.
 *
 * Refused: too few bytes, one too many (also such as would come out with the next packet), input
 * that QEMU would leave unread, the end of the stream, which QEMU never sends, a dictionary, and
 * for zstd any format but the one of today, and a window larger than ours.
 *
 * Source: multifd_zlib_recv (migration/multifd-zlib.c), multifd_zstd_recv (multifd-zstd.c); zlib
 * of RFC 1950, zstd of RFC 8878.
 */
#ifndef SEALIFT_QEMUSTREAM_DECOMPRESS_H
#define SEALIFT_QEMUSTREAM_DECOMPRESS_H

#include "qemustream/multifd.h"

enum {
	/* zstd's window as a power of two, which a stream names and its reader pays for: 8 MiB are
	 * what multifd-zstd-level 19 takes; QEMU's default of 1 takes 512 KiB. Level 20 is refused.
	 * zlib's is 32 KiB at most. */
	DECOMPRESS_ZSTD_WINDOW_LOG = 23,
	DECOMPRESS_SCRATCH_BYTES = 64 * 1024,
};

typedef struct Decompressor Decompressor;

/* For one channel; not MULTIFD_COMPRESSION_NONE (assert). ERROR_INTERNAL without memory. */
Decompressor *decompressor_new(MultifdCompression method, Error *err);
/* The same with a bound of zstd's window of its own, 10 to DECOMPRESS_ZSTD_WINDOW_LOG: what a
 * stream names beyond is refused. It and half a MiB are what a channel of zstd costs at most. */
Decompressor *decompressor_new_within(MultifdCompression method, int zstd_window_log, Error *err);
void decompressor_free(Decompressor *decompressor);
DEFINE_CLEANUP(Decompressor, decompressor, decompressor_free)
#define AUTO_DECOMPRESSOR CLEANUP(decompressor_cleanup)

/*
 * The next payload of the channel, whole: size and expanded_bytes as the COMPRESSED unit has them,
 * both at least 1. False with ERROR_PEER when it does not expand to exactly that; then every later
 * call is refused too.
 */
MUST_CHECK bool decompressor_check(Decompressor *decompressor, const uint8_t *payload, size_t size,
				   uint32_t expanded_bytes, Error *err);

#endif
