/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "keys/kmip_message.h"
#include "keys/ttlv.h"
#include "kmip_samples.h"

/* The request of a sample, whole. */
typedef struct Question {
	KmipRequest request;
	Secret *blob, *password;
} Question;

static void question_clear(Question *question)
{
	secret_free(question->blob);
	secret_free(question->password);
}
#define AUTO_QUESTION CLEANUP(question_clear)

static Question question_of(const KmipSample *sample)
{
	Question question = { .request = sample->request };
	Error err = ERROR_INIT;

	if (sample->blob_size) {
		question.blob = secret_new(sample->blob_size, &err);
		for (size_t i = 0; i < sample->blob_size; i++)
			secret_bytes(question.blob)[i] = (uint8_t)i;
		question.request.blob = question.blob;
	}
	if (sample->password) {
		question.password =
			secret_new_from(sample->password, strlen(sample->password), &err);
		question.request.password = question.password;
	}
	return question;
}

static void test_requests_are_those_of_another_encoder(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMIP_SAMPLE_COUNT; i++) {
		AUTO_QUESTION Question question = question_of(&kmip_samples[i]);
		AUTO_BUFFER Buffer buffer = BUFFER_INIT(KMIP_REQUEST_MAX);
		char hex[2 * KMIP_SAMPLE_MAX + 1];
		Error err = ERROR_INIT;

		assert_works(kmip_encode_request(&question.request, &buffer, &err), &err);
		hex_encode(buffer.data, buffer.used, hex);
		assert_string_equal(hex, kmip_samples[i].request_hex);
	}
}

static void test_largest_request_fits(void **state)
{
	char name[LIMIT_KMIP_LABEL];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *blob = secret_new(PROVIDER_BLOB_MAX, &err);
	AUTO_SECRET Secret *password = secret_new(SECRET_MAX_BYTES, &err);
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(KMIP_REQUEST_MAX);

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';

	KmipRequest request = { .operation = KMIP_REGISTER,
				.minor = 4,
				.username = name,
				.password = password,
				.label = name,
				.blob = blob };

	assert_works(kmip_encode_request(&request, &buffer, &err), &err);
}

static void test_names_are_checked_before_they_are_sent(void **state)
{
	static const char *const bad[] = { "", "\x01", "caf\xc3\xa9", "a\nb", "\x7f" };
	char longest[LIMIT_KEY_REFERENCE + 1];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *blob = secret_new(60, &err);
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(KMIP_REQUEST_MAX);
	KmipRequest get = { .operation = KMIP_GET, .minor = 4 };
	KmipRequest put = { .operation = KMIP_REGISTER, .minor = 4, .blob = blob };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		get.reference = put.label = bad[i];
		assert_fails(kmip_encode_request(&get, &buffer, &err), ERROR_USAGE, "reference",
			     &err);
		assert_fails(kmip_encode_request(&put, &buffer, &err), ERROR_USAGE, "label", &err);
	}
	memset(longest, 'x', sizeof(longest));
	longest[LIMIT_KEY_REFERENCE] = '\0';
	get.reference = put.label = longest;
	assert_fails(kmip_encode_request(&get, &buffer, &err), ERROR_USAGE, "reference", &err);
	assert_fails(kmip_encode_request(&put, &buffer, &err), ERROR_USAGE, "label", &err);
	assert_int_equal(buffer.used, 0);
	longest[LIMIT_KEY_REFERENCE - 1] = '\0';
	assert_works(kmip_encode_request(&get, &buffer, &err), &err);
	buffer_consume(&buffer, buffer.used);
	assert_works(kmip_encode_request(&put, &buffer, &err), &err);
	get.reference = "a b"; /* a label may have spaces, a reference not */
	assert_fails(kmip_encode_request(&get, &buffer, &err), ERROR_USAGE, "reference", &err);
}

/* --- answers of PyKMIP --- */

