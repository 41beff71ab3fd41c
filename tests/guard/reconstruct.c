/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guard let through, put together again, for test_guard_differential.py:
 *
 *	reconstruct stream OUT MACHINE TWIN DUMP AGREED MAIN [MULTIFD...] [PREEMPT]
 *	reconstruct state OUT HELD
 *
 * The first shows recorded channels to a guard. AGREED: as guard_features_parse has it. From what
 * comes out of it, and nothing else: OUT/ram/NAME, each block of RAM ("/" in its name is "!");
 * OUT/held_at, at which byte of MAIN device state begins; then as the second does of HELD, which is
 * device state from its first section on: OUT/held; OUT/sections, a line for each section: name,
 * instance, offset in held, size; OUT/fields, a line for each field: name, instance, path, offset
 * in held, size. Between them are tabs.
 *
 * Each page of each block must have come. Channels are brought together as the loading QEMU does
 * it: all wait for each other at each SYNC. In postcopy device state comes in a package, without a
 * description: the machine's own layout cuts it (guard_local.h). What was discarded before must
 * have come again behind it, and no page that the destination has by then may, on main or preempt:
 * userfaultfd places a page once. So the order of these two is the same to memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bounds.h"
#include "base/file.h"
#include "guard/guard.h"
#include "guard/guard_device.h"
#include "qemustream/frame.h"
#include "qemustream/main.h"
#include "qemustream/multifd.h"
#include "qemustream/preempt.h"
#include "tests/guard/expand.h"
#include "tests/guard/read_files.h"

enum {
	STREAM_MAX = 1 << 30,
	PAGE = 4096,
	JSON_MAX = 2 << 20,
	VMDESC_HEADER = 6,
	PATH_SIZE = 512,
	ARG_MODE = 1,
	ARG_OUT,
	ARG_MACHINE,
	ARG_HELD = ARG_MACHINE,
	ARG_TWIN,
	ARG_DUMP,
	ARG_AGREED,
	ARG_MAIN,
};

/* --- through the guard --- */

typedef struct Streams {
	uint32_t agreed;
	unsigned int channels;
	Buffer in[LIMIT_STREAM_CHANNELS], out[LIMIT_STREAM_CHANNELS];
} Streams;

static bool keep(void *context, const uint8_t *bytes, size_t size, Error *err)
{
	return buffer_put(context, bytes, size, err);
}

static bool is_agreed(const Streams *streams, GuardFeature feature)
{
	return streams->agreed & GUARD_AGREED(feature);
}

static void judge_channel(Guard *guard, Streams *streams, unsigned int channel)
{
	const Buffer *in = &streams->in[channel];
	const GuardSink sink = { .write = keep, .context = &streams->out[channel] };
	Error err = ERROR_INIT;
	size_t taken = 0;

	if (!guard_take(guard, channel, in->data, in->used, &sink, &taken, &err) ||
	    !guard_end(guard, channel, in->used - taken, &err))
		die("%s", err.text);
}

static void judge_all(Streams *streams, const char *machine, const Buffer *twin, const Buffer *dump)
{
	const GuardOptions options = { .side = GUARD_DESTINATION };
	GuardExpected expected = { .agreed = streams->agreed,
				   .channels = streams->channels,
				   .twin = twin->data,
				   .twin_size = twin->used,
				   .dump = dump->data,
				   .dump_size = dump->used };
	AUTO_GUARD Guard *guard = NULL;
	Error err = ERROR_INIT;

	snprintf(expected.machine, sizeof(expected.machine), "%s", machine);
	guard = guard_new(&options, &expected, &err);
	if (!guard)
		die("guard_new: %s", err.text);
	for (unsigned int i = 0; i < streams->channels; i++)
		judge_channel(guard, streams, i);
}

/* --- RAM --- */

typedef struct Block {
	char name[UNIT_NAME_SIZE];
	uint8_t *bytes;
	bool *came; /* of each page */
	uint64_t size;
} Block;

