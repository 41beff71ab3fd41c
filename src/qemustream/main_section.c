/* SPDX-License-Identifier: Apache-2.0 */
/* Headers and footers of sections: which may begin, go on and end. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "qemustream/main_internal.h"

/* The sections that START. What is not here is refused: nobody knows where its payload ends. */
static const IterativeKind iterative_kinds[] = {
	{ "ram", 4, STATE_RAM_LIST, STATE_RAM, 0 },
	{ "dirty-bitmap", 1, STATE_BITMAP, STATE_BITMAP,
	  offsetof(MainStreamOptions, dirty_bitmaps) },
};

/* Each STARTs once. */
static_assert(ARRAY_SIZE(iterative_kinds) <= MAIN_ITERATIVE_MAX, "room for all that START");

enum { GLOBAL_STATE_VERSION = 1 };

static const IterativeKind *find_kind(UnitName name)
{
	for (size_t i = 0; i < ARRAY_SIZE(iterative_kinds); i++)
		if (grammar_name_is(name, iterative_kinds[i].name))
			return &iterative_kinds[i];
	return NULL;
}

static bool is_allowed(const MainStream *stream, const IterativeKind *kind)
{
	return !kind->option || *(const bool *)((const char *)&stream->options + kind->option);
}

/* A device of the VFIO framework names its section after its place: "0000:00:03.0/vfio". */
static bool is_vfio(UnitName name)
{
	static const char word[] = "vfio";
	const size_t size = sizeof(word) - 1;

	return name.size >= size && !memcmp(name.bytes + name.size - size, word, size) &&
	       (name.size == size || name.bytes[name.size - size - 1] == '/');
}

static UnitResult refuse_start(UnitName name, Error *err)
{
	if (is_vfio(name))
		return grammar_bad(err,
				   "section START of %.*s: state of VFIO devices is not accepted",
				   NAME_ARGS(name));
	if (grammar_name_is(name, "block"))
		return grammar_bad(err, "section START of block: disks do not go in QEMU's stream");
	return grammar_bad(err, "section START of %.*s: no such section goes in parts",
			   NAME_ARGS(name));
}

static Iterative *find_iterative(MainStream *stream, uint32_t id)
{
	for (size_t i = 0; i < stream->n_iterative; i++)
		if (stream->iterative[i].id == id)
			return &stream->iterative[i];
	return NULL;
}

bool main_ram_has_ended(const MainStream *stream)
{
	for (size_t i = 0; i < stream->n_iterative; i++)
		if (stream->iterative[i].kind == &iterative_kinds[0])
			return stream->iterative[i].ended;
	return false;
}

/* --- what the types have in common --- */

static const char *const type_words[] = {
	[MAIN_SECTION_START] = "START",
	[MAIN_SECTION_PART] = "PART",
	[MAIN_SECTION_END] = "END",
	[MAIN_SECTION_FULL] = "FULL",
};

static const uint32_t type_phases[] = {
	[MAIN_SECTION_START] = PHASE_SETUP,
	[MAIN_SECTION_PART] = PHASE_SETUP | PHASE_ITERATE | PHASE_POSTCOPY,
	[MAIN_SECTION_END] = PHASE_SETUP | PHASE_ITERATE | PHASE_POSTCOPY,
	[MAIN_SECTION_FULL] = PHASE_SETUP | PHASE_ITERATE | PHASE_DEVICES | PHASE_PACKAGE,
};

static void open_section(MainStream *stream, const MainSection *section, Iterative *iterative)
{
	stream->section_type = section->type;
	stream->section_id = section->id;
	stream->section_name_size = section->name.size;
	memcpy(stream->section_name, section->name.bytes, section->name.size);
	stream->section_name[section->name.size] = '\0';
	stream->open = iterative;
}

