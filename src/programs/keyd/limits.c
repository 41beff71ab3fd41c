/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/limits.h"

#include <stdio.h>
#include <string.h>

enum { MICROS = 1000000, IDLE_US = 60 * MICROS };

typedef struct Share {
	const char *what;
	int64_t most; /* at once */
	int64_t per_second;
} Share;

static const Share shares[LIMITED_COUNT] = {
	[LIMITED_READ] = { "questions", LIMIT_KEY_READS_S, LIMIT_KEY_READS_S },
	[LIMITED_TRANSFER] = { "steps of a move", LIMIT_KEY_TRANSFERS, LIMIT_KEY_TRANSFERS_S },
	[LIMITED_CHANGE] = { "changes and openings", LIMIT_KEY_CHANGES, LIMIT_KEY_CHANGES_S },
};

static void fill(Bucket *bucket, const Share *share, int64_t factor, int64_t now_us)
{
	int64_t full = share->most * factor * MICROS;
	int64_t passed = now_us - bucket->filled_us;

	/* So long a pause fills any bucket, and a longer one would overflow. */
	if (!bucket->filled_us || passed > IDLE_US)
		bucket->micros = full;
	else if (passed > 0)
		bucket->micros += passed * share->per_second * factor;
	if (bucket->micros > full)
		bucket->micros = full;
	bucket->filled_us = now_us;
}

/* The caller's own, or a place that is free or idle; NULL if all are busy. */
static Caller *find(Limits *limits, const char *who, int64_t now_us)
{
	Caller *place = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(limits->callers); i++) {
		Caller *caller = &limits->callers[i];

		if (!strcmp(caller->who, who))
			return caller;
		if (!place && (!caller->who[0] || now_us - caller->last_us > IDLE_US))
			place = caller;
	}
	if (!place)
		return NULL;
	memset(place, 0, sizeof(*place));
	snprintf(place->who, sizeof(place->who), "%s", who);
	return place;
}

bool limits_take(Limits *limits, LimitKind kind, const char *who, int64_t now_us, Error *err)
{
	const Share *share = &shares[kind];
	Caller *caller = find(limits, who, now_us);
	Bucket *own = caller ? &caller->buckets[kind] : &limits->others[kind];

	if (caller)
		caller->last_us = now_us;
	fill(own, share, 1, now_us);
	fill(&limits->all[kind], share, LIMIT_KEY_CALLER_FACTOR, now_us);
	if (own->micros < MICROS)
		return error_set(err, ERROR_LIMIT,
				 "%s asks too often: %lld %s at once, then %lld in a second", who,
				 (long long)share->most, share->what, (long long)share->per_second);
	if (limits->all[kind].micros < MICROS)
		return error_set(
			err, ERROR_LIMIT, "the key manager is asked too often: %lld %s in a second",
			(long long)share->per_second * LIMIT_KEY_CALLER_FACTOR, share->what);
	own->micros -= MICROS;
	limits->all[kind].micros -= MICROS;
	return true;
}
