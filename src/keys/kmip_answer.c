/* SPDX-License-Identifier: Apache-2.0 */
/* What a KMIP server says: decoded, and judged against what it was asked. */
#include <assert.h>
#include <string.h>

#include "keys/kmip_codes.h"

static const char *const state_names[] = {
	[KMIP_STATE_NONE] = "none",
	[KMIP_STATE_PRE_ACTIVE] = "Pre-Active",
	[KMIP_STATE_ACTIVE] = "Active",
	[KMIP_STATE_DEACTIVATED] = "Deactivated",
	[KMIP_STATE_COMPROMISED] = "Compromised",
	[KMIP_STATE_DESTROYED] = "Destroyed",
	[KMIP_STATE_DESTROYED_COMPROMISED] = "Destroyed Compromised",
};
_Static_assert(ARRAY_SIZE(state_names) == KMIP_STATE_COUNT, "a name for each state");

const char *kmip_state_name(KmipState state)
{
	return state_names[state];
}

bool kmip_decode_size(const void *header, size_t *ret_size, Error *err)
{
	const uint8_t *bytes = header;
	size_t size = load_be32(bytes + 4);

	if (load_be32(bytes) != ((uint32_t)TAG_RESPONSE_MESSAGE << 8 | TTLV_STRUCTURE))
		return error_set(err, ERROR_PEER, "the key manager's answer is no KMIP response");
	if (size > PROVIDER_ANSWER_MAX - TTLV_HEADER_BYTES)
		return error_set(err, ERROR_PEER,
				 "the key manager's answer has %zu bytes, %d are the limit", size,
				 PROVIDER_ANSWER_MAX - TTLV_HEADER_BYTES);
	*ret_size = size + TTLV_HEADER_BYTES;
	return true;
}

/* --- payloads --- */

static bool check_reference(const KmipRequest *request, const TtlvItem *item, Error *err)
{
	if (!ttlv_text_is(item, request->reference))
		return error_set(err, ERROR_PEER, "the answer is about another key than %s",
				 request->reference);
	return true;
}

/* Activate, Revoke, Destroy. */
static bool take_reference(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
			   Error *err)
{
	static const TtlvField fields[] = { { TAG_UNIQUE_IDENTIFIER, TTLV_REQUIRED } };
	TtlvItem items[ARRAY_SIZE(fields)];

	(void)answer;
	return ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err) &&
	       check_reference(request, &items[0], err);
}

static bool take_register(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
			  Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_UNIQUE_IDENTIFIER, TTLV_REQUIRED },
		{ TAG_TEMPLATE_ATTRIBUTE, TTLV_OPTIONAL }, /* what the server set by itself */
	};
	TtlvItem items[ARRAY_SIZE(fields)];
	const TtlvItem *id = &items[0];

	(void)request;
	if (!ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err))
		return false;
	if (id->size >= sizeof(answer->reference) || !kmip_is_printable(id->value, id->size, '!'))
		return error_set(err, ERROR_PEER,
				 "a Unique Identifier that is not 1 to %zu printable characters",
				 sizeof(answer->reference) - 1);
	memcpy(answer->reference, id->value, id->size);
	return true;
}

static bool read_version(const TtlvItem *item, uint32_t *ret_major, uint32_t *ret_minor, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_PROTOCOL_VERSION_MAJOR, TTLV_REQUIRED },
		{ TAG_PROTOCOL_VERSION_MINOR, TTLV_REQUIRED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	if (!ttlv_match(item, fields, ARRAY_SIZE(fields), items, err))
		return false;
	*ret_major = ttlv_u32(&items[0]);
	*ret_minor = ttlv_u32(&items[1]);
	return true;
}

