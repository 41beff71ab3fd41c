/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of multifd channels: each rule with what just keeps it and what just breaks it. */
#include "tests/support/support.h"

#include <string.h>

#include "tests/qemustream/multifd_samples.h"

enum { UNITS_MAX = 32 };

static const MultifdOptions plain = { .page_size = SAMPLE_PAGE };
static const MultifdOptions zlib = { .page_size = SAMPLE_PAGE,
				     .compression = MULTIFD_COMPRESSION_ZLIB };
static const MultifdOptions with_device = { .page_size = SAMPLE_PAGE,
					    .device_state_max_bytes = 100 };

/* What a stream was decoded to; pieces of one payload are joined, since they depend on windows. */
typedef struct Unit {
	MultifdUnitKind kind;
	size_t size_bytes;
	uint32_t numbers[6];
	uint64_t packet_num;
	char name[UNIT_NAME_SIZE];
} Unit;

typedef struct Decoded {
	Unit units[UNITS_MAX];
	size_t count, used;
	bool may_end;
	UnitResult result; /* of the last call */
	Error err;
} Decoded;

static void copy_name(UnitName name, Unit *unit)
{
	memcpy(unit->name, name.bytes, name.size);
}

static void note_packet(const MultifdPacket *packet, Unit *unit)
{
	const uint32_t numbers[] = { packet->sync, packet->pages_alloc, packet->normal_pages,
				     packet->zero_pages, packet->payload_bytes };

	memcpy(unit->numbers, numbers, sizeof(numbers));
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++)
		unit->numbers[5] += (uint32_t)(multifd_packet_offset(packet, i) * (i + 1));
	unit->packet_num = packet->packet_num;
	copy_name(packet->block, unit);
}

static void note_payload(const MultifdUnit *found, const uint8_t *window, Unit *unit)
{
	assert_ptr_equal(found->payload.bytes, window);
	for (size_t i = 0; i < found->size_bytes; i++)
		unit->numbers[1] = unit->numbers[1] * 31 + window[i];
	unit->numbers[0] = found->payload.start + (uint32_t)found->size_bytes + found->payload.left;
	unit->numbers[2] = found->payload.expanded_bytes;
	assert_int_equal(found->payload.start, unit->size_bytes);
}

static void note(Decoded *decoded, const MultifdUnit *found, const uint8_t *window)
{
	Unit *unit = decoded->count ? &decoded->units[decoded->count - 1] : NULL;
	bool joins = unit && unit->kind == MULTIFD_UNIT_PAYLOAD &&
		     found->kind == MULTIFD_UNIT_PAYLOAD && found->payload.start;

	if (!joins) {
		assert_true(decoded->count < UNITS_MAX);
		unit = &decoded->units[decoded->count++];
		unit->kind = found->kind;
	}
	switch (found->kind) {
	case MULTIFD_UNIT_INITIAL:
		unit->numbers[0] = found->initial.id;
		unit->numbers[1] = found->initial.uuid[15];
		break;
	case MULTIFD_UNIT_PACKET:
		note_packet(&found->packet, unit);
		break;
	case MULTIFD_UNIT_PAYLOAD:
	case MULTIFD_UNIT_COMPRESSED:
		note_payload(found, window, unit);
		break;
	case MULTIFD_UNIT_DEVICE_STATE:
		unit->numbers[0] = found->device_state.instance_id;
		unit->numbers[1] = found->device_state.payload_bytes;
		copy_name(found->device_state.idstr, unit);
		break;
	}
	unit->size_bytes += found->size_bytes;
}

/* Shows `first` bytes, and `step` more whenever the decoder asks; each window is a copy of its own
 * size, so that a sanitizer sees what reads past its end. Steps of 0 show all that is there. */
