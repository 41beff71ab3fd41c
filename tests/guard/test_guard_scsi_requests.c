/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait on a SCSI disk: one of virtio-scsi or usb-storage that passes, and the same
 * with one thing changed. */
#include "tests/support/support.h"

#include <string.h>

#include "base/buffer.h"
#include "guard/scsi_requests.h"
#include "guard/virtio_element.h"

enum {
	FIELD_MAX = 1 << 20,
	QUEUES = 5,
	BUFFER_SIZE = 131072,
	READ_10 = 0x28,
	WRITE_10 = 0x2a,
	WRITE_6 = 0x0a,
	READ_16 = 0x88,
	INQUIRY = 0x12,
	UNIT = 3,
};

typedef struct Case {
	const char *device;
	ScsiAdapterKind kind;
	bool packed;
	uint8_t attention, mark, command;
	uint32_t blocks;
	uint32_t unit, queue, index, out, in;
	uint64_t out_bytes, in_bytes; /* of the second buffers; the first ones have the headers */
	uint32_t header_bytes, answer_bytes;
	uint64_t sector;
	uint32_t sectors, size, length;
	bool has_length;
	uint32_t data;
	uint32_t cut;	/* bytes at the end */
	uint8_t behind; /* so many */
	uint8_t again;	/* and as many requests more */
	bool no_table, at_begin;
} Case;

static const Case reads = { .device = "pci/3:0:3/scsi-disk",
			    .kind = SCSI_ADAPTER_VIRTIO,
			    .mark = 1,
			    .command = READ_10,
			    .blocks = 8,
			    .unit = UNIT,
			    .queue = 2,
			    .index = 63,
			    .out = 1,
			    .in = 2,
			    .in_bytes = 4096,
			    .header_bytes = 51,
			    .answer_bytes = 108,
			    .sector = 100,
			    .sectors = 8 };
static const Case writes = { .device = "usb/1/0:0:0/scsi-disk",
			     .kind = SCSI_ADAPTER_USB,
			     .mark = 1,
			     .command = WRITE_10,
			     .blocks = 8,
			     .sectors = 8,
			     .size = BUFFER_SIZE,
			     .data = 4096 };

static void put_number(Buffer *b, uint64_t value, size_t bytes)
{
	uint8_t text[8];
	Error err;

	store_be64(text, value);
	assert_works(buffer_put(b, text + 8 - bytes, bytes, &err), &err);
}

static void put_zeros(Buffer *b, size_t size)
{
	static const uint8_t zeros[BUFFER_SIZE];
	Error err;

	assert_works(!size || buffer_put(b, zeros, size, &err), &err);
}

static void put_le(uint8_t *at, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void put_element(Buffer *b, const Case *c)
{
	static uint8_t element[VIRTIO_ELEMENT_SIZE];
	uint8_t *in = element + 16 + 16384 + 8, *out = in + 16384;
	Error err;

	memset(element, 0, sizeof(element));
	put_le(element, c->index, 4);
	put_le(element + 4, c->out, 4);
	put_le(element + 8, c->in, 4);
	put_le(in, c->answer_bytes, 8);
	put_le(in + 16, c->in_bytes, 8);
	put_le(out, c->header_bytes, 8);
	put_le(out + 16, c->out_bytes, 8);
	assert_works(buffer_put(b, element, sizeof(element), &err), &err);
}

static void put_request(Buffer *b, const Case *c)
{
	uint8_t command[16] = { c->command };
	Error err;

	if (c->command == WRITE_6)
		command[4] = (uint8_t)c->blocks;
	else if (c->command == READ_16)
		store_be32(command + 10, c->blocks);
	else
		store_be16(command + 7, (uint16_t)c->blocks);
	put_number(b, c->mark, 1);
	assert_works(buffer_put(b, command, sizeof(command), &err), &err);
	put_number(b, 77, 4);
	put_number(b, c->unit, 4);
	if (c->kind == SCSI_ADAPTER_VIRTIO) {
		put_number(b, c->queue, 4);
		put_element(b, c);
	}
	put_number(b, c->sector, 8);
	put_number(b, c->sectors, 4);
	put_number(b, c->size, 4);
	if (c->has_length)
		put_number(b, c->length, 4);
	put_zeros(b, c->data);
}

/* What QEMU keeps of queues: those of control and events, then those of requests. */
static void make_twin(VirtioTwin *twin, bool packed)
{
	memset(twin, 0, sizeof(*twin));
	twin->shape.queues = QUEUES;
	for (int i = 0; i < QUEUES; i++)
		twin->queue_sizes[i] = 64;
	/* A bit for each subsection, and that of packed rings is one of them. */
	twin->subsections = packed ? UINT32_MAX : 0;
}

static bool judge(const Case *c, Error *err)
{
	static VirtioTwin twin;
	ScsiAdapter adapter = { c->kind, &twin, 0 };
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FIELD_MAX);
	VmNode nodes[] = { { VM_STRUCT, .name = "qdev", .vmsd_name = "SCSIDevice", .end = 4 },
			   { VM_LEAF, .depth = 1, .name = "unit_attention.key", .count = 1,
			     .size_bytes = 1, .end = 2 },
			   { VM_LEAF, .depth = 1, .name = "sense", .count = 96, .size_bytes = 1,
			     .end = 3 },
			   { VM_LEAF, .depth = 1, .name = "requests", .type = "scsi-requests",
			     .count = 1, .end = 4 } };
	const FrameLevel level = { .node = &nodes[0] };
	const VmDevice device = { .name = c->device, .vmsd_name = "scsi-disk", .end = 4 };
	FrameField field = { .device = &device,
			     .node = &nodes[3],
			     .levels = &level,
			     .levels_count = !c->no_table,
			     .offset = c->at_begin ? 96 : 97 };

	make_twin(&twin, c->packed);
	adapter.attention_back = scsi_requests_learn(&field);
	assert_int_equal(adapter.attention_back, c->no_table ? 0 : 97);
	put_number(&bytes, c->attention, 1);
	put_zeros(&bytes, 96);
	for (int i = 0; i <= c->again; i++)
		put_request(&bytes, c);
	put_number(&bytes, 0, 1);
	put_zeros(&bytes, c->behind);
	field.bytes = bytes.data + 97;
	field.size_bytes = bytes.used - 97 - c->cut;
	*err = ERROR_INIT;
	return scsi_requests_judge(&field, &adapter, err);
}