typedef struct Memory {
	size_t count;
	Block blocks[RAM_BLOCKS_MAX];
} Memory;

typedef struct Channel {
	MultifdStream stream;
	Expander expander;
	const Buffer *bytes;
	size_t at;
} Channel;

typedef struct Machine {
	Memory memory;
	unsigned int multifd;
	Channel channels[LIMIT_STREAM_CHANNELS];
	RamKind sync;	  /* which records of main let it wait for the others */
	bool placed_once; /* the destination's memory is behind userfaultfd */
	size_t held_at;	  /* in main, as is where the package ends */
	size_t package_end;
	const VmDescription *state; /* of the package */
	size_t state_bytes;
} Machine;

static void add_block(Memory *memory, const RamBlock *announced)
{
	Block *block = &memory->blocks[memory->count++];

	memcpy(block->name, announced->name, sizeof(block->name));
	block->size = announced->used_length;
	block->bytes = calloc(1, block->size);
	block->came = calloc(block->size / PAGE, sizeof(*block->came));
	if (!block->bytes || !block->came)
		die("no memory for block %s", block->name);
}

/* bytes NULL: zeros. The guard has held where a page may lie; here again, by itself. */
static void set_page(Block *block, uint64_t offset, const uint8_t *bytes, bool once)
{
	if (offset % PAGE || offset >= block->size)
		die("a page at 0x%" PRIx64 " of block %s came through", offset, block->name);
	if (once && block->came[offset / PAGE])
		die("page 0x%" PRIx64 " of block %s was there, and came again", offset,
		    block->name);
	if (bytes)
		memcpy(block->bytes + offset, bytes, PAGE);
	else
		memset(block->bytes + offset, 0, PAGE);
	block->came[offset / PAGE] = true;
}

static Block *find_block(Memory *memory, UnitName name)
{
	for (size_t i = 0; i < memory->count; i++)
		if (strlen(memory->blocks[i].name) == name.size &&
		    !memcmp(memory->blocks[i].name, name.bytes, name.size))
			return &memory->blocks[i];
	die("block %.*s came through", (int)name.size, name.bytes);
}

static void set_packet(Memory *memory, const MultifdPacket *packet, const uint8_t *pages)
{
	Block *block;

	if (!packet->normal_pages && !packet->zero_pages)
		return;
	block = find_block(memory, packet->block);
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		set_page(block, multifd_packet_offset(packet, i), pages + (size_t)i * PAGE, false);
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		set_page(block, multifd_packet_offset(packet, packet->normal_pages + i), NULL,
			 false);
}

/* The unit at the front; false at the end of the channel. */
static bool next_unit(Channel *channel, MultifdUnit *unit)
{
	Error err = ERROR_INIT;

	if (channel->at == channel->bytes->used)
		return false;
	if (multifd_stream_next(&channel->stream, channel->bytes->data + channel->at,
				channel->bytes->used - channel->at, unit, &err) != UNIT_WHOLE)
		die("multifd, byte %zu: %s", channel->at, err.text);
	channel->at += unit->size_bytes;
	return true;
}

/* The pages behind a packet. The window has all of them, so that they come as one unit. */
static const uint8_t *take_payload(Channel *channel, const MultifdPacket *packet,
				   uint8_t pages[static MULTIFD_PACKET_BYTES])
{
	MultifdUnit unit;

	if (!packet->payload_bytes)
		return NULL;
	if (!next_unit(channel, &unit) || unit.payload.left ||
	    (unit.kind != MULTIFD_UNIT_PAYLOAD && unit.kind != MULTIFD_UNIT_COMPRESSED))
		die("multifd, byte %zu: no whole payload", channel->at);
	if (unit.kind == MULTIFD_UNIT_PAYLOAD)
		return unit.payload.bytes;
	expander_run(&channel->expander, unit.payload.bytes, unit.size_bytes, pages,
		     (size_t)packet->normal_pages * PAGE);
	return pages;
}

