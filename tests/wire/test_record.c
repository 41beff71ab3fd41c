/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "tests/wire/vectors.h"
#include "wire/keys.h"
#include "wire/record.h"

/* Both ends of one direction, with the keys of the test vectors. */
typedef struct Fixture {
	const AeadProvider *provider;
	RecordOptions options;
	RecordSealer *sealer;
	RecordOpener *opener;
	uint8_t *buffer; /* RECORD_BUFFER_SIZE */
	size_t size;	 /* of what was sealed last */
	RecordView view;
	Error err;
} Fixture;

typedef void (*Body)(Fixture *f);

static void open_fixture(Fixture *f)
{
	f->sealer = record_sealer_new(f->provider, vector_secret("to_destination_secret"),
				      &f->options, &f->err);
	f->opener = record_opener_new(f->provider, vector_secret("to_destination_secret"),
				      &f->options, &f->err);
	f->buffer = malloc(RECORD_BUFFER_SIZE);
	assert_true(f->sealer && f->opener && f->buffer);
}

static void close_fixture(Fixture *f)
{
	record_sealer_free(f->sealer);
	record_opener_free(f->opener);
	free(f->buffer);
}

static void run_with(Body body, RecordLimits limits, size_t padding)
{
	static const char *const names[] = { "openssl", "ipsec-mb" };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(names); i++) {
		Fixture f = { .provider = aead_provider_by_name(names[i / 2]),
			      .options = {
				      .sealed = i % 2, .padding = padding, .limits = limits } };

		if (!f.provider)
			continue;
		open_fixture(&f);
		body(&f);
		close_fixture(&f);
	}
}

static void run(Body body)
{
	run_with(body, record_limits_default, 0);
}

static void seal_ping(Fixture *f)
{
	assert_works(record_seal_ping(f->sealer, f->buffer, &f->size, &f->err), &f->err);
}

static void seal_text(Fixture *f, const char *text)
{
	memcpy(f->buffer + RECORD_HEADER_SIZE, text, strlen(text));
	assert_works(record_seal_data(f->sealer, f->buffer, strlen(text), &f->size, &f->err),
		     &f->err);
}

static void seal_end(Fixture *f)
{
	assert_works(record_seal_end(f->sealer, f->buffer, &f->size, &f->err), &f->err);
}

static bool open_at(Fixture *f, uint8_t *bytes)
{
	size_t rest;

	return record_check_header(bytes, &rest, &f->err) &&
	       record_open(f->opener, bytes, rest, &f->view, &f->err);
}

static void assert_opens(Fixture *f, RecordType type)
{
	assert_works(open_at(f, f->buffer), &f->err);
	assert_int_equal(f->view.type, type);
}

static void begin(Fixture *f)
{
	seal_ping(f);
	assert_int_equal(f->size, RECORD_PING_SIZE);
	assert_opens(f, RECORD_PING);
}

static void assert_vector(const Fixture *f, const char *what, const uint8_t *bytes, size_t size)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", f->options.sealed ? "sealed" : "readable", what);
	vector_assert(name, bytes, size);
}

static void body_vectors(Fixture *f)
{
	seal_ping(f);
	assert_vector(f, "ping", f->buffer, f->size);
	seal_text(f, "Sealift");
	/* The key's bound of two records is reached: the update stands behind. */
	assert_vector(f, "data", f->buffer, f->size - RECORD_OVERHEAD);
	assert_vector(f, "update", f->buffer + f->size - RECORD_OVERHEAD, RECORD_OVERHEAD);
	seal_end(f);
	assert_vector(f, "end_after_update", f->buffer, f->size);
}

static void body_padded_vector(Fixture *f)
{
	seal_ping(f);
	seal_text(f, "Sealift");
	assert_vector(f, "padded_data", f->buffer, f->size);
}

