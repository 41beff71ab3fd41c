/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed payloads of multifd: exactly the pages' bytes, or refused. Each test runs with both
 * methods. */
#include "tests/support/support.h"

#include <string.h>

#include "qemustream/decompress.h"
#include "tests/qemustream/multifd_samples.h"

enum { PAYLOAD_MAX = MULTIFD_COMPRESSED_MAX, PAGES = 5, RAW = PAGES * SAMPLE_PAGE };

typedef struct Channel {
	SampleCompressor *source;
	Decompressor *checker;
	Buffer payload; /* the last one */
	Error err;
} Channel;

static MultifdCompression method_of(void **state)
{
	return *(const MultifdCompression *)*state;
}

static void channel_open(Channel *channel, MultifdCompression method, int level)
{
	*channel = (Channel){ .source = sample_compressor_new(method, level),
			      .payload = BUFFER_INIT(2 * PAYLOAD_MAX) };
	channel->checker = decompressor_new(method, &channel->err);
	assert_non_null(channel->checker);
}

static void channel_close(Channel *channel)
{
	sample_compressor_free(channel->source);
	decompressor_free(channel->checker);
	buffer_clear(&channel->payload);
}

static void compress(Channel *channel, const void *raw, size_t size, SampleEnd end)
{
	buffer_clear(&channel->payload);
	sample_compress(channel->source, raw, size, end, &channel->payload);
}

static bool check(Channel *channel, uint32_t expanded_bytes)
{
	channel->err = ERROR_INIT;
	return decompressor_check(channel->checker, channel->payload.data, channel->payload.used,
				  expanded_bytes, &channel->err);
}

static void assert_refused(Channel *channel, uint32_t expanded_bytes, const char *part)
{
	assert_false(check(channel, expanded_bytes));
	support_check_error(&channel->err, ERROR_PEER, part, __FILE__, __LINE__);
	assert_false(check(channel, expanded_bytes));
	support_check_error(&channel->err, ERROR_PEER, "after a refused one", __FILE__, __LINE__);
}

/* Bytes that hardly compress, not the same for two seeds. */
static void fill_noise(uint8_t *raw, size_t size, uint32_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 1664525 + 1013904223;
		raw[i] = (uint8_t)(seed >> 24);
	}
}

static void fill_text(uint8_t *raw, size_t size, uint32_t seed)
{
	for (size_t i = 0; i < size; i++)
		raw[i] = (uint8_t)((size_t) "pages of a guest "[i % 17] + (i / 512 + seed) % 3);
}

typedef void (*Fill)(uint8_t *raw, size_t size, uint32_t seed);

/* Packets of every size, one after the other in one stream, as a channel has them. */
static void test_streams(void **state)
{
	static const Fill fills[] = { fill_noise, fill_text };
	static const uint32_t pages[] = { 1, 2, 3, 16, 31, 32, 33, 64, 127, 128 };
	static uint8_t raw[MULTIFD_PACKET_BYTES];

	for (int level = 1; level < 10; level += 4)
		for (size_t i = 0; i < ARRAY_SIZE(fills); i++) {
			Channel channel;

			channel_open(&channel, method_of(state), level);
			for (uint32_t j = 0; j < 2 * ARRAY_SIZE(pages); j++) {
				uint32_t size = pages[j % ARRAY_SIZE(pages)] * SAMPLE_PAGE;

				fills[i](raw, size, j);
				compress(&channel, raw, size, SAMPLE_FLUSH);
				if (!check(&channel, size))
					fail_msg("level %d, packet %u: %s", level, j,
						 channel.err.text);
			}
			channel_close(&channel);
		}
}

static void test_one_byte_more_or_less(void **state)
{
	static const struct {
		int difference;
		const char *part;
	} cases[] = { { 1, "expands to 20480 bytes where its pages have 20481" },
		      { -1, NULL }, /* bytes left, or more to come: see below */
		      { SAMPLE_PAGE, "expands to 20480 bytes where its pages have 24576" } };
	static uint8_t raw[RAW];

	fill_text(raw, sizeof(raw), 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Channel channel;

		channel_open(&channel, method_of(state), 1);
		compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
		assert_refused(&channel, (uint32_t)(RAW + cases[i].difference),
			       cases[i].part ? cases[i].part : "a compressed payload of");
		channel_close(&channel);
		channel_open(&channel, method_of(state), 1);
		compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
		assert_true(check(&channel, RAW));
		channel_close(&channel);
	}
}

