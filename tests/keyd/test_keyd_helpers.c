/* SPDX-License-Identifier: Apache-2.0 */
/* The real sealift-keyd with helpers that are played here, so that they can be slow, dead and
 * hostile: what keyd believes of them, and what it goes on doing meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "helper_peer.h"
#include "programs/keyd/helpers.h"

static int make_world(void **state)
{
	*state = keyd_world_new();
	keyd_start(*state);
	return 0;
}

static int drop_world(void **state)
{
	keyd_world_free(*state);
	return 0;
}

/* A request that is not waited for. */
static uint64_t ask_open(KeydWorld *world, const KeyRecord *key)
{
	KeydOpen open = keyd_opening(key);

	role_send(&world->keyd, KEYD_OPEN, ++world->subject, &keyd_open_schema, &open);
	return world->subject;
}

static void expect_failed(KeydWorld *world, uint64_t subject, ErrorCategory category,
			  const char *words)
{
	const RoleFailure *failure;
	IpcMessage message;

	keyd_next(world, &message);
	assert_int_equal(message.type, ROLE_FAILED);
	assert_int_equal(message.subject, subject);
	failure = message.payload;
	if (!strstr(failure->text, words))
		fail_msg("\"%s\" does not say \"%s\"", failure->text, words);
	assert_int_equal(failure->category, category);
	ipc_message_clear(&message, world->keyd.link);
}

static void expect_lost(KeydWorld *world, uint64_t number, const char *words)
{
	IpcMessage message;

	keyd_next(world, &message);
	assert_int_equal(message.type, KEYD_HELPER_LOST);
	assert_int_equal(message.subject, number);
	if (!strstr(((const KeydHelper *)message.payload)->why, words))
		fail_msg("\"%s\" does not say \"%s\"", ((const KeydHelper *)message.payload)->why,
			 words);
	ipc_message_clear(&message, world->keyd.link);
}

/* One version was destroyed. */
static void expect_changed(KeydWorld *world, uint64_t subject, uint64_t left)
{
	IpcMessage message;

	keyd_next(world, &message);
	assert_int_equal(message.type, KEYD_CHANGED);
	assert_int_equal(message.subject, subject);
	assert_int_equal(((const KeydChanged *)message.payload)->keys, 1);
	assert_int_equal(((const KeydChanged *)message.payload)->left, left);
	ipc_message_clear(&message, world->keyd.link);
}

/* 44 bytes. */
static void expect_opened(KeydWorld *world, uint64_t subject, char ret_passphrase[64])
{
	IpcMessage message;

	keyd_next(world, &message);
	assert_int_equal(message.type, KEYD_OPENED);
	assert_int_equal(message.subject, subject);
	memset(ret_passphrase, 0, 64);
	assert_int_equal(pread(message.fds[0], ret_passphrase, 64, 0), KEY_PASSPHRASE_BYTES);
	ipc_message_clear(&message, world->keyd.link);
}

/* Keyd has read all requests so far. */
static void let_it_read(KeydWorld *world)
{
	char words[512];

	keyd_log_words(world, words, sizeof(words));
}

/* --- tests --- */

static void a_value_goes_and_comes(void **state)
{
	KeydWorld *world = *state;
	char first[64], second[64];
	uint64_t subject;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref-1");
	assert_string_equal(key.backend, PEER_NAME);
	assert_string_equal(key.reference, "ref-1");
	assert_int_equal(peer.put.blob_size, KEY_SEALED_BYTES);
	assert_int_equal(strncmp(peer.put.label, "sealift-", 8), 0);
	for (int i = 0; i < 2; i++) {
		subject = ask_open(world, &key);
		peer_hear(&peer, HELPER_GET);
		assert_string_equal(peer.reference, "ref-1");
		peer_say_value(&peer, &peer.put);
		expect_opened(world, subject, i ? second : first);
	}
	assert_string_equal(first, second);
	assert_null(memmem(peer.put.blob, peer.put.blob_size, first, 16));
	peer_take_away(&peer);
	expect_lost(world, peer.number, "its helper ended");
	keyd_stop(world);
}

