/* SPDX-License-Identifier: Apache-2.0 */
/* Where device state ends: by its description, or, where there is none, by what footers look like.
 * The second is for reading only: a payload may contain what looks like a footer. */
#include <inttypes.h>
#include <string.h>

#include "programs/cli/inspect_main.h"
#include "qemustream/frame.h"
#include "qemustream/main_tags.h"

enum {
	VMDESC_HEADER = 6, /* EOF, tag, be32 length */
	FOOTER = 5,
	JSON_MAX = MAIN_VMDESC_MAX - 1,
};

/* --- the description --- */

/* A description that bytes follow is not where frame.h looks for it. Nothing depends on this one
 * but what is said about those bytes: whether it is one shows when it is parsed. */
static VmDescription *find_followed(const uint8_t *held, size_t size, size_t *ret_size)
{
	static const uint8_t mark[] = { TAG_EOF, TAG_VMDESC };
	Error ignored = ERROR_INIT;
	unsigned int tries = 16;

	for (size_t at = 0; tries && size - at > VMDESC_HEADER; at++) {
		const uint8_t *found = memmem(held + at, size - at, mark, sizeof(mark));
		VmDescription *description;
		uint32_t length;

		if (!found)
			return NULL;
		at = (size_t)(found - held);
		if (size - at <= VMDESC_HEADER || found[VMDESC_HEADER] != '{')
			continue;
		length = load_be32(found + sizeof(mark));
		if (length > size - at - VMDESC_HEADER)
			continue;
		tries--;
		description = vmdesc_parse(found + VMDESC_HEADER, length, &VMDESC_LIMITS_DEFAULT,
					   &ignored);
		if (!description)
			continue;
		*ret_size = at + VMDESC_HEADER + length;
		return description;
	}
	return NULL;
}

bool inspect_tail_describe(MainInspect *view, size_t *ret_size, Error *err)
{
	const Buffer *held = &view->held;
	Error ignored = ERROR_INIT;
	size_t eof;

	*ret_size = held->used;
	if (!frame_find_vmdesc(held->data, held->used, JSON_MAX, &eof, &ignored)) {
		view->description = find_followed(held->data, held->used, ret_size);
		return true;
	}
	view->description =
		vmdesc_parse(held->data + eof + VMDESC_HEADER, held->used - eof - VMDESC_HEADER,
			     &VMDESC_LIMITS_DEFAULT, err);
	return view->description ||
	       error_prefix(err, "main channel, byte %" PRIu64 ", the description",
			    view->held_at + eof + VMDESC_HEADER);
}

/* --- footers --- */

static bool is_printable(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] < 0x20 || bytes[i] > 0x7e)
			return false;
	return true;
}

/* tag, be32 id, and for those that have one the beginning of a name */
static bool may_be_section(const uint8_t *bytes, size_t size)
{
	const bool named = bytes[0] == TAG_SECTION_START || bytes[0] == TAG_SECTION_FULL;
	size_t name;

	if (size < 5)
		return true;
	if (load_be32(bytes + 1) > MAIN_SECTION_ID_MAX)
		return false;
	if (!named || size == 5)
		return true;
	name = bytes[5] < size - 6 ? bytes[5] : size - 6;
	return bytes[5] && is_printable(bytes + 6, name);
}

static bool may_be_item(const uint8_t *bytes, size_t size)
{
	if (!size)
		return true;
	switch (bytes[0]) {
	case TAG_EOF:
		return size < 2 || bytes[1] == TAG_VMDESC;
	case TAG_SECTION_START:
	case TAG_SECTION_PART:
	case TAG_SECTION_END:
	case TAG_SECTION_FULL:
		return may_be_section(bytes, size);
	case TAG_COMMAND:
		return size < 3 ||
		       (load_be16(bytes + 1) > 0 && load_be16(bytes + 1) < COMMAND_KIND_COUNT);
	default:
		return false;
	}
}

bool inspect_tail_find_footer(const uint8_t *bytes, size_t size, uint32_t section_id,
			      size_t *ret_length)
{
	uint8_t footer[FOOTER] = { TAG_FOOTER };

	store_be32(footer + 1, section_id);
	for (size_t at = 0; size - at >= FOOTER; at++) {
		const uint8_t *found = memmem(bytes + at, size - at, footer, sizeof(footer));

		if (!found)
			return false;
		at = (size_t)(found - bytes);
		if (!may_be_item(found + FOOTER, size - at - FOOTER))
			continue;
		*ret_length = at;
		return true;
	}
	return false;
}
