/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/configuration.c: pieces (stream.h), then the machine type and its subsections, up to
 * the first byte that begins something else. */
#include "qemustream/configuration.h"
#include "tests/fuzz/stream.h"

enum { TAG_SUBSECTION = 5, PAGE_BITS_MAX = 16, REACHED_SHARED = CONFIGURATION_KIND_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* By ConfigurationKind, then what may be in one. */
	static const char *const names[] = { "machine", "page bits", "capabilities", "uuid",
					     "x-ignore-shared" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

typedef struct Decoder {
	bool begun;
	ConfigurationKind last;
} Decoder;

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	Decoder *decoder = context;
	ConfigurationUnit unit = { 0 };
	UnitResult result;

	if (decoder->begun && (!size || window[0] != TAG_SUBSECTION))
		return UNIT_MORE;
	result = decoder->begun
			 ? configuration_next_subsection(decoder->last, window, size, &unit, err)
			 : configuration_next_machine(window, size, &unit, err);
	if (result != UNIT_WHOLE)
		return result;
	if (decoder->begun && unit.kind <= decoder->last)
		fuzz_fail("a subsection that came before");
	if (unit.page_bits > PAGE_BITS_MAX || (!decoder->begun && !unit.machine.size))
		fuzz_fail("a configuration past its bounds");
	*ret_used = unit.size_bytes;
	decoder->begun = true;
	decoder->last = unit.kind;
	fuzz_reached(unit.kind);
	if (unit.ignore_shared)
		fuzz_reached(REACHED_SHARED);
	fuzz_digest(summary, unit.kind);
	fuzz_digest(summary, unit.page_bits);
	fuzz_digest(summary, unit.ignore_shared);
	fuzz_digest_bytes(summary, unit.machine.bytes, unit.machine.size);
	fuzz_digest_bytes(summary, unit.uuid, sizeof(unit.uuid));
	return result;
}

static FuzzSummary decode(FuzzPieces pieces, const uint8_t *data, size_t size)
{
	Decoder decoder = { 0 };

	/* Behind the configuration anything may stand, of any length. */
	return fuzz_decode(next, &decoder, pieces, data, size, SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole = decode((FuzzPieces){ .whole = true }, data, size);
	FuzzSummary cut = decode(pieces, data, size);

	fuzz_same(&whole, &cut);
	return 0;
}
