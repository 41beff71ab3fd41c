/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/virtio_tail.h"

#include <assert.h>
#include <string.h>

#include "base/buffer.h"
#include "guard/virtio_element.h"
#include "guard/virtio_kinds.h"

enum {
	TAG_SUBSECTION = 5,
	NO_FIXED_SIZE = UINT32_MAX,
	FEATURE_RING_PACKED_HIGH = 1 << (34 - 32), /* VIRTIO 1.2, 6 */
	/* virtio-net: before the table of MACs, and behind it the VLANs */
	NET_BEFORE_FLAGS = 6 + 4 + 4 + 2,
	NET_BEFORE = NET_BEFORE_FLAGS + 2,
	NET_VLANS = 512,
	NET_BEHIND = 4 + 6 + 1, /* header or not, six flags, UFO or not */
	NET_RSS_KEY = 40,
	NET_RSS_TABLE_MAX = 128, /* VIRTIO_NET_RSS_MAX_TABLE_LEN */
	PORTS_MAX = 511,
	BALLOON_BYTES = 8,
	PACKED_ENTRY = 10,
};

typedef struct Tail {
	const VmDevice *device;
	const VirtioState *state;
	const VirtioTwin *twin; /* NULL: it is the twin's own */
	VirtioTwin *learned;	/* only then */
	Reader reader;
	uint32_t seen; /* subsections */
	bool is_packed;
	GuardRule rule; /* of the part that is read */
	Error *err;
} Tail;

static bool refuse(const Tail *tail, const char *what, unsigned long long is,
		   unsigned long long bound)
{
	return guard_violation(tail->err, tail->rule,
			       "device %.80s, %zu bytes before its end: %s (%llu, bound %llu)",
			       tail->device->name, tail->reader.left, what, is, bound);
}

static bool is_cut(const Tail *tail, const char *where)
{
	return refuse(tail, where, tail->reader.left, 0);
}

/* --- queues --- */

/* The entries that the local device's queue has. The twin's network device has three queues: to
 * receive, to send, and for control, which is the last of however many there are. */
static uint16_t local_size(const Tail *tail, uint32_t number)
{
	const VirtioTwin *twin = tail->twin;
	const uint32_t count = tail->state->shape.queues;

	if (number >= count)
		return 0;
	if (twin->pairs <= 1 || twin->shape.queues != VIRTIO_NET_PLAIN_QUEUES)
		return twin->queue_sizes[number];
	return twin->queue_sizes[number == count - 1 ? 2 : number % 2];
}

static bool judge_queue(const Tail *tail, uint32_t number)
{
	const VirtioQueue *queue = &tail->state->queues[number];
	const uint16_t local = local_size(tail, number);

	if (queue->size > local)
		return refuse(tail, "entries of a queue", queue->size, local);
	/* VIRTIO 1.2, 2.7: of a split ring always a power of two. */
	if (!tail->is_packed && queue->size & (queue->size - 1))
		return refuse(tail, "entries of a queue, no power of two", queue->size, local);
	if (!queue->address && queue->last_available)
		return refuse(tail, "an index of a queue without address", queue->last_available,
			      0);
	if (tail->is_packed && (queue->last_available & 0x7fff) >= queue->size)
		return refuse(tail, "an index past a packed queue", queue->last_available,
			      queue->size);
	return true;
}

static bool judge_queues(Tail *tail)
{
	tail->rule = GUARD_RULE_DEVICE_VIRTIO;
	for (uint32_t i = 0; tail->twin && i < tail->state->shape.queues; i++)
		if (!judge_queue(tail, i))
			return false;
	return true;
}

static uint16_t largest_queue(const Tail *tail)
{
	uint32_t largest = 0;

	for (uint32_t i = 0; i < tail->state->shape.queues; i++)
		if (tail->state->queues[i].size > largest)
			largest = tail->state->queues[i].size;
	return (uint16_t)largest;
}

