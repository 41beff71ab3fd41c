/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/ttlv.h"

#include <assert.h>
#include <string.h>

typedef struct TagRow {
	TtlvTag tag;
	TtlvType type; /* TTLV_TYPE_COUNT: depends on the attribute's or the object's type */
	const char *name;
} TagRow;

/* By tag, ascending. */
static const TagRow rows[] = {
	{ TAG_APPLICATION_NAMESPACE, TTLV_TEXT_STRING, "Application Namespace" },
	{ TAG_ATTRIBUTE, TTLV_STRUCTURE, "Attribute" },
	{ TAG_ATTRIBUTE_INDEX, TTLV_INTEGER, "Attribute Index" },
	{ TAG_ATTRIBUTE_NAME, TTLV_TEXT_STRING, "Attribute Name" },
	{ TAG_ATTRIBUTE_VALUE, TTLV_TYPE_COUNT, "Attribute Value" },
	{ TAG_AUTHENTICATION, TTLV_STRUCTURE, "Authentication" },
	{ TAG_BATCH_COUNT, TTLV_INTEGER, "Batch Count" },
	{ TAG_BATCH_ITEM, TTLV_STRUCTURE, "Batch Item" },
	{ TAG_CREDENTIAL, TTLV_STRUCTURE, "Credential" },
	{ TAG_CREDENTIAL_TYPE, TTLV_ENUMERATION, "Credential Type" },
	{ TAG_CREDENTIAL_VALUE, TTLV_STRUCTURE, "Credential Value" },
	{ TAG_CRYPTOGRAPHIC_ALGORITHM, TTLV_ENUMERATION, "Cryptographic Algorithm" },
	{ TAG_CRYPTOGRAPHIC_LENGTH, TTLV_INTEGER, "Cryptographic Length" },
	{ TAG_KEY_BLOCK, TTLV_STRUCTURE, "Key Block" },
	{ TAG_KEY_FORMAT_TYPE, TTLV_ENUMERATION, "Key Format Type" },
	/* A structure for the transparent formats, which are not asked for. */
	{ TAG_KEY_MATERIAL, TTLV_BYTE_STRING, "Key Material" },
	/* A byte string if the key is wrapped, which is not asked for. */
	{ TAG_KEY_VALUE, TTLV_STRUCTURE, "Key Value" },
	{ TAG_MAXIMUM_RESPONSE_SIZE, TTLV_INTEGER, "Maximum Response Size" },
	{ TAG_NAME_TYPE, TTLV_ENUMERATION, "Name Type" },
	{ TAG_NAME_VALUE, TTLV_TEXT_STRING, "Name Value" },
	{ TAG_OBJECT_TYPE, TTLV_ENUMERATION, "Object Type" },
	{ TAG_OPERATION, TTLV_ENUMERATION, "Operation" },
	{ TAG_PROTOCOL_VERSION, TTLV_STRUCTURE, "Protocol Version" },
	{ TAG_PROTOCOL_VERSION_MAJOR, TTLV_INTEGER, "Protocol Version Major" },
	{ TAG_PROTOCOL_VERSION_MINOR, TTLV_INTEGER, "Protocol Version Minor" },
	{ TAG_QUERY_FUNCTION, TTLV_ENUMERATION, "Query Function" },
	{ TAG_REQUEST_HEADER, TTLV_STRUCTURE, "Request Header" },
	{ TAG_REQUEST_MESSAGE, TTLV_STRUCTURE, "Request Message" },
	{ TAG_REQUEST_PAYLOAD, TTLV_STRUCTURE, "Request Payload" },
	{ TAG_RESPONSE_HEADER, TTLV_STRUCTURE, "Response Header" },
	{ TAG_RESPONSE_MESSAGE, TTLV_STRUCTURE, "Response Message" },
	{ TAG_RESPONSE_PAYLOAD, TTLV_STRUCTURE, "Response Payload" },
	{ TAG_RESULT_MESSAGE, TTLV_TEXT_STRING, "Result Message" },
	{ TAG_RESULT_REASON, TTLV_ENUMERATION, "Result Reason" },
	{ TAG_RESULT_STATUS, TTLV_ENUMERATION, "Result Status" },
	{ TAG_REVOCATION_REASON, TTLV_STRUCTURE, "Revocation Reason" },
	{ TAG_REVOCATION_REASON_CODE, TTLV_ENUMERATION, "Revocation Reason Code" },
	{ TAG_SECRET_DATA, TTLV_STRUCTURE, "Secret Data" },
	{ TAG_SECRET_DATA_TYPE, TTLV_ENUMERATION, "Secret Data Type" },
	{ TAG_SERVER_INFORMATION, TTLV_STRUCTURE, "Server Information" },
	{ TAG_SYMMETRIC_KEY, TTLV_STRUCTURE, "Symmetric Key" },
	{ TAG_TEMPLATE_ATTRIBUTE, TTLV_STRUCTURE, "Template-Attribute" },
	{ TAG_TIME_STAMP, TTLV_DATE_TIME, "Time Stamp" },
	{ TAG_UNIQUE_BATCH_ITEM_ID, TTLV_BYTE_STRING, "Unique Batch Item ID" },
	{ TAG_UNIQUE_IDENTIFIER, TTLV_TEXT_STRING, "Unique Identifier" },
	{ TAG_USERNAME, TTLV_TEXT_STRING, "Username" },
	{ TAG_VENDOR_IDENTIFICATION, TTLV_TEXT_STRING, "Vendor Identification" },
	{ TAG_PASSWORD, TTLV_TEXT_STRING, "Password" },
	{ TAG_ATTESTATION_TYPE, TTLV_ENUMERATION, "Attestation Type" },
	{ TAG_NONCE, TTLV_STRUCTURE, "Nonce" },
	{ TAG_CLIENT_CORRELATION_VALUE, TTLV_TEXT_STRING, "Client Correlation Value" },
	{ TAG_SERVER_CORRELATION_VALUE, TTLV_TEXT_STRING, "Server Correlation Value" },
};