#define WITH(base, ...)                                                                            \
	({                                                                                         \
		Case changed_ = (base);                                                            \
		Case *const with = &changed_;                                                      \
		__VA_ARGS__;                                                                       \
		changed_;                                                                          \
	})
#define PASSES(base, ...)                                                                          \
	do {                                                                                       \
		const Case case_ = WITH(base, __VA_ARGS__);                                        \
		Error err_;                                                                        \
		assert_works(judge(&case_, &err_), &err_);                                         \
	} while (0)
#define REFUSED(base, part, ...)                                                                   \
	do {                                                                                       \
		const Case case_ = WITH(base, __VA_ARGS__);                                        \
		Error err_;                                                                        \
		assert_false(judge(&case_, &err_));                                                \
		assert_int_equal(err_.category, ERROR_PEER);                                       \
		assert_ptr_equal(strstr(err_.text, "guard-device-field-scsi: "), err_.text);       \
		if (!strstr(err_.text, part))                                                      \
			fail_msg("%s, not %s", err_.text, part);                                   \
	} while (0)

static void test_what_waits(void **state)
{
	(void)state;
	PASSES(reads, (void)with);
	PASSES(reads, with->again = 2);
	PASSES(reads, with->command = WRITE_10, with->out = 2, with->in = 1,
	       with->out_bytes = 4096);
	/* Nothing is moved. */
	PASSES(reads, with->blocks = 0, with->in = 1);
	PASSES(writes, (void)with);
	/* 0 blocks of the short ones are 256, of others none. */
	PASSES(writes, with->command = WRITE_6, with->blocks = 0);
	PASSES(writes, with->blocks = 0, with->data = 0);
	/* More sectors than the buffer has. */
	PASSES(writes, with->sectors = 1000, with->data = BUFFER_SIZE);
	/* A read whose bytes the guest has not taken. */
	PASSES(writes, with->command = READ_10, with->mark = 2, with->has_length = true,
	       with->length = 512, with->data = 512);
	PASSES(writes, with->command = READ_10, with->data = 0);
}

