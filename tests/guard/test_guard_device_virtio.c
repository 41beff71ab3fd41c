/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of device state that no description opens, in devices that are made here. */
#include "tests/qemustream/device_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guard/device_holes.h"

enum { HELD_MAX = 4 << 20, JSON_SIZE = 512, ELEMENT_SIZE = 49168, QUEUES_ALL = 1024, PAIRS = 2 };

/* What a device writes; a test changes one thing. Offsets follow from virtio_state.h. */
typedef struct Device {
	const char *kind; /* the table */
	uint32_t queues;
	uint32_t queue_size[5];
	uint64_t address;
	uint16_t last_available;
	uint32_t features, features_high, features_again;
	/* virtio-net */
	uint32_t macs;
	uint8_t flag, ufo;
	uint16_t pairs, pairs_in_use;
	bool rss;
	uint16_t rss_count, rss_queue, rss_default;
	/* virtio-blk, virtio-console: a request that waits */
	bool request;
	uint8_t request_mark;
	uint32_t request_queue, request_index, request_out, request_in;
	uint32_t ports, port_id, port_buffer;
	uint64_t port_offset, port_length;
	/* subsections */
	bool ringsize, packed, unknown, twice;
	uint32_t size_by_default, version;
	uint16_t packed_used;
	uint32_t packed_in_use;
	uint8_t started, enabled;
	bool no_modern;
	const char *behind; /* bytes at the end */
} Device;

#define SIZES                                                                                      \
	{                                                                                          \
		256, 256, 256, 256, 64                                                             \
	}
static const Device blk = { .kind = "virtio-blk",
			    .queues = 2,
			    .queue_size = SIZES,
			    .address = 4096,
			    .last_available = 700,
			    .version = 1,
			    .request_mark = 1 };
static const Device net = { .kind = "virtio-net",
			    .queues = 5,
			    .queue_size = SIZES,
			    .version = 1,
			    .macs = 3,
			    .pairs = PAIRS,
			    .pairs_in_use = PAIRS,
			    .rss_count = 4,
			    .rss_queue = 1 };
static const Device console = {
	.kind = "virtio-console", .queues = 4, .queue_size = SIZES, .version = 1, .ports = 1
};

static void put(Buffer *b, const void *data, size_t size)
{
	Error err;

	assert_works(!size || buffer_put(b, data, size, &err), &err);
}

static void put_number(Buffer *b, uint64_t value, size_t bytes)
{
	uint8_t text[8];

	store_be64(text, value);
	put(b, text + 8 - bytes, bytes);
}

static void put_zeros(Buffer *b, size_t size)
{
	static const uint8_t zeros[65536];

	put(b, zeros, size);
}

static void put_le32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void put_element(Buffer *b, const Device *d)
{
	static uint8_t element[ELEMENT_SIZE];

	memset(element, 0, sizeof(element));
	put_le32(element, d->request_index);
	put_le32(element + 4, d->request_out);
	put_le32(element + 8, d->request_in);
	/* The length of the first buffer out: behind the addresses and the lists of buffers in. */
	put_le32(element + 16 + 16384 + 16384 + 8, (uint32_t)d->port_length);
	put(b, element, sizeof(element));
}

static void put_shared(Buffer *b, const Device *d)
{
	put_number(b, 2, 4); /* version of the PCI state */
	put_zeros(b, 256 + 16);
	put_number(b, 0, 2 + 2); /* status, interrupt, selected queue */
	put_number(b, d->features, 4);
	put_number(b, 8, 4);
	put_zeros(b, 8);
	put_number(b, d->queues, 4);
	for (uint32_t i = 0; i < d->queues; i++) {
		put_number(b, d->queue_size[i == d->queues - 1 && d->pairs ? 4 : i], 4);
		put_number(b, d->address, 8);
		put_number(b, d->last_available, 2);
	}
}