static bool take_discover(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
			  Error *err)
{
	static const TtlvField fields[] = { { TAG_PROTOCOL_VERSION, TTLV_REPEATED } };
	TtlvItem items[ARRAY_SIZE(fields)];

	(void)request;
	if (!ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err))
		return false;
	for (Reader at = reader_of(items[0].value, items[0].size); at.left;) {
		TtlvItem item;
		uint32_t major, minor;

		if (!ttlv_next(&at, &item, err) || !read_version(&item, &major, &minor, err))
			return false;
		if (major == KMIP_MAJOR && minor >= KMIP_MINOR_MIN && minor <= KMIP_MINOR_MAX &&
		    minor > answer->minor)
			answer->minor = minor;
	}
	return true;
}

static bool take_query(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
		       Error *err)
{
	/* Only the first was asked for; some servers introduce themselves all the same. */
	static const TtlvField fields[] = {
		{ TAG_OPERATION, TTLV_REPEATED },
		{ TAG_OBJECT_TYPE, TTLV_REPEATED },
		{ TAG_VENDOR_IDENTIFICATION, TTLV_OPTIONAL },
		{ TAG_SERVER_INFORMATION, TTLV_OPTIONAL },
		{ TAG_APPLICATION_NAMESPACE, TTLV_REPEATED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	(void)request;
	if (!ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err))
		return false;
	for (Reader at = reader_of(items[0].value, items[0].size); at.left;) {
		TtlvItem item;

		if (!ttlv_next(&at, &item, err))
			return false;
		for (int i = 0; i < KMIP_OPERATION_COUNT; i++)
			if (kmip_operation_code((KmipOperation)i) == ttlv_u32(&item))
				answer->offered[i] = true;
	}
	return true;
}

static bool take_state_attribute(const TtlvItem *attribute, KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_ATTRIBUTE_NAME, TTLV_REQUIRED },
		{ TAG_ATTRIBUTE_INDEX, TTLV_OPTIONAL },
		{ TAG_ATTRIBUTE_VALUE, TTLV_REQUIRED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];
	uint32_t state;

	if (!ttlv_match(attribute, fields, ARRAY_SIZE(fields), items, err))
		return false;
	if (!ttlv_text_is(&items[0], "State") || items[2].type != TTLV_ENUMERATION)
		return error_set(err, ERROR_PEER, "another attribute than State");
	state = ttlv_u32(&items[2]);
	if (state == KMIP_STATE_NONE || state >= KMIP_STATE_COUNT)
		return error_set(err, ERROR_PEER, "an unknown State %u", state);
	answer->state = (KmipState)state;
	return true;
}

static bool take_state(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
		       Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_UNIQUE_IDENTIFIER, TTLV_REQUIRED },
		{ TAG_ATTRIBUTE, TTLV_OPTIONAL },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	if (!ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err) ||
	    !check_reference(request, &items[0], err))
		return false;
	return !items[1].value || take_state_attribute(&items[1], answer, err);
}

static bool take_key_value(const TtlvItem *key_value, KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_KEY_MATERIAL, TTLV_REQUIRED },
		{ TAG_ATTRIBUTE, TTLV_REPEATED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	if (!ttlv_match(key_value, fields, ARRAY_SIZE(fields), items, err))
		return false;
	if (!items[0].size || items[0].size > PROVIDER_BLOB_MAX)
		return error_set(err, ERROR_PEER, "a key of %zu bytes, 1 to %d are allowed",
				 items[0].size, PROVIDER_BLOB_MAX);
	answer->value = secret_new_from(items[0].value, items[0].size, err);
	return answer->value != NULL;
}

