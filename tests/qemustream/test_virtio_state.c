/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "qemustream/virtio_state.h"

static const char tail[] = "\5\x15virtio/64bit_features\0\0\0\1\0\0\0\0\0\0\0\1";
static const VirtioShape shape = { .pci_bytes = 256, .vectors = 3, .config_bytes = 8, .queues = 2 };

typedef struct Device {
	VirtioShape shape;
	uint32_t version, queue_size, macs, features;
	uint16_t vector, config_vector, selected, made, pairs;
} Device;

static const Device good = { .shape = { 256, 3, 8, 2 },
			     .version = 2,
			     .queue_size = 256,
			     .macs = 2,
			     .vector = 2,
			     .made = 4,
			     .pairs = 3 };

static void must(bool ok)
{
	assert_true(ok);
}

static void put(Buffer *b, const void *data, size_t size)
{
	Error err = ERROR_INIT;

	must(!size || buffer_put(b, data, size, &err));
}

static void put16(Buffer *b, uint16_t value)
{
	Error err = ERROR_INIT;

	must(buffer_put_be16(b, value, &err));
}

static void put32(Buffer *b, uint32_t value)
{
	Error err = ERROR_INIT;

	must(buffer_put_be32(b, value, &err));
}

/* A network device; the offsets of its parts follow from virtio_state.h. */
static void put_device(Buffer *b, const Device *d)
{
	static const uint8_t zeros[4096];
	uint8_t pci[256] = { [0x34] = 0x40, [0x40] = 0x09, [0x41] = 0x50, [0x50] = 0x11 };

	pci[0x52] = (uint8_t)(d->shape.vectors - 1);
	if (!d->shape.vectors)
		pci[0x41] = 0;
	if (d->shape.pci_bytes == 4096)
		pci[0x40] = 0x10;
	put32(b, d->version);
	put(b, pci, sizeof(pci));
	put(b, zeros, d->shape.pci_bytes - sizeof(pci) + 16);
	put(b, zeros, d->shape.vectors * 16 + (d->shape.vectors + 7) / 8);
	if (d->shape.vectors)
		put16(b, d->config_vector);
	put(b, "\x0f\1", 2);
	put16(b, d->selected);
	put32(b, d->features);
	put32(b, d->shape.config_bytes);
	put(b, zeros, d->shape.config_bytes);
	put32(b, d->shape.queues);
	for (uint32_t i = 0; i < d->shape.queues; i++) {
		put32(b, d->queue_size);
		put(b, "\0\0\0\0\0\1\0", 8);
		put16(b, 7);
		if (d->shape.vectors)
			put16(b, d->vector);
	}
	put(b, "\x52\x54\0\0\0\1", 6);
	put(b, zeros, 4 + 4 + 2 + 2);
	put32(b, d->macs);
	put(b, zeros, d->macs * 6 + 512 + 4 + 6 + 1);
	put16(b, d->made);
	put16(b, d->pairs);
	put(b, zeros, d->pairs ? (size_t)(d->pairs - 1) * 4 : 0);
	if (d->features & 4)
		put(b, "\0\0\0\0\0\0\0\x21", 8);
	put(b, tail, sizeof(tail) - 1);
}

static bool decode(const Device *device, const VirtioShape *expected, VirtioState *state,
		   VirtioNetState *net, Error *err)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);
	AUTO_FREE uint8_t *exact = NULL;

	put_device(&bytes, device);
	exact = malloc(bytes.used);
	memcpy(exact, bytes.data, bytes.used);
	return virtio_state_decode(exact, bytes.used, expected, state, err) &&
	       virtio_net_state_decode(state, 4, net, err) &&
	       state->rest_bytes - net->rest_offset == sizeof(tail) - 1;
}

static void test_good_devices(void **context)
{
	static const VirtioShape no_msix = { 256, 0, 8, 2 }, express = { 4096, 3, 60, 1024 };
	VirtioState state;
	VirtioNetState net;
	Device device = good;
	Error err;

	(void)context;
	assert_works(decode(&device, &shape, &state, &net, &err), &err);
	assert_works(decode(&device, NULL, &state, &net, &err), &err);
	assert_memory_equal(&state.shape, &shape, sizeof(shape));
	assert_int_equal(state.status, 15);
	assert_int_equal(state.queues[1].size, 256);
	assert_int_equal(state.queues[1].address, 0x10000);
	assert_int_equal(state.queues[1].last_available, 7);
	assert_int_equal(state.queues[1].vector, 2);
	assert_int_equal(net.macs, 2);
	assert_int_equal(net.pairs, 3);
	assert_int_equal(net.offloads, 0);
	device.features = 4;
	assert_works(decode(&device, &shape, &state, &net, &err), &err);
	assert_int_equal(net.offloads, 0x21);
	device.shape = no_msix;
	assert_works(decode(&device, &no_msix, &state, &net, &err), &err);
	assert_int_equal(state.queues[0].vector, VIRTIO_NO_VECTOR);
	device.shape = express;
	device.vector = VIRTIO_NO_VECTOR;
	device.macs = VIRTIO_NET_MACS_MAX;
	device.queue_size = VIRTIO_QUEUE_SIZE_MAX;
	device.selected = VIRTIO_QUEUES_MAX - 1;
	device.pairs = 4;
	assert_works(decode(&device, NULL, &state, &net, &err), &err);
	assert_memory_equal(&state.shape, &express, sizeof(express));
}

