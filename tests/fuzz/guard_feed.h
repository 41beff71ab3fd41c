/* SPDX-License-Identifier: Apache-2.0 */
/* Shows a guard one channel, piece by piece, as a mover does. */
#ifndef SEALIFT_TESTS_FUZZ_GUARD_FEED_H
#define SEALIFT_TESTS_FUZZ_GUARD_FEED_H

#include "guard/guard.h"
#include "tests/fuzz/stream.h"

/*
 * Feeds all of it and the end. What comes out must be what went in, *ret_out bytes of it; a window
 * of GUARD_WINDOW must do; a refusal must be by a rule, whose text is left in err, and in mode warn
 * there is none. Returns whether it was accepted.
 */
bool fuzz_guard_feed(Guard *guard, GuardMode mode, unsigned int channel, FuzzPieces pieces,
		     const uint8_t *data, size_t size, size_t *ret_out, Error *err);

/* What a channel had before, at once and without an end. It must be fine. */
void fuzz_guard_show(Guard *guard, unsigned int channel, const uint8_t *data, size_t size);

/* Whether both texts begin with the same rule: what follows its colon may count bytes that came. */
bool fuzz_guard_same_rule(const Error *a, const Error *b);

#endif
