/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of what was agreed, and what breaks its rules. */
#include <string.h>

#include "tests/guard/cases.h"
#include "tests/qemustream/multifd_samples.h"

#define POSTCOPY   GUARD_AGREED(GUARD_POSTCOPY)
#define PREEMPT	   (POSTCOPY | GUARD_AGREED(GUARD_PREEMPT))
#define RECOVERY   (POSTCOPY | GUARD_AGREED(GUARD_RECOVERY))
#define XBZRLE	   GUARD_AGREED(GUARD_XBZRLE)
#define ZLIB	   GUARD_AGREED(GUARD_ZLIB)
#define ZSTD	   GUARD_AGREED(GUARD_ZSTD)
#define BITMAPS	   GUARD_AGREED(GUARD_BITMAPS)
#define SWITCHOVER GUARD_AGREED(GUARD_SWITCHOVER_ACK)

enum {
	DEVICE_SECTION = 1 + 4 + 1 + 5 + 4 + 4 + DEVICE_BYTES + 5,
	COMMAND_HEADER = 5,
	BITMAP_ID = 3
};

/* --- postcopy --- */

static void put_advise_of(Build *build, uint64_t page_sizes)
{
	uint8_t data[16];

	store_be64(data, page_sizes);
	store_be64(data + 8, PAGE);
	put_command(build, COMMAND_POSTCOPY_ADVISE, data, sizeof(data));
}

static void put_discard(Build *build, const char *block, uint64_t start, uint64_t length)
{
	uint8_t data[3 + UNIT_NAME_MAX + 16] = { 0 };
	size_t size = strlen(block);

	data[1] = (uint8_t)size;
	memcpy(data + 2, block, size);
	store_be64(data + 3 + size, start);
	store_be64(data + 11 + size, length);
	put_command(build, COMMAND_POSTCOPY_RAM_DISCARD, data, (uint16_t)(19 + size));
}

static void put_package_of(Build *build, uint32_t size)
{
	uint8_t data[4];

	store_be32(data, size);
	put_command(build, COMMAND_PACKAGED, data, sizeof(data));
}

/* Up to the switch. */
static void put_before_switch(Build *build)
{
	put_setup(build);
	put_advise_of(build, PAGE);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_part(build, RAM_ID);
	put_page(build, "pc.ram", 0, 1);
	put_eos(build);
	put_footer(build, RAM_ID);
}

/* LISTEN, a device, PING 3, RUN. */
static void put_whole_package(Build *build)
{
	put_package_of(build,
		       COMMAND_HEADER + DEVICE_SECTION + COMMAND_HEADER + 4 + COMMAND_HEADER);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_ping(build, 3);
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
}

