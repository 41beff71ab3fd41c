/* SPDX-License-Identifier: Apache-2.0 */
/* State of virtio-iommu and virtio-mem, made here: what passes, and the same with one thing
 * changed. */
#include "tests/support/support.h"

#include <string.h>

#include "guard/virtio_kinds.h"

enum { BYTES_MAX = 1 << 16, BLOCK = 2 << 20, BLOCKS = 70, IOMMU_BYTES = 109 };

static void put(Buffer *b, uint64_t value, size_t bytes)
{
	uint8_t text[8];
	Error err;

	store_be64(text, value);
	assert_works(buffer_put(b, text + 8 - bytes, bytes, &err), &err);
}

/* All of it must be read for it to pass. */
#define ASSERT_PASSES(call, reader, fault)                                                         \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_msg("refused: %s", (fault).what);                                     \
		assert_int_equal((reader).left, 0);                                                \
	} while (0)
#define ASSERT_REFUSED(call, fault, part)                                                          \
	do {                                                                                       \
		assert_false(call);                                                                \
		if (!strstr((fault).what, part))                                                   \
			fail_msg("%s, not %s", (fault).what, part);                                \
	} while (0)

/* --- virtio-iommu --- */

typedef struct Iommu {
	uint32_t domains;
	uint8_t mark;
	uint64_t key;
	uint32_t id, mappings;
	uint64_t low, high, next_low;
	uint32_t flags, endpoint;
	uint8_t bypass, all_bypass;
	uint64_t next_key;
	size_t cut;
} Iommu;

static const Iommu iommu = { .domains = 2,
			     .mark = 1,
			     .key = 3,
			     .id = 3,
			     .mappings = 2,
			     .low = 4096,
			     .high = 8191,
			     .next_low = 8192,
			     .flags = 7,
			     .endpoint = 0xffff,
			     .next_key = 4 };

static void put_mapping(Buffer *b, uint64_t low, uint64_t high, uint32_t flags)
{
	put(b, 1, 1);
	put(b, low, 8);
	put(b, high, 8);
	put(b, UINT64_MAX, 8);
	put(b, flags, 4);
}

static bool judge_iommu(const Iommu *d, Reader *reader, Buffer *b, VirtioFault *fault)
{
	put(b, d->domains, 4);
	put(b, d->mark, 1);
	put(b, d->key, 8);
	put(b, d->id, 4);
	put(b, d->mappings, 4);
	put_mapping(b, d->low, d->high, d->flags);
	put_mapping(b, d->next_low, UINT64_MAX, 0);
	put(b, 0, 1);
	put(b, 1, 1);
	put(b, d->endpoint, 4);
	put(b, 0, 1);
	put(b, d->bypass, 1);
	/* A domain of nothing. */
	put(b, 1, 1);
	put(b, d->next_key, 8);
	put(b, d->next_key, 4);
	put(b, 0, 4);
	put(b, 0, 1);
	put(b, 0, 1);
	put(b, 1, 1);
	put(b, 0, 1);
	put(b, d->all_bypass, 1);
	*reader = reader_of(b->data, b->used - d->cut);
	return virtio_iommu_read(reader, fault);
}

#define IOMMU(part, ...)                                                                           \
	do {                                                                                       \
		AUTO_BUFFER Buffer bytes_ = BUFFER_INIT(BYTES_MAX);                                \
		Iommu changed_ = iommu, *const with = &changed_;                                   \
		const char *part_ = (part);                                                        \
		VirtioFault fault_ = { .what = "" };                                               \
		Reader reader_;                                                                    \
		__VA_ARGS__;                                                                       \
		if (part_)                                                                         \
			ASSERT_REFUSED(judge_iommu(with, &reader_, &bytes_, &fault_), fault_,      \
				       part_);                                                     \
		else                                                                               \
			ASSERT_PASSES(judge_iommu(with, &reader_, &bytes_, &fault_), reader_,      \
				      fault_);                                                     \
	} while (0)

static void test_iommu(void **state)
{
	const uint8_t none[] = { 0, 0, 0, 0, 0, 1 };
	Reader reader = reader_of(none, sizeof(none));
	VirtioFault fault = { .what = "" };

	(void)state;
	ASSERT_PASSES(virtio_iommu_read(&reader, &fault), reader, fault);
	IOMMU(NULL, (void)with);
	IOMMU(NULL, with->bypass = 1, with->all_bypass = 1);
	IOMMU("elements of a tree", with->domains = 3);
	IOMMU("elements of a tree", with->mappings = 1);
	IOMMU("mark of an element", with->mark = 2);
	IOMMU("another id", with->id = 4);
	IOMMU("another id", with->key = (UINT64_C(1) << 32) + 3);
	IOMMU("domain not behind", with->next_key = 3);
	IOMMU("mapping not behind", with->next_low = 8191);
	IOMMU("mapping not behind", with->high = 4095);
	IOMMU("flags of a mapping", with->flags = 8);
	IOMMU("an endpoint", with->endpoint = 0x10000);
	IOMMU("a flag", with->bypass = 2);
	IOMMU("a flag", with->all_bypass = 2);
	for (size_t cut = 1; cut <= IOMMU_BYTES; cut++)
		IOMMU("cut inside", with->cut = cut);
}

