/* SPDX-License-Identifier: Apache-2.0 */
/* run_guard.h, mutate_main, mutate_multifd and mutate_return. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_local.h"
#include "qemustream/frame.h"
#include "qemustream/main.h"
#include "qemustream/multifd.h"
#include "qemustream/return_path.h"
#include "tests/guard/run_guard.h"

enum {
	FIELDS_MAX = 4096,
	PAGE = 4096,
	ALIKE_MAX = 3, /* of units of one kind how many are changed */
	JSON_MAX = 2 << 20,
	MARK_SIZE = 6,
	VALUES_MAX = 16,
};

typedef struct Field {
	size_t at;
	unsigned int size; /* bytes: 1, 2, 4, 8 */
	bool may_differ;   /* other values are another good stream */
	uint64_t bound;	   /* a number that the field must not go past; 0: none is known */
	const char *what;
} Field;

typedef struct Fields {
	size_t count;
	Field items[FIELDS_MAX];
	unsigned int alike[64];
} Fields;

static void add(Fields *fields, const char *what, size_t at, unsigned int size, bool may_differ,
		uint64_t bound)
{
	if (fields->count == FIELDS_MAX)
		die("too many fields");
	fields->items[fields->count++] = (Field){
		.at = at, .size = size, .may_differ = may_differ, .bound = bound, .what = what
	};
}

static bool seen_enough(Fields *fields, unsigned int kind)
{
	return ++fields->alike[kind] > ALIKE_MAX;
}

/* --- values --- */

static uint64_t load(const uint8_t *bytes, unsigned int size)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

static void store(uint8_t *bytes, unsigned int size, uint64_t value)
{
	for (unsigned int i = size; i-- > 0; value >>= 8)
		bytes[i] = (uint8_t)value;
}

static size_t values_of(const Field *field, uint64_t was, uint64_t values[static VALUES_MAX])
{
	uint64_t max = field->size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * field->size) - 1;
	const uint64_t all[] = { 0,
				 1,
				 max,
				 max - 1,
				 max / 2,
				 max / 2 + 1,
				 was - 1,
				 was + 1,
				 was - PAGE,
				 was + PAGE,
				 field->bound,
				 field->bound - 1,
				 field->bound + 1,
				 field->bound + PAGE };
	size_t count = 0;

	static_assert(sizeof(all) / sizeof(all[0]) <= VALUES_MAX, "room for all");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if ((all[i] & max) != was)
			values[count++] = all[i] & max;
	return count;
}

/* --- judging one stream --- */

/* By the description at its end, which this stream is known to have. */
static VmDescription *describe(const Buffer *stream, size_t held_at)
{
	const uint8_t *held = stream->data + held_at;
	size_t size = stream->used - held_at, eof;
	Error err = ERROR_INIT;
	VmDescription *description = NULL;

	if (frame_find_vmdesc(held, size, JSON_MAX, &eof, &err))
		description = vmdesc_parse(held + eof + MARK_SIZE, size - eof - MARK_SIZE,
					   &VMDESC_LIMITS_DEFAULT, &err);
	if (!description)
		die("%s", err.text);
	return description;
}

static bool fits_never(void *context, const FrameField *field, Error *err)
{
	(void)context;
	return error_set(err, ERROR_PEER, "%s has a length of its own", field->node->name);
}

/* The sections of a package at `at`, by the twin's layout; these machines have no virtio. */
static VmDescription *describe_package(const Files *files, const Buffer *stream, size_t at)
{
	static const LocalProbe probe = { .fits = fits_never };
	static VmDescription *twin;
	Error err = ERROR_INIT;
	VmDescription *description;
	size_t size;

	twin = twin ? twin : describe(&files->twin, 0);
	description =
		local_describe(twin, stream->data + at, stream->used - at, &probe, &size, &err);
	if (!description)
		die("%s", err.text);
	return description;
}

static void tell_length(MainStream *stream, const VmDescription *description,
			const MainSection *section)
{
	char name[UNIT_NAME_SIZE];
	const VmDevice *device;

	snprintf(name, sizeof(name), "%.*s", section->name.size, section->name.bytes);
	device = vmdesc_find(description, name, section->instance_id);
	if (!device)
		die("%s is not described", name);
	main_stream_expect_payload(stream, vmdesc_payload_size(device));
}