static void body_opens_vectors(Fixture *f)
{
	static const struct {
		const char *what;
		RecordType type;
		size_t size;
	} rows[] = {
		{ "ping", RECORD_PING, 0 },
		{ "padded_data", RECORD_DATA, 7 },
		{ "update", RECORD_UPDATE, 0 },
		{ "end_after_update", RECORD_END, RECORD_END_CONTENT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char name[64];
		Vector vector;

		snprintf(name, sizeof(name), "%s_%s", f->options.sealed ? "sealed" : "readable",
			 rows[i].what);
		vector = vector_read(name);
		memcpy(f->buffer, vector.bytes, vector.size);
		assert_opens(f, rows[i].type);
		assert_int_equal(f->view.size, rows[i].size);
		if (rows[i].type == RECORD_DATA)
			assert_memory_equal(f->view.content, "Sealift", 7);
	}
	assert_true(record_opener_ended(f->opener));
	assert_int_equal(record_opener_bytes(f->opener), 7);
}

static void test_records_are_the_documented_ones(void **state)
{
	const RecordLimits two = { .records = 2, .blocks = UINT64_C(1) << 32 };

	(void)state;
	run_with(body_vectors, two, 0);
	run_with(body_padded_vector, record_limits_default, 16);
	run(body_opens_vectors);
}

static void body_sizes(Fixture *f)
{
	static const size_t sizes[] = { 1, 2, 15, 16, 17, 4096, 65535, RECORD_CONTENT_MAX };
	uint8_t *wanted = malloc(RECORD_CONTENT_MAX);
	uint64_t total = 0;

	assert_non_null(wanted);
	begin(f);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(wanted, (int)i + 1, sizes[i]);
		/* Zeros at the end of content are no padding. */
		wanted[sizes[i] - 1] = 0;
		memcpy(f->buffer + RECORD_HEADER_SIZE, wanted, sizes[i]);
		assert_works(record_seal_data(f->sealer, f->buffer, sizes[i], &f->size, &f->err),
			     &f->err);
		assert_true(f->size <= RECORD_BUFFER_SIZE);
		/* Mode disabled is readable on the wire, required is not. */
		if (sizes[i] > 16)
			assert_int_equal(!memcmp(f->buffer + RECORD_HEADER_SIZE, wanted, sizes[i]),
					 !f->options.sealed);
		assert_opens(f, RECORD_DATA);
		assert_int_equal(f->view.size, sizes[i]);
		assert_memory_equal(f->view.content, wanted, sizes[i]);
		total += sizes[i];
	}
	assert_int_equal(record_sealer_bytes(f->sealer), total);
	assert_int_equal(record_opener_bytes(f->opener), total);
	seal_end(f);
	assert_opens(f, RECORD_END);
	assert_true(record_opener_ended(f->opener));
	free(wanted);
}

static void body_padded_sizes(Fixture *f)
{
	body_sizes(f);
	assert_int_equal((f->size - RECORD_HEADER_SIZE - AEAD_TAG_SIZE) % f->options.padding, 0);
}

static void test_all_sizes(void **state)
{
	(void)state;
	run(body_sizes);
	run_with(body_padded_sizes, record_limits_default, 4096);
	run_with(body_padded_sizes, record_limits_default, RECORD_PADDING_MAX);
}

static void body_sealer_refusals(Fixture *f)
{
	assert_fails(record_seal_data(f->sealer, f->buffer, 5, &f->size, &f->err), ERROR_INTERNAL,
		     "cannot be sent now", &f->err);
	seal_ping(f);
	assert_fails(record_seal_data(f->sealer, f->buffer, 0, &f->size, &f->err), ERROR_INTERNAL,
		     "0 bytes, expected 1 to 524287", &f->err);
	assert_fails(
		record_seal_data(f->sealer, f->buffer, RECORD_CONTENT_MAX + 1, &f->size, &f->err),
		ERROR_INTERNAL, "524288 bytes, expected 1 to 524287", &f->err);
	seal_end(f);
	assert_fails(record_seal_data(f->sealer, f->buffer, 5, &f->size, &f->err), ERROR_INTERNAL,
		     "cannot be sent now", &f->err);
	assert_fails(record_seal_end(f->sealer, f->buffer, &f->size, &f->err), ERROR_INTERNAL,
		     "cannot be sent now", &f->err);
}

static void test_sealer_keeps_the_grammar(void **state)
{
	(void)state;
	run(body_sealer_refusals);
}

