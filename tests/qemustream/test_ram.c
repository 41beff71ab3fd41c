/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the `ram` section, its list of blocks, and the preempt channel. */
#include "tests/qemustream/build.h"

#include <string.h>

#include "qemustream/preempt.h"

/* A begun stream with a PART of ram open. */
static void put_open_part(Build *build)
{
	put_begin(build);
	put_ram_start(build);
	put_part(build, RAM_ID);
}

/* --- the list of blocks --- */

static void test_list(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	const RamBlocks *blocks;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_start(&build, RAM_ID, "ram", 4);
	put_mem_size(&build, 3 * PAGE);
	AUTO_MAIN_STREAM MainStream *first = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.ram.kind, RAM_MEM_SIZE);
	assert_int_equal(unit.ram.total_bytes, 3 * PAGE);
	put_block(&build, "pc.ram", 2 * PAGE);
	put_block(&build, "pc.bios", PAGE);
	AUTO_MAIN_STREAM MainStream *second = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.ram.kind, RAM_BLOCK);
	assert_int_equal(unit.ram.block, 1);
	blocks = main_stream_blocks(second);
	assert_int_equal(blocks->count, 2);
	assert_string_equal(blocks->items[0].name, "pc.ram");
	assert_int_equal(blocks->items[0].used_length, 2 * PAGE);
	assert_int_equal(ram_blocks_find(blocks, (UnitName){ "pc.bios", 7 }), 1);
	assert_int_equal(ram_blocks_find(blocks, (UnitName){ "pc.bio", 6 }), -1);
	put_eos(&build);
	judge_good(&options_plain, &build, false);
}

typedef struct BadList {
	uint64_t total;
	struct {
		const char *name;
		uint64_t bytes;
	} blocks[2];
	const char *text;
} BadList;

static const BadList bad_lists[] = {
	{ 0, { { NULL } }, "RAM of 0x0 bytes in all" },
	{ UINT64_C(1) << 45, { { NULL } }, "RAM of 0x200000000000 bytes in all" },
	{ PAGE, { { "a", 0 } }, "block a of 0x0 bytes, expected a multiple of 0x1000" },
	{ PAGE, { { "a", PAGE - 1 } }, "block a of 0xfff bytes, expected a multiple" },
	{ PAGE, { { "a", 2 * PAGE } }, "block a of 0x2000 bytes, but only 0x1000" },
	{ 3 * PAGE, { { "a", PAGE }, { "b", 3 * PAGE } }, "b of 0x3000 bytes, but only 0x2000" },
	{ 3 * PAGE, { { "a", PAGE }, { "a", PAGE } }, "block a is announced twice" },
	{ PAGE, { { "", PAGE } }, "the name of a RAM block has 0 bytes" },
	{ PAGE, { { "a\x7f", PAGE } }, "the name of a RAM block has byte 0x7f at 1" },
};

static void test_refuses_lists(void **state)
{
	AUTO_BUILD Build first = BUILD_INIT, again = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_lists); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_start(&build, RAM_ID, "ram", 4);
		put_mem_size(&build, bad_lists[i].total);
		for (size_t j = 0; j < 2 && bad_lists[i].blocks[j].name; j++)
			put_block(&build, bad_lists[i].blocks[j].name,
				  bad_lists[i].blocks[j].bytes);
		judge_bad(&options_plain, &build, bad_lists[i].text);
	}
	put_begin(&first);
	put_start(&first, RAM_ID, "ram", 4);
	put_eos(&first);
	judge_bad(&options_plain, &first, "flags 0x10 at the begin of the START section");
	put_open_part(&again);
	put_mem_size(&again, PAGE);
	judge_bad(&options_plain, &again, "MEM_SIZE stands once");
}

static void test_bounds_the_list(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	char name[8];

	(void)state;
	put_begin(&build);
	put_start(&build, RAM_ID, "ram", 4);
	put_mem_size(&build, 65 * PAGE);
	for (int i = 0; i < RAM_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "b%d", i);
		put_block(&build, name, PAGE);
	}
	judge_good(&options_plain, &build, false);
	put_block(&build, "b64", PAGE);
	judge_bad(&options_plain, &build, "more than 64 RAM blocks");
}

static const char *const huge[] = { "mem", NULL };

static void put_huge(Build *build, uint64_t bytes, uint64_t page_size)
{
	put_begin(build);
	put_advise(build);
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, bytes + PAGE);
	put_block(build, "mem", bytes);
	put_be64(build, page_size);
}

