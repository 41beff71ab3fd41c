/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the main channel: header, configuration, sections, the end. */
#include "tests/qemustream/build.h"

#include <string.h>

/* --- header and configuration --- */

static void test_header(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;

	(void)state;
	put_header(&build);
	judge_good(&options_plain, &build, false);
	build.bytes.data[3] = 'X';
	judge_bad(&options_plain, &build, "magic 0x51455658, expected 0x5145564d");
	build.bytes.data[3] = 'M';
	build.bytes.data[7] = 2;
	judge_bad(&options_plain, &build, "version 2 is obsolete, only 3 is known");
	build.bytes.data[7] = 4;
	judge_bad(&options_plain, &build, "version 4, only 3 is known");
}

static void test_machine(void **state)
{
	AUTO_BUILD Build good = BUILD_INIT, none = BUILD_INIT, empty = BUILD_INIT,
			 large = BUILD_INIT, control = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&good);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &good, &unit);

	assert_int_equal(unit.kind, MAIN_CONFIGURATION);
	assert_int_equal(unit.configuration.machine.size, strlen("pc-q35-10.0"));
	assert_memory_equal(unit.configuration.machine.bytes, "pc-q35-10.0",
			    unit.configuration.machine.size);
	put_header(&none);
	put_start(&none, RAM_ID, "ram", 4);
	judge_bad(&options_plain, &none, "tag 0x01, expected 0x07 of the configuration");
	put_header(&empty);
	put_machine(&empty, "");
	judge_bad(&options_plain, &empty, "machine type of 0 bytes, 1 to 255 may be");
	put_header(&large);
	mark(&large);
	put_u8(&large, 7);
	put_be32(&large, 256);
	judge_bad(&options_plain, &large, "machine type of 256 bytes, 1 to 255 may be");
	put_header(&control);
	put_machine(&control, "pc q35");
	judge_bad(&options_plain, &control, "machine type with byte 0x20 at 2");
}

static void test_old_machines_have_no_configuration(void **state)
{
	const MainStreamOptions old = { .page_size = PAGE,
					.without_configuration = true,
					.without_vmdesc = true };
	AUTO_BUILD Build build = BUILD_INIT;

	(void)state;
	put_header(&build);
	put_ram_start(&build);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_eof(&build);
	judge_good(&old, &build, true);
	mark(&build);
	put_vmdesc(&build, "{}");
	build.mark -= 5;
	judge_bad(&old, &build, "7 bytes after the end");
}

static void test_old_machines_have_no_footers(void **state)
{
	const MainStreamOptions old = { .page_size = PAGE, .without_footers = true };
	AUTO_BUILD Build build = BUILD_INIT;

	(void)state;
	put_begin(&build);
	put_start(&build, RAM_ID, "ram", 4);
	put_mem_size(&build, PAGE);
	put_block(&build, "pc.ram", PAGE);
	put_eos(&build);
	put_ping(&build, 1);
	judge_good(&old, &build, false);
	put_footer(&build, RAM_ID);
	judge_bad(&old, &build, "tag 0x7e begins no item");
}

static void test_subsections(void **state)
{
	const MainStreamOptions shared = { .page_size = PAGE, .ignore_shared = true };
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_subsection(&build, "configuration/target-page-bits", 1);
	put_be32(&build, 12);
	put_subsection(&build, "configuration/capabilities", 1);
	put_be32(&build, 1);
	put_name(&build, "x-ignore-shared");
	put_subsection(&build, "configuration/uuid", 1);
	put_bytes(&build, "0123456789abcdef", 16);
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&shared, &build, &unit);

	assert_int_equal(unit.configuration.kind, CONFIGURATION_UUID);
	assert_memory_equal(unit.configuration.uuid, "0123456789abcdef", 16);
	put_ping(&build, 1);
	judge_good(&shared, &build, false);
	judge_bad(&options_plain, &build, "x-ignore-shared is listed, but was not agreed");
}

typedef struct BadSubsection {
	const char *name;
	uint32_t version, number;
	const char *listed;
	const char *text;
} BadSubsection;