static void test_header_bounds(void **state)
{
	static const struct {
		uint32_t length;
		bool good;
	} rows[] = {
		{ 0, false },
		{ RECORD_REST_MIN - 1, false },
		{ RECORD_REST_MIN, true },
		{ RECORD_REST_MAX, true },
		{ RECORD_REST_MAX + 1, false },
		{ UINT32_MAX, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t header[RECORD_HEADER_SIZE];
		size_t rest = 0;
		Error err = ERROR_INIT;

		store_be32(header, rows[i].length);
		if (rows[i].good) {
			assert_works(record_check_header(header, &rest, &err), &err);
			assert_int_equal(rest, rows[i].length);
		} else {
			assert_fails(record_check_header(header, &rest, &err), ERROR_PEER,
				     "expected 17 to 524304", &err);
		}
	}
}

static void judge_mutation(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Fixture *f = context;
	uint8_t *copy = malloc(size ? size : 1);
	size_t rest;

	/* An opener dies of an error, so each try has a new one. */
	assert_non_null(copy);
	memcpy(copy, data, size);
	record_opener_free(f->opener);
	f->opener = record_opener_new(f->provider, vector_secret("to_destination_secret"),
				      &f->options, &f->err);
	f->err = ERROR_INIT;
	/* What a mover does: no header, or fewer bytes than it says, is a broken connection. */
	if (size >= RECORD_HEADER_SIZE && record_check_header(copy, &rest, &f->err) &&
	    size >= RECORD_HEADER_SIZE + rest) {
		bool opened = record_open(f->opener, copy, rest, &f->view, &f->err);

		/* A byte behind the record belongs to the next one. */
		assert_int_equal(opened, mutation == MUTATION_APPEND);
		if (!opened)
			assert_int_equal(f->err.category, ERROR_AUTH);
	}
	free(copy);
}

static void body_mutations(Fixture *f)
{
	uint8_t ping[RECORD_PING_SIZE];

	seal_ping(f);
	memcpy(ping, f->buffer, sizeof(ping));
	support_mutate(ping, sizeof(ping), judge_mutation, f);
}

static void test_every_flipped_bit_is_refused(void **state)
{
	(void)state;
	run(body_mutations);
}

static void body_shorter(Fixture *f)
{
	begin(f);
	seal_text(f, "a record of some length");
	/* A relay that cuts a record must also lie about its length, which is authenticated. */
	store_be32(f->buffer, load_be32(f->buffer) - 1);
	assert_fails(open_at(f, f->buffer), ERROR_AUTH, "record 1 of 23 bytes is not authentic",
		     &f->err);
	assert_fails(open_at(f, f->buffer), ERROR_INTERNAL, "after one that was refused", &f->err);
}

static void body_dropped(Fixture *f)
{
	begin(f);
	seal_text(f, "one");
	seal_text(f, "two");
	assert_fails(open_at(f, f->buffer), ERROR_AUTH, "not authentic: changed, dropped", &f->err);
}

static void body_repeated(Fixture *f)
{
	uint8_t copy[64];

	begin(f);
	seal_text(f, "one");
	memcpy(copy, f->buffer, f->size);
	assert_opens(f, RECORD_DATA);
	assert_fails(open_at(f, copy), ERROR_AUTH, "record 2 of 4 bytes is not authentic", &f->err);
}

static void body_reordered(Fixture *f)
{
	uint8_t first[64];

	begin(f);
	seal_text(f, "one");
	memcpy(first, f->buffer, f->size);
	seal_text(f, "two");
	assert_fails(open_at(f, f->buffer), ERROR_AUTH, "record 1", &f->err);
}

static void test_wrong_order_is_refused(void **state)
{
	(void)state;
	run(body_shorter);
	run(body_dropped);
	run(body_repeated);
	run(body_reordered);
}

static void body_other_keys(Fixture *f)
{
	record_opener_free(f->opener);
	f->opener = record_opener_new(f->provider, vector_secret("to_source_secret"), &f->options,
				      &f->err);
	seal_ping(f);
	assert_fails(open_at(f, f->buffer), ERROR_AUTH, "another channel", &f->err);
}

static void body_other_mode(Fixture *f)
{
	RecordOptions options = f->options;

	options.sealed = !options.sealed;
	record_opener_free(f->opener);
	f->opener = record_opener_new(f->provider, vector_secret("to_destination_secret"), &options,
				      &f->err);
	seal_ping(f);
	assert_fails(open_at(f, f->buffer), ERROR_AUTH, "not authentic", &f->err);
}

static void test_other_keys_and_mode_are_refused(void **state)
{
	(void)state;
	run(body_other_keys);
	run(body_other_mode);
}

static void forge_with(Fixture *f, const Secret *traffic, uint64_t sequence, const char *inner,
		       size_t size)
{
	AUTO_SECRET Secret *secret = keys_derive_key(traffic, &f->err);
	AUTO_SECRET Secret *iv_secret = keys_derive_iv(traffic, &f->err);
	AUTO_AEAD_KEY AeadKey *key = aead_key_new(f->provider, secret, &f->err);
	uint8_t iv[AEAD_NONCE_SIZE];
	uint8_t *content = f->buffer + RECORD_HEADER_SIZE;

	assert_non_null(key);
	memcpy(iv, secret_peek(iv_secret), sizeof(iv));
	iv[AEAD_NONCE_SIZE - 1] ^= (uint8_t)sequence;
	store_be32(f->buffer, (uint32_t)(size + AEAD_TAG_SIZE));
	memcpy(content, inner, size);
	if (f->options.sealed)
		assert_works(aead_seal(key, iv, f->buffer, RECORD_HEADER_SIZE, content, content,
				       size, content + size, &f->err),
			     &f->err);
	else
		assert_works(aead_seal(key, iv, f->buffer, RECORD_HEADER_SIZE + size, NULL, NULL, 0,
				       content + size, &f->err),
			     &f->err);
}

/* An authentic record with any inner bytes, as a peer that knows the key but not the rules. */
static void forge(Fixture *f, uint64_t sequence, const char *inner, size_t size)
{
	AUTO_SECRET Secret *traffic = vector_secret("to_destination_secret");

	forge_with(f, traffic, sequence, inner, size);
}

typedef struct ForgedRow {
	uint64_t sequence; /* 0: in place of the first ping */
	const char *inner;
	size_t size;
	const char *text; /* of the refusal; NULL: accepted */
} ForgedRow;

#define FORGED(bytes) bytes, sizeof(bytes) - 1

static const ForgedRow forged_rows[] = {
	{ 0, FORGED("\x03"), NULL },
	{ 0, FORGED("\x03\0\0\0"), NULL },
	{ 0, FORGED("data\x01"), "the first record has type 1, expected a ping" },
	{ 0, FORGED("\x04"), "the first record has type 4, expected a ping" },
	{ 0, FORGED("\0\0\0\0\0\0\0\0\x02"), "the first record has type 2, expected a ping" },
	{ 1, FORGED("\x03"), NULL },
	{ 1, FORGED("x\x03"), "a ping with 1 bytes, expected 0" },
	{ 1, FORGED("data\x01"), NULL },
	{ 1, FORGED("\x01"), "a data record without data" },
	{ 1, FORGED("\x01\0\0"), "a data record without data" },
	{ 1, FORGED("\0"), "a record of padding only" },
	{ 1, FORGED("\0\0\0\0\0"), "a record of padding only" },
	{ 1, FORGED("\x05"), "record type 5 is not known, the last is 4" },
	{ 1, FORGED("data\xff"), "record type 255 is not known, the last is 4" },
	{ 1, FORGED("\0\0\0\0\0\0\0\0\x02"), NULL },
	{ 1, FORGED("\0\0\0\0\0\0\0\x01\x02"), "the peer ended after 1 bytes, 0 arrived" },
	{ 1, FORGED("\0\0\0\0\0\0\0\x02"), "an end record with 7 bytes, expected 8" },
	{ 1, FORGED("\x02"), "an end record with 0 bytes, expected 8" },
	{ 1, FORGED("\x04"), NULL },
	{ 1, FORGED("x\x04"), "a key update with 1 bytes, expected 0" },
};

static void body_forged(Fixture *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(forged_rows); i++) {
		const ForgedRow *row = &forged_rows[i];

		close_fixture(f);
		open_fixture(f);
		if (row->sequence)
			begin(f);
		forge(f, row->sequence, row->inner, row->size);
		if (row->text)
			assert_fails(open_at(f, f->buffer), ERROR_PEER, row->text, &f->err);
		else
			assert_works(open_at(f, f->buffer), &f->err);
	}
}

