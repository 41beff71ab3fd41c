/* SPDX-License-Identifier: Apache-2.0 */
/* Two real key managers, north and south, each at the end of its own link; the test carries what
 * they say to each other, as two engines would. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "fixture_pki.h"
#include "helper_peer.h"
#include "keyd_fixture.h"

#define NORTH	  "north.example"
#define SOUTH	  "south.example"
#define MIGRATION "migration 4d494752"

enum { DISKS = 2 };

typedef struct Side {
	KeydWorld *keyd;
	FixtureDomain domain;
	PkiPair agree;
	FixturePem sign_pem, agree_pem;
} Side;

typedef struct Pair {
	Side north, south;
	KeyRecord keys[DISKS]; /* north's */
	KeyTransfer request;
	KeyTransferred answer;
	bool restarts; /* each key manager is killed and started anew before each step */
} Pair;

static int64_t now_s(void)
{
	return (int64_t)time(NULL);
}

static void side_open(Side *side, const char *domain)
{
	side->keyd = keyd_world_new();
	fixture_domain_open(&side->domain, domain, now_s());
	side->sign_pem = fixture_issue_pem(&side->domain, SPIFFE_KEYD, NULL, PKI_USE_SIGN, now_s());
	side->agree = fixture_issue(&side->domain, SPIFFE_KEYD, NULL, PKI_USE_AGREE, now_s());
	side->agree_pem = fixture_pem_of(&side->agree);
	side->keyd->pem[0] = &side->sign_pem.certificate;
	side->keyd->pem[1] = &side->sign_pem.key;
	side->keyd->pem[2] = &side->agree_pem.certificate;
	side->keyd->pem[3] = &side->agree_pem.key;
}

static void side_close(Side *side)
{
	keyd_world_free(side->keyd);
	pki_pair_clear(&side->agree);
	fixture_pem_clear(&side->sign_pem);
	fixture_pem_clear(&side->agree_pem);
	fixture_domain_close(&side->domain);
}

static void trust(Side *side, const FixtureDomain *domain, uint64_t number, const X509 *revoked)
{
	AUTO_BUFFER Buffer crl = fixture_crl(domain, number, now_s(), revoked);

	role_send_anchor(&side->keyd->keyd, domain->name, &domain->root_pem);
	role_send_crl(&side->keyd->keyd, domain->name, &crl);
}

static void start(Pair *pair, Side *side)
{
	keyd_start(side->keyd);
	trust(side, &pair->north.domain, 1, NULL);
	trust(side, &pair->south.domain, 1, NULL);
}

static void restart(Pair *pair, Side *side)
{
	int status;

	assert_int_equal(kill(side->keyd->keyd.pid, SIGKILL), 0);
	assert_int_equal(waitpid(side->keyd->keyd.pid, &status, 0), side->keyd->keyd.pid);
	ipc_link_free(TAKE_PTR(side->keyd->keyd.link));
	start(pair, side);
}

static int pair_open(void **state)
{
	Pair *pair = calloc(1, sizeof(*pair));
	KeyTransfer *request = &pair->request;

	assert_non_null(pair);
	side_open(&pair->north, NORTH);
	side_open(&pair->south, SOUTH);
	start(pair, &pair->north);
	start(pair, &pair->south);
	snprintf(request->who, sizeof(request->who), MIGRATION);
	memcpy(request->migration, "MIGRMIGRMIGRMIGR", sizeof(request->migration));
	snprintf(request->vm, sizeof(request->vm), KEYD_VM);
	snprintf(request->owner, sizeof(request->owner), NORTH);
	snprintf(request->source, sizeof(request->source), NORTH);
	snprintf(request->destination, sizeof(request->destination), SOUTH);
	request->epoch = 4;
	pair->keys[0] = keyd_create(pair->north.keyd, KEYD_VM, "vda");
	pair->keys[1] = keyd_create(pair->north.keyd, KEYD_VM, "vdb");
	*state = pair;
	return 0;
}

static int pair_close(void **state)
{
	Pair *pair = *state;

	keyd_stop(pair->north.keyd);
	keyd_stop(pair->south.keyd);
	side_close(&pair->north);
	side_close(&pair->south);
	free(pair);
	return 0;
}

