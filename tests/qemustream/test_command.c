/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the main channel: what each carries, and when it may come. */
#include "tests/qemustream/build.h"

#include <string.h>

/* --- data --- */

typedef struct BadCommand {
	uint16_t kind, size;
	uint8_t data[40];
	const char *text;
} BadCommand;

static const BadCommand bad_commands[] = {
	{ 0, 0, { 0 }, "command 0 is unknown" },
	{ 12, 0, { 0 }, "command 12 is unknown" },
	{ COMMAND_OPEN_RETURN_PATH, 1, { 0 }, "OPEN_RETURN_PATH with 1 bytes of data, 0 to 0" },
	{ COMMAND_PING, 3, { 0 }, "PING with 3 bytes of data, 4 to 4 may be" },
	{ COMMAND_PING, 5, { 0 }, "PING with 5 bytes of data, 4 to 4 may be" },
	{ COMMAND_POSTCOPY_ADVISE, 8, { 0 }, "POSTCOPY_ADVISE ends inside its data" },
	{ COMMAND_POSTCOPY_ADVISE, 17, { 0 }, "POSTCOPY_ADVISE with 17 bytes of data" },
	{ COMMAND_POSTCOPY_ADVISE, 16, { [6] = 0x10 }, "with target pages of 0 bytes, expected" },
	{ COMMAND_POSTCOPY_ADVISE, 16, { [14] = 0x10 }, "with page sizes 0x0, expected" },
	{ COMMAND_POSTCOPY_ADVISE, 16, { [7] = 1, [14] = 0x10 }, "with page sizes 0x1, expected" },
	{ COMMAND_POSTCOPY_LISTEN, 1, { 0 }, "POSTCOPY_LISTEN with 1 bytes" },
	{ COMMAND_POSTCOPY_RUN, 1, { 0 }, "POSTCOPY_RUN with 1 bytes" },
	{ COMMAND_PACKAGED, 3, { 0 }, "PACKAGED with 3 bytes" },
	{ COMMAND_PACKAGED, 4, { 0 }, "PACKAGED of 0 bytes" },
	{ COMMAND_ENABLE_COLO, 0, { 0 }, "ENABLE_COLO is not accepted" },
	{ COMMAND_POSTCOPY_RESUME, 1, { 0 }, "POSTCOPY_RESUME with 1 bytes" },
	{ COMMAND_SWITCHOVER_START, 1, { 0 }, "SWITCHOVER_START with 1 bytes" },
	{ COMMAND_RECV_BITMAP, 1, { 0 }, "RECV_BITMAP with 1 bytes of data, 2 to 256 may be" },
	{ COMMAND_RECV_BITMAP, 4, { 3, 'a' }, "the name of a RAM block has byte 0x00 at 1" },
	{ COMMAND_RECV_BITMAP, 3, { 3, 'a', 'b' }, "RECV_BITMAP ends inside its data" },
	{ COMMAND_RECV_BITMAP, 3, { 2, 'a', 'b' }, "block ab, which is none of the 2" },
	{ COMMAND_RECV_BITMAP, 8, { 6, 'p', 'c', '.', 'r', 'a', 'm' }, "with 1 bytes too many" },
};

static void test_refuses_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_commands); i++) {
		const BadCommand *bad = &bad_commands[i];
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		if (bad->kind != COMMAND_POSTCOPY_ADVISE)
			put_ram_start(&build);
		put_command(&build, (CommandKind)bad->kind, bad->data, bad->size);
		judge_bad(&options_all, &build, bad->text);
	}
}

static void test_ping(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_ping(&build, 0x01020304);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.kind, MAIN_COMMAND);
	assert_int_equal(unit.command.kind, COMMAND_PING);
	assert_int_equal(unit.command.cookie, 0x01020304);
	assert_string_equal(command_word(unit.command.kind), "PING");
}