static void body_after_end(Fixture *f)
{
	begin(f);
	seal_end(f);
	assert_opens(f, RECORD_END);
	forge(f, 2, FORGED("\x03"));
	assert_fails(open_at(f, f->buffer), ERROR_PEER, "a record after the end", &f->err);
}

/* Each update costs its receiver far more than its sender: one needs a record before it. */
static void body_empty_update(Fixture *f)
{
	AUTO_SECRET Secret *next = vector_secret("to_destination_next_secret");

	begin(f);
	forge(f, 1, FORGED("\x04"));
	assert_opens(f, RECORD_UPDATE);
	forge_with(f, next, 0, FORGED("\x04"));
	assert_fails(open_at(f, f->buffer), ERROR_PEER, "under a key that carried nothing",
		     &f->err);
}

static void test_authentic_nonsense_is_refused(void **state)
{
	(void)state;
	run(body_forged);
	run(body_after_end);
	run(body_empty_update);
}

static void body_updates(Fixture *f)
{
	unsigned int updates = 0;

	begin(f);
	for (unsigned int i = 0; i < 100; i++) {
		seal_text(f, "a piece of the stream");
		assert_opens(f, RECORD_DATA);
		if (f->size == RECORD_OVERHEAD + 21)
			continue;
		assert_works(open_at(f, f->buffer + RECORD_OVERHEAD + 21), &f->err);
		assert_int_equal(f->view.type, RECORD_UPDATE);
		updates++;
	}
	/* The first key carried a ping too: 4 + 19 * 5 records, then one more. */
	assert_int_equal(updates, 20);
	seal_end(f);
	assert_opens(f, RECORD_END);
	assert_int_equal(record_opener_bytes(f->opener), 2100);
}

