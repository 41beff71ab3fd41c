/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/image_probe.c: the head of a disk that a guest could write. Byte 0 chooses the format. */
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/image_probe.h"

enum { REACHED_RAW, REACHED_PLANTED, REACHED_QCOW2, REACHED_REFUSAL };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "a raw disk", "a planted header", "a qcow2 image",
					     "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const DiskFormat format = size && data[0] ? DISK_QCOW2 : DISK_RAW;
	uint64_t size_bytes;
	Error err = ERROR_INIT;

	if (!size)
		return 0;
	if (image_probe(format, data + 1, size - 1, &size_bytes, &err)) {
		fuzz_reached(format == DISK_RAW ? REACHED_RAW : REACHED_QCOW2);
		if (format == DISK_RAW && size_bytes)
			fuzz_fail("a raw disk that tells its size");
		return 0;
	}
	if (err.category != ERROR_DENIED || !err.text[0])
		fuzz_fail("a refusal without a reason");
	fuzz_reached(format == DISK_RAW ? REACHED_PLANTED : REACHED_REFUSAL);
	return 0;
}