/* --- elements: requests that were taken from a queue --- */

/* Of a device that offers packed rings, whatever its driver took, QEMU writes a be32 before the
 * element and reads one behind it (qemu_put_virtqueue_element, 7.2 to 10.0): it would load another
 * request than it saved, and which bytes are whose only its reader decides. */
static bool read_element(Tail *tail, VirtioElement *ret_element)
{
	const uint8_t *bytes;

	if (tail->twin && virtio_twin_has_packed(tail->twin))
		return refuse(tail, "a request that waits, and packed rings are offered", 1, 0);
	if (!reader_skip(&tail->reader, VIRTIO_ELEMENT_SIZE, &bytes))
		return is_cut(tail, "cut inside a request");
	if (!virtio_element_decode(bytes, largest_queue(tail), ret_element, tail->err)) {
		error_prefix(tail->err, "device %.80s, %zu bytes before its end",
			     tail->device->name, tail->reader.left);
		return guard_violation_by(tail->err, tail->rule);
	}
	return true;
}

/* --- what kinds of devices write --- */

static bool read_nothing(Tail *tail)
{
	(void)tail;
	return true;
}

static bool skip_flags(Tail *tail, size_t count)
{
	const uint8_t *flags;

	if (!reader_skip(&tail->reader, count, &flags))
		return is_cut(tail, "cut inside the flags");
	for (size_t i = 0; i < count; i++)
		if (flags[i] > 1)
			return refuse(tail, "a flag", flags[i], 1);
	return true;
}

/* The lengths were decoded before; here the flags around the filters. */
static bool read_net_flags(Tail *tail, const VirtioNetState *net)
{
	const uint8_t *bytes;
	uint32_t header;

	return reader_skip(&tail->reader, NET_BEFORE_FLAGS, &bytes) && skip_flags(tail, 2) &&
	       reader_skip(&tail->reader, 4 + (size_t)net->macs * 6 + NET_VLANS, &bytes) &&
	       reader_get_be32(&tail->reader, &header) &&
	       (header <= 1 || refuse(tail, "a flag", header, 1)) && skip_flags(tail, 7);
}

/* A device of more than one pair writes how many behind the flags; that of one does not. */
static uint16_t learn_pairs(const VirtioState *state)
{
	enum { MACS = NET_BEFORE, PAIRS = NET_BEFORE + 4 + NET_VLANS + NET_BEHIND };
	VirtioNetState net;
	Error err;
	size_t at;

	if (virtio_net_state_decode(state, 1, &net, &err) || state->rest_bytes < MACS + 4)
		return 1;
	at = PAIRS + (size_t)load_be32(state->rest + MACS) * 6;
	return at + 2 <= state->rest_bytes ? load_be16(state->rest + at) : 1;
}

static bool read_net(Tail *tail)
{
	const Reader whole = tail->reader;
	VirtioNetState net;
	const uint8_t *bytes;
	uint16_t pairs;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO_NET;
	if (tail->learned)
		tail->learned->pairs = learn_pairs(tail->state);
	pairs = (tail->twin ? tail->twin : tail->learned)->pairs;
	if (!virtio_net_state_decode(tail->state, pairs, &net, tail->err)) {
		error_prefix(tail->err, "device %.80s", tail->device->name);
		return guard_violation_by(tail->err, tail->rule);
	}
	/* The lengths are right by now, so nothing is cut. */
	if (!read_net_flags(tail, &net))
		return false;
	tail->reader = whole;
	return reader_skip(&tail->reader, net.rest_offset, &bytes) || is_cut(tail, "cut");
}

