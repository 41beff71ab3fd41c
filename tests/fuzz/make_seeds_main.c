/* SPDX-License-Identifier: Apache-2.0 */
/* Main and preempt channels, and what their parts are by themselves. No pieces (stream.h), then the
 * choice of a target that has one. */
#include "tests/qemustream/build.h"

#include "tests/fuzz/make_seeds.h"

enum { BITMAP_ID = 7 };

static void write_main(const char *root, const char *name, uint8_t agreed, Build *build)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, 0);
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

static void write_part(const char *root, const char *target, const char *name, Build *build)
{
	seeds_write(root, target, name, build->bytes.data, build->bytes.used);
	build_clear(build);
}

/* No pieces, and this choice. */
static void begin_part(Build *build, uint8_t choice)
{
	put_u8(build, 0);
	put_u8(build, choice);
}

static void put_pages(Build *build)
{
	put_page(build, "a", 0, 1);
	put_page(build, NULL, PAGE, 2);
	put_zero(build, "b", 0);
	put_zero(build, NULL, PAGE);
	put_eos(build);
}

static void write_ram(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_bytes(&build, "\3\377\0\50", 4);
	put_pages(&build);
	write_part(root, "preempt", "pages", &build);
	put_u8(&build, 0);
	write_part(root, "preempt", "none", &build);
	begin_part(&build, RAM_PHASE_POSTCOPY);
	put_pages(&build);
	write_part(root, "ram", "postcopy", &build);
	begin_part(&build, 0x0c | RAM_PHASE_PRECOPY);
	put_zero(&build, "b", 0);
	put_be64(&build, RAM_FLAG_MULTIFD_FLUSH);
	put_be64(&build, RAM_FLAG_XBZRLE | RAM_FLAG_CONTINUE);
	put_bytes(&build, "\1\0\4\0\2ab", 7);
	write_part(root, "ram", "precopy", &build);
	begin_part(&build, 0x70);
	put_mem_size(&build, 2 * PAGE);
	put_block(&build, "a", PAGE);
	put_be64(&build, PAGE);
	put_be64(&build, 0);
	put_block(&build, "c", PAGE);
	put_be64(&build, PAGE);
	write_part(root, "ram", "list", &build);
	begin_part(&build, 0x80);
	put_bytes(&build, "\0\2ab\x81\1\1c", 8);
	write_part(root, "ram", "xbzrle", &build);
}

static void write_bitmaps(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	begin_part(&build, 0);
	put_bytes(&build, "\x1c\1n\1b\0\1\0\0\1\1", 11);
	write_part(root, "dirty_bitmap", "start", &build);
	begin_part(&build, 2);
	put_bytes(&build, "\x4c\1n\1b\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\x20", 25);
	put_zeros(&build, 32);
	put_bytes(&build, "\x42\0\0\0\0\0\0\0\0\0\0\0\1\x20\1", 15);
	write_part(root, "dirty_bitmap", "end", &build);
}

static void write_commands(const char *root)
{
	static const uint8_t range[] = "\0\1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
	static const CommandKind plain[] = { COMMAND_OPEN_RETURN_PATH, COMMAND_POSTCOPY_LISTEN,
					     COMMAND_POSTCOPY_RUN, COMMAND_POSTCOPY_RESUME,
					     COMMAND_SWITCHOVER_START };
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 0);
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		put_command(&build, plain[i], NULL, 0);
	put_ping(&build, 1);
	put_advise(&build);
	put_command(&build, COMMAND_POSTCOPY_RAM_DISCARD, range, sizeof(range));
	put_command(&build, COMMAND_PACKAGED, "\0\0\0\x2c", 4);
	put_command(&build, COMMAND_RECV_BITMAP, "\1b", 2);
	write_part(root, "command", "each", &build);
	put_u8(&build, 0);
	put_command(&build, COMMAND_ENABLE_COLO, NULL, 0);
	write_part(root, "command", "colo", &build);
}

static void write_configuration(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 0);
	put_machine(&build, "pc-q35-10.0");
	put_subsection(&build, "configuration/target-page-bits", 1);
	put_be32(&build, 12);
	put_subsection(&build, "configuration/capabilities", 1);
	put_be32(&build, 1);
	put_name(&build, "x-ignore-shared");
	put_subsection(&build, "configuration/uuid", 1);
	put_zeros(&build, 16);
	write_part(root, "configuration", "each", &build);
}

void seeds_write_main_channel(const char *root)
{
	write_streams(root);
	write_ram(root);
	write_bitmaps(root);
	write_commands(root);
	write_configuration(root);
}
