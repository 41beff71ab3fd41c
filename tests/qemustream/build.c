/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/build.h"

#include <string.h>

#include "qemustream/main_tags.h"

const MainStreamOptions options_plain = { .page_size = PAGE };
const MainStreamOptions options_all = {
	.page_size = PAGE,
	.multifd = true,
	.xbzrle = true,
	.postcopy = true,
	.dirty_bitmaps = true,
};

/* --- putting --- */

void build_clear(Build *build)
{
	buffer_clear(&build->bytes);
}

void mark(Build *build)
{
	build->mark = build->bytes.used;
}

void put_bytes(Build *build, const void *bytes, size_t size)
{
	Error err;

	assert_works(buffer_put(&build->bytes, bytes, size, &err), &err);
}

void put_u8(Build *build, uint8_t value)
{
	put_bytes(build, &value, 1);
}

void put_be16(Build *build, uint16_t value)
{
	uint8_t bytes[2];

	store_be16(bytes, value);
	put_bytes(build, bytes, sizeof(bytes));
}

void put_be32(Build *build, uint32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	put_bytes(build, bytes, sizeof(bytes));
}

void put_be64(Build *build, uint64_t value)
{
	uint8_t bytes[8];

	store_be64(bytes, value);
	put_bytes(build, bytes, sizeof(bytes));
}

void put_zeros(Build *build, size_t size)
{
	for (size_t i = 0; i < size; i++)
		put_u8(build, 0);
}

void put_name(Build *build, const char *name)
{
	put_u8(build, (uint8_t)strlen(name));
	put_bytes(build, name, strlen(name));
}

void put_header(Build *build)
{
	mark(build);
	put_bytes(build, "QEVM", 4);
	put_be32(build, 3);
}

void put_machine(Build *build, const char *machine)
{
	mark(build);
	put_u8(build, TAG_CONFIGURATION);
	put_be32(build, (uint32_t)strlen(machine));
	put_bytes(build, machine, strlen(machine));
}

void put_subsection(Build *build, const char *name, uint32_t version)
{
	mark(build);
	put_u8(build, TAG_SUBSECTION);
	put_name(build, name);
	put_be32(build, version);
}

static void put_section(Build *build, uint8_t tag, uint32_t id)
{
	mark(build);
	put_u8(build, tag);
	put_be32(build, id);
}

void put_start(Build *build, uint32_t id, const char *name, uint32_t version)
{
	put_section(build, TAG_SECTION_START, id);
	put_name(build, name);
	put_be32(build, 0);
	put_be32(build, version);
}

void put_full(Build *build, uint32_t id, const char *name, uint32_t instance)
{
	put_section(build, TAG_SECTION_FULL, id);
	put_name(build, name);
	put_be32(build, instance);
	put_be32(build, 1);
}

void put_part(Build *build, uint32_t id)
{
	put_section(build, TAG_SECTION_PART, id);
}

void put_end(Build *build, uint32_t id)
{
	put_section(build, TAG_SECTION_END, id);
}

void put_footer(Build *build, uint32_t id)
{
	put_section(build, TAG_FOOTER, id);
}

void put_command(Build *build, CommandKind kind, const void *data, uint16_t size)
{
	mark(build);
	put_u8(build, TAG_COMMAND);
	put_be16(build, (uint16_t)kind);
	put_be16(build, size);
	put_bytes(build, data, size);
}

void put_ping(Build *build, uint32_t cookie)
{
	uint8_t data[4];

	store_be32(data, cookie);
	put_command(build, COMMAND_PING, data, sizeof(data));
}

void put_advise(Build *build)
{
	uint8_t data[16];

	store_be64(data, PAGE);
	store_be64(data + 8, PAGE);
	put_command(build, COMMAND_POSTCOPY_ADVISE, data, sizeof(data));
}

void put_eof(Build *build)
{
	mark(build);
	put_u8(build, TAG_EOF);
}

void put_vmdesc(Build *build, const char *json)
{
	put_section(build, TAG_VMDESC, (uint32_t)strlen(json));
	mark(build);
	put_bytes(build, json, strlen(json));
}

void put_mem_size(Build *build, uint64_t bytes)
{
	mark(build);
	put_be64(build, bytes | RAM_FLAG_MEM_SIZE);
}

void put_block(Build *build, const char *name, uint64_t bytes)
{
	mark(build);
	put_name(build, name);
	put_be64(build, bytes);
}

void put_eos(Build *build)
{
	mark(build);
	put_be64(build, RAM_FLAG_EOS);
}

static void put_page_header(Build *build, const char *block, uint64_t offset, uint32_t flags)
{
	mark(build);
	put_be64(build, offset | flags | (block ? 0 : RAM_FLAG_CONTINUE));
	if (block)
		put_name(build, block);
}

void put_page(Build *build, const char *block, uint64_t offset, uint8_t fill)
{
	uint8_t page[PAGE];

	put_page_header(build, block, offset, RAM_FLAG_PAGE);
	memset(page, fill, sizeof(page));
	put_bytes(build, page, sizeof(page));
}

