/* SPDX-License-Identifier: Apache-2.0 */
/* The migration key crosses in JSON: what Jansson held of it is not found in freed memory. */
#include "tests/support/support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/free_watch.h"
#include "tests/wire/samples.h"
#include "wire/json.h"

enum { HEX_BYTES = 2 * MIGRATION_KEY_BYTES };

static void to_hex(const uint8_t key[MIGRATION_KEY_BYTES], char hex[HEX_BYTES + 1])
{
	for (size_t i = 0; i < MIGRATION_KEY_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", key[i]);
}

static void write_and_read_a_key(void)
{
	AUTO_BUFFER Buffer frame = BUFFER_INIT(LIMIT_FRAME);
	PeerMessage message, again;
	char hex[HEX_BYTES + 1];
	Error err = ERROR_INIT;

	sample_peer(PEER_KEY, &message);
	to_hex(message.key, hex);
	free_watch_begin(hex, HEX_BYTES);
	assert_works(peer_encode_frame(&message, &frame, &err), &err);
	assert_works(peer_decode(frame.data + PEER_FRAME_HEADER, frame.used - PEER_FRAME_HEADER,
				 &again, &err),
		     &err);
	assert_memory_equal(again.key, message.key, MIGRATION_KEY_BYTES);
	/* A frame that is refused was read as well. */
	frame.data[frame.used - 1] = ' ';
	assert_fails(peer_decode(frame.data + PEER_FRAME_HEADER, frame.used - PEER_FRAME_HEADER,
				 &again, &err),
		     ERROR_PEER, "JSON", &err);
	free_watch_end();
	assert_true(free_watch_freed() > 4);
}

/* So that the next one can fail. */
static void jansson_alone_leaves_the_key(void **state)
{
	(void)state;
	/* What Jansson does by itself, where it can be seen. */
	json_set_alloc_funcs(malloc, free);
	write_and_read_a_key();
	assert_true(free_watch_dirty() >= 3);
}

static void with_wiping_memory_nothing_is_left(void **state)
{
	(void)state;
	json_end_without_memory();
	write_and_read_a_key();
	assert_int_equal(free_watch_dirty(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jansson_alone_leaves_the_key),
		cmocka_unit_test(with_wiping_memory_nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
