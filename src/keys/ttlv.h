/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoding of KMIP (OASIS KMIP Specification 1.2, section 9.1): an item is a tag of three
 * bytes, a type, a length of four bytes and a value that is padded with zeros to a multiple of
 * eight; a structure's value is items. All integers are big-endian.
 *
 * The reader is for bytes of a key manager that may be hostile. ttlv_check walks a whole message
 * once, without recursion; what it accepted can be taken apart by ttlv_match, one structure at a
 * time, by a table of the tags that may stand there. A tag fixes its type and its name: tags that
 * Sealift does not know do not pass.
 */
#ifndef SEALIFT_KEYS_TTLV_H
#define SEALIFT_KEYS_TTLV_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"

enum {
	TTLV_HEADER_BYTES = 8,
	TTLV_ALIGNMENT = 8,
	TTLV_DEPTH_MAX = 10,   /* structures in each other; a Get of a key takes six */
	TTLV_ITEMS_MAX = 2048, /* in one message, structures too */
};

/* Section 9.1.1.2. */
typedef enum TtlvType {
	TTLV_STRUCTURE = 1,
	TTLV_INTEGER,
	TTLV_LONG_INTEGER,
	TTLV_BIG_INTEGER,
	TTLV_ENUMERATION,
	TTLV_BOOLEAN,
	TTLV_TEXT_STRING,
	TTLV_BYTE_STRING,
	TTLV_DATE_TIME,
	TTLV_INTERVAL,
	TTLV_TYPE_COUNT, /* one more than the last */
} TtlvType;

/* Section 9.1.3.1: those that requests of ours and answers to them can have. */
typedef enum TtlvTag {
	TAG_APPLICATION_NAMESPACE = 0x420003,
	TAG_ATTRIBUTE = 0x420008,
	TAG_ATTRIBUTE_INDEX = 0x420009,
	TAG_ATTRIBUTE_NAME = 0x42000a,
	TAG_ATTRIBUTE_VALUE = 0x42000b,
	TAG_AUTHENTICATION = 0x42000c,
	TAG_BATCH_COUNT = 0x42000d,
	TAG_BATCH_ITEM = 0x42000f,
	TAG_CREDENTIAL = 0x420023,
	TAG_CREDENTIAL_TYPE = 0x420024,
	TAG_CREDENTIAL_VALUE = 0x420025,
	TAG_CRYPTOGRAPHIC_ALGORITHM = 0x420028,
	TAG_CRYPTOGRAPHIC_LENGTH = 0x42002a,
	TAG_KEY_BLOCK = 0x420040,
	TAG_KEY_FORMAT_TYPE = 0x420042,
	TAG_KEY_MATERIAL = 0x420043,
	TAG_KEY_VALUE = 0x420045,
	TAG_MAXIMUM_RESPONSE_SIZE = 0x420050,
	TAG_NAME_TYPE = 0x420054,
	TAG_NAME_VALUE = 0x420055,
	TAG_OBJECT_TYPE = 0x420057,
	TAG_OPERATION = 0x42005c,
	TAG_PROTOCOL_VERSION = 0x420069,
	TAG_PROTOCOL_VERSION_MAJOR = 0x42006a,
	TAG_PROTOCOL_VERSION_MINOR = 0x42006b,
	TAG_QUERY_FUNCTION = 0x420074,
	TAG_REQUEST_HEADER = 0x420077,
	TAG_REQUEST_MESSAGE = 0x420078,
	TAG_REQUEST_PAYLOAD = 0x420079,
	TAG_RESPONSE_HEADER = 0x42007a,
	TAG_RESPONSE_MESSAGE = 0x42007b,
	TAG_RESPONSE_PAYLOAD = 0x42007c,
	TAG_RESULT_MESSAGE = 0x42007d,
	TAG_RESULT_REASON = 0x42007e,
	TAG_RESULT_STATUS = 0x42007f,
	TAG_REVOCATION_REASON = 0x420081,
	TAG_REVOCATION_REASON_CODE = 0x420082,
	TAG_SECRET_DATA = 0x420085,
	TAG_SECRET_DATA_TYPE = 0x420086,
	TAG_SERVER_INFORMATION = 0x420088,
	TAG_SYMMETRIC_KEY = 0x42008f,
	TAG_TEMPLATE_ATTRIBUTE = 0x420091,
	TAG_TIME_STAMP = 0x420092,
	TAG_UNIQUE_BATCH_ITEM_ID = 0x420093,
	TAG_UNIQUE_IDENTIFIER = 0x420094,
	TAG_USERNAME = 0x420099,
	TAG_VENDOR_IDENTIFICATION = 0x42009d,
	TAG_PASSWORD = 0x4200a1,
	TAG_ATTESTATION_TYPE = 0x4200c7,
	TAG_NONCE = 0x4200c8,
	TAG_CLIENT_CORRELATION_VALUE = 0x420105,
	TAG_SERVER_CORRELATION_VALUE = 0x420106,
} TtlvTag;