static void others_are_served_meanwhile(void **state)
{
	KeydWorld *world = *state;
	uint64_t subject;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	subject = peer_ask_create(world, KEYD_VM, "vda");
	peer_hear(&peer, HELPER_PUT);
	(void)keyd_create(world, KEYD_VM, "vdb");
	key = keyd_create(world, KEYD_OTHER, "vda");
	(void)keyd_rotate(world, &key);
	close(keyd_open(world, &key));
	peer_say_stored(&peer, "ref");
	assert_string_equal(peer_expect_key(world, subject).slot, "vda");
	peer_take_away(&peer);
	expect_lost(world, peer.number, "its helper ended");
	keyd_stop(world);
}

static void a_changed_blob_does_not_open(void **state)
{
	KeydWorld *world = *state;
	char passphrase[64], words[256];
	HelperPut good, other;
	uint64_t subject;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	(void)peer_make(world, &peer, KEYD_VM, "vdb", "ref-b");
	other = peer.put;
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref-a");
	good = peer.put;
	for (size_t i = 0; i < 4; i++) {
		HelperPut changed = i ? good : other;

		if (i == 1)
			changed.blob[0] ^= 1;
		if (i == 2)
			changed.blob_size--;
		if (i == 3)
			changed.blob[changed.blob_size++] = 0;
		subject = ask_open(world, &key);
		peer_hear(&peer, HELPER_GET);
		peer_say_value(&peer, &changed);
		expect_failed(world, subject, ERROR_AUTH, "back-end \"kms\"");
	}
	subject = ask_open(world, &key);
	peer_hear(&peer, HELPER_GET);
	peer_say_value(&peer, &good);
	expect_opened(world, subject, passphrase);
	keyd_log_words(world, words, sizeof(words));
	assert_string_equal(words, "created created refused refused refused refused opened");
	keyd_stop(world);
	peer_take_away(&peer);
}

static void what_changed_meanwhile_is_looked_at(void **state)
{
	KeydWorld *world = *state;
	KeydChange change;
	uint64_t opens, destroys, rotates, first, second;
	KeydName name;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref-1");
	/* Destroyed while its value is on the way here: what opens it is gone at once, and the
	 * blob's end is asked for after that. */
	opens = ask_open(world, &key);
	peer_hear(&peer, HELPER_GET);
	change = keyd_change(&key, 0, KEYD_DESTROY);
	role_send(&world->keyd, KEYD_CHANGE, destroys = ++world->subject, &keyd_change_schema,
		  &change);
	assert_int_equal(keyd_show(world, &key, 0).state, KEY_DESTROYED);
	peer_say_value(&peer, &peer.put);
	expect_failed(world, opens, ERROR_CONFLICT, "destroyed");
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "ref-1");
	peer_say(&peer, HELPER_DESTROYED, NULL, NULL);
	expect_changed(world, destroys, 0);
	/* Retired while a new version is made: there is none, and its blob is deleted. */
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref-2");
	name = keyd_name(&key, 0);
	role_send(&world->keyd, KEYD_ROTATE, rotates = ++world->subject, &keyd_name_schema, &name);
	peer_hear(&peer, HELPER_PUT);
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DEACTIVATE), 1);
	peer_say_stored(&peer, "ref-3");
	expect_failed(world, rotates, ERROR_CONFLICT, "changed meanwhile");
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "ref-3");
	peer_say(&peer, HELPER_DESTROYED, NULL, NULL);
	/* Two for one slot at once: the second comes too late. */
	first = peer_ask_create(world, KEYD_VM, "vdb");
	second = peer_ask_create(world, KEYD_VM, "vdb");
	let_it_read(world);
	peer_hear(&peer, HELPER_PUT);
	peer_say_stored(&peer, "ref-4");
	(void)peer_expect_key(world, first);
	peer_hear(&peer, HELPER_PUT);
	peer_say_stored(&peer, "ref-5");
	expect_failed(world, second, ERROR_CONFLICT, "already");
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "ref-5");
	keyd_stop(world);
	peer_take_away(&peer);
}

