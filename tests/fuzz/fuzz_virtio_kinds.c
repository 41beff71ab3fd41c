/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard/virtio_kinds.c: which device, then what it wrote behind the part that all share. What
 * passes is its own end: the bytes that were read pass alone, and no less of them do.
 */
#include "base/bounds.h"
#include "guard/virtio_kinds.h"
#include "tests/fuzz/fuzz.h"

enum { IOMMU, MEM_WHOLE, MEM_SIZES, KIND_COUNT };
enum { BLOCK = 2 << 20, BLOCKS = 70 };
enum { REACHED_REFUSED = KIND_COUNT, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "virtio-iommu", "virtio-mem as a whole",
							  "virtio-mem, its sizes", "refused" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static bool read_kind(uint8_t kind, Reader *reader)
{
	const VirtioMem memory = { .is_whole = kind == MEM_WHOLE,
				   .address = UINT64_C(4) << 30,
				   .region_bytes = (uint64_t)BLOCKS * BLOCK,
				   .block_bytes = kind == MEM_WHOLE ? BLOCK : 1,
				   .node = 1 };
	VirtioFault fault = { 0 };

	if (kind == IOMMU ? virtio_iommu_read(reader, &fault)
			  : virtio_mem_read(reader, &memory, &fault))
		return true;
	if (!fault.what || !*fault.what)
		fuzz_fail("a refusal without a reason");
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reader reader = reader_of(data, size);
	size_t taken;
	uint8_t kind;

	if (!reader_get_u8(&reader, &kind))
		return 0;
	kind %= KIND_COUNT;
	if (!read_kind(kind, &reader)) {
		fuzz_reached(REACHED_REFUSED);
		return 0;
	}
	taken = size - 1 - reader.left;
	reader = reader_of(data + 1, taken);
	if (!read_kind(kind, &reader) || reader.left)
		fuzz_fail("what was read does not pass alone");
	reader = reader_of(data + 1, taken - 1);
	if (read_kind(kind, &reader))
		fuzz_fail("a byte less passes too");
	fuzz_reached(kind);
	return 0;
}