/* Packets up to the next SYNC, or with it the end. False if the channel ended before one. */
static bool take_until_sync(Machine *machine, Channel *channel)
{
	static uint8_t pages[MULTIFD_PACKET_BYTES];
	MultifdUnit unit;

	while (next_unit(channel, &unit)) {
		if (unit.kind != MULTIFD_UNIT_PACKET)
			continue;
		set_packet(&machine->memory, &unit.packet,
			   take_payload(channel, &unit.packet, pages));
		if (unit.packet.sync)
			return true;
	}
	return false;
}

static void sync_channels(Machine *machine)
{
	for (unsigned int i = 0; i < machine->multifd; i++)
		if (!take_until_sync(machine, &machine->channels[i]))
			die("multifd channel %u ends before a SYNC that main waits for", i);
}

static void take_pages(Machine *machine, const RamUnit *ram)
{
	Block *block = &machine->memory.blocks[ram->block];

	for (uint32_t i = 0; i < ram->count; i++)
		set_page(block, ram->offset + (uint64_t)i * PAGE,
			 ram->kind == RAM_PAGE ? ram->bytes + i * ram->stride_bytes : NULL,
			 machine->placed_once);
}

static void take_ram(Machine *machine, const RamUnit *ram, const RamBlocks *blocks)
{
	if (ram->kind == RAM_BLOCK)
		add_block(&machine->memory, &blocks->items[ram->block]);
	if (ram->kind == RAM_PAGE || ram->kind == RAM_ZERO)
		take_pages(machine, ram);
	if (ram->kind == machine->sync)
		sync_channels(machine);
}

/* --- the main channel --- */

typedef struct Walk {
	MainStream *stream;
	const Buffer *bytes;
	size_t at; /* behind the unit that came last */
} Walk;

static void walk_open(Walk *walk, const MainStreamOptions *options, const Buffer *bytes)
{
	Error err = ERROR_INIT;

	*walk = (Walk){ .stream = main_stream_new(options, &err), .bytes = bytes };
	if (!walk->stream)
		die("main channel: %s", err.text);
}

/* False at the end of the stream. */
static bool walk_next(Walk *walk, MainUnit *unit)
{
	const size_t left = walk->bytes->used - walk->at;
	Error err = ERROR_INIT;

	if (!left && main_stream_finish(walk->stream, 0, &err))
		return false;
	if (!left || main_stream_next(walk->stream, walk->bytes->data + walk->at, left, unit,
				      &err) != UNIT_WHOLE)
		die("main channel, byte %zu: %s", walk->at, err.category ? err.text : "it is cut");
	walk->at += unit->size_bytes;
	return true;
}

static void discard(Machine *machine, const CommandUnit *command)
{
	Block *block = &machine->memory.blocks[command->block];

	for (size_t i = 0; i < command->n_ranges; i++) {
		const CommandRange range = command_get_range(command, i);

		for (uint64_t page = 0; page < range.length / PAGE; page++)
			block->came[range.start / PAGE + page] = false;
	}
}

static void take_command(Machine *machine, const CommandUnit *command, size_t end)
{
	if (command->kind == COMMAND_POSTCOPY_RAM_DISCARD)
		discard(machine, command);
	if (command->kind == COMMAND_POSTCOPY_LISTEN)
		machine->placed_once = true;
	if (command->kind == COMMAND_PACKAGED)
		machine->package_end = end + command->packaged_bytes;
}

static void take_unit(Walk *walk, Machine *machine, const MainUnit *unit)
{
	if (unit->kind == MAIN_RAM)
		take_ram(machine, &unit->ram, main_stream_blocks(walk->stream));
	if (unit->kind == MAIN_COMMAND)
		take_command(machine, &unit->command, walk->at);
}

/* Up to the first section of device state; where that begins. machine NULL: only tells whether
 * there are records MULTIFD_FLUSH, as machine types since 8.1 write them; those before wait at each
 * EOS. */
