/* SPDX-License-Identifier: Apache-2.0 */
/* What the store remembers of migrations: bounded, under the log's MAC, and read by newer versions;
 * and moves of keys whose values are in other back-ends. */
#include "tests/keys/transfer_world.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "keys/key_store_internal.h"

/* --- rows --- */

static TransferRecord record_of(uint64_t number, TransferStage stage, uint64_t changed_s)
{
	TransferRecord record = { .stage = stage,
				  .vm = "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3b",
				  .owner = "owner.example",
				  .epoch = 1,
				  .source = "north.example",
				  .destination = "south.example",
				  .changed_s = changed_s };

	store_be64(record.migration, number);
	store_be64(record.package, number);
	return record;
}

static bool put(KeyFixture *f, const TransferRecord *record)
{
	KeyReason reason = sample_reason(KEY_ATTESTED);

	f->err = ERROR_INIT;
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	if (key_store_note(f->store, NULL, &reason, &f->err) &&
	    key_store_transfer_put(f->store, record, &f->err))
		return key_store_commit(f->store, &f->err);
	key_store_undo(f->store);
	return false;
}

static bool is_known(KeyFixture *f, uint64_t number, TransferRecord *ret_record)
{
	TransferRecord wanted = record_of(number, TRANSFER_STAGE_EXPORTED, 0);
	bool known, has_package;

	assert_works(
		key_store_transfer_get(f->store, wanted.migration, ret_record, &known, &f->err),
		&f->err);
	assert_works(
		key_store_transfer_has_package(f->store, wanted.package, &has_package, &f->err),
		&f->err);
	assert_int_equal(known, has_package);
	return known;
}

static void what_is_put_is_there(void **state)
{
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_EXPORTED, 1000), read;

	assert_false(is_known(f, 1, &read));
	assert_true(put(f, &one));
	assert_true(is_known(f, 1, &read));
	assert_memory_equal(&read, &one, sizeof(one));
	one.stage = TRANSFER_STAGE_RELEASED;
	assert_true(put(f, &one));
	key_fixture_close(f);
	key_fixture_open(f);
	assert_true(is_known(f, 1, &read));
	assert_memory_equal(&read, &one, sizeof(one));
	assert_false(is_known(f, 2, &read));
	one.owner[0] = '\0';
	assert_false(put(f, &one));
	assert_int_equal(f->err.category, ERROR_USAGE);
}

/* A row without an entry of the log would leave two heads for one length of it. */
static void a_row_goes_with_the_log(void **state)
{
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_EXPORTED, 1000), read;

	assert_fails(key_store_transfer_put(f->store, &one, &f->err), ERROR_INTERNAL,
		     "but not the log", &f->err);
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_fails(key_store_transfer_put(f->store, &one, &f->err), ERROR_INTERNAL,
		     "but not the log", &f->err);
	key_store_undo(f->store);
	assert_false(is_known(f, 1, &read));
}

static void what_was_undone_is_not_there(void **state)
{
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_EXPORTED, 1000), read;
	KeyReason reason = sample_reason(KEY_ATTESTED);

	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(key_store_note(f->store, NULL, &reason, &f->err), &f->err);
	assert_works(key_store_transfer_put(f->store, &one, &f->err), &f->err);
	assert_true(is_known(f, 1, &read));
	key_store_undo(f->store);
	assert_false(is_known(f, 1, &read));
	assert_true(put(f, &one));
}

static void tampering_is_found(void **state)
{
	static const char *const changes[] = {
		"DELETE FROM transfers WHERE row=1",
		"DELETE FROM transfers",
		"UPDATE transfers SET until=1 WHERE row=2",
		"UPDATE transfers SET migration=zeroblob(16) WHERE row=1",
		"UPDATE transfers SET package=zeroblob(16) WHERE row=1",
		"UPDATE transfers SET digest=zeroblob(48) WHERE row=1",
		"UPDATE transfers SET row=9 WHERE row=1",
		"INSERT INTO transfers SELECT 9, migration, package, until, digest, record FROM "
		"transfers WHERE row=1",
	};
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_EXPORTED, 1000),
		       two = record_of(2, TRANSFER_STAGE_TAKEN_BACK, 1000);
	AUTO_BUFFER Buffer whole = BUFFER_INIT(1 << 20);

	assert_true(put(f, &one) && put(f, &two));
	key_fixture_close(f);
	assert_works(file_read(f->path, 1 << 20, &whole, &f->err), &f->err);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		key_fixture_change(f, changes[i]);
		assert_null(key_store_open(f->path, f->root, &f->err));
		support_check_error(&f->err, ERROR_AUTH, "or a row of transfers", changes[i], 0);
		assert_works(file_replace(f->path, whole.data, whole.used, 0600, &f->err), &f->err);
		key_fixture_open(f);
		key_fixture_close(f);
	}
	/* The text alone is found when it is read. */
	key_fixture_change(f,
			   "UPDATE transfers SET record=replace(record, 'exported', 'imported')");
	key_fixture_open(f);
	assert_fails(
		key_store_transfer_get(f->store, one.migration, &two, &(bool){ false }, &f->err),
		ERROR_AUTH, "a record of transfers was changed", &f->err);
	assert_fails(key_store_verify(f->store, &(uint64_t){ 0 }, &f->err), ERROR_AUTH,
		     "a record of transfers was changed", &f->err);
}