static const TagRow *row_of(uint32_t tag)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].tag == tag)
			return &rows[i];
	return NULL;
}

const char *ttlv_tag_name(uint32_t tag)
{
	const TagRow *row = row_of(tag);

	return row ? row->name : "an unknown tag";
}

/* --- reader --- */

/* Bytes of a value, section 9.1.1.3: `size` for those of fixed size, else a multiple of `multiple`.
 */
typedef struct TypeRow {
	size_t size;
	size_t multiple;
} TypeRow;

static const TypeRow types[] = {
	[TTLV_STRUCTURE] = { 0, 8 },	[TTLV_INTEGER] = { 4, 1 },
	[TTLV_LONG_INTEGER] = { 8, 1 }, [TTLV_BIG_INTEGER] = { 0, 8 },
	[TTLV_ENUMERATION] = { 4, 1 },	[TTLV_BOOLEAN] = { 8, 1 },
	[TTLV_TEXT_STRING] = { 0, 1 },	[TTLV_BYTE_STRING] = { 0, 1 },
	[TTLV_DATE_TIME] = { 8, 1 },	[TTLV_INTERVAL] = { 4, 1 },
};
_Static_assert(ARRAY_SIZE(types) == TTLV_TYPE_COUNT, "a row for each type");

static size_t padding_of(size_t size)
{
	return (TTLV_ALIGNMENT - size % TTLV_ALIGNMENT) % TTLV_ALIGNMENT;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	uint8_t any = 0;

	for (size_t i = 0; i < size; i++)
		any |= bytes[i];
	return !any;
}

static bool read_header(Reader *reader, TtlvItem *ret_item, Error *err)
{
	uint32_t tag_and_type, size;

	if (!reader_get_be32(reader, &tag_and_type) || !reader_get_be32(reader, &size))
		return error_set(err, ERROR_PEER, "a TTLV item of less than %d bytes",
				 TTLV_HEADER_BYTES);
	ret_item->tag = tag_and_type >> 8;
	ret_item->type = (TtlvType)(tag_and_type & 0xff);
	ret_item->size = size;
	/* 42: the standard's, 54: a vendor's own (section 9.1.1.1). */
	if (ret_item->tag >> 16 != 0x42 && ret_item->tag >> 16 != 0x54)
		return error_set(err, ERROR_PEER, "a TTLV tag 0x%06x", ret_item->tag);
	if (ret_item->type < TTLV_STRUCTURE || ret_item->type >= TTLV_TYPE_COUNT)
		return error_set(err, ERROR_PEER, "%s of the TTLV type %u",
				 ttlv_tag_name(ret_item->tag), tag_and_type & 0xff);
	return true;
}

