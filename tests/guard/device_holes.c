/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guard/device_holes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "qemustream/frame.h"
#include "qemustream/virtio_state.h"

enum { HELD_MAX = 64 << 20, ELEMENT_SIZE = 49168 };

/* --- pairs --- */

void held_pair_clear(HeldPair *pair)
{
	buffer_clear(&pair->incoming);
	vmdesc_free(TAKE_PTR(pair->description));
	guard_device_free(TAKE_PTR(pair->device));
	dump_vmstate_free(TAKE_PTR(pair->dump));
}

static bool open_pair(HeldPair *pair, const Buffer *local, Error *err)
{
	Buffer *in = &pair->incoming;

	if (!frame_find_vmdesc(in->data, in->used, GUARD_DEVICE_JSON_MAX, &pair->eof, err))
		return false;
	pair->description = vmdesc_parse(in->data + pair->eof + 6, in->used - pair->eof - 6,
					 &VMDESC_LIMITS_DEFAULT, err);
	pair->device = pair->description
			       ? guard_device_new(local->data, local->used, pair->dump, err)
			       : NULL;
	return pair->device;
}

static bool read_file(const char *folder, const char *name, const char *suffix, Buffer *bytes,
		      Error *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
	return file_read(path, HELD_MAX, bytes, err);
}

bool held_pair_open(HeldPair *pair, const char *folder, const char *incoming, const char *local,
		    const char *dump, Error *err)
{
	AUTO_BUFFER Buffer twin = BUFFER_INIT(HELD_MAX), tables = BUFFER_INIT(HELD_MAX);

	pair->incoming = BUFFER_INIT(HELD_MAX);
	if (!read_file(folder, incoming, "held", &pair->incoming, err) ||
	    !read_file(folder, local, "held", &twin, err) ||
	    !read_file(folder, dump, "dump", &tables, err))
		return false;
	pair->dump = dump_vmstate_parse(tables.data, tables.used, err);
	return pair->dump && open_pair(pair, &twin, err);
}

bool held_pair_make(HeldPair *pair, const Buffer *incoming, const Buffer *local, Error *err)
{
	pair->incoming = BUFFER_INIT(HELD_MAX);
	return buffer_put(&pair->incoming, incoming->data, incoming->used, err) &&
	       open_pair(pair, local, err);
}

bool held_pair_judge(HeldPair *pair, Error *err)
{
	const VmDescription *description;
	GuardCounters counters = { 0 };

	*err = ERROR_INIT;
	return guard_device_judge(pair->device, pair->incoming.data, pair->incoming.used,
				  &description, &counters, err);
}

/* --- fields --- */

typedef struct Search {
	const char *table, *name, *type; /* NULL: any */
	HeldField *ret_field;
	bool found;
} Search;

static bool look_at(void *context, const FrameField *field, Error *err)
{
	Search *search = context;
	const char *table = field->levels_count
				    ? field->levels[field->levels_count - 1].node->vmsd_name
				    : field->device->vmsd_name;

	(void)err;
	if (search->found || !field->size_bytes ||
	    (search->name && strcmp(search->name, field->node->name)) ||
	    (search->type && strcmp(search->type, field->node->type)) ||
	    strcmp(search->table, table))
		return true;
	search->found = true;
	*search->ret_field = (HeldField){ .offset = field->offset,
					  .size = field->node->size_bytes,
					  .count = field->node->count,
					  .is_signed = !strncmp(field->node->type, "int", 3) };
	return true;
}

static bool search_for(const HeldPair *pair, Search *search)
{
	const FrameVisitor visitor = { .on_field = look_at, .context = search };
	Error err = ERROR_INIT;

	return frame_sections(pair->incoming.data, pair->eof, pair->description, &visitor, &err) &&
	       search->found;
}

bool held_find(const HeldPair *pair, const char *table, const char *field, HeldField *ret_field)
{
	return search_for(pair, &(Search){ .table = table, .name = field, .ret_field = ret_field });
}

