/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "tests/wire/samples.h"

static void encode(const PeerMessage *message, Buffer *frame)
{
	Error err = ERROR_INIT;

	assert_works(peer_encode_frame(message, frame, &err), &err);
}

static bool decode_frame(const Buffer *frame, PeerMessage *message, Error *err)
{
	assert_true(frame->used >= PEER_FRAME_HEADER);
	return peer_decode(frame->data + PEER_FRAME_HEADER, frame->used - PEER_FRAME_HEADER,
			   message, err);
}

static void each_kind_comes_back(void **state)
{
	(void)state;
	for (int kind = 0; kind < PEER_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer first = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
		AUTO_BUFFER Buffer second = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
		PeerMessage message, again;
		Error err = ERROR_INIT;

		sample_peer((PeerKind)kind, &message);
		encode(&message, &first);
		assert_int_equal(load_be32(first.data), first.used - PEER_FRAME_HEADER);
		memset(&again, 0xaa, sizeof(again));
		assert_works(decode_frame(&first, &again, &err), &err);
		assert_int_equal(again.kind, kind);
		assert_memory_equal(&again, &message, sizeof(message));
		encode(&again, &second);
		assert_int_equal(first.used, second.used);
		assert_memory_equal(first.data, second.data, first.used);
	}
}

static void frames_follow_one_another(void **state)
{
	AUTO_BUFFER Buffer frames = BUFFER_INIT(LIMIT_FRAME);
	PeerMessage message;
	size_t length;
	Error err = ERROR_INIT;

	(void)state;
	sample_peer(PEER_PING, &message);
	encode(&message, &frames);
	length = frames.used;
	encode(&message, &frames);
	assert_int_equal(frames.used, 2 * length);
	assert_works(peer_decode(frames.data + length + 4, length - 4, &message, &err), &err);
	assert_fails(peer_decode(frames.data + 4, frames.used - 4, &message, &err), ERROR_PEER,
		     "not JSON", &err);
}

static void the_largest_messages_fit_a_frame(void **state)
{
	AUTO_BUFFER Buffer hello = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
	AUTO_BUFFER Buffer statement = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
	PeerMessage message;
	Error err = ERROR_INIT;

	(void)state;
	sample_peer(PEER_HELLO, &message);
	memset(message.crl, 0xff, sizeof(message.crl));
	message.crl_size = sizeof(message.crl);
	encode(&message, &hello);
	assert_works(decode_frame(&hello, &message, &err), &err);
	assert_int_equal(message.crl_size, LIMIT_CRL);
	sample_peer(PEER_STATEMENT, &message);
	memset(message.cms, 0xff, sizeof(message.cms));
	message.cms_size = sizeof(message.cms);
	encode(&message, &statement);
	assert_works(decode_frame(&statement, &message, &err), &err);
	assert_int_equal(message.cms_size, LIMIT_STATEMENT);
}

static void one_byte_too_many_in_a_field_is_refused(void **state)
{
	/* base64 of LIMIT_CRL + 3 bytes of zeros */
	enum { DIGITS = (LIMIT_CRL + 3) / 3 * 4 };
	static char text[LIMIT_FRAME];
	PeerMessage message;
	Error err = ERROR_INIT;
	int used = snprintf(text, sizeof(text),
			    "{\"message\":\"hello\",\"version_min\":0,\"version_max\":0,"
			    "\"software\":\"x\",\"crl\":\"");

	(void)state;
	assert_true((size_t)used + DIGITS + 2 < sizeof(text));
	memset(text + used, 'A', DIGITS);
	memcpy(text + used + DIGITS, "\"}", 2);
	assert_fails(peer_decode(text, (size_t)used + DIGITS + 2, &message, &err), ERROR_PEER,
		     "crl", &err);
}

static void oversize_is_refused_before_it_is_parsed(void **state)
{
	static char text[LIMIT_FRAME + 1];
	PeerMessage message;
	Error err = ERROR_INIT;

	(void)state;
	memset(text, ' ', sizeof(text));
	assert_fails(peer_decode(text, sizeof(text), &message, &err), ERROR_LIMIT,
		     "message of 65537 bytes, more than 65536", &err);
	assert_fails(peer_decode(text, 0, &message, &err), ERROR_PEER, "not JSON", &err);
}

typedef struct BadText {
	const char *text, *part;
} BadText;

#define MIGRATION "\"migration\":\"b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1\""