bool ttlv_next(Reader *reader, TtlvItem *ret_item, Error *err)
{
	Reader at = *reader;
	TtlvItem item;
	const uint8_t *padding;
	const TypeRow *type;

	if (!read_header(&at, &item, err))
		return false;
	type = &types[item.type];
	if ((type->size && item.size != type->size) || item.size % type->multiple ||
	    (item.type == TTLV_BIG_INTEGER && !item.size))
		return error_set(err, ERROR_PEER, "%s of %zu bytes", ttlv_tag_name(item.tag),
				 item.size);
	if (!reader_skip(&at, item.size, &item.value) ||
	    !reader_skip(&at, padding_of(item.size), &padding))
		return error_set(err, ERROR_PEER, "%s of %zu bytes where %zu are left",
				 ttlv_tag_name(item.tag), item.size, at.left);
	if (!is_zero(padding, padding_of(item.size)))
		return error_set(err, ERROR_PEER, "%s whose padding is not zero",
				 ttlv_tag_name(item.tag));
	if (item.type == TTLV_BOOLEAN && load_be64(item.value) > 1)
		return error_set(err, ERROR_PEER, "%s that is neither true nor false",
				 ttlv_tag_name(item.tag));
	*reader = at;
	*ret_item = item;
	return true;
}

bool ttlv_check(const void *message, size_t size, TtlvItem *ret_item, Error *err)
{
	Reader rests[TTLV_DEPTH_MAX]; /* behind each open structure */
	Reader at = reader_of(message, size);
	size_t depth = 0, items = 0;
	TtlvItem item, first = { 0 };

	do {
		if (++items > TTLV_ITEMS_MAX)
			return error_set(err, ERROR_PEER, "more than %d TTLV items",
					 TTLV_ITEMS_MAX);
		if (!ttlv_next(&at, &item, err))
			return false;
		if (items == 1)
			first = item;
		if (item.type == TTLV_STRUCTURE) {
			if (depth == TTLV_DEPTH_MAX)
				return error_set(err, ERROR_PEER,
						 "more than %d TTLV structures in each other",
						 TTLV_DEPTH_MAX);
			rests[depth++] = at;
			at = reader_of(item.value, item.size);
		}
		while (depth && !at.left)
			at = rests[--depth];
		/* Outside all structures only one item may stand. */
	} while (depth);
	if (at.left)
		return error_set(err, ERROR_PEER, "%zu bytes behind the TTLV message", at.left);
	*ret_item = first;
	return true;
}

static bool has_type_of_tag(const TtlvItem *item)
{
	const TagRow *row = row_of(item->tag);

	return row && (row->type == TTLV_TYPE_COUNT || row->type == item->type);
}

/* The first field from *field on that the tag may be; `count` if there is none. */
static size_t find_field(const TtlvField *fields, size_t count, size_t field, uint32_t tag)
{
	while (field < count && fields[field].tag != tag)
		field++;
	return field;
}

static bool is_in_place(const TtlvField *fields, const TtlvItem *items, size_t count,
			const TtlvItem *item, size_t *field)
{
	size_t found = find_field(fields, count, *field, item->tag);

	if (found == count || !has_type_of_tag(item))
		return false;
	if (items[found].value && fields[found].presence != TTLV_REPEATED)
		return false;
	*field = found;
	return true;
}