bool held_find_type(const HeldPair *pair, const char *vmsd_name, const char *type,
		    HeldField *ret_field)
{
	return search_for(pair,
			  &(Search){ .table = vmsd_name, .type = type, .ret_field = ret_field });
}

void held_set(HeldPair *pair, const HeldField *field, int64_t value)
{
	for (uint32_t i = 0; i < field->size; i++)
		pair->incoming.data[field->offset + field->size - 1 - i] =
			(uint8_t)((uint64_t)value >> 8 * i);
}

int64_t held_get(const HeldPair *pair, const HeldField *field)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < field->size; i++)
		value = value << 8 | pair->incoming.data[field->offset + i];
	if (field->is_signed && field->size < 8 && value >> (8 * field->size - 1))
		value |= ~UINT64_C(0) << 8 * field->size;
	return (int64_t)value;
}

/* --- rows --- */

static bool fits(const HeldField *field, int64_t value)
{
	const int bits = (int)field->size * 8;

	if (field->size == 8)
		return true;
	if (field->is_signed)
		return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
	return value >= 0 && value < INT64_C(1) << bits;
}

static bool is_refused_by(HeldPair *pair, const DeviceRule *rule)
{
	const char *name = guard_rule_text(rule->rule)->name;
	Error err;

	return !held_pair_judge(pair, &err) && err.category == ERROR_PEER &&
	       !strncmp(err.text, name, strlen(name)) && err.text[strlen(name)] == ':' &&
	       strstr(err.text, rule->field);
}

static bool try_value(HeldPair *pair, const DeviceRule *rule, const HeldField *field, int64_t value,
		      bool is_good)
{
	const int64_t before = held_get(pair, field);
	bool refused;

	if (!fits(field, value))
		return true;
	held_set(pair, field, value);
	refused = is_refused_by(pair, rule);
	held_set(pair, field, before);
	if (refused == is_good)
		printf("%s/%s = %lld: %s\n", rule->table, rule->field, (long long)value,
		       refused ? "refused" : "not refused");
	return refused != is_good;
}

static int64_t largest(const HeldField *field)
{
	if (field->size == 8)
		return INT64_MAX;
	return (INT64_C(1) << (8 * field->size - field->is_signed)) - 1;
}

static bool is_in_range(const DeviceRule *rule, int64_t value)
{
	const int64_t judged = rule->mask ? (int64_t)((uint64_t)value & rule->mask) : value;

	return (judged >= rule->min && judged <= rule->max) ||
	       (rule->has_also && value == rule->also);
}

static bool break_range(HeldPair *pair, const DeviceRule *rule, const HeldField *field)
{
	const int64_t values[] = { rule->min,	  rule->max, rule->min - 1,
				   rule->max + 1, -1,	     largest(field) };

	if (rule->has_also && !try_value(pair, rule, field, rule->also, true))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (!try_value(pair, rule, field, values[i], is_in_range(rule, values[i])))
			return false;
	return true;
}

static bool break_bytes(HeldPair *pair, const DeviceRule *rule, const HeldField *field,
			size_t offset, const char *text)
{
	uint8_t *at = pair->incoming.data + field->offset + offset;
	const size_t length = strlen(text);
	uint8_t before[32];
	bool refused;

	memcpy(before, at, length);
	memcpy(at, text, length);
	refused = is_refused_by(pair, rule);
	memcpy(at, before, length);
	return refused;
}