static void what_is_uncertain_is_deleted_and_written_down(void **state)
{
	KeydWorld *world = *state;
	HelperNotStored told = { .failure = { ERROR_UNAVAILABLE, "cut off" } };
	uint64_t subject;
	char words[256];
	Peer peer;

	peer_bring(world, &peer);
	subject = peer_ask_create(world, KEYD_VM, "vda");
	peer_hear(&peer, HELPER_PUT);
	told.certain = true;
	peer_say(&peer, HELPER_NOT_STORED, &helper_not_stored_schema, &told);
	expect_failed(world, subject, ERROR_UNAVAILABLE, "back-end \"kms\": cut off");
	subject = peer_ask_create(world, KEYD_VM, "vda");
	peer_hear(&peer, HELPER_PUT);
	told.certain = false;
	snprintf(told.reference, sizeof(told.reference), "perhaps");
	peer_say(&peer, HELPER_NOT_STORED, &helper_not_stored_schema, &told);
	expect_failed(world, subject, ERROR_UNAVAILABLE, "back-end \"kms\": cut off");
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "perhaps");
	/* It fails, and is asked for again. */
	peer_say_failed(&peer, ERROR_UNAVAILABLE, "still cut off");
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "perhaps");
	peer_say(&peer, HELPER_DESTROYED, NULL, NULL);
	keyd_log_words(world, words, sizeof(words));
	assert_string_equal(words, "refused");
	keyd_stop(world);
	peer_take_away(&peer);
}

static void a_deletion_that_fails_is_told_and_tried_again(void **state)
{
	KeydWorld *world = *state;
	KeydChange change;
	uint64_t destroys;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref");
	change = keyd_change(&key, 0, KEYD_DESTROY);
	role_send(&world->keyd, KEYD_CHANGE, destroys = ++world->subject, &keyd_change_schema,
		  &change);
	peer_hear(&peer, HELPER_DESTROY);
	assert_int_equal(keyd_show(world, &key, 1).state, KEY_DESTROYED);
	peer_say_failed(&peer, ERROR_UNAVAILABLE, "not now");
	expect_changed(world, destroys, 1);
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "ref");
	keyd_stop(world);
	peer_take_away(&peer);
}

/* What a helper must not say ends its link, fails what waits for it, and nothing else. */
static void lies_end_the_link(void **state)
{
	static const char *const lies[] = {
		"another's answer", "another question", "unasked",
		"a short message",  "a descriptor",	"nothing at all"
	};
	KeydWorld *world = *state;
	HelperReference reference = { "x" };
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		uint64_t first, second;
		char slot[16];
		Peer peer;

		peer_bring(world, &peer);
		snprintf(slot, sizeof(slot), "vd%zu", i);
		first = peer_ask_create(world, KEYD_VM, slot);
		second = peer_ask_create(world, KEYD_VM, "other");
		let_it_read(world);
		peer_hear(&peer, HELPER_PUT);
		if (i == 0)
			peer_say_value(&peer, &peer.put);
		if (i == 1)
			peer.subject++;
		if (i == 1)
			peer_say_stored(&peer, "x");
		if (i == 2)
			peer_say(&peer, HELPER_DESTROYED, NULL, NULL);
		if (i == 3)
			peer_say(&peer, HELPER_STORED, NULL, NULL);
		if (i == 4)
			assert_true(ipc_send(peer.role.link, HELPER_STORED, peer.subject,
					     &helper_reference_schema, &reference, (int[]){ 0 }, 1,
					     &err));
		if (i == 5)
			peer_take_away(&peer);
		expect_failed(world, first, i == 5 ? ERROR_UNAVAILABLE : ERROR_PEER,
			      "back-end \"kms\"");
		expect_failed(world, second, i == 5 ? ERROR_UNAVAILABLE : ERROR_PEER,
			      "back-end \"kms\"");
		expect_lost(world, peer.number, "");
		(void)keyd_create(world, KEYD_OTHER, slot);
		peer_take_away(&peer);
	}
	keyd_stop(world);
}