static void test_advise(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT, bitmaps = BUILD_INIT, late = BUILD_INIT;
	const MainStreamOptions ram = { .page_size = PAGE, .postcopy = true };
	const MainStreamOptions bits = { .page_size = PAGE, .dirty_bitmaps = true };
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_advise(&build);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&ram, &build, &unit);

	assert_true(unit.command.has_page_sizes);
	assert_int_equal(unit.command.page_sizes, PAGE);
	judge_bad(&bits, &build, "POSTCOPY_ADVISE, which was not agreed");
	put_begin(&bitmaps);
	put_command(&bitmaps, COMMAND_POSTCOPY_ADVISE, NULL, 0);
	judge_good(&bits, &bitmaps, false);
	judge_bad(&ram, &bitmaps, "POSTCOPY_ADVISE, which was not agreed");
	put_begin(&late);
	put_ram_start(&late);
	put_advise(&late);
	judge_bad(&ram, &late, "POSTCOPY_ADVISE after the first section");
}

/* --- discard --- */

static void put_discard(Build *build, const char *block, uint64_t start, uint64_t length)
{
	AUTO_BUILD Build data = BUILD_INIT;

	put_u8(&data, 0);
	put_name(&data, block);
	put_u8(&data, 0);
	put_be64(&data, 0);
	put_be64(&data, PAGE);
	put_be64(&data, start);
	put_be64(&data, length);
	put_command(build, COMMAND_POSTCOPY_RAM_DISCARD, data.bytes.data,
		    (uint16_t)data.bytes.used);
}

static void put_advised(Build *build)
{
	put_begin(build);
	put_advise(build);
	put_ram_start(build);
}

static void test_discard(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	CommandRange range;
	MainUnit unit;

	(void)state;
	put_advised(&build);
	put_discard(&build, "pc.bios", 2 * PAGE, 14 * PAGE);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.command.block, 1);
	assert_int_equal(unit.command.n_ranges, 2);
	range = command_get_range(&unit.command, 1);
	assert_int_equal(range.start, 2 * PAGE);
	assert_int_equal(range.length, 14 * PAGE);
}

typedef struct BadRange {
	uint64_t start, length;
	const char *text;
} BadRange;

static const BadRange bad_ranges[] = {
	{ 0, 0, "of 0x0 bytes at 0x0, expected multiples of 0x1000" },
	{ 1, PAGE, "of 0x1000 bytes at 0x1, expected" },
	{ 0, PAGE + 1, "of 0x1001 bytes at 0x0, expected" },
	{ 0, 17 * PAGE, "of 0x11000 bytes at 0x0 of block pc.bios, which has 0x10000" },
	{ 16 * PAGE, PAGE, "of 0x1000 bytes at 0x10000 of block pc.bios" },
	{ 17 * PAGE, PAGE, "of 0x1000 bytes at 0x11000 of block pc.bios" },
	{ UINT64_MAX - PAGE + 1, PAGE, "at 0xfffffffffffff000 of block pc.bios" },
	{ PAGE, UINT64_MAX - PAGE + 1, "of 0xfffffffffffff000 bytes at 0x1000" },
};