static void decode(const MultifdOptions *options, const uint8_t *bytes, size_t size, size_t step,
		   Decoded *decoded)
{
	MultifdStream stream;
	size_t window_size = step ? 0 : size;

	memset(decoded, 0, sizeof(*decoded));
	multifd_stream_init(&stream, options);
	while (true) {
		AUTO_FREE uint8_t *window = malloc(window_size ? window_size : 1);
		MultifdUnit unit;

		assert_non_null(window);
		memcpy(window, bytes + decoded->used, window_size);
		decoded->result =
			multifd_stream_next(&stream, window, window_size, &unit, &decoded->err);
		if (decoded->result == UNIT_BAD)
			break;
		if (decoded->result == UNIT_WHOLE) {
			assert_in_range(unit.size_bytes, 1, window_size);
			note(decoded, &unit, window);
			decoded->used += unit.size_bytes;
			window_size -= unit.size_bytes;
			continue;
		}
		if (decoded->used + window_size == size)
			break;
		window_size += step;
		if (window_size > size - decoded->used)
			window_size = size - decoded->used;
	}
	decoded->may_end = multifd_stream_may_end(&stream);
}

/* Everything that a good stream must do, whatever it holds. */
static void assert_good(const MultifdOptions *options, const Buffer *stream, size_t n_units,
			Decoded *whole)
{
	static Decoded other;

	decode(options, stream->data, stream->used, 0, whole);
	if (whole->result == UNIT_BAD)
		fail_msg("refused: %s", whole->err.text);
	assert_int_equal(whole->used, stream->used);
	assert_int_equal(whole->count, n_units);
	assert_true(whole->may_end);
	decode(options, stream->data, stream->used, 1, &other);
	assert_int_equal(other.used, stream->used);
	assert_int_equal(other.count, whole->count);
	assert_memory_equal(other.units, whole->units, sizeof(whole->units));
}

static void assert_bad(const MultifdOptions *options, const Buffer *stream, const char *part)
{
	static Decoded decoded;

	decode(options, stream->data, stream->used, 0, &decoded);
	assert_int_equal(decoded.result, UNIT_BAD);
	support_check_error(&decoded.err, ERROR_PEER, part, __FILE__, __LINE__);
	decode(options, stream->data, stream->used, 1, &decoded);
	assert_int_equal(decoded.result, UNIT_BAD);
	support_check_error(&decoded.err, ERROR_PEER, part, __FILE__, __LINE__);
}

static void test_plain(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 3);
	sample_multifd_sync(&stream, 5);
	sample_multifd_pages(&stream, "pc.ram", 2, 1, 6);
	sample_multifd_pages(&stream, "pc.bios", 0, 2, UINT64_C(1) << 40);
	sample_multifd_pages(&stream, "x", 1, 0, 8);
	assert_good(&plain, &stream, 7, &found);
	assert_int_equal(found.units[0].numbers[0], 3);
	assert_int_equal(found.units[0].numbers[1], 0xaf);
	assert_int_equal(found.units[1].numbers[0], 1);
	assert_int_equal(found.units[1].packet_num, 5);
	assert_int_equal(found.units[2].numbers[2], 2);
	assert_int_equal(found.units[2].numbers[3], 1);
	assert_int_equal(found.units[2].numbers[4], 2 * SAMPLE_PAGE);
	assert_int_equal(found.units[2].numbers[5], SAMPLE_PAGE * (1 + 2 * 4 + 3 * 7));
	assert_string_equal(found.units[2].name, "pc.ram");
	assert_int_equal(found.units[3].kind, MULTIFD_UNIT_PAYLOAD);
	assert_int_equal(found.units[3].size_bytes, 2 * SAMPLE_PAGE);
	assert_int_equal(found.units[4].packet_num, UINT64_C(1) << 40);
	assert_int_equal(found.units[4].numbers[4], 0);
}

static void test_full_packet(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 0);
	sample_multifd_pages(&stream, "pc.ram", SAMPLE_PAGES_MAX, 0, 0);
	decode(&plain, stream.data, stream.used, 0, &found);
	assert_int_equal(found.result, UNIT_MORE);
	assert_int_equal(found.used, stream.used);
	assert_int_equal(found.units[2].size_bytes, MULTIFD_PACKET_BYTES);
}