/* The answer's document goes with the request of the next step, unless it is taken away. */
static void carry(Pair *pair)
{
	pair->request.document_size = pair->answer.document_size;
	memcpy(pair->request.document, pair->answer.document, pair->answer.document_size);
}

static void step(Pair *pair, Side *side, TransferKind kind)
{
	IpcMessage message;

	if (pair->restarts)
		restart(pair, side);
	pair->request.kind = kind;
	keyd_ask(side->keyd, KEYD_TRANSFER, &key_transfer_schema, &pair->request, KEYD_TRANSFERRED,
		 &message);
	pair->answer = *(const KeyTransferred *)message.payload;
	ipc_message_clear(&message, side->keyd->keyd.link);
	assert_int_equal(pair->answer.kind, kind);
	carry(pair);
}

static void refused(Pair *pair, Side *side, TransferKind kind, ErrorCategory category,
		    const char *words)
{
	pair->request.kind = kind;
	keyd_refused(side->keyd, KEYD_TRANSFER, &key_transfer_schema, &pair->request, category,
		     words);
}

/* As the signed offer of the host would name them. */
static void name_keys(Pair *pair)
{
	step(pair, &pair->north, TRANSFER_NAME_KEYS);
	assert_int_equal(pair->answer.keys_count, DISKS);
	memcpy(pair->request.keys, pair->answer.keys, sizeof(pair->answer.keys));
	pair->request.keys_count = pair->answer.keys_count;
	memset(pair->request.permit, 0x5a, sizeof(pair->request.permit));
}

static void go_to_imported(Pair *pair)
{
	name_keys(pair);
	step(pair, &pair->south, TRANSFER_OFFER);
	step(pair, &pair->north, TRANSFER_EXPORT);
	step(pair, &pair->south, TRANSFER_IMPORT);
}

static KeyRecord key_at(Pair *pair, Side *side, size_t disk)
{
	return keyd_show(side->keyd, &pair->keys[disk], 1);
}

static void assert_states(Pair *pair, KeyState north, KeyState south)
{
	for (size_t i = 0; i < DISKS; i++) {
		assert_int_equal(key_at(pair, &pair->north, i).state, north);
		assert_int_equal(key_at(pair, &pair->south, i).state, south);
	}
}

static void read_value(KeydWorld *keyd, const KeyRecord *key, char ret[KEY_PASSPHRASE_BYTES])
{
	AUTO_FD int fd = keyd_open(keyd, key);

	assert_int_equal(pread(fd, ret, KEY_PASSPHRASE_BYTES, 0), KEY_PASSPHRASE_BYTES);
}

static void whole_way(Pair *pair)
{
	char before[KEY_PASSPHRASE_BYTES], after[KEY_PASSPHRASE_BYTES], words[256];
	KeyRecord moved;

	read_value(pair->north.keyd, &pair->keys[0], before);
	go_to_imported(pair);
	assert_states(pair, KEY_EXPORTING, KEY_IMPORTED);
	step(pair, &pair->north, TRANSFER_IMPORTED);
	pair->request.document_size = 0;
	step(pair, &pair->south, TRANSFER_ACTIVATED);
	assert_states(pair, KEY_EXPORTING, KEY_ACTIVE);
	step(pair, &pair->north, TRANSFER_RELEASE);
	assert_states(pair, KEY_DESTROYED, KEY_ACTIVE);
	step(pair, &pair->south, TRANSFER_RELEASED);
	moved = key_at(pair, &pair->south, 0);
	assert_int_equal(moved.epoch, 4);
	assert_string_equal(moved.owner, NORTH);
	assert_memory_equal(moved.fingerprint, pair->keys[0].fingerprint,
			    sizeof(moved.fingerprint));
	read_value(pair->south.keyd, &moved, after);
	assert_memory_equal(before, after, sizeof(before));
	keyd_log_words(pair->north.keyd, words, sizeof(words));
	assert_non_null(strstr(words, "offered"));
	assert_non_null(strstr(words, "wiped"));
	keyd_log_words(pair->south.keyd, words, sizeof(words));
	assert_non_null(strstr(words, "received"));
	assert_int_equal(keyd_verify(pair->north.keyd).keys, DISKS);
	assert_int_equal(keyd_verify(pair->south.keyd).keys, DISKS);
}

static void keys_go_from_one_to_the_other(void **state)
{
	whole_way(*state);
}

