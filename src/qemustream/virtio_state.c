/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/virtio_state.h"

#include <string.h>

#include "base/buffer.h"

enum {
	/* PCI 3.0, 6.7: the list of capabilities */
	PCI_BYTES = 256,
	PCI_EXPRESS_BYTES = 4096,
	PCI_CAPABILITIES = 0x34,
	PCI_CAPABILITY_MSIX = 0x11,
	PCI_CAPABILITY_EXPRESS = 0x10,
	PCI_CAPABILITIES_MAX = 48, /* of 4 bytes and more in 192 */
	PCI_STATE_VERSION = 2,	   /* vmstate_pci_device, hw/pci/pci.c */
	PCI_INTERRUPTS = 16,
	MSIX_ENTRY = 16,
	CONFIG_MAX = 4096, /* the largest of QEMU's is below 400 */
	/* hw/net/virtio-net.c */
	NET_MAC = 6,
	NET_VLANS = 4096 / 8,
	NET_FLAGS = 6,
	NET_FEATURE_OFFLOADS = 1 << 2, /* VIRTIO 1.2, 5.1.3: VIRTIO_NET_F_CTRL_GUEST_OFFLOADS */
	TAG_SUBSECTION = 5,
};

static bool is_cut(const char *what, const Reader *reader, Error *err)
{
	return error_set(err, ERROR_PEER, "virtio state ends %zu bytes before its end, inside %s",
			 reader->left, what);
}

static bool differs(const char *what, unsigned long long is, unsigned long long should, Error *err)
{
	return error_set(err, ERROR_PEER, "virtio state: %s (%llu, not %llu)", what, is, should);
}

/* The shape that our own device's configuration space tells. */
static void read_capabilities(const uint8_t *pci, VirtioShape *shape)
{
	uint8_t at = pci[PCI_CAPABILITIES];

	shape->pci_bytes = PCI_BYTES;
	shape->vectors = 0;
	for (int i = 0; at >= 0x40 && at <= PCI_BYTES - 4 && i < PCI_CAPABILITIES_MAX; i++) {
		if (pci[at] == PCI_CAPABILITY_EXPRESS)
			shape->pci_bytes = PCI_EXPRESS_BYTES;
		/* Little-endian, as all of PCI: the table's size less one. */
		if (pci[at] == PCI_CAPABILITY_MSIX)
			shape->vectors = ((pci[at + 2] | pci[at + 3] << 8) & 0x7ff) + 1;
		at = pci[at + 1];
	}
}

static bool read_pci(Reader *reader, const VirtioShape *shape, VirtioState *state, Error *err)
{
	const uint8_t *bytes;
	uint32_t version;
	VirtioShape own;

	if (!reader_get_be32(reader, &version) || reader->left < PCI_BYTES)
		return is_cut("the PCI configuration", reader, err);
	if (version != PCI_STATE_VERSION)
		return differs("version of the PCI state", version, PCI_STATE_VERSION, err);
	read_capabilities(reader->data, &own);
	if (shape && own.vectors != shape->vectors)
		return differs("MSI-X vectors", own.vectors, shape->vectors, err);
	if (shape && own.pci_bytes != shape->pci_bytes)
		return differs("size of the PCI configuration", own.pci_bytes, shape->pci_bytes,
			       err);
	state->shape.vectors = own.vectors;
	state->shape.pci_bytes = own.pci_bytes;
	if (!reader_skip(reader, own.pci_bytes + PCI_INTERRUPTS, &bytes) ||
	    !reader_skip(reader, own.vectors * MSIX_ENTRY + (own.vectors + 7) / 8, &bytes))
		return is_cut("the PCI state", reader, err);
	state->config_vector = VIRTIO_NO_VECTOR;
	return !own.vectors || reader_get_be16(reader, &state->config_vector) ||
	       is_cut("the PCI state", reader, err);
}

static bool check_vector(const VirtioState *state, uint16_t vector, Error *err)
{
	return vector == VIRTIO_NO_VECTOR || vector < state->shape.vectors ||
	       differs("a vector past the last", vector,
		       state->shape.vectors ? state->shape.vectors - 1 : 0, err);
}

static bool read_device(Reader *reader, const VirtioShape *shape, VirtioState *state, Error *err)
{
	if (!reader_get_u8(reader, &state->status) || !reader_get_u8(reader, &state->isr) ||
	    !reader_get_be16(reader, &state->selected_queue) ||
	    !reader_get_be32(reader, &state->features) ||
	    !reader_get_be32(reader, &state->shape.config_bytes))
		return is_cut("the registers", reader, err);
	if (state->selected_queue >= VIRTIO_QUEUES_MAX)
		return differs("selected queue", state->selected_queue, VIRTIO_QUEUES_MAX - 1, err);
	if (shape ? state->shape.config_bytes != shape->config_bytes
		  : state->shape.config_bytes > CONFIG_MAX)
		return differs("bytes of configuration", state->shape.config_bytes,
			       shape ? shape->config_bytes : CONFIG_MAX, err);
	if (!reader_skip(reader, state->shape.config_bytes, &state->config) ||
	    !reader_get_be32(reader, &state->shape.queues))
		return is_cut("the configuration", reader, err);
	if (shape ? state->shape.queues != shape->queues : state->shape.queues > VIRTIO_QUEUES_MAX)
		return differs("queues", state->shape.queues,
			       shape ? shape->queues : VIRTIO_QUEUES_MAX, err);
	return check_vector(state, state->config_vector, err);
}

