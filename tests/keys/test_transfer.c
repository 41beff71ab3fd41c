/* SPDX-License-Identifier: Apache-2.0 */
/* A move of keys: the good way, again and again, through kills, and undone at each point. */
#include "tests/keys/transfer_world.h"

#include <stdio.h>
#include <string.h>

#include "crypto/digest.h"

static void verify_both(const TransferWorld *world)
{
	Error err = ERROR_INIT;
	uint64_t entries;

	assert_works(key_store_verify(world->north.store, &entries, &err), &err);
	assert_works(key_store_verify(world->south.store, &entries, &err), &err);
}

/* --- the good way --- */

static void test_move(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);

	(void)state;
	world_works(world, TRANSFER_OFFER);
	world_expect(world, &world->north, KEY_ACTIVE);
	world_expect(world, &world->south, KEY_STATE_COUNT);
	world_works(world, TRANSFER_EXPORT);
	world_expect(world, &world->north, KEY_EXPORTING);
	world_works(world, TRANSFER_IMPORT);
	world_expect(world, &world->south, KEY_IMPORTED);
	world_works(world, TRANSFER_IMPORTED);
	assert_int_equal(world->answer.document_size, 0);
	world_expect(world, &world->north, KEY_EXPORTING);
	world_works(world, TRANSFER_ACTIVATED);
	world_expect(world, &world->north, KEY_EXPORTING);
	world_expect(world, &world->south, KEY_ACTIVE);
	world_works(world, TRANSFER_RELEASE);
	world_expect(world, &world->north, KEY_DESTROYED);
	world_works(world, TRANSFER_RELEASED);
	world_expect(world, &world->south, KEY_ACTIVE);
	verify_both(world);
}

/* The value is the same, the mark of exposure is where it belongs, the epoch is the VM's. */
static void test_copy(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, true);
	KeyStatement receipt;
	Error err = ERROR_INIT;

	(void)state;
	world_go(world, WORLD_STEPS);
	world_read(world, TRANSFER_RELEASE, &receipt);
	assert_int_equal(receipt.kind, KEY_STATEMENT_KEPT);
	for (size_t i = 0; i < 2; i++) {
		KeyRecord north, south;

		assert_int_equal(world_state(&world->north, world, i, &north), KEY_ACTIVE);
		assert_int_equal(world_state(&world->south, world, i, &south), KEY_ACTIVE);
		assert_string_equal(north.exposed_to, "south.example");
		assert_string_equal(south.exposed_to, "north.example");
		assert_int_equal(north.epoch, WORLD_EPOCH);
		assert_int_equal(south.epoch, WORLD_EPOCH);

		AUTO_SECRET Secret *one = key_store_value(world->north.store, &north, &err);
		AUTO_SECRET Secret *other = key_store_value(world->south.store, &south, &err);

		assert_true(one && other && secret_equal(one, other));
	}
	verify_both(world);
}

static void test_logs_tell_the_story(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	char id[33], detail[256], story[512];

	(void)state;
	world_go(world, WORLD_STEPS);
	hex_encode(world->request.migration, sizeof(world->request.migration), id);
	snprintf(detail, sizeof(detail), "migration %s to south.example", id);
	world_story(&world->north, detail, story, sizeof(story));
	assert_string_equal(story, "offered attested wiped");
	snprintf(detail, sizeof(detail), "migration %s from north.example", id);
	world_story(&world->south, detail, story, sizeof(story));
	assert_string_equal(story, "received activated attested");
	/* Each names the documents that the other has. */
	for (size_t i = 0; i < 2; i++) {
		AUTO_BUFFER Buffer json =
			world_json(world, i ? TRANSFER_RELEASE : TRANSFER_ACTIVATED);
		uint8_t digest[KEY_DIGEST_BYTES];
		char text[2 * KEY_DIGEST_BYTES + 1];
		Error err = ERROR_INIT;

		assert_works(digest_sha384(json.data, json.used, digest, &err), &err);
		hex_encode(digest, sizeof(digest), text);
		snprintf(detail, sizeof(detail), "receipt %s %s", i ? "destroyed" : "activated",
			 text);
		world_story(i ? &world->south : &world->north, detail, story, sizeof(story));
		assert_string_equal(story, i ? "attested" : "wiped");
	}
}

