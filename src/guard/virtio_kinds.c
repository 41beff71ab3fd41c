/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/virtio_kinds.h"

#include <string.h>

enum {
	ELEMENTS_MAX = 1 << 20, /* of a tree or list; each takes five bytes at least */
	MAPPING_FLAGS = 7,	/* VIRTIO 1.2, 5.13.6.5: read, write, MMIO */
	TAG_SUBSECTION = 5,
	BITS = 64,
};

/* Of any, after its tag and length. */
#define SUBSECTION "virtio/"

static bool fault(VirtioFault *ret_fault, const char *what, uint64_t is, uint64_t bound)
{
	*ret_fault = (VirtioFault){ what, is, bound };
	return false;
}

static bool is_cut(const Reader *reader, VirtioFault *ret_fault)
{
	return fault(ret_fault, "cut inside what the device wrote", reader->left, 0);
}

/* --- virtio-iommu --- */

/* Whether one more element follows. */
static bool read_mark(Reader *reader, bool *ret_more, VirtioFault *ret_fault)
{
	uint8_t mark;

	if (!reader_get_u8(reader, &mark))
		return is_cut(reader, ret_fault);
	*ret_more = mark;
	return mark <= 1 || fault(ret_fault, "the mark of an element", mark, 1);
}

static bool check_count(uint32_t told, uint32_t count, VirtioFault *ret_fault)
{
	return told == count || fault(ret_fault, "elements of a tree", told, count);
}

/* Intervals that overlap are one to QEMU's tree: the one before would be freed. */
static bool read_mappings(Reader *reader, VirtioFault *ret_fault)
{
	uint64_t low, high, physical, last = 0;
	uint32_t told, flags, count = 0;
	bool more = true;

	if (!reader_get_be32(reader, &told))
		return is_cut(reader, ret_fault);
	while (true) {
		if (!read_mark(reader, &more, ret_fault))
			return false;
		if (!more)
			return check_count(told, count, ret_fault);
		if (!reader_get_be64(reader, &low) || !reader_get_be64(reader, &high) ||
		    !reader_get_be64(reader, &physical) || !reader_get_be32(reader, &flags))
			return is_cut(reader, ret_fault);
		if (high < low || (count && low <= last))
			return fault(ret_fault, "a mapping not behind the one before", low, last);
		if (flags > MAPPING_FLAGS)
			return fault(ret_fault, "flags of a mapping", flags, MAPPING_FLAGS);
		if (++count > ELEMENTS_MAX)
			return fault(ret_fault, "mappings", count, ELEMENTS_MAX);
		last = high;
	}
}

static bool read_endpoints(Reader *reader, VirtioFault *ret_fault)
{
	bool more = true;
	uint32_t id;

	for (uint32_t count = 0; count <= UINT16_MAX + 1; count++) {
		if (!read_mark(reader, &more, ret_fault))
			return false;
		if (!more)
			return true;
		if (!reader_get_be32(reader, &id))
			return is_cut(reader, ret_fault);
		/* Bus, device and function of PCI. */
		if (id > UINT16_MAX)
			return fault(ret_fault, "an endpoint", id, UINT16_MAX);
	}
	return fault(ret_fault, "endpoints of a domain", UINT16_MAX + 2, UINT16_MAX + 1);
}

static bool read_flag(Reader *reader, VirtioFault *ret_fault)
{
	uint8_t flag;

	if (!reader_get_u8(reader, &flag))
		return is_cut(reader, ret_fault);
	return flag <= 1 || fault(ret_fault, "a flag", flag, 1);
}

static bool read_domain(Reader *reader, uint64_t *key, VirtioFault *ret_fault)
{
	uint32_t id;

	if (!reader_get_be64(reader, key) || !reader_get_be32(reader, &id))
		return is_cut(reader, ret_fault);
	if (id != *key)
		return fault(ret_fault, "a domain under another id", id, *key);
	return read_mappings(reader, ret_fault) && read_endpoints(reader, ret_fault) &&
	       read_flag(reader, ret_fault);
}