static void put_net(Buffer *b, const Device *d)
{
	put_zeros(b, 6 + 4 + 4 + 2 + 1);
	put_number(b, d->flag, 1);
	put_number(b, d->macs, 4);
	put_zeros(b, (size_t)(d->macs <= 64 ? d->macs : 0) * 6 + 512 + 4 + 6);
	put_number(b, d->ufo, 1);
	put_number(b, d->pairs, 2);
	put_number(b, d->pairs_in_use, 2);
	put_zeros(b, d->pairs_in_use ? (size_t)(d->pairs_in_use - 1) * 4 : 0);
}

static void put_subsection(Buffer *b, const char *name, uint32_t version)
{
	put_number(b, 5, 1);
	put_number(b, strlen(name), 1);
	put(b, name, strlen(name));
	put_number(b, version, 4);
}

static void put_rss(Buffer *b, const Device *d)
{
	put_subsection(b, "virtio-net-device/rss", d->version);
	put_number(b, 0x010100, 3);
	put_zeros(b, d->version > 1 ? 8 : 4);
	put_number(b, d->rss_count, 2);
	put_number(b, d->rss_default, 2);
	put_zeros(b, 40);
	for (int i = 0; i < d->rss_count; i++)
		put_number(b, i ? 0 : d->rss_queue, 2);
}

static void put_console(Buffer *b, const Device *d)
{
	put_number(b, 31, 8); /* columns, rows, ports at most */
	put_number(b, 1, 4);  /* the map */
	put_number(b, d->ports, 4);
	for (uint32_t i = 0; i < d->ports; i++) {
		put_number(b, d->port_id, 4);
		put_zeros(b, 2);
		put_number(b, d->request, 4);
		if (!d->request)
			continue;
		put_number(b, d->port_buffer, 4);
		put_number(b, d->port_offset, 8);
		put_element(b, d);
	}
}

static void put_kind(Buffer *b, const Device *d)
{
	if (!strcmp(d->kind, "virtio-net"))
		put_net(b, d);
	if (!strcmp(d->kind, "virtio-console"))
		put_console(b, d);
	if (strcmp(d->kind, "virtio-blk"))
		return;
	if (d->request) {
		put_number(b, d->request_mark, 1);
		put_number(b, d->request_queue, 4);
		put_element(b, d);
	}
	put_number(b, 0, 1);
}

static void put_packed(Buffer *b, const Device *d)
{
	put_subsection(b, "virtio/packed_virtqueues", 1);
	for (int i = 0; i < QUEUES_ALL; i++) {
		put_number(b, 0x01, 3);
		put_number(b, i ? 0 : d->packed_used, 2);
		put_number(b, 1, 1);
		put_number(b, i ? 0 : d->packed_in_use, 4);
	}
}

static void put_subsections(Buffer *b, const Device *d)
{
	if (d->rss)
		put_rss(b, d);
	put_subsection(b, "virtio/64bit_features", 1);
	put_number(b, (uint64_t)d->features_high << 32 | d->features_again, 8);
	put_subsection(b, "virtio/virtqueues", 1);
	put_zeros(b, QUEUES_ALL * 16);
	for (int i = 0; d->ringsize && i < QUEUES_ALL; i++) {
		if (!i)
			put_subsection(b, "virtio/ringsize", 1);
		put_number(b, i ? 0 : d->size_by_default, 4);
	}
	if (!d->no_modern) {
		put_subsection(b, "virtio/extra_state", 1);
		put_subsection(b, "virtio_pci/modern_state", 1);
		put_zeros(b, 16 + 3);
		put_number(b, d->enabled, 1);
		put_zeros(b, QUEUES_ALL * 28 - 4);
	}
	for (int i = 0; i <= d->twice; i++) {
		put_subsection(b, d->unknown ? "virtio/startex" : "virtio/started", 1);
		put_number(b, d->started, 1);
	}
	if (d->packed)
		put_packed(b, d);
	if (d->behind)
		put(b, d->behind, strlen(d->behind));
}