static bool decode_sample(const char *name, KmipAnswer *answer, Error *err)
{
	const KmipSample *sample = kmip_sample(name);
	AUTO_QUESTION Question question = question_of(sample);
	uint8_t bytes[KMIP_SAMPLE_MAX];

	return kmip_decode_answer(&question.request, bytes,
				  kmip_sample_bytes(sample->answer_hex, bytes), answer, err);
}

static void check_value(const char *name, size_t size)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;

	assert_works(decode_sample(name, &answer, &err), &err);
	assert_int_equal(secret_size(answer.value), size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(secret_peek(answer.value)[i], i);
	secret_free(answer.value);
}

static void test_answers(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;

	(void)state;
	assert_works(decode_sample("discover", &answer, &err), &err);
	assert_int_equal(answer.minor, 4);
	assert_works(decode_sample("query", &answer, &err), &err);
	for (int i = 0; i < KMIP_OPERATION_COUNT; i++)
		assert_true(answer.offered[i]);
	assert_works(decode_sample("register", &answer, &err), &err);
	assert_string_equal(answer.reference, "1");
	assert_works(decode_sample("register_key", &answer, &err), &err);
	assert_string_equal(answer.reference, "2");
	assert_works(decode_sample("activate", &answer, &err), &err);
	check_value("get", 60);
	check_value("get_key", 32);
	assert_works(decode_sample("get_state", &answer, &err), &err);
	assert_int_equal(answer.state, KMIP_STATE_ACTIVE);
	assert_works(decode_sample("revoke", &answer, &err), &err);
	assert_works(decode_sample("destroy", &answer, &err), &err);
	assert_fails(decode_sample("get_missing", &answer, &err), ERROR_NOT_FOUND,
		     "refuses Get: Item Not Found (0x1): Could not locate object: 9", &err);
	assert_true(answer.refused);
}

/* An answer to one question is none to another. */
static void test_answers_do_not_fit_other_questions(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMIP_SAMPLE_COUNT; i++) {
		for (size_t j = 0; j < KMIP_SAMPLE_COUNT; j++) {
			AUTO_QUESTION Question question = question_of(&kmip_samples[i]);
			uint8_t bytes[KMIP_SAMPLE_MAX];
			KmipAnswer answer;
			Error err = ERROR_INIT;
			size_t size;

			if (i == j || !kmip_samples[j].answer_hex ||
			    kmip_samples[i].request.operation == kmip_samples[j].request.operation)
				continue;
			size = kmip_sample_bytes(kmip_samples[j].answer_hex, bytes);
			assert_fails(
				kmip_decode_answer(&question.request, bytes, size, &answer, &err),
				ERROR_PEER, "the answer to operation", &err);
			assert_false(answer.refused);
		}
	}
}

/* --- each bit of them --- */

/* Values that may be anything of their type without the answer being a lie. */
static bool is_free(const KmipRequest *request, const TtlvItem *item)
{
	switch (item->tag) {
	case TAG_TIME_STAMP:
	case TAG_KEY_MATERIAL:
	case TAG_RESULT_MESSAGE:
	case TAG_RESULT_REASON:
	case TAG_VENDOR_IDENTIFICATION:
		return true;
	case TAG_OPERATION: /* the list of Query, not the one that was asked for */
		return request->operation == KMIP_QUERY;
	case TAG_UNIQUE_IDENTIFIER:
		return request->operation == KMIP_REGISTER;
	case TAG_ATTRIBUTE_VALUE:
		return request->operation == KMIP_GET_STATE;
	case TAG_PROTOCOL_VERSION_MAJOR:
	case TAG_PROTOCOL_VERSION_MINOR: /* the list of Discover; or the version of a refusal */
		return request->operation == KMIP_DISCOVER_VERSIONS ||
		       !strcmp(request->reference ? request->reference : "", "9");
	default:
		return false;
	}
}

