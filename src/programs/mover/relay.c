/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/relay.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/clock.h"

enum {
	STACK_SIZE = 256 * 1024,
	/* Content, which begins behind the header, lies on a cache line. */
	CONTENT_ALIGN = 64,
	BUFFER_STRIDE = (RECORD_BUFFER_SIZE + CONTENT_ALIGN + 4095) / 4096 * 4096,
	/* Before each incoming buffer: for what a filter did not take of the record before. */
	HEADROOM = FILTER_REST_MAX,
	CHANNEL_STRIDE = 2 * BUFFER_STRIDE + HEADROOM,
};
static_assert(CHANNEL_STRIDE <= 2 << 20, "at most 2 MiB a channel");

static void count(Flow *flow, size_t stream, size_t wire)
{
	const Channel *channel = flow->channel;
	FlowCounters *c = &flow->counters;

	atomic_fetch_add_explicit(&c->wire_bytes, wire, memory_order_relaxed);
	atomic_store_explicit(&c->records,
			      flow->outbound ? record_sealer_records(channel->sealer)
					     : record_opener_records(channel->opener),
			      memory_order_relaxed);
	if (stream) {
		uint64_t now_us = (uint64_t)clock_monotonic_us(&clock_system);

		atomic_fetch_add_explicit(&c->stream_bytes, stream, memory_order_relaxed);
		if (!atomic_load_explicit(&c->first_us, memory_order_relaxed))
			atomic_store_explicit(&c->first_us, now_us, memory_order_relaxed);
		atomic_store_explicit(&c->last_us, now_us, memory_order_relaxed);
	}
}

static bool send_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		bytes += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* False at the end of the connection too; errno is 0 then. */
static bool receive_all(int fd, uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t got = recv(fd, bytes, size, MSG_WAITALL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			if (!got)
				errno = 0;
			return false;
		}
		bytes += got;
		size -= (size_t)got;
	}
	return true;
}

static bool send_network(const Channel *channel, const uint8_t *bytes, size_t size, Error *err)
{
	if (send_all(channel->network_fd, bytes, size))
		return true;
	return error_set_errno(err, ERROR_UNAVAILABLE, errno,
			       "the connection broke at byte %llu of the outgoing stream",
			       (unsigned long long)record_sealer_bytes(channel->sealer));
}

/* Who is at the local end, for messages. */
static const char *local_name(const Channel *channel)
{
	return channel->is_disk && channel->session->side == MOVER_DESTINATION
		       ? "the storage daemon"
		       : "QEMU";
}

/*
 * Whether an error on QEMU's socket only says that QEMU closed it. At the source that is how each
 * migration ends, and what QEMU wrote before has all been read: a UNIX socket gives ECONNRESET in
 * place of the end if the closing side left bytes of the *other* direction unread, and nothing that
 * comes back to a closed source is of use. At the destination unread bytes are a part of the VM. Of
 * a disk's connection both directions matter on both sides.
 */
static bool is_plain_close(const Channel *channel, int error)
{
	if (error != ECONNRESET && error != EPIPE)
		return false;
	return (channel->session->side == MOVER_SOURCE && !channel->is_disk) ||
	       atomic_load(&channel->in.ended);
}

/*
 * Waits for bytes of QEMU and takes as many as are there at once, so that a busy stream makes full
 * records and a lone small message leaves at once. *ret_size 0: the stream has ended.
 */