/* One device with one field of this type. */
static void put_held(Buffer *held, const char *kind, const char *type, const Buffer *field)
{
	char json[JSON_SIZE];
	uint8_t header[6] = { 0, 6 };

	snprintf(json, sizeof(json),
		 DESCRIPTION("{\"name\": \"d\", \"instance_id\": 0, \"vmsd_name\": \"%s\", "
			     "\"version\": 1, \"fields\": [{\"name\": \"f\", \"type\": \"%s\", "
			     "\"size\": %zu}]}"),
		 kind, type, field->used);
	put_section(held, 7, "d", 1, field->data, field->used);
	store_be32(header + 2, (uint32_t)strlen(json));
	put(held, header, sizeof(header));
	put(held, json, strlen(json));
}

static void put_device(Buffer *held, const Device *d)
{
	AUTO_BUFFER Buffer field = BUFFER_INIT(HELD_MAX);

	put_shared(&field, d);
	put_kind(&field, d);
	put_subsections(&field, d);
	put_held(held, d->kind, "virtio", &field);
}

static bool judge(const Device *twin, const Device *device, Error *err)
{
	AUTO_BUFFER Buffer incoming = BUFFER_INIT(HELD_MAX), local = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };

	put_device(&incoming, device);
	put_device(&local, twin);
	assert_works(held_pair_make(&pair, &incoming, &local, err), err);
	return held_pair_judge(&pair, err);
}

static void assert_refused(bool passed, GuardRule rule, const char *part, const Error *err)
{
	const char *name = guard_rule_text(rule)->name;

	if (passed || err->category != ERROR_PEER || strncmp(err->text, name, strlen(name)) ||
	    err->text[strlen(name)] != ':' || !strstr(err->text, part))
		fail_msg("not refused by %s with %s: %s", name, part,
			 passed ? "passed" : err->text);
}

/* A device that differs from a good one by this member. */
#define WITH(base, ...)                                                                            \
	({                                                                                         \
		Device with_ = (base);                                                             \
		__VA_ARGS__;                                                                       \
		with_;                                                                             \
	})
#define PASSES(twin, ...)                                                                          \
	do {                                                                                       \
		const Device device_ = WITH(twin, __VA_ARGS__);                                    \
		Error err_;                                                                        \
		assert_works(judge(&(twin), &device_, &err_), &err_);                              \
	} while (0)
#define REFUSED(twin, family, part, ...)                                                           \
	do {                                                                                       \
		const Device device_ = WITH(twin, __VA_ARGS__);                                    \
		Error err_ = ERROR_INIT;                                                           \
		assert_refused(judge(&(twin), &device_, &err_), GUARD_RULE_DEVICE_##family, part,  \
			       &err_);                                                             \
	} while (0)

static void test_queues(void **state)
{
	(void)state;
	PASSES(blk, with_.last_available = 65535);
	PASSES(blk, with_.queue_size[0] = 128);
	PASSES(blk, with_.ringsize = true, with_.size_by_default = 256);
	/* CVE-2013-4151 and what it left: arrays have as many entries as the device was made with.
	 */
	REFUSED(blk, VIRTIO, "entries of a queue (512", with_.queue_size[0] = 512);
	REFUSED(blk, VIRTIO, "no power of two", with_.queue_size[1] = 200);
	REFUSED(blk, VIRTIO, "queues (3", with_.queues = 3);
	REFUSED(blk, VIRTIO, "without address", with_.address = 0);
	REFUSED(blk, VIRTIO, "by default (512", with_.ringsize = true, with_.size_by_default = 512);
	REFUSED(blk, VIRTIO, "told twice", with_.features_again = 1);
}

