/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the key link: each length, type and value that is not in order; the memory that they
 * wait in; and the codec as it was when the protocol's number was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "crypto/digest.h"
#include "programs/keylink/conn.h"
#include "programs/keylink/values.h"

typedef struct World {
	Queue queue;
	uint8_t payload[sizeof(KeyTransfer) + sizeof(KeyTransferred)];
	Frame frame;
	Error err;
} World;

static int world_open(void **state)
{
	World *world = calloc(1, sizeof(*world));
	Error err = ERROR_INIT;

	assert_non_null(world);
	assert_true(sizeof(world->payload) >= frame_payload_size(keylink_host_rules));
	assert_true(sizeof(world->payload) >= frame_payload_size(keylink_manager_rules));
	assert_true(queue_init(&world->queue, CONN_QUEUE_BYTES, true, &err));
	*state = world;
	return 0;
}

static int world_close(void **state)
{
	World *world = *state;

	queue_clear(&world->queue);
	free(world);
	return 0;
}

static FrameGot peek(World *world, const IpcRule *rules)
{
	world->err = ERROR_INIT;
	return frame_peek(&world->queue, rules, &world->frame, world->payload, &world->err);
}

static void put_who(World *world, uint64_t subject)
{
	const KeydWho who = { .who = "uid 0" };

	assert_true(frame_put(&world->queue, KEYD_PLACES, subject, &keyd_who_schema, &who, NULL,
			      &world->err));
}