static bool gather(const Channel *channel, uint8_t *bytes, size_t room, size_t *ret_size,
		   Error *err)
{
	size_t used = 0;

	while (used < room) {
		ssize_t got =
			recv(channel->local_fd, bytes + used, room - used, used ? MSG_DONTWAIT : 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (!got || (got < 0 && used && errno == EAGAIN) ||
		    (got < 0 && is_plain_close(channel, errno)))
			break;
		if (got < 0)
			return error_set_errno(
				err, ERROR_HYPERVISOR, errno, "%s's socket broke after %llu bytes",
				local_name(channel),
				(unsigned long long)record_sealer_bytes(channel->sealer));
		used += (size_t)got;
	}
	*ret_size = used;
	return true;
}

static bool send_end(Flow *flow, Error *err)
{
	Channel *channel = flow->channel;
	size_t wire = 0;

	atomic_store(&flow->ending, true);
	if (!filter_watch_end(session_filter(channel), channel->index, err) ||
	    !record_seal_end(channel->sealer, flow->buffer, &wire, err) ||
	    !send_network(channel, flow->buffer, wire, err))
		return false;
	count(flow, 0, wire);
	return true;
}

static bool relay_out(Flow *flow, Error *err)
{
	Channel *channel = flow->channel;
	Session *session = channel->session;

	for (;;) {
		size_t size = 0, wire = 0;

		if (!gather(channel, flow->buffer + RECORD_HEADER_SIZE,
			    pace_piece_size(&session->pace, RECORD_CONTENT_MAX), &size, err))
			return false;
		/* An end that is the echo of our own shutdown must never look like QEMU's. */
		if (atomic_load(&session->stopping))
			return error_set(err, ERROR_CANCELLED, "stopped");
		if (!size)
			return send_end(flow, err);
		if (!filter_watch(session_filter(channel), channel->index,
				  flow->buffer + RECORD_HEADER_SIZE, size, err) ||
		    !record_seal_data(channel->sealer, flow->buffer, size, &wire, err))
			return false;
		if (!pace_take(&session->pace, wire))
			return error_set(err, ERROR_CANCELLED, "stopped");
		if (!send_network(channel, flow->buffer, wire, err))
			return false;
		count(flow, size, wire);
	}
}

static bool receive_record(Flow *flow, RecordView *ret_record, size_t *ret_wire, Error *err)
{
	Channel *channel = flow->channel;
	uint64_t bytes = record_opener_bytes(channel->opener);
	size_t rest;

	if (receive_all(channel->network_fd, flow->buffer, RECORD_HEADER_SIZE)) {
		if (!record_check_header(flow->buffer, &rest, err))
			return false;
		*ret_wire = RECORD_HEADER_SIZE + rest;
		if (receive_all(channel->network_fd, flow->buffer + RECORD_HEADER_SIZE, rest))
			return record_open(channel->opener, flow->buffer, rest, ret_record, err);
	}
	if (!errno)
		return error_set(err, ERROR_PEER,
				 "the connection closed after %llu bytes without an end record",
				 (unsigned long long)bytes);
	return error_set_errno(err, ERROR_UNAVAILABLE, errno,
			       "the connection broke at byte %llu of the incoming stream",
			       (unsigned long long)bytes);
}

/* QEMU's socket may come later than the first data. */
static bool wait_for_local(Channel *channel, Error *err)
{
	Session *session = channel->session;

	pthread_mutex_lock(&session->lock);
	while (channel->local_fd < 0 && !atomic_load(&session->stopping))
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
	return !atomic_load(&session->stopping) || error_set(err, ERROR_CANCELLED, "stopped");
}

/*
 * Where a filter's bytes go: QEMU's socket. What it hands on is most often what stands in the
 * window anyway, unit behind unit, so that these become one system call for a record and not one
 * for each unit. What was put together is sent when the filter is content with the whole window, or
 * hands on bytes of another place (what it had held).
 */
typedef struct Delivery {
	Channel *channel;
	bool *deaf; /* QEMU at the source is gone, the rest of the return path has no reader */
	const uint8_t *window;
	size_t window_size;
	const uint8_t *bytes; /* inside the window */
	size_t size;
} Delivery;

static bool send_local(const Delivery *delivery, const uint8_t *bytes, size_t size, Error *err)
{
	const Channel *channel = delivery->channel;

	if (!size || *delivery->deaf || send_all(channel->local_fd, bytes, size))
		return true;
	*delivery->deaf = channel->session->side == MOVER_SOURCE && is_plain_close(channel, errno);
	return *delivery->deaf ||
	       error_set_errno(err, ERROR_HYPERVISOR, errno,
			       "%s stopped reading near byte %llu of its stream",
			       local_name(channel),
			       (unsigned long long)record_opener_bytes(channel->opener));
}

static bool is_in_window(const Delivery *delivery, const uint8_t *bytes, size_t size)
{
	uintptr_t at = (uintptr_t)bytes, from = (uintptr_t)delivery->window;

	return at >= from && at - from <= delivery->window_size &&
	       size <= delivery->window_size - (at - from);
}

static bool write_judged(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	Delivery *delivery = context;
	size_t waiting = delivery->size;

	if (waiting && bytes == delivery->bytes + waiting &&
	    is_in_window(delivery, delivery->bytes, waiting + size)) {
		delivery->size += size;
		return true;
	}
	delivery->size = 0;
	if (!send_local(delivery, delivery->bytes, waiting, err))
		return false;
	if (!is_in_window(delivery, bytes, size))
		return send_local(delivery, bytes, size, err);
	delivery->bytes = bytes;
	delivery->size = size;
	return true;
}

/* The rest that the filter has not taken stands before the buffer, and goes to just before the
 * content: the record's header, which lay between, has done its work. */
static bool deliver(Flow *flow, const RecordView *record, bool *deaf, Error *err)
{
	Channel *channel = flow->channel;
	uint8_t *window = flow->buffer + RECORD_HEADER_SIZE - flow->rest;
	size_t size = flow->rest + record->size, taken = 0;
	Delivery delivery = {
		.channel = channel, .deaf = deaf, .window = window, .window_size = size
	};
	const GuardSink sink = { .write = write_judged, .context = &delivery };

	if (!wait_for_local(channel, err))
		return false;
	memmove(window, flow->buffer - flow->rest, flow->rest);
	if (!filter_take(session_filter(channel), channel->index, window, size, &sink, &taken,
			 err)) {
		flow->violates = err->category == ERROR_PEER;
		return false;
	}
	if (!send_local(&delivery, delivery.bytes, delivery.size, err))
		return false;
	flow->rest = size - taken;
	memmove(flow->buffer - flow->rest, window + taken, flow->rest);
	return true;
}

static bool finish_in(Flow *flow, Error *err)
{
	Channel *channel = flow->channel;

	if (!wait_for_local(channel, err))
		return false;
	/* A source that is cancelled, or whose QEMU dies, ends too soon as well: that is refused,
	 * but it is no attack. */
	flow->ending = true;
	if (!filter_end(session_filter(channel), channel->index, flow->rest, err))
		return false;
	/* Of a socket that QEMU has closed already there is nothing to end. */
	(void)shutdown(channel->local_fd, SHUT_WR);
	return true;
}

static bool relay_in(Flow *flow, Error *err)
{
	bool deaf = false;

	for (;;) {
		RecordView record;
		size_t wire = 0;

		if (!receive_record(flow, &record, &wire, err))
			return false;
		count(flow, record.type == RECORD_DATA ? record.size : 0, wire);
		if (record.type == RECORD_DATA && !deliver(flow, &record, &deaf, err))
			return false;
		if (record.type == RECORD_END)
			return finish_in(flow, err);
	}
}

/* Inbound begins as soon as the peer has proven itself, so that a cut is noticed at once. */
static bool wait_for_channel(Flow *flow)
{
	Channel *channel = flow->channel;
	Session *session = channel->session;

	pthread_mutex_lock(&session->lock);
	session->threads_started++;
	pthread_cond_broadcast(&session->changed);
	while (!atomic_load(&session->stopping) &&
	       (!channel->proven || (flow->outbound && channel->local_fd < 0)))
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
	return !atomic_load(&session->stopping);
}

/*
 * What QEMU still says while the engine cancels it goes nowhere, but it is listened to: where
 * sockets break while its multifd threads begin, QEMU 10.0 waits for them for ever
 * (multifd_send_sync_main, migration/multifd.c) and cannot even be cancelled. With disks it is the
 * other way round: session.c has shut them down.
 */
static void drain(Flow *flow)
{
	Channel *channel = flow->channel;
	Session *session = channel->session;
	ssize_t got = 1;

	if (!flow->outbound || channel->is_disk || session->side != MOVER_SOURCE)
		return;
	pthread_mutex_lock(&session->lock);
	while (channel->local_fd < 0 && !session->local_stopped)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
	while (channel->local_fd >= 0 && (got > 0 || (got < 0 && errno == EINTR)))
		got = recv(channel->local_fd, flow->buffer, RECORD_CONTENT_MAX, 0);
}

static void *run_thread(void *argument)
{
	Flow *flow = argument;
	Session *session = flow->channel->session;
	Error err = ERROR_INIT;

	if (!wait_for_channel(flow)) {
		drain(flow);
	} else if (flow->outbound ? relay_out(flow, &err) : relay_in(flow, &err)) {
		atomic_store(&flow->ended, true);
		session_wake(session);
	} else {
		/* Stopped: by somebody who says why. */
		if (err.category != ERROR_CANCELLED)
			session_fail(session,
				     flow->channel->index |
					     (flow->violates ? VIOLATION_REFUSED : 0U),
				     &err);
		drain(flow);
	}
	return NULL;
}

/* One mapping for all buffers, so that huge pages fit well. */
static bool map_buffers(Session *session, size_t channels, Error *err)
{
	size_t size = channels * CHANNEL_STRIDE;
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return error_set_errno(err, ERROR_INTERNAL, errno,
				       "no memory for the buffers of %zu channels", channels);
	/* Guest memory passes through here. */
	(void)madvise(at, size, MADV_DONTDUMP);
	session->buffers = at;
	session->buffers_size = size;
	return true;
}

/* The buffers of the channel that is the n-th one of all that have threads. */
static void set_buffers(Session *session, Channel *channel, size_t n)
{
	uint8_t *at = session->buffers + CONTENT_ALIGN - RECORD_HEADER_SIZE + n * CHANNEL_STRIDE;

	channel->out.buffer = at;
	channel->in.buffer = at + BUFFER_STRIDE + HEADROOM;
}

void relay_free_buffers(Session *session)
{
	if (session->buffers)
		munmap(session->buffers, session->buffers_size);
	session->buffers = NULL;
}

static bool start_thread(Flow *flow, const pthread_attr_t *attributes, Error *err)
{
	int code = pthread_create(&flow->thread, attributes, run_thread, flow);

	flow->has_thread = !code;
	return !code || error_set_errno(err, ERROR_INTERNAL, code, "cannot start a thread");
}

/* The C library makes system calls at a thread's birth (rseq, set_robust_list) that the last filter
 * forbids: a thread that is late would be killed. */
static void wait_for_threads(Session *session, size_t count)
{
	pthread_mutex_lock(&session->lock);
	while (session->threads_started < count)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
}

bool relay_start_threads(Session *session, size_t channels, size_t disks, Error *err)
{
	pthread_attr_t attributes;
	bool ok;

	if (!map_buffers(session, channels + disks, err))
		return false;
	if (pthread_attr_init(&attributes))
		return error_set(err, ERROR_INTERNAL, "no memory for threads");
	ok = !pthread_attr_setstacksize(&attributes, STACK_SIZE) ||
	     error_set(err, ERROR_INTERNAL, "a stack of %d bytes is refused", STACK_SIZE);
	for (size_t i = 0; ok && i < channels + disks; i++) {
		Channel *channel =
			&session->channels[i < channels ? i : LIMIT_STREAM_CHANNELS + i - channels];

		set_buffers(session, channel, i);
		ok = start_thread(&channel->out, &attributes, err) &&
		     start_thread(&channel->in, &attributes, err);
	}
	pthread_attr_destroy(&attributes);
	session->threads_channels = channels;
	session->threads_disks = disks;
	if (ok)
		wait_for_threads(session, 2 * (channels + disks));
	return ok;
}