/* The row and the MAC as they were, with the log as it is now. */
static void a_row_put_back_is_found(void **state)
{
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_IMPORTED, 1000);
	char keep[160], line[512];

	assert_true(put(f, &one));
	snprintf(keep, sizeof(keep), "%s.kept", f->path);
	snprintf(line, sizeof(line), "VACUUM INTO '%s'", keep);
	key_fixture_change(f, line);
	key_fixture_open(f);
	one.stage = TRANSFER_STAGE_DISCARDED;
	assert_true(put(f, &one));
	snprintf(line, sizeof(line),
		 "ATTACH '%s' AS old; REPLACE INTO transfers SELECT * FROM old.transfers; "
		 "UPDATE head SET mac=(SELECT mac FROM old.head)",
		 keep);
	key_fixture_change(f, line);
	assert_null(key_store_open(f->path, f->root, &f->err));
	support_check_error(&f->err, ERROR_AUTH, "or a row of transfers", __FILE__, __LINE__);
}

static void old_ones_are_forgotten(void **state)
{
	KeyFixture *f = *state;
	TransferRecord read, one = record_of(1, TRANSFER_STAGE_RELEASED, 1000);
	TransferRecord open = record_of(2, TRANSFER_STAGE_IMPORTED, 1000);
	TransferRecord later = record_of(3, TRANSFER_STAGE_EXPORTED,
					 1000 + TRANSFER_KEEP_S + TRANSFER_KEEP_MIN_S - 1);

	assert_true(put(f, &one) && put(f, &open) && put(f, &later));
	assert_true(is_known(f, 1, &read));
	later = record_of(4, TRANSFER_STAGE_EXPORTED, later.changed_s + 1);
	assert_true(put(f, &later));
	assert_false(is_known(f, 1, &read));
	assert_true(is_known(f, 2, &read));
	assert_true(is_known(f, 3, &read));
	/* One that never ended, after more than a year. */
	later = record_of(5, TRANSFER_STAGE_EXPORTED,
			  open.changed_s + TRANSFER_KEEP_OPEN_S + TRANSFER_KEEP_S - 1);
	assert_true(put(f, &later));
	assert_true(is_known(f, 2, &read));
	later = record_of(6, TRANSFER_STAGE_EXPORTED, later.changed_s + 1);
	assert_true(put(f, &later));
	assert_false(is_known(f, 2, &read));
	assert_true(is_known(f, 3, &read));
}

/* Full: the oldest that has ended goes, none that is under way, and none whose package may come. */
static void there_is_an_end_of_room(void **state)
{
	KeyFixture *f = *state;
	KeyReason reason = sample_reason(KEY_ATTESTED);
	TransferRecord read, more;

	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(key_store_note(f->store, NULL, &reason, &f->err), &f->err);
	for (uint64_t i = 1; i <= LIMIT_TRANSFERS; i++) {
		TransferRecord one = record_of(
			i, i <= 2 ? TRANSFER_STAGE_DISCARDED : TRANSFER_STAGE_EXPORTED, 1000 + i);

		if (i == 2)
			one.expires_s = 5000;
		assert_works(key_store_transfer_put(f->store, &one, &f->err), &f->err);
	}
	assert_works(key_store_commit(f->store, &f->err), &f->err);
	more = record_of(LIMIT_TRANSFERS + 1, TRANSFER_STAGE_EXPORTED,
			 1001 + TRANSFER_KEEP_MIN_S - 1);
	assert_false(put(f, &more));
	assert_int_equal(f->err.category, ERROR_LIMIT);
	more.changed_s++;
	assert_true(put(f, &more));
	assert_false(is_known(f, 1, &read));
	assert_true(is_known(f, 2, &read));
	more = record_of(LIMIT_TRANSFERS + 2, TRANSFER_STAGE_EXPORTED,
			 5000 + TRANSFER_KEEP_MIN_S - 1);
	assert_false(put(f, &more));
	more.changed_s++;
	assert_true(put(f, &more));
	assert_false(is_known(f, 2, &read));
	more = record_of(LIMIT_TRANSFERS + 3, TRANSFER_STAGE_EXPORTED, 1 << 20);
	assert_false(put(f, &more));
	/* What is there may go on. */
	more = record_of(3, TRANSFER_STAGE_RELEASED, 6000);
	assert_true(put(f, &more));
}