static bool has(const Files *files, GuardFeature feature)
{
	return files->agreed & GUARD_AGREED(feature);
}

static MainStream *main_stream_of(const Files *files)
{
	const MainStreamOptions options = { .page_size = PAGE,
					    .multifd = files->channels > 1,
					    .xbzrle = has(files, GUARD_XBZRLE),
					    .postcopy = has(files, GUARD_POSTCOPY),
					    .dirty_bitmaps = has(files, GUARD_BITMAPS) };
	Error err = ERROR_INIT;
	MainStream *stream = main_stream_new(&options, &err);

	if (!stream)
		die("%s", err.text);
	return stream;
}

/* Whether bytes[0..size) of a main channel are whole units, up to precopy's device state. */
static bool are_main_units(const Files *files, const uint8_t *bytes, size_t size)
{
	AUTO_MAIN_STREAM MainStream *stream = main_stream_of(files);
	AUTO_VMDESC VmDescription *description = NULL;
	const Buffer whole = { .data = files->forward[0].data, .used = files->forward[0].used };
	Error err = ERROR_INIT;
	size_t at = 0;
	MainUnit unit;

	while (at < size) {
		bool is_full;

		if (main_stream_next(stream, bytes + at, size - at, &unit, &err) != UNIT_WHOLE)
			return false;
		is_full = unit.kind == MAIN_SECTION && unit.section.type == MAIN_SECTION_FULL;
		/* Early sections may be held for no tail. */
		if (is_full && !unit.packaged && main_stream_may_hold(stream))
			return false;
		if (is_full && !description)
			description = unit.packaged ? describe_package(files, &whole, at)
						    : describe(&whole, 0);
		if (unit.kind == MAIN_SECTION && unit.section.needs_length)
			tell_length(stream, description, &unit.section);
		at += unit.size_bytes;
	}
	return true;
}

static MultifdOptions multifd_options_of(const Files *files)
{
	return (MultifdOptions){ .page_size = PAGE,
				 .compression = has(files, GUARD_ZLIB) ? MULTIFD_COMPRESSION_ZLIB
						: has(files, GUARD_ZSTD)
							? MULTIFD_COMPRESSION_ZSTD
							: MULTIFD_COMPRESSION_NONE };
}

static bool are_multifd_units(const Files *files, const uint8_t *bytes, size_t size)
{
	const MultifdOptions options = multifd_options_of(files);
	MultifdStream stream;
	Error err = ERROR_INIT;
	size_t at = 0;
	MultifdUnit unit;

	multifd_stream_init(&stream, &options);
	while (at < size) {
		if (multifd_stream_next(&stream, bytes + at, size - at, &unit, &err) != UNIT_WHOLE)
			return false;
		at += unit.size_bytes;
	}
	return true;
}

static bool are_messages(const uint8_t *bytes, size_t size)
{
	const ReturnPathOptions options = { .page_size = PAGE };
	ReturnPathStream stream;
	ReturnPathUnit unit;
	Error err = ERROR_INIT;
	size_t at = 0;

	return_path_init(&stream, &options);
	while (at < size) {
		if (return_path_next(&stream, bytes + at, size - at, &unit, &err) != UNIT_WHOLE)
			return false;
		at += unit.size_bytes;
	}
	return true;
}

typedef struct Totals {
	size_t refused, accepted;
} Totals;

/* Which stream is changed. */
typedef struct Target {
	GuardSide side;
	unsigned int channel;
	const Buffer *original;
} Target;

static bool are_units(const Files *files, const Target *target, const uint8_t *bytes, size_t size)
{
	if (target->side == GUARD_SOURCE)
		return are_messages(bytes, size);
	return target->channel ? are_multifd_units(files, bytes, size)
			       : are_main_units(files, bytes, size);
}

