/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/scsi_requests.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "guard/virtio_element.h"

enum {
	MARK_RETRY = 1,
	MARK_OTHER = 2,
	COMMAND_SIZE = 16,
	SECTOR = 512,
	BUFFER_SIZE = 131072,	 /* SCSI_DMA_BUF_SIZE, hw/scsi/scsi-disk.c; or there is none */
	VIRTIO_FIXED_QUEUES = 2, /* control and events, before those of requests */
	/* struct virtio_scsi_cmd_req and _resp with the command and sense sizes that QEMU begins
	 * with, and that it measures requests by when it loads. */
	VIRTIO_REQUEST_HEADER = 19 + 32,
	VIRTIO_RESPONSE_HEADER = 12 + 96,
	UNIT_ATTENTION = 6,
	/* Past INT32_MAX bytes scsi_req_new (hw/scsi/scsi-bus.c) makes another request of it,
	 * which reads nothing of what the disk wrote. How long a block is only the disk knows:
	 * 64 KiB here, more than MODE SELECT can ask for, and nothing here starts a disk with
	 * longer ones. In blocks of a sector it is 16 MiB, more than drivers ask for at once. */
	BLOCK_BYTES_MAX = 65536,
	BLOCKS_MAX = INT32_MAX / BLOCK_BYTES_MAX,
};

#define SECTOR_MAX ((uint64_t)INT64_MAX / SECTOR)

typedef enum Direction { DIRECTION_NONE, DIRECTION_READ, DIRECTION_WRITE } Direction;

typedef struct Requests {
	const FrameField *field;
	const ScsiAdapter *adapter;
	Reader reader;
	uint32_t unit;
	uint32_t count;
	Error *err;
} Requests;

/* What is read of one before its data. */
typedef struct Request {
	bool is_retry;
	Direction direction;
} Request;

static bool refuse(const Requests *requests, const char *what, uint64_t is, uint64_t bound)
{
	const FrameField *field = requests->field;

	return guard_violation(requests->err, GUARD_RULE_DEVICE_SCSI,
			       "device %.80s, byte %zu, request %" PRIu32
			       " that waits: %s (%" PRIu64 ", bound %" PRIu64 ")",
			       field->device->name,
			       field->offset + field->size_bytes - requests->reader.left,
			       requests->count, what, is, bound);
}

/* --- the disk --- */

bool scsi_requests_parent(const char *device, char ret_parent[static SCSI_PARENT_SIZE],
			  uint32_t *ret_unit)
{
	static const char suffix[] = "/scsi-disk";
	const size_t length = strlen(device), suffix_length = sizeof(suffix) - 1;
	size_t parent;
	uint32_t channel, id;
	int end = 0;

	if (length <= suffix_length || strcmp(device + length - suffix_length, suffix) != 0)
		return false;
	parent = length - suffix_length;
	while (parent && device[parent - 1] != '/')
		parent--;
	if (parent < 2 || parent > SCSI_PARENT_SIZE ||
	    sscanf(device + parent, "%3" SCNu32 ":%3" SCNu32 ":%5" SCNu32 "%n", &channel, &id,
		   ret_unit, &end) != 3 ||
	    parent + (size_t)end != length - suffix_length)
		return false;
	memcpy(ret_parent, device, parent - 1);
	ret_parent[parent - 1] = 0;
	return true;
}

size_t scsi_requests_learn(const FrameField *field)
{
	const VmNode *node = field->node, *first;
	size_t back = 0;

	if (!field->levels_count)
		return 0;
	first = field->levels[field->levels_count - 1].node + 1;
	while (node > first) {
		node--;
		if (node->kind != VM_LEAF)
			return 0;
		back += (size_t)node->size_bytes * node->count;
		if (!strcmp(node->name, "unit_attention.key"))
			return node->size_bytes == 1 ? back : 0;
	}
	return 0;
}

/* QEMU reports it before all that is asked of the disk. Its own loader makes that report of a
 * request too, and then reads nothing of what the disk wrote. */
static bool check_attention(const Requests *requests)
{
	const FrameField *field = requests->field;
	const size_t back = requests->adapter->attention_back;

	if (!back || back > field->offset)
		return refuse(requests, "where its unit attention stands is not known", back,
			      field->offset);
	return *(field->bytes - back) != UNIT_ATTENTION ||
	       refuse(requests, "the disk has a unit attention to report first", UNIT_ATTENTION, 0);
}