static void test_refuses_discards(void **state)
{
	AUTO_BUILD Build block = BUILD_INIT, order = BUILD_INIT, bitmaps = BUILD_INIT,
			 version = BUILD_INIT, end = BUILD_INIT, part = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_ranges); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_advised(&build);
		put_discard(&build, "pc.bios", bad_ranges[i].start, bad_ranges[i].length);
		judge_bad(&options_all, &build, bad_ranges[i].text);
	}
	put_advised(&block);
	put_discard(&block, "pc.rom", 0, PAGE);
	judge_bad(&options_all, &block, "block pc.rom, which is none of the 2");
	put_begin(&order);
	put_ram_start(&order);
	put_discard(&order, "pc.ram", 0, PAGE);
	judge_bad(&options_all, &order, "POSTCOPY_RAM_DISCARD before POSTCOPY_ADVISE");
	put_begin(&bitmaps);
	put_command(&bitmaps, COMMAND_POSTCOPY_ADVISE, NULL, 0);
	put_ram_start(&bitmaps);
	put_discard(&bitmaps, "pc.ram", 0, PAGE);
	judge_bad(&options_all, &bitmaps, "but dirty bitmaps alone were advised");
	put_advised(&version);
	put_discard(&version, "pc.ram", 0, PAGE);
	version.bytes.data[version.mark + 5] = 1;
	judge_bad(&options_all, &version, "POSTCOPY_RAM_DISCARD of version 1, only 0");
	put_advised(&end);
	put_discard(&end, "pc.ram", 0, PAGE);
	end.bytes.data[end.mark + 5 + 1 + 7] = 9;
	judge_bad(&options_all, &end, "with byte 0x09 behind the block's name");
	put_advised(&part);
	put_discard(&part, "pc.ram", 0, PAGE);
	part.bytes.data[part.mark + 4]--;
	judge_bad(&options_all, &part, "with 31 bytes of ranges, expected a multiple of 16");
}

/* --- order --- */

