/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decodes a recorded channel from its first byte to its last and prints how often each unit came,
 * for test_main_captures.py:
 *
 *	decode main FILE [LENGTHS [OPTION...]]		OPTION: a bool of MainStreamOptions
 *	decode recovery MAIN-FILE RECOVERY-FILE LENGTHS [OPTION...]
 *	decode preempt MAIN-FILE PREEMPT-FILE LENGTHS [OPTION...]
 *
 * LENGTHS has lines "NAME INSTANCE BYTES": what payloads of device sections have. Without it, or
 * with an empty one, the tail is held, which ends with the file or the package, and the line
 * "tail OFFSET" says where the section begins whose payload it begins with. The window of each unit
 * grows step by step, so that each is seen cut too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "qemustream/main.h"
#include "qemustream/preempt.h"

enum {
	FILE_MAX = 64 * 1024 * 1024,
	LENGTHS_MAX = 256,
	GROWTH = 1500,
};

typedef struct Length {
	char name[UNIT_NAME_SIZE];
	uint32_t instance_id;
	uint64_t bytes;
} Length;

typedef struct Decode {
	MainStreamOptions options;
	Length lengths[LENGTHS_MAX];
	size_t n_lengths;
	uint64_t pages, zero_pages;
	uint64_t section_at; /* of the section that came last */
	size_t second_bytes; /* of the channel beside or after main */
	size_t counts[MAIN_KIND_COUNT];
	size_t ram_counts[RAM_KIND_COUNT];
	size_t command_counts[COMMAND_KIND_COUNT];
} Decode;

static _Noreturn void die(const char *text)
{
	fprintf(stderr, "decode: %s\n", text);
	exit(1);
}

static void read_whole(const char *path, Buffer *buffer)
{
	AUTO_FILE FILE *file = fopen(path, "rb");
	static uint8_t chunk[1 << 16];
	Error err = ERROR_INIT;
	size_t got;

	if (!file)
		die(path);
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		if (!buffer_put(buffer, chunk, got, &err))
			die(err.text);
}

static void read_lengths(const char *path, Decode *decode)
{
	AUTO_FILE FILE *file = fopen(path, "r");
	Length *length = decode->lengths;

	if (!file)
		die(path);
	while (decode->n_lengths < LENGTHS_MAX &&
	       fscanf(file, "%255s %" SCNu32 " %" SCNu64, length->name, &length->instance_id,
		      &length->bytes) == 3) {
		length++;
		decode->n_lengths++;
	}
}

static void set_option(MainStreamOptions *options, const char *word)
{
	const struct {
		const char *word;
		bool *option;
	} table[] = {
		{ "multifd", &options->multifd },
		{ "xbzrle", &options->xbzrle },
		{ "postcopy", &options->postcopy },
		{ "dirty_bitmaps", &options->dirty_bitmaps },
		{ "ignore_shared", &options->ignore_shared },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(word, table[i].word)) {
			*table[i].option = true;
			return;
		}
	die(word);
}

static void tell_length(const Decode *decode, MainStream *stream, const MainSection *section)
{
	char text[ERROR_TEXT_SIZE];

	for (size_t i = 0; i < decode->n_lengths; i++) {
		const Length *length = &decode->lengths[i];

		if (strlen(length->name) == section->name.size &&
		    !memcmp(length->name, section->name.bytes, section->name.size) &&
		    length->instance_id == section->instance_id) {
			main_stream_expect_payload(stream, length->bytes);
			return;
		}
	}
	if (!decode->n_lengths && main_stream_may_hold(stream)) {
		main_stream_hold_tail(stream);
		return;
	}
	snprintf(text, sizeof(text), "no length of %.*s %" PRIu32, section->name.size,
		 section->name.bytes, section->instance_id);
	die(text);
}

static void count_ram(Decode *decode, const RamUnit *ram)
{
	decode->ram_counts[ram->kind]++;
	decode->pages += ram->kind == RAM_PAGE ? ram->count : 0;
	decode->zero_pages += ram->kind == RAM_ZERO ? ram->count : 0;
}

static void count(Decode *decode, const MainUnit *unit)
{
	if (unit->kind == MAIN_TAIL && !decode->counts[MAIN_TAIL])
		printf("tail %" PRIu64 "\n", decode->section_at);
	if (unit->kind == MAIN_SECTION)
		decode->section_at = unit->at;
	decode->counts[unit->kind]++;
	if (unit->kind == MAIN_RAM)
		count_ram(decode, &unit->ram);
	if (unit->kind == MAIN_COMMAND)
		decode->command_counts[unit->command.kind]++;
}