/* virtio_blk_save_device, hw/block/virtio-blk.c */
static bool read_blk(Tail *tail)
{
	const uint32_t queues = tail->state->shape.queues;
	VirtioElement element;
	uint32_t queue = 0;
	uint8_t more;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO_BLK;
	while (reader_get_u8(&tail->reader, &more)) {
		if (!more)
			return true;
		if (more != 1)
			return refuse(tail, "the mark of a request", more, 1);
		if (queues > 1 && !reader_get_be32(&tail->reader, &queue))
			return is_cut(tail, "cut before a request");
		if (queue >= queues)
			return refuse(tail, "queue of a request", queue, queues);
		if (!read_element(tail, &element))
			return false;
	}
	return is_cut(tail, "cut before the end of requests");
}

/* A buffer of a guest that the host has not read to its end. */
static bool read_port_buffer(Tail *tail)
{
	VirtioElement element;
	uint64_t offset, length;
	uint32_t at;

	if (!reader_get_be32(&tail->reader, &at) || !reader_get_be64(&tail->reader, &offset))
		return is_cut(tail, "cut inside a port");
	if (!read_element(tail, &element))
		return false;
	if (at >= element.out)
		return refuse(tail, "which buffer of a port", at, element.out);
	length = virtio_element_out_bytes(&element, at);
	return offset <= length || refuse(tail, "offset in a buffer of a port", offset, length);
}

static bool read_port(Tail *tail)
{
	uint32_t id, popped;

	if (!reader_get_be32(&tail->reader, &id) || !skip_flags(tail, 2) ||
	    !reader_get_be32(&tail->reader, &popped))
		return is_cut(tail, "cut inside a port");
	if (id >= PORTS_MAX)
		return refuse(tail, "id of a port", id, PORTS_MAX);
	if (popped > 1)
		return refuse(tail, "a flag", popped, 1);
	return !popped || read_port_buffer(tail);
}

/* virtio_serial_save_device, hw/char/virtio-serial-bus.c. The first three are not read by QEMU;
 * how many words the map of ports has it takes from its own device. */
static bool read_serial(Tail *tail)
{
	uint16_t columns, rows;
	uint32_t ports_max, active, words;
	const uint8_t *map;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO_SERIAL;
	if (!reader_get_be16(&tail->reader, &columns) || !reader_get_be16(&tail->reader, &rows) ||
	    !reader_get_be32(&tail->reader, &ports_max))
		return is_cut(tail, "cut inside the configuration");
	words = tail->twin ? tail->twin->port_words : (ports_max + 31) / 32;
	if (words > (PORTS_MAX + 31) / 32)
		return refuse(tail, "ports", ports_max, PORTS_MAX);
	if (!reader_skip(&tail->reader, (size_t)words * 4, &map) ||
	    !reader_get_be32(&tail->reader, &active))
		return is_cut(tail, "cut inside the ports");
	if (tail->learned) {
		tail->learned->port_words = words;
		tail->learned->ports = active;
	} else if (active != tail->twin->ports) {
		return refuse(tail, "active ports", active, tail->twin->ports);
	}
	for (uint32_t i = 0; i < active; i++)
		if (!read_port(tail))
			return false;
	return true;
}

static bool read_balloon(Tail *tail)
{
	const uint8_t *bytes;

	return reader_skip(&tail->reader, BALLOON_BYTES, &bytes) || is_cut(tail, "cut");
}

static bool read_iommu(Tail *tail)
{
	VirtioFault fault;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO;
	return virtio_iommu_read(&tail->reader, &fault) ||
	       refuse(tail, fault.what, fault.is, fault.bound);
}

static bool read_mem(Tail *tail)
{
	VirtioFault fault;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO;
	if (tail->learned && !virtio_mem_learn(tail->state, &tail->learned->memory))
		return refuse(tail, "no memory device", tail->state->shape.config_bytes, 0);
	return virtio_mem_read(&tail->reader, &(tail->twin ? tail->twin : tail->learned)->memory,
			       &fault) ||
	       refuse(tail, fault.what, fault.is, fault.bound);
}

typedef struct Kind {
	const char *vmsd_name;
	bool (*read)(Tail *tail);
} Kind;

