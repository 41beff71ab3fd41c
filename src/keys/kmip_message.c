/* SPDX-License-Identifier: Apache-2.0 */
/* What we say. What we hear is in kmip_answer.c. */
#include "keys/kmip_message.h"

#include <assert.h>
#include <string.h>

#include "keys/kmip_codes.h"

/* --- payloads, one an operation --- */

static void put_reference(TtlvWriter *writer, const KmipRequest *request)
{
	ttlv_put_text(writer, TAG_UNIQUE_IDENTIFIER, request->reference);
}

static void put_version(TtlvWriter *writer, uint32_t minor)
{
	ttlv_open(writer, TAG_PROTOCOL_VERSION);
	ttlv_put_integer(writer, TAG_PROTOCOL_VERSION_MAJOR, KMIP_MAJOR);
	ttlv_put_integer(writer, TAG_PROTOCOL_VERSION_MINOR, (int32_t)minor);
	ttlv_close(writer);
}

/* Best first (section 4.26). */
static void put_discover(TtlvWriter *writer, const KmipRequest *request)
{
	(void)request;
	for (uint32_t minor = KMIP_MINOR_MAX; minor >= KMIP_MINOR_MIN; minor--)
		put_version(writer, minor);
}

static void put_query(TtlvWriter *writer, const KmipRequest *request)
{
	(void)request;
	ttlv_put_enumeration(writer, TAG_QUERY_FUNCTION, KMIP_QUERY_OPERATIONS);
}

static void put_name(TtlvWriter *writer, const char *label)
{
	ttlv_open(writer, TAG_ATTRIBUTE);
	ttlv_put_text(writer, TAG_ATTRIBUTE_NAME, "Name");
	ttlv_open(writer, TAG_ATTRIBUTE_VALUE);
	ttlv_put_text(writer, TAG_NAME_VALUE, label);
	ttlv_put_enumeration(writer, TAG_NAME_TYPE, KMIP_NAME_TEXT);
	ttlv_close(writer);
	ttlv_close(writer);
}

/* Some servers refuse a Register without it, which section 4.3 allows them, also where nothing is
 * to be done with the object but to give it back. */
static void put_usage_mask(TtlvWriter *writer, int32_t mask)
{
	ttlv_open(writer, TAG_ATTRIBUTE);
	ttlv_put_text(writer, TAG_ATTRIBUTE_NAME, "Cryptographic Usage Mask");
	ttlv_put_integer(writer, TAG_ATTRIBUTE_VALUE, mask);
	ttlv_close(writer);
}

static void put_key_block(TtlvWriter *writer, const Secret *blob, bool is_key)
{
	ttlv_open(writer, TAG_KEY_BLOCK);
	ttlv_put_enumeration(writer, TAG_KEY_FORMAT_TYPE,
			     is_key ? KMIP_FORMAT_RAW : KMIP_FORMAT_OPAQUE);
	ttlv_open(writer, TAG_KEY_VALUE);
	ttlv_put_bytes(writer, TAG_KEY_MATERIAL, TTLV_BYTE_STRING, secret_peek(blob),
		       secret_size(blob));
	ttlv_close(writer);
	if (is_key) {
		ttlv_put_enumeration(writer, TAG_CRYPTOGRAPHIC_ALGORITHM, KMIP_ALGORITHM_AES);
		ttlv_put_integer(writer, TAG_CRYPTOGRAPHIC_LENGTH, 8 * KEY_BYTES);
	}
	ttlv_close(writer);
}

static void put_register(TtlvWriter *writer, const KmipRequest *request)
{
	bool is_key = secret_size(request->blob) == KEY_BYTES;

	ttlv_put_enumeration(writer, TAG_OBJECT_TYPE,
			     is_key ? KMIP_OBJECT_SYMMETRIC_KEY : KMIP_OBJECT_SECRET_DATA);
	ttlv_open(writer, TAG_TEMPLATE_ATTRIBUTE);
	put_name(writer, request->label);
	put_usage_mask(writer, is_key ? KMIP_MASK_ENCRYPT | KMIP_MASK_DECRYPT : 0);
	ttlv_close(writer);
	ttlv_open(writer, is_key ? TAG_SYMMETRIC_KEY : TAG_SECRET_DATA);
	if (!is_key)
		ttlv_put_enumeration(writer, TAG_SECRET_DATA_TYPE, KMIP_SECRET_SEED);
	put_key_block(writer, request->blob, is_key);
	ttlv_close(writer);
}

static void put_get_state(TtlvWriter *writer, const KmipRequest *request)
{
	put_reference(writer, request);
	ttlv_put_text(writer, TAG_ATTRIBUTE_NAME, "State");
}