/* The receipts are a chain. */
static void test_chain_of_receipts(void **state)
{
	static const TransferKind chain[] = { TRANSFER_IMPORT, TRANSFER_ACTIVATED,
					      TRANSFER_RELEASE };
	static const KeyStatementKind kinds[] = { KEY_STATEMENT_IMPORTED, KEY_STATEMENT_ACTIVATED,
						  KEY_STATEMENT_DESTROYED };
	AUTO_WORLD TransferWorld *world = world_open(LIMIT_OFFERED_KEYS, false);
	uint8_t previous[KEY_DIGEST_BYTES] = { 0 };
	KeyStatement receipt;
	Error err = ERROR_INIT;

	(void)state;
	world_go(world, WORLD_STEPS);
	for (size_t i = 0; i < ARRAY_SIZE(chain); i++) {
		AUTO_BUFFER Buffer json = world_json(world, chain[i]);

		world_read(world, chain[i], &receipt);
		assert_int_equal(receipt.kind, kinds[i]);
		assert_memory_equal(receipt.previous, previous, sizeof(previous));
		assert_int_equal(receipt.keys_count, LIMIT_OFFERED_KEYS);
		assert_works(digest_sha384(json.data, json.used, previous, &err), &err);
	}
}

static void test_names_active_keys_only(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(3, false);
	KeyReason retired = { KEY_RETIRED, "uid 0", "", WORLD_NOW_S };
	KeyRecord key;
	Error err = ERROR_INIT;

	(void)state;
	world_state(&world->north, world, 1, &key);
	key.state = KEY_DEACTIVATED;
	assert_works(key_store_change(world->north.store, &key, &retired, &err), &err);
	world_works(world, TRANSFER_NAME_KEYS);
	assert_int_equal(world->answer.keys_count, 2);
	assert_memory_equal(&world->answer.keys[0], &world->request.keys[0], sizeof(OfferedKey));
	assert_memory_equal(&world->answer.keys[1], &world->request.keys[2], sizeof(OfferedKey));
	memset(world->request.owner, 0, sizeof(world->request.owner));
	snprintf(world->request.owner, sizeof(world->request.owner), "other.example");
	world_fails(world, TRANSFER_NAME_KEYS, ERROR_DENIED, "is of the owner owner.example");
	snprintf(world->request.owner, sizeof(world->request.owner), "owner.example");
	world->request.epoch = WORLD_EPOCH - 1;
	world_fails(world, TRANSFER_NAME_KEYS, ERROR_DENIED, "an older copy of the VM");
	world->request.vm[0] = '9';
	world_works(world, TRANSFER_NAME_KEYS);
	assert_int_equal(world->answer.keys_count, 0);
}

/* --- again --- */

static void check_again(TransferWorld *world, TransferKind kind)
{
	AUTO_BUFFER Buffer before = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	bool is_receipt =
		kind == TRANSFER_ACTIVATED || kind == TRANSFER_RELEASE || kind == TRANSFER_DISCARD;
	Error err = ERROR_INIT;

	if (is_receipt) {
		AUTO_BUFFER Buffer json = world_json(world, kind);

		assert_works(buffer_put(&before, json.data, json.used, &err), &err);
	}
	world->now_s += 5;
	world_works(world, kind);
	if (is_receipt) {
		AUTO_BUFFER Buffer json = world_json(world, kind);

		assert_int_equal(json.used, before.used);
		assert_memory_equal(json.data, before.data, json.used);
	}
}

/* May it still be asked again, after `done` steps of the order? */
static bool may_come_again(TransferKind kind, size_t done)
{
	if (kind == TRANSFER_IMPORT)
		return false;
	if (kind == TRANSFER_OFFER) /* until something came */
		return done <= 2;
	return kind != TRANSFER_EXPORT || done <= 3;
}

static void again_after_each(bool keep, bool killed)
{
	AUTO_WORLD TransferWorld *world = world_open(2, keep);

	for (size_t done = 1; done <= WORLD_STEPS; done++) {
		world_works(world, world_order[done - 1]);
		if (killed)
			world_reopen(world);
		for (size_t i = 0; i < done; i++) {
			TransferKind kind = world_order[i];

			if (may_come_again(kind, done))
				check_again(world, kind);
			else
				world_fails(world, kind, ERROR_CONFLICT, "its keys are ");
		}
	}
	world_expect(world, &world->north, keep ? KEY_ACTIVE : KEY_DESTROYED);
	world_expect(world, &world->south, KEY_ACTIVE);
	verify_both(world);
}

static void test_each_step_again(void **state)
{
	(void)state;
	again_after_each(false, false);
	again_after_each(true, false);
}

