/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each rule of the channels with streams that break it and nothing else; beside each the same that
 * does not. A rule without a case fails, and so does one that GUARD.md does not explain (argument
 * 1). The rules of device state have tests of their own.
 */
#include "tests/guard/cases.h"

#include <string.h>

#include "base/file.h"
#include "guard/rules.h"
#include "tests/qemustream/multifd_samples.h"

enum { CHANNEL_RULES = GUARD_RULE_RETURN_CHANNEL + 1, PIECE = 5000 };

/* --- main --- */

static void put_to_parts(Build *build)
{
	put_setup(build);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_part(build, RAM_ID);
}

static void put_after_pages(Build *build)
{
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

static void put_rest(Build *build)
{
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_sample_finish(build);
}

static void bad_tag(Build *build)
{
	put_setup(build);
	put_u8(build, 0x44);
}

static void bad_advise(Build *build)
{
	put_setup(build);
	put_advise(build);
	put_rest(build);
}

static void bad_hook(Build *build)
{
	put_to_parts(build);
	put_be64(build, RAM_FLAG_HOOK);
	put_after_pages(build);
}

static void bad_xbzrle(Build *build)
{
	put_to_parts(build);
	put_page(build, "pc.ram", 0, 1);
	put_be64(build, RAM_FLAG_XBZRLE | RAM_FLAG_CONTINUE);
	put_bytes(build, "\1\0\4\0\2ab", 7);
	put_after_pages(build);
}

static void bad_main_offset(Build *build)
{
	put_to_parts(build);
	put_page(build, "pc.bios", SAMPLE_BIOS_PAGES * PAGE, 1);
	put_after_pages(build);
}

static void bad_cut(Build *build)
{
	put_to_parts(build);
}

static void bad_cut_held(Build *build)
{
	put_sample_main(build);
	build->bytes.used--;
}

static void bad_behind(Build *build)
{
	put_sample_main(build);
	put_u8(build, 0);
}

static void bad_far_behind(Build *build)
{
	put_sample_main(build);
	put_zeros(build, 500);
	put_u8(build, '}');
}

static void put_with_machine(Build *build, const char *machine)
{
	put_header(build);
	put_machine(build, machine);
	put_rest(build);
}

static void bad_machine_prefix(Build *build)
{
	put_with_machine(build, "pc-q35-10");
}

static void bad_machine_longer(Build *build)
{
	put_with_machine(build, SAMPLE_MACHINE "0");
}

static void bad_machine_other(Build *build)
{
	put_with_machine(build, "pc-q35-10.1");
}

static void put_capabilities(Build *build, uint32_t count)
{
	put_begin(build);
	put_subsection(build, "configuration/capabilities", 1);
	put_be32(build, count);
	if (count)
		put_name(build, "x-ignore-shared");
	put_rest(build);
}

static void bad_capability(Build *build)
{
	put_capabilities(build, 1);
}

static void put_uuid(Build *build, uint8_t change)
{
	put_begin(build);
	put_subsection(build, "configuration/uuid", 1);
	put_bytes(build, sample_uuid, 15);
	put_u8(build, sample_uuid[15] ^ change);
	put_rest(build);
}

static void good_uuid(Build *build)
{
	put_uuid(build, 0);
}

static void bad_uuid(Build *build)
{
	put_uuid(build, 1);
}

static void bad_command(Build *build)
{
	put_begin(build);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_command(build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	put_sample_finish(build);
}

static void bad_late_ping(Build *build)
{
	put_begin(build);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_ping(build, 1);
	put_sample_finish(build);
}

static void bad_ping_twice(Build *build)
{
	put_setup(build);
	put_ping(build, 1);
	put_rest(build);
}

static void bad_ping_cookie(Build *build)
{
	put_begin(build);
	put_ping(build, 0x42);
	put_rest(build);
}

static void bad_instance(Build *build)
{
	size_t at;

	put_setup(build);
	at = build->bytes.used;
	put_rest(build);
	/* Behind the tag, the id and the name. */
	store_be32(build->bytes.data + at + 9, 1);
}

static void bad_early(Build *build)
{
	put_setup(build);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_rest(build);
}

static void bad_early_global_state(Build *build)
{
	put_setup(build);
	put_global_state(build, 5, "running");
	put_footer(build, 5);
	put_rest(build);
}

/* The list with one block in another way. */
static void put_blocks(Build *build, const char *first, uint64_t first_pages, uint64_t second_pages)
{
	put_setup(build);
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, (first_pages + second_pages + SAMPLE_ACPI_PAGES) * PAGE);
	put_block(build, first, first_pages * PAGE);
	if (second_pages)
		put_block(build, "pc.bios", second_pages * PAGE);
	put_block(build, SAMPLE_ACPI, SAMPLE_ACPI_PAGES * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

static void bad_block_name(Build *build)
{
	put_blocks(build, "pc.ran", SAMPLE_RAM_PAGES, SAMPLE_BIOS_PAGES);
}

static void bad_block_size(Build *build)
{
	put_blocks(build, "pc.ram", SAMPLE_RAM_PAGES + 1, SAMPLE_BIOS_PAGES - 1);
}

static void bad_block_smaller(Build *build)
{
	put_blocks(build, "pc.ram", SAMPLE_RAM_PAGES - 1, SAMPLE_BIOS_PAGES + 1);
}

static void bad_total(Build *build)
{
	put_blocks(build, "pc.ram", 4096, SAMPLE_BIOS_PAGES);
}

/* Tables that grew make up for the block that is not there. */
static void bad_missing(Build *build)
{
	put_setup(build);
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, (SAMPLE_RAM_PAGES + 100) * PAGE);
	put_block(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE);
	put_block(build, SAMPLE_ACPI, 100 * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

static void good_order(Build *build)
{
	put_setup(build);
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, (SAMPLE_RAM_PAGES + SAMPLE_BIOS_PAGES + 512) * PAGE);
	put_block(build, SAMPLE_ACPI, 512 * PAGE);
	put_block(build, "pc.bios", SAMPLE_BIOS_PAGES * PAGE);
	put_block(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

static void bad_acpi(Build *build)
{
	put_setup(build);
	put_sample_ram_start(build, 513);
	put_sample_finish(build);
}

static void put_many_pages(Build *build, unsigned int count)
{
	put_to_parts(build);
	for (unsigned int i = 0; i < count; i++)
		put_zero(build, i ? NULL : "pc.bios", 0);
	put_after_pages(build);
}

/* Two times 64 + 16 + 512 pages may be. */
static void good_pages(Build *build)
{
	put_many_pages(build, 1184);
}

static void bad_pages(Build *build)
{
	put_many_pages(build, 1185);
}

static void put_much_state(Build *build, size_t size)
{
	put_to_parts(build);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_full(build, SAMPLE_DEVICE_ID, "timer", 0);
	put_zeros(build, size);
}

static void bad_held(Build *build)
{
	put_much_state(build, 8192);
}

/* --- multifd --- */

/* The highest id, and not the channel's own index. */
static void good_multifd(Build *build)
{
	put_initial(build, SAMPLE_CHANNELS - 2);
	put_sync(build, 0);
	/* Page i stands at page 1 + 3 * i: the last one is the block's last but two. */
	put_pages(build, "pc.ram", 1, 20, 1);
	put_sync(build, 2);
	put_pages(build, "pc.bios", 5, 0, 7);
	put_sync(build, 9);
}

static void good_first_multifd(Build *build)
{
	put_initial(build, 0);
	put_sync(build, 0);
}

static void bad_id(Build *build)
{
	put_initial(build, SAMPLE_CHANNELS - 1);
}

static void bad_id_max(Build *build)
{
	put_initial(build, 255);
}

static void bad_id_twice(Build *build)
{
	put_initial(build, 0);
}

static void bad_multifd_uuid(Build *build)
{
	put_initial(build, 0);
	build->bytes.data[8] ^= 1;
}

static void bad_multifd_block(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.rom", 1, 0, 1);
}

static void bad_multifd_offset(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.bios", 6, 0, 1);
}

static void bad_multifd_zero_offset(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.ram", 1, 21, 1);
}

static void bad_multifd_number(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.ram", 1, 0, 5);
	put_pages(build, "pc.ram", 1, 0, 4);
}

static void put_passes(Build *build, unsigned int packets)
{
	put_initial(build, 0);
	for (unsigned int i = 0; i < packets; i++)
		put_pages(build, "pc.ram", 0, 16, i);
}

/* Two times 592 pages. */
static void good_passes(Build *build)
{
	put_passes(build, 74);
	put_sync(build, 74);
	put_pages(build, "pc.ram", 0, 16, 75);
}

static void bad_passes(Build *build)
{
	put_passes(build, 75);
}

static void bad_multifd_size(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.ram", 1, 0, 1);
	store_be32(build->bytes.data + SAMPLE_INITIAL + AT_NEXT_PACKET_SIZE, 0x7fffffff);
}

static void bad_multifd_cut(Build *build)
{
	put_initial(build, 0);
	put_pages(build, "pc.ram", 1, 0, 1);
	build->bytes.used--;
}

static void bad_empty(Build *build)
{
	(void)build;
}

/* --- return path --- */

static void put_message(Build *build, uint16_t type, uint16_t size, uint32_t value)
{
	put_be16(build, type);
	put_be16(build, size);
	if (size)
		put_be32(build, value);
}

static void good_return(Build *build)
{
	put_message(build, 2, 4, 1);
	put_message(build, 1, 4, 0);
}

static void good_return_error(Build *build)
{
	put_message(build, 1, 4, 7);
}

static void bad_switchover_ack(Build *build)
{
	put_message(build, 7, 0, 0);
}

static void bad_req_pages(Build *build)
{
	put_be16(build, 3);
	put_be16(build, 19);
	put_be64(build, 0);
	put_be32(build, PAGE);
	put_name(build, "pc.ram");
}

static void bad_resume_ack(Build *build)
{
	put_message(build, 6, 4, 1);
}

static void bad_pong_twice(Build *build)
{
	put_message(build, 2, 4, 1);
	put_message(build, 2, 4, 1);
}

static void bad_pong_cookie(Build *build)
{
	put_message(build, 2, 4, 0x42);
}

static void bad_after_shut(Build *build)
{
	good_return(build);
	put_message(build, 2, 4, 1);
}

static void bad_return_cut(Build *build)
{
	put_be16(build, 2);
}

static void good_nothing(Build *build)
{
	(void)build;
}

static void bad_return_channel(Build *build)
{
	put_message(build, 2, 4, 1);
}

#define MAIN	    GUARD_DESTINATION, 0
#define MULTIFD	    GUARD_DESTINATION, 2
#define RETURN_MAIN GUARD_SOURCE, 0

static const Case cases[] = {
	{ GUARD_RULE_GRAMMAR, "an unknown tag", MAIN, put_sample_main, bad_tag, "tag 0x44" },
	{ GUARD_RULE_GRAMMAR, "postcopy", MAIN, put_sample_main, bad_advise, "not agreed" },
	{ GUARD_RULE_GRAMMAR, "RDMA", MAIN, put_sample_main, bad_hook, "HOOK" },
	{ GUARD_RULE_GRAMMAR, "XBZRLE", MAIN, put_sample_main, bad_xbzrle, "XBZRLE" },
	{ GUARD_RULE_GRAMMAR, "an offset in main", MAIN, put_sample_main, bad_main_offset,
	  "of block pc.bios" },
	{ GUARD_RULE_GRAMMAR, "QEMU work item 4035", MULTIFD, good_multifd, bad_multifd_size,
	  "next_packet_size 2147483647" },
	{ GUARD_RULE_GRAMMAR, "after SHUT", RETURN_MAIN, good_return, bad_after_shut, "SHUT" },
	{ GUARD_RULE_CLOSED, "in a section", MAIN, put_sample_main, bad_cut,
	  "closed the channel early" },
	{ GUARD_RULE_CLOSED, "in device state", MAIN, put_sample_main, bad_cut_held,
	  "early, inside device state" },
	{ GUARD_RULE_CLOSED, "in a packet", MULTIFD, good_multifd, bad_multifd_cut,
	  "inside a packet" },
	{ GUARD_RULE_CLOSED, "no packet", MULTIFD, good_multifd, bad_empty, "before its first" },
	{ GUARD_RULE_CLOSED, "in a message", RETURN_MAIN, good_return_error, bad_return_cut,
	  "2 bytes into a message" },
	{ GUARD_RULE_END, "a byte more", MAIN, put_sample_main, bad_behind, "1 bytes " },
	{ GUARD_RULE_END, "many bytes more", MAIN, put_sample_main, bad_far_behind, " bytes " },
	{ GUARD_RULE_MACHINE, "a prefix", MAIN, put_sample_main, bad_machine_prefix,
	  "pc-q35-10 of 9 bytes, expected pc-q35-10.0 of 11" },
	{ GUARD_RULE_MACHINE, "longer", MAIN, put_sample_main, bad_machine_longer, "of 12 bytes" },
	{ GUARD_RULE_MACHINE, "another", MAIN, put_sample_main, bad_machine_other, "pc-q35-10.1" },
	{ GUARD_RULE_CAPABILITY, "x-ignore-shared", MAIN, put_sample_main, bad_capability,
	  "expected none" },
	{ GUARD_RULE_UUID, "main", MAIN, good_uuid, bad_uuid, "aeae, expected a0a1" },
	{ GUARD_RULE_UUID, "multifd", MULTIFD, good_multifd, bad_multifd_uuid, "UUID a1a1" },
	{ GUARD_RULE_COMMAND, "OPEN_RETURN_PATH late", MAIN, put_sample_main, bad_command,
	  "OPEN_RETURN_PATH after the first section" },
	{ GUARD_RULE_PING, "late", MAIN, put_sample_main, bad_late_ping, "at another place" },
	{ GUARD_RULE_PING, "twice", MAIN, put_sample_main, bad_ping_twice, "number 2" },
	{ GUARD_RULE_PING, "cookie", MAIN, put_sample_main, bad_ping_cookie,
	  "66, which no QEMU sends here" },
	{ GUARD_RULE_SECTION_INSTANCE, "ram", MAIN, put_sample_main, bad_instance,
	  "ram, instance 1, expected 0" },
	{ GUARD_RULE_SECTION_EARLY, "a device", MAIN, put_sample_main, bad_early, "timer" },
	{ GUARD_RULE_SECTION_EARLY, "globalstate", MAIN, put_sample_main, bad_early_global_state,
	  "globalstate" },
	{ GUARD_RULE_RAM_BLOCK, "name", MAIN, good_order, bad_block_name, "pc.ran" },
	{ GUARD_RULE_RAM_BLOCK, "missing", MAIN, good_order, bad_missing, "without block pc.bios" },
	{ GUARD_RULE_RAM_BLOCK, "multifd", MULTIFD, good_multifd, bad_multifd_block, "pc.rom" },
	{ GUARD_RULE_RAM_SIZE, "longer", MAIN, good_order, bad_block_size, "266240 bytes" },
	{ GUARD_RULE_RAM_SIZE, "shorter", MAIN, good_order, bad_block_smaller, "258048 bytes" },
	{ GUARD_RULE_RAM_SIZE, "all", MAIN, good_order, bad_total, "bytes in all blocks" },
	{ GUARD_RULE_RAM_SIZE, "tables", MAIN, good_order, bad_acpi, "expected" },
	{ GUARD_RULE_RAM_OFFSET, "a page", MULTIFD, good_multifd, bad_multifd_offset,
	  "page 5 at 0x10000 of block pc.bios, which has 0x10000" },
	{ GUARD_RULE_RAM_OFFSET, "a zero page", MULTIFD, good_multifd, bad_multifd_zero_offset,
	  "page 21 at 0x40000" },
	{ GUARD_RULE_RAM_PAGES, "a section", MAIN, good_pages, bad_pages,
	  "1185 pages in one section, at most 1184" },
	{ GUARD_RULE_HELD_SIZE, "a device", MAIN, put_sample_main, bad_held, "at most 4096" },
	{ GUARD_RULE_MULTIFD_ID, "CVE-like: id is the number of channels", MULTIFD, good_multifd,
	  bad_id, "id 2, below 2" },
	{ GUARD_RULE_MULTIFD_ID, "largest", MULTIFD, good_multifd, bad_id_max, "id 255" },
	{ GUARD_RULE_MULTIFD_ID, "twice", MULTIFD, good_multifd, bad_id_twice, "another channel",
	  good_first_multifd },
	{ GUARD_RULE_MULTIFD_NUMBER, "back", MULTIFD, good_multifd, bad_multifd_number,
	  "number 4 after 5" },
	{ GUARD_RULE_MULTIFD_PAGES, "no SYNC", MULTIFD, good_passes, bad_passes,
	  "1200 pages without SYNC, at most 1184" },
	{ GUARD_RULE_RETURN_MESSAGE, "SWITCHOVER_ACK", RETURN_MAIN, good_return, bad_switchover_ack,
	  "SWITCHOVER_ACK" },
	{ GUARD_RULE_RETURN_MESSAGE, "REQ_PAGES_ID", RETURN_MAIN, good_return, bad_req_pages,
	  "REQ_PAGES_ID" },
	{ GUARD_RULE_RETURN_MESSAGE, "RESUME_ACK", RETURN_MAIN, good_return, bad_resume_ack,
	  "RESUME_ACK" },
	{ GUARD_RULE_RETURN_COUNT, "PONG twice", RETURN_MAIN, good_return, bad_pong_twice,
	  "PONG with 1, number 2 of it" },
	{ GUARD_RULE_RETURN_COOKIE, "PONG", RETURN_MAIN, good_return, bad_pong_cookie,
	  "66, expected 1" },
	{ GUARD_RULE_RETURN_CHANNEL, "multifd", GUARD_SOURCE, 1, good_nothing, bad_return_channel,
	  "bytes came back, expected 0" },
};

/* --- good and bad --- */

static const size_t cases_count = ARRAY_SIZE(cases);

static void each_case(void (*run)(const Case *c))
{
	for (size_t i = 0; i < cases_count; i++)
		run(&cases[i]);
	for (size_t i = 0; i < agreed_cases_count; i++)
		run(&agreed_cases[i]);
}

static void test_pairs(void **state)
{
	(void)state;
	each_case(case_run_pair);
}

/* Nothing is lost in mode warn, and every violation is told once. */
static void test_warn(void **state)
{
	(void)state;
	each_case(case_run_warn);
}

/* --- the tables --- */

static void test_each_rule_has_a_case(void **state)
{
	(void)state;
	for (int rule = 0; rule < CHANNEL_RULES; rule++) {
		size_t found = rule == GUARD_RULE_MULTIFD_SYNC; /* test_guard.c */

		for (size_t i = 0; i < cases_count; i++)
			found += (int)cases[i].rule == rule;
		for (size_t i = 0; i < agreed_cases_count; i++)
			found += (int)agreed_cases[i].rule == rule;
		if (!found)
			fail_msg("no stream breaks %s", guard_rule_text((GuardRule)rule)->name);
	}
}

static void test_each_rule_is_explained(void **state)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(1 << 20);
	char row[128];
	Error err;

	assert_works(file_read(*state, 1 << 19, &text, &err), &err);
	assert_works(buffer_put_u8(&text, 0, &err), &err);
	for (int rule = 0; rule < GUARD_RULE_COUNT; rule++) {
		const GuardRuleText *words = guard_rule_text((GuardRule)rule);

		assert_memory_equal(words->name, "guard-", 6);
		snprintf(row, sizeof(row), "| `%s` | %.60s", words->name, words->holds);
		if (!strstr((const char *)text.data, row))
			fail_msg("GUARD.md has no row \"%s\"", row);
		for (int other = 0; other < rule; other++)
			assert_string_not_equal(words->name,
						guard_rule_text((GuardRule)other)->name);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_warn),
		cmocka_unit_test(test_each_rule_has_a_case),
		cmocka_unit_test_prestate(test_each_rule_is_explained, argc > 1 ? argv[1] : NULL),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