static void they_go_though_each_is_killed_before_each_step(void **state)
{
	Pair *pair = *state;

	pair->restarts = true;
	whole_way(pair);
}

static void undone_they_are_where_they_were(void **state)
{
	Pair *pair = *state;

	go_to_imported(pair);
	pair->request.document_size = 0;
	step(pair, &pair->south, TRANSFER_DISCARD);
	assert_states(pair, KEY_EXPORTING, KEY_DESTROYED);
	step(pair, &pair->north, TRANSFER_TAKE_BACK);
	assert_true(pair->answer.exposed);
	assert_states(pair, KEY_ACTIVE, KEY_DESTROYED);
	assert_string_equal(key_at(pair, &pair->north, 0).exposed_to, SOUTH);
}

/* A step for which north needs its other key manager: what that says first, then the answer. */
static void export_elsewhere(Pair *pair, Peer *peer, bool fails)
{
	KeydWorld *north = pair->north.keyd;
	IpcMessage message;

	pair->request.kind = TRANSFER_EXPORT;
	role_send(&north->keyd, KEYD_TRANSFER, ++north->subject, &key_transfer_schema,
		  &pair->request);
	peer_hear(peer, HELPER_GET);
	if (fails)
		peer_say_failed(peer, ERROR_UNAVAILABLE, "it is down");
	else
		peer_say_value(peer, &peer->put);
	keyd_next(north, &message);
	assert_int_equal(message.subject, north->subject);
	assert_int_equal(message.type, fails ? ROLE_FAILED : KEYD_TRANSFERRED);
	if (fails)
		assert_non_null(strstr(((const RoleFailure *)message.payload)->text,
				       "back-end \"kms\": it is down"));
	else
		pair->answer = *(const KeyTransferred *)message.payload;
	ipc_message_clear(&message, north->keyd.link);
}

static void a_value_that_is_elsewhere_goes_along(void **state)
{
	Pair *pair = *state;
	KeydWorld *north = pair->north.keyd;
	char before[KEY_PASSPHRASE_BYTES], after[KEY_PASSPHRASE_BYTES];
	KeyRecord key, moved;
	KeydOpen open;
	IpcMessage message;
	Peer peer;

	peer_bring(north, &peer);
	key = peer_make(north, &peer, KEYD_OTHER, "vda", "ref");
	open = keyd_opening(&key);
	role_send(&north->keyd, KEYD_OPEN, ++north->subject, &keyd_open_schema, &open);
	peer_hear(&peer, HELPER_GET);
	peer_say_value(&peer, &peer.put);
	keyd_next(north, &message);
	assert_int_equal(message.type, KEYD_OPENED);
	assert_int_equal(pread(message.fds[0], before, sizeof(before), 0), sizeof(before));
	ipc_message_clear(&message, north->keyd.link);
	snprintf(pair->request.vm, sizeof(pair->request.vm), KEYD_OTHER);
	step(pair, &pair->north, TRANSFER_NAME_KEYS);
	assert_int_equal(pair->answer.keys_count, 1);
	memcpy(pair->request.keys, pair->answer.keys, sizeof(pair->answer.keys));
	pair->request.keys_count = 1;
	memset(pair->request.permit, 0x5a, sizeof(pair->request.permit));
	step(pair, &pair->south, TRANSFER_OFFER);
	export_elsewhere(pair, &peer, true);
	assert_int_equal(keyd_show(north, &key, 1).state, KEY_ACTIVE);
	export_elsewhere(pair, &peer, false);
	assert_int_equal(keyd_show(north, &key, 1).state, KEY_EXPORTING);
	carry(pair);
	step(pair, &pair->south, TRANSFER_IMPORT);
	step(pair, &pair->north, TRANSFER_IMPORTED);
	pair->request.document_size = 0;
	step(pair, &pair->south, TRANSFER_ACTIVATED);
	moved = keyd_show(pair->south.keyd, &key, 1);
	assert_string_equal(moved.backend, KEY_BACKEND_EMBEDDED);
	read_value(pair->south.keyd, &moved, after);
	assert_memory_equal(before, after, sizeof(before));
	/* First what opens the blob, then the blob. */
	step(pair, &pair->north, TRANSFER_RELEASE);
	assert_int_equal(keyd_show(north, &key, 1).state, KEY_DESTROYED);
	peer_hear(&peer, HELPER_DESTROY);
	assert_string_equal(peer.reference, "ref");
	peer_say(&peer, HELPER_DESTROYED, NULL, NULL);
	peer_take_away(&peer);
}