void put_zero(Build *build, const char *block, uint64_t offset)
{
	put_page_header(build, block, offset, RAM_FLAG_ZERO);
	put_u8(build, 0);
}

void put_device(Build *build, uint32_t id, const char *name)
{
	put_full(build, id, name, 0);
	put_bytes(build, "0123456789", DEVICE_BYTES);
	put_footer(build, id);
}

void put_global_state(Build *build, uint32_t id, const char *runstate)
{
	put_full(build, id, "globalstate", 0);
	mark(build);
	put_be32(build, (uint32_t)strlen(runstate) + 1);
	put_bytes(build, runstate, strlen(runstate));
	put_zeros(build, 100 - strlen(runstate));
}

void put_begin(Build *build)
{
	put_header(build);
	put_machine(build, "pc-q35-10.0");
}

void put_ram_start(Build *build)
{
	put_start(build, RAM_ID, "ram", 4);
	put_mem_size(build, 80 * PAGE);
	put_block(build, "pc.ram", 64 * PAGE);
	put_block(build, "pc.bios", 16 * PAGE);
	put_eos(build);
	put_footer(build, RAM_ID);
}

void put_finish(Build *build)
{
	put_end(build, RAM_ID);
	put_eos(build);
	put_footer(build, RAM_ID);
	put_device(build, 4, "timer");
	put_eof(build);
	put_vmdesc(build, "{}");
}

void put_package(Build *build, uint32_t size)
{
	uint8_t data[4];

	put_begin(build);
	put_advise(build);
	put_ram_start(build);
	store_be32(data, size);
	put_command(build, COMMAND_PACKAGED, data, sizeof(data));
	put_command(build, COMMAND_POSTCOPY_LISTEN, NULL, 0);
}

/* --- decoding --- */

typedef struct Run {
	MainStream *stream;
	uint8_t *opaque; /* for each byte whether any value of it is fine; NULL: not wanted */
	size_t units;
	uint64_t digest; /* over units, however they were cut */
	MainKind last;
} Run;

static void digest(Run *run, uint64_t value)
{
	run->digest = (run->digest ^ value) * UINT64_C(0x100000001b3);
}

static void digest_bytes(Run *run, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		digest(run, bytes[i]);
}

static void see_opaque(Run *run, const MainUnit *unit, size_t from, size_t size)
{
	if (run->opaque)
		memset(run->opaque + unit->at + from, 1, size);
}

static void see_ram(Run *run, const MainUnit *unit, const uint8_t *front)
{
	const RamUnit *ram = &unit->ram;

	for (uint32_t i = 0; i < ram->count; i++) {
		const uint8_t *page;

		digest(run, (uint64_t)ram->kind);
		digest(run, ram->block);
		digest(run, ram->offset + (uint64_t)i * PAGE);
		if (ram->kind != RAM_PAGE)
			continue;
		page = ram->bytes + i * ram->stride_bytes;
		digest_bytes(run, page, PAGE);
		see_opaque(run, unit, (size_t)(page - front), PAGE);
	}
	if (!ram->count)
		digest(run, (uint64_t)ram->kind);
}

static void see(Run *run, const MainUnit *unit, const uint8_t *front)
{
	bool bytes = unit->kind == MAIN_PAYLOAD || unit->kind == MAIN_VMDESC_BYTES ||
		     unit->kind == MAIN_TAIL;

	assert_true(unit->kind >= 0 && unit->kind < MAIN_KIND_COUNT);
	assert_true(unit->size_bytes > 0);
	run->units++;
	run->last = unit->kind;
	if (bytes) {
		assert_ptr_equal(unit->bytes, front);
		digest_bytes(run, unit->bytes, unit->size_bytes);
		see_opaque(run, unit, 0, unit->size_bytes);
	} else if (unit->kind == MAIN_RAM) {
		see_ram(run, unit, front);
	} else {
		digest(run, (uint64_t)unit->kind);
		digest(run, unit->size_bytes);
		digest(run, unit->packaged);
	}
	if (unit->kind == MAIN_SECTION && unit->section.needs_length)
		main_stream_expect_payload(run->stream, DEVICE_BYTES);
}

static Run run_begin(const MainStreamOptions *options)
{
	Error err = ERROR_INIT;
	Run run = { .stream = main_stream_new(options, &err) };

	if (!run.stream)
		fail_msg("%s", err.text);
	return run;
}

static void run_end(Run *run)
{
	main_stream_free(run->stream);
	free(run->opaque);
}

/* Shows what stands from *at on in windows that grow by `growth`, up to `size`. */
static UnitResult run_on(Run *run, const uint8_t *bytes, size_t size, size_t growth, size_t *at,
			 Error *err)
{
	size_t window = 0;
	UnitResult result;
	MainUnit unit;

	for (;;) {
		if (window > size - *at)
			window = size - *at;
		result = main_stream_next(run->stream, bytes + *at, window, &unit, err);
		if (result == UNIT_WHOLE) {
			assert_int_equal(unit.at, *at);
			assert_true(unit.size_bytes <= window);
			see(run, &unit, bytes + *at);
			*at += unit.size_bytes;
			window = 0;
		} else if (result == UNIT_BAD || window == size - *at) {
			return result;
		} else {
			window += growth;
		}
	}
}

