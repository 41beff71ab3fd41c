/* SPDX-License-Identifier: Apache-2.0 */
/* A real key manager that hosts share: whose keys are whose, and a move between two of them, step
 * by step, in good and bad order, also when it is killed before each step. It has no certificates.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "keyd_fixture.h"
#include "role/keylink_messages.h"

#define DOMAIN "north.example"
#define A      "spiffe://north.example/host/a"
#define B      "spiffe://north.example/host/b"
#define C      "spiffe://north.example/host/c"
#define D      "spiffe://north.example/host/d"
#define OWN    ""

enum { DISKS = 2 };

typedef struct World {
	KeydWorld *keyd;
	KeyRecord keys[DISKS]; /* A's */
	KeyTransfer request;
	KeyTransferred answer;
	bool restarts; /* it is killed and started anew before each step */
} World;

/* As keylink makes it: the host, then what that says itself. */
static void say_who(char *who, const char *host)
{
	snprintf(who, KEY_WHO_SIZE, "%s%smigration 4d494752", host, host[0] ? " " : "");
}

static KeyRecord create(World *world, const char *host, const char *slot)
{
	KeydCreate create = keyd_wanted(KEYD_VM, slot);
	IpcMessage message;
	KeyRecord key;

	say_who(create.who, host);
	keyd_ask(world->keyd, KEYD_CREATE, &keyd_create_schema, &create, KEYD_KEY, &message);
	key = *(const KeyRecord *)message.payload;
	ipc_message_clear(&message, world->keyd->keyd.link);
	return key;
}

static int world_open(void **state)
{
	World *world = calloc(1, sizeof(*world));
	KeyTransfer *request = &world->request;

	assert_non_null(world);
	world->keyd = keyd_world_new();
	keyd_start(world->keyd);
	world->keys[0] = create(world, A, "vda");
	world->keys[1] = create(world, A, "vdb");
	memcpy(request->migration, "MIGRMIGRMIGRMIGR", sizeof(request->migration));
	memset(request->permit, 0x5a, sizeof(request->permit));
	snprintf(request->vm, sizeof(request->vm), KEYD_VM);
	snprintf(request->owner, sizeof(request->owner), DOMAIN);
	snprintf(request->source, sizeof(request->source), DOMAIN);
	snprintf(request->destination, sizeof(request->destination), DOMAIN);
	request->epoch = 4;
	*state = world;
	return 0;
}

static int world_close(void **state)
{
	World *world = *state;

	keyd_stop(world->keyd);
	keyd_world_free(world->keyd);
	free(world);
	return 0;
}

static void restart(World *world)
{
	int status;

	assert_int_equal(kill(world->keyd->keyd.pid, SIGKILL), 0);
	assert_int_equal(waitpid(world->keyd->keyd.pid, &status, 0), world->keyd->keyd.pid);
	ipc_link_free(TAKE_PTR(world->keyd->keyd.link));
	keyd_start(world->keyd);
}

/* --- whose keys are whose --- */

static KeydOpen opening(const World *world, size_t disk, const char *host)
{
	KeydOpen open = keyd_opening(&world->keys[disk]);

	say_who(open.who, host);
	memcpy(open.migration, world->request.migration, sizeof(open.migration));
	open.epoch = 4;
	return open;
}

static void opens(World *world, size_t disk, const char *host)
{
	KeydOpen open = opening(world, disk, host);
	IpcMessage message;

	keyd_ask(world->keyd, KEYD_OPEN, &keyd_open_schema, &open, KEYD_OPENED, &message);
	ipc_message_clear(&message, world->keyd->keyd.link);
	role_send(&world->keyd->keyd, KEYD_USED, world->keyd->subject, NULL, NULL);
}

static void opens_not(World *world, size_t disk, const char *host)
{
	KeydOpen open = opening(world, disk, host);

	keyd_refused(world->keyd, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED,
		     host[0] ? "is of another host of this domain" : "the key is of " A);
}