static void broken(World *world, const IpcRule *rules, const char *words)
{
	assert_int_equal(peek(world, rules), FRAME_BROKEN);
	if (!strstr(world->err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", world->err.text, words);
	assert_int_equal(world->err.category, ERROR_PEER);
}

static void what_is_put_is_what_comes(void **state)
{
	World *world = *state;
	const KeydWho *who = (const void *)world->payload;

	put_who(world, 7);
	put_who(world, 8);
	assert_int_equal(peek(world, keylink_host_rules), FRAME_WHOLE);
	assert_int_equal(world->frame.type, KEYD_PLACES);
	assert_int_equal(world->frame.subject, 7);
	assert_null(world->frame.value);
	assert_string_equal(who->who, "uid 0");
	queue_take(&world->queue, world->frame.size);
	assert_int_equal(peek(world, keylink_host_rules), FRAME_WHOLE);
	assert_int_equal(world->frame.subject, 8);
	queue_take(&world->queue, world->frame.size);
	assert_int_equal(peek(world, keylink_host_rules), FRAME_PART);
	assert_int_equal(world->queue.used, 0);
}

static void a_value_goes_along_and_nothing_of_it_stays(void **state)
{
	World *world = *state;
	static const uint8_t zeros[CONN_QUEUE_BYTES];
	KeyRecord key = { .version = 1,
			  .epoch = 1,
			  .vm = "7e5710c5-0000-4000-8000-000000000001",
			  .owner = "north.example",
			  .slot = "vda",
			  .backend = "embedded" };
	uint8_t value[KEY_PASSPHRASE_BYTES];

	memset(value, 'V', sizeof(value));
	assert_true(frame_put(&world->queue, KEYD_OPENED, 3, &key_record_schema, &key, value,
			      &world->err));
	assert_int_equal(peek(world, keylink_manager_rules), FRAME_WHOLE);
	assert_memory_equal(world->frame.value, value, sizeof(value));
	queue_take(&world->queue, world->frame.size);
	assert_memory_equal(world->queue.bytes, zeros, world->queue.size);
	/* A host sends no value, and an opened key without one is none. */
	assert_true(frame_put(&world->queue, KEYD_OPENED, 3, &key_record_schema, &key, NULL,
			      &world->err));
	broken(world, keylink_manager_rules, "a message \"opened\" with a value of 0 bytes");
	world->queue.used = 0;
	assert_true(frame_put(&world->queue, KEYD_OPENED, 3, &key_record_schema, &key, value,
			      &world->err));
	broken(world, keylink_host_rules, "unknown type");
}

static void each_length_but_the_right_one(void **state)
{
	World *world = *state;
	size_t whole;
	uint32_t length;

	put_who(world, 7);
	whole = world->queue.used;
	for (size_t used = 0; used < whole; used++) {
		world->queue.used = used;
		assert_int_equal(peek(world, keylink_host_rules), FRAME_PART);
	}
	world->queue.used = whole;
	length = load_be32(world->queue.bytes);
	for (uint32_t shorter = 0; shorter < length; shorter++) {
		store_be32(world->queue.bytes, shorter);
		assert_int_equal(peek(world, keylink_host_rules), FRAME_BROKEN);
	}
	store_be32(world->queue.bytes, FRAME_MAX);
	assert_int_equal(peek(world, keylink_host_rules), FRAME_PART);
	store_be32(world->queue.bytes, FRAME_MAX + 1);
	broken(world, keylink_host_rules, "are allowed");
	store_be32(world->queue.bytes, UINT32_MAX);
	broken(world, keylink_host_rules, "are allowed");
	/* One byte too many, which belongs to nothing. */
	world->queue.used = whole;
	queue_put(&world->queue, "", 1);
	store_be32(world->queue.bytes, length + 1);
	broken(world, keylink_host_rules, "a message \"places\"");
}

/* A bit changed anywhere gives another message that is in order, or a refusal: never more. */
static void each_bit_is_survived(void **state)
{
	World *world = *state;
	KeydOpen open = { .who = "migration 1",
			  .version = 1,
			  .epoch = 1,
			  .vm = "7e5710c5-0000-4000-8000-000000000001" };
	size_t refused = 0;

	assert_true(frame_put(&world->queue, KEYD_OPEN, 7, &keyd_open_schema, &open, NULL,
			      &world->err));
	for (size_t bit = 0; bit < 8 * world->queue.used; bit++) {
		world->queue.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		refused += peek(world, keylink_host_rules) == FRAME_BROKEN;
		world->queue.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_true(refused > 0);
	assert_int_equal(peek(world, keylink_host_rules), FRAME_WHOLE);
}

static void a_full_queue_takes_no_part_of_a_message(void **state)
{
	World *world = *state;
	const KeydWho who = { .who = "uid 0" };
	size_t used;

	do
		used = world->queue.used;
	while (frame_put(&world->queue, KEYD_PLACES, 1, &keyd_who_schema, &who, NULL, &world->err));
	assert_int_equal(world->err.category, ERROR_LIMIT);
	assert_int_equal(world->queue.used, used);
}

/* What a host may ask for is what the rules let in, and no more. */
static void requests_and_rules_agree(void **state)
{
	size_t rules = 0, exchanges = 0;

	(void)state;
	for (; keylink_host_rules[rules].type; rules++) {
		const KeylinkExchange *exchange =
			keylink_exchange_of(keylink_host_rules[rules].type);

		assert_non_null(exchange);
		assert_ptr_equal(exchange->request_schema, keylink_host_rules[rules].schema);
	}
	while (keylink_exchanges[exchanges].request)
		exchanges++;
	assert_int_equal(rules, exchanges);
	assert_null(keylink_exchange_of(KEYD_LOG));
	assert_null(keylink_exchange_of(KEYD_HELPER));
	assert_null(keylink_exchange_of(ROLE_ANCHOR));
}

static void who_asks_has_his_host_before_him(void **state)
{
	char who[KEY_WHO_SIZE] = "uid 0", host[LIMIT_SPIFFE_ID];

	(void)state;
	assert_true(keylink_prefix_who(who, "spiffe://d.example/host/a"));
	assert_string_equal(who, "spiffe://d.example/host/a uid 0");
	keylink_host_of_who(who, host);
	assert_string_equal(host, "spiffe://d.example/host/a");
	/* Whom he names himself is behind his own. */
	assert_true(keylink_prefix_who(who, "spiffe://d.example/host/b"));
	keylink_host_of_who(who, host);
	assert_string_equal(host, "spiffe://d.example/host/b");
	memset(who, 'x', sizeof(who) - 1);
	who[sizeof(who) - 1] = '\0';
	assert_false(keylink_prefix_who(who, "spiffe://d.example/host/a"));
	assert_int_equal(strlen(who), sizeof(who) - 1);
	keylink_host_of_who("uid 0", host);
	assert_string_equal(host, "");
	keylink_host_of_who("migration spiffe://d.example/host/a", host);
	assert_string_equal(host, "");
}

static void values_are_wiped(void **state)
{
	Values *values = calloc(1, sizeof(*values));
	uint8_t value[KEY_PASSPHRASE_BYTES], seen[KEY_PASSPHRASE_BYTES];
	static const uint8_t zeros[KEY_PASSPHRASE_BYTES];
	Error err = ERROR_INIT;
	int fds[3];

	(void)state;
	assert_non_null(values);
	memset(value, 'V', sizeof(value));
	for (int i = 0; i < 3; i++)
		fds[i] = values_make(values, (uint64_t)i, value, 1000 * i, &err);
	assert_int_equal(pread(fds[1], seen, sizeof(seen), 0), sizeof(seen));
	assert_memory_equal(seen, value, sizeof(seen));
	assert_int_equal(pwrite(fds[1], "x", 1, 0), -1);
	values_wipe(values, 1);
	assert_int_equal(values_expire(values, INT64_C(1000000) * KEYD_OPEN_S),
			 INT64_C(1000000) * KEYD_OPEN_S + 2000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pread(fds[i], seen, sizeof(seen), 0), sizeof(seen));
		assert_memory_equal(seen, zeros, sizeof(seen));
	}
	values_wipe_all(values);
	assert_int_equal(pread(fds[2], seen, sizeof(seen), 0), sizeof(seen));
	assert_memory_equal(seen, zeros, sizeof(seen));
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	free(values);
}

/* --- the protocol's number --- */

static void add_number(Buffer *text, uint64_t number)
{
	Error err = ERROR_INIT;

	assert_true(buffer_put_be64(text, number, &err));
}

/* Of lists and objects their own fields follow, as the codec puts them; nothing is nested deeper
 * than this knows. */
enum { DEPTH_MAX = 4 };

static void describe(Buffer *text, const Schema *first)
{
	const Schema *open[DEPTH_MAX * 16] = { first };
	size_t count = 1;
	Error err = ERROR_INIT;

	while (count) {
		const Schema *schema = open[--count];

		add_number(text, schema->n_fields);
		for (size_t i = 0; i < schema->n_fields; i++) {
			const Field *field = &schema->fields[i];

			assert_true(buffer_put(text, field->name, strlen(field->name), &err));
			add_number(text, field->kind);
			add_number(text, field->size);
			add_number(text, field->n_words);
			if (!field->object)
				continue;
			assert_true(count < ARRAY_SIZE(open));
			open[count++] = field->object;
		}
	}
}

/* Two hosts of one domain need not have the same Sealift: whoever changes a message that crosses
 * here gives ALPN a new number (programs/keylink/trust.c), then writes down the digest of this
 * failure. */
static void messages_are_those_of_this_number(void **state)
{
	static const char known[] = "9d3eba07a33d5627";
	AUTO_BUFFER Buffer text = BUFFER_INIT(1 << 20);
	uint8_t digest[KEY_DIGEST_BYTES];
	char hex[2 * 8 + 1];
	Error err = ERROR_INIT;

	(void)state;
	for (const KeylinkExchange *exchange = keylink_exchanges; exchange->request; exchange++) {
		add_number(&text, exchange->request);
		describe(&text, exchange->request_schema);
		add_number(&text, exchange->answer);
		describe(&text, exchange->answer_schema);
	}
	describe(&text, &keyd_head_schema);
	describe(&text, &role_failure_schema);
	assert_true(digest_sha384(text.data, text.used, digest, &err));
	hex_encode(digest, 8, hex);
	assert_string_equal(hex, known);
}

int main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
	const struct CMUnitTest tests[] = {
		WORLD_TEST(what_is_put_is_what_comes),
		WORLD_TEST(a_value_goes_along_and_nothing_of_it_stays),
		WORLD_TEST(each_length_but_the_right_one),
		WORLD_TEST(each_bit_is_survived),
		WORLD_TEST(a_full_queue_takes_no_part_of_a_message),
		cmocka_unit_test(requests_and_rules_agree),
		cmocka_unit_test(who_asks_has_his_host_before_him),
		cmocka_unit_test(values_are_wiped),
		cmocka_unit_test(messages_are_those_of_this_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
