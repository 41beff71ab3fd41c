/* SPDX-License-Identifier: Apache-2.0 */
/* keys/ttlv.c: what ttlv_check accepts, ttlv_next can walk, to the last byte and within its bounds.
 */
#include "base/buffer.h"
#include "keys/ttlv.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_CHECK, REACHED_REFUSAL, REACHED_MATCH };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "ttlv_check", "a refusal", "ttlv_match" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

/* Into every structure, so that the walk sees all items one after the other. */
static void walk(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	size_t items = 0;

	while (reader.left) {
		Reader at = reader;
		const uint8_t *header;
		TtlvItem item;
		Error err = ERROR_INIT;

		if (!ttlv_next(&at, &item, &err) || ++items > TTLV_ITEMS_MAX)
			fuzz_fail("an item that was checked does not read");
		if (item.value < data || item.size > size - (size_t)(item.value - data))
			fuzz_fail("a value past the end");
		if (item.type != TTLV_STRUCTURE)
			reader = at;
		else if (!reader_skip(&reader, TTLV_HEADER_BYTES, &header))
			fuzz_fail("a structure without a header");
	}
}

static void match(const TtlvItem *top)
{
	static const TtlvField fields[] = {
		{ TAG_RESPONSE_HEADER, TTLV_OPTIONAL },
		{ TAG_REQUEST_HEADER, TTLV_OPTIONAL },
		{ TAG_BATCH_ITEM, TTLV_REPEATED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];
	Error err = ERROR_INIT;

	if (!ttlv_match(top, fields, ARRAY_SIZE(fields), items, &err))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		if (items[i].value &&
		    (items[i].value < top->value ||
		     items[i].size > top->size - (size_t)(items[i].value - top->value)))
			fuzz_fail("a field outside of its structure");
	fuzz_reached(REACHED_MATCH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	TtlvItem top;
	Error err = ERROR_INIT;

	if (!ttlv_check(data, size, &top, &err)) {
		if (err.category != ERROR_PEER)
			fuzz_fail(err.text);
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_CHECK);
	walk(data, size);
	match(&top);
	return 0;
}
