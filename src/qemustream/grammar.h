/* SPDX-License-Identifier: Apache-2.0 */
/* What the decoders of the main and the preempt channel share: refusals and counted strings. */
#ifndef SEALIFT_QEMUSTREAM_GRAMMAR_H
#define SEALIFT_QEMUSTREAM_GRAMMAR_H

#include "base/buffer.h"
#include "qemustream/unit.h"

/* Sets err, ERROR_PEER, and returns UNIT_BAD. The decoder on top prefixes where in which stream. */
UnitResult grammar_bad(Error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Takes a counted string of 1..255 bytes of printable ASCII, which is all that QEMU gives sections,
 * RAM blocks, nodes and bitmaps. UNIT_MORE leaves the reader anywhere. `what` is for the refusal.
 */
UnitResult grammar_get_name(Reader *reader, const char *what, UnitName *ret_name, Error *err);

bool grammar_name_is(UnitName name, const char *text);
bool grammar_names_equal(UnitName a, UnitName b);

/* For "%.*s". */
#define NAME_ARGS(name) (int)(name).size, (name).bytes

#endif