static void put_pages_behind(Build *build)
{
	put_part(build, RAM_ID);
	put_page(build, "pc.bios", 0, 1);
	put_zero(build, NULL, PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_eof(build);
}

static void good_postcopy(Build *build)
{
	put_before_switch(build);
	put_discard(build, "pc.ram", PAGE, 3 * PAGE);
	put_ping(build, 2);
	put_whole_package(build);
	put_ping(build, 4);
	put_pages_behind(build);
}

/* Postcopy that was agreed and not begun. */
static void good_no_postcopy(Build *build)
{
	put_before_switch(build);
	put_sample_finish(build);
}

static void put_behind_advise(Build *build)
{
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_sample_finish(build);
}

static void bad_page_sizes(Build *build)
{
	put_setup(build);
	put_advise_of(build, PAGE | 2 << 20);
	put_behind_advise(build);
}

static void put_discards(Build *build, int count)
{
	put_before_switch(build);
	for (int i = 0; i < count; i++)
		put_discard(build, "pc.ram", 0, (uint64_t)SAMPLE_RAM_PAGES * PAGE);
	put_sample_finish(build);
}

/* 9 times 64 of 592 pages. */
static void good_discards(Build *build)
{
	put_discards(build, 9);
}

static void bad_discards(Build *build)
{
	put_discards(build, 10);
}

static void bad_discard_past(Build *build)
{
	put_before_switch(build);
	put_discard(build, "pc.bios", PAGE, (uint64_t)SAMPLE_BIOS_PAGES * PAGE);
	put_sample_finish(build);
}

static void bad_discard_empty(Build *build)
{
	put_before_switch(build);
	put_discard(build, "pc.bios", PAGE, 0);
	put_sample_finish(build);
}

static void bad_package_long(Build *build)
{
	put_before_switch(build);
	put_package_of(build, 4096);
	put_zeros(build, 5000);
}

static void bad_package_nested(Build *build)
{
	put_before_switch(build);
	put_package_of(build, 200);
	put_package_of(build, 100);
	put_zeros(build, 300);
}

static void bad_package_empty(Build *build)
{
	put_before_switch(build);
	put_package_of(build, 2 * COMMAND_HEADER);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
	put_pages_behind(build);
}

/* What the local layout does not have: here the footer stands elsewhere. */
static void bad_package_device(Build *build)
{
	good_postcopy(build);
	for (size_t at = 0; at + 5 < build->bytes.used; at++)
		if (!memcmp(build->bytes.data + at, "timer", 5))
			build->bytes.data[at + 5 + 8 + DEVICE_BYTES] ^= 1;
}

/* A second section of a device, where nobody would look at it. */
static void bad_package_behind(Build *build)
{
	put_before_switch(build);
	put_package_of(build,
		       COMMAND_HEADER + 2 * DEVICE_SECTION + COMMAND_HEADER + 4 + COMMAND_HEADER);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_ping(build, 3);
	put_device(build, SAMPLE_DEVICE_ID + 1, "timer");
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
	put_pages_behind(build);
}

static void bad_package_cut(Build *build)
{
	put_before_switch(build);
	put_whole_package(build);
	build->bytes.used -= 3;
}

static void bad_ping_early(Build *build)
{
	put_setup(build);
	put_ping(build, 2);
	put_behind_advise(build);
}

static void bad_ping_twice_before(Build *build)
{
	put_before_switch(build);
	put_ping(build, 2);
	put_ping(build, 2);
	put_sample_finish(build);
}

static void bad_ping_in_package(Build *build)
{
	put_before_switch(build);
	put_package_of(build,
		       COMMAND_HEADER + DEVICE_SECTION + COMMAND_HEADER + 4 + COMMAND_HEADER);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_ping(build, 4);
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
	put_pages_behind(build);
}

static void bad_late_switchover(Build *build)
{
	put_before_switch(build);
	put_whole_package(build);
	put_command(build, COMMAND_SWITCHOVER_START, NULL, 0);
	put_pages_behind(build);
}

static void bad_resume_unasked(Build *build)
{
	put_before_switch(build);
	put_whole_package(build);
	put_command(build, COMMAND_POSTCOPY_RESUME, NULL, 0);
	put_pages_behind(build);
}

static void bad_xbzrle_after(Build *build)
{
	put_before_switch(build);
	put_whole_package(build);
	put_part(build, RAM_ID);
	put_be64(build, RAM_FLAG_HOOK);
}

/* --- preempt --- */

static void good_preempt(Build *build)
{
	put_page(build, "pc.ram", 5 * PAGE, 1);
	put_zero(build, "pc.bios", 0);
	put_page(build, NULL, PAGE, 1);
}

static void good_no_preempt(Build *build)
{
	(void)build;
}

static void put_asked(Build *build, int count)
{
	for (int i = 0; i < count; i++)
		put_zero(build, i ? NULL : "pc.bios", 0);
}

static void good_asked(Build *build)
{
	put_asked(build, 1184);
}

static void bad_asked(Build *build)
{
	put_asked(build, 1185);
}

static void bad_preempt_block(Build *build)
{
	put_page(build, "pc.rom", 0, 1);
}

static void bad_preempt_cut(Build *build)
{
	put_page(build, "pc.ram", 0, 1);
	build->bytes.used--;
}

/* --- xbzrle --- */

static void put_change(Build *build, const char *change, size_t size)
{
	put_setup(build);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_part(build, RAM_ID);
	put_page(build, "pc.ram", 0, 1);
	put_be64(build, RAM_FLAG_XBZRLE | RAM_FLAG_CONTINUE);
	put_u8(build, 1);
	put_be16(build, (uint16_t)size);
	put_bytes(build, change, size);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

/* Nothing, then two bytes. */
static void good_change(Build *build)
{
	put_change(build, "\0\2ab", 4);
}

/* 4095 bytes of nothing, then two. */
static void bad_change(Build *build)
{
	put_change(build, "\xff\x1f\2ab", 5);
}

static void bad_change_runs(Build *build)
{
	put_change(build, "\0\4ab", 4);
}

/* --- compression --- */

static void put_compressed(Build *build, MultifdCompression method, uint32_t pages,
			   uint32_t said_pages, SampleEnd end)
{
	AUTO_SAMPLE_COMPRESSOR SampleCompressor *compressor = sample_compressor_new(method, 1);
	AUTO_BUFFER Buffer payload = BUFFER_INIT(1 << 20);
	AUTO_BUFFER Buffer header = BUFFER_INIT(1 << 20);
	AUTO_FREE uint8_t *bytes = calloc(pages, PAGE);
	SamplePacket packet = { .block = "pc.ram",
				.flags = method == MULTIFD_COMPRESSION_ZLIB ? SAMPLE_ZLIB
									    : SAMPLE_ZSTD,
				.normal_pages = said_pages,
				.packet_num = 1 };

	assert_non_null(bytes);
	for (size_t i = 0; i < (size_t)pages * PAGE; i++)
		bytes[i] = (uint8_t)(i * i >> 3);
	sample_compress(compressor, bytes, (size_t)pages * PAGE, end, &payload);
	packet.next_packet_size = (uint32_t)payload.used;
	put_initial(build, 0);
	sample_multifd_packet(&header, &packet);
	put_bytes(build, header.data, header.used);
	put_bytes(build, payload.data, payload.used);
}

static void good_zlib(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZLIB, 16, 16, SAMPLE_FLUSH);
	put_sync(build, 2);
}

static void bad_zlib_more(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZLIB, 17, 16, SAMPLE_FLUSH);
}