/* A compressed or wrapped key is not asked for, and so out of place. */
static bool take_key_block(const TtlvItem *block, bool is_key, KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_KEY_FORMAT_TYPE, TTLV_REQUIRED },
		{ TAG_KEY_VALUE, TTLV_REQUIRED },
		{ TAG_CRYPTOGRAPHIC_ALGORITHM, TTLV_OPTIONAL },
		{ TAG_CRYPTOGRAPHIC_LENGTH, TTLV_OPTIONAL },
	};
	TtlvItem items[ARRAY_SIZE(fields)];
	uint32_t format;

	if (!ttlv_match(block, fields, ARRAY_SIZE(fields), items, err))
		return false;
	format = ttlv_u32(&items[0]);
	if (format != KMIP_FORMAT_RAW && (is_key || format != KMIP_FORMAT_OPAQUE))
		return error_set(err, ERROR_PEER, "a key of the format %u", format);
	if (is_key && (!items[2].value || ttlv_u32(&items[2]) != KMIP_ALGORITHM_AES ||
		       !items[3].value || ttlv_u32(&items[3]) != 8 * KEY_BYTES))
		return error_set(err, ERROR_PEER, "a key that is not one of AES-256");
	if (!take_key_value(&items[1], answer, err))
		return false;
	if (is_key && secret_size(answer->value) != KEY_BYTES)
		return error_set(err, ERROR_PEER, "a key of %zu bytes that says it is AES-256",
				 secret_size(answer->value));
	return true;
}

static bool take_symmetric_key(const TtlvItem *key, KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = { { TAG_KEY_BLOCK, TTLV_REQUIRED } };
	TtlvItem items[ARRAY_SIZE(fields)];

	return ttlv_match(key, fields, ARRAY_SIZE(fields), items, err) &&
	       take_key_block(&items[0], true, answer, err);
}

static bool take_secret_data(const TtlvItem *data, KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_SECRET_DATA_TYPE, TTLV_REQUIRED },
		{ TAG_KEY_BLOCK, TTLV_REQUIRED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	if (!ttlv_match(data, fields, ARRAY_SIZE(fields), items, err))
		return false;
	if (ttlv_u32(&items[0]) != KMIP_SECRET_SEED)
		return error_set(err, ERROR_PEER, "secret data of the type %u",
				 ttlv_u32(&items[0]));
	return take_key_block(&items[1], false, answer, err);
}

static bool take_get(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
		     Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_OBJECT_TYPE, TTLV_REQUIRED },
		{ TAG_UNIQUE_IDENTIFIER, TTLV_REQUIRED },
		{ TAG_SECRET_DATA, TTLV_OPTIONAL },
		{ TAG_SYMMETRIC_KEY, TTLV_OPTIONAL },
	};
	TtlvItem items[ARRAY_SIZE(fields)];
	uint32_t type;

	if (!ttlv_match(payload, fields, ARRAY_SIZE(fields), items, err) ||
	    !check_reference(request, &items[1], err))
		return false;
	type = ttlv_u32(&items[0]);
	if (type == KMIP_OBJECT_SECRET_DATA && items[2].value && !items[3].value)
		return take_secret_data(&items[2], answer, err);
	if (type == KMIP_OBJECT_SYMMETRIC_KEY && items[3].value && !items[2].value)
		return take_symmetric_key(&items[3], answer, err);
	return error_set(err, ERROR_PEER, "an object of the type %u, which is no key of ours",
			 type);
}

typedef bool (*Take)(const KmipRequest *request, const TtlvItem *payload, KmipAnswer *answer,
		     Error *err);

static const Take takes[] = {
	[KMIP_DISCOVER_VERSIONS] = take_discover,
	[KMIP_QUERY] = take_query,
	[KMIP_REGISTER] = take_register,
	[KMIP_ACTIVATE] = take_reference,
	[KMIP_GET] = take_get,
	[KMIP_GET_STATE] = take_state,
	[KMIP_REVOKE] = take_reference,
	[KMIP_DESTROY] = take_reference,
};
_Static_assert(ARRAY_SIZE(takes) == KMIP_OPERATION_COUNT, "a decoder for each operation");

/* --- refusals --- */

typedef struct ReasonRow {
	uint32_t code; /* section 9.1.3.2.29 */
	const char *name;
	ErrorCategory category;
} ReasonRow;