static void test_commands(void **state)
{
	(void)state;
	REFUSED(reads, "its mark", with->mark = 3);
	REFUSED(reads, "its mark", with->mark = 0xff);
	REFUSED(reads, "neither reads nor writes", with->command = INQUIRY);
	REFUSED(reads, "neither reads nor writes", with->command = 0x2f);
	/* More bytes than INT32_MAX are another request to QEMU, of which it reads less. */
	PASSES(reads, with->command = READ_16, with->blocks = 32767);
	REFUSED(reads, "blocks that its command moves", with->command = READ_16,
		with->blocks = 32768);
	REFUSED(reads, "blocks that its command moves", with->command = READ_16,
		with->blocks = 0x400000);
	REFUSED(reads, "blocks that its command moves", with->blocks = 65535);
	REFUSED(reads, "another unit", with->unit = UNIT + 1);
	REFUSED(reads, "unit attention", with->attention = 6);
	PASSES(reads, with->attention = 5);
	REFUSED(reads, "is not known", with->no_table = true);
	REFUSED(reads, "is not known", with->at_begin = true);
	REFUSED(reads, "no disk that is known", with->device = "pci/3:0:3/scsi-generic");
	REFUSED(reads, "no disk that is known", with->device = "3:0:3/scsi-disk");
	REFUSED(reads, "no disk that is known", with->device = "pci/3:0/scsi-disk");
	REFUSED(reads, "no disk that is known", with->device = "pci/3:0:3x/scsi-disk");
	REFUSED(reads, "another unit", with->device = "pci/3:0:4/scsi-disk");
	REFUSED(reads, "bytes behind", with->behind = 1);
	REFUSED(reads, "cut before the end", with->cut = 1);
	REFUSED(reads, "cut inside a request", with->cut = 2);
	REFUSED(reads, "cut inside its buffers", with->cut = 1 + 16 + 1);
	REFUSED(reads, "cut before its queue", with->cut = 1 + 16 + VIRTIO_ELEMENT_SIZE + 1);
	REFUSED(reads, "cut inside a command", with->cut = 1 + 16 + VIRTIO_ELEMENT_SIZE + 4 + 1);
}

static void test_virtio(void **state)
{
	(void)state;
	REFUSED(reads, "its queue", with->queue = QUEUES - 2);
	REFUSED(reads, "its queue", with->queue = UINT32_MAX);
	REFUSED(reads, "entry of a request", with->index = 64);
	/* CVE-2013-4542, and CVE-2013-4535 of virtio-blk */
	REFUSED(reads, "buffers of a request", with->in = 1025);
	REFUSED(reads, "buffers of a request", with->out = 1025);
	PASSES(reads, with->in = 1024);
	REFUSED(reads, "packed rings", with->packed = true);
	/* Where data begins depends on a feature: QEMU ends by assert if there is none. */
	REFUSED(reads, "buffer of a header", with->answer_bytes = 108 + 4096, with->in = 1);
	PASSES(reads, with->answer_bytes = 100, with->in_bytes = 8 + 4096);
	REFUSED(reads, "buffer of a header", with->command = WRITE_10, with->in = 1,
		with->header_bytes = 51 + 4096);
	REFUSED(reads, "bytes of its header", with->header_bytes = 50);
	REFUSED(reads, "bytes for its answer", with->answer_bytes = 107, with->in = 1);
	REFUSED(reads, "bytes of a buffer", with->in_bytes = UINT64_C(1) << 32);
	REFUSED(reads, "data the other way", with->out = 2, with->out_bytes = 1);
	REFUSED(reads, "data the other way", with->in = 1);
	REFUSED(reads, "data the other way", with->command = WRITE_10);
	REFUSED(reads, "data both ways", with->blocks = 0, with->out = 2, with->out_bytes = 1);
	REFUSED(reads, "none that keeps requests", with->kind = SCSI_ADAPTER_OTHER);
}

static void test_data(void **state)
{
	(void)state;
	REFUSED(writes, "requests of one disk", with->again = 1);
	REFUSED(writes, "past any disk", with->sector = (uint64_t)INT64_MAX / 512 - 7);
	PASSES(writes, with->sector = (uint64_t)INT64_MAX / 512 - 8);
	REFUSED(writes, "bytes of its buffer", with->size = BUFFER_SIZE + 1);
	REFUSED(writes, "bytes of its buffer", with->size = 4096);
	REFUSED(writes, "cut inside its data", with->cut = 2);
	REFUSED(writes, "bytes behind", with->data = 4097);
	REFUSED(writes, "bytes behind", with->size = 0);
	/* QEMU ends by assert. */
	REFUSED(writes, "bytes in its buffer", with->command = READ_10, with->mark = 2,
		with->has_length = true, with->length = BUFFER_SIZE + 1);
	REFUSED(writes, "cut before its data", with->command = READ_10, with->mark = 2,
		with->data = 0, with->cut = 1);
}

/* No request: the adapter, the name and the table do not matter. */
static void test_none(void **state)
{
	const VmDevice device = { .name = "d" };
	const VmNode node = { .kind = VM_LEAF, .name = "requests" };
	const uint8_t end = 0;
	FrameField field = { .device = &device, .node = &node, .bytes = &end, .size_bytes = 1 };
	Error err = ERROR_INIT;

	(void)state;
	assert_works(scsi_requests_judge(&field, &(ScsiAdapter){ 0 }, &err), &err);
	field.size_bytes = 0;
	assert_false(scsi_requests_judge(&field, &(ScsiAdapter){ 0 }, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_waits), cmocka_unit_test(test_commands),
		cmocka_unit_test(test_virtio),	   cmocka_unit_test(test_data),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