static void messages_in_pairs(void **state)
{
	static const char *const fine[] = {
		"{\"message\":\"ping\",\"stamp_us\":0}",
		"{\"message\":\"keyed\"," MIGRATION "}",
		"{" MIGRATION ",\"message\":\"query\"}",
		"{\"message\":\"state\"," MIGRATION ",\"state\":\"declined\"}",
	};
	static const BadText wrong[] = {
		{ "{\"message\":\"ping\"}", "ping: stamp_us is missing" },
		{ "{\"message\":\"ping\",\"stamp_us\":-1}", "ping: stamp_us is not" },
		{ "{\"message\":\"ping\",\"stamp_us\":0,\"key\":\"00\"}",
		  "unknown member \"key\"" },
		{ "{\"message\":\"Ping\",\"stamp_us\":0}", "message \"Ping\" is unknown" },
		{ "{\"message\":\"ping\",\"message\":\"pong\",\"stamp_us\":0}", "not JSON" },
		{ "{\"stamp_us\":0}", "member \"message\" is missing" },
		{ "{\"message\":\"keyed\"}", "keyed: migration is missing" },
		{ "{\"message\":\"keyed\",\"migration\":\"b1\"}", "migration is not 32" },
		{ "{\"message\":\"key\"," MIGRATION ",\"key\":\"0011\"}", "key: key is not 64" },
		{ "{\"message\":\"state\"," MIGRATION ",\"state\":\"lost\"}", "state \"lost\"" },
		{ "{\"message\":\"refuse\"," MIGRATION ",\"category\":\"a b\",\"text\":\"x\"}",
		  "category" },
		{ "{\"message\":\"refuse\"," MIGRATION
		  ",\"category\":\"peer\",\"text\":\"a\\u001b[2J\"}",
		  "text \"a\\x1b[2J\" is malformed" },
		{ "{\"message\":\"hello\",\"version_min\":0,\"version_max\":1001,\"software\":\"x\","
		  "\"crl\":\"\"}",
		  "hello: version_max is 1001" },
		{ "{\"message\":\"statement\"," MIGRATION ",\"statement\":\"offer\",\"cms\":\"\"}",
		  "cms has 0 bytes" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		PeerMessage message;
		Error err = ERROR_INIT;

		assert_works(peer_decode(fine[i], strlen(fine[i]), &message, &err), &err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		PeerMessage message;
		Error err = ERROR_INIT;

		assert_fails(peer_decode(wrong[i].text, strlen(wrong[i].text), &message, &err),
			     ERROR_PEER, wrong[i].part, &err);
	}
}

static void versions_in_pairs(void **state)
{
	(void)state;
	assert_true(peer_version_fits(PEER_VERSION_MIN, PEER_VERSION_MAX));
	assert_true(peer_version_fits(PEER_VERSION_MAX, 1000));
	assert_true(peer_version_fits(0, PEER_VERSION_MIN));
	assert_false(peer_version_fits(PEER_VERSION_MAX + 1, 1000));
	assert_false(peer_version_fits(PEER_VERSION_MAX + 1, PEER_VERSION_MIN));
}

static void judge(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
	PeerMessage message;
	Error err = ERROR_INIT;
	bool ok = peer_decode(data, size, &message, &err);

	(void)context;
	if (mutation != MUTATION_FLIP)
		assert_false(ok);
	if (ok)
		encode(&message, &again);
	else
		assert_int_equal(err.category, ERROR_PEER);
}

static void mutations_are_refused_or_in_bounds(void **state)
{
	(void)state;
	for (int kind = 0; kind < PEER_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer frame = BUFFER_INIT(LIMIT_FRAME);
		PeerMessage message;

		sample_peer((PeerKind)kind, &message);
		encode(&message, &frame);
		support_mutate(frame.data + PEER_FRAME_HEADER, frame.used - PEER_FRAME_HEADER,
			       judge, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_comes_back),
		cmocka_unit_test(frames_follow_one_another),
		cmocka_unit_test(the_largest_messages_fit_a_frame),
		cmocka_unit_test(one_byte_too_many_in_a_field_is_refused),
		cmocka_unit_test(oversize_is_refused_before_it_is_parsed),
		cmocka_unit_test(messages_in_pairs),
		cmocka_unit_test(versions_in_pairs),
		cmocka_unit_test(mutations_are_refused_or_in_bounds),
	};

	return cmocka_run_group_tests_name("wire/peer", tests, NULL, NULL);
}
