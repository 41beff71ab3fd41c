/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key manager's handlers on a real store and a real link, whatever fails under them. After each
 * failure the store is whole: log, records and values; and no value is open that nobody was given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "programs/keyd/keyd.h"
#include "tests/crypto/fixture_pki.h"
#include "tests/fault/fault.h"
#include "tests/fault/folder.h"

enum { SUBJECT = 9, SMALL_STORE = 6, FAULTS_MAX = 300 };

/* So slow that nobody ever asks too often. */
static int64_t next_minute_us(void *context)
{
	int64_t *minutes = context;

	return ++*minutes * 60000000;
}

static int64_t fixed_wall_s(void *context)
{
	(void)context;
	return FIXTURE_NOW_S;
}

typedef struct KeydFixture {
	FaultFolder *folder;
	Clock clock;
	int64_t minutes;
	Keyd keyd;
	FixtureDomain domain;
	uint64_t runs;
	KeydName made; /* by this run; version 0: none */
} KeydFixture;

static RootKey *fixed_root(Error *err)
{
	AUTO_SECRET Secret *bytes = secret_new(KEY_BYTES, err);

	if (!bytes)
		return NULL;
	memset(secret_bytes(bytes), 0x17, KEY_BYTES);
	return root_key_new("file", bytes, err);
}

static void *keyd_fixture_new(void)
{
	KeydFixture *f = calloc(1, sizeof(*f));
	char path[LIMIT_PATH];
	Error err = ERROR_INIT;

	fault_must(f, &err);
	f->folder = fault_folder_new();
	f->clock = (Clock){ .monotonic_us = next_minute_us,
			    .wall_s = fixed_wall_s,
			    .context = &f->minutes };
	f->keyd.clock = &f->clock;
	f->keyd.root = fixed_root(&err);
	fault_must(f->keyd.root, &err);
	f->keyd.store = key_store_open(fault_path(f->folder, "keys.db", path), f->keyd.root, &err);
	fault_must(f->keyd.store, &err);
	fixture_domain_open(&f->domain, "north.example", FIXTURE_NOW_S);
	f->keyd.anchors = anchor_store_new(&err);
	fault_must(f->keyd.anchors, &err);
	fixture_trust(f->keyd.anchors, &f->domain, FIXTURE_NOW_S);
	f->keyd.signer = fixture_signer(&f->domain, SPIFFE_KEYD, NULL, FIXTURE_NOW_S);
	f->keyd.agree = fixture_envelope_key(&f->domain, FIXTURE_NOW_S);
	return f;
}

static void keyd_fixture_free(void *fixture)
{
	KeydFixture *f = fixture;
	uint64_t entries;
	Error err = ERROR_INIT;

	fault_must(key_store_verify(f->keyd.store, &entries, &err), &err);
	opened_wipe_all(&f->keyd.opened);
	key_store_free(f->keyd.store);
	root_key_free(f->keyd.root);
	anchor_store_free(f->keyd.anchors);
	cms_signer_free(f->keyd.signer);
	envelope_key_free(f->keyd.agree);
	fixture_domain_close(&f->domain);
	fault_folder_free(f->folder);
	free(f);
}

/* --- one request, as serve.c handles it --- */

typedef struct Ends {
	IpcLink *engine, *keyd;
} Ends;

static void ends_close(Ends *ends)
{
	ipc_link_free(ends->engine);
	ipc_link_free(ends->keyd);
}
#define AUTO_ENDS CLEANUP(ends_close)

/* The engine's end accepts what it accepts once keyd serves. */
static bool ends_open(Ends *ends, Error *err)
{
	IpcMessage ready;
	int fds[2];

	if (!ipc_pair(fds, err))
		return false;
	ends->engine = ipc_link_new(fds[0], engine_keyd_rules, err);
	ends->keyd = ipc_link_new(fds[1], keyd_rules, err);
	if (!ends->engine || !ends->keyd ||
	    !ipc_send(ends->keyd, ROLE_READY, 0, NULL, NULL, NULL, 0, err))
		return false;
	return ipc_receive(ends->engine, &ready, err) == IPC_MESSAGE ||
	       error_set(err, ERROR_IO, "no message");
}

/* The answer of this type, behind what keyd tells of its log. Clear it with ipc_message_clear. */
static bool take(Ends *ends, uint16_t type, IpcMessage *ret_message, Error *err)
{
	for (;;) {
		if (ipc_receive(ends->engine, ret_message, err) != IPC_MESSAGE)
			return err->category || error_set(err, ERROR_IO, "no message");
		if (ret_message->type == type)
			return true;
		ipc_message_clear(ret_message, ends->engine);
		if (ret_message->type != KEYD_HEAD)
			return fault_wrong(err, "another answer");
	}
}