/* --- virtio-mem --- */

typedef struct Mem {
	bool is_whole;
	uint64_t address, region, block;
	uint32_t node;
	uint64_t usable, size, requested;
	uint64_t words[2];
	size_t cut;
} Mem;

static const Mem mem = { .is_whole = true,
			 .address = UINT64_C(4) << 30,
			 .region = (uint64_t)BLOCKS * BLOCK,
			 .block = BLOCK,
			 .node = 1,
			 .usable = (uint64_t)BLOCKS * BLOCK,
			 .size = UINT64_C(2) * BLOCK,
			 .requested = UINT64_C(3) * BLOCK,
			 .words = { 1, 32 } };

static void put_mem(Buffer *b, const Mem *m)
{
	if (m->is_whole) {
		put(b, m->address, 8);
		put(b, m->region, 8);
		put(b, m->block, 8);
		put(b, m->node, 4);
	}
	put(b, m->usable, 8);
	if (m->is_whole)
		put(b, m->size, 8);
	put(b, m->requested, 8);
	for (size_t i = 0; m->is_whole && i < ARRAY_SIZE(m->words); i++)
		put(b, m->words[i], 8);
}

/* A twin of the same kind, whose guest has nothing. */
static void learn(bool is_whole, VirtioMem *memory)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(BYTES_MAX);
	static VirtioState state;
	static const char subsection[] = "\5\x14virtio/64bit_features";
	Mem twin = mem;
	Error err;

	twin.is_whole = is_whole;
	put_mem(&bytes, &twin);
	assert_works(buffer_put(&bytes, subsection, sizeof(subsection), &err), &err);
	state = (VirtioState){ .rest = bytes.data, .rest_bytes = bytes.used };
	assert_true(virtio_mem_learn(&state, memory));
	assert_int_equal(memory->is_whole, is_whole);
}

#define MEM(part, ...)                                                                             \
	do {                                                                                       \
		AUTO_BUFFER Buffer bytes_ = BUFFER_INIT(BYTES_MAX);                                \
		Mem changed_ = mem, *const with = &changed_;                                       \
		const char *part_ = (part);                                                        \
		VirtioFault fault_ = { .what = "" };                                               \
		VirtioMem memory_;                                                                 \
		Reader reader_;                                                                    \
		__VA_ARGS__;                                                                       \
		learn(with->is_whole, &memory_);                                                   \
		put_mem(&bytes_, with);                                                            \
		reader_ = reader_of(bytes_.data, bytes_.used - with->cut);                         \
		if (part_)                                                                         \
			ASSERT_REFUSED(virtio_mem_read(&reader_, &memory_, &fault_), fault_,       \
				       part_);                                                     \
		else                                                                               \
			ASSERT_PASSES(virtio_mem_read(&reader_, &memory_, &fault_), reader_,       \
				      fault_);                                                     \
	} while (0)

static void test_mem(void **state)
{
	(void)state;
	MEM(NULL, (void)with);
	MEM(NULL, with->size = 0, with->words[0] = 0, with->words[1] = 0);
	MEM("address of its region", with->address = 0);
	MEM("bytes of its region", with->region += BLOCK);
	MEM("bytes of a block", with->block = 4096);
	MEM("its node", with->node = 0);
	MEM("a size of its region", with->usable += BLOCK);
	MEM("a size of its region", with->requested = UINT64_MAX);
	MEM("no whole blocks", with->requested = 1);
	MEM("plugged blocks", with->size = BLOCK);
	MEM("plugged blocks", with->words[0] = 3);
	MEM("a block past the region", with->words[1] = 64);
	for (size_t cut = 1; cut < 60; cut += 8)
		MEM("cut inside", with->cut = cut);
	/* What machine types since 8.1 leave for here. */
	MEM(NULL, with->is_whole = false);
	MEM("a size of its region", with->is_whole = false, with->usable += 1);
	MEM("a size of its region", with->is_whole = false, with->requested = with->usable + 1);
	MEM("cut inside", with->is_whole = false, with->cut = 1);
}

static void test_no_mem(void **state)
{
	static const uint8_t bytes[32];
	VirtioState other = { .rest = bytes, .rest_bytes = sizeof(bytes) };
	VirtioMem memory;

	(void)state;
	/* Blocks of no bytes. */
	assert_false(virtio_mem_learn(&other, &memory));
	other.rest_bytes = 16;
	assert_false(virtio_mem_learn(&other, &memory));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iommu),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_no_mem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
