/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/build.h"

#include <string.h>

enum { BITMAP_ID = 7 };

static void put_names(Build *build, uint8_t flags)
{
	mark(build);
	put_u8(build, flags | 0x0c);
	put_name(build, "drive0");
	put_name(build, "backup");
}

static void put_bitmap_start(Build *build)
{
	put_names(build, 0x10);
	put_be32(build, 65536);
	put_u8(build, BITMAP_ENABLED);
}

static void put_bits(Build *build, uint8_t flags, uint64_t first, uint32_t count, uint64_t size)
{
	mark(build);
	put_u8(build, 0x40 | flags);
	put_be64(build, first);
	put_be32(build, count);
	put_be64(build, size);
	put_zeros(build, size > BITMAP_BITS_MAX ? 0 : (size_t)size);
}

/* Its START with one bitmap, then a PART that is open. */
static void put_open_part(Build *build)
{
	put_begin(build);
	put_start(build, BITMAP_ID, "dirty-bitmap", 1);
	put_bitmap_start(build);
	put_u8(build, 1);
	put_footer(build, BITMAP_ID);
	put_part(build, BITMAP_ID);
}

static void test_whole_section(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_ram_start(&build);
	put_start(&build, BITMAP_ID, "dirty-bitmap", 1);
	put_bitmap_start(&build);
	AUTO_MAIN_STREAM MainStream *start = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.kind, MAIN_BITMAP);
	assert_int_equal(unit.bitmap.kind, BITMAP_START);
	assert_int_equal(unit.bitmap.granularity_bytes, 65536);
	assert_int_equal(unit.bitmap.flags, BITMAP_ENABLED);
	assert_memory_equal(unit.bitmap.node.bytes, "drive0", 6);
	assert_memory_equal(unit.bitmap.bitmap.bytes, "backup", 6);
	mark(&build);
	put_u8(&build, 1);
	put_footer(&build, BITMAP_ID);
	put_end(&build, BITMAP_ID);
	put_bits(&build, 0, 128, 1024, 64);
	AUTO_MAIN_STREAM MainStream *bits = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.bitmap.kind, BITMAP_BITS);
	assert_int_equal(unit.bitmap.node.size, 0);
	assert_int_equal(unit.bitmap.first_sector, 128);
	assert_int_equal(unit.bitmap.n_sectors, 1024);
	assert_int_equal(unit.bitmap.bits_bytes, 64);
	put_names(&build, 0x42);
	put_be64(&build, 0);
	put_be32(&build, 1);
	AUTO_MAIN_STREAM MainStream *zeroes = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.bitmap.kind, BITMAP_ZEROES);
	put_names(&build, 0x20);
	put_u8(&build, 1);
	put_footer(&build, BITMAP_ID);
	put_finish(&build);
	judge_good(&options_all, &build, true);
	judge_all_cuts(&options_all, &build);
}

typedef struct BadFlags {
	uint8_t flags;
	const char *text;
} BadFlags;

static const BadFlags bad_flags[] = {
	{ 0x00, "flags 0x00: no such record" },
	{ 0x80, "flags 0x80: no such record" },
	{ 0x0d, "flags 0x0d: no such record" },
	{ 0x41, "flags 0x41: no such record" },
	{ 0x50, "flags 0x50: no such record" },
	{ 0x02, "flags 0x02: no such record" },
	{ 0x12, "flags 0x12: no such record" },
	{ 0x60, "flags 0x60: no such record" },
	{ 0x10, "flags 0x10: not in this section" },
	{ 0x20, "flags 0x20: not in this section" },
	{ 0x48, "flags 0x48 does not name its bitmap" },
};

static void test_refuses_flags(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_flags); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_open_part(&build);
		mark(&build);
		put_u8(&build, bad_flags[i].flags);
		judge_bad(&options_all, &build, bad_flags[i].text);
	}
}

static void test_names_come_first(void **state)
{
	static const BadFlags bad[] = {
		{ 0x10, "flags 0x10 does not name its bitmap" },
		{ 0x14, "flags 0x14 does not name its node" },
		{ 0x18, "flags 0x18 does not name its bitmap" },
		{ 0x40, "flags 0x40: not in this section" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_start(&build, BITMAP_ID, "dirty-bitmap", 1);
		mark(&build);
		put_u8(&build, bad[i].flags);
		judge_bad(&options_all, &build, bad[i].text);
	}
}

static void test_refuses_starts(void **state)
{
	static const struct {
		uint32_t granularity;
		uint8_t flags;
		const char *text;
	} bad[] = {
		{ 0, 0, "granularity 0, expected a power of two from 512" },
		{ 256, 0, "granularity 256, expected" },
		{ 65537, 0, "granularity 65537, expected" },
		{ 65536, 4, "start flags 0x04, 0x03 may be" },
		{ 65536, 0x80, "start flags 0x80, 0x03 may be" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_start(&build, BITMAP_ID, "dirty-bitmap", 1);
		put_names(&build, 0x10);
		put_be32(&build, bad[i].granularity);
		put_u8(&build, bad[i].flags);
		judge_bad(&options_all, &build, bad[i].text);
	}
}

static void test_refuses_bits(void **state)
{
	static const struct {
		uint64_t first;
		uint32_t count;
		uint64_t size;
		const char *text;
	} bad[] = {
		{ 0, 0, 32, "bits of 0 sectors at 0" },
		{ (UINT64_C(1) << 54) - 1, 2, 32, "bits of 2 sectors at 18014398509481983" },
		{ UINT64_MAX, 1, 32, "bits of 1 sectors at 18446744073709551615" },
		{ 0, 1, 0, "bits of 0 bytes, expected a multiple of 32 up to 10240" },
		{ 0, 1, 33, "bits of 33 bytes" },
		{ 0, 1, 10272, "bits of 10272 bytes" },
		{ 0, 1, UINT64_MAX - 31, "bits of 18446744073709551584 bytes" },
	};
	AUTO_BUILD Build good = BUILD_INIT;

	(void)state;
	put_open_part(&good);
	put_bits(&good, 0, (UINT64_C(1) << 54) - 1, 1, BITMAP_BITS_MAX);
	judge_good(&options_all, &good, false);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_open_part(&build);
		put_bits(&build, 0, bad[i].first, bad[i].count, bad[i].size);
		judge_bad(&options_all, &build, bad[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_section),	 cmocka_unit_test(test_refuses_flags),
		cmocka_unit_test(test_names_come_first), cmocka_unit_test(test_refuses_starts),
		cmocka_unit_test(test_refuses_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