/* One number of a good device changed. */
typedef struct BadCase {
	size_t offset, size;
	uint32_t value;
	const char *part;
} BadCase;

#define BAD(member, value, part)                                                                   \
	{                                                                                          \
		offsetof(Device, member), sizeof(((Device *)0)->member), value, part               \
	}

static const BadCase bad_cases[] = {
	BAD(version, 3, "version of the PCI state (3, not 2)"),
	BAD(shape.vectors, 4, "MSI-X vectors (4, not 3)"),
	BAD(shape.vectors, 0, "MSI-X vectors (0, not 3)"),
	BAD(shape.pci_bytes, 4096, "size of the PCI configuration (4096, not 256)"),
	BAD(shape.config_bytes, 9, "bytes of configuration (9, not 8)"),
	BAD(shape.config_bytes, 7, "bytes of configuration (7, not 8)"),
	BAD(shape.queues, 1, "queues (1, not 2)"),
	BAD(shape.queues, 3, "queues (3, not 2)"),
	BAD(queue_size, 0, "queue 0: virtio state: entries of a queue (0, not 1024)"),
	BAD(queue_size, 1025, "entries of a queue (1025, not 1024)"),
	BAD(vector, 3, "vector past the last (3, not 2)"),
	BAD(config_vector, 3, "vector past the last (3, not 2)"),
	BAD(selected, 1024, "selected queue (1024, not 1023)"),
	BAD(macs, 65, "MAC addresses in the filter (65, not 64)"),
	BAD(made, 3, "queue pairs (3, not 4)"),
	BAD(pairs, 0, "queue pairs in use (0, not 4)"),
	BAD(pairs, 5, "queue pairs in use (5, not 4)"),
};

static Device change(const BadCase *bad)
{
	Device device = good;
	const uint16_t small = (uint16_t)bad->value;

	memcpy((uint8_t *)&device + bad->offset,
	       bad->size == sizeof(small) ? (const void *)&small : &bad->value, bad->size);
	return device;
}

static void test_bad_devices(void **context)
{
	VirtioState state;
	VirtioNetState net;
	Error err;

	(void)context;
	for (size_t i = 0; i < ARRAY_SIZE(bad_cases); i++) {
		const Device device = change(&bad_cases[i]);

		assert_fails(decode(&device, &shape, &state, &net, &err), ERROR_PEER,
			     bad_cases[i].part, &err);
	}
}

/* The device's own bytes in place of ours: bounds hold there too. */
static void test_without_a_shape(void **context)
{
	static const BadCase queues = BAD(shape.queues, 1025, "queues (1025, not 1024)");
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20), more = BUFFER_INIT(1 << 20);
	const Device device = change(&queues);
	VirtioState state;
	Error err;

	(void)context;
	put_device(&more, &device);
	assert_fails(virtio_state_decode(more.data, more.used, NULL, &state, &err), ERROR_PEER,
		     queues.part, &err);
	put_device(&bytes, &good);
	/* PCI state, three vectors, registers: then the length of the configuration. */
	store_be32(bytes.data + 4 + 256 + 16 + 3 * 16 + 1 + 2 + 8, 4097);
	assert_fails(virtio_state_decode(bytes.data, bytes.used, NULL, &state, &err), ERROR_PEER,
		     "bytes of configuration (4097, not 4096)", &err);
}

static void never_crash(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	const size_t *whole = context;
	VirtioState state;
	VirtioNetState net;
	Error err = ERROR_INIT;
	const bool works = virtio_state_decode(data, size, &shape, &state, &err) &&
			   virtio_net_state_decode(&state, 4, &net, &err);

	/* A cut inside the subsections is not ours to see. */
	if (mutation == MUTATION_CUT)
		assert_int_equal(works, size >= *whole - (sizeof(tail) - 1));
	/* Any shape, which a changed byte may tell, must be one that is bounded. */
	if (virtio_state_decode(data, size, NULL, &state, &err))
		assert_in_range(state.shape.queues, 0, VIRTIO_QUEUES_MAX);
}

static void test_mutations(void **context)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);

	(void)context;
	put_device(&bytes, &good);
	support_mutate(bytes.data, bytes.used, never_crash, &bytes.used);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_devices),
		cmocka_unit_test(test_bad_devices),
		cmocka_unit_test(test_without_a_shape),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