/* --- the command --- */

/* READ and WRITE and WRITE AND VERIFY with 6, 10, 12 and 16 bytes (SBC-3, 5): those that QEMU's
 * scsi_disk_reqops_dispatch gives to scsi_disk_dma_reqops. */
static bool is_disk_command(const uint8_t *command, bool *ret_is_write)
{
	static const uint8_t reads[] = { 0x08, 0x28, 0xa8, 0x88 };
	static const uint8_t writes[] = { 0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e };

	*ret_is_write = memchr(writes, command[0], sizeof(writes));
	return *ret_is_write || memchr(reads, command[0], sizeof(reads));
}

/* As scsi_cdb_xfer and scsi_req_xfer do it (hw/scsi/scsi-bus.c): blocks that are moved. */
static uint32_t command_blocks(const uint8_t *command)
{
	switch (command[0] >> 5) {
	case 0:
		return command[4] ? command[4] : 256;
	case 1:
		return load_be16(command + 7);
	case 4:
		return load_be32(command + 10);
	default:
		return load_be32(command + 6);
	}
}

static bool read_command(Requests *requests, Request *request)
{
	const uint8_t *command;
	uint32_t tag, unit;
	bool is_write;

	if (!reader_skip(&requests->reader, COMMAND_SIZE, &command) ||
	    !reader_get_be32(&requests->reader, &tag) || !reader_get_be32(&requests->reader, &unit))
		return refuse(requests, "cut inside a command", requests->reader.left, 0);
	if (!is_disk_command(command, &is_write))
		return refuse(requests, "a command that neither reads nor writes", command[0], 0);
	if (unit != requests->unit)
		return refuse(requests, "for another unit", unit, requests->unit);
	if (command_blocks(command) > BLOCKS_MAX)
		return refuse(requests, "blocks that its command moves", command_blocks(command),
			      BLOCKS_MAX);
	if (command_blocks(command))
		request->direction = is_write ? DIRECTION_WRITE : DIRECTION_READ;
	return true;
}

/* --- what the adapter writes --- */

static bool sum_buffers(const Requests *requests, const VirtioElement *element, bool is_out,
			uint64_t *ret_sum)
{
	const uint32_t count = is_out ? element->out : element->in;

	*ret_sum = 0;
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t bytes = is_out ? virtio_element_out_bytes(element, i)
					      : virtio_element_in_bytes(element, i);

		/* VIRTIO 1.2, 2.7.5: le32 in its descriptor */
		if (bytes > UINT32_MAX)
			return refuse(requests, "bytes of a buffer", bytes, UINT32_MAX);
		*ret_sum += bytes;
	}
	return true;
}

/* QEMU exits if the headers do not fit, and ends by assert if what is left is not what the command
 * moves (virtio_scsi_load_request). What is left it counts from behind the headers, or from the
 * second buffer on, by a feature that the driver took: so both have to be the same. */
static bool judge_buffers(const Requests *requests, const VirtioElement *element,
			  const Request *request)
{
	uint64_t out, in;

	if (!sum_buffers(requests, element, true, &out) ||
	    !sum_buffers(requests, element, false, &in))
		return false;
	if (out < VIRTIO_REQUEST_HEADER)
		return refuse(requests, "bytes of its header", out, VIRTIO_REQUEST_HEADER);
	if (in < VIRTIO_RESPONSE_HEADER)
		return refuse(requests, "bytes for its answer", in, VIRTIO_RESPONSE_HEADER);
	if ((out == VIRTIO_REQUEST_HEADER) != (out == virtio_element_out_bytes(element, 0)) ||
	    (in == VIRTIO_RESPONSE_HEADER) != (in == virtio_element_in_bytes(element, 0)))
		return refuse(requests, "data in the buffer of a header", out, in);
	out -= VIRTIO_REQUEST_HEADER;
	in -= VIRTIO_RESPONSE_HEADER;
	if (request->direction == DIRECTION_NONE)
		return !out || !in || refuse(requests, "data both ways", out, 0);
	if (request->direction == DIRECTION_WRITE ? !out || in : !in || out)
		return refuse(requests, "data the other way than its command", out, in);
	return true;
}