void judge_good(const MainStreamOptions *options, const Build *build, bool complete)
{
	Run run = run_begin(options);
	Error err = ERROR_INIT;
	size_t at = 0;

	if (run_on(&run, build->bytes.data, build->bytes.used, SIZE_MAX / 2, &at, &err) == UNIT_BAD)
		fail_msg("%s", err.text);
	assert_int_equal(at, build->bytes.used);
	assert_int_equal(main_stream_finish(run.stream, 0, &err), complete);
	run_end(&run);
}

void judge_bad(const MainStreamOptions *options, const Build *build, const char *text)
{
	Run run = run_begin(options);
	Error err = ERROR_INIT;
	char offset[64];
	size_t at = 0;
	MainUnit unit;

	if (run_on(&run, build->bytes.data, build->bytes.used, SIZE_MAX / 2, &at, &err) != UNIT_BAD)
		fail_msg("not refused: %s", text);
	support_check_error(&err, ERROR_PEER, text, __FILE__, __LINE__);
	snprintf(offset, sizeof(offset), "main channel, byte %zu", build->mark);
	support_check_error(&err, ERROR_PEER, offset, __FILE__, __LINE__);
	assert_int_equal(at, build->mark);
	/* Nothing makes it good again. */
	assert_int_equal(main_stream_next(run.stream, build->bytes.data, 0, &unit, &err), UNIT_BAD);
	assert_false(main_stream_finish(run.stream, 0, &err));
	run_end(&run);
}

MainStream *judge_unit(const MainStreamOptions *options, const Build *build, MainUnit *ret_unit)
{
	Run run = run_begin(options);
	Error err = ERROR_INIT;
	size_t at = 0;

	if (run_on(&run, build->bytes.data, build->mark, SIZE_MAX / 2, &at, &err) == UNIT_BAD)
		fail_msg("%s", err.text);
	assert_int_equal(at, build->mark);
	if (main_stream_next(run.stream, build->bytes.data + at, build->bytes.used - at, ret_unit,
			     &err) != UNIT_WHOLE)
		fail_msg("not a whole unit: %s", err.text);
	return run.stream;
}

/* --- cuts and flips --- */

static void judge_cut(const MainStreamOptions *options, const Build *build, size_t size)
{
	AUTO_FREE uint8_t *copy = malloc(size ? size : 1);
	Run run = run_begin(options);
	Error err = ERROR_INIT;
	size_t at = 0;

	assert_non_null(copy);
	memcpy(copy, build->bytes.data, size);
	if (run_on(&run, copy, size, SIZE_MAX / 2, &at, &err) == UNIT_BAD)
		fail_msg("cut at %zu: %s", size, err.text);
	assert_false(main_stream_finish(run.stream, size - at, &err));
	run_end(&run);
}

static void judge_flips(const MainStreamOptions *options, const Build *build, const uint8_t *opaque)
{
	AUTO_FREE uint8_t *copy = malloc(build->bytes.used);
	Error err = ERROR_INIT;

	assert_non_null(copy);
	memcpy(copy, build->bytes.data, build->bytes.used);
	for (size_t bit = 0; bit < build->bytes.used * 8; bit++) {
		Run run;
		size_t at = 0;

		if (opaque[bit / 8])
			continue;
		run = run_begin(options);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (run_on(&run, copy, build->bytes.used, SIZE_MAX / 2, &at, &err) == UNIT_BAD)
			assert_true(err.category == ERROR_PEER && err.text[0]);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		run_end(&run);
	}
}

void judge_all_cuts(const MainStreamOptions *options, const Build *build)
{
	Run whole = run_begin(options), single = run_begin(options);
	Error err = ERROR_INIT;
	size_t at = 0;

	whole.opaque = calloc(1, build->bytes.used);
	assert_non_null(whole.opaque);
	if (run_on(&whole, build->bytes.data, build->bytes.used, SIZE_MAX / 2, &at, &err) ==
	    UNIT_BAD)
		fail_msg("%s", err.text);
	assert_true(main_stream_finish(whole.stream, build->bytes.used - at, &err));
	at = 0;
	if (run_on(&single, build->bytes.data, build->bytes.used, 1, &at, &err) == UNIT_BAD)
		fail_msg("%s", err.text);
	assert_true(main_stream_finish(single.stream, build->bytes.used - at, &err));
	assert_true(single.units >= whole.units);
	assert_int_equal(single.digest, whole.digest);
	for (size_t size = 0; size < build->bytes.used; size++)
		judge_cut(options, build, size);
	judge_flips(options, build, whole.opaque);
	run_end(&whole);
	run_end(&single);
}