static size_t walk_to_state(Walk *walk, Machine *machine, bool *ret_has_flush, MainUnit *unit)
{
	while (walk_next(walk, unit)) {
		if (unit->kind == MAIN_SECTION && unit->section.type == MAIN_SECTION_FULL)
			return walk->at - unit->size_bytes;
		*ret_has_flush |= unit->kind == MAIN_RAM && unit->ram.kind == RAM_MULTIFD_FLUSH;
		if (machine)
			take_unit(walk, machine, unit);
	}
	die("main channel: no device state came out");
}

static bool has_flush(const MainStreamOptions *options, const Buffer *bytes)
{
	bool found = false;
	MainUnit unit;
	Walk walk;

	walk_open(&walk, options, bytes);
	walk_to_state(&walk, NULL, &found, &unit);
	main_stream_free(walk.stream);
	return found;
}

/* --- postcopy --- */

/* The twin's state begins with its first section. */
static GuardDevice *read_twin(const Buffer *twin, const DumpVmstate *dump)
{
	const MainStreamOptions options = { .page_size = PAGE, .ignore_shared = true };
	Error err = ERROR_INIT;
	GuardDevice *device;
	bool unused = false;
	MainUnit unit;
	size_t at;
	Walk walk;

	walk_open(&walk, &options, twin);
	at = walk_to_state(&walk, NULL, &unused, &unit);
	main_stream_free(walk.stream);
	device = guard_device_new(twin->data + at, twin->used - at, dump, &err);
	if (!device)
		die("twin: %s", err.text);
	return device;
}

static void cut_package(Machine *machine, GuardDevice *device, const Buffer *bytes)
{
	GuardCounters unused = { 0 };
	Error err = ERROR_INIT;

	if (machine->package_end <= machine->held_at || machine->package_end > bytes->used)
		die("device state without a package");
	if (!guard_device_judge_bare(device, bytes->data + machine->held_at,
				     machine->package_end - machine->held_at, true, &machine->state,
				     &machine->state_bytes, &unused, &err))
		die("package: %s", err.text);
}

/* From the header of the first device's section, which `unit` is, to the end of main. */
static void take_package(Walk *walk, Machine *machine, MainUnit *unit)
{
	size_t sections = 0;

	do {
		if (unit->kind == MAIN_SECTION && unit->section.type == MAIN_SECTION_FULL) {
			if (sections == machine->state->devices_count)
				die("a section more than the layout has cut");
			if (unit->section.needs_length)
				main_stream_expect_payload(
					walk->stream, machine->state->devices[sections].size_bytes);
			sections++;
		}
		take_unit(walk, machine, unit);
	} while (walk_next(walk, unit));
	if (sections != machine->state->devices_count)
		die("%zu sections, the layout has cut %zu", sections,
		    machine->state->devices_count);
}

static void take_preempt(Machine *machine, const RamBlocks *blocks, const Buffer *bytes)
{
	PreemptStream stream;
	Error err = ERROR_INIT;
	RamUnit unit;

	preempt_stream_init(&stream, blocks, PAGE);
	for (size_t at = 0; at < bytes->used; at += unit.size_bytes) {
		if (preempt_stream_next(&stream, bytes->data + at, bytes->used - at, &unit, &err) !=
		    UNIT_WHOLE)
			die("preempt, byte %zu: %s", at, err.category ? err.text : "it is cut");
		if (unit.kind != RAM_EOS)
			take_pages(machine, &unit);
	}
}

/* --- all channels --- */

/* Behind main's last SYNC: sources before 9.0 leave a packet of nothing there. */
static void end_channel(Channel *channel)
{
	MultifdUnit unit;

	while (next_unit(channel, &unit))
		if (unit.kind != MULTIFD_UNIT_PACKET || unit.packet.sync ||
		    unit.packet.normal_pages || unit.packet.zero_pages)
			die("multifd, before byte %zu: behind main's last SYNC", channel->at);
}

static MultifdCompression compression_of(const Streams *streams)
{
	if (is_agreed(streams, GUARD_ZLIB))
		return MULTIFD_COMPRESSION_ZLIB;
	return is_agreed(streams, GUARD_ZSTD) ? MULTIFD_COMPRESSION_ZSTD : MULTIFD_COMPRESSION_NONE;
}