/* A megabyte of payload that claims to be one page: no more than that is ever put out. */
static void test_bomb(void **state)
{
	static uint8_t zeros[16 << 20];
	Channel channel;

	channel_open(&channel, method_of(state), 9);
	compress(&channel, zeros, sizeof(zeros), SAMPLE_FLUSH);
	assert_in_range(channel.payload.used, 100, 100000);
	assert_refused(&channel, SAMPLE_PAGE, "a compressed payload of");
	channel_close(&channel);
}

/* What is put out must be there with this packet, not with the next one. */
static void test_not_flushed(void **state)
{
	static uint8_t raw[RAW];
	Channel channel;
	size_t whole;

	fill_noise(raw, sizeof(raw), 7);
	channel_open(&channel, method_of(state), 1);
	compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
	whole = channel.payload.used;
	channel.payload.used = whole / 2;
	assert_refused(&channel, RAW, "bytes where its pages have 20480");
	channel_close(&channel);
}

static void test_trailing_bytes(void **state)
{
	static uint8_t raw[RAW];
	Channel channel;

	fill_text(raw, sizeof(raw), 7);
	channel_open(&channel, method_of(state), 1);
	compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
	sample_compress(channel.source, raw, 1, SAMPLE_FLUSH, &channel.payload);
	assert_refused(&channel, RAW, "a compressed payload of");
	channel_close(&channel);
}

static void test_end_of_stream(void **state)
{
	static uint8_t raw[RAW];
	Channel channel;

	fill_text(raw, sizeof(raw), 7);
	channel_open(&channel, method_of(state), 1);
	compress(&channel, raw, sizeof(raw), SAMPLE_FINISH);
	assert_refused(&channel, RAW, "ends, which only a channel may");
	channel_close(&channel);
}

/* A payload out of order belongs to another state of the stream. */
static void test_lost_packet(void **state)
{
	static uint8_t raw[RAW];
	Channel channel;

	fill_text(raw, sizeof(raw), 7);
	channel_open(&channel, method_of(state), 1);
	compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
	compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
	assert_refused(&channel, RAW, "a compressed payload of");
	channel_close(&channel);
}

typedef struct Mutated {
	MultifdCompression method;
	size_t whole;
} Mutated;

/*
 * A flipped bit may stand in a page's own bytes, and one byte more may begin what comes next; both
 * are as QEMU takes them. A payload that was cut lacks bytes, but for zlib's mark of a flush: the
 * block's end, up to 15 bits, and an empty block of 3 bits and 5 bytes.
 */
static void judge_mutation(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	const Mutated *mutated = context;
	size_t mark = mutated->method == MULTIFD_COMPRESSION_ZLIB ? 8 : 0;
	Error err = ERROR_INIT;
	AUTO_DECOMPRESSOR Decompressor *checker = decompressor_new(mutated->method, &err);
	bool ok = size && decompressor_check(checker, data, size, SAMPLE_PAGE, &err);

	if (mutation == MUTATION_CUT && size + mark < mutated->whole)
		assert_false(ok);
}

static void test_mutations(void **state)
{
	static uint8_t raw[SAMPLE_PAGE];
	Mutated mutated = { .method = method_of(state) };
	Channel channel;

	fill_text(raw, sizeof(raw), 7);
	channel_open(&channel, mutated.method, 1);
	compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
	assert_true(check(&channel, SAMPLE_PAGE));
	mutated.whole = channel.payload.used;
	support_mutate(channel.payload.data, channel.payload.used, judge_mutation, &mutated);
	channel_close(&channel);
}

/* --- what only one method has --- */