static void body_block_updates(Fixture *f)
{
	unsigned int updates = 0;

	begin(f);
	for (unsigned int i = 0; i < 8; i++) {
		assert_works(record_seal_data(f->sealer, f->buffer, RECORD_CONTENT_MAX, &f->size,
					      &f->err),
			     &f->err);
		assert_opens(f, RECORD_DATA);
		if (f->size > RECORD_CONTENT_MAX + RECORD_OVERHEAD) {
			assert_works(open_at(f, f->buffer + RECORD_CONTENT_MAX + RECORD_OVERHEAD),
				     &f->err);
			updates++;
		}
	}
	assert_int_equal(updates, 4);
}

static void test_keys_are_updated(void **state)
{
	const RecordLimits records = { .records = 5, .blocks = UINT64_C(1) << 32 };
	const RecordLimits blocks = { .records = 1000, .blocks = 1 << 16 };

	(void)state;
	run_with(body_updates, records, 0);
	run_with(body_updates, records, 1);
	run_with(body_block_updates, blocks, 0);
}

/* The peer's sealer has no bounds, the opener has. */
static void body_no_update(Fixture *f)
{
	record_sealer_free(f->sealer);
	f->options.limits = record_limits_default;
	f->sealer = record_sealer_new(f->provider, vector_secret("to_destination_secret"),
				      &f->options, &f->err);
	assert_non_null(f->sealer);
	begin(f);
	for (unsigned int i = 1; i < 5; i++) {
		seal_text(f, "x");
		assert_opens(f, RECORD_DATA);
	}
	seal_text(f, "x");
	assert_fails(open_at(f, f->buffer), ERROR_PEER, "bounds of 5 records", &f->err);
}

static void body_late_update(Fixture *f)
{
	begin(f);
	for (uint64_t i = 1; i < 5; i++) {
		forge(f, i, FORGED("\x03"));
		assert_opens(f, RECORD_PING);
	}
	forge(f, 5, FORGED("\x04"));
	assert_opens(f, RECORD_UPDATE);
}

static void test_keys_must_be_updated(void **state)
{
	const RecordLimits records = { .records = 5, .blocks = UINT64_C(1) << 32 };

	(void)state;
	run_with(body_no_update, records, 0);
	run_with(body_late_update, records, 0);
}

static void test_options_are_checked(void **state)
{
	static const RecordOptions bad[] = {
		{ .limits = { .records = 1, .blocks = 1 << 20 } },
		{ .limits = { .records = (UINT64_C(1) << 32) + 1, .blocks = 1 << 20 } },
		{ .limits = { .records = 100, .blocks = 100 } },
		{ .limits = { .records = 100, .blocks = (UINT64_C(1) << 32) + 1 } },
		{ .limits = { .records = 100, .blocks = 1 << 20 }, .padding = 3 },
		{ .limits = { .records = 100, .blocks = 1 << 20 }, .padding = 1 << 17 },
	};
	const AeadProvider *provider = aead_provider_by_name("openssl");
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_null(record_sealer_new(provider, vector_secret("prk"), &bad[i], &err));
		assert_null(record_opener_new(provider, vector_secret("prk"), &bad[i], &err));
		assert_int_equal(err.category, ERROR_INTERNAL);
	}
	assert_null(record_sealer_new(provider, vector_secret("migration_key"),
				      &(RecordOptions){ .limits = record_limits_default }, &err));
	assert_non_null(strstr(err.text, "32 bytes, expected 48"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_are_the_documented_ones),
		cmocka_unit_test(test_all_sizes),
		cmocka_unit_test(test_sealer_keeps_the_grammar),
		cmocka_unit_test(test_header_bounds),
		cmocka_unit_test(test_every_flipped_bit_is_refused),
		cmocka_unit_test(test_wrong_order_is_refused),
		cmocka_unit_test(test_other_keys_and_mode_are_refused),
		cmocka_unit_test(test_authentic_nonsense_is_refused),
		cmocka_unit_test(test_keys_are_updated),
		cmocka_unit_test(test_keys_must_be_updated),
		cmocka_unit_test(test_options_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