/* Returns how many bytes were not decoded. */
static size_t run_main(Decode *decode, MainStream *stream, const Buffer *file)
{
	size_t at = 0, window = 0, left;
	MainUnit unit;
	Error err = ERROR_INIT;

	for (;;) {
		left = file->used - at;
		if (main_stream_tail_is_complete(stream))
			return left;
		switch (main_stream_next(stream, file->data + at, window < left ? window : left,
					 &unit, &err)) {
		case UNIT_BAD:
			die(err.text);
		case UNIT_MORE:
			if (window >= left)
				return left;
			window += GROWTH;
			if (window > UNIT_WINDOW + GROWTH)
				die("a unit is longer than UNIT_WINDOW");
			break;
		case UNIT_WHOLE:
			at += unit.size_bytes;
			window = 0;
			count(decode, &unit);
			if (unit.kind == MAIN_SECTION && unit.section.needs_length)
				tell_length(decode, stream, &unit.section);
			break;
		}
	}
}

static void run_preempt(Decode *decode, const MainStream *main, const Buffer *file)
{
	size_t at = 0;
	PreemptStream stream;
	UnitResult result;
	RamUnit unit;
	Error err = ERROR_INIT;

	preempt_stream_init(&stream, main_stream_blocks(main), decode->options.page_size);
	while ((result = preempt_stream_next(&stream, file->data + at, file->used - at, &unit,
					     &err)) == UNIT_WHOLE) {
		at += unit.size_bytes;
		count_ram(decode, &unit);
	}
	if (result == UNIT_BAD || !preempt_stream_finish(&stream, file->used - at, &err))
		die(err.text);
}

static void print(const Decode *decode)
{
	static const char *const ram_words[RAM_KIND_COUNT] = {
		"mem_size", "block", "zero", "page", "xbzrle", "multifd_flush", "eos",
	};

	for (int i = 0; i < MAIN_KIND_COUNT; i++)
		printf("%s %zu\n", main_kind_word((MainKind)i), decode->counts[i]);
	for (int i = 0; i < RAM_KIND_COUNT; i++)
		printf("ram.%s %zu\n", ram_words[i], decode->ram_counts[i]);
	for (int i = COMMAND_OPEN_RETURN_PATH; i < COMMAND_KIND_COUNT; i++)
		printf("%s %zu\n", command_word((CommandKind)i), decode->command_counts[i]);
	printf("pages %" PRIu64 "\nzero_pages %" PRIu64 "\nsecond_bytes %zu\n", decode->pages,
	       decode->zero_pages, decode->second_bytes);
}

static void decode_second(const char *what, Decode *decode, MainStream *stream, const char *path)
{
	AUTO_BUFFER Buffer file = BUFFER_INIT(FILE_MAX);
	Error err = ERROR_INIT;

	read_whole(path, &file);
	decode->second_bytes = file.used;
	if (!strcmp(what, "preempt")) {
		run_preempt(decode, stream, &file);
		return;
	}
	if (!main_stream_resume(stream, &err) ||
	    !main_stream_finish(stream, run_main(decode, stream, &file), &err))
		die(err.text);
}

int main(int argc, char **argv)
{
	static Decode decode = { .options = { .page_size = 4096 } };
	bool alone = argc > 1 && !strcmp(argv[1], "main");
	int lengths = alone ? 3 : 4;
	AUTO_BUFFER Buffer file = BUFFER_INIT(FILE_MAX);
	Error err = ERROR_INIT;
	size_t left;

	if (argc < lengths)
		die("which channel, of which files?");
	if (argc > lengths)
		read_lengths(argv[lengths], &decode);
	for (int i = lengths + 1; i < argc; i++)
		set_option(&decode.options, argv[i]);
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&decode.options, &err);

	if (!stream)
		die(err.text);
	read_whole(argv[2], &file);
	left = run_main(&decode, stream, &file);
	/* A main channel that was cut ends anywhere, and one that is held nowhere. */
	if (strcmp(argv[1], "recovery") != 0 && !decode.counts[MAIN_TAIL] &&
	    !main_stream_finish(stream, left, &err))
		die(err.text);
	if (!alone)
		decode_second(argv[1], &decode, stream, argv[3]);
	print(&decode);
	return 0;
}