static void mark_free(const KmipRequest *request, const uint8_t *bytes, size_t size,
		      bool *free_bytes)
{
	Reader reader = reader_of(bytes, size);

	/* All structures are walked into, so that a flat walk over their items sees everything. */
	while (reader.left) {
		TtlvItem item;
		Reader at = reader;
		const uint8_t *header;
		Error err = ERROR_INIT;

		assert_works(ttlv_next(&at, &item, &err), &err);
		if (item.type == TTLV_STRUCTURE) {
			assert_true(reader_skip(&reader, TTLV_HEADER_BYTES, &header));
			continue;
		}
		for (size_t i = 0; is_free(request, &item) && i < item.size; i++)
			free_bytes[(size_t)(item.value - bytes) + i] = true;
		/* Text and bytes may be longer by some of their padding: zeros are as good as
		 * others. */
		if (is_free(request, &item) && item.size % TTLV_ALIGNMENT &&
		    (item.type == TTLV_TEXT_STRING || item.type == TTLV_BYTE_STRING))
			free_bytes[item.value - bytes - 1] = true;
		reader = at;
	}
}

static void flip_each_bit(const KmipSample *sample, size_t *accepted)
{
	AUTO_QUESTION Question question = question_of(sample);
	uint8_t bytes[KMIP_SAMPLE_MAX];
	bool free_bytes[KMIP_SAMPLE_MAX] = { false };
	size_t size = kmip_sample_bytes(sample->answer_hex, bytes);

	mark_free(&question.request, bytes, size, free_bytes);
	for (size_t i = 0; i < 8 * size; i++) {
		KmipAnswer answer;
		Error err = ERROR_INIT;
		bool ok;

		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		ok = kmip_decode_answer(&question.request, bytes, size, &answer, &err);
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		secret_free(answer.value);
		if ((ok || answer.refused) && !free_bytes[i / 8])
			fail_msg("%s: bit %zu of byte %zu was changed unseen", sample->name, i % 8,
				 i / 8);
		*accepted += ok || answer.refused;
	}
}

static void test_every_bit_counts(void **state)
{
	size_t accepted = 0;

	(void)state;
	for (size_t i = 0; i < KMIP_SAMPLE_COUNT; i++)
		if (kmip_samples[i].answer_hex)
			flip_each_bit(&kmip_samples[i], &accepted);
	/* Time stamps and values at least: the loop did look at sound messages. */
	assert_true(accepted > 8 * 8 * (KMIP_SAMPLE_COUNT - 1));
}

static void test_every_cut_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMIP_SAMPLE_COUNT; i++) {
		AUTO_QUESTION Question question = question_of(&kmip_samples[i]);
		uint8_t bytes[KMIP_SAMPLE_MAX + 8] = { 0 };
		size_t size;

		if (!kmip_samples[i].answer_hex)
			continue;
		size = kmip_sample_bytes(kmip_samples[i].answer_hex, bytes);
		for (size_t cut = 0; cut <= size + 8; cut++) {
			KmipAnswer answer;
			Error err = ERROR_INIT;

			if (cut == size)
				continue;
			assert_fails(
				kmip_decode_answer(&question.request, bytes, cut, &answer, &err),
				ERROR_PEER, "the key manager's answer", &err);
			assert_false(answer.refused);
		}
	}
}

/* --- lies that are well-formed --- */

typedef struct Lie {
	int32_t minor, batch_count;
	int batch_items;
	KmipOperation operation;
	uint32_t code, status;
	bool without_payload, with_id;
	uint32_t object_type, format, algorithm, secret_type;
	int32_t length;
	const char *reference;
	size_t material;
	uint32_t state;
	const char *attribute;
	const char *reason_text;
} Lie;