static void judge(const Files *files, const Target *target, const Buffer *bytes, const Field *field,
		  uint64_t value, Totals *totals)
{
	AUTO_GUARD Guard *guard = new_guard(files, target->side);
	Error err = ERROR_INIT;
	size_t out;

	if (target->side == GUARD_SOURCE)
		learn(files, guard, 0);
	if (feed(guard, target->channel, bytes, 0, &out, &err)) {
		if (!field->may_differ)
			die("%s at %zu: 0x%" PRIx64 " passed", field->what, field->at, value);
		totals->accepted++;
		return;
	}
	if (err.category != ERROR_PEER || strncmp(err.text, "guard-", 6) != 0)
		die("%s at %zu: 0x%" PRIx64 " refused without a rule: %s", field->what, field->at,
		    value, err.text);
	if (!are_units(files, target, bytes->data, out))
		die("%s at %zu: 0x%" PRIx64 ": half a unit came out", field->what, field->at,
		    value);
	totals->refused++;
}

static int change_all(const Files *files, const Target *target, const Fields *fields)
{
	const Buffer *original = target->original;
	Files bare = *files;
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FILE_MAX);
	uint64_t values[VALUES_MAX];
	Totals totals = { 0 };
	Error err = ERROR_INIT;

	if (!buffer_put(&bytes, original->data, original->used, &err))
		die("%s", err.text);
	/* To read the tables takes longer than all the rest, and a guest that never ran needs none.
	 */
	bare.dump.used = 0;
	for (size_t i = 0; i < fields->count; i++) {
		const Field *field = &fields->items[i];
		uint64_t was = load(bytes.data + field->at, field->size);
		size_t count = values_of(field, was, values);

		for (size_t j = 0; j < count; j++) {
			store(bytes.data + field->at, field->size, values[j]);
			judge(&bare, target, &bytes, field, values[j], &totals);
		}
		store(bytes.data + field->at, field->size, was);
	}
	printf("fields %zu refused %zu accepted %zu\n", fields->count, totals.refused,
	       totals.accepted);
	return fields->count && totals.refused ? 0 : 1;
}

/* --- fields of main --- */

static void add_section(Fields *fields, size_t at, const MainSection *section)
{
	bool has_name = section->type == MAIN_SECTION_START || section->type == MAIN_SECTION_FULL;

	if (section->type != MAIN_SECTION_FULL && seen_enough(fields, 8 + section->type))
		return;
	add(fields, "a section's type", at, 1, false, 0);
	add(fields, "a section's id", at + 1, 4, false, 65535);
	if (!has_name)
		return;
	add(fields, "the length of a section's name", at + 5, 1, false, 0);
	add(fields, "a section's instance", at + 6 + section->name.size, 4, false, 0);
	add(fields, "a section's version", at + 10 + section->name.size, 4, false, 0);
}

static void add_ram(Fields *fields, size_t at, const RamUnit *ram, const RamBlocks *blocks)
{
	bool page = ram->kind == RAM_PAGE || ram->kind == RAM_ZERO || ram->kind == RAM_XBZRLE;

	if (ram->kind != RAM_BLOCK && seen_enough(fields, 16 + ram->kind))
		return;
	if (ram->kind == RAM_BLOCK) {
		const RamBlock *block = &blocks->items[ram->block];

		add(fields, "the length of a block's name", at, 1, false, 0);
		add(fields, "a block's length", at + 1 + block->name_size, 8, false,
		    block->used_length);
		return;
	}
	add(fields, "a record's offset and flags", at, 8, page,
	    page ? blocks->items[ram->block].used_length : 0);
	if (ram->kind == RAM_XBZRLE)
		add(fields, "the length of a change", at + ram->size_bytes - ram->encoded_bytes - 2,
		    2, false, PAGE);
}