static void test_refuses_order(void **state)
{
	static const struct {
		CommandKind kind;
		const char *text;
	} bad[] = {
		{ COMMAND_POSTCOPY_LISTEN, "POSTCOPY_LISTEN outside of a package" },
		{ COMMAND_POSTCOPY_RUN, "POSTCOPY_RUN outside of a package" },
		{ COMMAND_POSTCOPY_RESUME, "POSTCOPY_RESUME outside of a recovery" },
	};
	static const uint8_t one[] = { 0, 0, 0, 1 };
	AUTO_BUILD Build package = BUILD_INIT, twice = BUILD_INIT, before = BUILD_INIT,
			 after = BUILD_INIT, late = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_advised(&build);
		put_command(&build, bad[i].kind, NULL, 0);
		judge_bad(&options_all, &build, bad[i].text);
	}
	put_begin(&package);
	put_ram_start(&package);
	put_command(&package, COMMAND_PACKAGED, one, 4);
	judge_bad(&options_all, &package, "PACKAGED before POSTCOPY_ADVISE");
	put_begin(&twice);
	put_command(&twice, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	judge_good(&options_plain, &twice, false);
	put_command(&twice, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	judge_bad(&options_plain, &twice, "OPEN_RETURN_PATH comes twice");
	put_begin(&before);
	put_command(&before, COMMAND_SWITCHOVER_START, NULL, 0);
	judge_bad(&options_plain, &before, "SWITCHOVER_START before the START of ram");
	put_begin(&after);
	put_ram_start(&after);
	put_end(&after, RAM_ID);
	put_eos(&after);
	put_footer(&after, RAM_ID);
	put_command(&after, COMMAND_SWITCHOVER_START, NULL, 0);
	judge_bad(&options_plain, &after, "SWITCHOVER_START after a section's END");
	put_advised(&late);
	put_part(&late, RAM_ID);
	put_eos(&late);
	put_footer(&late, RAM_ID);
	put_command(&late, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	judge_bad(&options_all, &late, "OPEN_RETURN_PATH too late");
}

/* --- packages and postcopy --- */

enum {
	LISTEN_SIZE = 5,
	RUN_SIZE = 5,
	/* header with a name of 5 bytes, payload, footer */
	DEVICE_SIZE = 5 + 6 + 8 + DEVICE_BYTES + 5,
	PING_SIZE = 9,
	PACKAGE_SIZE = LISTEN_SIZE + DEVICE_SIZE + PING_SIZE + RUN_SIZE,
};

static void put_run(Build *build)
{
	put_device(build, 4, "timer");
	put_ping(build, 3);
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
}

static void put_postcopy_end(Build *build)
{
	put_ping(build, 4);
	put_part(build, RAM_ID);
	put_page(build, "pc.ram", 0, 1);
	put_zero(build, NULL, PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_eof(build);
}

static void test_postcopy(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_package(&build, PACKAGE_SIZE);
	put_run(&build);
	AUTO_MAIN_STREAM MainStream *run = judge_unit(&options_all, &build, &unit);

	assert_int_equal(unit.command.kind, COMMAND_POSTCOPY_RUN);
	assert_true(unit.packaged);
	put_ping(&build, 4);
	AUTO_MAIN_STREAM MainStream *ping = judge_unit(&options_all, &build, &unit);

	assert_false(unit.packaged);
	put_postcopy_end(&build);
	judge_good(&options_all, &build, true);
	judge_all_cuts(&options_all, &build);
	mark(&build);
	put_u8(&build, 6);
	judge_bad(&options_all, &build, "1 bytes after the end");
}

static void test_postcopy_takes_pages_only(void **state)
{
	AUTO_BUILD Build flush = BUILD_INIT, full = BUILD_INIT, start = BUILD_INIT,
			 again = BUILD_INIT;
	static const uint8_t one[] = { 0, 0, 0, 1 };

	(void)state;
	put_package(&flush, PACKAGE_SIZE);
	put_run(&flush);
	put_part(&flush, RAM_ID);
	mark(&flush);
	put_be64(&flush, RAM_FLAG_MULTIFD_FLUSH);
	judge_bad(&options_all, &flush, "flags 0x200: not in postcopy");
	put_package(&full, PACKAGE_SIZE);
	put_run(&full);
	put_full(&full, 9, "cpu", 0);
	judge_bad(&options_all, &full, "section FULL after the package");
	put_package(&start, PACKAGE_SIZE);
	put_run(&start);
	put_start(&start, 9, "dirty-bitmap", 1);
	judge_bad(&options_all, &start, "section START after the first that went on");
	put_package(&again, PACKAGE_SIZE);
	put_run(&again);
	put_command(&again, COMMAND_PACKAGED, one, 4);
	judge_bad(&options_all, &again, "PACKAGED too late");
}

static void test_package_is_exact(void **state)
{
	const MainStreamOptions small = { .page_size = PAGE, .postcopy = true, .package_max = 20 };
	AUTO_BUILD Build less = BUILD_INIT, more = BUILD_INIT, none = BUILD_INIT,
			 payload = BUILD_INIT, large = BUILD_INIT;

	(void)state;
	put_package(&less, PACKAGE_SIZE - 1);
	put_run(&less);
	judge_bad(&options_all, &less, "the package ends 4 bytes into what stands here");
	put_package(&more, PACKAGE_SIZE + 1);
	put_run(&more);
	judge_bad(&options_all, &more, "POSTCOPY_RUN with 1 bytes of its package behind it");
	put_package(&none, PACKAGE_SIZE - RUN_SIZE);
	put_run(&none);
	judge_bad(&options_all, &none, "a package ends without POSTCOPY_RUN");
	put_package(&payload, LISTEN_SIZE + 19 + 4);
	put_device(&payload, 4, "timer");
	payload.mark = payload.bytes.used - 5 - DEVICE_BYTES + 4;
	judge_bad(&options_all, &payload, "section 4 (timer): a package ends without");
	put_advised(&large);
	put_command(&large, COMMAND_PACKAGED, (const uint8_t[]){ 0, 0, 0, 21 }, 4);
	judge_bad(&small, &large, "PACKAGED of 21 bytes, at most 20 may be");
}

static void test_package_refuses(void **state)
{
	AUTO_BUILD Build nested = BUILD_INIT, eof = BUILD_INIT, part = BUILD_INIT,
			 listen = BUILD_INIT, first = BUILD_INIT, open = BUILD_INIT;
	static const uint8_t size[] = { 0, 0, 1, 0 };

	(void)state;
	put_package(&nested, 256);
	put_command(&nested, COMMAND_PACKAGED, size, 4);
	judge_bad(&options_all, &nested, "PACKAGED in a package");
	put_package(&eof, 256);
	put_eof(&eof);
	judge_bad(&options_all, &eof, "end of the stream in a package");
	put_package(&part, 256);
	put_part(&part, RAM_ID);
	judge_bad(&options_all, &part, "section PART in a package");
	put_package(&listen, 256);
	put_command(&listen, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	judge_bad(&options_all, &listen, "POSTCOPY_LISTEN comes twice");
	put_advised(&first);
	put_command(&first, COMMAND_PACKAGED, size, 4);
	put_full(&first, 4, "timer", 0);
	judge_bad(&options_all, &first, "section FULL of timer before POSTCOPY_LISTEN");
	put_advised(&open);
	put_command(&open, COMMAND_PACKAGED, size, 4);
	put_command(&open, COMMAND_POSTCOPY_RUN, NULL, 0);
	judge_bad(&options_all, &open, "POSTCOPY_RUN before POSTCOPY_LISTEN");
}

static void test_tail_of_a_package(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	size_t begin, package_end, at;
	MainUnit unit;
	Error err = ERROR_INIT;

	(void)state;
	put_package(&build, PACKAGE_SIZE);
	put_full(&build, 4, "timer", 0);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_all, &build, &unit);

	begin = build.bytes.used;
	build.bytes.used = build.mark;
	put_run(&build);
	package_end = build.bytes.used;
	put_postcopy_end(&build);
	main_stream_hold_tail(stream);
	assert_int_equal(main_stream_next(stream, build.bytes.data + begin,
					  build.bytes.used - begin, &unit, &err),
			 UNIT_WHOLE);
	assert_int_equal(unit.kind, MAIN_TAIL);
	assert_int_equal(begin + unit.size_bytes, package_end);
	assert_true(main_stream_tail_is_complete(stream));
	main_stream_release_tail(stream);
	main_stream_expect_payload(stream, DEVICE_BYTES);
	for (at = begin; main_stream_next(stream, build.bytes.data + at, build.bytes.used - at,
					  &unit, &err) == UNIT_WHOLE;
	     at += unit.size_bytes)
		assert_int_equal(unit.packaged, at < package_end);
	assert_int_equal(at, build.bytes.used);
	assert_true(main_stream_finish(stream, 0, &err));
}

static void test_a_complete_tail_must_be_released(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;
	Error err = ERROR_INIT;

	(void)state;
	put_package(&build, LISTEN_SIZE + 19 + 2);
	put_full(&build, 4, "timer", 0);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_all, &build, &unit);

	main_stream_hold_tail(stream);
	assert_int_equal(main_stream_next(stream, (const uint8_t *)"abc", 3, &unit, &err),
			 UNIT_WHOLE);
	assert_int_equal(unit.size_bytes, 2);
	assert_int_equal(main_stream_next(stream, (const uint8_t *)"c", 1, &unit, &err), UNIT_BAD);
	support_check_error(&err, ERROR_INTERNAL, "was not released", __FILE__, __LINE__);
}

/* --- recovery --- */

/* In postcopy, with a PART cut in its first page. */
static MainStream *in_postcopy(Build *build)
{
	MainUnit unit;

	put_package(build, PACKAGE_SIZE);
	put_run(build);
	put_part(build, RAM_ID);
	return judge_unit(&options_all, build, &unit);
}

static UnitResult show(MainStream *stream, const Build *build, MainUnit *ret_unit, Error *err)
{
	UnitResult result;
	size_t at = 0;

	*err = ERROR_INIT;
	while ((result = main_stream_next(stream, build->bytes.data + at, build->bytes.used - at,
					  ret_unit, err)) == UNIT_WHOLE)
		at += ret_unit->size_bytes;
	return result;
}

static void test_recovery(void **state)
{
	static const uint8_t name[] = { 6, 'p', 'c', '.', 'r', 'a', 'm' };
	AUTO_BUILD Build build = BUILD_INIT, next = BUILD_INIT;
	AUTO_MAIN_STREAM MainStream *stream = in_postcopy(&build);
	MainUnit unit;
	Error err;

	(void)state;
	/* Twice: a recovery can be cut as well. */
	for (int i = 0; i < 2; i++) {
		buffer_consume(&next.bytes, next.bytes.used);
		put_command(&next, COMMAND_RECV_BITMAP, name, sizeof(name));
		put_command(&next, COMMAND_POSTCOPY_RESUME, NULL, 0);
		put_end(&next, RAM_ID);
		assert_works(main_stream_resume(stream, &err), &err);
		assert_int_equal(show(stream, &next, &unit, &err), UNIT_MORE);
	}
	assert_works(main_stream_resume(stream, &err), &err);
	buffer_consume(&next.bytes, next.bytes.used);
	put_command(&next, COMMAND_POSTCOPY_RESUME, NULL, 0);
	put_postcopy_end(&next);
	assert_int_equal(show(stream, &next, &unit, &err), UNIT_MORE);
	assert_true(main_stream_finish(stream, 0, &err));
	assert_fails(main_stream_resume(stream, &err), ERROR_CONFLICT, "no state to recover", &err);
}

static void test_recovery_refuses(void **state)
{
	static const struct {
		uint8_t bytes[5];
		const char *text;
	} bad[] = {
		{ { 2, 0, 0, 0, RAM_ID }, "section PART before POSTCOPY_RESUME" },
		{ { 8, 0, 1, 0, 0 }, "OPEN_RETURN_PATH before POSTCOPY_RESUME" },
		{ { 0 }, "end of the stream before POSTCOPY_RESUME" },
	};
	AUTO_BUILD Build begun = BUILD_INIT;
	MainUnit unit;
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT, next = BUILD_INIT;
		AUTO_MAIN_STREAM MainStream *stream = in_postcopy(&build);

		put_bytes(&next, bad[i].bytes, sizeof(bad[i].bytes));
		assert_works(main_stream_resume(stream, &err), &err);
		assert_int_equal(show(stream, &next, &unit, &err), UNIT_BAD);
		support_check_error(&err, ERROR_PEER, bad[i].text, __FILE__, __LINE__);
	}
	put_begin(&begun);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_all, &begun, &unit);

	assert_fails(main_stream_resume(stream, &err), ERROR_CONFLICT, "no state to recover", &err);
}