static void bad_zlib_less(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZLIB, 15, 16, SAMPLE_FLUSH);
}

static void bad_zlib_end(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZLIB, 16, 16, SAMPLE_FINISH);
}

static void good_zstd(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZSTD, 16, 16, SAMPLE_FLUSH);
	put_sync(build, 2);
}

static void bad_zstd_more(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZSTD, 17, 16, SAMPLE_FLUSH);
}

static void bad_zstd_bytes(Build *build)
{
	put_compressed(build, MULTIFD_COMPRESSION_ZSTD, 16, 16, SAMPLE_FLUSH);
	build->bytes.data[SAMPLE_INITIAL + SAMPLE_HEADER] ^= 1;
}

static void put_long_payload(Build *build, uint32_t size)
{
	AUTO_BUFFER Buffer header = BUFFER_INIT(1 << 20);

	put_initial(build, 0);
	sample_multifd_packet(&header, &(SamplePacket){ .block = "pc.ram",
							.flags = SAMPLE_ZSTD,
							.normal_pages = 16,
							.next_packet_size = size,
							.packet_num = 1 });
	put_bytes(build, header.data, header.used);
}

static void bad_zstd_long(Build *build)
{
	put_long_payload(build, GUARD_COMPRESSED_MAX + 1);
}

static void bad_zstd_past_buffer(Build *build)
{
	put_long_payload(build, MULTIFD_COMPRESSED_MAX + 1);
}

static void bad_zstd_cut(Build *build)
{
	good_zstd(build);
	build->bytes.used -= SAMPLE_HEADER + 1;
}

/* --- dirty bitmaps --- */