static const ReasonRow reasons[] = {
	{ 0x01, "Item Not Found", ERROR_NOT_FOUND },
	{ 0x02, "Response Too Large", ERROR_LIMIT },
	{ 0x03, "Authentication Not Successful", ERROR_AUTH },
	{ 0x04, "Invalid Message", ERROR_PEER },
	{ 0x05, "Operation Not Supported", ERROR_PEER },
	{ 0x06, "Missing Data", ERROR_PEER },
	{ 0x07, "Invalid Field", ERROR_PEER },
	{ 0x08, "Feature Not Supported", ERROR_PEER },
	{ 0x0a, "Cryptographic Failure", ERROR_PEER },
	{ 0x0b, "Illegal Operation", ERROR_CONFLICT },
	{ 0x0c, "Permission Denied", ERROR_DENIED },
	{ 0x0d, "Object Archived", ERROR_CONFLICT },
	{ 0x10, "Key Format Type Not Supported", ERROR_PEER },
	{ 0x13, "Key Value Not Present", ERROR_PEER },
	{ 0x14, "Attestation Required", ERROR_DENIED },
	{ 0x15, "Attestation Failed", ERROR_DENIED },
	{ 0x16, "Sensitive", ERROR_DENIED },
	{ 0x17, "Not Extractable", ERROR_DENIED },
	{ 0x18, "Object Already Exists", ERROR_CONFLICT },
	{ 0x100, "General Failure", ERROR_PEER },
};

enum { REFUSAL_TEXT_MAX = 200 }; /* of the server's words; what is escaped in them takes more */

static bool refuse(const KmipRequest *request, const TtlvItem *reason, const TtlvItem *message,
		   Error *err)
{
	static const ReasonRow unknown = { 0, "an unknown reason", ERROR_PEER };
	const ReasonRow *row = &unknown;
	const char *text = message->value ? (const char *)message->value : "";
	int size = message->size > REFUSAL_TEXT_MAX ? REFUSAL_TEXT_MAX : (int)message->size;

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].code == ttlv_u32(reason))
			row = &reasons[i];
	return error_set(err, row->category, "the key manager refuses %s: %s (0x%x): %.*s",
			 kmip_operation_name(request->operation), row->name, ttlv_u32(reason), size,
			 text);
}

/* --- the message --- */

enum {
	STATUS_SUCCESS,
	STATUS_FAILED
}; /* section 9.1.3.2.28; pending and undone: never asked for */

typedef enum ItemField {
	ITEM_OPERATION,
	ITEM_ID,
	ITEM_STATUS,
	ITEM_REASON,
	ITEM_MESSAGE,
	ITEM_PAYLOAD,
	ITEM_FIELD_COUNT,
} ItemField;

static bool take_item(const KmipRequest *request, const TtlvItem *batch_item, KmipAnswer *answer,
		      Error *err)
{
	static const TtlvField fields[ITEM_FIELD_COUNT] = {
		/* A server that could not read the request does not repeat the operation. */
		[ITEM_OPERATION] = { TAG_OPERATION, TTLV_OPTIONAL },
		[ITEM_ID] = { TAG_UNIQUE_BATCH_ITEM_ID, TTLV_OPTIONAL },
		[ITEM_STATUS] = { TAG_RESULT_STATUS, TTLV_REQUIRED },
		[ITEM_REASON] = { TAG_RESULT_REASON, TTLV_OPTIONAL },
		[ITEM_MESSAGE] = { TAG_RESULT_MESSAGE, TTLV_OPTIONAL },
		[ITEM_PAYLOAD] = { TAG_RESPONSE_PAYLOAD, TTLV_OPTIONAL },
	};
	TtlvItem items[ITEM_FIELD_COUNT];
	const TtlvItem *operation = &items[ITEM_OPERATION];
	uint32_t status;

	if (!ttlv_match(batch_item, fields, ITEM_FIELD_COUNT, items, err))
		return false;
	status = ttlv_u32(&items[ITEM_STATUS]);
	if (items[ITEM_ID].value)
		return error_set(err, ERROR_PEER, "a batch item's ID that was not given");
	if (operation->value && ttlv_u32(operation) != kmip_operation_code(request->operation))
		return error_set(err, ERROR_PEER, "the answer to operation 0x%x",
				 ttlv_u32(operation));
	if (status == STATUS_FAILED && items[ITEM_REASON].value) {
		answer->refused = true;
		return refuse(request, &items[ITEM_REASON], &items[ITEM_MESSAGE], err);
	}
	if (status != STATUS_SUCCESS || !operation->value || !items[ITEM_PAYLOAD].value)
		return error_set(err, ERROR_PEER, "a Result Status %u without what belongs to it",
				 status);
	return takes[request->operation](request, &items[ITEM_PAYLOAD], answer, err);
}