/* A true answer to a Get of "1", to be changed. */
static const Lie truth = {
	.minor = 4,
	.batch_count = 1,
	.batch_items = 1,
	.operation = KMIP_GET,
	.code = 0x0a,
	.object_type = 2,
	.format = 1,
	.algorithm = 3,
	.length = 256,
	.secret_type = 2,
	.reference = "1",
	.material = 32,
	.state = 2,
	.attribute = "State",
};

static void put_object(TtlvWriter *writer, const Lie *lie)
{
	static const uint8_t zeros[PROVIDER_BLOB_MAX + 1];
	bool is_key = lie->object_type == 2;

	ttlv_open(writer, is_key ? TAG_SYMMETRIC_KEY : TAG_SECRET_DATA);
	if (!is_key)
		ttlv_put_enumeration(writer, TAG_SECRET_DATA_TYPE, lie->secret_type);
	ttlv_open(writer, TAG_KEY_BLOCK);
	ttlv_put_enumeration(writer, TAG_KEY_FORMAT_TYPE, lie->format);
	ttlv_open(writer, TAG_KEY_VALUE);
	ttlv_put_bytes(writer, TAG_KEY_MATERIAL, TTLV_BYTE_STRING, zeros, lie->material);
	ttlv_close(writer);
	if (lie->algorithm)
		ttlv_put_enumeration(writer, TAG_CRYPTOGRAPHIC_ALGORITHM, lie->algorithm);
	if (lie->length)
		ttlv_put_integer(writer, TAG_CRYPTOGRAPHIC_LENGTH, lie->length);
	ttlv_close(writer);
	ttlv_close(writer);
}

static void put_payload(TtlvWriter *writer, const Lie *lie)
{
	ttlv_open(writer, TAG_RESPONSE_PAYLOAD);
	if (lie->operation == KMIP_GET)
		ttlv_put_enumeration(writer, TAG_OBJECT_TYPE, lie->object_type);
	ttlv_put_text(writer, TAG_UNIQUE_IDENTIFIER, lie->reference);
	if (lie->operation == KMIP_GET)
		put_object(writer, lie);
	if (lie->operation == KMIP_GET_STATE && lie->attribute) {
		ttlv_open(writer, TAG_ATTRIBUTE);
		ttlv_put_text(writer, TAG_ATTRIBUTE_NAME, lie->attribute);
		ttlv_put_enumeration(writer, TAG_ATTRIBUTE_VALUE, lie->state);
		ttlv_close(writer);
	}
	ttlv_close(writer);
}

static void put_item(TtlvWriter *writer, const Lie *lie)
{
	ttlv_open(writer, TAG_BATCH_ITEM);
	if (lie->code)
		ttlv_put_enumeration(writer, TAG_OPERATION, lie->code);
	if (lie->with_id)
		ttlv_put_bytes(writer, TAG_UNIQUE_BATCH_ITEM_ID, TTLV_BYTE_STRING, "x", 1);
	ttlv_put_enumeration(writer, TAG_RESULT_STATUS, lie->status);
	if (lie->reason_text) {
		ttlv_put_enumeration(writer, TAG_RESULT_REASON, 0x100);
		ttlv_put_text(writer, TAG_RESULT_MESSAGE, lie->reason_text);
	}
	if (!lie->without_payload)
		put_payload(writer, lie);
	ttlv_close(writer);
}