static void put_bitmap_begin(Build *build)
{
	put_setup(build);
	put_command(build, COMMAND_POSTCOPY_ADVISE, NULL, 0);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
}

static void put_bitmap_names(Build *build, uint8_t flags, const char *node, const char *name)
{
	put_u8(build, flags | 0x0c);
	put_name(build, node);
	put_name(build, name);
}

static void put_bitmap_start(Build *build, const char *node, const char *name)
{
	put_bitmap_names(build, 0x10, node, name);
	put_be32(build, 65536);
	put_u8(build, BITMAP_ENABLED);
}

/* Of 64 bits each 64 KiB: 8192 sectors a word. */
static void put_bits(Build *build, const char *name, uint64_t first, uint32_t sectors)
{
	put_bitmap_names(build, 0x40, SAMPLE_DISK, name);
	put_be64(build, first);
	put_be32(build, sectors);
	put_be64(build, 32);
	put_zeros(build, 32);
}

static void put_bitmap_eos(Build *build)
{
	put_u8(build, 1);
	put_footer(build, BITMAP_ID);
}

static void put_bitmap_starts(Build *build, int count)
{
	char name[8];

	put_bitmap_begin(build);
	put_start(build, BITMAP_ID, "dirty-bitmap", 1);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "b%d", i);
		put_bitmap_start(build, SAMPLE_DISK, name);
	}
	put_bitmap_eos(build);
}

static void put_bitmap_end(Build *build)
{
	put_end(build, BITMAP_ID);
	put_bitmap_names(build, 0x20, SAMPLE_DISK, "b0");
	put_bitmap_eos(build);
	put_sample_finish(build);
}

static void put_range(Build *build, const char *name, uint64_t first, uint32_t sectors)
{
	put_bitmap_starts(build, 1);
	put_part(build, BITMAP_ID);
	put_bits(build, name, first, sectors);
	put_bitmap_eos(build);
	put_bitmap_end(build);
}

static void good_bitmap(Build *build)
{
	put_range(build, "b0", SAMPLE_DISK_BYTES / 512 - 8192, 8192);
}

static void bad_bitmap_past(Build *build)
{
	put_range(build, "b0", SAMPLE_DISK_BYTES / 512, 8192);
}

static void bad_bitmap_unaligned(Build *build)
{
	put_range(build, "b0", 4096, 8192);
}

static void bad_bitmap_short(Build *build)
{
	put_range(build, "b0", 0, 4096);
}

static void bad_bitmap_unknown(Build *build)
{
	put_range(build, "b1", 0, 8192);
}

static void bad_bitmap_complete(Build *build)
{
	put_bitmap_starts(build, 1);
	put_end(build, BITMAP_ID);
	put_bitmap_names(build, 0x20, SAMPLE_DISK, "b0");
	put_bits(build, "b0", 0, 8192);
}

static void bad_bitmap_node(Build *build)
{
	put_bitmap_begin(build);
	put_start(build, BITMAP_ID, "dirty-bitmap", 1);
	put_bitmap_start(build, "disc", "b0");
}

static void bad_bitmap_twice(Build *build)
{
	put_bitmap_begin(build);
	put_start(build, BITMAP_ID, "dirty-bitmap", 1);
	put_bitmap_start(build, SAMPLE_DISK, "b0");
	put_bitmap_start(build, SAMPLE_DISK, "b0");
}

static void good_bitmaps(Build *build)
{
	put_bitmap_starts(build, 64);
	put_bitmap_end(build);
}

static void bad_bitmaps(Build *build)
{
	put_bitmap_starts(build, 65);
	put_bitmap_end(build);
}

/* --- return path --- */

static void put_message(Build *build, uint16_t type, uint32_t value)
{
	put_be16(build, type);
	put_be16(build, 4);
	put_be32(build, value);
}

static void put_pongs(Build *build)
{
	put_message(build, 2, 1);
	put_message(build, 2, 2);
}

