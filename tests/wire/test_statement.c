/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "tests/wire/samples.h"

static void encode(const Statement *statement, Buffer *buffer)
{
	Error err = ERROR_INIT;

	assert_works(statement_encode_json(statement, buffer, &err), &err);
}

static void each_kind_comes_back(void **state)
{
	(void)state;
	for (int kind = 0; kind < STATEMENT_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer first = BUFFER_INIT(LIMIT_STATEMENT_JSON);
		AUTO_BUFFER Buffer second = BUFFER_INIT(LIMIT_STATEMENT_JSON);
		Statement statement, again;
		Error err = ERROR_INIT;

		sample_statement((StatementKind)kind, &statement);
		encode(&statement, &first);
		memset(&again, 0xaa, sizeof(again));
		assert_works(statement_decode_json(first.data, first.used, &again, &err), &err);
		assert_int_equal(again.kind, kind);
		assert_string_equal(again.source, statement.source);
		assert_int_equal(again.epoch, 7);
		/* What a kind has no field for stays zero. */
		assert_int_equal(again.lease_s, kind == STATEMENT_ACCEPT ? 120 : 0);
		encode(&again, &second);
		assert_int_equal(first.used, second.used);
		assert_memory_equal(first.data, second.data, first.used);
	}
}

static void the_kind_is_the_first_member(void **state)
{
	static const char start[] = "{\"statement\":\"commit\",\"version\":0,\"id\":\"a3a3a3a3";
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Statement statement;

	(void)state;
	sample_statement(STATEMENT_COMMIT, &statement);
	encode(&statement, &buffer);
	assert_memory_equal(buffer.data, start, strlen(start));
}

static void the_largest_offer_fits(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Statement statement;
	Error err = ERROR_INIT;

	(void)state;
	sample_statement(STATEMENT_OFFER, &statement);
	sample_manifest_largest(&statement.manifest);
	memset(statement.owner, 'a', sizeof(statement.owner) - 1);
	memset(statement.source, 's', sizeof(statement.source) - 1);
	memset(statement.destination, 'd', sizeof(statement.destination) - 1);
	statement.epoch = INT64_MAX;
	encode(&statement, &buffer);
	assert_works(statement_decode_json(buffer.data, buffer.used, &statement, &err), &err);
	/* Room for four certificates and the signature in the CMS around it. */
	assert_true(buffer.used < LIMIT_STATEMENT / 2);
}

static void oversize_is_refused_before_it_is_parsed(void **state)
{
	static char text[LIMIT_STATEMENT_JSON + 1];
	Statement statement;
	Error err = ERROR_INIT;

	(void)state;
	memset(text, ' ', sizeof(text));
	assert_fails(statement_decode_json(text, sizeof(text), &statement, &err), ERROR_LIMIT,
		     "statement of 16385 bytes, more than 16384", &err);
	assert_fails(statement_decode_json(text, sizeof(text) - 1, &statement, &err), ERROR_PEER,
		     "not JSON", &err);
}

typedef struct BadOffer {
	void (*spoil)(Statement *statement);
	const char *part;
} BadOffer;

static void no_life(Statement *s)
{
	s->expires_s = s->issued_s;
}
static void life_backwards(Statement *s)
{
	s->expires_s = 1;
}
static void life_too_long(Statement *s)
{
	s->expires_s = s->issued_s + LIMIT_STATEMENT_AGE_S + 1;
}
static void machine_unversioned(Statement *s)
{
	memcpy(s->manifest.machine, "q35", 4);
}
static void disk_twice(Statement *s)
{
	s->manifest.disks[1] = s->manifest.disks[0];
}