static void test_larger_pages(void **state)
{
	const MultifdOptions options = { .page_size = 65536 };
	uint8_t header[MULTIFD_OFFSETS_AT + 8 * 8];
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	Decoded found;
	Error err = ERROR_INIT;

	(void)state;
	sample_multifd_initial(&stream, 0);
	sample_multifd_packet(&stream, &(SamplePacket){ .block = "r", .zero_pages = 8 });
	stream.used -= SAMPLE_HEADER;
	memcpy(header, stream.data + stream.used, sizeof(header));
	store_be32(header + AT_PAGES_ALLOC, 8);
	for (size_t i = 0; i < 8; i++)
		store_be64(header + MULTIFD_OFFSETS_AT + 8 * i, i << 16);
	assert_works(buffer_put(&stream, header, sizeof(header), &err), &err);
	assert_good(&options, &stream, 2, &found);
	store_be64(stream.data + stream.used - 8, 0x8000);
	assert_bad(&options, &stream, "offset 0x8000 of page 7 is no multiple of 0x10000");
}

static void test_compressed(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(4 << 20);
	SamplePacket packet = { .block = "pc.ram",
				.flags = SAMPLE_ZLIB,
				.normal_pages = 3,
				.zero_pages = 1,
				.next_packet_size = 5 };
	Decoded found;
	Error err = ERROR_INIT;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_packet(&stream, &packet);
	assert_works(buffer_put(&stream, "12345", 5, &err), &err);
	sample_multifd_sync(&stream, 2);
	packet.normal_pages = 0;
	packet.next_packet_size = 0;
	sample_multifd_packet(&stream, &packet);
	assert_good(&zlib, &stream, 5, &found);
	assert_int_equal(found.units[2].kind, MULTIFD_UNIT_COMPRESSED);
	assert_int_equal(found.units[2].size_bytes, 5);
	assert_int_equal(found.units[2].numbers[0], 5);
	assert_int_equal(found.units[2].numbers[2], 3 * SAMPLE_PAGE);
	assert_bad(&plain, &stream, "compression 0x2 where 0x0 was agreed");
}

/* A compressed payload comes whole, even the longest. */
static void test_longest_compressed(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(4 << 20);
	const SamplePacket packet = { .block = "pc.ram",
				      .flags = SAMPLE_ZLIB,
				      .normal_pages = SAMPLE_PAGES_MAX,
				      .next_packet_size = MULTIFD_COMPRESSED_MAX };
	AUTO_FREE uint8_t *bytes = calloc(1, MULTIFD_COMPRESSED_MAX);
	Decoded found;
	Error err = ERROR_INIT;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_packet(&stream, &packet);
	assert_works(buffer_put(&stream, bytes, MULTIFD_COMPRESSED_MAX, &err), &err);
	decode(&zlib, stream.data, stream.used - 1, 0, &found);
	assert_int_equal(found.result, UNIT_MORE);
	assert_int_equal(found.count, 2);
	assert_false(found.may_end);
	decode(&zlib, stream.data, stream.used, 0, &found);
	assert_int_equal(found.count, 3);
	assert_int_equal(found.units[2].size_bytes, MULTIFD_WINDOW);
	assert_true(found.may_end);
}

/* Before 9.0: what the packet before had stays in an empty one; a SYNC goes with pages, and the
 * empty packet that was meant for it goes without. */
static void test_old_sources(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	SamplePacket packet = { .block = "pc.ram",
				.flags = SAMPLE_SYNC,
				.normal_pages = 1,
				.next_packet_size = SAMPLE_PAGE };
	Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_packet(&stream, &packet);
	assert_int_equal(stream.used, SAMPLE_INITIAL + SAMPLE_HEADER);
	for (size_t i = 0; i < SAMPLE_PAGE / 8; i++) {
		Error err = ERROR_INIT;

		assert_works(buffer_put(&stream, "01234567", 8, &err), &err);
	}
	packet.normal_pages = 0;
	packet.flags = 0;
	sample_multifd_packet(&stream, &packet);
	packet.flags = SAMPLE_SYNC;
	packet.next_packet_size = MULTIFD_COMPRESSED_MAX;
	sample_multifd_packet(&stream, &packet);
	assert_good(&plain, &stream, 5, &found);
	assert_int_equal(found.units[1].numbers[0], 1);
	assert_int_equal(found.units[1].numbers[2], 1);
	assert_int_equal(found.units[3].numbers[0], 0);
	assert_int_equal(found.units[3].numbers[4], 0);
	assert_int_equal(found.units[4].numbers[4], 0);
}