/* CONTINUE means nothing on a new connection. */
static void test_recovery_names_blocks_anew(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT, more = BUILD_INIT, next = BUILD_INIT;
	AUTO_MAIN_STREAM MainStream *stream = in_postcopy(&build);
	MainUnit unit;
	Error err;

	(void)state;
	put_zero(&more, "pc.ram", 0);
	assert_int_equal(show(stream, &more, &unit, &err), UNIT_MORE);
	assert_works(main_stream_resume(stream, &err), &err);
	put_command(&next, COMMAND_POSTCOPY_RESUME, NULL, 0);
	put_part(&next, RAM_ID);
	put_zero(&next, NULL, PAGE);
	assert_int_equal(show(stream, &next, &unit, &err), UNIT_BAD);
	support_check_error(&err, ERROR_PEER, "CONTINUE before any block", __FILE__, __LINE__);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses_data),
		cmocka_unit_test(test_ping),
		cmocka_unit_test(test_advise),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_refuses_discards),
		cmocka_unit_test(test_refuses_order),
		cmocka_unit_test(test_postcopy),
		cmocka_unit_test(test_postcopy_takes_pages_only),
		cmocka_unit_test(test_package_is_exact),
		cmocka_unit_test(test_package_refuses),
		cmocka_unit_test(test_tail_of_a_package),
		cmocka_unit_test(test_a_complete_tail_must_be_released),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_recovery_refuses),
		cmocka_unit_test(test_recovery_names_blocks_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