static bool check_header(const TtlvItem *header, uint32_t *ret_major, uint32_t *ret_minor,
			 Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_PROTOCOL_VERSION, TTLV_REQUIRED },
		{ TAG_TIME_STAMP, TTLV_REQUIRED },
		{ TAG_NONCE, TTLV_OPTIONAL },
		{ TAG_ATTESTATION_TYPE, TTLV_REPEATED },
		{ TAG_CLIENT_CORRELATION_VALUE, TTLV_OPTIONAL },
		{ TAG_SERVER_CORRELATION_VALUE, TTLV_OPTIONAL },
		{ TAG_BATCH_COUNT, TTLV_REQUIRED },
	};
	TtlvItem items[ARRAY_SIZE(fields)];

	if (!ttlv_match(header, fields, ARRAY_SIZE(fields), items, err))
		return false;
	if (ttlv_u32(&items[ARRAY_SIZE(fields) - 1]) != 1)
		return error_set(err, ERROR_PEER, "a Batch Count of %u for one request",
				 ttlv_u32(&items[ARRAY_SIZE(fields) - 1]));
	return read_version(&items[0], ret_major, ret_minor, err);
}

static bool take_message(const KmipRequest *request, const void *message, size_t size,
			 KmipAnswer *answer, Error *err)
{
	static const TtlvField fields[] = {
		{ TAG_RESPONSE_HEADER, TTLV_REQUIRED },
		{ TAG_BATCH_ITEM, TTLV_REQUIRED },
	};
	TtlvItem top, items[ARRAY_SIZE(fields)];
	uint32_t major = 0, minor = 0;
	bool ok;

	if (!ttlv_check(message, size, &top, err))
		return false;
	if (top.tag != TAG_RESPONSE_MESSAGE)
		return error_set(err, ERROR_PEER, "%s is no response", ttlv_tag_name(top.tag));
	if (!ttlv_match(&top, fields, ARRAY_SIZE(fields), items, err) ||
	    !check_header(&items[0], &major, &minor, err))
		return false;
	ok = take_item(request, &items[1], answer, err);
	/* Who refuses because it does not know the version cannot speak it. */
	if (ok && (major != KMIP_MAJOR || minor != request->minor))
		return error_set(err, ERROR_PEER, "an answer in KMIP %u.%u to a request in %d.%u",
				 major, minor, KMIP_MAJOR, request->minor);
	return ok;
}

bool kmip_decode_answer(const KmipRequest *request, const void *message, size_t size,
			KmipAnswer *ret_answer, Error *err)
{
	KmipAnswer answer = { 0 };

	if (take_message(request, message, size, &answer, err)) {
		*ret_answer = answer;
		return true;
	}
	secret_free(answer.value);
	*ret_answer = (KmipAnswer){ .refused = answer.refused };
	return answer.refused ? false
			      : error_prefix(err, "the key manager's answer to %s",
					     kmip_operation_name(request->operation));
}
