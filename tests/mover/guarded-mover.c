/* SPDX-License-Identifier: Apache-2.0 */
/* A mover as the product's, but with a filter, with keys that are soon used up, padded records and
 * a short time for proofs: what else would take too long or could not be seen. */
#include <stdlib.h>
#include <string.h>

#include "programs/mover/mover.h"

typedef struct Guard {
	uint64_t next[LIMIT_CHANNELS]; /* offset that must come next */
	bool ended[LIMIT_CHANNELS];
} Guard;

static void *guard_open(size_t channels, Error *err)
{
	Guard *guard = calloc(1, sizeof(*guard));

	if (!guard || channels > LIMIT_CHANNELS) {
		free(guard);
		error_set(err, ERROR_INTERNAL, "no memory for the guard");
		return NULL;
	}
	return guard;
}

static bool guard_judge(void *context, const FilterPiece *piece, Error *err)
{
	Guard *guard = context;

	if (guard->ended[piece->channel] || piece->offset != guard->next[piece->channel])
		return error_set(err, ERROR_INTERNAL, "piece at %llu, expected %llu",
				 (unsigned long long)piece->offset,
				 (unsigned long long)guard->next[piece->channel]);
	guard->next[piece->channel] += piece->size;
	guard->ended[piece->channel] = !piece->size;
	if (piece->direction == KEYS_TO_DESTINATION &&
	    memmem(piece->bytes, piece->size, "POISON", 6))
		return error_set(err, ERROR_PEER, "poison at byte %llu",
				 (unsigned long long)piece->offset);
	return true;
}

static void guard_close(void *context)
{
	free(context);
}

int main(int argc, char **argv)
{
	static const StreamFilter filters[] = {
		{ "test-guard", guard_open, guard_judge, guard_close },
	};
	const MoverConfig config = {
		.filters = filters,
		.filters_count = 1,
		.limits = { .records = 8, .blocks = 1 << 17 },
		.padding = 512,
		.proof_us = 200000,
	};

	return mover_main(argc, argv, &config);
}
