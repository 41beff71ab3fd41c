/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/main.c and what it stands on: pieces (stream.h), a byte that says what was agreed,
 * then a main channel, in which a device's payload has as many bytes as the low byte of its
 * instance.
 */
#include <string.h>

#include "qemustream/main.h"
#include "tests/fuzz/stream.h"

enum {
	PAGE = 4096,
	AGREED_MULTIFD = 0x01,
	AGREED_XBZRLE = 0x02,
	AGREED_POSTCOPY = 0x04,
	AGREED_BITMAPS = 0x08,
	AGREED_IGNORE_SHARED = 0x10,
	AGREED_HOLD = 0x20, /* the first payload that may be held is, and shown again */
	AGREED_OLD = 0x40,
	AGREED_RESUME = 0x80, /* where the stream stops it is taken up again */
};

enum {
	REACHED_KIND,
	REACHED_RAM = REACHED_KIND + MAIN_KIND_COUNT,
	REACHED_COMMAND = REACHED_RAM + RAM_KIND_COUNT,
	REACHED_PACKAGED,
	REACHED_END,
	REACHED_RESUMED,
	REACHED_COUNT,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *names[REACHED_COUNT] = {
		[REACHED_RAM + RAM_MEM_SIZE] = "ram mem_size",
		[REACHED_RAM + RAM_BLOCK] = "ram block",
		[REACHED_RAM + RAM_ZERO] = "ram zero",
		[REACHED_RAM + RAM_PAGE] = "ram page",
		[REACHED_RAM + RAM_XBZRLE] = "ram xbzrle",
		[REACHED_RAM + RAM_MULTIFD_FLUSH] = "ram multifd_flush",
		[REACHED_RAM + RAM_EOS] = "ram eos",
		[REACHED_COMMAND] = "discarded range",
		[REACHED_PACKAGED] = "unit in a package",
		[REACHED_END] = "complete stream",
		[REACHED_RESUMED] = "resumed stream",
	};