static void opens_for(Pair *pair, const char *who, const char *refusal)
{
	KeydWorld *south = pair->south.keyd;
	KeydOpen open = keyd_opening(&pair->keys[0]);
	IpcMessage message;

	snprintf(open.who, sizeof(open.who), "%s", who);
	memcpy(open.migration, pair->request.migration, sizeof(open.migration));
	open.epoch = pair->request.epoch;
	if (refusal) {
		keyd_refused(south, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED, refusal);
		return;
	}
	keyd_ask(south, KEYD_OPEN, &keyd_open_schema, &open, KEYD_OPENED, &message);
	ipc_message_clear(&message, south->keyd.link);
}

#define SOUTH_HOST "spiffe://south.example/host/b " MIGRATION
#define OTHER_HOST "spiffe://south.example/host/c " MIGRATION

/* South's key manager is shared: what comes is of the host that it came to. */
static void they_come_to_one_host_of_several(void **state)
{
	Pair *pair = *state;
	KeyTransfer *request = &pair->request;

	name_keys(pair);
	snprintf(request->who, sizeof(request->who), SOUTH_HOST);
	step(pair, &pair->south, TRANSFER_OFFER);
	snprintf(request->who, sizeof(request->who), MIGRATION);
	step(pair, &pair->north, TRANSFER_EXPORT);
	snprintf(request->who, sizeof(request->who), SOUTH_HOST);
	step(pair, &pair->south, TRANSFER_IMPORT);
	opens_for(pair, SOUTH_HOST, NULL);
	opens_for(pair, OTHER_HOST, "is of another host");
	opens_for(pair, MIGRATION, "the key is of spiffe://south.example/host/b");
	request->document_size = 0;
	snprintf(request->who, sizeof(request->who), OTHER_HOST);
	refused(pair, &pair->south, TRANSFER_ACTIVATED, ERROR_DENIED, "is of another host");
	refused(pair, &pair->south, TRANSFER_DISCARD, ERROR_DENIED, "is of another host");
	snprintf(request->who, sizeof(request->who), SOUTH_HOST);
	step(pair, &pair->south, TRANSFER_ACTIVATED);
	assert_int_equal(key_at(pair, &pair->south, 0).state, KEY_ACTIVE);
	opens_for(pair, SOUTH_HOST, NULL);
}

/* --- who is not to be believed --- */

/* How often a refusal stands in the log. */
static int refusals(KeydWorld *keyd)
{
	char words[2048], *at = words;
	int count = 0;

	keyd_log_words(keyd, words, sizeof(words));
	for (; (at = strstr(at, "refused")) != NULL; at++)
		count++;
	return count;
}

static void forget(Side *side, const char *domain)
{
	RoleForget request = { .domain = "" };

	snprintf(request.domain, sizeof(request.domain), "%s", domain);
	role_send(&side->keyd->keyd, ROLE_FORGET, 0, &role_forget_schema, &request);
}

static void a_domain_that_is_not_trusted_is_refused(void **state)
{
	Pair *pair = *state;

	name_keys(pair);
	step(pair, &pair->south, TRANSFER_OFFER);
	forget(&pair->north, SOUTH);
	refused(pair, &pair->north, TRANSFER_EXPORT, ERROR_AUTH, SOUTH);
	assert_int_equal(key_at(pair, &pair->north, 0).state, KEY_ACTIVE);
	assert_int_equal(refusals(pair->north.keyd), 1);
	trust(&pair->north, &pair->south.domain, 1, NULL);
	step(pair, &pair->north, TRANSFER_EXPORT);
	forget(&pair->south, NORTH);
	refused(pair, &pair->south, TRANSFER_IMPORT, ERROR_AUTH, NORTH);
	assert_int_equal(refusals(pair->south.keyd), 1);
	trust(&pair->south, &pair->north.domain, 1, NULL);
	step(pair, &pair->south, TRANSFER_IMPORT);
}