static void add_command(Fields *fields, size_t at, const CommandUnit *command,
			const RamBlocks *blocks)
{
	const uint64_t length = blocks->items[command->block].used_length;
	const size_t data = at + 5;

	add(fields, "a command's number", at + 1, 2, false, 11);
	add(fields, "a command's length", at + 3, 2, false, 0);
	switch (command->kind) {
	case COMMAND_PING:
		add(fields, "the cookie of a PING", data, 4, false, 4);
		return;
	case COMMAND_POSTCOPY_ADVISE:
		add(fields, "the page sizes of ADVISE", data, 8, false, 0);
		add(fields, "the page size of ADVISE", data + 8, 8, false, 0);
		return;
	case COMMAND_PACKAGED:
		add(fields, "the length of the package", data, 4, false, GUARD_HELD_MAX);
		return;
	case COMMAND_POSTCOPY_RAM_DISCARD:
		add(fields, "the version of a DISCARD", data, 1, false, 0);
		add(fields, "the length of a DISCARD's block", data + 1, 1, false, 0);
		add(fields, "the start of a range",
		    data + 3 + blocks->items[command->block].name_size, 8, true, length);
		add(fields, "the length of a range",
		    data + 11 + blocks->items[command->block].name_size, 8, true, length);
		return;
	case COMMAND_OPEN_RETURN_PATH:
	case COMMAND_POSTCOPY_LISTEN:
	case COMMAND_POSTCOPY_RUN:
	case COMMAND_ENABLE_COLO:
	case COMMAND_POSTCOPY_RESUME:
	case COMMAND_RECV_BITMAP:
	case COMMAND_SWITCHOVER_START:
	case COMMAND_KIND_COUNT:
		return;
	}
}

static void add_main_unit(Fields *fields, const MainUnit *unit, const RamBlocks *blocks)
{
	size_t at = (size_t)unit->at;

	switch (unit->kind) {
	case MAIN_HEADER:
		add(fields, "the magic", at, 4, false, 0);
		add(fields, "the version", at + 4, 4, false, 0);
		return;
	case MAIN_CONFIGURATION:
		add(fields, "the configuration's tag", at, 1, false, 0);
		add(fields, "the length of the machine's name", at + 1, 4, false, 255);
		return;
	case MAIN_SECTION:
		add_section(fields, at, &unit->section);
		return;
	case MAIN_RAM:
		add_ram(fields, at, &unit->ram, blocks);
		return;
	case MAIN_FOOTER:
		if (seen_enough(fields, 1))
			return;
		add(fields, "a footer's tag", at, 1, false, 0);
		add(fields, "a footer's id", at + 1, 4, false, 65535);
		return;
	case MAIN_COMMAND:
		add_command(fields, at, &unit->command, blocks);
		return;
	case MAIN_EOF:
		add(fields, "the end mark", at, 1, false, 0);
		return;
	case MAIN_VMDESC:
		add(fields, "the description's tag", at, 1, false, 0);
		add(fields, "the description's length", at + 1, 4, false, JSON_MAX);
		return;
	case MAIN_GLOBAL_STATE:
		add(fields, "the length of the run state", at, 4, false, 100);
		return;
	case MAIN_BITMAP:
	case MAIN_PAYLOAD:
	case MAIN_TAIL:
	case MAIN_VMDESC_BYTES:
	case MAIN_KIND_COUNT:
		return;
	}
}

int mutate_main(const Files *files)
{
	const Buffer *bytes = &files->forward[0];
	const Target target = { GUARD_DESTINATION, 0, bytes };
	static Fields fields;
	AUTO_VMDESC VmDescription *description = NULL;
	AUTO_MAIN_STREAM MainStream *stream = main_stream_of(files);
	Error err = ERROR_INIT;
	size_t at = 0;

	while (at < bytes->used) {
		MainUnit unit;

		if (main_stream_next(stream, bytes->data + at, bytes->used - at, &unit, &err) !=
		    UNIT_WHOLE)
			die("byte %zu: %s", at, err.text);
		if (unit.kind == MAIN_SECTION && unit.section.type == MAIN_SECTION_FULL &&
		    !description)
			description = unit.packaged ? describe_package(files, bytes, at)
						    : describe(bytes, at);
		if (unit.kind == MAIN_SECTION && unit.section.needs_length)
			tell_length(stream, description, &unit.section);
		add_main_unit(&fields, &unit, main_stream_blocks(stream));
		at += unit.size_bytes;
	}
	return change_all(files, &target, &fields);
}

/* --- fields of the return path --- */