/* A domain that begins and gives up without end is refused by itself: the others go on. */
static void a_domain_has_a_share_of_the_room(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	KeyReason reason = sample_reason(KEY_ATTESTED);
	uint64_t count;

	(void)state;
	world_works(world, TRANSFER_OFFER);
	assert_works(key_store_begin(world->south.store, &world->err), &world->err);
	assert_works(key_store_note(world->south.store, NULL, &reason, &world->err), &world->err);
	for (uint64_t i = 1; i <= LIMIT_TRANSFERS_FROM + 1; i++) {
		TransferRecord one = record_of(i, TRANSFER_STAGE_DISCARDED, WORLD_NOW_S);

		if (i == 1)
			snprintf(one.source, sizeof(one.source), "east.example");
		assert_works(key_store_transfer_put(world->south.store, &one, &world->err),
			     &world->err);
	}
	assert_works(key_store_commit(world->south.store, &world->err), &world->err);
	assert_works(key_store_transfer_count_from(world->south.store, "east.example", WORLD_NOW_S,
						   &count, &world->err),
		     &world->err);
	assert_int_equal(count, 1);
	world_fails(world, TRANSFER_OFFER, ERROR_LIMIT,
		    "256 migrations with keys from north.example are remembered");
	world->now_s += TRANSFER_KEEP_MIN_S;
	world_works(world, TRANSFER_OFFER);
}

/* The store of a Sealift that knew no transfers. */
static void a_store_of_format_1_opens(void **state)
{
	KeyFixture *f = *state;
	TransferRecord one = record_of(1, TRANSFER_STAGE_EXPORTED, 1000), read;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	key_fixture_change(f, "DROP TABLE transfers; PRAGMA user_version=1");
	key_fixture_open(f);
	assert_works(key_store_verify(f->store, &(uint64_t){ 0 }, &f->err), &f->err);
	assert_true(put(f, &one));
	key_fixture_close(f);
	key_fixture_open(f);
	assert_true(is_known(f, 1, &read));
	/* And does not go back. */
	key_fixture_change(f, "DROP TABLE transfers; PRAGMA user_version=1");
	assert_null(key_store_open(f->path, f->root, &f->err));
	support_check_error(&f->err, ERROR_AUTH, "or a row of transfers", __FILE__, __LINE__);
}

/* --- values elsewhere --- */

static bool ask_values(TransferWorld *world, TransferKind kind, TransferValues *ret_values)
{
	WorldSide *side = world_side(world, kind);
	TransferParty party = { side->store, side->signer, side->agree, world->anchors, NULL };
	TransferKind from = world_needs(kind);
	KeyTransfer *request = calloc(1, sizeof(*request));
	bool ok;

	assert_non_null(request);
	*request = world->request;
	request->kind = kind;
	if (from != TRANSFER_KIND_COUNT) {
		memcpy(request->document, world->made[from].data, world->made[from].used);
		request->document_size = world->made[from].used;
	}
	world->err = ERROR_INIT;
	ok = key_transfer_values(&party, request, world->now_s, ret_values, &world->err);
	free(request);
	return ok;
}

/* Adds a key of north that another back-end keeps: in a blob, or bare. */
static Secret *add_elsewhere(TransferWorld *world, uint8_t number, bool bare)
{
	KeyReason reason = { KEY_CREATED, "uid 0", "", WORLD_NOW_S };
	OfferedKey *named = &world->request.keys[world->request.keys_count++];
	Secret *value = sample_value(number);
	AUTO_SECRET Secret *blob_key = sample_value(100);
	KeyRecord key;
	Error err = ERROR_INIT;

	sample_key(number, KEY_ACTIVE, &key);
	memcpy(key.vm, world->request.vm, sizeof(key.vm));
	memcpy(key.owner, world->request.owner, sizeof(key.owner));
	snprintf(key.slot, sizeof(key.slot), "elsewhere%u", number);
	snprintf(key.backend, sizeof(key.backend), "kmip1");
	snprintf(key.reference, sizeof(key.reference), "ref %u", number);
	assert_works(key_store_add(world->north.store, &key, bare ? NULL : blob_key, &reason, &err),
		     &err);
	memcpy(named->id, key.id, sizeof(named->id));
	named->version = key.version;
	named->purpose = key.purpose;
	memcpy(named->slot, key.slot, sizeof(named->slot));
	memcpy(named->fingerprint, key.fingerprint, sizeof(named->fingerprint));
	return value;
}