static bool ask(Keyd *keyd, Ends *ends, KeydHandler *handler, uint16_t type, void *request,
		uint16_t answer, IpcMessage *ret_message, Error *err)
{
	IpcMessage message = { .type = type, .subject = SUBJECT, .payload = request };
	bool link_ok = true;

	keyd->link = ends->keyd;
	if (!handler(keyd, &message, &link_ok, err))
		return err->category ? false : fault_wrong(err, "it failed and does not say why");
	return !answer || (take(ends, answer, ret_message, err) && !err->category);
}

/* --- the life of a key --- */

static bool make_key(KeydFixture *f, Ends *ends, Error *err)
{
	KeydCreate create = { .who = "uid 1000",
			      .owner = "north.example",
			      .slot = "vda",
			      .backend = KEY_BACKEND_EMBEDDED,
			      .epoch = 1 };
	IpcMessage message = { .type = KEYD_CREATE, .payload = &create };
	const KeyRecord *key;

	snprintf(create.vm, sizeof(create.vm), "7e5710c5-0000-4000-8000-%012llu",
		 (unsigned long long)f->runs);
	if (!keyd_check_share(&f->keyd, &message, err) ||
	    !ask(&f->keyd, ends, keyd_on_create, KEYD_CREATE, &create, KEYD_KEY, &message, err))
		return false;
	key = message.payload;
	f->made = (KeydName){ .who = "uid 1000", .version = key->version };
	memcpy(f->made.id, key->id, sizeof(f->made.id));
	ipc_message_clear(&message, ends->engine);
	return true;
}

static bool open_key(KeydFixture *f, Ends *ends, Error *err)
{
	KeydOpen request = { .who = "uid 1000", .version = 1, .epoch = 1 };
	IpcMessage message, used = { .type = KEYD_USED, .subject = SUBJECT };
	bool ok, link_ok = true;

	memcpy(request.id, f->made.id, sizeof(request.id));
	snprintf(request.vm, sizeof(request.vm), "7e5710c5-0000-4000-8000-%012llu",
		 (unsigned long long)f->runs);
	ok = ask(&f->keyd, ends, keyd_on_open, KEYD_OPEN, &request, KEYD_OPENED, &message, err);
	if (ok) {
		ok = message.fds_count == 1 || fault_wrong(err, "an opening without a value");
		ipc_message_clear(&message, ends->engine);
	}
	return keyd_on_used(&f->keyd, &used, &link_ok, err) && ok;
}

static bool destroy_key(KeydFixture *f, Ends *ends, Error *err)
{
	KeydChange change = { .who = "uid 1000", .kind = KEYD_DESTROY };
	IpcMessage message;

	memcpy(change.id, f->made.id, sizeof(change.id));
	if (!ask(&f->keyd, ends, keyd_on_change, KEYD_CHANGE, &change, KEYD_CHANGED, &message, err))
		return false;
	ipc_message_clear(&message, ends->engine);
	return true;
}

static bool live(void *fixture, Error *err)
{
	KeydFixture *f = fixture;
	AUTO_ENDS Ends ends = { NULL, NULL };
	IpcMessage message;

	f->runs++;
	f->made.version = 0;
	if (!ends_open(&ends, err) || !make_key(f, &ends, err) || !open_key(f, &ends, err) ||
	    !ask(&f->keyd, &ends, keyd_on_rotate, KEYD_ROTATE, &f->made, KEYD_KEY, &message, err))
		return false;
	ipc_message_clear(&message, ends.engine);
	return destroy_key(f, &ends, err);
}

/* What was said to be there is there; nothing stays open. */
static bool check_life(void *fixture, Error *err)
{
	KeydFixture *f = fixture;
	KeyRecord key;

	for (size_t i = 0; i < ARRAY_SIZE(f->keyd.opened.values); i++)
		if (f->keyd.opened.values[i].bytes)
			return fault_wrong(err, "a value is open, though it was used");
	return !f->made.version || key_store_get(f->keyd.store, f->made.id, 1, &key, err);
}

/* --- the start, and steps of a move --- */