static void put_request(Build *build, const char *block, uint64_t start, uint32_t length)
{
	put_be16(build, block ? 3 : 4);
	put_be16(build, (uint16_t)(12 + (block ? 1 + strlen(block) : 0)));
	put_be64(build, start);
	put_be32(build, length);
	if (block)
		put_name(build, block);
}

static void good_requests(Build *build)
{
	put_request(build, "pc.ram", 0, PAGE);
	put_request(build, NULL, (SAMPLE_RAM_PAGES - 1) * PAGE, PAGE);
	put_request(build, "pc.bios", 0, PAGE);
	put_message(build, 2, 3);
	put_message(build, 2, 0x42);
	put_message(build, 2, 4);
	put_message(build, 1, 0);
}

static void bad_request_block(Build *build)
{
	put_request(build, "pc.rom", 0, PAGE);
}

static void bad_request_past(Build *build)
{
	put_request(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE, PAGE);
}

static void bad_request_two(Build *build)
{
	put_request(build, "pc.ram", 0, 2 * PAGE);
}

static void put_requests(Build *build, int count)
{
	for (int i = 0; i < count; i++)
		put_request(build, i ? NULL : "pc.ram", 0, PAGE);
}

/* Two times 64 + 16 + 32. */
static void good_many(Build *build)
{
	put_requests(build, 224);
}

static void bad_many(Build *build)
{
	put_requests(build, 225);
}

static void bad_pong_again(Build *build)
{
	put_message(build, 2, 2);
}

static void good_ack(Build *build)
{
	put_be32(build, 7 << 16);
	put_message(build, 1, 0);
}

static void bad_ack_twice(Build *build)
{
	put_be32(build, 7 << 16);
	put_be32(build, 7 << 16);
}

static void put_received(Build *build, const char *block, uint64_t bytes)
{
	put_be16(build, 5);
	put_be16(build, (uint16_t)(1 + strlen(block)));
	put_name(build, block);
	put_be64(build, bytes);
	put_zeros(build, (size_t)bytes);
	put_be64(build, UINT64_C(0x0123456789abcdef));
}

static void good_recovery(Build *build)
{
	put_received(build, "pc.ram", 8);
	put_received(build, "pc.bios", 8);
	put_message(build, 6, 1);
	put_request(build, "pc.ram", 0, PAGE);
	put_message(build, 1, 0);
}

static void bad_received_size(Build *build)
{
	put_received(build, "pc.ram", 16);
}

static void bad_received_block(Build *build)
{
	put_received(build, "pc.rom", 8);
}

static void bad_received_twice(Build *build)
{
	put_received(build, "pc.ram", 8);
	put_received(build, "pc.ram", 8);
}

static void bad_resume_twice(Build *build)
{
	put_message(build, 6, 1);
	put_message(build, 6, 1);
}

static void bad_nothing_to_resume(Build *build)
{
	put_message(build, 6, 1);
}

#define MAIN	    GUARD_DESTINATION, 0
#define MULTIFD	    GUARD_DESTINATION, 1
#define LAST	    GUARD_DESTINATION, 2
#define RETURN_MAIN GUARD_SOURCE, 0