static UnitResult get_identity(const MainStream *stream, Reader *reader, MainSection *section,
			       Error *err)
{
	UnitResult result;

	if (section->id > MAIN_SECTION_ID_MAX)
		return grammar_bad(err, "section %s with id %" PRIu32 ", at most %d may be",
				   type_words[section->type], section->id, MAIN_SECTION_ID_MAX);
	if (stream->ids_used[section->id / 8] & (1u << section->id % 8))
		return grammar_bad(err, "section %s with id %" PRIu32 ", which was begun before",
				   type_words[section->type], section->id);
	result = grammar_get_name(reader, "a section", &section->name, err);
	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_be32(reader, &section->instance_id) ||
	    !reader_get_be32(reader, &section->version_id))
		return UNIT_MORE;
	return UNIT_WHOLE;
}

static void use_id(MainStream *stream, uint32_t id)
{
	stream->ids_used[id / 8] |= (uint8_t)(1u << id % 8);
}

/* --- START --- */

static UnitResult check_start(const MainStream *stream, const MainSection *section,
			      const IterativeKind *kind, Error *err)
{
	if (!kind)
		return refuse_start(section->name, err);
	if (!is_allowed(stream, kind))
		return grammar_bad(err, "section START of %s, which was not agreed", kind->name);
	if (section->version_id != kind->version)
		return grammar_bad(err,
				   "section START of %s in version %" PRIu32 ", only %" PRIu32
				   " is known",
				   kind->name, section->version_id, kind->version);
	for (size_t i = 0; i < stream->n_iterative; i++)
		if (stream->iterative[i].kind == kind)
			return grammar_bad(err, "section START of %s comes twice", kind->name);
	return UNIT_WHOLE;
}

static UnitResult get_start(MainStream *stream, Reader *reader, MainSection *section, Error *err)
{
	UnitResult result = get_identity(stream, reader, section, err);
	const IterativeKind *kind;
	Iterative *iterative;

	if (result != UNIT_WHOLE)
		return result;
	kind = find_kind(section->name);
	result = check_start(stream, section, kind, err);
	if (result != UNIT_WHOLE)
		return result;
	use_id(stream, section->id);
	iterative = &stream->iterative[stream->n_iterative++];
	*iterative =
		(Iterative){ .kind = kind, .id = section->id, .instance_id = section->instance_id };
	open_section(stream, section, iterative);
	stream->state = kind->start;
	return UNIT_WHOLE;
}

/* --- PART and END --- */

static UnitResult get_next(MainStream *stream, Reader *reader, MainSection *section, Error *err)
{
	Iterative *iterative = find_iterative(stream, section->id);

	(void)reader;
	if (!iterative)
		return grammar_bad(err, "section %s with id %" PRIu32 ", which did not START",
				   type_words[section->type], section->id);
	if (iterative->ended)
		return grammar_bad(err, "section %s with id %" PRIu32 " (%s) after its END",
				   type_words[section->type], section->id, iterative->kind->name);
	section->name = (UnitName){ .bytes = iterative->kind->name,
				    .size = (uint8_t)strlen(iterative->kind->name) };
	section->instance_id = iterative->instance_id;
	section->version_id = iterative->kind->version;
	if (stream->phase == PHASE_SETUP)
		stream->phase = PHASE_ITERATE;
	if (section->type == MAIN_SECTION_END) {
		iterative->ended = true;
		stream->any_end = true;
	}
	open_section(stream, section, iterative);
	stream->ram.phase =
		stream->phase == PHASE_POSTCOPY ? RAM_PHASE_POSTCOPY : RAM_PHASE_PRECOPY;
	stream->state = iterative->kind->next;
	return UNIT_WHOLE;
}

/* --- FULL --- */