static const BadSubsection bad_subsections[] = {
	{ "configuration/target-page-bits", 1, 13, NULL, "target pages of 13 bits" },
	{ "configuration/target-page-bits", 1, 0x80, NULL, "of 128 bits, 10 to 16 may be" },
	{ "configuration/target-page-bits", 2, 12, NULL, "of version 2, only 1 is known" },
	{ "configuration/capabilities", 1, 65, NULL, "65 capabilities, at most 64 may be" },
	{ "configuration/capabilities", 1, 1, "mapped-ram", "mapped-ram is for files" },
	{ "configuration/capabilities", 1, 1, "x-colo", "capability x-colo is unknown" },
	{ "configuration/other", 1, 0, NULL, "has no subsection configuration/other" },
	{ "", 1, 0, NULL, "the name of a subsection has 0 bytes" },
};

static void test_refuses_subsections(void **state)
{
	AUTO_BUILD Build twice = BUILD_INIT, missing = BUILD_INIT, listed = BUILD_INIT;
	const MainStreamOptions shared = { .page_size = PAGE, .ignore_shared = true };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_subsections); i++) {
		const BadSubsection *bad = &bad_subsections[i];
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_subsection(&build, bad->name, bad->version);
		put_be32(&build, bad->number);
		if (bad->listed)
			put_name(&build, bad->listed);
		judge_bad(&options_plain, &build, bad->text);
	}
	put_begin(&twice);
	for (int i = 0; i < 2; i++) {
		put_subsection(&twice, "configuration/uuid", 1);
		put_zeros(&twice, 16);
	}
	judge_bad(&options_plain, &twice, "comes twice or too late");
	put_begin(&listed);
	put_subsection(&listed, "configuration/capabilities", 1);
	put_be32(&listed, 2);
	put_name(&listed, "x-ignore-shared");
	put_name(&listed, "x-ignore-shared");
	judge_bad(&shared, &listed, "capability x-ignore-shared is listed twice");
	put_begin(&missing);
	put_ping(&missing, 1);
	judge_bad(&shared, &missing, "x-ignore-shared is not listed, but was agreed");
}

/* --- sections --- */

static void test_whole_stream(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;

	(void)state;
	put_begin(&build);
	put_subsection(&build, "configuration/uuid", 1);
	put_zeros(&build, 16);
	put_command(&build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	put_ping(&build, 1);
	put_ram_start(&build);
	put_part(&build, RAM_ID);
	put_page(&build, "pc.ram", 0, 1);
	put_page(&build, NULL, PAGE, 2);
	put_zero(&build, "pc.bios", 0);
	put_zero(&build, NULL, PAGE);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_command(&build, COMMAND_SWITCHOVER_START, NULL, 0);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_device(&build, 0, "timer");
	put_device(&build, 3, "cpu");
	put_global_state(&build, 4, "running");
	put_footer(&build, 4);
	put_eof(&build);
	put_vmdesc(&build, "{\"devices\": []}");
	judge_good(&options_plain, &build, true);
	judge_all_cuts(&options_plain, &build);
	mark(&build);
	put_u8(&build, 0);
	judge_bad(&options_plain, &build, "1 bytes after the end");
}

static void test_section_unit_tells_all(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&build);
	put_ram_start(&build);
	put_end(&build, RAM_ID);
	AUTO_MAIN_STREAM MainStream *first = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.section.type, MAIN_SECTION_END);
	assert_memory_equal(unit.section.name.bytes, "ram", 3);
	assert_int_equal(unit.section.version_id, 4);
	assert_false(unit.section.needs_length);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_full(&build, 65535, "0000:00:01.0/mch", 7);
	AUTO_MAIN_STREAM MainStream *second = judge_unit(&options_plain, &build, &unit);

	assert_int_equal(unit.section.type, MAIN_SECTION_FULL);
	assert_int_equal(unit.section.id, 65535);
	assert_int_equal(unit.section.instance_id, 7);
	assert_int_equal(unit.section.name.size, strlen("0000:00:01.0/mch"));
	assert_true(unit.section.needs_length);
	assert_false(unit.packaged);
}

typedef struct BadStart {
	const char *name;
	uint32_t id, version;
	const char *text;
} BadStart;