static void test_device_state(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20), longer = BUFFER_INIT(1 << 20);
	Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_device(&stream, "0000:00:02.0/vfio", 100);
	sample_multifd_pages(&stream, "pc.ram", 1, 0, 6);
	assert_good(&with_device, &stream, 5, &found);
	assert_int_equal(found.units[1].kind, MULTIFD_UNIT_DEVICE_STATE);
	assert_int_equal(found.units[1].numbers[0], 7);
	assert_string_equal(found.units[1].name, "0000:00:02.0/vfio");
	assert_int_equal(found.units[2].size_bytes, 100);
	assert_bad(&plain, &stream, "flags 0x40: a device's state (VFIO) is not allowed here");
	sample_multifd_initial(&longer, 1);
	sample_multifd_device(&longer, "0000:00:02.0/vfio", 101);
	assert_bad(&with_device, &longer, "next_packet_size 101 of a device's state, 1..100");
}

/* A field of a sample, one value that is right and one that is not. */
typedef struct Field {
	size_t at, size;
	uint64_t good, bad;
	const char *part;
} Field;

static void set_field(uint8_t *sample, const Field *field, uint64_t value)
{
	for (size_t i = 0; i < field->size; i++)
		sample[field->at + i] = (uint8_t)(value >> 8 * (field->size - 1 - i));
}

static void try_fields(const MultifdOptions *options, const Buffer *stream, size_t sample,
		       const Field *fields, size_t n_fields)
{
	for (size_t i = 0; i < n_fields; i++) {
		AUTO_BUFFER Buffer copy = BUFFER_INIT(1 << 20);
		static Decoded found;
		Error err = ERROR_INIT;

		assert_works(buffer_put(&copy, stream->data, stream->used, &err), &err);
		set_field(copy.data + sample, &fields[i], fields[i].good);
		decode(options, copy.data, copy.used, 0, &found);
		if (found.result == UNIT_BAD || found.used != copy.used)
			fail_msg("field %zu: refused: %s", i, found.err.text);
		set_field(copy.data + sample, &fields[i], fields[i].bad);
		assert_bad(options, &copy, fields[i].part);
	}
}

static void test_initial_fields(void **state)
{
	static const Field fields[] = {
		{ 0, 4, 0x11223344, 0x11223345,
		  "multifd channel, byte 0: magic 0x11223345 where 0x11223344 must be" },
		{ 4, 4, 1, 2, "version 2, only 1 is known" },
		{ 24, 1, 255, 0, "" }, /* any id: the guard knows how many there are */
		{ 25, 1, 0, 1, "what follows the id in an initial packet must be zero" },
		{ 31, 1, 0, 1, "must be zero" },
		{ 32, 1, 0, 1, "must be zero" },
		{ 63, 1, 0, 0x80, "must be zero in all its 39 bytes" },
	};
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);

	(void)state;
	sample_multifd_initial(&stream, 1);
	try_fields(&plain, &stream, 0, fields, 2);
	try_fields(&plain, &stream, 0, fields + 3, ARRAY_SIZE(fields) - 3);
	for (int id = 0; id < 256; id++) {
		Decoded found;

		set_field(stream.data, &fields[2], (uint64_t)id);
		assert_good(&plain, &stream, 1, &found);
		assert_int_equal(found.units[0].numbers[0], id);
	}
}