static void add_message(Fields *fields, size_t at, const ReturnPathUnit *unit)
{
	const bool is_request =
		unit->kind == RETURN_PATH_REQ_PAGES || unit->kind == RETURN_PATH_REQ_PAGES_ID;

	if (seen_enough(fields, unit->kind))
		return;
	add(fields, "a message's type", at, 2, false, 7);
	add(fields, "a message's length", at + 2, 2, false, 512);
	if (unit->kind == RETURN_PATH_PONG)
		add(fields, "the cookie of a PONG", at + 4, 4, false, 4);
	if (!is_request)
		return;
	add(fields, "the start of a request", at + 4, 8, true, UINT64_C(32) << 20);
	add(fields, "the length of a request", at + 12, 4, false, UINT32_C(32) << 20);
	if (unit->kind == RETURN_PATH_REQ_PAGES_ID)
		add(fields, "the length of a block's name", at + 16, 1, false, 0);
}

int mutate_return(const Files *files)
{
	const ReturnPathOptions options = { .page_size = PAGE };
	const Buffer *bytes = &files->back;
	const Target target = { GUARD_SOURCE, 0, bytes };
	static Fields fields;
	ReturnPathStream stream;
	Error err = ERROR_INIT;
	size_t at = 0;

	return_path_init(&stream, &options);
	while (at < bytes->used) {
		ReturnPathUnit unit;

		if (return_path_next(&stream, bytes->data + at, bytes->used - at, &unit, &err) !=
		    UNIT_WHOLE)
			die("byte %zu: %s", at, err.text);
		add_message(&fields, at, &unit);
		at += unit.size_bytes;
	}
	return change_all(files, &target, &fields);
}

/* --- fields of multifd --- */

static void add_packet(Fields *fields, size_t at, const MultifdPacket *packet)
{
	uint32_t pages = packet->normal_pages + packet->zero_pages;
	const struct {
		const char *what;
		size_t at;
		bool may_differ;
		uint64_t bound;
	} parts[] = {
		{ "a packet's magic", 0, false, 0 },
		{ "a packet's version", 4, false, 0 },
		{ "a packet's flags", 8, true, 0 },
		{ "pages_alloc", 12, true, packet->normal_pages + packet->zero_pages },
		{ "normal_pages", 16, false, packet->pages_alloc },
		{ "next_packet_size", 20, !pages, MULTIFD_COMPRESSED_MAX },
		{ "zero_pages", 32, true, packet->pages_alloc - packet->normal_pages },
		{ "what is reserved", 36, false, 0 },
	};

	if (seen_enough(fields, packet->sync))
		return;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		add(fields, parts[i].what, at + parts[i].at, 4, parts[i].may_differ,
		    parts[i].bound);
	add(fields, "packet_num", at + 24, 8, true, 0);
	if (!pages)
		return;
	add(fields, "the first byte of a block's name", at + 64, 1, false, 0);
	add(fields, "the first offset", at + MULTIFD_OFFSETS_AT, 8, true, UINT64_C(32) << 20);
	add(fields, "the last offset", at + MULTIFD_OFFSETS_AT + 8 * (size_t)(pages - 1), 8, true,
	    UINT64_C(32) << 20);
}

int mutate_multifd(const Files *files)
{
	const MultifdOptions options = multifd_options_of(files);
	const Buffer *bytes = &files->forward[1];
	const Target target = { GUARD_DESTINATION, 1, bytes };
	static Fields fields;
	MultifdStream stream;
	Error err = ERROR_INIT;
	size_t at = 0;

	multifd_stream_init(&stream, &options);
	while (at < bytes->used) {
		MultifdUnit unit;

		if (multifd_stream_next(&stream, bytes->data + at, bytes->used - at, &unit, &err) !=
		    UNIT_WHOLE)
			die("byte %zu: %s", at, err.text);
		if (unit.kind == MULTIFD_UNIT_INITIAL) {
			add(&fields, "the magic", at, 4, false, 0);
			add(&fields, "the version", at + 4, 4, false, 0);
			add(&fields, "the channel's id", at + 24, 1, true, files->channels - 1);
			add(&fields, "what is reserved", at + 32, 8, false, 0);
		}
		if (unit.kind == MULTIFD_UNIT_PACKET)
			add_packet(&fields, at, &unit.packet);
		at += unit.size_bytes;
	}
	return change_all(files, &target, &fields);
}
