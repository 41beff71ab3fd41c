/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/filter.h"

bool filter_open(Filter *filter, const StreamFilter *row, const FilterSetup *setup, Error *err)
{
	*filter = (Filter){ .row = NULL };
	if (!row)
		return true;
	filter->context = row->open(setup, err);
	if (!filter->context)
		return error_prefix(err, "%s", row->name);
	filter->row = row;
	return true;
}

/* What else fails in a filter, as a socket of QEMU that it writes to, is no refusal. */
static bool refuse(const StreamFilter *row, Error *err)
{
	return err->category == ERROR_PEER ? error_prefix(err, "%s refuses", row->name) : false;
}

bool filter_take(const Filter *filter, unsigned int channel, const uint8_t *window, size_t size,
		 const GuardSink *sink, size_t *ret_taken, Error *err)
{
	const StreamFilter *row = filter->row;

	if (!row) {
		*ret_taken = size;
		return sink->write(sink->context, window, size, err);
	}
	*ret_taken = 0;
	if (!row->take(filter->context, channel, window, size, sink, ret_taken, err))
		return refuse(row, err);
	if (*ret_taken > size || size - *ret_taken >= FILTER_REST_MAX)
		return error_set(err, ERROR_INTERNAL, "%s took %zu bytes of %zu", row->name,
				 *ret_taken, size);
	return true;
}

bool filter_end(const Filter *filter, unsigned int channel, size_t left, Error *err)
{
	if (!filter->row || filter->row->end(filter->context, channel, left, err))
		return true;
	return refuse(filter->row, err);
}

bool filter_watch(const Filter *filter, unsigned int channel, const uint8_t *bytes, size_t size,
		  Error *err)
{
	return !filter->row || !filter->row->watch ||
	       filter->row->watch(filter->context, channel, bytes, size, err);
}

bool filter_watch_end(const Filter *filter, unsigned int channel, Error *err)
{
	return !filter->row || !filter->row->watch_end ||
	       filter->row->watch_end(filter->context, channel, err);
}

bool filter_is_open(const Filter *filter, unsigned int channel)
{
	return !filter->row || !filter->row->is_open ||
	       filter->row->is_open(filter->context, channel);
}

void filter_counters(const Filter *filter, GuardCounters *ret_counters)
{
	*ret_counters = (GuardCounters){ .ram_pages = 0 };
	if (filter->row && filter->row->counters)
		filter->row->counters(filter->context, ret_counters);
}

void filter_close(Filter *filter)
{
	if (filter->row)
		filter->row->close(filter->context);
	*filter = (Filter){ .row = NULL };
}