static void test_packet_fields(void **state)
{
	static const Field fields[] = {
		{ AT_MAGIC, 4, 0x11223344, 0x5145564d,
		  "multifd channel 1, byte 64: magic 0x5145564d" },
		{ AT_VERSION, 4, 1, 0, "version 0, only 1 is known" },
		{ AT_FLAGS, 4, 1, 0x81, "flags 0x81, known are 0x7f" },
		{ AT_FLAGS, 4, 0, 0x80000000, "flags 0x80000000, known" },
		{ AT_FLAGS, 4, 0, SAMPLE_ZSTD, "compression 0x4 where 0x0 was agreed" },
		{ AT_FLAGS, 4, 0, 0x08, "compression 0x8 where 0x0 was agreed" },
		{ AT_FLAGS, 4, 0, 0x10, "compression 0x10 where" },
		{ AT_FLAGS, 4, 0, 0x20, "compression 0x20 where" },
		{ AT_FLAGS, 4, 0, 0x40, "a device's state (VFIO) is not allowed here" },
		{ AT_FLAGS, 4, 1, 0x41, "goes with no other" },
		{ AT_PAGES_ALLOC, 4, 128, 129, "a packet for 129 pages, at most 128" },
		{ AT_PAGES_ALLOC, 4, 3, 2, "1 zero pages where 0 are left of 2" },
		{ AT_PAGES_ALLOC, 4, 3, 1, "2 pages in a packet for 1 pages" },
		{ AT_NORMAL_PAGES, 4, 2, 129, "129 pages in a packet for 128 pages" },
		{ AT_NORMAL_PAGES, 4, 2, UINT32_MAX, "4294967295 pages in a packet" },
		{ AT_ZERO_PAGES, 4, 126, 127, "127 zero pages where 126 are left of 128" },
		{ AT_ZERO_PAGES, 4, 1, UINT32_MAX, "4294967295 zero pages" },
		{ AT_NEXT_PACKET_SIZE, 4, 8192, 8191,
		  "next_packet_size 8191 where 2 pages have 8192" },
		{ AT_NEXT_PACKET_SIZE, 4, 8192, 8193, "next_packet_size 8193" },
		{ AT_NEXT_PACKET_SIZE, 4, 8192, 0, "next_packet_size 0 where" },
		{ AT_NEXT_PACKET_SIZE, 4, 8192, UINT32_MAX, "next_packet_size 4294967295" },
		{ AT_RESERVED, 4, 0, 1, "what is reserved in a packet must be zero" },
		{ AT_RESERVED + 27, 1, 0, 1, "must be zero in all its 28 bytes" },
		{ AT_NAME, 1, 'q', 0, "the name of a RAM block of 0 bytes" },
		{ AT_NAME + 1, 1, '~', 0x7f, "has byte 0x7f at 1, only 0x20 to 0x7e" },
		{ AT_NAME + 1, 1, ' ', 0x1f, "has byte 0x1f at 1" },
		{ AT_NAME + 1, 1, 'c', 0, "what follows a name must be zero" },
		{ AT_NAME + 255, 1, 0, 'x', "what follows a name must be zero" },
		{ MULTIFD_OFFSETS_AT, 8, 0, 1, "offset 0x1 of page 0 is no multiple of 0x1000" },
		{ MULTIFD_OFFSETS_AT + 8, 8, 0xfffffffffffff000, 0xfffffffffffff800,
		  "offset 0xfffffffffffff800 of page 1" },
		{ MULTIFD_OFFSETS_AT + 16, 8, 0x1000, 0x1800, "offset 0x1800 of page 2" },
	};
	/* Behind the offsets in use nothing is judged: 7.2 leaves old ones there. */
	static const Field unused = { MULTIFD_OFFSETS_AT + 24, 8, 0, 0, "" };
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_pages(&stream, "pc.ram", 2, 1, 4);
	try_fields(&plain, &stream, SAMPLE_INITIAL, fields, ARRAY_SIZE(fields));
	set_field(stream.data + SAMPLE_INITIAL, &unused, 0x123);
	assert_good(&plain, &stream, 3, &found);
	memset(stream.data + SAMPLE_INITIAL + AT_NAME, 'n', UNIT_NAME_MAX);
	assert_good(&plain, &stream, 3, &found);
	assert_int_equal(strlen(found.units[1].name), UNIT_NAME_MAX);
	stream.data[SAMPLE_INITIAL + AT_NAME + UNIT_NAME_MAX] = 'n';
	assert_bad(&plain, &stream, "a RAM block of 256 bytes without an end, at most 255");
}