static UnitResult check_full(const MainStream *stream, UnitName name, Error *err)
{
	/* Device state goes once the guest stands still: after what goes in parts, or packed. Only
	 * what a device must know before its memory comes may be early. */
	if (stream->phase == PHASE_ITERATE && !main_ram_has_ended(stream))
		return grammar_bad(err, "section FULL of %.*s before the END of ram",
				   NAME_ARGS(name));
	if (stream->phase == PHASE_PACKAGE && !(stream->commands & 1u << COMMAND_POSTCOPY_LISTEN))
		return grammar_bad(err, "section FULL of %.*s before POSTCOPY_LISTEN",
				   NAME_ARGS(name));
	if (find_kind(name) || is_vfio(name))
		return grammar_bad(err, "section FULL of %.*s, which goes in parts",
				   NAME_ARGS(name));
	return UNIT_WHOLE;
}

static UnitResult get_full(MainStream *stream, Reader *reader, MainSection *section, Error *err)
{
	UnitResult result = get_identity(stream, reader, section, err);

	if (result == UNIT_WHOLE)
		result = check_full(stream, section->name, err);
	if (result != UNIT_WHOLE)
		return result;
	section->needs_length = !grammar_name_is(section->name, "globalstate");
	if (!section->needs_length && section->version_id != GLOBAL_STATE_VERSION)
		return grammar_bad(
			err, "section FULL of globalstate in version %" PRIu32 ", only %d is known",
			section->version_id, GLOBAL_STATE_VERSION);
	use_id(stream, section->id);
	if (stream->phase == PHASE_ITERATE)
		stream->phase = PHASE_DEVICES;
	open_section(stream, section, NULL);
	stream->state = section->needs_length ? STATE_LENGTH : STATE_GLOBAL_STATE;
	return UNIT_WHOLE;
}

/* --- steps --- */

typedef UnitResult (*GetSection)(MainStream *stream, Reader *reader, MainSection *section,
				 Error *err);

static const GetSection getters[] = {
	[MAIN_SECTION_START] = get_start,
	[MAIN_SECTION_PART] = get_next,
	[MAIN_SECTION_END] = get_next,
	[MAIN_SECTION_FULL] = get_full,
};

UnitResult main_step_section(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err)
{
	Reader reader = reader_of(window, size);
	UnitResult result;
	uint8_t tag;

	if (!reader_get_u8(&reader, &tag))
		return UNIT_MORE;
	unit->section.type = (MainSectionType)tag;
	if (!(type_phases[tag] & stream->phase))
		return grammar_bad(err, "section %s %s", type_words[tag],
				   stream->phase == PHASE_PACKAGE    ? "in a package"
				   : stream->phase == PHASE_RECOVERY ? "before POSTCOPY_RESUME"
				   : tag == MAIN_SECTION_START ? "after the first that went on"
				   : tag == MAIN_SECTION_FULL  ? "after the package"
							       : "after device state began");
	if (!reader_get_be32(&reader, &unit->section.id))
		return UNIT_MORE;
	result = getters[tag](stream, &reader, &unit->section, err);
	if (result != UNIT_WHOLE)
		return result;
	unit->kind = MAIN_SECTION;
	unit->size_bytes = size - reader.left;
	return UNIT_WHOLE;
}

void main_end_payload(MainStream *stream)
{
	stream->state = stream->options.without_footers ? STATE_ITEM : STATE_FOOTER;
}

UnitResult main_step_footer(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err)
{
	Reader reader = reader_of(window, size);
	uint8_t tag;
	uint32_t id;

	if (!reader_get_u8(&reader, &tag))
		return UNIT_MORE;
	if (tag != TAG_FOOTER)
		return grammar_bad(err, "tag 0x%02x, expected 0x%02x of the footer", tag,
				   TAG_FOOTER);
	if (!reader_get_be32(&reader, &id))
		return UNIT_MORE;
	if (id != stream->section_id)
		return grammar_bad(err, "footer of section %" PRIu32 ", expected %" PRIu32, id,
				   stream->section_id);
	stream->state = STATE_ITEM;
	unit->kind = MAIN_FOOTER;
	unit->size_bytes = size - reader.left;
	return UNIT_WHOLE;
}
