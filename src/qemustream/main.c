/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/main.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "qemustream/main_internal.h"

enum {
	VERSION = 3,
	VERSION_OBSOLETE = 2,
};
#define MAGIC UINT32_C(0x5145564d) /* "QEVM" */

/* --- new and free --- */

MainStream *main_stream_new(const MainStreamOptions *options, Error *err)
{
	uint32_t page_size = options->page_size;
	MainStream *stream;

	if (page_size < RAM_PAGE_SIZE_MIN || page_size > RAM_PAGE_SIZE_MAX ||
	    page_size & (page_size - 1)) {
		error_set(err, ERROR_INTERNAL, "target pages of %" PRIu32 " bytes", page_size);
		return NULL;
	}
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		error_set(err, ERROR_INTERNAL, "no memory for a decoder");
		return NULL;
	}
	stream->options = *options;
	if (!options->package_max)
		stream->options.package_max = MAIN_PACKAGE_MAX;
	if (!options->vmdesc_max)
		stream->options.vmdesc_max = MAIN_VMDESC_MAX;
	stream->state = STATE_HEADER;
	stream->phase = PHASE_SETUP;
	stream->list = (RamList){ .blocks = &stream->blocks,
				  .page_size = page_size,
				  .gpa = options->ignore_shared };
	stream->ram = (RamReader){
		.blocks = &stream->blocks,
		.page_size = page_size,
		.xbzrle = options->xbzrle,
		.multifd = options->multifd,
		.phase = RAM_PHASE_SETUP,
		.block = -1,
	};
	return stream;
}

void main_stream_free(MainStream *stream)
{
	free(stream);
}

const RamBlocks *main_stream_blocks(const MainStream *stream)
{
	return &stream->blocks;
}

uint64_t main_stream_offset(const MainStream *stream)
{
	return stream->offset;
}

/* --- header and configuration --- */

static UnitResult step_header(MainStream *stream, const uint8_t *window, size_t size,
			      MainUnit *unit, Error *err)
{
	Reader reader = reader_of(window, size);
	uint32_t magic, version;

	if (!reader_get_be32(&reader, &magic))
		return UNIT_MORE;
	if (magic != MAGIC)
		return grammar_bad(err, "magic 0x%08" PRIx32 ", expected 0x%08" PRIx32, magic,
				   MAGIC);
	if (!reader_get_be32(&reader, &version))
		return UNIT_MORE;
	if (version != VERSION)
		return grammar_bad(err, "version %" PRIu32 "%s, only %d is known", version,
				   version == VERSION_OBSOLETE ? " is obsolete" : "", VERSION);
	stream->state = stream->options.without_configuration ? STATE_ITEM : STATE_MACHINE;
	unit->kind = MAIN_HEADER;
	unit->size_bytes = size - reader.left;
	return UNIT_WHOLE;
}

static UnitResult step_machine(MainStream *stream, const uint8_t *window, size_t size,
			       MainUnit *unit, Error *err)
{
	UnitResult result = configuration_next_machine(window, size, &unit->configuration, err);

	if (result != UNIT_WHOLE)
		return result;
	stream->state = STATE_SUBSECTION;
	unit->kind = MAIN_CONFIGURATION;
	unit->size_bytes = unit->configuration.size_bytes;
	return UNIT_WHOLE;
}

static UnitResult get_subsection(MainStream *stream, const uint8_t *window, size_t size,
				 MainUnit *unit, Error *err)
{
	ConfigurationUnit *configuration = &unit->configuration;
	UnitResult result = configuration_next_subsection(stream->last_configuration, window, size,
							  configuration, err);

	if (result != UNIT_WHOLE)
		return result;
	if (configuration->kind == CONFIGURATION_PAGE_BITS &&
	    UINT32_C(1) << configuration->page_bits != stream->options.page_size)
		return grammar_bad(err,
				   "target pages of %" PRIu32 " bits, expected pages of %" PRIu32
				   " bytes",
				   configuration->page_bits, stream->options.page_size);
	stream->ignore_shared |= configuration->ignore_shared;
	stream->last_configuration = configuration->kind;
	unit->kind = MAIN_CONFIGURATION;
	unit->size_bytes = configuration->size_bytes;
	return UNIT_WHOLE;
}

/* --- items --- */