/* The specification's name of a tag; "an unknown tag" if Sealift does not know it. */
const char *ttlv_tag_name(uint32_t tag);

/* One item whose form was checked. `value` points into the message that it was read from. */
typedef struct TtlvItem {
	uint32_t tag;
	TtlvType type;
	const uint8_t *value;
	size_t size; /* bytes of the value without padding */
} TtlvItem;

/* Takes the next item off the reader with its padding: a type of the table above, the length that
 * the type demands and that is there, a boolean of 0 or 1, zeros as padding. A structure's items
 * are not looked at. ERROR_PEER. */
MUST_CHECK bool ttlv_next(Reader *reader, TtlvItem *ret_item, Error *err);

/* One item and nothing behind it, sound in every depth, tags unknown to us included: structures are
 * filled exactly, no deeper than TTLV_DEPTH_MAX, no more items than TTLV_ITEMS_MAX. ERROR_PEER. */
MUST_CHECK bool ttlv_check(const void *message, size_t size, TtlvItem *ret_item, Error *err);

typedef enum TtlvPresence {
	TTLV_REQUIRED, /* once */
	TTLV_OPTIONAL, /* at most once */
	TTLV_REPEATED, /* any number of times, one after the other */
} TtlvPresence;

/* What may stand in a structure: fields come in the order of the table (section 9.1.1). */
typedef struct TtlvField {
	TtlvTag tag;
	TtlvPresence presence;
} TtlvField;

/* Takes a checked structure apart: ret_items[i] is what field i came as, with a NULL value if it
 * was not there. For a repeated field value and size are those of the whole run of items, to be
 * read with ttlv_next. ERROR_PEER for a field that is missing, out of place, unknown or of another
 * type than its tag has. */
MUST_CHECK bool ttlv_match(const TtlvItem *structure, const TtlvField *fields, size_t count,
			   TtlvItem *ret_items, Error *err);

/* The value of an item of type integer, enumeration or interval (its bits), as ttlv_match gives it.
 */
uint32_t ttlv_u32(const TtlvItem *item);
/* Whether the item is a text string of exactly these bytes. */
bool ttlv_text_is(const TtlvItem *item, const char *text);

/*
 * The writer appends to a buffer. The first failure stays and makes all later calls do nothing, so
 * that a message is composed without a check on each line and judged once by ttlv_writer_end.
 */
typedef struct TtlvWriter {
	Buffer *buffer;
	size_t open[TTLV_DEPTH_MAX]; /* where the open structures begin */
	size_t depth;
	Error failure;
} TtlvWriter;

/* The buffer is borrowed; what is in it stays. */
TtlvWriter ttlv_writer(Buffer *buffer);
void ttlv_open(TtlvWriter *writer, TtlvTag tag);
void ttlv_close(TtlvWriter *writer);
void ttlv_put_integer(TtlvWriter *writer, TtlvTag tag, int32_t value);
void ttlv_put_enumeration(TtlvWriter *writer, TtlvTag tag, uint32_t value);
void ttlv_put_text(TtlvWriter *writer, TtlvTag tag, const char *text);
/* As a text string or byte string, as `type` says. */
void ttlv_put_bytes(TtlvWriter *writer, TtlvTag tag, TtlvType type, const void *bytes, size_t size);
/* Asserts that every structure was closed. ERROR_LIMIT, ERROR_INTERNAL of the buffer. */
MUST_CHECK bool ttlv_writer_end(TtlvWriter *writer, Error *err);

#endif
