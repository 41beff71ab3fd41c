/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration may have beside precopy: its words, and what goes together. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "guard/guard_internal.h"

static const char *const words[] = {
	[GUARD_POSTCOPY] = "postcopy-ram",	[GUARD_PREEMPT] = "postcopy-preempt",
	[GUARD_RECOVERY] = "postcopy-recovery", [GUARD_XBZRLE] = "xbzrle",
	[GUARD_ZLIB] = "multifd-zlib",		[GUARD_ZSTD] = "multifd-zstd",
	[GUARD_BITMAPS] = "dirty-bitmaps",	[GUARD_SWITCHOVER_ACK] = "switchover-ack",
};
static_assert(ARRAY_SIZE(words) == GUARD_FEATURE_COUNT, "a word for each feature");

const char *guard_feature_word(GuardFeature feature)
{
	return words[feature];
}

static bool add_word(const char *word, size_t size, uint32_t *agreed, Error *err)
{
	for (int i = 0; i < GUARD_FEATURE_COUNT; i++) {
		if (strlen(words[i]) != size || memcmp(words[i], word, size) != 0)
			continue;
		if (*agreed & GUARD_AGREED(i))
			return error_set(err, ERROR_USAGE, "feature %s comes twice", words[i]);
		*agreed |= GUARD_AGREED(i);
		return true;
	}
	return error_set(err, ERROR_USAGE, "feature %.*s is unknown", size > 64 ? 64 : (int)size,
			 word);
}

bool guard_features_parse(const char *text, uint32_t *ret_agreed, Error *err)
{
	uint32_t agreed = 0;

	for (const char *word = text; *text; word += strcspn(word, ",") + 1) {
		size_t size = strcspn(word, ",");

		if (!add_word(word, size, &agreed, err))
			return false;
		if (!word[size])
			break;
	}
	*ret_agreed = agreed;
	return true;
}

/* --- what goes together: migrate_caps_check (migration/options.c) --- */

typedef struct Pair {
	GuardFeature feature, other;
	bool needs; /* the other one; else they exclude each other */
} Pair;

static const Pair pairs[] = {
	{ GUARD_PREEMPT, GUARD_POSTCOPY, true }, { GUARD_RECOVERY, GUARD_POSTCOPY, true },
	{ GUARD_ZLIB, GUARD_ZSTD, false },	 { GUARD_XBZRLE, GUARD_ZLIB, false },
	{ GUARD_XBZRLE, GUARD_ZSTD, false },
};

bool guard_features_check_multifd(uint32_t agreed, unsigned int multifd_channels, Error *err)
{
	const uint32_t compressed = GUARD_AGREED(GUARD_ZLIB) | GUARD_AGREED(GUARD_ZSTD);

	if (agreed & compressed && !multifd_channels)
		return error_set(err, ERROR_INTERNAL, "guard: compression without multifd");
	if (agreed & GUARD_AGREED(GUARD_XBZRLE) && multifd_channels)
		return error_set(err, ERROR_INTERNAL, "guard: xbzrle with multifd");
	return true;
}

bool guard_features_check(const GuardExpected *expected, Error *err)
{
	if (expected->agreed >> GUARD_FEATURE_COUNT)
		return error_set(err, ERROR_INTERNAL,
				 "guard: features 0x%" PRIx32 ", 0x%x are known", expected->agreed,
				 (1u << GUARD_FEATURE_COUNT) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		bool has = expected->agreed & GUARD_AGREED(pairs[i].feature);
		bool has_other = expected->agreed & GUARD_AGREED(pairs[i].other);

		if (has && has_other != pairs[i].needs)
			return error_set(
				err, ERROR_INTERNAL, "guard: %s %s %s", words[pairs[i].feature],
				pairs[i].needs ? "without" : "with", words[pairs[i].other]);
	}
	if (expected->huge_block[0] &&
	    (expected->huge_page_bytes <= GUARD_PAGE_SIZE ||
	     expected->huge_page_bytes & (expected->huge_page_bytes - 1)))
		return error_set(err, ERROR_INTERNAL, "guard: huge pages of %" PRIu64 " bytes",
				 expected->huge_page_bytes);
	if (expected->nodes_count > GUARD_NODES_MAX)
		return error_set(err, ERROR_INTERNAL, "guard: %zu disks, at most %d may be",
				 expected->nodes_count, GUARD_NODES_MAX);
	return true;
}
