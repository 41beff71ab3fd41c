/* SPDX-License-Identifier: Apache-2.0 */
/* For fuzz_guard.c: no pieces, its choice of side, mode and channel, the channel. */
#include "tests/guard/samples.h"

#include "tests/fuzz/make_seeds.h"
#include "tests/qemustream/multifd_samples.h"

static void write_seed(const char *root, const char *name, uint8_t choice, const Buffer *bytes)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, 0);
	put_u8(&seed, choice);
	put_bytes(&seed, bytes->data, bytes->used);
	seeds_write(root, "guard", name, seed.bytes.data, seed.bytes.used);
}

static void write_main(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_sample_main(&build);
	write_seed(root, "main", 0x08, &build.bytes);
	build.bytes.used = 0;
	put_begin(&build);
	put_subsection(&build, "configuration/uuid", 1);
	put_bytes(&build, sample_uuid, sizeof(sample_uuid));
	put_sample_ram_start(&build, SAMPLE_ACPI_PAGES + 1);
	put_part(&build, RAM_ID);
	put_zero(&build, "pc.ram", 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_sample_finish(&build);
	write_seed(root, "main-small", 0x00, &build.bytes);
	write_seed(root, "main-warn", 0x02, &build.bytes);
	build.bytes.data[13] ^= 1; /* of the machine's name */
	write_seed(root, "machine", 0x00, &build.bytes);
	write_seed(root, "machine-warn", 0x02, &build.bytes);
	write_seed(root, "no-stream", 0x00, &(Buffer){ .data = build.bytes.data + 1, .used = 8 });
}

static void write_channels(const char *root)
{
	static const uint8_t answers[] = { 0, 2, 0, 4, 0, 0, 0, 1, 0, 1, 0, 4, 0, 0, 0, 0 };
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);
	AUTO_BUILD Build back = BUILD_INIT;

	sample_multifd_initial(&bytes, 1);
	sample_multifd_sync(&bytes, 0);
	sample_multifd_pages(&bytes, "pc.ram", 1, 2, 1);
	sample_multifd_sync(&bytes, 2);
	write_seed(root, "multifd", 0x0c, &bytes);
	put_bytes(&back, answers, sizeof(answers));
	write_seed(root, "return", 0x01, &back.bytes);
}

/* --- fuzz_guard_agreed.c: one byte more, what was agreed --- */

static void write_agreed(const char *root, const char *name, uint8_t choice, uint32_t agreed,
			 const Buffer *bytes)
{
	AUTO_BUILD Build seed = BUILD_INIT;

	put_u8(&seed, 0);
	put_u8(&seed, choice);
	put_u8(&seed, (uint8_t)agreed);
	put_bytes(&seed, bytes->data, bytes->used);
	seeds_write(root, "guard_agreed", name, seed.bytes.data, seed.bytes.used);
}

static void write_postcopy(const char *root)
{
	static const uint8_t answers[] = "\0\2\0\4\0\0\0\1"
					 "\0\3\0\23\0\0\0\0\0\0\40\0\0\0\20\0\6pc.ram"
					 "\0\1\0\4\0\0\0";
	static const uint8_t range[] = "\0\6pc.ram\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
	AUTO_BUILD Build build = BUILD_INIT, package = BUILD_INIT, back = BUILD_INIT;
	uint8_t size[4];

	put_command(&package, COMMAND_POSTCOPY_LISTEN, NULL, 0);
	put_device(&package, SAMPLE_DEVICE_ID, "timer");
	put_command(&package, COMMAND_POSTCOPY_RUN, NULL, 0);
	store_be32(size, (uint32_t)package.bytes.used);
	put_setup(&build);
	put_advise(&build);
	put_sample_ram_start(&build, SAMPLE_ACPI_PAGES);
	put_command(&build, COMMAND_POSTCOPY_RAM_DISCARD, range, sizeof(range));
	put_command(&build, COMMAND_PACKAGED, size, sizeof(size));
	put_bytes(&build, package.bytes.data, package.bytes.used);
	put_part(&build, RAM_ID);
	put_zero(&build, "pc.ram", 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_eof(&build);
	write_agreed(root, "postcopy", 0, GUARD_AGREED(GUARD_POSTCOPY), &build.bytes);
	put_bytes(&back, answers, sizeof(answers));
	write_agreed(root, "requests", 1, GUARD_AGREED(GUARD_POSTCOPY), &back.bytes);
	back.bytes.used = 0;
	put_bytes(&back, "\0\1\0\4\0\0\0", 8);
	write_agreed(root, "shut", 1, GUARD_AGREED(GUARD_POSTCOPY), &back.bytes);
	build.bytes.used = 0;
	put_page(&build, "pc.ram", 0, 1);
	write_agreed(root, "preempt", 8, GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_PREEMPT),
		     &build.bytes);
}

static void write_compressed(const char *root)
{
	static const uint8_t pages[SAMPLE_PAGE];
	AUTO_SAMPLE_COMPRESSOR SampleCompressor *source =
		sample_compressor_new(MULTIFD_COMPRESSION_ZLIB, 1);
	SamplePacket packet = { .block = "pc.ram", .flags = SAMPLE_ZLIB, .normal_pages = 1 };
	AUTO_BUFFER Buffer payload = BUFFER_INIT(1 << 16), bytes = BUFFER_INIT(1 << 16);
	Error err = ERROR_INIT;

	sample_compress(source, pages, sizeof(pages), SAMPLE_FLUSH, &payload);
	packet.next_packet_size = (uint32_t)payload.used;
	sample_multifd_initial(&bytes, 1);
	sample_multifd_packet(&bytes, &packet);
	seeds_must(buffer_put(&bytes, payload.data, payload.used, &err), &err);
	sample_multifd_sync(&bytes, 1);
	write_agreed(root, "zlib", 4, GUARD_AGREED(GUARD_ZLIB), &bytes);
}

void seeds_write_guard(const char *root)
{
	write_postcopy(root);
	write_compressed(root);
	write_main(root);
	write_channels(root);
}