/* Encodes as well as a good one: only the meaning is wrong, so only the decoder's judge sees it. */
static void offers_that_make_no_sense_are_refused(void **state)
{
	static const BadOffer cases[] = {
		{ no_life, "expires_s is not after issued_s" },
		{ life_backwards, "expires_s is not after issued_s" },
		{ life_too_long, "offer is good for 301 s, more than 300" },
		{ machine_unversioned, "manifest: machine \"q35\"" },
		{ disk_twice, "manifest: volume fast/vm1-root twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
		Statement statement;
		Error err = ERROR_INIT;

		sample_statement(STATEMENT_OFFER, &statement);
		cases[i].spoil(&statement);
		encode(&statement, &buffer);
		assert_fails(statement_decode_json(buffer.data, buffer.used, &statement, &err),
			     ERROR_PEER, cases[i].part, &err);
	}
}

static void only_offers_are_short_lived(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Statement statement;
	Error err = ERROR_INIT;

	(void)state;
	sample_statement(STATEMENT_COMMIT, &statement);
	statement.expires_s = INT64_MAX;
	encode(&statement, &buffer);
	assert_works(statement_decode_json(buffer.data, buffer.used, &statement, &err), &err);
	buffer_clear(&buffer);
	statement.expires_s = statement.issued_s - 1;
	encode(&statement, &buffer);
	assert_fails(statement_decode_json(buffer.data, buffer.used, &statement, &err), ERROR_PEER,
		     "expires_s is not after issued_s", &err);
}

/* The JSON of one kind under the name of each other. */
static void a_kind_cannot_pass_for_another(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	char text[LIMIT_STATEMENT_JSON];
	Statement statement;
	Error err = ERROR_INIT;

	(void)state;
	sample_statement(STATEMENT_ACCEPT, &statement);
	encode(&statement, &buffer);
	for (int kind = 0; kind < STATEMENT_KIND_COUNT; kind++) {
		int used = snprintf(text, sizeof(text), "{\"statement\":\"%s\"%.*s",
				    statement_words[kind], (int)(buffer.used - 21),
				    (const char *)buffer.data + 21);
		bool ok = statement_decode_json(text, (size_t)used, &statement, &err);

		assert_int_equal(ok, kind == STATEMENT_ACCEPT);
	}
}

static void values_out_of_bounds_are_not_encoded(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Statement statement;
	Error err = ERROR_INIT;

	(void)state;
	sample_statement(STATEMENT_OFFER, &statement);
	statement.channels = LIMIT_STREAM_CHANNELS + 1;
	assert_fails(statement_encode_json(&statement, &buffer, &err), ERROR_PEER,
		     "offer: channels is 18, outside 1..17", &err);
	sample_statement(STATEMENT_DECLINED, &statement);
	statement.reason[0] = '\0';
	assert_fails(statement_encode_json(&statement, &buffer, &err), ERROR_PEER,
		     "declined: reason", &err);
	sample_statement(STATEMENT_READY, &statement);
	statement.epoch = 0;
	assert_fails(statement_encode_json(&statement, &buffer, &err), ERROR_PEER,
		     "ready: epoch is 0", &err);
}

static void judge(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Statement statement;
	Error err = ERROR_INIT;
	bool ok = statement_decode_json(data, size, &statement, &err);

	(void)context;
	if (mutation != MUTATION_FLIP)
		assert_false(ok);
	/* Whatever passed is good enough to be written again. */
	if (ok)
		encode(&statement, &again);
	else
		assert_int_equal(err.category, ERROR_PEER);
}

static void mutations_are_refused_or_in_bounds(void **state)
{
	(void)state;
	for (int kind = 0; kind < STATEMENT_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
		Statement statement;

		sample_statement((StatementKind)kind, &statement);
		encode(&statement, &buffer);
		support_mutate(buffer.data, buffer.used, judge, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_comes_back),
		cmocka_unit_test(the_kind_is_the_first_member),
		cmocka_unit_test(the_largest_offer_fits),
		cmocka_unit_test(oversize_is_refused_before_it_is_parsed),
		cmocka_unit_test(offers_that_make_no_sense_are_refused),
		cmocka_unit_test(only_offers_are_short_lived),
		cmocka_unit_test(a_kind_cannot_pass_for_another),
		cmocka_unit_test(values_out_of_bounds_are_not_encoded),
		cmocka_unit_test(mutations_are_refused_or_in_bounds),
	};

	return cmocka_run_group_tests_name("wire/statement", tests, NULL, NULL);
}
