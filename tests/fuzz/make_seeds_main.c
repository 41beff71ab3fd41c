/* SPDX-License-Identifier: Apache-2.0 */
/* Main and preempt channels. The first byte is for fuzz_qemu_main.c and fuzz_ram.c. */
#include "tests/qemustream/build.h"

#include "tests/fuzz/make_seeds.h"

enum { BITMAP_ID = 7 };

static void write_main(const char *root, const char *name, uint8_t agreed, Build *build)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, agreed);
	put_bytes(&seed, build->bytes.data, build->bytes.used);
	seeds_write(root, "qemu_main", name, seed.bytes.data, seed.bytes.used);
	build_clear(build);
}

/* A device whose instance says how long its payload is. */
static void put_sized_device(Build *build, uint32_t id, const char *name)
{
	put_full(build, id, name, DEVICE_BYTES);
	put_bytes(build, "0123456789", DEVICE_BYTES);
	put_footer(build, id);
}

static void put_sized_finish(Build *build)
{
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sized_device(build, 4, "timer");
	put_global_state(build, 5, "running");
	put_footer(build, 5);
	put_eof(build);
	put_vmdesc(build, "{}");
}

static void put_precopy(Build *build)
{
	put_begin(build);
	put_subsection(build, "configuration/uuid", 1);
	put_zeros(build, 16);
	put_command(build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	put_ping(build, 1);
	put_ram_start(build);
	put_part(build, RAM_ID);
	put_page(build, "pc.ram", 0, 1);
	put_zero(build, "pc.bios", 0);
	put_zero(build, NULL, PAGE);
	mark(build);
	put_be64(build, RAM_FLAG_MULTIFD_FLUSH);
	put_be64(build, RAM_FLAG_XBZRLE | RAM_FLAG_CONTINUE);
	put_bytes(build, "\1\0\4\0\2ab", 7);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_command(build, COMMAND_SWITCHOVER_START, NULL, 0);
	put_sized_finish(build);
}

static void put_bitmaps(Build *build)
{
	put_begin(build);
	put_start(build, BITMAP_ID, "dirty-bitmap", 1);
	put_bytes(build, "\x1c\1n\1b\0\1\0\0\1\1", 11);
	put_footer(build, BITMAP_ID);
	put_ram_start(build);
	put_end(build, BITMAP_ID);
	put_bytes(build, "\x40\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x20", 21);
	put_zeros(build, 32);
	put_bytes(build, "\x42\0\0\0\0\0\0\0\0\0\0\0\1\x20\1", 15);
	put_footer(build, BITMAP_ID);
	put_sized_finish(build);
}

static void put_postcopy(Build *build)
{
	static const uint8_t range[] = "\0\6pc.ram\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";

	put_begin(build);
	put_advise(build);
	put_ram_start(build);
	put_command(build, COMMAND_POSTCOPY_RAM_DISCARD, range, sizeof(range));
	put_command(build, COMMAND_PACKAGED, "\0\0\0\x2c", 4);
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_sized_device(build, 4, "timer");
	put_command(build, COMMAND_POSTCOPY_RUN, NULL, 0);
}

static void put_shared(Build *build)
{
	put_begin(build);
	put_subsection(build, "configuration/target-page-bits", 1);
	put_be32(build, 12);
	put_subsection(build, "configuration/capabilities", 1);
	put_be32(build, 1);
	put_name(build, "x-ignore-shared");
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, PAGE);
	put_block(build, "pc.ram", PAGE);
	put_be64(build, 0);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sized_finish(build);
}

static void write_streams(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_precopy(&build);
	write_main(root, "precopy", 0x03, &build);
	put_precopy(&build);
	write_main(root, "held", 0x23, &build);
	put_bitmaps(&build);
	write_main(root, "bitmaps", 0x08, &build);
	put_shared(&build);
	write_main(root, "ignore-shared", 0x10, &build);
	put_postcopy(&build);
	put_part(&build, RAM_ID);
	put_zero(&build, "pc.ram", 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_eof(&build);
	write_main(root, "postcopy", 0x04, &build);
	put_postcopy(&build);
	write_main(root, "cut", 0x84, &build);
}

static void write_ram(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 0);
	put_page(&build, "a", 0, 1);
	put_page(&build, NULL, PAGE, 2);
	put_zero(&build, "b", 0);
	put_zero(&build, NULL, PAGE);
	put_eos(&build);
	seeds_write(root, "ram", "preempt", build.bytes.data, build.bytes.used);
	seeds_write(root, "ram", "xbzrle", "\1\0\2ab\x81\1\1c", 9);
}

void seeds_write_main_channel(const char *root)
{
	write_streams(root);
	write_ram(root);
}