static void test_subsections(void **state)
{
	(void)state;
	PASSES(blk, with_.started = 1, with_.enabled = 1);
	REFUSED(blk, VIRTIO, "a flag (2", with_.started = 2);
	REFUSED(blk, VIRTIO, "a flag (2", with_.enabled = 2);
	REFUSED(blk, VIRTIO, "not known", with_.unknown = true);
	REFUSED(blk, VIRTIO, "twice", with_.twice = true);
	REFUSED(blk, VIRTIO, "subsections", with_.no_modern = true);
	REFUSED(blk, VIRTIO, "subsections", with_.packed = true);
	REFUSED(blk, VIRTIO, "no subsection", with_.behind = "x");
	REFUSED(blk, VIRTIO, "cut in the header", with_.behind = "\5");
	REFUSED(blk, VIRTIO, "packed rings", with_.features_high = 4);
}

static void test_packed(void **state)
{
	const Device packed = WITH(blk, with_.packed = true, with_.features_high = 4,
				   with_.last_available = 0x8000 | 255);

	(void)state;
	PASSES(packed, with_.packed_used = 255);
	PASSES(packed, with_.queue_size[0] = 250, with_.last_available = 9);
	REFUSED(packed, VIRTIO, "past a packed queue", with_.last_available = 256);
	REFUSED(packed, VIRTIO, "index of a packed queue", with_.packed_used = 256);
	REFUSED(packed, VIRTIO, "in use", with_.packed_in_use = 257);
}

static void test_net(void **state)
{
	/* A driver that did not take more than one pair, or did not run. */
	const Device plain = WITH(net, with_.queues = 3, with_.pairs_in_use = 1);
	Error err;

	(void)state;
	PASSES(net, with_.macs = 64);
	PASSES(net, with_.pairs_in_use = 1);
	assert_works(judge(&plain, &net, &err), &err);
	assert_works(judge(&net, &plain, &err), &err);
	REFUSED(plain, VIRTIO, "queues (4", with_.queues = 4);
	/* Control, the last queue, is the smaller one. */
	REFUSED(net, VIRTIO, "entries of a queue (128", with_.queue_size[4] = 128);
	REFUSED(net, VIRTIO_NET, "MAC addresses", with_.macs = 65);	    /* CVE-2013-4149 */
	REFUSED(net, VIRTIO_NET, "MAC addresses", with_.macs = UINT32_MAX); /* CVE-2013-4148 */
	REFUSED(net, VIRTIO_NET, "queue pairs (3", with_.pairs = 3);
	REFUSED(net, VIRTIO_NET, "in use (3", with_.pairs_in_use = 3); /* CVE-2013-4150 */
	REFUSED(net, VIRTIO_NET, "a flag (2", with_.flag = 2);
	REFUSED(net, VIRTIO_NET, "a flag (2", with_.ufo = 2);
}

static void test_net_hash_table(void **state)
{
	(void)state;
	PASSES(net, with_.rss = true);
	PASSES(net, with_.rss = true, with_.version = 2);
	PASSES(net, with_.rss = true, with_.rss_count = 128);
	REFUSED(net, VIRTIO, "version", with_.rss = true, with_.version = 3);
	REFUSED(net, VIRTIO_NET, "entries of the hash", with_.rss = true, with_.rss_count = 0);
	REFUSED(net, VIRTIO_NET, "entries of the hash", with_.rss = true, with_.rss_count = 3);
	REFUSED(net, VIRTIO_NET, "entries of the hash", with_.rss = true, with_.rss_count = 256);
	REFUSED(net, VIRTIO_NET, "pair of the hash", with_.rss = true, with_.rss_queue = PAIRS);
	REFUSED(net, VIRTIO_NET, "pair of the hash", with_.rss = true, with_.rss_default = PAIRS);
}

