/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guard/expand.h"

#include <string.h>

#include "tests/guard/read_files.h"

void expander_open(Expander *expander, MultifdCompression method)
{
	memset(expander, 0, sizeof(*expander));
	expander->method = method;
	if (method == MULTIFD_COMPRESSION_ZLIB && inflateInit(&expander->zlib) != Z_OK)
		die("no zlib");
	if (method == MULTIFD_COMPRESSION_ZSTD)
		expander->zstd = ZSTD_createDStream();
	if (method == MULTIFD_COMPRESSION_ZSTD && !expander->zstd)
		die("no zstd");
}

static void run_zlib(z_stream *zlib, const uint8_t *payload, size_t size, uint8_t *out,
		     size_t out_size)
{
	/* next_in is not written through: zlib has no const there. */
	zlib->next_in = (Bytef *)(uintptr_t)payload;
	zlib->avail_in = (uInt)size;
	zlib->next_out = out;
	zlib->avail_out = (uInt)out_size;
	if (inflate(zlib, Z_SYNC_FLUSH) != Z_OK || zlib->avail_in || zlib->avail_out)
		die("zlib: %u bytes are left, %u are missing", zlib->avail_in, zlib->avail_out);
}

static void run_zstd(ZSTD_DStream *zstd, const uint8_t *payload, size_t size, uint8_t *out,
		     size_t out_size)
{
	ZSTD_inBuffer in = { payload, size, 0 };
	ZSTD_outBuffer to = { out, out_size, 0 };

	while (in.pos < in.size || to.pos < to.size) {
		const size_t before = in.pos + to.pos;

		if (ZSTD_isError(ZSTD_decompressStream(zstd, &to, &in)) ||
		    in.pos + to.pos == before)
			die("zstd: %zu bytes are left, %zu are missing", in.size - in.pos,
			    to.size - to.pos);
	}
}

void expander_run(Expander *expander, const uint8_t *payload, size_t size, uint8_t *out,
		  size_t out_size)
{
	if (expander->method == MULTIFD_COMPRESSION_ZLIB)
		run_zlib(&expander->zlib, payload, size, out, out_size);
	else
		run_zstd(expander->zstd, payload, size, out, out_size);
}
