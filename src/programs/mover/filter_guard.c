/* SPDX-License-Identifier: Apache-2.0 */
/* The guard (guard/guard.h) as the mover's filter. */
#include "programs/mover/filter.h"

#include <string.h>

static void *open_guard(const FilterSetup *setup, Error *err)
{
	const GuardOptions options = {
		.mode = setup->guard == MOVER_GUARD_WARN ? GUARD_WARN : GUARD_ENFORCE,
		.side = setup->side == MOVER_SOURCE ? GUARD_SOURCE : GUARD_DESTINATION,
		.on_warning = setup->on_warning,
		.context = setup->context,
	};

	return guard_new(&options, setup->side == MOVER_SOURCE ? NULL : &setup->expected, err);
}

/* Once a channel was refused the guard refuses all others, which may be heard before it. A
 * violation begins with its rule's name. */
static bool refuse(Error *err)
{
	static const char rules[] = "guard-";

	if (err->category == ERROR_PEER && strncmp(err->text, rules, sizeof(rules) - 1) != 0)
		err->category = ERROR_CANCELLED;
	return false;
}

static bool take(void *context, unsigned int channel, const uint8_t *window, size_t size,
		 const GuardSink *sink, size_t *ret_taken, Error *err)
{
	return guard_take(context, channel, window, size, sink, ret_taken, err) || refuse(err);
}

static bool end(void *context, unsigned int channel, size_t left, Error *err)
{
	return guard_end(context, channel, left, err) || refuse(err);
}

static void counters(const void *context, GuardCounters *ret_counters)
{
	guard_counters(context, ret_counters);
}

static void close_guard(void *context)
{
	guard_free(context);
}

const StreamFilter filter_guard = {
	.name = "guard",
	.open = open_guard,
	.take = take,
	.end = end,
	.counters = counters,
	.close = close_guard,
};