static void test_blk_requests(void **state)
{
	Device waits =
		WITH(blk, with_.request = true, with_.request_queue = 1, with_.request_index = 255,
		     with_.request_out = 1024, with_.request_in = 1024);
	Error err;

	(void)state;
	assert_works(judge(&blk, &waits, &err), &err);
	assert_works(judge(&waits, &waits, &err), &err);
	/* Packed rings are offered, and whether they were taken does not matter: QEMU reads four
	 * bytes more. */
	waits.packed = true;
	REFUSED(waits, VIRTIO_BLK, "packed rings are offered", (void)with_);
	REFUSED(waits, VIRTIO_BLK, "packed rings are offered", with_.features_high = 4,
		with_.last_available = 7);
	PASSES(waits, with_.request = false);
	waits.packed = false;
	REFUSED(waits, VIRTIO_BLK, "mark", with_.request_mark = 2);
	REFUSED(waits, VIRTIO_BLK, "queue of a request", with_.request_queue = 2);
	REFUSED(waits, VIRTIO_BLK, "entry of a request", with_.request_index = 256);
	/* CVE-2013-4535, CVE-2013-4536 */
	REFUSED(waits, VIRTIO_BLK, "buffers of a request", with_.request_in = 1025);
	REFUSED(waits, VIRTIO_BLK, "buffers of a request", with_.request_out = UINT32_MAX);
}

static void test_console_ports(void **state)
{
	const Device waits = WITH(console, with_.request = true, with_.request_out = 1,
				  with_.port_offset = 10, with_.port_length = 10);
	Error err;

	(void)state;
	PASSES(console, with_.started = 1);
	assert_works(judge(&console, &waits, &err), &err);
	REFUSED(console, VIRTIO_SERIAL, "active ports", with_.ports = 2);
	REFUSED(console, VIRTIO_SERIAL, "id of a port", with_.port_id = 511);
	REFUSED(waits, VIRTIO_SERIAL, "which buffer", with_.port_buffer = 1);
	REFUSED(waits, VIRTIO_SERIAL, "offset in a buffer", with_.port_offset = 11);
	REFUSED(waits, VIRTIO_SERIAL, "entry of a request", with_.request_index = 256);
}

static void test_unknown_kind(void **state)
{
	const Device odd = WITH(blk, with_.kind = "virtio-odd");
	Error err = ERROR_INIT;

	(void)state;
	assert_refused(judge(&odd, &odd, &err), GUARD_RULE_DEVICE_VIRTIO, "not known", &err);
}

static bool judge_field(const char *type, const Buffer *twin, const Buffer *field, Error *err)
{
	AUTO_BUFFER Buffer incoming = BUFFER_INIT(HELD_MAX), local = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };

	put_held(&incoming, "t", type, field);
	put_held(&local, "t", type, twin);
	assert_works(held_pair_make(&pair, &incoming, &local, err), err);
	return held_pair_judge(&pair, err);
}

static void test_scsi_requests(void **state)
{
	AUTO_BUFFER Buffer none = BUFFER_INIT(64), one = BUFFER_INIT(64), mark = BUFFER_INIT(64);
	Error err;

	(void)state;
	put_number(&none, 0, 1);
	put_number(&one, 1, 8);
	put_number(&mark, 1, 1);
	assert_works(judge_field("scsi-requests", &none, &none, &err), &err);
	/* More in test_guard_scsi_requests.c. */
	assert_refused(judge_field("scsi-requests", &none, &one, &err), GUARD_RULE_DEVICE_SCSI,
		       "bytes behind the last one", &err);
	assert_refused(judge_field("scsi-requests", &none, &mark, &err), GUARD_RULE_DEVICE_SCSI,
		       "no disk that is known", &err);
}

/* A resource of 3 x 2 pixels with so many pieces. */
static void put_resource(Buffer *b, uint32_t width, uint32_t height, uint32_t pieces)
{
	put_number(b, 1, 4);
	put_number(b, width, 4);
	put_number(b, height, 4);
	put_number(b, 1, 4);
	put_number(b, pieces, 4);
	put_zeros(b, 12 + 3 * 2 * 4);
}

/* The end of resources, and a scanout of so many bytes that shows nothing. */
static void put_scanout(Buffer *b, size_t bytes)
{
	put_number(b, 0, 4);
	put_number(b, 0, 4);
	put_number(b, 1, 4);
	put_zeros(b, bytes);
}

static void put_gpu(Buffer *b, uint32_t width, uint32_t height, uint32_t pieces, size_t scanout)
{
	put_resource(b, width, height, pieces);
	put_scanout(b, scanout);
}