static void a_key_is_opened_by_its_host_alone(void **state)
{
	World *world = *state;
	KeyRecord own = create(world, OWN, "vdc");
	KeydOpen open = keyd_opening(&own);

	for (int i = 0; i < 2; i++) {
		opens(world, 0, A);
		opens_not(world, 0, B);
		opens_not(world, 0, OWN);
		/* Our own host's is nobody else's either. */
		say_who(open.who, A);
		keyd_refused(world->keyd, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED,
			     "is of another host of this domain");
		/* And again after a start, as the log says. */
		restart(world);
	}
}

static void a_host_changes_what_is_its_own(void **state)
{
	World *world = *state;
	KeydChange change = keyd_change(&world->keys[0], 0, KEYD_DESTROY);
	KeydName name = keyd_name(&world->keys[0], 0);
	IpcMessage message;

	say_who(change.who, B);
	say_who(name.who, B);
	keyd_refused(world->keyd, KEYD_CHANGE, &keyd_change_schema, &change, ERROR_DENIED,
		     "another host");
	keyd_refused(world->keyd, KEYD_SHOW, &keyd_name_schema, &name, ERROR_DENIED,
		     "another host");
	keyd_refused(world->keyd, KEYD_ROTATE, &keyd_name_schema, &name, ERROR_DENIED,
		     "another host");
	say_who(name.who, OWN);
	keyd_refused(world->keyd, KEYD_ROTATE, &keyd_name_schema, &name, ERROR_DENIED, A);
	/* One that is not there is said to be just that: who waits for its end may stop. */
	memset(change.id, 0x77, sizeof(change.id));
	keyd_refused(world->keyd, KEYD_CHANGE, &keyd_change_schema, &change, ERROR_NOT_FOUND, "");
	/* Of a host that is gone, ours ends what is left. */
	change = keyd_change(&world->keys[0], 0, KEYD_DESTROY);
	say_who(change.who, OWN);
	keyd_ask(world->keyd, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, &message);
	ipc_message_clear(&message, world->keyd->keyd.link);
	say_who(change.who, A);
	memcpy(change.id, world->keys[1].id, sizeof(change.id));
	keyd_ask(world->keyd, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, &message);
	ipc_message_clear(&message, world->keyd->keyd.link);
}

static size_t listed(World *world, const char *host)
{
	KeydList list = { .cursor = 0 };
	IpcMessage message;
	size_t count;

	say_who(list.who, host);
	keyd_ask(world->keyd, KEYD_LIST, &keyd_list_schema, &list, KEYD_KEYS, &message);
	count = ((const KeydKeys *)message.payload)->keys_count;
	ipc_message_clear(&message, world->keyd->keyd.link);
	return count;
}

static void a_host_sees_what_is_its_own(void **state)
{
	World *world = *state;
	KeydCreate again = keyd_wanted(KEYD_VM, "vda");

	create(world, B, "vda");
	assert_int_equal(listed(world, A), DISKS);
	assert_int_equal(listed(world, B), 1);
	assert_int_equal(listed(world, C), 0);
	assert_int_equal(listed(world, OWN), DISKS + 1);
	say_who(again.who, B);
	keyd_refused(world->keyd, KEYD_CREATE, &keyd_create_schema, &again, ERROR_CONFLICT,
		     "vda already");
}

/* --- a move between two of them --- */

static void step(World *world, const char *host, TransferKind kind)
{
	IpcMessage message;

	if (world->restarts)
		restart(world);
	world->request.kind = kind;
	say_who(world->request.who, host);
	keyd_ask(world->keyd, KEYD_TRANSFER, &key_transfer_schema, &world->request,
		 KEYD_TRANSFERRED, &message);
	world->answer = *(const KeyTransferred *)message.payload;
	ipc_message_clear(&message, world->keyd->keyd.link);
	assert_int_equal(world->answer.kind, kind);
	/* The answer's document goes with the request of the next step. */
	world->request.document_size = world->answer.document_size;
	memcpy(world->request.document, world->answer.document, world->answer.document_size);
}