static void test_huge_pages_are_told_for_postcopy(void **state)
{
	const MainStreamOptions options = { .page_size = PAGE,
					    .postcopy = true,
					    .other_page_size = huge };
	const uint64_t page = 2 << 20;
	AUTO_BUILD Build good = BUILD_INIT, odd = BUILD_INIT, partial = BUILD_INIT,
			 precopy = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_huge(&good, 4 * page, page);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options, &good, &unit);

	assert_int_equal(main_stream_blocks(stream)->items[0].page_size, page);
	/* Only of blocks that have other pages. */
	put_block(&good, "pc.bios", PAGE);
	put_eos(&good);
	put_footer(&good, RAM_ID);
	put_finish(&good);
	judge_good(&options, &good, true);
	judge_all_cuts(&options, &good);
	put_huge(&odd, 4 * page, page + PAGE);
	judge_bad(&options, &odd,
		  "block mem with pages of 0x201000 bytes, expected a power of two");
	put_huge(&partial, page + PAGE, page);
	judge_bad(&options, &partial, "is no multiple of its pages of 0x200000");
	/* Without POSTCOPY_ADVISE it is not told. */
	put_begin(&precopy);
	put_start(&precopy, RAM_ID, "ram", 4);
	put_mem_size(&precopy, page);
	put_block(&precopy, "mem", page);
	put_eos(&precopy);
	judge_good(&options, &precopy, false);
}

static void test_addresses_are_told_with_ignore_shared(void **state)
{
	const MainStreamOptions options = { .page_size = PAGE, .ignore_shared = true };
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_subsection(&build, "configuration/capabilities", 1);
	put_be32(&build, 1);
	put_name(&build, "x-ignore-shared");
	put_start(&build, RAM_ID, "ram", 4);
	put_mem_size(&build, PAGE);
	put_block(&build, "pc.ram", PAGE);
	put_be64(&build, 0x100000);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options, &build, &unit);

	assert_int_equal(main_stream_blocks(stream)->items[0].gpa, 0x100000);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_finish(&build);
	judge_good(&options, &build, true);
	judge_all_cuts(&options, &build);
}

/* --- records --- */

static void test_runs(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	size_t begin;
	MainUnit unit;

	(void)state;
	put_open_part(&build);
	begin = build.bytes.used;
	put_page(&build, "pc.ram", 3 * PAGE, 0xa1);
	put_page(&build, NULL, 4 * PAGE, 0xa2);
	put_page(&build, NULL, 5 * PAGE, 0xa3);
	put_page(&build, NULL, 7 * PAGE, 0xa4);
	put_eos(&build);
	judge_good(&options_plain, &build, false);
	build.mark = begin;
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.ram.kind, RAM_PAGE);
	assert_int_equal(unit.ram.block, 0);
	assert_int_equal(unit.ram.offset, 3 * PAGE);
	assert_int_equal(unit.ram.count, 3);
	assert_int_equal(unit.size_bytes, 3 * (8 + PAGE) + 7);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(unit.ram.bytes[i * unit.ram.stride_bytes], 0xa1 + i);
		assert_int_equal(unit.ram.bytes[i * unit.ram.stride_bytes + PAGE - 1], 0xa1 + i);
	}
}

static void test_zero_runs_end_with_their_block(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	size_t begin;
	MainUnit unit;

	(void)state;
	put_open_part(&build);
	begin = build.bytes.used;
	put_zero(&build, "pc.bios", 14 * PAGE);
	put_zero(&build, NULL, 15 * PAGE);
	/* The block has 16 pages. */
	put_zero(&build, NULL, 16 * PAGE);
	judge_bad(&options_plain, &build,
		  "section 2 (ram): RAM record at 0x10000 of block pc.bios, which has 0x10000");
	build.mark = begin;
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.ram.kind, RAM_ZERO);
	assert_int_equal(unit.ram.block, 1);
	assert_int_equal(unit.ram.count, 2);
	assert_int_equal(unit.size_bytes, 8 + 1 + 7 + 1 + 9);
}

/* A run is never joined over what would have to be refused, or is another kind. */
static void test_runs_stop_at_what_is_bad(void **state)
{
	AUTO_BUILD Build fill = BUILD_INIT, wrapped = BUILD_INIT, flags = BUILD_INIT;

	(void)state;
	put_open_part(&fill);
	put_zero(&fill, "pc.ram", 0);
	put_zero(&fill, NULL, PAGE);
	fill.bytes.data[fill.bytes.used - 1] = 7;
	judge_bad(&options_plain, &fill, "a zero page that is filled with 0x07");
	put_open_part(&wrapped);
	put_page(&wrapped, "pc.ram", 63 * PAGE, 1);
	put_page(&wrapped, NULL, 64 * PAGE, 1);
	judge_bad(&options_plain, &wrapped, "at 0x40000 of block pc.ram, which has 0x40000 bytes");
	put_open_part(&flags);
	put_page(&flags, "pc.ram", 0, 1);
	mark(&flags);
	put_be64(&flags, PAGE | RAM_FLAG_PAGE | RAM_FLAG_CONTINUE | RAM_FLAG_HOOK);
	judge_bad(&options_plain, &flags, "flags 0xa8: HOOK is for RDMA only");
}