static void test_zstd_window(void **state)
{
	/* A frame with a window of 2^23 bytes, then the same with more; no block follows. */
	static const uint8_t good[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, (23 - 10) << 3 };
	static const uint8_t bad[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, ((23 - 10) << 3) + 1 };
	static const uint8_t huge[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff };
	static const struct {
		const uint8_t *bytes;
		const char *part;
	} cases[] = { { good, "expands to 0 bytes where its pages have 4096" },
		      { bad, "zstd: Frame requires too much memory" },
		      { huge, "zstd: Frame requires too much memory" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Error err = ERROR_INIT;
		AUTO_DECOMPRESSOR Decompressor *checker =
			decompressor_new(MULTIFD_COMPRESSION_ZSTD, &err);

		assert_fails(decompressor_check(checker, cases[i].bytes, sizeof(good), SAMPLE_PAGE,
						&err),
			     ERROR_PEER, cases[i].part, &err);
	}
}

/* The levels that QEMU may have as multifd-zstd-level: all but the last fit the window. */
static void test_zstd_levels(void **state)
{
	static uint8_t raw[RAW];

	(void)state;
	fill_text(raw, sizeof(raw), 3);
	for (int level = 1; level <= 19; level += 6) {
		Channel channel;

		channel_open(&channel, MULTIFD_COMPRESSION_ZSTD, level);
		compress(&channel, raw, sizeof(raw), SAMPLE_FLUSH);
		assert_true(check(&channel, RAW));
		channel_close(&channel);
	}
}

/* Formats that libzstd knows beside today's: v0.7, v0.5, a frame to be skipped. */
static void test_zstd_other_formats(void **state)
{
	static const uint8_t first_bytes[][8] = { { 0x27, 0xb5, 0x2f, 0xfd },
						  { 0x25, 0xb5, 0x2f, 0xfd },
						  { 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0 },
						  { 0x28, 0xb5, 0x2f, 0xfe } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(first_bytes); i++) {
		Error err = ERROR_INIT;
		AUTO_DECOMPRESSOR Decompressor *checker =
			decompressor_new(MULTIFD_COMPRESSION_ZSTD, &err);

		assert_fails(decompressor_check(checker, first_bytes[i], sizeof(first_bytes[i]),
						SAMPLE_PAGE, &err),
			     ERROR_PEER, "begins no zstd frame: magic 0x", &err);
	}
}

static void test_zlib_garbage(void **state)
{
	Error err = ERROR_INIT;
	AUTO_DECOMPRESSOR Decompressor *checker = decompressor_new(MULTIFD_COMPRESSION_ZLIB, &err);

	(void)state;
	assert_fails(decompressor_check(checker, (const uint8_t *)"\x79\x9c", 2, SAMPLE_PAGE, &err),
		     ERROR_PEER, "a compressed payload of 2 bytes: zlib: incorrect header", &err);
}

static void test_zlib_dictionary(void **state)
{
	Error err = ERROR_INIT;
	AUTO_DECOMPRESSOR Decompressor *checker = decompressor_new(MULTIFD_COMPRESSION_ZLIB, &err);

	(void)state;
	assert_fails(decompressor_check(checker, (const uint8_t *)"\x78\xbb\0\0\0\1", 6,
					SAMPLE_PAGE, &err),
		     ERROR_PEER, "zlib: bad stream (2)", &err);
}

#define WITH_BOTH(test)                                                                            \
	{ #test ", zlib", test, NULL, NULL, (void *)(uintptr_t)&zlib },                            \
	{                                                                                          \
#test ", zstd", test, NULL, NULL, (void *)(uintptr_t)&zstd                         \
	}

int main(void)
{
	static const MultifdCompression zlib = MULTIFD_COMPRESSION_ZLIB;
	static const MultifdCompression zstd = MULTIFD_COMPRESSION_ZSTD;
	const struct CMUnitTest tests[] = {
		WITH_BOTH(test_streams),
		WITH_BOTH(test_one_byte_more_or_less),
		WITH_BOTH(test_bomb),
		WITH_BOTH(test_not_flushed),
		WITH_BOTH(test_trailing_bytes),
		WITH_BOTH(test_end_of_stream),
		WITH_BOTH(test_lost_packet),
		WITH_BOTH(test_mutations),
		cmocka_unit_test(test_zstd_window),
		cmocka_unit_test(test_zstd_levels),
		cmocka_unit_test(test_zstd_other_formats),
		cmocka_unit_test(test_zlib_garbage),
		cmocka_unit_test(test_zlib_dictionary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
