/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guard/samples.h"

#include <string.h>

#include "tests/qemustream/multifd_samples.h"

const uint8_t sample_uuid[16] = { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
				  0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };

static const uint64_t block_pages = SAMPLE_RAM_PAGES + SAMPLE_BIOS_PAGES;

void put_sample_ram_start(Build *build, uint64_t acpi_pages)
{
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, (block_pages + acpi_pages) * PAGE);
	put_block(build, "pc.ram", SAMPLE_RAM_PAGES * PAGE);
	put_block(build, "pc.bios", SAMPLE_BIOS_PAGES * PAGE);
	put_block(build, SAMPLE_ACPI, acpi_pages * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
}

void put_sample_finish(Build *build)
{
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_device(build, SAMPLE_DEVICE_ID, "timer");
	put_eof(build);
	put_vmdesc(build, SAMPLE_DESCRIPTION);
}

void put_twin(Build *build)
{
	const struct {
		const char *name;
		uint64_t pages;
	} blocks[] = { { "pc.ram", SAMPLE_RAM_PAGES },
		       { "pc.bios", SAMPLE_BIOS_PAGES },
		       { SAMPLE_ACPI, SAMPLE_ACPI_PAGES } };

	put_begin(build);
	put_subsection(build, "configuration/capabilities", 1);
	put_be32(build, 1);
	put_name(build, "x-ignore-shared");
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, (block_pages + SAMPLE_ACPI_PAGES) * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		put_block(build, blocks[i].name, blocks[i].pages * PAGE);
		put_be64(build, i << 32);
	}
	put_eos(build);
	put_footer(build, RAM_ID);
	put_sample_finish(build);
}

void put_sample_main(Build *build)
{
	put_begin(build);
	put_command(build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	put_ping(build, 1);
	put_sample_ram_start(build, SAMPLE_ACPI_PAGES);
	put_part(build, RAM_ID);
	put_page(build, "pc.ram", 0, 1);
	put_page(build, NULL, PAGE, 2);
	put_zero(build, "pc.bios", 0);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_command(build, COMMAND_SWITCHOVER_START, NULL, 0);
	put_sample_finish(build);
}

void put_setup(Build *build)
{
	put_begin(build);
	put_command(build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
	put_ping(build, 1);
}

/* --- multifd --- */

static void put_buffer(Build *build, const Buffer *buffer)
{
	put_bytes(build, buffer->data, buffer->used);
}

void put_initial(Build *build, uint8_t id)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);

	sample_multifd_initial(&bytes, id);
	put_buffer(build, &bytes);
}

void put_pages(Build *build, const char *block, uint32_t pages, uint32_t zero_pages,
	       uint64_t number)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);

	sample_multifd_pages(&bytes, block, pages, zero_pages, number);
	put_buffer(build, &bytes);
}

void put_sync(Build *build, uint64_t number)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);

	sample_multifd_sync(&bytes, number);
	put_buffer(build, &bytes);
}

Guard *sample_guard_agreed(const GuardOptions *options, uint32_t agreed)
{
	static const GuardNode nodes[] = { { SAMPLE_DISK, SAMPLE_DISK_BYTES } };
	AUTO_BUILD Build twin = BUILD_INIT;
	GuardExpected expected = { .agreed = agreed,
				   .nodes = nodes,
				   .nodes_count = ARRAY_SIZE(nodes),
				   .machine = SAMPLE_MACHINE,
				   .channels = SAMPLE_CHANNELS,
				   .has_uuid = true };
	Error err = ERROR_INIT;
	Guard *guard;

	if (agreed & GUARD_AGREED(GUARD_XBZRLE))
		expected.channels = 1;
	put_twin(&twin);
	expected.twin = twin.bytes.data;
	expected.twin_size = twin.bytes.used;
	memcpy(expected.uuid, sample_uuid, sizeof(sample_uuid));
	guard = guard_new(options, &expected, &err);
	if (!guard)
		fail_msg("%s", err.text);
	return guard;
}

Guard *sample_guard(const GuardOptions *options)
{
	return sample_guard_agreed(options, 0);
}

/* --- the sink --- */

static bool write_sink(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Sink *sink = context;

	assert_true(size > 0);
	if (sink->fails)
		return error_set(err, ERROR_IO, "the sink is closed");
	return buffer_put(&sink->bytes, bytes, size, err);
}

GuardSink sink_of(Sink *sink)
{
	return (GuardSink){ .write = write_sink, .context = sink };
}

void sink_clear(Sink *sink)
{
	buffer_clear(&sink->bytes);
}

/* --- feeding --- */

bool sample_feed(Guard *guard, unsigned int channel, const uint8_t *bytes, size_t size,
		 size_t piece, bool end, Sink *sink, Error *err)
{
	const GuardSink out = sink_of(sink);
	uint32_t random = 12345;
	size_t at = 0, shown = 0, taken;

	while (shown < size) {
		size_t more;

		random = random * 1664525 + 1013904223;
		more = 1 + (random >> 8) % piece;
		shown = more < size - shown ? shown + more : size;
		if (!guard_take(guard, channel, bytes + at, shown - at, &out, &taken, err))
			return false;
		assert_true(taken <= shown - at);
		at += taken;
		assert_true(shown - at < GUARD_WINDOW);
	}
	return !end || guard_end(guard, channel, size - at, err);
}
