/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/configuration.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "qemustream/grammar.h"
#include "qemustream/main_tags.h"

enum {
	SUBSECTION_VERSION = 1,
	/* Every target that QEMU has is between these. */
	PAGE_BITS_MIN = 10,
	PAGE_BITS_MAX = 16,
};

UnitResult configuration_next_machine(const uint8_t *window, size_t size,
				      ConfigurationUnit *ret_unit, Error *err)
{
	ConfigurationUnit unit = { .kind = CONFIGURATION_MACHINE };
	Reader reader = reader_of(window, size);
	const uint8_t *bytes;
	uint32_t length;
	uint8_t tag;

	if (!reader_get_u8(&reader, &tag))
		return UNIT_MORE;
	if (tag != TAG_CONFIGURATION)
		return grammar_bad(err, "tag 0x%02x, expected 0x%02x of the configuration", tag,
				   TAG_CONFIGURATION);
	if (!reader_get_be32(&reader, &length))
		return UNIT_MORE;
	if (!length || length > UNIT_NAME_MAX)
		return grammar_bad(err, "machine type of %" PRIu32 " bytes, 1 to %d may be", length,
				   UNIT_NAME_MAX);
	if (!reader_skip(&reader, length, &bytes))
		return UNIT_MORE;
	for (size_t i = 0; i < length; i++)
		if (bytes[i] <= 0x20 || bytes[i] > 0x7e)
			return grammar_bad(err,
					   "machine type with byte 0x%02x at %zu, only 0x21 to "
					   "0x7e may be",
					   bytes[i], i);
	unit.machine = (UnitName){ .bytes = (const char *)bytes, .size = (uint8_t)length };
	unit.size_bytes = size - reader.left;
	*ret_unit = unit;
	return UNIT_WHOLE;
}

/* --- subsections --- */

static UnitResult get_page_bits(Reader *reader, ConfigurationUnit *unit, Error *err)
{
	if (!reader_get_be32(reader, &unit->page_bits))
		return UNIT_MORE;
	if (unit->page_bits < PAGE_BITS_MIN || unit->page_bits > PAGE_BITS_MAX)
		return grammar_bad(err, "target pages of %" PRIu32 " bits, %d to %d may be",
				   unit->page_bits, PAGE_BITS_MIN, PAGE_BITS_MAX);
	return UNIT_WHOLE;
}

static UnitResult get_capabilities(Reader *reader, ConfigurationUnit *unit, Error *err)
{
	UnitResult result;
	UnitName name;
	uint32_t count;

	if (!reader_get_be32(reader, &count))
		return UNIT_MORE;
	if (count > CONFIGURATION_CAPABILITIES_MAX)
		return grammar_bad(err, "%" PRIu32 " capabilities, at most %d may be", count,
				   CONFIGURATION_CAPABILITIES_MAX);
	for (uint32_t i = 0; i < count; i++) {
		result = grammar_get_name(reader, "a capability", &name, err);
		if (result != UNIT_WHOLE)
			return result;
		if (grammar_name_is(name, "mapped-ram"))
			return grammar_bad(err, "capability mapped-ram is for files");
		if (!grammar_name_is(name, "x-ignore-shared"))
			return grammar_bad(err, "capability %.*s is unknown", NAME_ARGS(name));
		if (unit->ignore_shared)
			return grammar_bad(err, "capability %.*s is listed twice", NAME_ARGS(name));
		unit->ignore_shared = true;
	}
	return UNIT_WHOLE;
}

static UnitResult get_uuid(Reader *reader, ConfigurationUnit *unit, Error *err)
{
	(void)err;
	return reader_get_bytes(reader, unit->uuid, sizeof(unit->uuid)) ? UNIT_WHOLE : UNIT_MORE;
}

typedef struct Subsection {
	const char *name;
	UnitResult (*get)(Reader *reader, ConfigurationUnit *unit, Error *err);
} Subsection;

static const Subsection subsections[CONFIGURATION_KIND_COUNT] = {
	[CONFIGURATION_PAGE_BITS] = { "configuration/target-page-bits", get_page_bits },
	[CONFIGURATION_CAPABILITIES] = { "configuration/capabilities", get_capabilities },
	[CONFIGURATION_UUID] = { "configuration/uuid", get_uuid },
};

static UnitResult find_subsection(UnitName name, ConfigurationKind last,
				  ConfigurationKind *ret_kind, Error *err)
{
	for (int kind = CONFIGURATION_PAGE_BITS; kind < CONFIGURATION_KIND_COUNT; kind++)
		if (grammar_name_is(name, subsections[kind].name)) {
			*ret_kind = (ConfigurationKind)kind;
			if (kind > (int)last)
				return UNIT_WHOLE;
			return grammar_bad(err, "subsection %.*s comes twice or too late",
					   NAME_ARGS(name));
		}
	return grammar_bad(err, "the configuration has no subsection %.*s", NAME_ARGS(name));
}

UnitResult configuration_next_subsection(ConfigurationKind last, const uint8_t *window, size_t size,
					 ConfigurationUnit *ret_unit, Error *err)
{
	Reader reader = reader_of(window, size);
	ConfigurationUnit unit = { 0 };
	UnitResult result;
	UnitName name;
	uint32_t version;
	uint8_t tag;

	if (!reader_get_u8(&reader, &tag))
		return UNIT_MORE;
	result = grammar_get_name(&reader, "a subsection", &name, err);
	if (result == UNIT_WHOLE)
		result = find_subsection(name, last, &unit.kind, err);
	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_be32(&reader, &version))
		return UNIT_MORE;
	if (version != SUBSECTION_VERSION)
		return grammar_bad(err, "subsection %.*s of version %" PRIu32 ", only %d is known",
				   NAME_ARGS(name), version, SUBSECTION_VERSION);
	result = subsections[unit.kind].get(&reader, &unit, err);
	if (result != UNIT_WHOLE)
		return result;
	unit.size_bytes = size - reader.left;
	*ret_unit = unit;
	return UNIT_WHOLE;
}