static void a_certificate_that_is_revoked_is_refused(void **state)
{
	Pair *pair = *state;

	name_keys(pair);
	step(pair, &pair->south, TRANSFER_OFFER);
	trust(&pair->north, &pair->south.domain, 2, pair->south.agree.certificate);
	refused(pair, &pair->north, TRANSFER_EXPORT, ERROR_AUTH, "revoked");
	assert_int_equal(key_at(pair, &pair->north, 0).state, KEY_ACTIVE);
	/* One that is not newer brings it back no more than it would in a host's gate. */
	trust(&pair->north, &pair->south.domain, 1, NULL);
	keyd_expect_refusal(pair->north.keyd, 0, ERROR_AUTH, "CRL of " SOUTH);
	refused(pair, &pair->north, TRANSFER_EXPORT, ERROR_AUTH, "revoked");
}

static void without_a_fresh_crl_nobody_is_believed(void **state)
{
	Pair *pair = *state;
	AUTO_BUFFER Buffer stale =
		fixture_crl(&pair->south.domain, 7, now_s() - 2 * PKI_DAY_S, NULL);

	name_keys(pair);
	step(pair, &pair->south, TRANSFER_OFFER);
	forget(&pair->north, SOUTH);
	role_send_anchor(&pair->north.keyd->keyd, SOUTH, &pair->south.domain.root_pem);
	role_send_crl(&pair->north.keyd->keyd, SOUTH, &stale);
	keyd_expect_refusal(pair->north.keyd, 0, ERROR_AUTH, "CRL of " SOUTH);
	refused(pair, &pair->north, TRANSFER_EXPORT, ERROR_AUTH, "CRL");
}

static void documents_of_another_move_are_refused(void **state)
{
	Pair *pair = *state;

	go_to_imported(pair);
	/* South's receipt, with one bit of it changed, and for a permit that nobody gave. */
	pair->request.document[pair->request.document_size / 2] ^= 1;
	refused(pair, &pair->north, TRANSFER_IMPORTED, ERROR_AUTH, "imported: ");
	pair->request.document[pair->request.document_size / 2] ^= 1;
	pair->request.permit[0] ^= 1;
	refused(pair, &pair->north, TRANSFER_IMPORTED, ERROR_CONFLICT, "imported: ");
	pair->request.permit[0] ^= 1;
	step(pair, &pair->north, TRANSFER_IMPORTED);
	assert_states(pair, KEY_EXPORTING, KEY_IMPORTED);
}

/* --- what stops the moving of keys and nothing else --- */

static void without_certificates_all_else_is_served(void **state)
{
	Pair *pair = *state;
	KeydWorld *keyd = pair->north.keyd;
	char value[KEY_PASSPHRASE_BYTES];

	keyd_stop(keyd);
	memset(keyd->pem, 0, sizeof(keyd->pem));
	keyd_start(keyd);
	refused(pair, &pair->north, TRANSFER_NAME_KEYS, ERROR_UNAVAILABLE,
		"keys.certificate is not set");
	read_value(keyd, &pair->keys[0], value);
	assert_int_equal(refusals(keyd), 0);
}