	(void)argc;
	(void)argv;
	for (int kind = 0; kind < MAIN_KIND_COUNT; kind++)
		names[REACHED_KIND + kind] = main_kind_word((MainKind)kind);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

typedef struct Run {
	MainStream *stream;
	bool hold, held;
	size_t held_at;	    /* where the held payload begins */
	uint64_t held_size; /* what is said of it once it is shown again */
	uint64_t digest;
} Run;

static void digest(Run *run, uint64_t value)
{
	run->digest = (run->digest ^ value) * UINT64_C(0x100000001b3);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		fuzz_fail(what);
}

static void judge_page(Run *run, const RamUnit *ram, const uint8_t *page, const uint8_t *front)
{
	must(page >= front && page + PAGE <= front + ram->size_bytes, "a page past its unit");
	digest(run, (uint64_t)page[0] << 8 | page[PAGE - 1]);
}

static void judge_ram(Run *run, const RamUnit *ram, const uint8_t *front)
{
	const RamBlocks *blocks = main_stream_blocks(run->stream);

	fuzz_reached(REACHED_RAM + (size_t)ram->kind);
	must(blocks->count <= RAM_BLOCKS_MAX, "too many blocks");
	if (ram->kind == RAM_BLOCK)
		must(ram->block + 1 == blocks->count && blocks->items[ram->block].used_length,
		     "a block that is none");
	if (!ram->count) {
		digest(run, (uint64_t)ram->kind);
		return;
	}
	must(ram->block < blocks->count && !(ram->offset % PAGE), "a page of no block");
	must(ram->offset + (uint64_t)ram->count * PAGE <= blocks->items[ram->block].used_length,
	     "a page past its block");
	for (uint32_t i = 0; i < ram->count; i++) {
		/* Flags stand below the page. */
		digest(run, (ram->offset + (uint64_t)i * PAGE) | (uint64_t)ram->kind);
		if (ram->kind == RAM_PAGE)
			judge_page(run, ram, ram->bytes + i * ram->stride_bytes, front);
	}
}

static void judge_command(Run *run, const CommandUnit *command)
{
	const RamBlocks *blocks = main_stream_blocks(run->stream);

	digest(run, (uint64_t)command->kind);
	for (size_t i = 0; i < command->n_ranges; i++) {
		CommandRange range = command_get_range(command, i);
		uint64_t size = blocks->items[command->block].used_length;

		fuzz_reached(REACHED_COMMAND);
		must(range.length && range.start < size && range.length <= size - range.start,
		     "a range past its block");
	}
}

static void answer_section(Run *run, const MainUnit *unit)
{
	uint64_t size = unit->section.instance_id & 0xff;

	if (!unit->section.needs_length)
		return;
	if (!run->hold || run->held || !main_stream_may_hold(run->stream)) {
		main_stream_expect_payload(run->stream, size);
		return;
	}
	run->held = true;
	run->held_at = (size_t)unit->at + unit->size_bytes;
	run->held_size = size;
	main_stream_hold_tail(run->stream);
}

static void judge(Run *run, const MainUnit *unit, const uint8_t *front)
{
	fuzz_reached(REACHED_KIND + (size_t)unit->kind);
	if (unit->packaged)
		fuzz_reached(REACHED_PACKAGED);
	if (unit->kind == MAIN_RAM) {
		judge_ram(run, &unit->ram, front);
		return;
	}
	if (unit->kind == MAIN_PAYLOAD || unit->kind == MAIN_VMDESC_BYTES ||
	    unit->kind == MAIN_TAIL) {
		for (size_t i = 0; i < unit->size_bytes; i++)
			digest(run, unit->bytes[i]);
		return;
	}
	digest(run, (uint64_t)unit->kind << 32 | unit->size_bytes);
	if (unit->kind == MAIN_COMMAND)
		judge_command(run, &unit->command);
	if (unit->kind == MAIN_SECTION)
		answer_section(run, unit);
}

/* From *at on until nothing more can be had. */
static UnitResult run_on(Run *run, const uint8_t *bytes, size_t size, FuzzPieces *pieces,
			 size_t *at)
{
	size_t window = 0, more;
	UnitResult result;
	MainUnit unit;
	Error err = ERROR_INIT;

	while (!main_stream_tail_is_complete(run->stream)) {
		if (window > size - *at)
			window = size - *at;
		result = main_stream_next(run->stream, bytes + *at, window, &unit, &err);
		if (result == UNIT_WHOLE) {
			must(unit.size_bytes && unit.size_bytes <= window,
			     "a unit past its window");
			judge(run, &unit, bytes + *at);
			*at += unit.size_bytes;
			window = 0;
			continue;
		}
		if (result == UNIT_BAD) {
			must(err.category == ERROR_PEER && err.text[0],
			     "a refusal without a reason");
			must(main_stream_next(run->stream, bytes, 0, &unit, &err) == UNIT_BAD,
			     "a refused stream goes on");
			return UNIT_BAD;
		}
		if (window == size - *at)
			return UNIT_MORE;
		must(window < UNIT_WINDOW, "a unit longer than any");
		more = fuzz_pieces_next(pieces, *at + window);
		window = more < UNIT_WINDOW - window ? window + more : UNIT_WINDOW;
	}
	return UNIT_MORE;
}

/* Returns at which byte it ended. */
static size_t run_all(Run *run, const MainStreamOptions *options, uint8_t agreed,
		      const uint8_t *bytes, size_t size, FuzzPieces pieces)
{
	Error err = ERROR_INIT;
	UnitResult result;
	size_t at = 0;

	run->stream = main_stream_new(options, &err);
	must(run->stream, "no stream");
	run->hold = agreed & AGREED_HOLD;
	result = run_on(run, bytes, size, &pieces, &at);
	if (result == UNIT_MORE && run->held) {
		main_stream_release_tail(run->stream);
		main_stream_expect_payload(run->stream, run->held_size);
		at = run->held_at;
		result = run_on(run, bytes, size, &pieces, &at);
	}
	if (result == UNIT_MORE && agreed & AGREED_RESUME &&
	    main_stream_resume(run->stream, &err)) {
		fuzz_reached(REACHED_RESUMED);
		result = run_on(run, bytes, size, &pieces, &at);
	}
	if (main_stream_finish(run->stream, size - at, &err)) {
		must(result == UNIT_MORE && at == size, "a complete stream that is not");
		fuzz_reached(REACHED_END);
	}
	main_stream_free(run->stream);
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MainStreamOptions options = { .page_size = PAGE };
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	Run large = { 0 }, small = { 0 };
	uint8_t agreed;

	if (!size)
		return 0;
	agreed = data[0];
	options.multifd = agreed & AGREED_MULTIFD;
	options.xbzrle = agreed & AGREED_XBZRLE;
	options.postcopy = agreed & AGREED_POSTCOPY;
	options.dirty_bitmaps = agreed & AGREED_BITMAPS;
	options.ignore_shared = agreed & AGREED_IGNORE_SHARED;
	options.without_configuration = options.without_footers = agreed & AGREED_OLD;
	if (run_all(&large, &options, agreed, data + 1, size - 1, (FuzzPieces){ .whole = true }) !=
	    run_all(&small, &options, agreed, data + 1, size - 1, pieces))
		fuzz_fail("windows of another size end at another byte");
	must(large.digest == small.digest, "windows of another size show other units");
	return 0;
}