static void so_many_wait_and_no_more(void **state)
{
	KeydWorld *world = *state;
	uint64_t first = 0;
	KeyRecord key;
	Peer peer;

	peer_bring(world, &peer);
	key = peer_make(world, &peer, KEYD_VM, "vda", "ref");
	for (size_t i = 0; i < HELPER_QUEUE; i++) {
		uint64_t subject = ask_open(world, &key);

		first = first ? first : subject;
	}
	(void)ask_open(world, &key);
	expect_failed(world, world->subject, ERROR_LIMIT, "32 requests wait for it already");
	for (size_t i = 0; i < HELPER_QUEUE; i++) {
		char passphrase[64];

		peer_hear(&peer, HELPER_GET);
		peer_say_value(&peer, &peer.put);
		expect_opened(world, first + i, passphrase);
	}
	keyd_stop(world);
	peer_take_away(&peer);
}

static void a_new_helper_takes_the_place(void **state)
{
	KeydWorld *world = *state;
	uint64_t subject;
	Peer old, fresh;

	peer_tell(world, PEER_NAME, HELPER_KIND_KMIP, ++world->subject, NULL);
	subject = peer_ask_create(world, KEYD_VM, "vda");
	expect_failed(world, subject, ERROR_UNAVAILABLE, "back-end \"kms\": it is out");
	peer_bring(world, &old);
	subject = peer_ask_create(world, KEYD_VM, "vda");
	peer_hear(&old, HELPER_PUT);
	peer_bring(world, &fresh);
	expect_failed(world, subject, ERROR_UNAVAILABLE, "back-end \"kms\": its helper ended");
	(void)peer_make(world, &fresh, KEYD_VM, "vda", "ref");
	keyd_stop(world);
	peer_take_away(&old);
	peer_take_away(&fresh);
}

static void too_many_and_roots_are_no_back_ends(void **state)
{
	KeydWorld *world = *state;
	char name[16];

	peer_tell(world, "root", HELPER_KIND_PKCS11_ROOT, ++world->subject, NULL);
	expect_lost(world, world->subject, "keeps no values");
	peer_tell(world, "chip", HELPER_KIND_TPM2, ++world->subject, NULL);
	expect_lost(world, world->subject, "keeps no values");
	for (int i = 0; i < KEYD_BACKENDS - 1; i++) {
		snprintf(name, sizeof(name), "kms%d", i);
		peer_tell(world, name, HELPER_KIND_BARBICAN, ++world->subject, NULL);
	}
	peer_tell(world, "more", HELPER_KIND_KMIP, ++world->subject, NULL);
	expect_lost(world, world->subject, "7 back-ends are there already");
	keyd_stop(world);
}

static void all_are_asked_how_they_are(void **state)
{
	KeydWorld *world = *state;
	KeydWho who = { .who = KEYD_WHO };
	HelperOk ok = { "KMIP 1.4" };
	const KeydBackends *told;
	IpcMessage message;
	Peer peer;

	peer_bring(world, &peer);
	peer_tell(world, "away", HELPER_KIND_PKCS11, ++world->subject, NULL);
	role_send(&world->keyd, KEYD_PLACES, ++world->subject, &keyd_who_schema, &who);
	peer_hear(&peer, HELPER_CHECK);
	peer_say(&peer, HELPER_OK, &helper_ok_schema, &ok);
	keyd_next(world, &message);
	assert_int_equal(message.type, KEYD_BACKEND_LIST);
	told = message.payload;
	assert_int_equal(told->backends_count, 3);
	assert_true(told->backends[0].usable);
	assert_true(told->backends[1].usable);
	assert_string_equal(told->backends[1].text, "KMIP 1.4");
	assert_string_equal(told->backends[1].type, "kmip");
	assert_false(told->backends[2].usable);
	assert_non_null(strstr(told->backends[2].text, "it is out"));
	ipc_message_clear(&message, world->keyd.link);
	keyd_stop(world);
	peer_take_away(&peer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, drop_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_value_goes_and_comes),
		TEST(others_are_served_meanwhile),
		TEST(a_changed_blob_does_not_open),
		TEST(what_changed_meanwhile_is_looked_at),
		TEST(what_is_uncertain_is_deleted_and_written_down),
		TEST(a_deletion_that_fails_is_told_and_tried_again),
		TEST(lies_end_the_link),
		TEST(so_many_wait_and_no_more),
		TEST(a_new_helper_takes_the_place),
		TEST(too_many_and_roots_are_no_back_ends),
		TEST(all_are_asked_how_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