static bool read_virtio(Requests *requests, const Request *request)
{
	const VirtioTwin *twin = requests->adapter->virtio;
	VirtioElement element;
	const uint8_t *bytes;
	uint32_t queue;

	/* Its state may come behind this: whether the driver took them is not known yet. */
	if (virtio_twin_has_packed(twin))
		return refuse(requests, "the adapter offers packed rings", 1, 0);
	if (!reader_get_be32(&requests->reader, &queue))
		return refuse(requests, "cut before its queue", requests->reader.left, 4);
	if (twin->shape.queues <= VIRTIO_FIXED_QUEUES ||
	    queue >= twin->shape.queues - VIRTIO_FIXED_QUEUES)
		return refuse(requests, "its queue", queue, twin->shape.queues);
	if (!reader_skip(&requests->reader, VIRTIO_ELEMENT_SIZE, &bytes))
		return refuse(requests, "cut inside its buffers", requests->reader.left,
			      VIRTIO_ELEMENT_SIZE);
	if (!virtio_element_decode(bytes, twin->queue_sizes[VIRTIO_FIXED_QUEUES + queue], &element,
				   requests->err)) {
		error_prefix(requests->err, "device %.80s", requests->field->device->name);
		return guard_violation_by(requests->err, GUARD_RULE_DEVICE_SCSI);
	}
	return judge_buffers(requests, &element, request);
}

static bool read_adapter(Requests *requests, const Request *request)
{
	switch (requests->adapter->kind) {
	case SCSI_ADAPTER_VIRTIO:
		return read_virtio(requests, request);
	case SCSI_ADAPTER_USB:
		return requests->count == 1 ||
		       refuse(requests, "requests of one disk", requests->count, 1);
	case SCSI_ADAPTER_OTHER:
		break;
	}
	return refuse(requests, "its adapter is none that keeps requests", 1, 0);
}

/* --- what the disk writes --- */

static bool read_disk(Requests *requests, const Request *request)
{
	Reader *reader = &requests->reader;
	uint32_t sectors, size, length;
	const uint8_t *bytes;
	uint64_t sector;

	if (!reader_get_be64(reader, &sector) || !reader_get_be32(reader, &sectors) ||
	    !reader_get_be32(reader, &size))
		return refuse(requests, "cut inside a request", reader->left, 16);
	if (sector > SECTOR_MAX - sectors)
		return refuse(requests, "a sector past any disk", sector, SECTOR_MAX - sectors);
	if (size && size != BUFFER_SIZE)
		return refuse(requests, "bytes of its buffer", size, BUFFER_SIZE);
	if (!size || (request->is_retry && request->direction != DIRECTION_WRITE))
		return true;
	length = sectors < BUFFER_SIZE / SECTOR ? sectors * SECTOR : BUFFER_SIZE;
	if (request->direction != DIRECTION_WRITE && !reader_get_be32(reader, &length))
		return refuse(requests, "cut before its data", reader->left, 4);
	if (length > BUFFER_SIZE)
		return refuse(requests, "bytes in its buffer", length, BUFFER_SIZE);
	return reader_skip(reader, length, &bytes) ||
	       refuse(requests, "cut inside its data", reader->left, length);
}

static bool read_request(Requests *requests, uint8_t mark)
{
	Request request = { .is_retry = mark == MARK_RETRY };

	requests->count++;
	if (mark > MARK_OTHER)
		return refuse(requests, "its mark", mark, MARK_OTHER);
	return check_attention(requests) && read_command(requests, &request) &&
	       read_adapter(requests, &request) && read_disk(requests, &request);
}

bool scsi_requests_judge(const FrameField *field, const ScsiAdapter *adapter, Error *err)
{
	Requests requests = { .field = field,
			      .adapter = adapter,
			      .reader = reader_of(field->bytes, field->size_bytes),
			      .err = err };
	char parent[SCSI_PARENT_SIZE];
	uint8_t mark;

	while (reader_get_u8(&requests.reader, &mark)) {
		if (!mark)
			return !requests.reader.left ||
			       refuse(&requests, "bytes behind the last one", requests.reader.left,
				      0);
		if (!requests.count &&
		    !scsi_requests_parent(field->device->name, parent, &requests.unit))
			return refuse(&requests, "the device is no disk that is known", mark, 0);
		if (!read_request(&requests, mark))
			return false;
	}
	return refuse(&requests, "cut before the end of requests", 0, 1);
}