static void test_killed_between_steps(void **state)
{
	(void)state;
	again_after_each(false, true);
	again_after_each(true, true);
}

/* Steps that are not next. */
static void test_no_step_too_early(void **state)
{
	(void)state;
	for (size_t done = 0; done < WORLD_STEPS; done++) {
		AUTO_WORLD TransferWorld *whole = world_open(1, false);
		AUTO_WORLD TransferWorld *world = world_open(1, false);

		/* A good document of another migration, so that there is one to be judged. */
		world_go(whole, WORLD_STEPS);
		world_go(world, done);
		for (size_t i = done + 1; i < WORLD_STEPS; i++) {
			TransferKind kind = world_order[i], from = world_needs(kind);
			bool is_judged = kind == TRANSFER_EXPORT ||
					 (kind == TRANSFER_IMPORTED && done == 2) ||
					 (kind == TRANSFER_RELEASE && done == 4) ||
					 (kind == TRANSFER_RELEASED && done == 5);

			/* The destination cannot know whether its receipt arrived. */
			if (kind == TRANSFER_ACTIVATED && done == 3)
				continue;
			/* What another's key manager signed is refused for that. */
			if (kind == TRANSFER_IMPORT)
				world_fails_with(world, kind, &whole->made[from], ERROR_AUTH,
						 "made for another permit");
			else
				world_fails_with(
					world, kind,
					from == TRANSFER_KIND_COUNT ? NULL : &whole->made[from],
					is_judged ? ERROR_AUTH : ERROR_CONFLICT,
					is_judged ? "not issued by a root" : "its keys are ");
		}
	}
}

/* The package again: at once, by another engine, after it was undone, with another migration. */
static void test_package_is_good_once(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);

	(void)state;
	world_go(world, 3);
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "its keys are imported here");
	world_reopen(world);
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "its keys are imported here");
	world_works(world, TRANSFER_DISCARD);
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "its keys are discarded here");
	world_reopen(world);
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "its keys are discarded here");
	/* A second package of one migration is no way round. */
	world_works_with(world, TRANSFER_EXPORT, &world->made[TRANSFER_OFFER]);
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "its keys are discarded here");
}

static void test_package_expires(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);

	(void)state;
	world_go(world, 2);
	world->now_s += TRANSFER_PACKAGE_LIFE_S - 1;
	world_works(world, TRANSFER_EXPORT);
	world->now_s++;
	world_fails(world, TRANSFER_EXPORT, ERROR_CONFLICT, "take its keys back");
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "package expired");
	world_works(world, TRANSFER_TAKE_BACK);
	assert_true(world->answer.exposed);
}

/* --- undone --- */

static void new_migration(TransferWorld *world)
{
	world->request.migration[0] ^= 0xff;
	world->request.permit[0] ^= 0xff;
	for (TransferKind kind = 0; kind < TRANSFER_KIND_COUNT; kind++) {
		buffer_clear(&world->made[kind]);
		world->made[kind] = BUFFER_INIT(LIMIT_PACKAGE);
	}
}

static void check_returned(TransferWorld *world, bool exposed)
{
	KeyRecord key;

	world_expect(world, &world->north, KEY_ACTIVE);
	for (size_t i = 0; i < world->request.keys_count; i++) {
		KeyState south = world_state(&world->south, world, i, &key);

		assert_true(south == KEY_STATE_COUNT || south == KEY_DESTROYED);
		assert_int_equal(world_state(&world->north, world, i, &key), KEY_ACTIVE);
		assert_string_equal(key.exposed_to, exposed ? "south.example" : "");
		assert_int_equal(key.epoch, WORLD_EPOCH - 1);
	}
	assert_int_equal(world->answer.exposed, exposed);
}

static void undone_after(size_t done, bool with_receipt, bool killed)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	KeyStatement receipt;

	world_go(world, done);
	world_works(world, TRANSFER_DISCARD);
	world_read(world, TRANSFER_DISCARD, &receipt);
	assert_int_equal(receipt.kind, KEY_STATEMENT_DISCARDED);
	if (killed)
		world_reopen(world);
	check_again(world, TRANSFER_DISCARD);
	world_works_with(world, TRANSFER_TAKE_BACK,
			 with_receipt ? &world->made[TRANSFER_DISCARD] : NULL);
	check_returned(world, done >= 2);
	if (killed)
		world_reopen(world);
	/* Again, and with the receipt if it comes late. */
	world_works_with(world, TRANSFER_TAKE_BACK, NULL);
	check_returned(world, done >= 2);
	world_works(world, TRANSFER_TAKE_BACK);
	world_works(world, TRANSFER_TAKE_BACK);
	check_returned(world, done >= 2);
	/* Nothing of this migration goes on. */
	for (size_t i = 0; i < WORLD_STEPS; i++)
		if (world_needs(world_order[i]) == TRANSFER_KIND_COUNT ||
		    world->made[world_needs(world_order[i])].used)
			world_fails(world, world_order[i], ERROR_CONFLICT, "its keys are ");
	/* Another one does. */
	new_migration(world);
	world_go(world, WORLD_STEPS);
	world_expect(world, &world->north, KEY_DESTROYED);
	verify_both(world);
}