static UnitResult step_eof(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			   Error *err)
{
	bool postcopy = stream->phase == PHASE_POSTCOPY;

	(void)window;
	(void)size;
	if (stream->phase & (PHASE_PACKAGE | PHASE_RECOVERY))
		return grammar_bad(err, "end of the stream %s",
				   stream->phase == PHASE_PACKAGE ? "in a package"
								  : "before POSTCOPY_RESUME");
	if (!main_ram_has_ended(stream))
		return grammar_bad(err, "end of the stream before the END of ram");
	/* What describes the devices is not sent in postcopy. */
	stream->state = postcopy || stream->options.without_vmdesc ? STATE_END : STATE_VMDESC;
	unit->kind = MAIN_EOF;
	unit->size_bytes = 1;
	return UNIT_WHOLE;
}

static const MainStep tag_steps[] = {
	[TAG_EOF] = step_eof,
	[TAG_SECTION_START] = main_step_section,
	[TAG_SECTION_PART] = main_step_section,
	[TAG_SECTION_END] = main_step_section,
	[TAG_SECTION_FULL] = main_step_section,
	[TAG_COMMAND] = main_step_command,
};

static UnitResult step_item(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err)
{
	if (!size)
		return UNIT_MORE;
	if (window[0] >= ARRAY_SIZE(tag_steps) || !tag_steps[window[0]])
		return grammar_bad(err, "tag 0x%02x begins no item", window[0]);
	if (stream->phase == PHASE_DEVICES && window[0] == TAG_COMMAND)
		return grammar_bad(err, "a command after device state began");
	return tag_steps[window[0]](stream, window, size, unit, err);
}

static UnitResult step_subsection(MainStream *stream, const uint8_t *window, size_t size,
				  MainUnit *unit, Error *err)
{
	if (!size)
		return UNIT_MORE;
	if (window[0] == TAG_SUBSECTION)
		return get_subsection(stream, window, size, unit, err);
	/* It decides the form of the list of RAM blocks. */
	if (stream->ignore_shared != stream->options.ignore_shared)
		return grammar_bad(err, "capability x-ignore-shared is %slisted, but was %sagreed",
				   stream->ignore_shared ? "" : "not ",
				   stream->options.ignore_shared ? "" : "not ");
	stream->state = STATE_ITEM;
	return step_item(stream, window, size, unit, err);
}

/* --- the end --- */

static UnitResult step_vmdesc(MainStream *stream, const uint8_t *window, size_t size,
			      MainUnit *unit, Error *err)
{
	Reader reader = reader_of(window, size);
	uint8_t tag;

	if (!reader_get_u8(&reader, &tag))
		return UNIT_MORE;
	if (tag != TAG_VMDESC)
		return grammar_bad(err, "tag 0x%02x after the end, expected 0x%02x of the vmdesc",
				   tag, TAG_VMDESC);
	if (!reader_get_be32(&reader, &unit->vmdesc_bytes))
		return UNIT_MORE;
	if (!unit->vmdesc_bytes || unit->vmdesc_bytes > stream->options.vmdesc_max)
		return grammar_bad(err, "vmdesc of %" PRIu32 " bytes, 1 to %" PRIu32 " may be",
				   unit->vmdesc_bytes, stream->options.vmdesc_max);
	stream->vmdesc_left = unit->vmdesc_bytes;
	stream->state = STATE_VMDESC_BYTES;
	unit->kind = MAIN_VMDESC;
	unit->size_bytes = size - reader.left;
	return UNIT_WHOLE;
}

static UnitResult step_vmdesc_bytes(MainStream *stream, const uint8_t *window, size_t size,
				    MainUnit *unit, Error *err)
{
	(void)err;
	if (!size)
		return UNIT_MORE;
	if (size > stream->vmdesc_left)
		size = stream->vmdesc_left;
	stream->vmdesc_left -= (uint32_t)size;
	if (!stream->vmdesc_left)
		stream->state = STATE_END;
	unit->kind = MAIN_VMDESC_BYTES;
	unit->bytes = window;
	unit->size_bytes = size;
	return UNIT_WHOLE;
}

static UnitResult step_end(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			   Error *err)
{
	(void)stream;
	(void)window;
	(void)unit;
	return size ? grammar_bad(err, "%zu bytes after the end", size) : UNIT_MORE;
}

bool main_stream_finish(const MainStream *stream, size_t left, Error *err)
{
	if (!stream->refused && stream->state == STATE_END && !left)
		return true;
	return error_set(err, ERROR_PEER, "main channel, byte %" PRIu64 ": closed %s",
			 stream->offset + left,
			 stream->refused	       ? "after a refusal"
			 : stream->state == STATE_TAIL ? "with a tail that was not decoded"
						       : "before its end");
}