bool held_break_row(HeldPair *pair, const DeviceRule *rule, const HeldField *field)
{
	const int64_t value = field->size <= 8 ? held_get(pair, field) : 0;

	switch (rule->check) {
	case DEVICE_RANGE:
		return break_range(pair, rule, field);
	case DEVICE_RUNSTATE:
		return break_bytes(pair, rule, field, 0, "debug\0\0") &&
		       break_bytes(pair, rule, field, 0, "COLO") &&
		       break_bytes(pair, rule, field, (size_t)field->size * field->count - 1, "x");
	case DEVICE_ZEROS:
		return break_bytes(pair, rule, field, 0, "x");
	case DEVICE_SEALED_BLOB:
		return break_bytes(pair, rule, field, 5, "\4") &&
		       break_bytes(pair, rule, field, 9, "x");
	case DEVICE_COUNT:
	case DEVICE_BYTES:
	case DEVICE_BYTES_BESIDE:
	case DEVICE_LOCAL:
	case DEVICE_TIMES:
		return try_value(pair, rule, field, value + 1, false) &&
		       try_value(pair, rule, field, value - 1, false);
	case DEVICE_AT_LEAST:
		return try_value(pair, rule, field, largest(field), rule->max >= largest(field)) &&
		       try_value(pair, rule, field, rule->max + 1, false);
	case DEVICE_AT_MOST:
	case DEVICE_SUM:
	case DEVICE_AHEAD:
	case DEVICE_BELOW_BYTES:
	case DEVICE_UPTO_BYTES:
	case DEVICE_WITHIN_LOCAL:
		return try_value(pair, rule, field, largest(field), false);
	case DEVICE_CHECK_COUNT:
		break;
	}
	return false;
}

/* --- published holes --- */

/* Sets a field that stands by itself in a table. */
static bool set(HeldPair *pair, const char *table, const char *name, int64_t value)
{
	HeldField field;

	if (!held_find(pair, table, name, &field))
		return false;
	held_set(pair, &field, value);
	return true;
}

/* Where parts of virtio state stand, in the incoming bytes. */
typedef struct Parts {
	HeldField field;
	size_t config; /* the registers stand before it, the number of queues behind it */
	size_t queues; /* be32 number */
	size_t rest;
} Parts;

static bool find_parts(const HeldPair *pair, const char *vmsd_name, Parts *ret_parts)
{
	AUTO_FREE VirtioState *state = malloc(sizeof(*state));
	const uint8_t *bytes;
	Error err = ERROR_INIT;

	if (!state || !held_find_type(pair, vmsd_name, "virtio", &ret_parts->field))
		return false;
	bytes = pair->incoming.data + ret_parts->field.offset;
	if (!virtio_state_decode(bytes, ret_parts->field.size, NULL, state, &err))
		return false;
	ret_parts->config = (size_t)(state->config - pair->incoming.data);
	ret_parts->queues = ret_parts->config + state->shape.config_bytes;
	ret_parts->rest = (size_t)(state->rest - pair->incoming.data);
	return true;
}

static bool set_virtio_net_macs(HeldPair *pair, uint32_t macs)
{
	enum { MACS_IN_USE = 6 + 4 + 4 + 2 + 1 + 1 };
	Parts parts;

	if (!find_parts(pair, "virtio-net", &parts))
		return false;
	store_be32(pair->incoming.data + parts.rest + MACS_IN_USE, macs);
	return true;
}

static bool cve_2013_4148(HeldPair *pair)
{
	return set_virtio_net_macs(pair, UINT32_MAX);
}

static bool cve_2013_4149(HeldPair *pair)
{
	return set_virtio_net_macs(pair, 65);
}

static bool cve_2013_4151_queues(HeldPair *pair)
{
	Parts parts;

	if (!find_parts(pair, "virtio-blk", &parts))
		return false;
	store_be32(pair->incoming.data + parts.queues, 1025);
	return true;
}

static bool cve_2013_4151_ring(HeldPair *pair)
{
	Parts parts;

	if (!find_parts(pair, "virtio-blk", &parts))
		return false;
	store_be32(pair->incoming.data + parts.queues + 4, 1024);
	return true;
}

static bool cve_2013_4526(HeldPair *pair)
{
	return set(pair, "ahci", "ports", 7);
}

static bool cve_2013_4527(HeldPair *pair)
{
	return set(pair, "hpet", "num_timers", 33) || set(pair, "hpet", "num_timers_save", 33);
}

static bool cve_2013_4529(HeldPair *pair)
{
	return set(pair, "PCIE_AER_ERROR_LOG", "log_num", 9);
}