static void test_undone_after_each_step(void **state)
{
	(void)state;
	for (size_t done = 0; done <= 4; done++) {
		undone_after(done, true, false);
		undone_after(done, false, false);
		undone_after(done, true, true);
	}
}

/* Once the VM runs there, only a person can bring it back, and that is written down. */
static void test_not_undone_after_activation(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);

	(void)state;
	world_go(world, 5);
	world_fails(world, TRANSFER_DISCARD, ERROR_CONFLICT, "its keys are activated here");
	world->may_be_both = true;
	world_works(world, TRANSFER_TAKE_BACK); /* resolve --run-here */
	assert_true(world->answer.exposed);
	world_fails(world, TRANSFER_RELEASE, ERROR_CONFLICT, "its keys are taken-back here");
	world_expect(world, &world->north, KEY_ACTIVE);

	AUTO_WORLD TransferWorld *released = world_open(1, false);

	world_go(released, 6);
	world_fails(released, TRANSFER_TAKE_BACK, ERROR_CONFLICT, "its keys are released here");
	world_expect(released, &released->north, KEY_DESTROYED);
}

/* A person ended one key's journey: the rest follows the migration. */
static void test_abandoned_keys_are_left(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	KeyReason back = { KEY_RETURNED, "uid 0", "abandoned", WORLD_NOW_S };
	KeyReason gone = { KEY_DISCARDED, "uid 0", "abandoned", WORLD_NOW_S };
	KeyRecord key;
	Error err = ERROR_INIT;

	(void)state;
	world_go(world, 4);
	world_state(&world->north, world, 0, &key);
	key.state = KEY_ACTIVE;
	memset(key.migration, 0, sizeof(key.migration));
	snprintf(key.exposed_to, sizeof(key.exposed_to), "south.example");
	assert_works(key_store_change(world->north.store, &key, &back, &err), &err);
	world_state(&world->south, world, 1, &key);
	key.state = KEY_DESTROYED;
	memset(key.migration, 0, sizeof(key.migration));
	assert_works(key_store_change(world->south.store, &key, &gone, &err), &err);
	world_fails(world, TRANSFER_ACTIVATED, ERROR_CONFLICT, "is destroyed, not imported");
	world_works(world, TRANSFER_DISCARD);
	world_expect(world, &world->south, KEY_DESTROYED);
	world_works(world, TRANSFER_TAKE_BACK);
	world_expect(world, &world->north, KEY_ACTIVE);
}

/* There and back again, with the same key. */
static void test_comes_back(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	WorldSide north;

	(void)state;
	world_go(world, WORLD_STEPS);
	new_migration(world);
	north = world->north;
	world->north = world->south;
	world->south = north;
	snprintf(world->request.source, sizeof(world->request.source), "south.example");
	snprintf(world->request.destination, sizeof(world->request.destination), "north.example");
	world_fails(world, TRANSFER_OFFER, ERROR_DENIED, "an older copy of the VM");
	world->request.epoch++;
	world_go(world, WORLD_STEPS);
	world_expect(world, &world->north, KEY_DESTROYED);
	world_expect(world, &world->south, KEY_ACTIVE);
	verify_both(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_logs_tell_the_story),
		cmocka_unit_test(test_chain_of_receipts),
		cmocka_unit_test(test_names_active_keys_only),
		cmocka_unit_test(test_each_step_again),
		cmocka_unit_test(test_killed_between_steps),
		cmocka_unit_test(test_no_step_too_early),
		cmocka_unit_test(test_package_is_good_once),
		cmocka_unit_test(test_package_expires),
		cmocka_unit_test(test_undone_after_each_step),
		cmocka_unit_test(test_not_undone_after_activation),
		cmocka_unit_test(test_abandoned_keys_are_left),
		cmocka_unit_test(test_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
