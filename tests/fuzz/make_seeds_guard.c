/* SPDX-License-Identifier: Apache-2.0 */
/* For fuzz_guard.c: byte 0 is its choice of side, mode and channel. */
#include "tests/guard/samples.h"

#include "tests/fuzz/make_seeds.h"
#include "tests/qemustream/multifd_samples.h"

static void write_seed(const char *root, const char *name, uint8_t choice, const Buffer *bytes)
{
	AUTO_BUILD Build seed = BUILD_INIT;

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

void seeds_write_guard(const char *root)
{
	write_main(root);
	write_channels(root);
}