static void open_multifd(Machine *machine, const Streams *streams)
{
	const MultifdOptions options = { .page_size = PAGE,
					 .compression = compression_of(streams) };

	machine->multifd = streams->channels - 1 - is_agreed(streams, GUARD_PREEMPT);
	for (unsigned int i = 0; i < machine->multifd; i++) {
		multifd_stream_init(&machine->channels[i].stream, &options);
		expander_open(&machine->channels[i].expander, options.compression);
		machine->channels[i].bytes = &streams->out[1 + i];
	}
}

/* device: of the machine's own layout, for the package; not touched in precopy. */
static void take_all(Machine *machine, const Streams *streams, GuardDevice *device)
{
	const Buffer *bytes = &streams->out[0];
	MainStreamOptions options = { .page_size = PAGE };
	bool unused = false;
	MainUnit unit;
	Walk walk;

	open_multifd(machine, streams);
	options.multifd = machine->multifd > 0;
	options.postcopy = is_agreed(streams, GUARD_POSTCOPY);
	machine->sync = has_flush(&options, bytes) ? RAM_MULTIFD_FLUSH : RAM_EOS;
	walk_open(&walk, &options, bytes);
	machine->held_at = walk_to_state(&walk, machine, &unused, &unit);
	if (options.postcopy) {
		cut_package(machine, device, bytes);
		take_package(&walk, machine, &unit);
	}
	if (is_agreed(streams, GUARD_PREEMPT))
		take_preempt(machine, main_stream_blocks(walk.stream),
			     &streams->out[streams->channels - 1]);
	main_stream_free(walk.stream);
	for (unsigned int i = 0; i < machine->multifd; i++)
		end_channel(&machine->channels[i]);
}

/* --- files --- */

static const char *path_in(char path[static PATH_SIZE], const char *folder, const char *name)
{
	const int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);

	if (length < 0 || length >= PATH_SIZE)
		die("a long path: %s", name);
	return path;
}

static FILE *create(const char *folder, const char *name)
{
	char path[PATH_SIZE];
	FILE *file = fopen(path_in(path, folder, name), "we");

	if (!file)
		die("%s: cannot be made", path);
	return file;
}

static void write_file(const char *folder, const char *name, const uint8_t *bytes, size_t size)
{
	AUTO_FILE FILE *file = create(folder, name);

	if (fwrite(bytes, 1, size, file) != size || fflush(file))
		die("%s: cannot be written", name);
}

static void write_ram(const char *out, const Memory *memory)
{
	char folder[PATH_SIZE];

	mkdir(path_in(folder, out, "ram"), 0700);
	for (size_t i = 0; i < memory->count; i++) {
		const Block *block = &memory->blocks[i];
		char name[UNIT_NAME_SIZE];

		for (uint64_t page = 0; page < block->size / PAGE; page++)
			if (!block->came[page])
				die("page 0x%" PRIx64 " of block %s never came", page * PAGE,
				    block->name);
		memcpy(name, block->name, sizeof(name));
		for (char *slash = name; (slash = strchr(slash, '/'));)
			*slash = '!';
		write_file(folder, name, block->bytes, block->size);
	}
}

typedef struct Lists {
	FILE *sections, *fields;
} Lists;

static bool on_section(void *context, const FrameSection *section, Error *err)
{
	const Lists *lists = context;

	(void)err;
	fprintf(lists->sections, "%s\t%" PRIu32 "\t%zu\t%zu\n", section->device->name,
		section->device->instance_id, section->payload_offset, section->payload_bytes);
	return true;
}

static bool on_field(void *context, const FrameField *field, Error *err)
{
	const Lists *lists = context;
	char path[FRAME_PATH_SIZE];

	(void)err;
	fprintf(lists->fields, "%s\t%" PRIu32 "\t%s\t%zu\t%zu\n", field->device->name,
		field->device->instance_id, frame_path(field, path), field->offset,
		field->size_bytes);
	return true;
}