bool virtio_iommu_read(Reader *reader, VirtioFault *ret_fault)
{
	uint32_t told, count = 0;
	uint64_t key, last = 0;
	bool more = true;

	if (!reader_get_be32(reader, &told))
		return is_cut(reader, ret_fault);
	while (true) {
		if (!read_mark(reader, &more, ret_fault))
			return false;
		if (!more)
			return check_count(told, count, ret_fault) && read_flag(reader, ret_fault);
		if (!read_domain(reader, &key, ret_fault))
			return false;
		if (count && key <= last)
			return fault(ret_fault, "a domain not behind the one before", key, last);
		if (++count > ELEMENTS_MAX)
			return fault(ret_fault, "domains", count, ELEMENTS_MAX);
		last = key;
	}
}

/* --- virtio-mem --- */

/* Two sizes, or place, three sizes and a bitmap; then the first subsection. */
bool virtio_mem_learn(const VirtioState *state, VirtioMem *ret_memory)
{
	Reader rest = reader_of(state->rest, state->rest_bytes);
	VirtioMem memory = { .block_bytes = 1 };
	uint64_t usable, size;

	if (!reader_get_be64(&rest, &usable) || !reader_get_be64(&rest, &size) || !rest.left)
		return false;
	if (rest.left > sizeof(SUBSECTION) - 1 && rest.data[0] == TAG_SUBSECTION &&
	    !memcmp(rest.data + 2, SUBSECTION, sizeof(SUBSECTION) - 1)) {
		memory.region_bytes = usable;
		*ret_memory = memory;
		return true;
	}
	memory.is_whole = true;
	memory.address = usable;
	memory.region_bytes = size;
	if (!reader_get_be64(&rest, &memory.block_bytes) || !reader_get_be32(&rest, &memory.node) ||
	    !memory.block_bytes)
		return false;
	*ret_memory = memory;
	return true;
}

/* Of the memory device before its sizes: QEMU compares them too. */
static bool read_place(Reader *reader, const VirtioMem *memory, VirtioFault *ret_fault)
{
	uint64_t address, region, block;
	uint32_t node;

	if (!reader_get_be64(reader, &address) || !reader_get_be64(reader, &region) ||
	    !reader_get_be64(reader, &block) || !reader_get_be32(reader, &node))
		return is_cut(reader, ret_fault);
	if (address != memory->address)
		return fault(ret_fault, "the address of its region", address, memory->address);
	if (region != memory->region_bytes)
		return fault(ret_fault, "bytes of its region", region, memory->region_bytes);
	if (block != memory->block_bytes)
		return fault(ret_fault, "bytes of a block", block, memory->block_bytes);
	return node == memory->node || fault(ret_fault, "its node", node, memory->node);
}

static bool read_size(Reader *reader, const VirtioMem *memory, uint64_t *ret_size,
		      VirtioFault *ret_fault)
{
	if (!reader_get_be64(reader, ret_size))
		return is_cut(reader, ret_fault);
	if (*ret_size > memory->region_bytes)
		return fault(ret_fault, "a size of its region", *ret_size, memory->region_bytes);
	return !(*ret_size % memory->block_bytes) ||
	       fault(ret_fault, "a size of no whole blocks", *ret_size, memory->block_bytes);
}

/* A bit for each block. */
static bool read_bitmap(Reader *reader, const VirtioMem *memory, uint64_t size,
			VirtioFault *ret_fault)
{
	const uint64_t blocks = memory->region_bytes / memory->block_bytes;
	uint64_t word, plugged = 0;

	for (uint64_t i = 0; i < blocks; i += BITS) {
		if (!reader_get_be64(reader, &word))
			return is_cut(reader, ret_fault);
		if (blocks - i < BITS && word >> (blocks - i))
			return fault(ret_fault, "a block past the region", blocks, blocks);
		plugged += (uint64_t)__builtin_popcountll(word);
	}
	return plugged == size / memory->block_bytes ||
	       fault(ret_fault, "plugged blocks", plugged, size / memory->block_bytes);
}

bool virtio_mem_read(Reader *reader, const VirtioMem *memory, VirtioFault *ret_fault)
{
	uint64_t usable, size, requested;

	if (memory->is_whole && !read_place(reader, memory, ret_fault))
		return false;
	if (!read_size(reader, memory, &usable, ret_fault) ||
	    (memory->is_whole && !read_size(reader, memory, &size, ret_fault)) ||
	    !read_size(reader, memory, &requested, ret_fault))
		return false;
	return !memory->is_whole || read_bitmap(reader, memory, size, ret_fault);
}