static bool tell(const Lie *lie, KmipAnswer *answer, Error *err)
{
	static const uint8_t no_time[8];
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(PROVIDER_ANSWER_MAX);
	TtlvWriter writer = ttlv_writer(&buffer);
	KmipRequest request = { .operation = lie->operation, .minor = 4, .reference = "1" };

	ttlv_open(&writer, TAG_RESPONSE_MESSAGE);
	ttlv_open(&writer, TAG_RESPONSE_HEADER);
	ttlv_open(&writer, TAG_PROTOCOL_VERSION);
	ttlv_put_integer(&writer, TAG_PROTOCOL_VERSION_MAJOR, 1);
	ttlv_put_integer(&writer, TAG_PROTOCOL_VERSION_MINOR, lie->minor);
	ttlv_close(&writer);
	ttlv_put_bytes(&writer, TAG_TIME_STAMP, TTLV_BYTE_STRING, no_time, sizeof(no_time));
	/* The writer knows no dates, as requests have none. */
	buffer.data[buffer.used - 16 + 3] = TTLV_DATE_TIME;
	ttlv_put_integer(&writer, TAG_BATCH_COUNT, lie->batch_count);
	ttlv_close(&writer);
	for (int i = 0; i < lie->batch_items; i++)
		put_item(&writer, lie);
	ttlv_close(&writer);
	assert_works(ttlv_writer_end(&writer, err), err);
	return kmip_decode_answer(&request, buffer.data, buffer.used, answer, err);
}

/* Changes one thing of the truth. */
#define LIE(text, ...)                                                                             \
	do {                                                                                       \
		Lie lie_ = truth;                                                                  \
		__VA_ARGS__;                                                                       \
		assert_fails(tell(&lie_, &answer, &err), ERROR_PEER, text, &err);                  \
		assert_false(answer.refused);                                                      \
		assert_null(answer.value);                                                         \
	} while (0)
#define TRUTH(...)                                                                                 \
	do {                                                                                       \
		Lie lie_ = truth;                                                                  \
		__VA_ARGS__;                                                                       \
		assert_works(tell(&lie_, &answer, &err), &err);                                    \
		secret_free(answer.value);                                                         \
	} while (0)

static void test_well_formed_lies(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;

	(void)state;
	TRUTH((void)lie_);
	LIE("KMIP 1.3", lie_.minor = 3);
	LIE("Batch Count of 2", lie_.batch_count = 2);
	LIE("out of place", lie_.batch_count = lie_.batch_items = 2);
	LIE("Batch Count of 0", lie_.batch_count = 0);
	LIE("out of place", lie_.batch_items = 2);
	LIE("no Batch Item", lie_.batch_items = 0);
	LIE("operation 0x14", lie_.code = 0x14);
	LIE("without what belongs", lie_.code = 0);
	LIE("Status 1", lie_.status = 1);
	LIE("Status 2", lie_.status = 2);
	LIE("Status 3", lie_.status = 3; lie_.reason_text = "undone");
	LIE("Status 0", lie_.without_payload = true);
	LIE("ID that was not given", lie_.with_id = true);
	LIE("another key than 1", lie_.reference = "2");
	LIE("another key than 1", lie_.reference = "11");
	LIE("another key than 1", lie_.reference = "");
}

static void test_lies_about_a_key(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;

	(void)state;
	LIE("of 31 bytes", lie_.material = 31);
	LIE("of 33 bytes", lie_.material = 33);
	LIE("of 0 bytes", lie_.material = 0);
	LIE("of 257 bytes", lie_.material = 257);
	LIE("AES-256", lie_.length = 128);
	LIE("AES-256", lie_.length = 0);
	LIE("AES-256", lie_.algorithm = 2);
	LIE("AES-256", lie_.algorithm = 0);
	LIE("format 2", lie_.format = 2);
	LIE("format 7", lie_.format = 7);
	LIE("type 8", lie_.object_type = 8);
	TRUTH(lie_.object_type = 7; lie_.format = 2; lie_.material = 256; lie_.length = 0;
	      lie_.algorithm = 0);
	TRUTH(lie_.object_type = 7; lie_.material = 1);
	LIE("of 0 bytes", lie_.object_type = 7; lie_.material = 0);
	LIE("of 257 bytes", lie_.object_type = 7; lie_.material = 257);
	LIE("secret data of the type 1", lie_.object_type = 7; lie_.secret_type = 1);
	LIE("format 7", lie_.object_type = 7; lie_.format = 7);
}