static void test_sync_fields(void **state)
{
	static const Field fields[] = {
		{ AT_FLAGS, 4, 1, 0, "flags 0x0 in a packet for 0 pages: no SYNC" },
		{ AT_NEXT_PACKET_SIZE, 4, 0, 1, "for 0 pages with next_packet_size 1 and" },
		{ AT_NAME, 1, 0, 'x', "and a name of 1 bytes, both must be 0" },
		{ AT_NORMAL_PAGES, 4, 0, 1, "1 pages in a packet for 0 pages" },
		{ AT_ZERO_PAGES, 4, 0, 1, "1 zero pages where 0 are left of 0" },
	};
	static const Field old_fields[] = {
		{ AT_NEXT_PACKET_SIZE, 4, MULTIFD_COMPRESSED_MAX, MULTIFD_COMPRESSED_MAX + 1,
		  "next_packet_size 1048577 without pages, at most 1048576" },
		{ AT_FLAGS, 4, 1, 3, "flags 0x3: compression of 0 pages" },
	};
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20), old = BUFFER_INIT(1 << 20);

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_sync(&stream, 4);
	try_fields(&zlib, &stream, SAMPLE_INITIAL, fields, ARRAY_SIZE(fields));
	sample_multifd_initial(&old, 1);
	sample_multifd_packet(&old, &(SamplePacket){ .block = "pc.ram", .flags = SAMPLE_SYNC });
	try_fields(&zlib, &old, SAMPLE_INITIAL, old_fields, ARRAY_SIZE(old_fields));
}

static void test_compressed_fields(void **state)
{
	static const Field fields[] = {
		{ AT_FLAGS, 4, SAMPLE_ZLIB, 0, "no compression where 0x2 was agreed" },
		{ AT_FLAGS, 4, SAMPLE_ZLIB | SAMPLE_SYNC, SAMPLE_ZLIB | SAMPLE_ZSTD,
		  "compression 0x6 where 0x2" },
		{ AT_NEXT_PACKET_SIZE, 4, 3, 0, "next_packet_size 0 of compressed pages, 1.." },
		{ AT_NEXT_PACKET_SIZE, 4, 3, MULTIFD_COMPRESSED_MAX + 1,
		  "next_packet_size 1048577 of compressed pages, 1..1048576" },
		{ AT_NEXT_PACKET_SIZE, 4, 3, UINT32_MAX, "next_packet_size 4294967295 of" },
	};
	static const Field zero_fields[] = {
		{ AT_NEXT_PACKET_SIZE, 4, 0, 1, "next_packet_size 1 where 0 pages have 0" },
		{ AT_FLAGS, 4, SAMPLE_ZLIB, 0, "no compression where 0x2" },
	};
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20), zeros = BUFFER_INIT(1 << 20);
	SamplePacket packet = {
		.block = "pc.ram", .flags = SAMPLE_ZLIB, .normal_pages = 1, .next_packet_size = 3
	};
	Error err = ERROR_INIT;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_packet(&stream, &packet);
	assert_works(buffer_put(&stream, "abc", 3, &err), &err);
	try_fields(&zlib, &stream, SAMPLE_INITIAL, fields, ARRAY_SIZE(fields));
	sample_multifd_initial(&zeros, 1);
	packet.normal_pages = 0;
	packet.zero_pages = 4;
	packet.next_packet_size = 0;
	sample_multifd_packet(&zeros, &packet);
	try_fields(&zlib, &zeros, SAMPLE_INITIAL, zero_fields, ARRAY_SIZE(zero_fields));
}

static void test_device_fields(void **state)
{
	static const Field fields[] = {
		{ AT_FLAGS, 4, 0x40, 0x41, "flags 0x41: 0x40 for a device's state goes with no" },
		{ AT_DEVICE_NAME, 1, 'x', 0, "the name of a device of 0 bytes, at least 1" },
		{ AT_DEVICE_NAME + 255, 1, 0, 1, "what follows a name must be zero" },
		{ AT_DEVICE_SIZE, 4, 9, 0, "next_packet_size 0 of a device's state, 1..100" },
		{ AT_DEVICE_SIZE, 4, 9, UINT32_MAX, "next_packet_size 4294967295 of" },
	};
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_device(&stream, "vfio", 9);
	try_fields(&with_device, &stream, SAMPLE_INITIAL, fields, ARRAY_SIZE(fields));
}

