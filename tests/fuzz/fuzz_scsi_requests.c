/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard/scsi_requests.c and virtio_element.c: which adapter the disk hangs on (CHOICE_*), its unit
 * attention, then the field, whose long rows of zeros are packed (u8 below 0x80: so many bytes and
 * one more come as they are; else 64 zeros for each from 0x7f on). What passes has one length:
 * neither a byte less nor one more passes. The guard looks for lengths by that (guard_local.h).
 */
#include <string.h>

#include "base/bounds.h"
#include "guard/scsi_requests.h"
#include "tests/fuzz/fuzz.h"

enum { FIELD_MAX = 1 << 20, ZERO_ROW = 64, FIRST_ROW = 0x7f, QUEUES = 5, QUEUE_SIZE = 64 };
enum { CHOICE_ADAPTER = 3, CHOICE_PACKED = 4, CHOICE_NO_ATTENTION = 8 };
enum { REACHED_NONE, REACHED_VIRTIO, REACHED_USB, REACHED_REFUSED, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "no request", "requests of virtio-scsi",
							  "a request of usb-storage", "refused" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static void make_twin(VirtioTwin *twin, bool packed)
{
	memset(twin, 0, sizeof(*twin));
	twin->shape.queues = QUEUES;
	for (int i = 0; i < QUEUES; i++)
		twin->queue_sizes[i] = QUEUE_SIZE;
	/* A bit for each subsection; that of packed rings is one of them. */
	twin->subsections = packed ? UINT32_MAX : 0;
}

/* False at the end of the input, or where it makes a field longer than is tried here. */
static bool put_row(Reader *packed, uint8_t row, Buffer *field)
{
	static const uint8_t zeros[ZERO_ROW * (UINT8_MAX - FIRST_ROW)];
	const uint8_t *bytes = zeros;
	size_t size = (size_t)row + 1;
	Error err = ERROR_INIT;

	if (row > FIRST_ROW)
		size = (size_t)ZERO_ROW * (row - FIRST_ROW);
	else if (size > packed->left)
		size = packed->left;
	if (row <= FIRST_ROW && !reader_skip(packed, size, &bytes))
		return false;
	return !size || buffer_put(field, bytes, size, &err);
}

/* bytes: the unit attention, then the field. */
static bool judge(uint8_t choice, const Buffer *bytes, size_t size, Error *err)
{
	static VirtioTwin twin;
	static const ScsiAdapterKind kinds[] = { SCSI_ADAPTER_OTHER, SCSI_ADAPTER_VIRTIO,
						 SCSI_ADAPTER_USB, SCSI_ADAPTER_VIRTIO };
	const ScsiAdapter adapter = { .kind = kinds[choice & CHOICE_ADAPTER],
				      .virtio = &twin,
				      .attention_back = choice & CHOICE_NO_ATTENTION ? 0 : 1 };
	const VmNode node = { .kind = VM_LEAF,
			      .name = "requests",
			      .type = "scsi-requests",
			      .count = 1,
			      .size_bytes = (uint32_t)size };
	const VmDevice device = { .name = "d/0:0:3/scsi-disk", .vmsd_name = "scsi-disk" };
	const FrameField field = { .device = &device,
				   .node = &node,
				   .bytes = bytes->data + 1,
				   .size_bytes = size,
				   .offset = 1 };

	make_twin(&twin, choice & CHOICE_PACKED);
	*err = ERROR_INIT;
	return scsi_requests_judge(&field, &adapter, err);
}

static void see_good(uint8_t choice, const Buffer *bytes, size_t size)
{
	static const size_t reached[] = { REACHED_NONE, REACHED_VIRTIO, REACHED_USB,
					  REACHED_VIRTIO };
	Error err;

	if (bytes->data[size])
		fuzz_fail("requests passed that do not end");
	if (judge(choice, bytes, size - 1, &err) || judge(choice, bytes, size + 1, &err))
		fuzz_fail("requests pass with two lengths");
	fuzz_reached(size == 1 ? REACHED_NONE : reached[choice & CHOICE_ADAPTER]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FIELD_MAX);
	Reader packed = reader_of(data, size);
	uint8_t choice, attention, row;
	Error err = ERROR_INIT;
	size_t field;

	if (!reader_get_u8(&packed, &choice) || !reader_get_u8(&packed, &attention) ||
	    !buffer_put(&bytes, &attention, 1, &err))
		return 0;
	while (reader_get_u8(&packed, &row))
		if (!put_row(&packed, row, &bytes))
			return 0;
	field = bytes.used - 1;
	/* For the field that is a byte longer. */
	if (!buffer_put(&bytes, "", 1, &err))
		return 0;
	if (judge(choice, &bytes, field, &err)) {
		see_good(choice, &bytes, field);
		return 0;
	}
	if (err.category != ERROR_PEER || strncmp(err.text, "guard-device-field-scsi: ", 25) != 0)
		fuzz_fail("a refusal without its rule");
	fuzz_reached(REACHED_REFUSED);
	return 0;
}