static void test_gpu(void **state)
{
	static const uint32_t bad[][4] = { { 0, 2, 1, 40 },	    { 3, 0, 1, 40 },
					   { 16385, 2, 1, 40 },	    { 3, 16385, 1, 40 },
					   { 3, 2, 16385, 40 },	    { 3, 2, UINT32_MAX, 40 },
					   { 16384, 16384, 1, 40 }, { 3, 2, 1, 44 },
					   { 3, 2, 1, 36 },	    { 3, 2, 2, 40 } };
	AUTO_BUFFER Buffer none = BUFFER_INIT(HELD_MAX), good = BUFFER_INIT(HELD_MAX);
	AUTO_BUFFER Buffer cut = BUFFER_INIT(HELD_MAX);
	Error err;

	(void)state;
	put_scanout(&none, 40);
	put_gpu(&good, 3, 2, 1, 40);
	assert_works(judge_field("virtio-gpu", &none, &none, &err), &err);
	assert_works(judge_field("virtio-gpu", &none, &good, &err), &err);
	put_number(&cut, 1, 3);
	assert_refused(judge_field("virtio-gpu", &none, &cut, &err), GUARD_RULE_DEVICE_VIRTIO_GPU,
		       "cut", &err);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUFFER Buffer b = BUFFER_INIT(HELD_MAX);

		put_gpu(&b, bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
		assert_refused(judge_field("virtio-gpu", &none, &b, &err),
			       GUARD_RULE_DEVICE_VIRTIO_GPU, "device d", &err);
	}
}

/* What a scanout shows of the resource of 3 x 2 pixels. */
typedef struct Picture {
	uint32_t resource, width, height, x, y;
	uint32_t format, pixel, picture_width, picture_height, stride, offset;
} Picture;

/* Its last row and two last columns: up to the last byte. */
static const Picture corner = { 1, 2, 1, 1, 1, 0x20020888, 4, 3, 2, 12, 12 + 4 };

static bool judge_picture(const Picture *p, uint32_t count, Error *err)
{
	AUTO_BUFFER Buffer none = BUFFER_INIT(HELD_MAX), b = BUFFER_INIT(HELD_MAX);

	put_scanout(&none, 64);
	put_resource(&b, 3, 2, 1);
	put_number(&b, 0, 4);
	put_number(&b, 1, 4);
	put_number(&b, count, 4);
	put_number(&b, p->resource, 4);
	put_number(&b, p->width, 4);
	put_number(&b, p->height, 4);
	put_number(&b, p->x, 4);
	put_number(&b, p->y, 4);
	put_zeros(&b, 20);
	put_number(&b, p->format, 4);
	put_number(&b, p->pixel, 4);
	put_number(&b, p->picture_width, 4);
	put_number(&b, p->picture_height, 4);
	put_number(&b, p->stride, 4);
	put_number(&b, p->offset, 4);
	*err = ERROR_INIT;
	return judge_field("virtio-gpu", &none, &b, err);
}

#define PICTURE(...)                                                                               \
	({                                                                                         \
		Picture with_ = corner;                                                            \
		__VA_ARGS__;                                                                       \
		with_;                                                                             \
	})
#define PICTURE_REFUSED(part, ...)                                                                 \
	do {                                                                                       \
		const Picture picture_ = PICTURE(__VA_ARGS__);                                     \
		Error err_;                                                                        \
		assert_refused(judge_picture(&picture_, 1, &err_), GUARD_RULE_DEVICE_VIRTIO_GPU,   \
			       part, &err_);                                                       \
	} while (0)
#define PICTURE_PASSES(...)                                                                        \
	do {                                                                                       \
		const Picture picture_ = PICTURE(__VA_ARGS__);                                     \
		Error err_;                                                                        \
		assert_works(judge_picture(&picture_, 1, &err_), &err_);                           \
	} while (0)