static const Kind kinds[] = {
	{ "virtio-net", read_net },	   { "virtio-blk", read_blk },
	{ "virtio-console", read_serial }, { "virtio-balloon", read_balloon },
	{ "virtio-scsi", read_nothing },   { "virtio-rng", read_nothing },
	{ "virtio-input", read_nothing },  { "virtio-gpu", read_nothing },
	{ "virtio-9p", read_nothing },	   { "virtio-iommu", read_iommu },
	{ "virtio-mem", read_mem },
};

static const Kind *find_kind(const char *vmsd_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].vmsd_name, vmsd_name))
			return &kinds[i];
	return NULL;
}

/* --- subsections --- */

static bool judge_features(Tail *tail, const uint8_t *bytes)
{
	const bool is_packed = load_be32(bytes) & FEATURE_RING_PACKED_HIGH;

	/* What was read before it rests on this. */
	if (tail->twin && is_packed != tail->is_packed)
		return refuse(tail, "packed rings", is_packed, tail->is_packed);
	return load_be32(bytes + 4) == tail->state->features ||
	       refuse(tail, "low features, told twice", load_be32(bytes + 4),
		      tail->state->features);
}

static bool judge_flag(Tail *tail, const uint8_t *bytes)
{
	return bytes[0] <= 1 || refuse(tail, "a flag", bytes[0], 1);
}

/* enum virtio_device_endian, include/hw/virtio/virtio.h */
static bool judge_endian(Tail *tail, const uint8_t *bytes)
{
	return (bytes[0] >= 1 && bytes[0] <= 2) || refuse(tail, "the byte order", bytes[0], 2);
}

/* What a queue's size becomes again when the guest resets the device. */
static bool judge_defaults(Tail *tail, const uint8_t *bytes)
{
	for (uint32_t i = 0; tail->twin && i < VIRTIO_QUEUES_MAX; i++) {
		const uint32_t size = load_be32(bytes + (size_t)i * 4);

		if (size && size != local_size(tail, i))
			return refuse(tail, "entries of a queue by default", size,
				      local_size(tail, i));
	}
	return true;
}

/* Of each queue be16 available, wrap, be16 used, wrap, be32 in use. */
static bool judge_packed(Tail *tail, const uint8_t *bytes)
{
	for (uint32_t i = 0; i < tail->state->shape.queues; i++) {
		const uint8_t *queue = bytes + (size_t)i * PACKED_ENTRY;
		const uint32_t size = tail->state->queues[i].size;
		const uint32_t available = load_be16(queue), used = load_be16(queue + 3);

		if (tail->is_packed && (available >= size || used >= size))
			return refuse(tail, "an index of a packed queue",
				      available > used ? available : used, size);
		if (queue[2] > 1 || queue[5] > 1)
			return refuse(tail, "a flag", queue[2] > 1 ? queue[2] : queue[5], 1);
		if (load_be32(queue + 6) > size)
			return refuse(tail, "entries of a packed queue in use",
				      load_be32(queue + 6), size);
	}
	return true;
}

/* Another table without a header, with one subsection: selectors, features, and of each of 1024
 * queues its size, an unused byte, whether it is enabled, and three addresses. */
static bool judge_modern(Tail *tail, const uint8_t *bytes)
{
	static const char header[] = "\5\x17virtio_pci/modern_state\0\0\0\1";
	enum { HEADER = sizeof(header) - 1, QUEUES_AT = HEADER + 16, QUEUE = 28, ENABLED = 3 };

	if (memcmp(bytes, header, HEADER))
		return refuse(tail, "no state of a modern device", bytes[0], TAG_SUBSECTION);
	for (uint32_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		const uint8_t enabled = bytes[QUEUES_AT + (size_t)i * QUEUE + ENABLED];

		if (enabled > 1)
			return refuse(tail, "a flag", enabled, 1);
	}
	return true;
}