static void put_revoke(TtlvWriter *writer, const KmipRequest *request)
{
	put_reference(writer, request);
	ttlv_open(writer, TAG_REVOCATION_REASON);
	ttlv_put_enumeration(writer, TAG_REVOCATION_REASON_CODE, KMIP_CESSATION_OF_OPERATION);
	ttlv_close(writer);
}

typedef struct OperationRow {
	const char *name;
	uint32_t code; /* section 9.1.3.2.27 */
	bool wants_reference;
	void (*put)(TtlvWriter *writer, const KmipRequest *request);
} OperationRow;

static const OperationRow operations[] = {
	[KMIP_DISCOVER_VERSIONS] = { "Discover Versions", 0x1e, false, put_discover },
	[KMIP_QUERY] = { "Query", 0x18, false, put_query },
	[KMIP_REGISTER] = { "Register", 0x03, false, put_register },
	[KMIP_ACTIVATE] = { "Activate", 0x12, true, put_reference },
	[KMIP_GET] = { "Get", 0x0a, true, put_reference },
	[KMIP_GET_STATE] = { "Get Attributes", 0x0b, true, put_get_state },
	[KMIP_REVOKE] = { "Revoke", 0x13, true, put_revoke },
	[KMIP_DESTROY] = { "Destroy", 0x14, true, put_reference },
};
_Static_assert(ARRAY_SIZE(operations) == KMIP_OPERATION_COUNT, "a row for each operation");

const char *kmip_operation_name(KmipOperation operation)
{
	return operations[operation].name;
}

uint32_t kmip_operation_code(KmipOperation operation)
{
	return operations[operation].code;
}

/* --- the message --- */

bool kmip_is_printable(const void *text, size_t size, uint8_t first)
{
	const uint8_t *bytes = text;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] < first || bytes[i] > '~')
			return false;
	return size > 0;
}

static bool check_text(const char *what, const char *text, size_t limit, uint8_t first, Error *err)
{
	size_t size = strnlen(text, limit);

	if (size == limit || !kmip_is_printable(text, size, first))
		return error_set(err, ERROR_USAGE,
				 "%s of a key is not 1 to %zu printable characters", what,
				 limit - 1);
	return true;
}

static bool check_request(const KmipRequest *request, Error *err)
{
	if (operations[request->operation].wants_reference)
		return check_text("the reference", request->reference, LIMIT_KEY_REFERENCE, '!',
				  err);
	if (request->operation == KMIP_REGISTER)
		return check_text("the label", request->label, LIMIT_KMIP_LABEL, ' ', err);
	return true;
}

static void put_authentication(TtlvWriter *writer, const KmipRequest *request)
{
	ttlv_open(writer, TAG_AUTHENTICATION);
	ttlv_open(writer, TAG_CREDENTIAL);
	ttlv_put_enumeration(writer, TAG_CREDENTIAL_TYPE, KMIP_CREDENTIAL_PASSWORD);
	ttlv_open(writer, TAG_CREDENTIAL_VALUE);
	ttlv_put_text(writer, TAG_USERNAME, request->username);
	if (request->password)
		ttlv_put_bytes(writer, TAG_PASSWORD, TTLV_TEXT_STRING,
			       secret_peek(request->password), secret_size(request->password));
	ttlv_close(writer);
	ttlv_close(writer);
	ttlv_close(writer);
}

/* No time stamp: a server may refuse one whose clock is another's, and TLS keeps replays out. */
static void put_header(TtlvWriter *writer, const KmipRequest *request)
{
	ttlv_open(writer, TAG_REQUEST_HEADER);
	put_version(writer, request->minor);
	ttlv_put_integer(writer, TAG_MAXIMUM_RESPONSE_SIZE, PROVIDER_ANSWER_MAX);
	if (request->username)
		put_authentication(writer, request);
	ttlv_put_integer(writer, TAG_BATCH_COUNT, 1);
	ttlv_close(writer);
}

bool kmip_encode_request(const KmipRequest *request, Buffer *out, Error *err)
{
	const OperationRow *row;
	TtlvWriter writer = ttlv_writer(out);

	assert(request->operation < KMIP_OPERATION_COUNT);
	row = &operations[request->operation];
	if (!check_request(request, err))
		return false;
	ttlv_open(&writer, TAG_REQUEST_MESSAGE);
	put_header(&writer, request);
	ttlv_open(&writer, TAG_BATCH_ITEM);
	ttlv_put_enumeration(&writer, TAG_OPERATION, row->code);
	ttlv_open(&writer, TAG_REQUEST_PAYLOAD);
	row->put(&writer, request);
	ttlv_close(&writer);
	ttlv_close(&writer);
	ttlv_close(&writer);
	return ttlv_writer_end(&writer, err);
}
