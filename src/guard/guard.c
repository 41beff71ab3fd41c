/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_internal.h"

/* --- new and free --- */

static bool read_twin(Guard *guard, const GuardExpected *expected, Error *err)
{
	GuardTwin twin = { .blocks = &guard->blocks };
	bool ok = guard_twin_read(expected, &twin, err);

	if (ok && expected->dump_size) {
		guard->dump = dump_vmstate_parse(expected->dump, expected->dump_size, err);
		ok = guard->dump != NULL;
	}
	if (ok) {
		memcpy(guard->early, twin.early, sizeof(guard->early));
		guard->early_count = twin.early_count;
		guard->total_pages = guard->blocks.max_bytes / GUARD_PAGE_SIZE;
		guard->device =
			guard_device_new(twin.state.data, twin.state.used, guard->dump, err);
	}
	buffer_clear(&twin.state);
	if (guard->device)
		return true;
	err->category = ERROR_INTERNAL;
	return error_prefix(err, "guard: what this host's QEMU says of its devices");
}

/* Which channel is what. */
static bool read_channels(Guard *guard, const GuardExpected *expected, Error *err)
{
	unsigned int least = 1 + (guard_has(guard, GUARD_PREEMPT) ? 1 : 0);

	if (expected->channels < least || expected->channels > LIMIT_STREAM_CHANNELS)
		return error_set(err, ERROR_INTERNAL, "guard: %u channels, %u to %d may be",
				 expected->channels, least, LIMIT_STREAM_CHANNELS);
	guard->channels_count = expected->channels;
	guard->multifd_count = expected->channels - least;
	return guard_features_check(expected, err) &&
	       guard_features_check_multifd(guard->agreed, guard->multifd_count, err);
}

static bool read_expected(Guard *guard, const GuardExpected *expected, Error *err)
{
	memcpy(guard->machine, expected->machine, sizeof(guard->machine));
	guard->has_uuid = expected->has_uuid;
	memcpy(guard->uuid, expected->uuid, sizeof(guard->uuid));
	return read_channels(guard, expected, err) && guard_bitmaps_open(guard, expected, err) &&
	       read_twin(guard, expected, err);
}

/* What both sides look at. */
static void read_agreed(Guard *guard, const GuardExpected *expected)
{
	guard->agreed = expected->agreed;
	snprintf(guard->huge_block, sizeof(guard->huge_block), "%.*s",
		 (int)sizeof(guard->huge_block) - 1, expected->huge_block);
	guard->huge_page_bytes = expected->huge_page_bytes;
	if (guard->huge_block[0])
		guard->huge_blocks[0] = guard->huge_block;
}

static bool make_main(Guard *guard, Error *err)
{
	const MainStreamOptions main = {
		.page_size = GUARD_PAGE_SIZE,
		.multifd = guard->multifd_count > 0,
		.xbzrle = guard_has(guard, GUARD_XBZRLE),
		.postcopy = guard_has(guard, GUARD_POSTCOPY),
		.dirty_bitmaps = guard_has(guard, GUARD_BITMAPS),
		.other_page_size = guard->huge_blocks,
		.package_max = UINT32_MAX, /* a rule holds it */
	};

	guard->main.stream = main_stream_new(&main, err);
	return guard->main.stream != NULL;
}

static bool make_channels(Guard *guard, Error *err)
{
	for (unsigned int i = 0; i < LIMIT_STREAM_CHANNELS; i++) {
		if (i && i < guard->channels_count &&
		    !guard_multifd_open(guard, &guard->channels[i], err))
			return false;
		preempt_stream_init(&guard->channels[i].preempt,
				    main_stream_blocks(guard->main.stream), GUARD_PAGE_SIZE);
	}
	return true;
}

static bool open_source(Guard *guard, const GuardExpected *expected, Error *err)
{
	return (!expected || guard_features_check(expected, err)) && guard_return_open(guard, err);
}

Guard *guard_new(const GuardOptions *options, const GuardExpected *expected, Error *err)
{
	AUTO_GUARD Guard *guard = calloc(1, sizeof(*guard));

	if (!guard) {
		error_set(err, ERROR_INTERNAL, "no memory for a guard");
		return NULL;
	}
	pthread_mutex_init(&guard->lock, NULL);
	guard->options = *options;
	if (!options->held_max_bytes)
		guard->options.held_max_bytes = GUARD_HELD_MAX;
	guard->main.held = BUFFER_INIT((size_t)guard->options.held_max_bytes);
	guard->main.early = BUFFER_INIT((size_t)guard->options.held_max_bytes);
	guard->channels_count = LIMIT_STREAM_CHANNELS;
	for (unsigned int i = 0; i < LIMIT_STREAM_CHANNELS; i++)
		guard->channels[i].index = i;
	if (expected)
		read_agreed(guard, expected);
	if (options->side == GUARD_SOURCE)
		return open_source(guard, expected, err) ? TAKE_PTR(guard) : NULL;
	assert(expected);
	/* Drawn from the kernel once, so that no sandbox has to allow it later. */
	json_object_seed(0);
	if (!read_expected(guard, expected, err) || !make_main(guard, err) ||
	    !make_channels(guard, err))
		return NULL;
	return TAKE_PTR(guard);
}