static bool read_queue(Reader *reader, VirtioState *state, VirtioQueue *queue, Error *err)
{
	*queue = (VirtioQueue){ .vector = VIRTIO_NO_VECTOR };
	if (!reader_get_be32(reader, &queue->size) || !reader_get_be64(reader, &queue->address) ||
	    !reader_get_be16(reader, &queue->last_available) ||
	    (state->shape.vectors && !reader_get_be16(reader, &queue->vector)))
		return is_cut("the queues", reader, err);
	/* QEMU ends its list at the first queue of no entries. */
	if (queue->size < 1 || queue->size > VIRTIO_QUEUE_SIZE_MAX)
		return differs("entries of a queue", queue->size, VIRTIO_QUEUE_SIZE_MAX, err);
	return check_vector(state, queue->vector, err);
}

bool virtio_state_decode(const uint8_t *bytes, size_t size, const VirtioShape *shape,
			 VirtioState *ret_state, Error *err)
{
	Reader reader = reader_of(bytes, size);

	*ret_state = (VirtioState){ .status = 0 };
	if (shape && (shape->queues > VIRTIO_QUEUES_MAX || shape->config_bytes > CONFIG_MAX ||
		      shape->vectors > VIRTIO_VECTORS_MAX))
		return error_set(err, ERROR_INTERNAL, "a virtio device past the bounds");
	if (!read_pci(&reader, shape, ret_state, err) ||
	    !read_device(&reader, shape, ret_state, err))
		return false;
	for (uint32_t i = 0; i < ret_state->shape.queues; i++)
		if (!read_queue(&reader, ret_state, &ret_state->queues[i], err))
			return error_prefix(err, "queue %u", i);
	ret_state->rest = reader.data;
	ret_state->rest_bytes = reader.left;
	return true;
}

static bool read_filters(Reader *reader, VirtioNetState *net, Error *err)
{
	/* Before the table: MAC, waiting, mergeable buffers, status, two flags. */
	enum { BEFORE = NET_MAC + 4 + 4 + 2 + 2 };
	/* Behind it: VLANs, virtio-net header or not, six flags, UFO or not. */
	enum { BEHIND = NET_VLANS + 4 + NET_FLAGS + 1 };
	const uint8_t *bytes;

	if (!reader_skip(reader, BEFORE, &bytes) || !reader_get_be32(reader, &net->macs))
		return is_cut("the network state", reader, err);
	if (net->macs > VIRTIO_NET_MACS_MAX)
		return differs("MAC addresses in the filter", net->macs, VIRTIO_NET_MACS_MAX, err);
	return reader_skip(reader, net->macs * NET_MAC + BEHIND, &bytes) ||
	       is_cut("the network filters", reader, err);
}

/* Devices of one pair do not write how many. */
static bool read_pairs(Reader *reader, uint16_t max_pairs, VirtioNetState *net, Error *err)
{
	const uint8_t *bytes;
	uint16_t made;

	net->pairs = 1;
	if (max_pairs <= 1)
		return true;
	if (!reader_get_be16(reader, &made) || !reader_get_be16(reader, &net->pairs))
		return is_cut("the queue pairs", reader, err);
	if (made != max_pairs)
		return differs("queue pairs", made, max_pairs, err);
	if (net->pairs < 1 || net->pairs > max_pairs)
		return differs("queue pairs in use", net->pairs, max_pairs, err);
	return reader_skip(reader, (size_t)(net->pairs - 1) * 4, &bytes) ||
	       is_cut("the queue pairs", reader, err);
}

bool virtio_net_state_decode(const VirtioState *state, uint16_t max_pairs, VirtioNetState *ret_net,
			     Error *err)
{
	Reader reader = reader_of(state->rest, state->rest_bytes);

	*ret_net = (VirtioNetState){ .pairs = 1 };
	if (!read_filters(&reader, ret_net, err) || !read_pairs(&reader, max_pairs, ret_net, err))
		return false;
	if (state->features & NET_FEATURE_OFFLOADS && !reader_get_be64(&reader, &ret_net->offloads))
		return is_cut("the offloads", &reader, err);
	if (reader.left && reader.data[0] != TAG_SUBSECTION)
		return differs("no subsection behind the network state", reader.data[0],
			       TAG_SUBSECTION, err);
	ret_net->rest_offset = state->rest_bytes - reader.left;
	return true;
}