static const BadStart bad_starts[] = {
	{ "ram", 65536, 4, "id 65536, at most 65535 may be" },
	{ "ram", 1, 5, "ram in version 5, only 4 is known" },
	{ "ram", 1, 3, "ram in version 3, only 4 is known" },
	{ "block", 1, 1, "disks do not go in QEMU's stream" },
	{ "vfio", 1, 1, "VFIO devices" },
	{ "0000:00:03.0/vfio", 1, 1, "VFIO devices" },
	{ "dirty-bitmap", 1, 1, "dirty-bitmap, which was not agreed" },
	{ "timer", 1, 2, "section START of timer: no such section goes in parts" },
	{ "", 1, 1, "the name of a section has 0 bytes" },
	{ "ram\n", 1, 4, "the name of a section has byte 0x0a at 3" },
};

static void test_refuses_starts(void **state)
{
	AUTO_BUILD Build id = BUILD_INIT, name = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_starts); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_start(&build, bad_starts[i].id, bad_starts[i].name, bad_starts[i].version);
		judge_bad(&options_plain, &build, bad_starts[i].text);
	}
	put_begin(&id);
	put_ram_start(&id);
	put_start(&id, RAM_ID, "dirty-bitmap", 1);
	judge_bad(&options_all, &id, "id 2, which was begun before");
	put_begin(&name);
	put_ram_start(&name);
	put_start(&name, 9, "ram", 4);
	judge_bad(&options_plain, &name, "section START of ram comes twice");
}

static void test_parts_need_a_start(void **state)
{
	AUTO_BUILD Build zero = BUILD_INIT, other = BUILD_INIT, ended = BUILD_INIT,
			 late = BUILD_INIT;

	(void)state;
	put_begin(&zero);
	put_part(&zero, 0);
	judge_bad(&options_plain, &zero, "section PART with id 0, which did not START");
	put_begin(&other);
	put_ram_start(&other);
	put_end(&other, 3);
	judge_bad(&options_plain, &other, "section END with id 3, which did not START");
	put_begin(&ended);
	put_ram_start(&ended);
	put_end(&ended, RAM_ID);
	put_eos(&ended);
	put_footer(&ended, RAM_ID);
	put_part(&ended, RAM_ID);
	judge_bad(&options_plain, &ended, "section PART with id 2 (ram) after its END");
	put_begin(&late);
	put_ram_start(&late);
	put_part(&late, RAM_ID);
	put_eos(&late);
	put_footer(&late, RAM_ID);
	put_start(&late, 5, "dirty-bitmap", 1);
	judge_bad(&options_all, &late, "section START after the first that went on");
}

static void test_devices_come_last(void **state)
{
	AUTO_BUILD Build early = BUILD_INIT, between = BUILD_INIT, after = BUILD_INIT,
			 command = BUILD_INIT;

	(void)state;
	/* What a device must know before its memory comes. */
	put_begin(&early);
	put_ram_start(&early);
	put_device(&early, 7, "virtio-mem-early");
	put_part(&early, RAM_ID);
	judge_good(&options_plain, &early, false);
	put_begin(&between);
	put_ram_start(&between);
	put_part(&between, RAM_ID);
	put_eos(&between);
	put_footer(&between, RAM_ID);
	put_full(&between, 3, "timer", 0);
	judge_bad(&options_plain, &between, "section FULL of timer before the END of ram");
	put_begin(&after);
	put_start(&after, 9, "dirty-bitmap", 1);
	put_u8(&after, 1);
	put_footer(&after, 9);
	put_ram_start(&after);
	put_end(&after, RAM_ID);
	put_eos(&after);
	put_footer(&after, RAM_ID);
	put_device(&after, 3, "timer");
	put_part(&after, 9);
	judge_bad(&options_all, &after, "section PART after device state began");
	put_begin(&command);
	put_ram_start(&command);
	put_end(&command, RAM_ID);
	put_eos(&command);
	put_footer(&command, RAM_ID);
	put_device(&command, 3, "timer");
	put_ping(&command, 1);
	judge_bad(&options_plain, &command, "a command after device state began");
}

static void test_refuses_fulls(void **state)
{
	AUTO_BUILD Build ram = BUILD_INIT, vfio = BUILD_INIT, id = BUILD_INIT;

	(void)state;
	put_begin(&ram);
	put_full(&ram, 2, "ram", 0);
	judge_bad(&options_plain, &ram, "section FULL of ram, which goes in parts");
	put_begin(&vfio);
	put_full(&vfio, 2, "0000:00:03.0/vfio", 0);
	judge_bad(&options_plain, &vfio, "vfio, which goes in parts");
	put_begin(&id);
	put_device(&id, 3, "a");
	put_full(&id, 3, "b", 0);
	judge_bad(&options_plain, &id, "id 3, which was begun before");
}