static void refused(World *world, const char *host, TransferKind kind, ErrorCategory category,
		    const char *words)
{
	world->request.kind = kind;
	say_who(world->request.who, host);
	keyd_refused(world->keyd, KEYD_TRANSFER, &key_transfer_schema, &world->request, category,
		     words);
}

static void name_keys(World *world)
{
	world->request.keys_count = 0;
	step(world, A, TRANSFER_NAME_KEYS);
	assert_int_equal(world->answer.keys_count, DISKS);
	memcpy(world->request.keys, world->answer.keys, sizeof(world->answer.keys));
	world->request.keys_count = DISKS;
}

static void go_to_imported(World *world)
{
	name_keys(world);
	step(world, B, TRANSFER_OFFER);
	opens_not(world, 0, B);
	step(world, A, TRANSFER_EXPORT);
	step(world, B, TRANSFER_IMPORT);
	opens(world, 0, B);
	opens(world, 1, B);
	opens_not(world, 0, C);
	assert_int_equal(listed(world, D), 0);
	assert_true(listed(world, B) >= DISKS);
	step(world, A, TRANSFER_IMPORTED);
	world->request.document_size = 0;
}

static void whole_way(World *world)
{
	KeyRecord key;

	/* A copy that B has for itself is no part of it. */
	create(world, B, "vdc");
	go_to_imported(world);
	step(world, B, TRANSFER_ACTIVATED);
	opens(world, 0, B);
	opens_not(world, 0, A);
	opens_not(world, 1, A);
	step(world, A, TRANSFER_RELEASE);
	step(world, B, TRANSFER_RELEASED);
	/* It was active all the time, and is as it was. */
	key = keyd_show(world->keyd, &world->keys[0], 1);
	assert_memory_equal(&key, &world->keys[0], sizeof(key));
	/* An engine that was started anew asks again. */
	world->request.document_size = 0;
	step(world, B, TRANSFER_ACTIVATED);
	step(world, A, TRANSFER_RELEASE);
	world->request.document_size = 0;
	refused(world, A, TRANSFER_TAKE_BACK, ERROR_CONFLICT, "has taken these keys over");
	refused(world, B, TRANSFER_DISCARD, ERROR_CONFLICT, "were taken over");
	opens(world, 0, B);
	assert_int_equal(keyd_verify(world->keyd).keys, DISKS + 1);
}

static void keys_are_handed_over(void **state)
{
	whole_way(*state);
}

static void they_are_though_it_is_killed_before_each_step(void **state)
{
	World *world = *state;

	world->restarts = true;
	whole_way(world);
}

static void undone_they_are_where_they_were(void **state)
{
	World *world = *state;

	go_to_imported(world);
	refused(world, C, TRANSFER_DISCARD, ERROR_DENIED, "of other hosts");
	step(world, B, TRANSFER_DISCARD);
	opens_not(world, 0, B);
	step(world, A, TRANSFER_TAKE_BACK);
	assert_false(world->answer.exposed);
	opens(world, 0, A);
	world->request.document_size = 0;
	refused(world, B, TRANSFER_ACTIVATED, ERROR_CONFLICT, "taken back");
	restart(world);
	opens(world, 0, A);
	opens_not(world, 0, B);
}

static void one_that_never_began_is_undone_too(void **state)
{
	World *world = *state;

	name_keys(world);
	step(world, B, TRANSFER_OFFER);
	world->request.document_size = 0;
	step(world, B, TRANSFER_DISCARD);
	world->request.document_size = 0;
	step(world, A, TRANSFER_TAKE_BACK);
	opens(world, 0, A);
}

/* And there and back again, to and from the key manager's own host. */
static void our_own_host_is_one_of_them(void **state)
{
	World *world = *state;

	name_keys(world);
	step(world, OWN, TRANSFER_OFFER);
	step(world, A, TRANSFER_EXPORT);
	step(world, OWN, TRANSFER_IMPORT);
	world->request.document_size = 0;
	step(world, OWN, TRANSFER_ACTIVATED);
	opens(world, 0, OWN);
	memcpy(world->request.migration, "BACKBACKBACKBACK", sizeof(world->request.migration));
	step(world, A, TRANSFER_OFFER);
	step(world, OWN, TRANSFER_EXPORT);
	step(world, A, TRANSFER_IMPORT);
	world->request.document_size = 0;
	step(world, A, TRANSFER_ACTIVATED);
	opens(world, 0, A);
	restart(world);
	opens(world, 0, A);
}

