/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/compare.c and compare_dump.c: be16 length of the incoming description, be16 length of
 * the local one, then both and the tables of the local QEMU, all JSON. What fits the local machine
 * has no other devices, and its own layout fits it.
 */
#include <string.h>

#include "base/buffer.h"
#include "qemustream/compare.h"
#include "tests/fuzz/fuzz.h"

enum {
	REACHED_PARSED,
	REACHED_FITS,
	REACHED_DIFFERS,
	REACHED_BY_TABLES,
	VARIABLE_MAX = 4096,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "both parsed", "fits", "differs",
					     "fits by the tables" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void judge_fit(const VmDescription *incoming, const VmDescription *local)
{
	if (incoming->devices_count != local->devices_count)
		fuzz_fail("a device more, or one less, fits");
	for (size_t i = 0; i < incoming->devices_count; i++) {
		const VmDevice *device = &incoming->devices[i];
		const VmDevice *ours = vmdesc_find(local, device->name, device->instance_id);

		if (!ours || strcmp(ours->vmsd_name, device->vmsd_name) != 0)
			fuzz_fail("another device fits");
		if (device->version > ours->version)
			fuzz_fail("a newer device fits");
	}
}

static void compare(const VmDescription *incoming, const VmDescription *local,
		    const DumpVmstate *dump)
{
	const CompareOptions options = { .variable_max_bytes = VARIABLE_MAX };
	Error err = ERROR_INIT;

	if (!vmdesc_compare(incoming, local, dump, &options, &err)) {
		if (err.category != ERROR_PEER || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_DIFFERS);
		return;
	}
	judge_fit(incoming, local);
	fuzz_reached(REACHED_FITS);
	if (!vmdesc_compare(incoming, local, NULL, &options, &err))
		fuzz_reached(REACHED_BY_TABLES);
	else if (!vmdesc_compare(incoming, local, dump, &options, &err))
		fuzz_fail("compared twice it is another");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const VmdescLimits limits = {
		.json_bytes = 1 << 16, .devices = 64, .nodes = 4096, .payload_bytes = 1 << 20
	};
	Reader reader = reader_of(data, size);
	const uint8_t *incoming_text, *local_text;
	uint16_t incoming_size, local_size;
	Error err = ERROR_INIT;

	if (!reader_get_be16(&reader, &incoming_size) || !reader_get_be16(&reader, &local_size) ||
	    !reader_skip(&reader, incoming_size, &incoming_text) ||
	    !reader_skip(&reader, local_size, &local_text))
		return 0;

	AUTO_VMDESC VmDescription *incoming =
		vmdesc_parse(incoming_text, incoming_size, &limits, &err);
	AUTO_VMDESC VmDescription *local = vmdesc_parse(local_text, local_size, &limits, &err);
	AUTO_DUMP_VMSTATE DumpVmstate *dump =
		reader.left ? dump_vmstate_parse(reader.data, reader.left, &err) : NULL;

	if (!incoming || !local)
		return 0;
	fuzz_reached(REACHED_PARSED);
	compare(incoming, local, dump);
	compare(local, incoming, dump);
	return 0;
}