static void test_footers(void **state)
{
	AUTO_BUILD Build tag = BUILD_INIT, id = BUILD_INIT;

	(void)state;
	put_begin(&tag);
	put_start(&tag, RAM_ID, "ram", 4);
	put_mem_size(&tag, PAGE);
	put_block(&tag, "pc.ram", PAGE);
	put_eos(&tag);
	put_part(&tag, RAM_ID);
	judge_bad(&options_plain, &tag, "section 2 (ram): tag 0x02, expected 0x7e of the footer");
	put_begin(&id);
	put_start(&id, RAM_ID, "ram", 4);
	put_mem_size(&id, PAGE);
	put_block(&id, "pc.ram", PAGE);
	put_eos(&id);
	put_footer(&id, 3);
	judge_bad(&options_plain, &id, "footer of section 3, expected 2");
}

static void test_tags(void **state)
{
	static const uint8_t bad[] = { 5, 6, 7, 9, 0x7e, 0x7f, 0xff };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_ping(&build, 1);
		mark(&build);
		put_u8(&build, bad[i]);
		judge_bad(&options_plain, &build, "begins no item");
	}
}

/* --- payloads --- */

static void test_global_state(void **state)
{
	AUTO_BUILD Build good = BUILD_INIT;
	MainUnit unit;

	(void)state;
	put_begin(&good);
	put_global_state(&good, 1, "running");
	AUTO_MAIN_STREAM MainStream *stream = judge_unit(&options_plain, &good, &unit);

	assert_int_equal(unit.kind, MAIN_GLOBAL_STATE);
	assert_string_equal(unit.global_state.runstate, "running");
	assert_false(unit.global_state.suspended);
}

typedef struct BadByte {
	size_t at; /* behind the begin of the payload */
	uint8_t value;
	const char *text;
} BadByte;

static const BadByte bad_global_bytes[] = {
	{ 3, 9, "run state running with size 9, expected 8" },
	{ 4, 0, "run state of 0 bytes, 1 to 31 may be" },
	{ 5, 0x1b, "run state with byte 0x1b at 1" },
	{ 20, 'x', "run state with byte 0x78 at 16" },
	{ 36, 2, "globalstate with byte 0x02 at 36" },
	{ 37, 2, "globalstate with byte 0x02 at 37" },
	{ 38, 1, "globalstate with byte 0x01 at 38" },
	{ 103, 1, "globalstate with byte 0x01 at 103" },
};

static void test_refuses_global_state(void **state)
{
	AUTO_BUILD Build version = BUILD_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_global_bytes); i++) {
		AUTO_BUILD Build build = BUILD_INIT;

		put_begin(&build);
		put_global_state(&build, 1, "running");
		build.bytes.data[build.mark + bad_global_bytes[i].at] = bad_global_bytes[i].value;
		judge_bad(&options_plain, &build, bad_global_bytes[i].text);
	}
	put_begin(&version);
	put_full(&version, 1, "globalstate", 0);
	version.bytes.data[version.bytes.used - 1] = 2;
	judge_bad(&options_plain, &version, "globalstate in version 2, only 1 is known");
}

static MainStream *at_device(Build *build)
{
	MainUnit unit;

	put_begin(build);
	put_ram_start(build);
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_full(build, 3, "timer", 0);
	return judge_unit(&options_plain, build, &unit);
}

static void test_a_length_must_be_told(void **state)
{
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_MAIN_STREAM MainStream *stream = at_device(&build);
	uint8_t byte = 0;
	MainUnit unit;
	Error err;

	(void)state;
	err = ERROR_INIT;
	assert_int_equal(main_stream_next(stream, &byte, 1, &unit, &err), UNIT_BAD);
	support_check_error(&err, ERROR_INTERNAL, "nobody said how long", __FILE__, __LINE__);
}