void guard_free(Guard *guard)
{
	if (!guard)
		return;
	for (unsigned int i = 0; i < LIMIT_STREAM_CHANNELS; i++)
		guard_multifd_close(&guard->channels[i]);
	guard_return_close(guard);
	guard_bitmaps_close(&guard->bitmaps);
	main_stream_free(guard->main.stream);
	buffer_clear(&guard->main.held);
	buffer_clear(&guard->main.early);
	guard_device_free(guard->device);
	dump_vmstate_free(guard->dump);
	pthread_mutex_destroy(&guard->lock);
	free(guard);
}

/* --- what channels share --- */

GuardBlock *guard_blocks_find(GuardBlocks *blocks, UnitName name)
{
	for (size_t i = 0; i < blocks->count; i++)
		if (strlen(blocks->items[i].name) == name.size &&
		    !memcmp(blocks->items[i].name, name.bytes, name.size))
			return &blocks->items[i];
	return NULL;
}

uint64_t guard_page_bytes(const Guard *guard, const char *block)
{
	return guard->huge_block[0] && !strcmp(block, guard->huge_block) ? guard->huge_page_bytes
									 : GUARD_PAGE_SIZE;
}

/* With the lock held. */
static bool judge_identity(Guard *guard, const uint8_t *uuid, int id, const char *where, Error *err)
{
	char theirs[2 * GUARD_UUID_SIZE + 1], ours[2 * GUARD_UUID_SIZE + 1];

	if (id >= 0 && guard->ids & UINT32_C(1) << id)
		return guard_violation(err, GUARD_RULE_MULTIFD_ID,
				       "%s: id %d, which another channel has", where, id);
	if (!guard->has_uuid) {
		guard->has_uuid = true;
		memcpy(guard->uuid, uuid, GUARD_UUID_SIZE);
	}
	hex_encode(uuid, GUARD_UUID_SIZE, theirs);
	hex_encode(guard->uuid, GUARD_UUID_SIZE, ours);
	if (memcmp(uuid, guard->uuid, GUARD_UUID_SIZE) != 0)
		return guard_violation(err, GUARD_RULE_UUID, "%s: UUID %s, expected %s", where,
				       theirs, ours);
	if (id >= 0)
		guard->ids |= UINT32_C(1) << id;
	return true;
}

bool guard_judge_identity(Guard *guard, const uint8_t *uuid, int id, const char *where, Error *err)
{
	bool ok;

	pthread_mutex_lock(&guard->lock);
	ok = judge_identity(guard, uuid, id, where, err);
	pthread_mutex_unlock(&guard->lock);
	return ok;
}

/* --- take --- */

static bool judge_no_return(const GuardChannel *channel, size_t size, Error *err)
{
	if (!size)
		return true;
	return guard_violation(err, GUARD_RULE_RETURN_CHANNEL,
			       "channel %u, byte 0: %zu bytes came back, expected 0",
			       channel->index, size);
}

static bool judge(Guard *guard, GuardChannel *channel, const uint8_t *window, size_t size,
		  GuardFlow *flow, Error *err)
{
	if (guard->options.side == GUARD_SOURCE)
		return channel->index ? judge_no_return(channel, size, err)
				      : guard_return_take(guard, window, size, flow, err);
	if (guard_is_preempt(guard, channel->index))
		return guard_preempt_take(guard, channel, window, size, flow, err);
	return channel->index ? guard_multifd_take(guard, channel, window, size, flow, err)
			      : guard_main_take(guard, window, size, flow, err);
}

static bool write_to(const GuardSink *sink, const uint8_t *bytes, size_t size, Error *err)
{
	return !size || sink->write(sink->context, bytes, size, err);
}

/* Mode warn: one line, and from now on nobody looks at this channel. */
static void warn(Guard *guard, GuardChannel *channel, const Error *violation)
{
	channel->unjudged = true;
	if (guard->options.side == GUARD_DESTINATION && !channel->index) {
		atomic_store_explicit(&guard->main_syncs, UINT64_MAX, memory_order_relaxed);
		/* The blocks may never be known now. */
		if (guard_has(guard, GUARD_PREEMPT))
			guard->channels[guard->channels_count - 1].follows_main = true;
	}
	atomic_fetch_add_explicit(&guard->warnings, 1, memory_order_relaxed);
	if (guard->options.on_warning)
		guard->options.on_warning(guard->options.context, violation->text);
}

/* What is held, and all that nobody has looked at. */
static bool pass_on(Guard *guard, GuardChannel *channel, const uint8_t *rest, size_t size,
		    const GuardSink *sink, Error *err)
{
	bool is_main = guard->options.side == GUARD_DESTINATION && !channel->index;
	Buffer *held = is_main ? &guard->main.held : &channel->multifd.held;

	if (!write_to(sink, held->data, held->used, err))
		return false;
	buffer_clear(held);
	return write_to(sink, rest, size, err);
}