static void test_lies_about_a_state(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;

	(void)state;
	for (uint32_t i = 1; i < KMIP_STATE_COUNT; i++)
		TRUTH(lie_.operation = KMIP_GET_STATE; lie_.code = 0x0b; lie_.state = i);
	TRUTH(lie_.operation = KMIP_GET_STATE; lie_.code = 0x0b; lie_.attribute = NULL);
	assert_int_equal(answer.state, KMIP_STATE_NONE);
	LIE("unknown State 0", lie_.operation = KMIP_GET_STATE; lie_.code = 0x0b; lie_.state = 0);
	LIE("unknown State 7", lie_.operation = KMIP_GET_STATE; lie_.code = 0x0b; lie_.state = 7);
	LIE("another attribute", lie_.operation = KMIP_GET_STATE; lie_.code = 0x0b;
	    lie_.attribute = "Name");
}

static void test_lies_about_a_new_reference(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;
	char longest[LIMIT_KEY_REFERENCE + 1];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[LIMIT_KEY_REFERENCE] = '\0';
	LIE("printable", lie_.operation = KMIP_REGISTER; lie_.code = 3; lie_.reference = longest);
	LIE("printable", lie_.operation = KMIP_REGISTER; lie_.code = 3; lie_.reference = "");
	LIE("printable", lie_.operation = KMIP_REGISTER; lie_.code = 3; lie_.reference = "a b");
	LIE("printable", lie_.operation = KMIP_REGISTER; lie_.code = 3; lie_.reference = "a\x1b");
	longest[LIMIT_KEY_REFERENCE - 1] = '\0';
	TRUTH(lie_.operation = KMIP_REGISTER; lie_.code = 3; lie_.reference = longest);
	assert_string_equal(answer.reference, longest);
}

static void test_a_refusal_is_bounded_and_escaped(void **state)
{
	KmipAnswer answer;
	Error err = ERROR_INIT;
	char text[5000];
	Lie lie = truth;

	(void)state;
	memset(text, '\n', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	lie.status = 1;
	lie.reason_text = text;
	lie.without_payload = true;
	assert_fails(tell(&lie, &answer, &err), ERROR_PEER, "General Failure (0x100): \\x0a", &err);
	assert_true(answer.refused);
	assert_null(strchr(err.text, '\n'));
	/* A server that could not read the version answers in another one. */
	lie.minor = 0;
	lie.code = 0;
	assert_fails(tell(&lie, &answer, &err), ERROR_PEER, "General Failure", &err);
	assert_true(answer.refused);
}

static void test_size_of_an_answer(void **state)
{
	static const struct {
		const char *hex;
		size_t size; /* 0: refused */
	} cases[] = {
		{ "42007b0100000000", 8 }, { "42007b010000fff8", 65536 },
		{ "42007b010000fff9", 0 }, { "42007b0100010000", 0 },
		{ "42007b01ffffffff", 0 }, { "4200780100000000", 0 }, /* a request */
		{ "42007b0200000000", 0 }, { "1503030002022800", 0 }, /* a TLS alert */
		{ "485454502f312e31", 0 },			      /* HTTP/1.1 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[KMIP_SAMPLE_MAX];
		size_t size = 0;
		Error err = ERROR_INIT;

		kmip_sample_bytes(cases[i].hex, bytes);
		assert_int_equal(kmip_decode_size(bytes, &size, &err), cases[i].size != 0);
		assert_int_equal(size, cases[i].size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_are_those_of_another_encoder),
		cmocka_unit_test(test_largest_request_fits),
		cmocka_unit_test(test_names_are_checked_before_they_are_sent),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_answers_do_not_fit_other_questions),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_well_formed_lies),
		cmocka_unit_test(test_lies_about_a_key),
		cmocka_unit_test(test_lies_about_a_state),
		cmocka_unit_test(test_lies_about_a_new_reference),
		cmocka_unit_test(test_a_refusal_is_bounded_and_escaped),
		cmocka_unit_test(test_size_of_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