static void test_empty_payload(void **state)
{
	static const uint8_t footer[] = { 0x7e, 0, 0, 0, 3 };
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_MAIN_STREAM MainStream *stream = at_device(&build);
	MainUnit unit;
	Error err;

	(void)state;
	main_stream_expect_payload(stream, 0);
	assert_int_equal(main_stream_next(stream, footer, sizeof(footer), &unit, &err), UNIT_WHOLE);
	assert_int_equal(unit.kind, MAIN_FOOTER);
}

static void test_tail_is_held_and_shown_again(void **state)
{
	static const uint8_t rest[] = "0123456789\x7e\0\0\0\x03\0\x06\0\0\0\x02{}";
	const size_t size = sizeof(rest) - 1;
	AUTO_BUILD Build build = BUILD_INIT;
	AUTO_MAIN_STREAM MainStream *stream = at_device(&build);
	MainUnit unit;
	Error err;
	size_t at = 0;

	(void)state;
	assert_true(main_stream_may_hold(stream));
	main_stream_hold_tail(stream);
	assert_false(main_stream_may_hold(stream));
	assert_int_equal(main_stream_next(stream, rest, 5, &unit, &err), UNIT_WHOLE);
	assert_int_equal(unit.kind, MAIN_TAIL);
	assert_int_equal(main_stream_next(stream, rest + 5, size - 5, &unit, &err), UNIT_WHOLE);
	assert_int_equal(main_stream_next(stream, rest, 0, &unit, &err), UNIT_MORE);
	assert_fails(main_stream_finish(stream, 0, &err), ERROR_PEER, "with a tail", &err);
	assert_false(main_stream_tail_is_complete(stream));
	main_stream_release_tail(stream);
	main_stream_expect_payload(stream, DEVICE_BYTES);
	while (main_stream_next(stream, rest + at, size - at, &unit, &err) == UNIT_WHOLE) {
		assert_int_equal(unit.at, build.bytes.used + at);
		at += unit.size_bytes;
	}
	assert_int_equal(at, size);
	assert_true(main_stream_finish(stream, 0, &err));
}

/* --- the end --- */

static void test_end(void **state)
{
	AUTO_BUILD Build early = BUILD_INIT, none = BUILD_INIT, large = BUILD_INIT;
	const MainStreamOptions small = { .page_size = PAGE, .vmdesc_max = 8 };

	(void)state;
	put_begin(&early);
	put_ram_start(&early);
	put_eof(&early);
	judge_bad(&options_plain, &early, "end of the stream before the END of ram");
	put_begin(&none);
	put_ram_start(&none);
	put_finish(&none);
	judge_good(&options_plain, &none, true);
	none.bytes.used -= 7;
	judge_good(&options_plain, &none, false);
	mark(&none);
	put_u8(&none, 8);
	judge_bad(&options_plain, &none, "tag 0x08 after the end, expected 0x06 of the vmdesc");
	none.bytes.used--;
	put_u8(&none, 6);
	put_be32(&none, 0);
	judge_bad(&options_plain, &none, "vmdesc of 0 bytes, 1 to 16777216 may be");
	put_begin(&large);
	put_ram_start(&large);
	put_finish(&large);
	large.bytes.used -= 7;
	put_vmdesc(&large, "123456789");
	large.mark -= 5;
	judge_bad(&small, &large, "vmdesc of 9 bytes, 1 to 8 may be");
}

static void test_options(void **state)
{
	static const uint32_t bad[] = { 0, 1024, 4097, 131072 };
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		MainStreamOptions options = { .page_size = bad[i] };

		assert_fails(main_stream_new(&options, &err), ERROR_INTERNAL, "target pages of",
			     &err);
	}
	main_stream_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_old_machines_have_no_configuration),
		cmocka_unit_test(test_old_machines_have_no_footers),
		cmocka_unit_test(test_subsections),
		cmocka_unit_test(test_refuses_subsections),
		cmocka_unit_test(test_whole_stream),
		cmocka_unit_test(test_section_unit_tells_all),
		cmocka_unit_test(test_refuses_starts),
		cmocka_unit_test(test_parts_need_a_start),
		cmocka_unit_test(test_devices_come_last),
		cmocka_unit_test(test_refuses_fulls),
		cmocka_unit_test(test_footers),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_global_state),
		cmocka_unit_test(test_refuses_global_state),
		cmocka_unit_test(test_a_length_must_be_told),
		cmocka_unit_test(test_empty_payload),
		cmocka_unit_test(test_tail_is_held_and_shown_again),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