bool main_stream_resume(MainStream *stream, Error *err)
{
	bool cut = stream->state == STATE_RAM || stream->state == STATE_BITMAP ||
		   stream->state == STATE_FOOTER;

	if (stream->refused || stream->state == STATE_END ||
	    !(stream->phase & (PHASE_POSTCOPY | PHASE_RECOVERY)))
		return error_set(err, ERROR_CONFLICT,
				 "main channel, byte %" PRIu64 ": no state to recover from",
				 stream->offset);
	if (cut && stream->open)
		stream->open->ended = false;
	stream->phase = PHASE_RECOVERY;
	stream->commands &= ~(UINT32_C(1) << COMMAND_POSTCOPY_RESUME);
	stream->state = STATE_ITEM;
	stream->ram.block = -1;
	stream->bitmaps = (BitmapReader){ .named = false };
	return true;
}

/* --- dispatch --- */

static const MainStep steps[] = {
	[STATE_HEADER] = step_header,
	[STATE_MACHINE] = step_machine,
	[STATE_SUBSECTION] = step_subsection,
	[STATE_ITEM] = step_item,
	[STATE_RAM_LIST] = main_step_ram_list,
	[STATE_RAM] = main_step_ram,
	[STATE_BITMAP] = main_step_bitmap,
	[STATE_GLOBAL_STATE] = main_step_global_state,
	[STATE_LENGTH] = main_step_length,
	[STATE_PAYLOAD] = main_step_payload,
	[STATE_TAIL] = main_step_tail,
	[STATE_FOOTER] = main_step_footer,
	[STATE_VMDESC] = step_vmdesc,
	[STATE_VMDESC_BYTES] = step_vmdesc_bytes,
	[STATE_END] = step_end,
};
static_assert(ARRAY_SIZE(steps) == STATE_COUNT, "a step for each state");

static bool in_section(MainState state)
{
	return state >= STATE_RAM_LIST && state <= STATE_FOOTER;
}

static void add_place(const MainStream *stream, MainState state, Error *err)
{
	if (in_section(state))
		error_prefix(err, "main channel, byte %" PRIu64 ", section %" PRIu32 " (%s)",
			     stream->offset, stream->section_id, stream->section_name);
	else
		error_prefix(err, "main channel, byte %" PRIu64, stream->offset);
}

/* A package bounds what is in it: nothing of a unit may stand behind its end. */
static UnitResult step_in_package(MainStream *stream, const uint8_t *window, size_t size,
				  MainUnit *unit, Error *err)
{
	bool whole_package = size >= stream->package_left;
	UnitResult result;

	if (!stream->package_left && stream->state != STATE_TAIL && stream->state != STATE_LENGTH)
		return grammar_bad(err, "a package ends without POSTCOPY_RUN");
	if (whole_package)
		size = stream->package_left;
	result = steps[stream->state](stream, window, size, unit, err);
	if (result == UNIT_MORE && whole_package)
		return grammar_bad(err, "the package ends %zu bytes into what stands here", size);
	if (result == UNIT_WHOLE)
		stream->package_left -= (uint32_t)unit->size_bytes;
	return result;
}

UnitResult main_stream_next(MainStream *stream, const uint8_t *window, size_t size,
			    MainUnit *ret_unit, Error *err)
{
	MainUnit unit = { .at = stream->offset, .packaged = stream->phase == PHASE_PACKAGE };
	MainState state = stream->state;
	UnitResult result;

	if (stream->refused)
		result = grammar_bad(err, "the stream was refused before");
	else if (unit.packaged)
		result = step_in_package(stream, window, size, &unit, err);
	else
		result = steps[state](stream, window, size, &unit, err);
	if (result == UNIT_BAD) {
		stream->refused = true;
		add_place(stream, state, err);
	}
	if (result == UNIT_WHOLE) {
		stream->offset += unit.size_bytes;
		*ret_unit = unit;
	}
	return result;
}

const char *main_kind_word(MainKind kind)
{
	static const char *const words[] = {
		[MAIN_HEADER] = "HEADER",
		[MAIN_CONFIGURATION] = "CONFIGURATION",
		[MAIN_SECTION] = "SECTION",
		[MAIN_RAM] = "RAM",
		[MAIN_BITMAP] = "BITMAP",
		[MAIN_GLOBAL_STATE] = "GLOBAL_STATE",
		[MAIN_PAYLOAD] = "PAYLOAD",
		[MAIN_TAIL] = "TAIL",
		[MAIN_FOOTER] = "FOOTER",
		[MAIN_COMMAND] = "COMMAND",
		[MAIN_EOF] = "EOF",
		[MAIN_VMDESC] = "VMDESC",
		[MAIN_VMDESC_BYTES] = "VMDESC_BYTES",
	};

	static_assert(ARRAY_SIZE(words) == MAIN_KIND_COUNT, "a word for each kind");
	return words[kind];
}
