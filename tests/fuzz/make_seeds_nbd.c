/* SPDX-License-Identifier: Apache-2.0 */
/* NBD conversations: a byte of choice (fuzz_nbd.c), then turns (tests/nbd/talk.h). */
#include "tests/fuzz/make_seeds.h"
#include "tests/nbd/cases.h"

#include <stdio.h>

enum { CHOICE_SERVER = 1, CHOICE_READS = 2, CHOICE_WATCH = 4, CHOICE_PIECE = 8, SEED_MAX = 4096 };

static void write_talk(const char *root, const char *name, uint8_t choice, const Talk *talk)
{
	AUTO_BUFFER Buffer seed = BUFFER_INIT(TALK_MAX + 1);
	Error err = ERROR_INIT;

	seeds_must(buffer_put_u8(&seed, choice, &err) &&
			   buffer_put(&seed, talk->bytes.data, talk->bytes.used, &err),
		   &err);
	seeds_write(root, "nbd", name, seed.data, seed.used);
}

/* All commands, one behind the other, each answered. */
static void put_all(Talk *talk, TalkMode mode)
{
	talk_open(talk, mode);
	say_request(talk, NBD_COMMAND_FUA, NBD_COMMAND_WRITE, 1, 512, 1024);
	say_payload(talk, NBD_FROM_CLIENT, 1024);
	say_request(talk, NBD_COMMAND_NO_HOLE, NBD_COMMAND_WRITE_ZEROES, 2, 0, TALK_SIZE_BYTES);
	say_request(talk, 0, NBD_COMMAND_TRIM, 3, 512, 512);
	say_done(talk, 1, 512);
	say_done(talk, 3, 512);
	say_done(talk, 2, 0);
	say_request(talk, 0, NBD_COMMAND_READ, 4, 0, 1536);
	if (mode == TALK_SIMPLE) {
		say_simple(talk, 0, 4);
		say_payload(talk, NBD_FROM_SERVER, 1536);
	} else {
		say_data(talk, 0, 4, 0, 0, 512);
		say_hole(talk, 0, 4, 0, 512, 512);
		say_data(talk, NBD_CHUNK_DONE, 4, 0, 1024, 512);
		say_request(talk, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, 5, 0, 4096);
		say_extent(talk, NBD_CHUNK_DONE, 5, 0, TALK_CONTEXT_ID, 4096, 3);
		say_request(talk, 0, NBD_COMMAND_READ, 6, 0, 512);
		say_error(talk, NBD_CHUNK_DONE, 6, 0, 5, "reading failed");
	}
	say_request(talk, 0, NBD_COMMAND_FLUSH, 7, 0, 0);
	say_done(talk, 7, 0);
	say_request(talk, 0, NBD_COMMAND_DISC, 8, 0, 0);
}

/* What is refused has a good beginning, so that the good ones teach nothing more; nor does a long
 * conversation. */
static void write_cases(const char *root, const char *word, const NbdCase *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		AUTO_TALK Talk talk = TALK_INIT;
		uint8_t choice = (uint8_t)((i % 2 ? CHOICE_SERVER : 0) |
					   (cases[i].access ? CHOICE_READS : 0) |
					   (i % 3 ? CHOICE_WATCH : 0) | (i % 16) * CHOICE_PIECE);
		char name[64];

		cases[i].bad(&talk);
		snprintf(name, sizeof(name), "%s-%zu", word, i);
		if (talk.bytes.used < SEED_MAX)
			write_talk(root, name, choice, &talk);
	}
}

void seeds_write_nbd(const char *root)
{
	static const char *const names[] = { "simple", "structured", "extended" };

	for (TalkMode mode = TALK_SIMPLE; mode <= TALK_EXTENDED; mode++) {
		AUTO_TALK Talk talk = TALK_INIT;

		put_all(&talk, mode);
		write_talk(root, names[mode], (uint8_t)(CHOICE_READS | mode * CHOICE_PIECE), &talk);
	}
	write_cases(root, "handshake", nbd_handshake_cases, nbd_handshake_cases_count);
	write_cases(root, "transmission", nbd_transmission_cases, nbd_transmission_cases_count);
}