static bool cve_2013_4541(HeldPair *pair)
{
	return set(pair, "USBDevice", "setup_len", 4097) &&
	       set(pair, "USBDevice", "setup_index", 4097);
}

static bool cve_2014_3461(HeldPair *pair)
{
	return set(pair, "USBDevice", "setup_len", 8) && set(pair, "USBDevice", "setup_index", 9);
}

static bool cve_2013_4544_queues(HeldPair *pair)
{
	return set(pair, "vmxnet3", "txq_num", 9);
}

static bool cve_2013_4544_interrupt(HeldPair *pair)
{
	return set(pair, "vmxnet3-rxq-descr", "intr_idx", 25);
}

static bool cve_2013_6399(HeldPair *pair)
{
	Parts parts;

	if (!find_parts(pair, "virtio-scsi", &parts))
		return false;
	store_be16(pair->incoming.data + parts.config - 10, 1024);
	return true;
}

static bool cve_2014_0182(HeldPair *pair)
{
	Parts parts;

	if (!find_parts(pair, "virtio-blk", &parts))
		return false;
	store_be32(pair->incoming.data + parts.config - 4, 0x80000000);
	return true;
}

static bool cve_2017_16845(HeldPair *pair)
{
	return set(pair, "PS2 Common State", "queue.rptr", -1);
}

static bool cve_2021_3409(HeldPair *pair)
{
	return set(pair, "sdhci", "data_count", 513);
}

/* The place of a text behind another one in the description; NULL if there is none. */
static uint8_t *find_text(const Buffer *in, size_t eof, const char *device, const char *text)
{
	uint8_t *at = memmem(in->data + eof, in->used - eof, device, strlen(device));

	return at ? memmem(at, in->used - (size_t)(at - in->data), text, strlen(text)) : NULL;
}

/* Writes another text for one behind the name of a device in the description, and its length. */
static bool change_text(Buffer *in, size_t eof, const char *device, const char *before,
			const char *now)
{
	static const char room[64];
	const size_t used = in->used, old_length = strlen(before), new_length = strlen(now);
	uint8_t *at;
	Error err;

	if (!buffer_put(in, room, sizeof(room), &err))
		return false;
	in->used = used;
	at = find_text(in, eof, device, before);
	if (!at)
		return false;
	memmove(at + new_length, at + old_length, used - (size_t)(at - in->data) - old_length);
	memcpy(at, now, new_length);
	in->used = used + new_length - old_length;
	store_be32(in->data + eof + 2, (uint32_t)(in->used - eof - 6));
	return true;
}

/* Bytes come before byte `at` of the device state, and this changes in the description. */
static bool grow(HeldPair *pair, const char *device, size_t at, const uint8_t *bytes, size_t size,
		 const char *before, const char *now)
{
	Buffer *in = &pair->incoming;
	const size_t behind = in->used - at;
	Error err;

	if (!buffer_put(in, bytes, size, &err))
		return false;
	memmove(in->data + at + size, in->data + at, behind);
	memcpy(in->data + at, bytes, size);
	pair->eof += size;
	return change_text(in, pair->eof, device, before, now);
}

/* A request of a disk with two queues that waits, with so many buffers, at this entry. */
static bool add_request(HeldPair *pair, uint8_t index, uint16_t in_buffers)
{
	static uint8_t request[1 + 4 + ELEMENT_SIZE];
	char before[32], now[32];
	Parts parts;

	if (!find_parts(pair, "virtio-blk", &parts) ||
	    load_be32(pair->incoming.data + parts.queues) != 2)
		return false;
	request[0] = 1;
	request[4] = 1;
	request[5] = index;
	request[5 + 8] = (uint8_t)in_buffers;
	request[5 + 9] = (uint8_t)(in_buffers >> 8);
	snprintf(before, sizeof(before), "\"size\": %u", parts.field.size);
	snprintf(now, sizeof(now), "\"size\": %zu", parts.field.size + sizeof(request));
	return grow(pair, "/virtio-blk", parts.rest, request, sizeof(request), before, now);
}