/* Only the very header that continues a run joins it: whatever bit of it is another. */
static void test_runs_take_no_other_header(void **state)
{
	static const uint32_t flags[] = { RAM_FLAG_PAGE, RAM_FLAG_ZERO };

	(void)state;
	for (size_t kind = 0; kind < ARRAY_SIZE(flags); kind++)
		for (int bit = 0; bit < 64; bit++) {
			static uint8_t records[2 * (8 + PAGE)];
			size_t size = flags[kind] == RAM_FLAG_PAGE ? PAGE : 1;
			RamBlocks blocks = { .count = 1, .items = { { "a", 1, 64 * PAGE, 0, 0 } } };
			RamReader reader = { .blocks = &blocks,
					     .page_size = PAGE,
					     .phase = RAM_PHASE_PRECOPY,
					     .block = 0 };
			uint64_t next = PAGE | flags[kind] | RAM_FLAG_CONTINUE;
			RamUnit unit;
			Error err;

			store_be64(records, flags[kind] | RAM_FLAG_CONTINUE);
			store_be64(records + 8 + size, next);
			assert_int_equal(ram_next(&reader, records, 2 * (8 + size), &unit, &err),
					 UNIT_WHOLE);
			assert_int_equal(unit.count, 2);
			store_be64(records + 8 + size, next ^ UINT64_C(1) << bit);
			assert_int_equal(ram_next(&reader, records, 2 * (8 + size), &unit, &err),
					 UNIT_WHOLE);
			assert_int_equal(unit.count, 1);
		}
}

static void test_continue_goes_over_sections(void **state)
{
	AUTO_BUILD Build good = BUILD_INIT, bad = BUILD_INIT;

	(void)state;
	put_open_part(&good);
	put_zero(&good, "pc.bios", 0);
	put_eos(&good);
	put_footer(&good, RAM_ID);
	put_part(&good, RAM_ID);
	put_zero(&good, NULL, PAGE);
	MainUnit unit;
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &good, &unit);

	assert_int_equal(unit.ram.block, 1);
	put_open_part(&bad);
	put_zero(&bad, NULL, PAGE);
	judge_bad(&options_plain, &bad, "flags 0x22: CONTINUE before any block was named");
}

typedef struct BadRecord {
	uint64_t header;
	const char *text;
} BadRecord;

static const BadRecord bad_records[] = {
	{ 0x001, "flags 0x1: FULL is obsolete" },
	{ 0x080, "flags 0x80: HOOK is for RDMA only" },
	{ 0x081, "flags 0x81: FULL" },
	{ 0x100, "flags 0x100: compressed pages are not accepted" },
	{ 0x120, "flags 0x120: compressed pages are not accepted" },
	{ 0x000, "flags 0x0: no such record" },
	{ 0x020, "flags 0x20: no such record" },
	{ 0x00a, "flags 0xa: no such record" },
	{ 0x012, "flags 0x12: no such record" },
	{ 0x030, "flags 0x30: no such record" },
	{ 0x220, "flags 0x220: no such record" },
	{ 0x210, "flags 0x210: no such record" },
	{ 0x400, "flags 0x400: no such record" },
	{ 0x800, "flags 0x800: no such record" },
	{ 0x024, "flags 0x24: MEM_SIZE stands once" },
	{ 0x1010, "RAM record EOS with offset 0x1000, expected 0" },
	{ 0x1200, "RAM record MULTIFD_FLUSH with offset 0x1000, expected 0" },
};

static void test_refuses_records(void **state)
{
	AUTO_BUILD Build unknown = BUILD_INIT, start = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_records); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_open_part(&build);
		mark(&build);
		put_be64(&build, bad_records[i].header);
		judge_bad(&options_all, &build, bad_records[i].text);
	}
	put_open_part(&unknown);
	put_zero(&unknown, "vga.vram", 0);
	judge_bad(&options_plain, &unknown, "block vga.vram, which is none of the 2 that");
	put_begin(&start);
	put_start(&start, RAM_ID, "ram", 4);
	put_mem_size(&start, PAGE);
	put_block(&start, "pc.ram", PAGE);
	put_zero(&start, "pc.ram", 0);
	judge_bad(&options_plain, &start, "flags 0x2: not in the START section");
}