static void write_sections(const char *out, const uint8_t *held, size_t size,
			   const VmDescription *description)
{
	AUTO_FILE FILE *sections = create(out, "sections");
	AUTO_FILE FILE *fields = create(out, "fields");
	Lists lists = { sections, fields };
	const FrameVisitor visitor = { on_section, on_field, &lists };
	Error err = ERROR_INIT;

	if (!frame_sections(held, size, description, &visitor, &err))
		die("%s", err.text);
	if (fflush(sections) || fflush(fields))
		die("%s: cannot be written", out);
}

/* With the description at its end. */
static void write_state(const char *out, const uint8_t *held, size_t size)
{
	AUTO_VMDESC VmDescription *description = NULL;
	Error err = ERROR_INIT;
	size_t eof;

	if (!frame_find_vmdesc(held, size, JSON_MAX, &eof, &err))
		die("%s", err.text);
	description = vmdesc_parse(held + eof + VMDESC_HEADER, size - eof - VMDESC_HEADER,
				   &VMDESC_LIMITS_DEFAULT, &err);
	if (!description)
		die("%s", err.text);
	write_sections(out, held, eof, description);
	write_file(out, "held", held, size);
}

static void write_machine(const char *out, const Machine *machine, const Buffer *main)
{
	const uint8_t *held = main->data + machine->held_at;
	AUTO_FILE FILE *file = create(out, "held_at");

	write_ram(out, &machine->memory);
	if (fprintf(file, "%zu\n", machine->held_at) < 0 || fflush(file))
		die("%s: cannot be written", out);
	if (machine->state) {
		write_sections(out, held, machine->state_bytes, machine->state);
		write_file(out, "held", held, machine->state_bytes);
	} else
		write_state(out, held, main->used - machine->held_at);
}

static Buffer read_stream(const char *path)
{
	Buffer bytes = BUFFER_INIT(STREAM_MAX);

	read_whole(path, &bytes);
	return bytes;
}

static int run_stream(int argc, char **argv)
{
	static Streams streams;
	static Machine machine;
	AUTO_BUFFER Buffer twin = { 0 }, dump = { 0 };
	AUTO_DUMP_VMSTATE DumpVmstate *tables = NULL;
	AUTO_GUARD_DEVICE GuardDevice *device = NULL;
	Error err = ERROR_INIT;

	if (argc <= ARG_MAIN || argc - ARG_MAIN > LIMIT_STREAM_CHANNELS)
		die("which channels?");
	if (!guard_features_parse(argv[ARG_AGREED], &streams.agreed, &err))
		die("%s", err.text);
	twin = read_stream(argv[ARG_TWIN]);
	dump = read_stream(argv[ARG_DUMP]);
	tables = dump_vmstate_parse(dump.data, dump.used, &err);
	if (!tables)
		die("%s", err.text);
	device = read_twin(&twin, tables);
	for (int i = ARG_MAIN; i < argc; i++) {
		streams.out[streams.channels] = BUFFER_INIT(STREAM_MAX);
		streams.in[streams.channels++] = read_stream(argv[i]);
	}
	judge_all(&streams, argv[ARG_MACHINE], &twin, &dump);
	take_all(&machine, &streams, device);
	write_machine(argv[ARG_OUT], &machine, &streams.out[0]);
	return 0;
}

int main(int argc, char **argv)
{
	AUTO_BUFFER Buffer held = { 0 };

	if (argc <= ARG_HELD)
		die("reconstruct stream|state OUT ...");
	mkdir(argv[ARG_OUT], 0700);
	if (!strcmp(argv[ARG_MODE], "stream"))
		return run_stream(argc, argv);
	if (strcmp(argv[ARG_MODE], "state") != 0)
		die("%s: no such mode", argv[ARG_MODE]);
	held = read_stream(argv[ARG_HELD]);
	write_state(argv[ARG_OUT], held.data, held.used);
	return 0;
}