/* vmstate_virtio_net_rss, behind its count: a queue for each hash. */
static bool read_rss(Tail *tail, uint32_t version)
{
	const uint32_t pairs = (tail->twin ? tail->twin : tail->learned)->pairs;
	const uint8_t *bytes;
	uint16_t count, queue;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO_NET;
	if (!skip_flags(tail, 3) || !reader_skip(&tail->reader, version > 1 ? 8 : 4, &bytes) ||
	    !reader_get_be16(&tail->reader, &count) || !reader_get_be16(&tail->reader, &queue) ||
	    !reader_skip(&tail->reader, NET_RSS_KEY, &bytes))
		return is_cut(tail, "cut inside the hash table");
	/* QEMU takes the low bits of the hash: count - 1 is their mask. */
	if (!count || count > NET_RSS_TABLE_MAX || count & (count - 1))
		return refuse(tail, "entries of the hash table", count, NET_RSS_TABLE_MAX);
	for (uint32_t i = 0; i < count; i++) {
		if (queue >= pairs)
			return refuse(tail, "a queue pair of the hash table", queue, pairs);
		if (!reader_get_be16(&tail->reader, &queue))
			return is_cut(tail, "cut inside the hash table");
	}
	return queue < pairs || refuse(tail, "a queue pair of the hash table", queue, pairs);
}

typedef struct Subsection {
	const char *name;
	uint32_t version_max, size_bytes;
	bool is_fixed; /* there if the local device has it, and only then */
	bool (*judge)(Tail *tail, const uint8_t *bytes);
	bool (*read)(Tail *tail, uint32_t version);
} Subsection;

static const Subsection subsections[] = {
	{ "virtio-net-device/rss", 2, NO_FIXED_SIZE, .read = read_rss },
	{ "virtio-balloon-device/free-page-report", 1, 8 },
	{ "vitio-balloon-device/page-poison", 1, 4 }, /* as QEMU spells it */
	{ "virtio-balloon-device/page-poison", 1, 4 },
	{ "virtio/device_endian", 1, 1, .judge = judge_endian },
	{ "virtio/64bit_features", 1, 8, .is_fixed = true, .judge = judge_features },
	{ "virtio/virtqueues", 1, 1024 * 16, .is_fixed = true },
	{ "virtio/ringsize", 1, 1024 * 4, .judge = judge_defaults },
	{ "virtio/broken", 1, 1, .judge = judge_flag },
	{ "virtio/extra_state", 1, 2 + 23 + 4 + 16 + 1024 * 28, .is_fixed = true,
	  .judge = judge_modern },
	{ "virtio/started", 1, 1, .judge = judge_flag },
	{ "virtio/packed_virtqueues", 1, 1024 * PACKED_ENTRY, .is_fixed = true,
	  .judge = judge_packed },
	{ "virtio/disabled", 1, 1, .judge = judge_flag },
};
static_assert(ARRAY_SIZE(subsections) <= 32, "a bit for each");

static const Subsection *find_subsection(const uint8_t *name, uint8_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(subsections); i++)
		if (strlen(subsections[i].name) == length &&
		    !memcmp(subsections[i].name, name, length))
			return &subsections[i];
	return NULL;
}