static void test_flush_belongs_to_multifd(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;

	(void)state;
	put_open_part(&build);
	mark(&build);
	put_be64(&build, RAM_FLAG_MULTIFD_FLUSH);
	judge_good(&options_all, &build, false);
	judge_bad(&options_plain, &build, "flags 0x200: multifd was not agreed");
}

/* Every combination of flags that is not in QEMU's switch, on otherwise good records. */
static void test_all_flags(void **state)
{
	static const uint32_t good[] = { 0x02, 0x22, 0x08, 0x28, 0x10, 0x40, 0x60, 0x200 };
	Error err;

	(void)state;
	for (uint32_t flags = 0; flags < PAGE; flags++) {
		static const uint8_t rest[PAGE + 16] = { 0 };
		static uint8_t record[8 + sizeof(rest)];
		RamBlocks blocks = { .count = 1, .items = { { "a", 1, PAGE, 0, 0 } } };
		RamReader reader = { .blocks = &blocks,
				     .page_size = PAGE,
				     .xbzrle = true,
				     .multifd = true,
				     .phase = RAM_PHASE_PRECOPY,
				     .block = 0 };
		bool listed = false;
		RamUnit unit;

		for (size_t i = 0; i < ARRAY_SIZE(good); i++)
			listed |= good[i] == flags;
		store_be64(record, flags);
		record[8] = 1;
		record[9] = 'a';
		err = ERROR_INIT;
		if (ram_next(&reader, record, sizeof(record), &unit, &err) == UNIT_WHOLE)
			assert_true(listed);
		else
			assert_true(!listed || flags == 0x40 || flags == 0x60 || flags == 0x22);
	}
}

/* --- XBZRLE --- */

static void put_xbzrle(Build *build, uint8_t encoding, const void *bytes, uint16_t size)
{
	mark(build);
	put_be64(build, RAM_FLAG_XBZRLE);
	put_name(build, "pc.ram");
	put_u8(build, encoding);
	put_be16(build, size);
	put_bytes(build, bytes, size);
}

static void test_xbzrle(void **state)
{
	/* Skip 0, 2 bytes; skip 0x81 * ... = 129, 1 byte. */
	static const uint8_t good[] = { 0, 2, 'a', 'b', 0x81, 0x01, 1, 'c' };
	AUTO_BUILD Build build = BUILD_INIT, encoding = BUILD_INIT, empty = BUILD_INIT,
			 large = BUILD_INIT;
	static const uint8_t page[PAGE + 1] = { 0 };
	MainUnit unit;

	(void)state;
	put_open_part(&build);
	put_xbzrle(&build, 1, good, sizeof(good));
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.ram.kind, RAM_XBZRLE);
	assert_int_equal(unit.ram.encoded_bytes, sizeof(good));
	assert_memory_equal(unit.ram.bytes, good, sizeof(good));
	judge_bad(&options_plain, &build, "flags 0x40: XBZRLE was not agreed");
	mark(&build);
	put_be64(&build, RAM_FLAG_MULTIFD_FLUSH);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_finish(&build);
	judge_good(&options_all, &build, true);
	judge_all_cuts(&options_all, &build);
	put_open_part(&encoding);
	put_xbzrle(&encoding, 2, good, sizeof(good));
	judge_bad(&options_all, &encoding, "XBZRLE with encoding 2, only 1 is known");
	put_open_part(&empty);
	put_xbzrle(&empty, 1, good, 0);
	judge_bad(&options_all, &empty, "XBZRLE of 0 bytes, 1 to 4096 may be");
	put_open_part(&large);
	put_xbzrle(&large, 1, page, sizeof(page));
	judge_bad(&options_all, &large, "XBZRLE of 4097 bytes, 1 to 4096 may be");
}

typedef struct BadRun {
	uint8_t bytes[8];
	size_t size;
	const char *text;
} BadRun;

static const BadRun bad_runs[] = {
	{ { 5 }, 1, "XBZRLE of 1 bytes with a broken run" },   /* no second length */
	{ { 0, 0 }, 2, "with a broken run" },		       /* nothing is changed */
	{ { 0, 2, 'a' }, 3, "with a broken run" },	       /* too few bytes */
	{ { 0, 1, 'a', 0, 1, 'b' }, 6, "with a broken run" },  /* nothing is skipped */
	{ { 0x80, 0x80, 1, 1, 'a' }, 5, "with a broken run" }, /* three bytes of length */
	{ { 0x80 }, 1, "with a broken run" },		       /* half a length */
	{ { 0x80, 0x20, 1, 'a' }, 4, "writes to byte 4097 of a page of 4096" },
	{ { 0xff, 0x7f, 1, 'a' }, 4, "writes to byte 16384 of a page of 4096" },
	{ { 0xff, 0x1f, 2, 'a', 'b' }, 5, "writes to byte 4097 of a page of 4096" },
};