const Case agreed_cases[] = {
	{ GUARD_RULE_POSTCOPY_PAGE_SIZE, "ADVISE", MAIN, good_postcopy, bad_page_sizes,
	  "0x201000, expected 0x1000", NULL, POSTCOPY, false },
	{ GUARD_RULE_POSTCOPY_DISCARD, "too many", MAIN, good_discards, bad_discards,
	  "640 pages are discarded, the VM has 592", NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "discard past the block", MAIN, good_postcopy, bad_discard_past,
	  "of block pc.bios", NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "discard of nothing", MAIN, good_postcopy, bad_discard_empty,
	  "0x0 bytes", NULL, POSTCOPY, false },
	{ GUARD_RULE_POSTCOPY_PACKAGE, "too long", MAIN, good_postcopy, bad_package_long,
	  "a package of 4096 bytes", NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "package in a package", MAIN, good_no_postcopy, bad_package_nested,
	  "in a package", NULL, POSTCOPY, false },
	{ GUARD_RULE_DEVICE_MISSING, "package without devices", MAIN, good_postcopy,
	  bad_package_empty, "no device", NULL, POSTCOPY, false },
	{ GUARD_RULE_DEVICE_FRAME, "a footer", MAIN, good_postcopy, bad_package_device, "footer",
	  NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "a section behind a command", MAIN, good_postcopy, bad_package_behind,
	  "section FULL of timer behind device state", NULL, POSTCOPY, false },
	{ GUARD_RULE_CLOSED, "in the package", MAIN, good_postcopy, bad_package_cut,
	  "early, inside device state", NULL, POSTCOPY, false },
	{ GUARD_RULE_PING, "2 in the setup", MAIN, good_postcopy, bad_ping_early,
	  "PING with 2 at another place", NULL, POSTCOPY, false },
	{ GUARD_RULE_PING, "2 twice", MAIN, good_postcopy, bad_ping_twice_before, "number 2 of it",
	  NULL, POSTCOPY, false },
	{ GUARD_RULE_PING, "4 in the package", MAIN, good_postcopy, bad_ping_in_package,
	  "PING with 4 at another place", NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "SWITCHOVER_START late", MAIN, good_postcopy, bad_late_switchover,
	  "SWITCHOVER_START", NULL, POSTCOPY, false },
	{ GUARD_RULE_GRAMMAR, "RESUME unasked", MAIN, good_postcopy, bad_resume_unasked,
	  "outside of a recovery", NULL, RECOVERY, false },
	{ GUARD_RULE_GRAMMAR, "a record of precopy", MAIN, good_postcopy, bad_xbzrle_after, "HOOK",
	  NULL, POSTCOPY, false },
	{ GUARD_RULE_PREEMPT_EARLY, "a page", LAST, good_no_preempt, good_preempt,
	  "before the package", NULL, PREEMPT, false },
	{ GUARD_RULE_PREEMPT_PAGES, "zero pages", LAST, good_asked, bad_asked,
	  "1185 pages, at most 1184", good_postcopy, PREEMPT, false },
	{ GUARD_RULE_GRAMMAR, "a block of preempt", LAST, good_preempt, bad_preempt_block, "pc.rom",
	  good_postcopy, PREEMPT, false },
	{ GUARD_RULE_CLOSED, "preempt", LAST, good_preempt, bad_preempt_cut, "inside a record",
	  good_postcopy, PREEMPT, false },
	{ GUARD_RULE_GRAMMAR, "a change past its page", MAIN, good_change, bad_change,
	  "of a page of 4096", NULL, XBZRLE, false },
	{ GUARD_RULE_GRAMMAR, "a change with a broken run", MAIN, good_change, bad_change_runs,
	  "broken run", NULL, XBZRLE, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zlib: more", MULTIFD, good_zlib, bad_zlib_more, "left",
	  NULL, ZLIB, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zlib: less", MULTIFD, good_zlib, bad_zlib_less,
	  "expands to", NULL, ZLIB, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zlib: the end", MULTIFD, good_zlib, bad_zlib_end, "ends",
	  NULL, ZLIB, false },
	{ GUARD_RULE_GRAMMAR, "zstd for zlib", MULTIFD, good_zlib, good_zstd, "was agreed", NULL,
	  ZLIB, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zstd: more", MULTIFD, good_zstd, bad_zstd_more, "of its",
	  NULL, ZSTD, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zstd: no frame", MULTIFD, good_zstd, bad_zstd_bytes,
	  "no zstd frame", NULL, ZSTD, false },
	{ GUARD_RULE_MULTIFD_COMPRESSED, "zstd: long", MULTIFD, good_zstd, bad_zstd_long,
	  "655361 bytes for 16 pages", NULL, ZSTD, false },
	{ GUARD_RULE_GRAMMAR, "QEMU work item 4035, zstd", MULTIFD, good_zstd, bad_zstd_past_buffer,
	  "next_packet_size 1048577", NULL, ZSTD, false },
	{ GUARD_RULE_CLOSED, "in a compressed packet", MULTIFD, good_zstd, bad_zstd_cut,
	  "inside a packet", NULL, ZSTD, false },
	{ GUARD_RULE_BITMAP_NODE, "another disk", MAIN, good_bitmap, bad_bitmap_node, "of disc",
	  NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_NODE, "twice", MAIN, good_bitmap, bad_bitmap_twice, "begins twice",
	  NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_COUNT, "65", MAIN, good_bitmaps, bad_bitmaps, "number 65, at most 64",
	  NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_RANGE, "past the disk", MAIN, good_bitmap, bad_bitmap_past,
	  "0x4000000 to 0x4400000", NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_RANGE, "half a word", MAIN, good_bitmap, bad_bitmap_unaligned,
	  "in steps of 0x400000", NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_RANGE, "ends in a word", MAIN, good_bitmap, bad_bitmap_short,
	  "0x0 to 0x200000", NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_RANGE, "not begun", MAIN, good_bitmap, bad_bitmap_unknown,
	  "did not begin", NULL, BITMAPS, false },
	{ GUARD_RULE_BITMAP_RANGE, "complete", MAIN, good_bitmap, bad_bitmap_complete,
	  "is complete", NULL, BITMAPS, false },
	{ GUARD_RULE_RETURN_REQUEST, "block", RETURN_MAIN, good_requests, bad_request_block,
	  "pc.rom", put_pongs, POSTCOPY, false },
	{ GUARD_RULE_RETURN_REQUEST, "past the block", RETURN_MAIN, good_requests, bad_request_past,
	  "at 0x40000 of block pc.ram", put_pongs, POSTCOPY, false },
	{ GUARD_RULE_RETURN_REQUEST, "two pages", RETURN_MAIN, good_requests, bad_request_two,
	  "0x2000 bytes", put_pongs, POSTCOPY, false },
	{ GUARD_RULE_RETURN_PAGES, "too many", RETURN_MAIN, good_many, bad_many,
	  "page number 225 is asked for, at most 224", put_pongs, POSTCOPY, false },
	{ GUARD_RULE_RETURN_MESSAGE, "before postcopy", RETURN_MAIN, good_no_preempt,
	  bad_request_block, "before postcopy", NULL, POSTCOPY, false },
	{ GUARD_RULE_RETURN_COUNT, "PONG 2 twice", RETURN_MAIN, good_requests, bad_pong_again,
	  "PONG with 2, number 2", put_pongs, POSTCOPY, false },
	{ GUARD_RULE_RETURN_COUNT, "SWITCHOVER_ACK", RETURN_MAIN, good_ack, bad_ack_twice,
	  "number 2", NULL, SWITCHOVER, false },
	{ GUARD_RULE_RETURN_BITMAP, "length", RETURN_MAIN, good_recovery, bad_received_size,
	  "16 bytes, expected 8", put_pongs, RECOVERY, true },
	{ GUARD_RULE_RETURN_BITMAP, "block", RETURN_MAIN, good_recovery, bad_received_block,
	  "pc.rom, which this VM", put_pongs, RECOVERY, true },
	{ GUARD_RULE_RETURN_BITMAP, "twice", RETURN_MAIN, good_recovery, bad_received_twice,
	  "which came before", put_pongs, RECOVERY, true },
	{ GUARD_RULE_RETURN_MESSAGE, "RESUME_ACK twice", RETURN_MAIN, good_recovery,
	  bad_resume_twice, "outside of a recovery", put_pongs, RECOVERY, true },
	{ GUARD_RULE_RETURN_MESSAGE, "RESUME_ACK unasked", RETURN_MAIN, good_requests,
	  bad_nothing_to_resume, "outside of a recovery", put_pongs, RECOVERY, false },
};
const size_t agreed_cases_count = ARRAY_SIZE(agreed_cases);
