/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/filter.h"

#include <assert.h>

bool filter_open(FilterChain *chain, const StreamFilter *filters, size_t count, size_t channels,
		 Error *err)
{
	assert(count <= FILTER_MAX);
	*chain = (FilterChain){ .filters = filters };
	for (; chain->count < count; chain->count++) {
		const StreamFilter *filter = &filters[chain->count];

		chain->contexts[chain->count] = filter->open(channels, err);
		if (!chain->contexts[chain->count]) {
			filter_close(chain);
			return error_prefix(err, "%s", filter->name);
		}
	}
	return true;
}

bool filter_judge(const FilterChain *chain, const FilterPiece *piece, Error *err)
{
	for (size_t i = 0; i < chain->count; i++)
		if (!chain->filters[i].judge(chain->contexts[i], piece, err))
			return error_prefix(err, "%s refuses", chain->filters[i].name);
	return true;
}

void filter_close(FilterChain *chain)
{
	while (chain->count) {
		chain->count--;
		chain->filters[chain->count].close(chain->contexts[chain->count]);
	}
}