static void test_refuses_xbzrle(void **state)
{
	static const uint8_t last[] = { 0xff, 0x1f, 1, 'a' };
	Error err;

	(void)state;
	assert_int_equal(ram_check_xbzrle(last, sizeof(last), PAGE, &err), UNIT_WHOLE);
	for (size_t i = 0; i < ARRAY_SIZE(bad_runs); i++) {
		err = ERROR_INIT;
		assert_int_equal(ram_check_xbzrle(bad_runs[i].bytes, bad_runs[i].size, PAGE, &err),
				 UNIT_BAD);
		support_check_error(&err, ERROR_PEER, bad_runs[i].text, __FILE__, __LINE__);
	}
}

/* --- the preempt channel --- */

static const RamBlocks preempt_blocks = {
	.count = 2,
	.items = { { "pc.ram", 6, 4 * PAGE, 0, 0 }, { "pc.bios", 7, PAGE, 0, 0 } },
};

static void test_preempt(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	PreemptStream stream;
	RamUnit unit;
	Error err;
	size_t at = 0;

	(void)state;
	preempt_stream_init(&stream, &preempt_blocks, PAGE);
	assert_true(preempt_stream_finish(&stream, 0, &err));
	put_page(&build, "pc.ram", PAGE, 1);
	put_zero(&build, "pc.bios", 0);
	put_eos(&build);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(preempt_stream_next(&stream, build.bytes.data + at,
						     build.bytes.used - at, &unit, &err),
				 UNIT_WHOLE);
		at += unit.size_bytes;
		assert_true(preempt_stream_finish(&stream, 0, &err));
		assert_fails(preempt_stream_finish(&stream, 1, &err), ERROR_PEER, "inside a record",
			     &err);
	}
	assert_int_equal(unit.kind, RAM_EOS);
	assert_int_equal(preempt_stream_next(&stream, build.bytes.data, 0, &unit, &err), UNIT_MORE);
	assert_int_equal(preempt_stream_next(&stream, build.bytes.data, 1, &unit, &err), UNIT_BAD);
	support_check_error(&err, ERROR_PEER, "preempt channel, byte 4136: 1 bytes after EOS",
			    __FILE__, __LINE__);
	assert_false(preempt_stream_finish(&stream, 0, &err));
}

static void test_preempt_refuses(void **state)
{
	static const BadRecord bad[] = {
		{ RAM_FLAG_XBZRLE, "flags 0x40: not in postcopy" },
		{ RAM_FLAG_MULTIFD_FLUSH, "flags 0x200: not in postcopy" },
		{ RAM_FLAG_MEM_SIZE, "MEM_SIZE" },
		{ RAM_FLAG_ZERO | RAM_FLAG_CONTINUE, "CONTINUE before any block" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t record[8];
		PreemptStream stream;
		RamUnit unit;
		Error err = ERROR_INIT;

		store_be64(record, bad[i].header);
		preempt_stream_init(&stream, &preempt_blocks, PAGE);
		for (size_t size = 0; size < 8; size++)
			assert_int_equal(preempt_stream_next(&stream, record, size, &unit, &err),
					 UNIT_MORE);
		assert_int_equal(preempt_stream_next(&stream, record, 8, &unit, &err), UNIT_BAD);
		support_check_error(&err, ERROR_PEER, bad[i].text, __FILE__, __LINE__);
		assert_int_equal(preempt_stream_next(&stream, record, 0, &unit, &err), UNIT_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_refuses_lists),
		cmocka_unit_test(test_bounds_the_list),
		cmocka_unit_test(test_huge_pages_are_told_for_postcopy),
		cmocka_unit_test(test_addresses_are_told_with_ignore_shared),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_zero_runs_end_with_their_block),
		cmocka_unit_test(test_runs_stop_at_what_is_bad),
		cmocka_unit_test(test_runs_take_no_other_header),
		cmocka_unit_test(test_continue_goes_over_sections),
		cmocka_unit_test(test_refuses_records),
		cmocka_unit_test(test_flush_belongs_to_multifd),
		cmocka_unit_test(test_all_flags),
		cmocka_unit_test(test_xbzrle),
		cmocka_unit_test(test_refuses_xbzrle),
		cmocka_unit_test(test_preempt),
		cmocka_unit_test(test_preempt_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