static bool read_subsection(Tail *tail)
{
	const Subsection *subsection;
	const uint8_t *name, *bytes;
	uint8_t tag, length;
	uint32_t version, bit;

	tail->rule = GUARD_RULE_DEVICE_VIRTIO;
	if (!reader_get_u8(&tail->reader, &tag) || tag != TAG_SUBSECTION)
		return refuse(tail, "no subsection behind what the device wrote", tag,
			      TAG_SUBSECTION);
	if (!reader_get_u8(&tail->reader, &length) || !reader_skip(&tail->reader, length, &name) ||
	    !reader_get_be32(&tail->reader, &version))
		return is_cut(tail, "cut in the header of a subsection");
	subsection = find_subsection(name, length);
	if (!subsection)
		return refuse(tail, "a subsection that is not known, of so many letters", length,
			      0);
	bit = UINT32_C(1) << (subsection - subsections);
	if (tail->seen & bit)
		return refuse(tail, "a subsection twice", 2, 1);
	if (tail->seen >= bit)
		return refuse(tail, "a subsection behind a later one", tail->seen, bit);
	tail->seen |= bit;
	if (version < 1 || version > subsection->version_max)
		return refuse(tail, "version of a subsection", version, subsection->version_max);
	if (subsection->read)
		return subsection->read(tail, version);
	if (!reader_skip(&tail->reader, subsection->size_bytes, &bytes))
		return is_cut(tail, "cut inside a subsection");
	return !subsection->judge || subsection->judge(tail, bytes);
}

static bool judge_subsections(Tail *tail)
{
	while (tail->reader.left)
		if (!read_subsection(tail))
			return false;
	tail->rule = GUARD_RULE_DEVICE_VIRTIO;
	for (size_t i = 0; tail->twin && i < ARRAY_SIZE(subsections); i++)
		if (subsections[i].is_fixed &&
		    (tail->seen ^ tail->twin->subsections) & (UINT32_C(1) << i))
			return refuse(tail, "subsections", tail->seen, tail->twin->subsections);
	return true;
}

/* --- the whole --- */

/* Whether the driver took packed rings stands behind the requests that it matters for. The twin's
 * subsection of their state tells whether they were offered: without it there are none. */
static bool find_packed(const VirtioState *state)
{
	static const char header[] = "\5\x15virtio/64bit_features\0\0\0\1";
	enum { SIZE = sizeof(header) - 1 };
	const uint8_t *found = memmem(state->rest, state->rest_bytes, header, SIZE);

	return found && state->rest_bytes - (size_t)(found - state->rest) >= SIZE + 8 &&
	       found[SIZE + 3] & FEATURE_RING_PACKED_HIGH;
}

bool virtio_tail_learn(const char *vmsd_name, const VirtioState *state, VirtioTwin *ret_twin,
		       Error *err)
{
	const VmDevice device = { .name = vmsd_name };
	const Kind *kind = find_kind(vmsd_name);
	Tail tail = { .device = &device,
		      .state = state,
		      .learned = ret_twin,
		      .reader = reader_of(state->rest, state->rest_bytes),
		      .err = err };

	*ret_twin = (VirtioTwin){ .shape = state->shape, .is_known = kind };
	for (uint32_t i = 0; i < state->shape.queues; i++)
		ret_twin->queue_sizes[i] = (uint16_t)state->queues[i].size;
	if (!kind)
		return true;
	if (!kind->read(&tail) || !judge_subsections(&tail))
		return false;
	ret_twin->subsections = tail.seen;
	return true;
}

bool virtio_twin_has_packed(const VirtioTwin *twin)
{
	for (size_t i = 0; i < ARRAY_SIZE(subsections); i++)
		if (subsections[i].judge == judge_packed)
			return twin->subsections & (UINT32_C(1) << i);
	return false;
}

bool virtio_tail_judge(const VmDevice *device, const VirtioState *state, const VirtioTwin *twin,
		       Error *err)
{
	const Kind *kind = find_kind(device->vmsd_name);
	Tail tail = { .device = device,
		      .state = state,
		      .twin = twin,
		      .reader = reader_of(state->rest, state->rest_bytes),
		      .is_packed = virtio_twin_has_packed(twin) && find_packed(state),
		      .rule = GUARD_RULE_DEVICE_VIRTIO,
		      .err = err };

	if (!kind || !twin->is_known)
		return refuse(&tail, "a kind of virtio device that is not known", state->rest_bytes,
			      0);
	return judge_queues(&tail) && kind->read(&tail) && judge_subsections(&tail);
}
