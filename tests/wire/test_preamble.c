/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "base/bounds.h"
#include "tests/wire/vectors.h"
#include "wire/preamble.h"

static Preamble example(void)
{
	Preamble preamble = { .channel = 1, .generation = 2 };

	for (size_t i = 0; i < MIGRATION_ID_BYTES; i++)
		preamble.routing[i] = (uint8_t)(0x10 + i);
	memcpy(preamble.source_nonce, vector_read("source_nonce").bytes, CHANNEL_NONCE_SIZE);
	return preamble;
}

static void assert_documented(const Preamble *preamble, const char *name)
{
	uint8_t bytes[PREAMBLE_SIZE];
	Preamble back;
	Error err;

	preamble_encode(preamble, bytes);
	vector_assert(name, bytes, sizeof(bytes));
	assert_works(preamble_decode(bytes, &back, &err), &err);
	assert_int_equal(back.channel, preamble->channel);
	assert_int_equal(back.generation, preamble->generation);
	assert_memory_equal(back.routing, preamble->routing, sizeof(back.routing));
	assert_memory_equal(back.source_nonce, preamble->source_nonce, sizeof(back.source_nonce));
}

static void test_preamble_is_the_documented_one(void **state)
{
	Preamble preamble = example();

	(void)state;
	assert_documented(&preamble, "preamble");
	preamble.channel = LIMIT_STREAM_CHANNELS;
	assert_documented(&preamble, "disk_preamble");
}

static void test_reply_is_the_documented_one(void **state)
{
	PreambleReply reply, back;
	uint8_t bytes[PREAMBLE_REPLY_SIZE];
	Error err;

	(void)state;
	memcpy(reply.destination_nonce, vector_read("destination_nonce").bytes, CHANNEL_NONCE_SIZE);
	preamble_reply_encode(&reply, bytes);
	vector_assert("preamble_reply", bytes, sizeof(bytes));
	assert_works(preamble_reply_decode(bytes, &back, &err), &err);
	assert_memory_equal(&back, &reply, sizeof(back));
}

static void test_refuses_other_magic_and_version(void **state)
{
	const Preamble preamble = example();
	uint8_t good[PREAMBLE_SIZE], bytes[PREAMBLE_SIZE];
	Preamble back;
	Error err;

	(void)state;
	preamble_encode(&preamble, good);
	for (size_t i = 0; i < PREAMBLE_MAGIC_SIZE; i++) {
		memcpy(bytes, good, sizeof(bytes));
		bytes[i] ^= 0x20;
		assert_fails(preamble_decode(bytes, &back, &err), ERROR_PEER,
			     "not with Sealift's magic", &err);
	}
	memcpy(bytes, good, sizeof(bytes));
	bytes[9] = 2;
	assert_fails(preamble_decode(bytes, &back, &err), ERROR_PEER, "version 2, only 1 is known",
		     &err);
	/* An answer is no preamble: a peer that only echoes gets nowhere. */
	bytes[9] = 1;
	memcpy(bytes, preamble_reply_magic, PREAMBLE_MAGIC_SIZE);
	assert_fails(preamble_decode(bytes, &back, &err), ERROR_PEER, "not with Sealift's magic",
		     &err);
}

static void test_bounds_the_channel(void **state)
{
	Preamble preamble = example(), back;
	uint8_t bytes[PREAMBLE_SIZE];
	Error err;

	(void)state;
	preamble.channel = LIMIT_CHANNELS - 1;
	preamble_encode(&preamble, bytes);
	assert_works(preamble_decode(bytes, &back, &err), &err);
	assert_int_equal(back.channel, LIMIT_CHANNELS - 1);
	bytes[11] = LIMIT_CHANNELS;
	assert_fails(preamble_decode(bytes, &back, &err), ERROR_PEER, "channel 25, the most is 24",
		     &err);
	bytes[10] = 1;
	bytes[11] = 0;
	assert_fails(preamble_decode(bytes, &back, &err), ERROR_PEER, "channel 256, the most is 24",
		     &err);
}

static void test_reply_refuses_what_is_reserved(void **state)
{
	PreambleReply reply = { { 0 } }, back;
	uint8_t good[PREAMBLE_REPLY_SIZE], bytes[PREAMBLE_REPLY_SIZE];
	Error err;

	(void)state;
	preamble_reply_encode(&reply, good);
	for (size_t i = 0; i < 16; i++) {
		memcpy(bytes, good, sizeof(bytes));
		bytes[i] ^= 0x04;
		assert_fails(preamble_reply_decode(bytes, &back, &err), ERROR_PEER, "answer", &err);
	}
	assert_works(preamble_reply_decode(good, &back, &err), &err);
}

static void test_magic_is_no_tls_and_no_text(void **state)
{
	(void)state;
	assert_true(preamble_magic[0] != 0x16 && preamble_magic[0] >= 0x80);
	assert_memory_not_equal(preamble_magic, preamble_reply_magic, PREAMBLE_MAGIC_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_preamble_is_the_documented_one),
		cmocka_unit_test(test_reply_is_the_documented_one),
		cmocka_unit_test(test_refuses_other_magic_and_version),
		cmocka_unit_test(test_bounds_the_channel),
		cmocka_unit_test(test_reply_refuses_what_is_reserved),
		cmocka_unit_test(test_magic_is_no_tls_and_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