static void certificates_that_do_not_fit_stop_moves_alone(void **state)
{
	Pair *pair = *state;
	KeydWorld *keyd = pair->north.keyd;
	AUTO_FIXTURE_PEM FixturePem host =
		fixture_issue_pem(&pair->north.domain, SPIFFE_HOST, "a", PKI_USE_SIGN, now_s());
	const struct {
		const Buffer *pem[KEYD_PEM_FILES];
		const char *words;
	} cases[] = {
		{ { &host.certificate, &host.key, keyd->pem[2], keyd->pem[3] }, "not of a keyd" },
		{ { keyd->pem[2], keyd->pem[3], keyd->pem[2], keyd->pem[3] }, "keys.certificate" },
		{ { keyd->pem[0], keyd->pem[1], keyd->pem[0], keyd->pem[1] },
		  "keys.agree_certificate" },
		{ { keyd->pem[0], keyd->pem[3], keyd->pem[2], keyd->pem[3] }, "keys.certificate" },
		{ { keyd->pem[0], keyd->pem[1], pair->south.keyd->pem[2],
		    pair->south.keyd->pem[3] },
		  "are of two" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		keyd_stop(keyd);
		memcpy(keyd->pem, cases[i].pem, sizeof(keyd->pem));
		keyd_start(keyd);
		refused(pair, &pair->north, TRANSFER_NAME_KEYS, ERROR_UNAVAILABLE, cases[i].words);
		assert_int_equal(key_at(pair, &pair->north, 0).state, KEY_ACTIVE);
	}
}

static void one_move_cannot_ask_for_all(void **state)
{
	Pair *pair = *state;
	KeydWorld *keyd = pair->north.keyd;
	IpcMessage message;
	bool limited = false;
	int asked = 0;

	pair->request.kind = TRANSFER_NAME_KEYS;
	for (; !limited && asked < 20 * LIMIT_KEY_TRANSFERS; asked++) {
		role_send(&keyd->keyd, KEYD_TRANSFER, ++keyd->subject, &key_transfer_schema,
			  &pair->request);
		keyd_next(keyd, &message);
		limited = message.type == ROLE_FAILED;
		if (limited)
			assert_int_equal(((const RoleFailure *)message.payload)->category,
					 ERROR_LIMIT);
		ipc_message_clear(&message, keyd->keyd.link);
	}
	assert_true(limited);
	assert_true(asked >= LIMIT_KEY_TRANSFERS);
	snprintf(pair->request.who, sizeof(pair->request.who), "migration other");
	name_keys(pair);
}

/* --- the way out --- */

static KeydAbandon abandoning(Pair *pair, size_t disk)
{
	KeydAbandon request = { .who = KEYD_WHO,
				.version = 1,
				.seen_by = "nobody.example",
				.reason = "the other host burnt" };

	memcpy(request.id, pair->keys[disk].id, sizeof(request.id));
	memcpy(request.migration, pair->request.migration, sizeof(request.migration));
	return request;
}

static KeyRecord abandon(Pair *pair, Side *side, size_t disk)
{
	KeydAbandon request = abandoning(pair, disk);
	IpcMessage message;
	KeyRecord key;

	keyd_ask(side->keyd, KEYD_ABANDON, &keyd_abandon_schema, &request, KEYD_KEY, &message);
	key = *(const KeyRecord *)message.payload;
	ipc_message_clear(&message, side->keyd->keyd.link);
	return key;
}

static void what_is_abandoned_is_out_of_its_move(void **state)
{
	Pair *pair = *state;
	char value[KEY_PASSPHRASE_BYTES];
	KeyRecord key, shown;

	go_to_imported(pair);
	key = abandon(pair, &pair->north, 0);
	assert_int_equal(key.state, KEY_ACTIVE);
	assert_string_equal(key.exposed_to, SOUTH);
	shown = key_at(pair, &pair->north, 0);
	assert_memory_equal(&shown, &key, sizeof(key));
	(void)abandon(pair, &pair->north, 1);
	assert_states(pair, KEY_ACTIVE, KEY_IMPORTED);
	pair->request.document_size = 0;
	step(pair, &pair->south, TRANSFER_ACTIVATED);
	/* They are active on both sides now, which a person wanted: but no step destroys them. */
	refused(pair, &pair->north, TRANSFER_RELEASE, ERROR_CONFLICT, "release: ");
	read_value(pair->north.keyd, &key, value);
	assert_int_equal(keyd_verify(pair->north.keyd).keys, DISKS);
}

/* What is under the old version is as readable for whoever has seen that as before: the log says so, and
 * that version keeps the mark. */
static void a_rotation_does_not_hide_who_has_seen_a_key(void **state)
{
	Pair *pair = *state;
	KeydLog log = { .who = KEYD_WHO };
	const KeydEntries *entries;
	IpcMessage message;
	KeyRecord key, fresh;

	go_to_imported(pair);
	key = abandon(pair, &pair->north, 0);
	fresh = keyd_rotate(pair->north.keyd, &key);
	assert_int_equal(fresh.version, key.version + 1);
	assert_string_equal(fresh.exposed_to, "");
	assert_string_equal(keyd_show(pair->north.keyd, &key, key.version).exposed_to, SOUTH);
	log.first = pair->north.keyd->head.entries;
	keyd_ask(pair->north.keyd, KEYD_LOG, &keyd_log_schema, &log, KEYD_ENTRIES, &message);
	entries = message.payload;
	assert_int_equal(entries->entries_count, 1);
	assert_int_equal(entries->entries[0].action, KEY_CREATED);
	assert_non_null(strstr(entries->entries[0].detail, "rotated: " SOUTH " has seen version 1"));
	ipc_message_clear(&message, pair->north.keyd->keyd.link);
}

static void what_came_and_is_abandoned_is_destroyed(void **state)
{
	Pair *pair = *state;
	KeydLog log = { .who = KEYD_WHO };
	const KeydEntries *entries;
	IpcMessage message;

	go_to_imported(pair);
	assert_int_equal(abandon(pair, &pair->south, 0).state, KEY_DESTROYED);
	log.first = pair->south.keyd->head.entries;
	keyd_ask(pair->south.keyd, KEYD_LOG, &keyd_log_schema, &log, KEYD_ENTRIES, &message);
	entries = message.payload;
	assert_int_equal(entries->entries_count, 1);
	assert_int_equal(entries->entries[0].action, KEY_DISCARDED);
	assert_non_null(strstr(entries->entries[0].detail, "the other host burnt"));
	ipc_message_clear(&message, pair->south.keyd->keyd.link);
	pair->request.document_size = 0;
	refused(pair, &pair->south, TRANSFER_ACTIVATED, ERROR_CONFLICT, "activated: ");
	assert_int_equal(key_at(pair, &pair->south, 1).state, KEY_IMPORTED);
	/* What is signed then is about all of them, so it has to be true of all of them. */
	step(pair, &pair->south, TRANSFER_DISCARD);
	assert_int_equal(key_at(pair, &pair->south, 1).state, KEY_DESTROYED);
}

/* The move takes the others back: it does not believe that all were. */
static void one_that_is_abandoned_does_not_hold_the_others(void **state)
{
	Pair *pair = *state;

	go_to_imported(pair);
	(void)abandon(pair, &pair->north, 0);
	assert_int_equal(key_at(pair, &pair->north, 1).state, KEY_EXPORTING);
	pair->request.document_size = 0;
	step(pair, &pair->north, TRANSFER_TAKE_BACK);
	assert_int_equal(key_at(pair, &pair->north, 1).state, KEY_ACTIVE);
	assert_string_equal(key_at(pair, &pair->north, 1).exposed_to, SOUTH);
	step(pair, &pair->north, TRANSFER_TAKE_BACK);
	assert_states(pair, KEY_ACTIVE, KEY_IMPORTED);
}

static void what_is_not_on_its_way_is_not_abandoned(void **state)
{
	Pair *pair = *state;
	KeydAbandon request = abandoning(pair, 0);

	keyd_refused(pair->north.keyd, KEYD_ABANDON, &keyd_abandon_schema, &request, ERROR_CONFLICT,
		     "is active: it is not on its way");
	go_to_imported(pair);
	request.migration[0] ^= 1;
	keyd_refused(pair->north.keyd, KEYD_ABANDON, &keyd_abandon_schema, &request, ERROR_CONFLICT,
		     "with another migration");
	request.migration[0] ^= 1;
	request.id[0] ^= 1;
	keyd_refused(pair->north.keyd, KEYD_ABANDON, &keyd_abandon_schema, &request,
		     ERROR_NOT_FOUND, "no key");
	assert_states(pair, KEY_EXPORTING, KEY_IMPORTED);
	assert_int_equal(refusals(pair->north.keyd), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, pair_open, pair_close)
		WITH(keys_go_from_one_to_the_other),
		WITH(they_go_though_each_is_killed_before_each_step),
		WITH(undone_they_are_where_they_were),
		WITH(they_come_to_one_host_of_several),
		WITH(a_value_that_is_elsewhere_goes_along),
		WITH(a_domain_that_is_not_trusted_is_refused),
		WITH(a_certificate_that_is_revoked_is_refused),
		WITH(without_a_fresh_crl_nobody_is_believed),
		WITH(documents_of_another_move_are_refused),
		WITH(without_certificates_all_else_is_served),
		WITH(certificates_that_do_not_fit_stop_moves_alone),
		WITH(one_move_cannot_ask_for_all),
		WITH(what_is_abandoned_is_out_of_its_move),
		WITH(a_rotation_does_not_hide_who_has_seen_a_key),
		WITH(what_came_and_is_abandoned_is_destroyed),
		WITH(one_that_is_abandoned_does_not_hold_the_others),
		WITH(what_is_not_on_its_way_is_not_abandoned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