/* QEMU makes a picture of these numbers and the resource's memory, and shows it. */
static void test_gpu_scanouts(void **state)
{
	Error err;

	(void)state;
	PICTURE_PASSES((void)with_);
	PICTURE_PASSES(with_.format = 0x20098888);
	PICTURE_PASSES(with_ = (Picture){ 1, 3, 2, 0, 0, 0x20020888, 4, 3, 2, 12, 0 });
	/* All of it, as before 9.0; and nothing is shown. */
	PICTURE_PASSES(with_.format = 0, with_.offset = 4096);
	PICTURE_PASSES(with_.resource = 0, with_.offset = 4096);
	PICTURE_REFUSED("that there is not", with_.resource = 2);
	PICTURE_REFUSED("end of a picture (28, bound 24)", with_.offset = 20);
	PICTURE_REFUSED("end of a picture", with_.offset = 0xfffffffc);
	PICTURE_REFUSED("end of a picture (36, bound 24)", with_.height = 2, with_.y = 0);
	PICTURE_REFUSED("stride or offset", with_.offset = 15);
	PICTURE_REFUSED("stride or offset", with_.stride = 16);
	PICTURE_REFUSED("stride or offset", with_.stride = 4);
	PICTURE_REFUSED("stride or offset", with_.stride = 10);
	PICTURE_REFUSED("format", with_.format = 0x10020565);
	PICTURE_REFUSED("format", with_.format = 0x40020888);
	PICTURE_REFUSED("format", with_.pixel = 3);
	PICTURE_REFUSED("larger than its resource", with_.picture_width = 4);
	PICTURE_REFUSED("larger than its resource", with_.picture_height = 3);
	PICTURE_REFUSED("columns", with_.x = 2);
	PICTURE_REFUSED("columns", with_.width = 0);
	PICTURE_REFUSED("columns", with_.x = UINT32_MAX);
	PICTURE_REFUSED("rows", with_.y = 2);
	PICTURE_REFUSED("rows", with_.height = 0);
	PICTURE_REFUSED("rows", with_.format = 0, with_.height = 3);
	assert_refused(judge_picture(&corner, 0, &err), GUARD_RULE_DEVICE_VIRTIO_GPU, "scanouts",
		       &err);
	assert_refused(judge_picture(&corner, 2, &err), GUARD_RULE_DEVICE_VIRTIO_GPU,
		       "so many scanouts", &err);
}

/* Any byte of a field may be anything: what is judged reads nothing past its end. */
static void test_damage(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	static const Device *const devices[] = { &net, &blk, &console };
	enum { FIELD_AT = 1 + 4 + 1 + 1 + 8, FIRST_BYTES = 1100, STEP = 3 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		const Device device = WITH(*devices[i], with_.rss = devices[i]->pairs);
		AUTO_BUFFER Buffer local = BUFFER_INIT(HELD_MAX);
		AUTO_HELD_PAIR HeldPair pair = { 0 };
		Error err;

		put_device(&local, &device);
		assert_works(held_pair_make(&pair, &local, &local, &err), &err);
		assert_works(held_pair_judge(&pair, &err), &err);
		for (size_t at = FIELD_AT; at < FIELD_AT + FIRST_BYTES; at += STEP) {
			const uint8_t before = pair.incoming.data[at];

			pair.incoming.data[at] = values[at / STEP % sizeof(values)];
			if (!held_pair_judge(&pair, &err))
				assert_int_equal(err.category, ERROR_PEER);
			pair.incoming.data[at] = before;
		}
		assert_works(held_pair_judge(&pair, &err), &err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),	       cmocka_unit_test(test_subsections),
		cmocka_unit_test(test_packed),	       cmocka_unit_test(test_net),
		cmocka_unit_test(test_net_hash_table), cmocka_unit_test(test_blk_requests),
		cmocka_unit_test(test_console_ports),  cmocka_unit_test(test_unknown_kind),
		cmocka_unit_test(test_scsi_requests),  cmocka_unit_test(test_gpu),
		cmocka_unit_test(test_gpu_scanouts),   cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