static void *small_fixture_new(void)
{
	KeydFixture *f = keyd_fixture_new();
	AUTO_ENDS Ends ends = { NULL, NULL };
	Error err = ERROR_INIT;

	fault_must(ends_open(&ends, &err), &err);
	for (f->runs = 1; f->runs <= SMALL_STORE; f->runs++)
		fault_must(make_key(f, &ends, &err), &err);
	f->runs = 1;
	return f;
}

/* It serves from a store that it has read to its end, or it does not. */
static bool come_to_serve(void *fixture, Error *err)
{
	KeydFixture *f = fixture;
	AUTO_ENDS Ends ends = { NULL, NULL };
	KeydHead head = { .entries = 0 };
	IpcMessage message;
	bool ok;

	f->keyd.verifying = false;
	if (!ends_open(&ends, err) ||
	    !ask(&f->keyd, &ends, keyd_on_start, KEYD_START, &head, 0, &message, err))
		return false;
	for (ok = true; ok && f->keyd.verifying;)
		ok = keyd_go_on_starting(&f->keyd, err);
	if (!ok)
		return err->category ? false : fault_wrong(err, "it does not start, nor say why");
	return (f->keyd.walk.keys == SMALL_STORE && f->keyd.created == SMALL_STORE) ||
	       fault_wrong(err, "it serves before all was verified");
}

static bool fill_transfer(KeydFixture *f, KeyTransfer *request)
{
	snprintf(request->who, sizeof(request->who), "migration 1");
	memset(request->migration, 1, sizeof(request->migration));
	snprintf(request->vm, sizeof(request->vm), "7e5710c5-0000-4000-8000-%012llu",
		 (unsigned long long)f->runs);
	snprintf(request->owner, sizeof(request->owner), "north.example");
	snprintf(request->source, sizeof(request->source), "north.example");
	snprintf(request->destination, sizeof(request->destination), "south.example");
	request->kind = TRANSFER_NAME_KEYS;
	request->epoch = 2;
	return true;
}

/* A step that succeeds, and one that is refused and written down. */
static bool transfer_keys(void *fixture, Error *err)
{
	KeydFixture *f = fixture;
	AUTO_FREE KeyTransfer *request = calloc(1, sizeof(*request));
	AUTO_ENDS Ends ends = { NULL, NULL };
	const KeyTransferred *answer;
	IpcMessage message;
	Error refusal = ERROR_INIT;
	bool one;

	if (!request)
		return error_set(err, ERROR_INTERNAL, "no memory");
	if (!fill_transfer(f, request) || !ends_open(&ends, err) ||
	    !ask(&f->keyd, &ends, keyd_on_transfer, KEYD_TRANSFER, request, KEYD_TRANSFERRED,
		 &message, err))
		return false;
	answer = message.payload;
	one = answer->keys_count == 1;
	request->keys_count = answer->keys_count;
	request->keys[0] = answer->keys[0];
	ipc_message_clear(&message, ends.engine);
	if (!one)
		return fault_wrong(err, "not the VM's keys");
	request->kind = TRANSFER_RELEASE;
	memset(request->permit, 2, sizeof(request->permit));
	request->document[0] = 0x30;
	request->document_size = 1;
	if (ask(&f->keyd, &ends, keyd_on_transfer, KEYD_TRANSFER, request, KEYD_TRANSFERRED,
		&message, &refusal))
		return fault_wrong(err, "a receipt of one byte was taken");
	return refusal.category == ERROR_CONFLICT || refusal.category == ERROR_AUTH ||
	       error_set(err, refusal.category, "%s", refusal.text);
}

static bool check_transfer(void *fixture, Error *err)
{
	KeydFixture *f = fixture;
	KeydKeys *page = &f->keyd.keys;
	uint64_t cursor = 0;

	if (!key_store_list(f->keyd.store, "", &cursor, page->keys, KEYD_PAGE, &page->keys_count,
			    err))
		return false;
	for (size_t i = 0; i < page->keys_count; i++)
		if (page->keys[i].state != KEY_ACTIVE)
			return fault_wrong(err, "a key left its state");
	return true;
}

const Scenario scenarios_keyd[] = {
	{ "keyd serves a key's life", keyd_fixture_new, live, check_life, keyd_fixture_free,
	  FAULTS_MAX },
	{ "keyd verifies its store", small_fixture_new, come_to_serve, NULL, keyd_fixture_free,
	  FAULTS_MAX },
	{ "keyd moves keys", small_fixture_new, transfer_keys, check_transfer, keyd_fixture_free,
	  FAULTS_MAX },
	{ 0 },
};