/* One call more after a refusal, with good bytes. */
static void test_refused_for_good(void **state)
{
	uint8_t bytes[SAMPLE_INITIAL] = { 0 };
	AUTO_BUFFER Buffer good = BUFFER_INIT(1 << 20);
	MultifdStream stream;
	MultifdUnit unit;
	Error err = ERROR_INIT;

	(void)state;
	sample_multifd_initial(&good, 1);
	multifd_stream_init(&stream, &plain);
	assert_int_equal(multifd_stream_next(&stream, bytes, sizeof(bytes), &unit, &err), UNIT_BAD);
	assert_false(multifd_stream_may_end(&stream));
	assert_int_equal(multifd_stream_next(&stream, good.data, good.used, &unit, &err), UNIT_BAD);
	support_check_error(&err, ERROR_PEER, "refused before", __FILE__, __LINE__);
}

static void judge_mutation(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	const MultifdOptions *options = context;
	static Decoded found;

	decode(options, data, size, 0, &found);
	if (mutation == MUTATION_CUT) {
		assert_int_equal(found.result, UNIT_MORE);
		assert_in_range(found.used, 0, size);
	}
	if (found.result == UNIT_MORE && found.may_end)
		assert_true(mutation != MUTATION_APPEND || found.used < size);
}

/* Truncation asks for more; no bit crashes it. */
static void test_mutations(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20), device = BUFFER_INIT(1 << 20);
	Error err = ERROR_INIT;
	MultifdOptions options = zlib, device_options = with_device;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_packet(&stream, &(SamplePacket){ .block = "pc.ram",
							.flags = SAMPLE_ZLIB,
							.normal_pages = 2,
							.zero_pages = 1,
							.next_packet_size = 3 });
	assert_works(buffer_put(&stream, "abc", 3, &err), &err);
	support_mutate(stream.data, stream.used, judge_mutation, &options);
	sample_multifd_initial(&device, 1);
	sample_multifd_device(&device, "vfio", 9);
	support_mutate(device.data, device.used, judge_mutation, &device_options);
}

/* A stream of pages that ends anywhere: what was whole is given, the rest is waited for. */
static void test_cut_pages(void **state)
{
	AUTO_BUFFER Buffer stream = BUFFER_INIT(1 << 20);
	static Decoded found;

	(void)state;
	sample_multifd_initial(&stream, 1);
	sample_multifd_pages(&stream, "pc.ram", 1, 1, 0);
	sample_multifd_sync(&stream, 1);
	for (size_t size = 0; size < stream.used; size++) {
		size_t pages_end = SAMPLE_INITIAL + SAMPLE_HEADER + SAMPLE_PAGE;

		decode(&plain, stream.data, size, 0, &found);
		assert_int_equal(found.result, UNIT_MORE);
		assert_int_equal(found.count, (size >= SAMPLE_INITIAL) +
						      (size >= SAMPLE_INITIAL + SAMPLE_HEADER) +
						      (size > SAMPLE_INITIAL + SAMPLE_HEADER));
		assert_true(found.may_end ==
			    (size >= pages_end ||
			     (size >= SAMPLE_INITIAL && size < SAMPLE_INITIAL + SAMPLE_HEADER)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_full_packet),
		cmocka_unit_test(test_larger_pages),
		cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_longest_compressed),
		cmocka_unit_test(test_old_sources),
		cmocka_unit_test(test_device_state),
		cmocka_unit_test(test_initial_fields),
		cmocka_unit_test(test_packet_fields),
		cmocka_unit_test(test_sync_fields),
		cmocka_unit_test(test_compressed_fields),
		cmocka_unit_test(test_device_fields),
		cmocka_unit_test(test_refused_for_good),
		cmocka_unit_test(test_cut_pages),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