static bool cve_2013_4535(HeldPair *pair)
{
	return add_request(pair, 3, 1025);
}

/* A SCSI disk with a request of virtio-scsi that waits. */
static bool find_scsi_request(const HeldPair *pair, HeldField *field)
{
	return held_find_type(pair, "SCSIDevice", "scsi-requests", field) &&
	       field->size > ELEMENT_SIZE;
}

static bool cve_2013_4542(HeldPair *pair)
{
	/* Mark, command, tag, unit, queue; index and count of buffers out. */
	enum { IN_BUFFERS = 1 + 16 + 4 + 4 + 4 + 4 + 4 };
	HeldField field;

	if (!find_scsi_request(pair, &field))
		return false;
	pair->incoming.data[field.offset + IN_BUFFERS] = 1;
	pair->incoming.data[field.offset + IN_BUFFERS + 1] = 4;
	return true;
}

/* The loading QEMU makes another request of it, and reads less. */
static bool scsi_attention(HeldPair *pair)
{
	HeldField field;

	return find_scsi_request(pair, &field) && set(pair, "SCSIDevice", "unit_attention.key", 6);
}

static bool scsi_no_command(HeldPair *pair)
{
	/* With this the struct around it has 25 bytes more as well. */
	static const uint8_t request[1 + 16 + 8] = { 1 };
	HeldField field;

	return held_find_type(pair, "SCSIDevice", "scsi-requests", &field) && field.size == 1 &&
	       set(pair, "SCSIDevice", "unit_attention.key", 0) &&
	       grow(pair, "/scsi-disk", field.offset, request, sizeof(request),
		    "\"scsi-requests\", \"size\": 1", "\"scsi-requests\", \"size\": 26") &&
	       change_text(&pair->incoming, pair->eof, "/scsi-disk", "\"size\": 105",
			   "\"size\": 130");
}

/* Not holes: what an honest source may send. */

bool device_holes_good_request(HeldPair *pair)
{
	return add_request(pair, 3, 1024);
}

const DeviceHole device_holes[] = {
	{ "CVE-2013-4148 virtio-net: 4294967295 MACs", cve_2013_4148 },
	{ "CVE-2013-4149 virtio-net: 65 MACs", cve_2013_4149 },
	{ "CVE-2013-4151 virtio: 1025 queues", cve_2013_4151_queues },
	{ "CVE-2013-4151 virtio: a ring larger than its arrays", cve_2013_4151_ring },
	{ "CVE-2013-4526 ahci: 7 ports of 6", cve_2013_4526 },
	{ "CVE-2013-4527 hpet: 33 timers", cve_2013_4527 },
	{ "CVE-2013-4529 pcie_aer: 9 entries of 8", cve_2013_4529 },
	{ "CVE-2013-4535, 4536 virtio-blk: a request of 1025 buffers", cve_2013_4535 },
	{ "CVE-2013-4541 usb: setup data of 4097 bytes", cve_2013_4541 },
	{ "CVE-2013-4542 scsi: a request of 1025 buffers", cve_2013_4542 },
	{ "scsi: a request, and a unit attention before it", scsi_attention },
	{ "scsi: a request that is no read or write", scsi_no_command },
	{ "CVE-2013-4544 vmxnet3: 9 queues", cve_2013_4544_queues },
	{ "CVE-2013-4544 vmxnet3: interrupt 25 of 25", cve_2013_4544_interrupt },
	{ "CVE-2013-6399 virtio: queue 1024 of 1024 selected", cve_2013_6399 },
	{ "CVE-2014-0182 virtio: configuration of 2 GiB", cve_2014_0182 },
	{ "CVE-2014-3461 usb: setup index past its length", cve_2014_3461 },
	{ "CVE-2017-16845 ps2: rptr -1", cve_2017_16845 },
	{ "CVE-2021-3409 sdhci: place 513 of 512", cve_2021_3409 },
};
const size_t device_holes_count = ARRAY_SIZE(device_holes);