bool ttlv_match(const TtlvItem *structure, const TtlvField *fields, size_t count,
		TtlvItem *ret_items, Error *err)
{
	Reader at = reader_of(structure->value, structure->size);
	const char *name = ttlv_tag_name(structure->tag);
	size_t field = 0;

	memset(ret_items, 0, count * sizeof(*ret_items));
	if (structure->type != TTLV_STRUCTURE)
		return error_set(err, ERROR_PEER, "%s is no structure", name);
	while (at.left) {
		const uint8_t *start = at.data;
		TtlvItem item;

		if (!ttlv_next(&at, &item, err))
			return false;
		if (!is_in_place(fields, ret_items, count, &item, &field))
			return error_set(err, ERROR_PEER, "%s (0x%06x) out of place in %s",
					 ttlv_tag_name(item.tag), item.tag, name);
		if (fields[field].presence == TTLV_REPEATED) {
			if (ret_items[field].value)
				start = ret_items[field].value;
			item.value = start;
			item.size = (size_t)(at.data - start);
		}
		ret_items[field] = item;
	}
	for (size_t i = 0; i < count; i++)
		if (fields[i].presence == TTLV_REQUIRED && !ret_items[i].value)
			return error_set(err, ERROR_PEER, "no %s in %s",
					 ttlv_tag_name(fields[i].tag), name);
	return true;
}

uint32_t ttlv_u32(const TtlvItem *item)
{
	assert(item->type == TTLV_INTEGER || item->type == TTLV_ENUMERATION ||
	       item->type == TTLV_INTERVAL);
	return load_be32(item->value);
}

bool ttlv_text_is(const TtlvItem *item, const char *text)
{
	return item->type == TTLV_TEXT_STRING && item->size == strlen(text) &&
	       !memcmp(item->value, text, item->size);
}

/* --- writer --- */

TtlvWriter ttlv_writer(Buffer *buffer)
{
	return (TtlvWriter){ .buffer = buffer, .failure = ERROR_INIT };
}

static bool is_sound(const TtlvWriter *writer)
{
	return writer->failure.category == ERROR_NONE;
}

static void append(TtlvWriter *writer, const void *bytes, size_t size)
{
	if (is_sound(writer))
		(void)!buffer_put(writer->buffer, bytes, size, &writer->failure);
}

static void put(TtlvWriter *writer, TtlvTag tag, TtlvType type, const void *value, size_t size)
{
	static const uint8_t zeros[TTLV_ALIGNMENT];
	uint8_t header[TTLV_HEADER_BYTES];

	store_be32(header, (uint32_t)tag << 8 | (uint32_t)type);
	store_be32(header + 4, (uint32_t)size);
	append(writer, header, sizeof(header));
	append(writer, value, size);
	append(writer, zeros, padding_of(size));
}

void ttlv_open(TtlvWriter *writer, TtlvTag tag)
{
	assert(writer->depth < TTLV_DEPTH_MAX);
	writer->open[writer->depth++] = writer->buffer->used;
	put(writer, tag, TTLV_STRUCTURE, NULL, 0);
}

void ttlv_close(TtlvWriter *writer)
{
	size_t start;

	assert(writer->depth);
	start = writer->open[--writer->depth];
	if (is_sound(writer))
		store_be32(writer->buffer->data + start + 4,
			   (uint32_t)(writer->buffer->used - start - TTLV_HEADER_BYTES));
}

void ttlv_put_integer(TtlvWriter *writer, TtlvTag tag, int32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, (uint32_t)value);
	put(writer, tag, TTLV_INTEGER, bytes, sizeof(bytes));
}

void ttlv_put_enumeration(TtlvWriter *writer, TtlvTag tag, uint32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	put(writer, tag, TTLV_ENUMERATION, bytes, sizeof(bytes));
}

void ttlv_put_text(TtlvWriter *writer, TtlvTag tag, const char *text)
{
	put(writer, tag, TTLV_TEXT_STRING, text, strlen(text));
}

void ttlv_put_bytes(TtlvWriter *writer, TtlvTag tag, TtlvType type, const void *bytes, size_t size)
{
	assert(type == TTLV_TEXT_STRING || type == TTLV_BYTE_STRING);
	put(writer, tag, type, bytes, size);
}

bool ttlv_writer_end(TtlvWriter *writer, Error *err)
{
	assert(!writer->depth);
	if (is_sound(writer))
		return true;
	*err = writer->failure;
	return false;
}
