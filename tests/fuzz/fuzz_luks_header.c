/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/luks_header.c: the header of an encrypted image that a peer or a guest could have written.
 * The first eight bytes are the size of its area.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/luks_header.h"

enum {
	REACHED_PASSED,
	REACHED_CIPHER,
	REACHED_PAYLOAD,
	REACHED_SLOT,
	REACHED_TURNS,
	AREA_BYTES = 8,
	SECTOR_BYTES = 512,
	/* LUKS1 On-Disk Format Specification 1.2.3, figures 1 and 2 */
	AT_PAYLOAD = 104,
	AT_DIGEST_TURNS = 164,
	AT_SLOTS = 208,
	SLOTS = 8,
	SLOT_BYTES = 48,
	MATERIAL_BYTES = 64 * 4000,
};

static const char *const refusals[] = {
	[REACHED_CIPHER] = "LUKS cipher",
	[REACHED_PAYLOAD] = "LUKS payload",
	[REACHED_SLOT] = "LUKS slot",
	[REACHED_TURNS] = "iterations, at most",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "a header that passes", "a cipher refused",
					     "a payload outside", "a slot refused",
					     "too many turns" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static uint64_t material_of(const uint8_t *head, size_t slot)
{
	return (uint64_t)load_be32(head + AT_SLOTS + slot * SLOT_BYTES + 40) * SECTOR_BYTES;
}

/* What a hypervisor does with such a header, counted here once more. */
static void check_passed(const uint8_t *head, uint64_t area, uint64_t payload)
{
	uint64_t turns = 0;

	if (payload != (uint64_t)load_be32(head + AT_PAYLOAD) * SECTOR_BYTES || !payload ||
	    payload > area)
		fuzz_fail("a payload that is not in its area");
	for (size_t i = 0; i < SLOTS; i++) {
		const uint8_t *slot = head + AT_SLOTS + i * SLOT_BYTES;

		if (load_be32(slot) == 0x00ac71f3)
			turns += load_be32(slot + 4) + (uint64_t)load_be32(head + AT_DIGEST_TURNS);
		if (material_of(head, i) < LUKS_HEADER_BYTES ||
		    material_of(head, i) + MATERIAL_BYTES > payload)
			fuzz_fail("a slot on the header, or on the payload");
		for (size_t j = 0; j < i; j++)
			if (llabs((long long)(material_of(head, i) - material_of(head, j))) <
			    MATERIAL_BYTES)
				fuzz_fail("a slot on another");
	}
	if (!turns || turns > LUKS_TURNS_MAX)
		fuzz_fail("turns without bound");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *head = data + AREA_BYTES;
	uint64_t area, payload = 0;
	Error err = ERROR_INIT;

	if (size < AREA_BYTES)
		return 0;
	area = load_be64(data);
	size -= AREA_BYTES;
	if (luks_header_check(head, size, area, &payload, &err)) {
		if (size < LUKS_HEADER_BYTES)
			fuzz_fail("a header that was cut off");
		check_passed(head, area, payload);
		fuzz_reached(REACHED_PASSED);
		return 0;
	}
	if (err.category != ERROR_DENIED || !err.text[0] || payload)
		fuzz_fail("a refusal without a reason, or with a result");
	for (size_t i = REACHED_CIPHER; i <= REACHED_TURNS; i++)
		if (strstr(err.text, refusals[i]))
			fuzz_reached(i);
	return 0;
}