static void values_go_from_back_end_to_back_end(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	AUTO_SECRET Secret *blobbed = add_elsewhere(world, 1, false);
	AUTO_SECRET Secret *bare = add_elsewhere(world, 2, true);
	AUTO_TRANSFER_VALUES TransferValues out = { 0 }, in = { 0 }, end = { 0 };
	AUTO_SECRET Secret *kept = NULL;
	KeyRecord key;
	Error err = ERROR_INIT;

	(void)state;
	world_works(world, TRANSFER_OFFER);
	world_fails(world, TRANSFER_EXPORT, ERROR_UNAVAILABLE,
		    "in the back-end kmip1, was not fetched");
	world_expect(world, &world->north, KEY_ACTIVE);
	assert_true(ask_values(world, TRANSFER_EXPORT, &out));
	assert_int_equal(out.count, 2);
	assert_string_equal(out.keys[0].reference, "ref 1");
	assert_null(out.values[0]);
	/* Fetched wrongly, it does not leave. */
	out.values[0] = TAKE_PTR(bare);
	out.values[1] = TAKE_PTR(blobbed);
	world->values = &out;
	world_fails(world, TRANSFER_EXPORT, ERROR_CONFLICT, "has another fingerprint");
	bare = out.values[0];
	out.values[0] = out.values[1];
	out.values[1] = TAKE_PTR(bare);
	world_works(world, TRANSFER_EXPORT);
	world->values = NULL;
	assert_true(ask_values(world, TRANSFER_IMPORT, &in));
	world_expect(world, &world->south, KEY_STATE_COUNT);
	assert_int_equal(in.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(i ? secret_equal(in.values[i], out.values[i - 1])
			      : in.values[0] != NULL);
	/* The first stays here, the second becomes a blob there, the third is bare there. */
	snprintf(in.keys[1].backend, sizeof(in.keys[1].backend), "barbican1");
	snprintf(in.keys[1].reference, sizeof(in.keys[1].reference), "href");
	secret_free(in.values[1]);
	in.values[1] = sample_value(200);
	snprintf(in.keys[2].backend, sizeof(in.keys[2].backend), "barbican1");
	snprintf(in.keys[2].reference, sizeof(in.keys[2].reference), "href 2");
	secret_free(TAKE_PTR(in.values[2]));
	world->values = &in;
	world_works(world, TRANSFER_IMPORT);
	world->values = NULL;
	assert_int_equal(world_state(&world->south, world, 1, &key), KEY_IMPORTED);
	assert_string_equal(key.backend, "barbican1");
	assert_string_equal(key.reference, "href");
	kept = key_store_value(world->south.store, &key, &err);
	assert_true(kept && secret_equal(kept, in.values[1]));
	world_state(&world->south, world, 2, &key);
	assert_null(key_store_value(world->south.store, &key, &err));
	world_works(world, TRANSFER_IMPORTED);
	world_works(world, TRANSFER_ACTIVATED);
	assert_true(ask_values(world, TRANSFER_RELEASE, &end));
	assert_int_equal(end.count, 2);
	assert_string_equal(end.keys[1].reference, "ref 2");
	world_expect(world, &world->north, KEY_EXPORTING);
	world_works(world, TRANSFER_RELEASE);
	assert_true(ask_values(world, TRANSFER_RELEASE, &end));
	assert_int_equal(end.count, 0);
	world_works(world, TRANSFER_RELEASED);
	world_expect(world, &world->north, KEY_DESTROYED);
}

/* What does not go well tells nothing. */
static void values_are_judged_too(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	AUTO_TRANSFER_VALUES TransferValues values = { 0 };

	(void)state;
	world_go(world, 2);
	world->made[TRANSFER_EXPORT].data[world->made[TRANSFER_EXPORT].used / 2] ^= 1;
	assert_false(ask_values(world, TRANSFER_IMPORT, &values));
	assert_int_equal(values.count, 0);
	world->made[TRANSFER_EXPORT].data[world->made[TRANSFER_EXPORT].used / 2] ^= 1;
	assert_true(ask_values(world, TRANSFER_IMPORT, &values));
	assert_int_equal(values.count, 1);
	transfer_values_clear(&values);
	world_works(world, TRANSFER_IMPORT);
	assert_false(ask_values(world, TRANSFER_IMPORT, &values));
	assert_int_equal(world->err.category, ERROR_CONFLICT);
}

#define WITH_STORE(test)                                                                           \
	cmocka_unit_test_setup_teardown(test, key_fixture_setup, key_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(what_is_put_is_there),
		WITH_STORE(a_row_goes_with_the_log),
		WITH_STORE(what_was_undone_is_not_there),
		WITH_STORE(tampering_is_found),
		WITH_STORE(a_row_put_back_is_found),
		WITH_STORE(old_ones_are_forgotten),
		WITH_STORE(there_is_an_end_of_room),
		cmocka_unit_test(a_domain_has_a_share_of_the_room),
		WITH_STORE(a_store_of_format_1_opens),
		cmocka_unit_test(values_go_from_back_end_to_back_end),
		cmocka_unit_test(values_are_judged_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