static void nobody_gets_keys_that_were_not_offered_to_him(void **state)
{
	World *world = *state;

	name_keys(world);
	refused(world, C, TRANSFER_ACTIVATED, ERROR_DENIED, "another host");
	step(world, B, TRANSFER_OFFER);
	/* Whose they are not cannot give them away. */
	refused(world, C, TRANSFER_EXPORT, ERROR_DENIED, "another host");
	step(world, A, TRANSFER_EXPORT);
	refused(world, C, TRANSFER_IMPORT, ERROR_DENIED, "of other hosts");
	world->request.document_size = 0;
	refused(world, C, TRANSFER_ACTIVATED, ERROR_DENIED, "of other hosts");
	refused(world, A, TRANSFER_RELEASE, ERROR_CONFLICT, "has not taken");
	opens(world, 0, A);
}

/* B is to get two keys of A, and asks for one of C's with them. */
static void a_handover_is_of_its_own_keys(void **state)
{
	World *world = *state;
	KeyRecord foreign = create(world, C, "vdz");
	KeydOpen open = keyd_opening(&foreign);
	OfferedKey *key;

	go_to_imported(world);
	key = &world->request.keys[0];
	memcpy(key->id, foreign.id, sizeof(key->id));
	memcpy(key->slot, foreign.slot, sizeof(key->slot));
	memcpy(key->fingerprint, foreign.fingerprint, sizeof(key->fingerprint));
	refused(world, B, TRANSFER_ACTIVATED, ERROR_DENIED, "is not of its handover");
	say_who(open.who, B);
	keyd_refused(world->keyd, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED,
		     "another host");
}

static void a_line_that_is_another_is_refused(void **state)
{
	World *world = *state;
	KeyTransfer good;

	name_keys(world);
	step(world, B, TRANSFER_OFFER);
	good = world->request;
	/* Each length but the whole; what does not even begin as ours is no CMS either. */
	for (size_t size = 20; size < good.document_size; size++) {
		if (size % 16 == 0)
			restart(world); /* that its limits are new */
		world->request.document_size = size;
		refused(world, A, TRANSFER_EXPORT, ERROR_PEER, "no offer of a handover");
	}
	restart(world);
	world->request = good;
	memcpy(world->request.migration, "ANOTHERANOTHERAN", sizeof(good.migration));
	refused(world, A, TRANSFER_EXPORT, ERROR_PEER, "no offer of a handover");
	world->request = good;
	world->request.epoch = 2;
	refused(world, A, TRANSFER_EXPORT, ERROR_DENIED, "an older copy of the VM");
	world->request = good;
	snprintf(world->request.vm, sizeof(world->request.vm), KEYD_OTHER);
	refused(world, A, TRANSFER_EXPORT, ERROR_DENIED, "of another VM or owner");
	world->request = good;
	world->request.keys[0].fingerprint[0] ^= 1;
	refused(world, A, TRANSFER_EXPORT, ERROR_DENIED, "of another VM or owner");
	world->request = good;
	step(world, A, TRANSFER_EXPORT);
}

int main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_key_is_opened_by_its_host_alone),
		WORLD_TEST(a_host_changes_what_is_its_own),
		WORLD_TEST(a_host_sees_what_is_its_own),
		WORLD_TEST(keys_are_handed_over),
		WORLD_TEST(they_are_though_it_is_killed_before_each_step),
		WORLD_TEST(undone_they_are_where_they_were),
		WORLD_TEST(one_that_never_began_is_undone_too),
		WORLD_TEST(our_own_host_is_one_of_them),
		WORLD_TEST(nobody_gets_keys_that_were_not_offered_to_him),
		WORLD_TEST(a_handover_is_of_its_own_keys),
		WORLD_TEST(a_line_that_is_another_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
