/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/guard_feed.h"

#include <string.h>

typedef struct Out {
	const uint8_t *bytes;
	size_t size, done;
} Out;

static bool write_out(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Out *out = context;

	(void)err;
	if (!size || size > out->size - out->done ||
	    memcmp(bytes, out->bytes + out->done, size) != 0)
		fuzz_fail("something else came out");
	out->done += size;
	return true;
}

bool fuzz_guard_feed(Guard *guard, GuardMode mode, unsigned int channel, FuzzPieces pieces,
		     const uint8_t *data, size_t size, size_t *ret_out, Error *err)
{
	Out out = { .bytes = data, .size = size };
	const GuardSink sink = { .write = write_out, .context = &out };
	size_t at = 0, shown = 0, taken, more;
	bool ok = true;

	while (ok && shown < size) {
		more = fuzz_pieces_next(&pieces, shown);
		shown = more < size - shown ? shown + more : size;
		taken = 0;
		ok = guard_take(guard, channel, data + at, shown - at, &sink, &taken, err);
		if (taken > shown - at)
			fuzz_fail("more was taken than shown");
		at += taken;
		if (ok && shown - at >= GUARD_WINDOW)
			fuzz_fail("a window was not enough");
	}
	ok = ok && guard_end(guard, channel, size - at, err);
	if (ok && mode == GUARD_ENFORCE && out.done != size)
		fuzz_fail("bytes stayed behind");
	if (!ok && (err->category != ERROR_PEER || strncmp(err->text, "guard-", 6) != 0))
		fuzz_fail("a refusal without a rule");
	if (!ok && mode == GUARD_WARN)
		fuzz_fail("mode warn refused");
	*ret_out = out.done;
	return ok;
}

void fuzz_guard_show(Guard *guard, unsigned int channel, const uint8_t *data, size_t size)
{
	Out out = { .bytes = data, .size = size };
	const GuardSink sink = { .write = write_out, .context = &out };
	Error err = ERROR_INIT;
	size_t taken = 0;

	if (!guard_take(guard, channel, data, size, &sink, &taken, &err) || taken != size)
		fuzz_fail(err.category ? err.text : "not all that came before was taken");
}

bool fuzz_guard_same_rule(const Error *a, const Error *b)
{
	const size_t length = strcspn(a->text, ":");

	return length == strcspn(b->text, ":") && !strncmp(a->text, b->text, length);
}