static bool take(Guard *guard, GuardChannel *channel, const uint8_t *window, size_t size,
		 const GuardSink *sink, GuardFlow *flow, Error *err)
{
	if (channel->unjudged || channel->follows_main) {
		*flow = (GuardFlow){ .taken = size, .forward = size };
	} else if (!judge(guard, channel, window, size, flow, err)) {
		size_t taken = flow->taken;

		if (guard->options.mode == GUARD_ENFORCE || err->category == ERROR_INTERNAL)
			return false;
		warn(guard, channel, err);
		flow->taken = size;
		return write_to(sink, window, flow->forward, err) &&
		       pass_on(guard, channel, window + taken, size - taken, sink, err);
	}
	return write_to(sink, window, flow->forward, err) &&
	       write_to(sink, flow->release, flow->release_size, err);
}

/* What was held is written: the memory of device state is given back, that of packets is used
 * again. */
static void drop_released(const Guard *guard, const GuardFlow *flow)
{
	if (flow->from == &guard->main.held)
		buffer_clear(flow->from);
	else
		buffer_consume(flow->from, flow->release_size);
}

bool guard_take(Guard *guard, unsigned int channel, const uint8_t *window, size_t size,
		const GuardSink *sink, size_t *ret_taken, Error *err)
{
	GuardFlow flow;
	size_t taken = 0;

	assert(channel < guard->channels_count);
	if (atomic_load_explicit(&guard->broken, memory_order_relaxed))
		return error_set(err, ERROR_PEER, "guard: channel %u: this migration was refused",
				 channel);
	/* What is released was held before, and its last byte came from this window. */
	do {
		flow = (GuardFlow){ 0 };
		if (!take(guard, &guard->channels[channel], window + taken, size - taken, sink,
			  &flow, err)) {
			atomic_store_explicit(&guard->broken, true, memory_order_relaxed);
			return false;
		}
		taken += flow.taken;
		if (flow.from)
			drop_released(guard, &flow);
	} while (flow.from);
	*ret_taken = taken;
	return true;
}

bool guard_resume(Guard *guard, Error *err)
{
	if (!guard_has(guard, GUARD_RECOVERY) ||
	    atomic_load_explicit(&guard->broken, memory_order_relaxed))
		return error_set(err, ERROR_CONFLICT, "guard: %s",
				 guard_has(guard, GUARD_RECOVERY) ? "this migration was refused"
								  : "no recovery was agreed");
	if (guard->options.side == GUARD_SOURCE)
		return guard_return_resume(guard, err);
	if (!main_stream_resume(guard->main.stream, err))
		return false;
	guard->main.bitmaps_asked = 0;
	for (unsigned int i = 1; i < guard->channels_count; i++)
		preempt_stream_init(&guard->channels[i].preempt,
				    main_stream_blocks(guard->main.stream), GUARD_PAGE_SIZE);
	return true;
}

/* --- end --- */

static bool judge_end(const Guard *guard, const GuardChannel *channel, size_t left, Error *err)
{
	if (guard->options.side == GUARD_SOURCE)
		return channel->index ? judge_no_return(channel, left, err)
				      : guard_return_end(guard, left, err);
	if (guard_is_preempt(guard, channel->index))
		return guard_preempt_end(channel, left, err);
	return channel->index ? guard_multifd_end(channel, left, err)
			      : guard_main_end(guard, left, err);
}

bool guard_end(Guard *guard, unsigned int channel, size_t left, Error *err)
{
	GuardChannel *ended = &guard->channels[channel];

	assert(channel < guard->channels_count);
	if (atomic_load_explicit(&guard->broken, memory_order_relaxed))
		return error_set(err, ERROR_PEER, "guard: channel %u: this migration was refused",
				 channel);
	if (ended->unjudged || ended->follows_main || judge_end(guard, ended, left, err))
		return true;
	if (guard->options.mode == GUARD_WARN && err->category != ERROR_INTERNAL) {
		warn(guard, ended, err);
		return true;
	}
	atomic_store_explicit(&guard->broken, true, memory_order_relaxed);
	return false;
}

/* --- counters --- */

void guard_counters(const Guard *guard, GuardCounters *ret_counters)
{
	GuardCounters counters = {
		.device_bytes = atomic_load_explicit(&guard->device_bytes, memory_order_relaxed),
		.device_sections =
			atomic_load_explicit(&guard->device_sections, memory_order_relaxed),
		.warnings = atomic_load_explicit(&guard->warnings, memory_order_relaxed),
		.judging_us = atomic_load_explicit(&guard->judging_us, memory_order_relaxed),
	};

	for (size_t i = 0; i < ARRAY_SIZE(guard->channels); i++) {
		const GuardChannel *channel = &guard->channels[i];

		counters.ram_pages +=
			atomic_load_explicit(&channel->ram_pages, memory_order_relaxed);
		counters.ram_zero_pages +=
			atomic_load_explicit(&channel->ram_zero_pages, memory_order_relaxed);
	}
	*ret_counters = counters;
}
