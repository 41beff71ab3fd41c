/* SPDX-License-Identifier: Apache-2.0 */
/* The attacker on the network: copies a channel record by record, and harms one. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "tests/mover/rig.h"
#include "wire/preamble.h"
#include "wire/record.h"

typedef struct Way {
	RigRelay *relay;
	int from, to;
	size_t opening; /* bytes before the first record */
	bool harmful;
	uint8_t *record, *kept;
	size_t size, kept_size;
} Way;

static bool put(Way *way, const uint8_t *bytes, size_t size)
{
	RigRelay *relay = way->relay;

	if (relay->seen && way->to == relay->destination_fd &&
	    relay->seen_used < relay->seen_size) {
		size_t room = relay->seen_size - relay->seen_used;
		size_t part = size < room ? size : room;

		memcpy(relay->seen + relay->seen_used, bytes, part);
		relay->seen_used += part;
	}
	return send(way->to, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool get(const Way *way, uint8_t *bytes, size_t size)
{
	return recv(way->from, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static bool get_record(Way *way)
{
	size_t rest;
	Error err = ERROR_INIT;

	if (!get(way, way->record, RECORD_HEADER_SIZE) ||
	    !record_check_header(way->record, &rest, &err) ||
	    !get(way, way->record + RECORD_HEADER_SIZE, rest))
		return false;
	way->size = RECORD_HEADER_SIZE + rest;
	return true;
}

static bool swap(Way *way)
{
	memcpy(way->kept, way->record, way->size);
	way->kept_size = way->size;
	return get_record(way) && put(way, way->record, way->size) &&
	       put(way, way->kept, way->kept_size);
}

static bool harm(Way *way)
{
	switch (way->relay->fault) {
	case RIG_FLIP:
		way->record[RECORD_HEADER_SIZE] ^= 0x10;
		break;
	case RIG_FLIP_TAG:
		way->record[way->size - 1] ^= 0x01;
		break;
	case RIG_LENGTH:
		store_be32(way->record, load_be32(way->record) - 1);
		break;
	case RIG_OVERSIZE:
		store_be32(way->record, RECORD_REST_MAX + 1);
		break;
	case RIG_DROP:
		return true;
	case RIG_REPEAT:
		return put(way, way->record, way->size) && put(way, way->record, way->size);
	case RIG_SWAP:
		return swap(way);
	case RIG_TRUNCATE:
		put(way, way->record, way->size / 2);
		return false;
	case RIG_CUT:
		return false;
	case RIG_NONE:
	default:
		break;
	}
	return put(way, way->record, way->size);
}

static void copy_way(Way *way)
{
	if (!get(way, way->record, way->opening) || !put(way, way->record, way->opening))
		return;
	for (uint64_t i = 0; get_record(way); i++)
		if (way->harmful && i == way->relay->record ? !harm(way)
							    : !put(way, way->record, way->size))
			break;
}

static void run_way(RigRelay *relay, int from, int to, size_t opening, bool harmful)
{
	Way way = {
		.relay = relay, .from = from, .to = to, .opening = opening, .harmful = harmful
	};

	way.record = malloc(RECORD_BUFFER_SIZE);
	way.kept = malloc(RECORD_BUFFER_SIZE);
	if (way.record && way.kept)
		copy_way(&way);
	free(way.record);
	free(way.kept);
	/* An end or a cut: seen by both. */
	shutdown(from, SHUT_RDWR);
	shutdown(to, SHUT_RDWR);
}

/* The preamble has passed already, see rig_connect_network. */
static void *run_forth(void *argument)
{
	RigRelay *relay = argument;

	run_way(relay, relay->source_fd, relay->destination_fd, 0, !relay->to_source);
	return NULL;
}

static void *run_back(void *argument)
{
	RigRelay *relay = argument;

	run_way(relay, relay->destination_fd, relay->source_fd, PREAMBLE_REPLY_SIZE,
		relay->to_source);
	return NULL;
}

static void start_relay(RigRelay *relay)
{
	relay->running = true;
	if (pthread_create(&relay->threads[0], NULL, run_forth, relay) ||
	    pthread_create(&relay->threads[1], NULL, run_back, relay))
		abort();
}

void rig_connect_network(Rig *rig, unsigned int channel)
{
	RigRelay *relay = &rig->relays[channel];
	int near[2], far[2];
	uint8_t preamble[PREAMBLE_SIZE];

	rig_tcp_pair(near);
	rig_give_source(rig, channel, near[0]);
	if (relay->fault == RIG_NONE && !relay->seen) {
		rig_give_destination(rig, channel, near[1]);
		return;
	}
	rig_tcp_pair(far);
	relay->source_fd = near[1];
	relay->destination_fd = far[0];
	if (recv(near[1], preamble, sizeof(preamble), MSG_WAITALL) != PREAMBLE_SIZE ||
	    send(far[0], preamble, sizeof(preamble), MSG_NOSIGNAL) != PREAMBLE_SIZE)
		abort();
	rig_give_destination(rig, channel, far[1]);
	start_relay(relay);
}
