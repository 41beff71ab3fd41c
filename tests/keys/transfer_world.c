/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/transfer_world.h"

#include <stdio.h>
#include <string.h>

#include "crypto/random.h"

const TransferKind world_order[WORLD_STEPS] = {
	TRANSFER_OFFER,	    TRANSFER_EXPORT,  TRANSFER_IMPORT,	 TRANSFER_IMPORTED,
	TRANSFER_ACTIVATED, TRANSFER_RELEASE, TRANSFER_RELEASED,
};

static void must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("fixture: %s", err->text);
}

static void open_side(WorldSide *side, const char *name, uint8_t root)
{
	Error err = ERROR_INIT;

	fixture_domain_open(&side->domain, name, WORLD_NOW_S);
	side->pair = fixture_issue(&side->domain, SPIFFE_KEYD, NULL, PKI_USE_SIGN, WORLD_NOW_S);

	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(&side->pair);

	side->signer = cms_signer_load(pem.certificate.data, pem.certificate.used, pem.key.data,
				       pem.key.used, &err);
	must(side->signer != NULL, &err);
	side->agree = fixture_envelope_key(&side->domain, WORLD_NOW_S);
	support_make_folder(&side->folder);
	support_path(&side->folder, "keys.db", side->path);
	side->root = sample_root(root);
	side->store = key_store_open(side->path, side->root, &err);
	must(side->store != NULL, &err);
}

static void close_side(WorldSide *side)
{
	key_store_free(side->store);
	root_key_free(side->root);
	support_remove_folder(&side->folder);
	envelope_key_free(side->agree);
	cms_signer_free(side->signer);
	pki_pair_clear(&side->pair);
	fixture_domain_close(&side->domain);
}

static void add_key(TransferWorld *world, size_t number)
{
	KeyReason reason = { KEY_CREATED, "uid 0", "", WORLD_NOW_S };
	KeyRecord key = { .version = number + 1,
			  .purpose = (KeyPurpose)(number % KEY_PURPOSE_COUNT),
			  .state = KEY_ACTIVE,
			  .epoch = WORLD_EPOCH - 1,
			  .backend = KEY_BACKEND_EMBEDDED };
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *value = random_secret(KEY_BYTES, &err);

	must(value && random_bytes(key.id, sizeof(key.id), &err), &err);
	memcpy(key.vm, world->request.vm, sizeof(key.vm));
	memcpy(key.owner, world->request.owner, sizeof(key.owner));
	snprintf(key.slot, sizeof(key.slot), "disk%zu", number);
	must(key_fingerprint(key.id, key.version, value, key.fingerprint, &err) &&
		     key_store_add(world->north.store, &key, value, &reason, &err),
	     &err);
}

static void name_keys(TransferWorld *world)
{
	world_works(world, TRANSFER_NAME_KEYS);
	memcpy(world->request.keys, world->answer.keys, sizeof(world->request.keys));
	world->request.keys_count = world->answer.keys_count;
}

TransferWorld *world_open(size_t n_keys, bool keep)
{
	TransferWorld *world = calloc(1, sizeof(*world));
	KeyTransfer *request;
	Error err = ERROR_INIT;

	assert_non_null(world);
	request = &world->request;
	world->now_s = WORLD_NOW_S;
	world->may_be_both = keep;
	open_side(&world->north, "north.example", 1);
	open_side(&world->south, "south.example", 2);
	world->anchors = anchor_store_new(&err);
	must(world->anchors != NULL, &err);
	fixture_trust(world->anchors, &world->north.domain, WORLD_NOW_S);
	fixture_trust(world->anchors, &world->south.domain, WORLD_NOW_S);
	for (TransferKind kind = 0; kind < TRANSFER_KIND_COUNT; kind++)
		world->made[kind] = BUFFER_INIT(LIMIT_PACKAGE);
	must(random_bytes(request->migration, sizeof(request->migration), &err) &&
		     random_bytes(request->permit, sizeof(request->permit), &err),
	     &err);
	snprintf(request->who, sizeof(request->who), "migration");
	snprintf(request->vm, sizeof(request->vm), "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3b");
	snprintf(request->owner, sizeof(request->owner), "owner.example");
	snprintf(request->source, sizeof(request->source), "north.example");
	snprintf(request->destination, sizeof(request->destination), "south.example");
	request->epoch = WORLD_EPOCH;
	request->keep = keep;
	for (size_t i = 0; i < n_keys; i++)
		add_key(world, i);
	name_keys(world);
	assert_int_equal(request->keys_count, n_keys);
	return world;
}

void world_close(TransferWorld *world)
{
	if (!world)
		return;
	for (TransferKind kind = 0; kind < TRANSFER_KIND_COUNT; kind++)
		buffer_clear(&world->made[kind]);
	close_side(&world->north);
	close_side(&world->south);
	anchor_store_free(world->anchors);
	free(world);
}

static void reopen(WorldSide *side)
{
	Error err = ERROR_INIT;

	key_store_free(side->store);
	side->store = key_store_open(side->path, side->root, &err);
	must(side->store != NULL, &err);
}

void world_reopen(TransferWorld *world)
{
	reopen(&world->north);
	reopen(&world->south);
}

WorldSide *world_side(TransferWorld *world, TransferKind kind)
{
	switch (kind) {
	case TRANSFER_NAME_KEYS:
	case TRANSFER_EXPORT:
	case TRANSFER_IMPORTED:
	case TRANSFER_RELEASE:
	case TRANSFER_TAKE_BACK:
		return &world->north;
	case TRANSFER_OFFER:
	case TRANSFER_IMPORT:
	case TRANSFER_ACTIVATED:
	case TRANSFER_RELEASED:
	case TRANSFER_DISCARD:
	case TRANSFER_KIND_COUNT:
		break;
	}
	return &world->south;
}

TransferKind world_needs(TransferKind kind)
{
	static const TransferKind needs[TRANSFER_KIND_COUNT] = {
		[TRANSFER_NAME_KEYS] = TRANSFER_KIND_COUNT,
		[TRANSFER_OFFER] = TRANSFER_KIND_COUNT,
		[TRANSFER_EXPORT] = TRANSFER_OFFER,
		[TRANSFER_IMPORT] = TRANSFER_EXPORT,
		[TRANSFER_IMPORTED] = TRANSFER_IMPORT,
		[TRANSFER_ACTIVATED] = TRANSFER_KIND_COUNT,
		[TRANSFER_RELEASE] = TRANSFER_ACTIVATED,
		[TRANSFER_RELEASED] = TRANSFER_RELEASE,
		[TRANSFER_DISCARD] = TRANSFER_KIND_COUNT,
		[TRANSFER_TAKE_BACK] = TRANSFER_DISCARD,
	};

	return needs[kind];
}

KeyState world_state(const WorldSide *side, const TransferWorld *world, size_t number,
		     KeyRecord *ret_key)
{
	const OfferedKey *named = &world->request.keys[number];
	Error err = ERROR_INIT;

	if (key_store_get(side->store, named->id, named->version, ret_key, &err))
		return ret_key->state;
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	return KEY_STATE_COUNT;
}

/* What must be true at every moment. */
static void check_world(const TransferWorld *world)
{
	KeyRecord key;

	for (size_t i = 0; i < world->request.keys_count; i++) {
		KeyState north = world_state(&world->north, world, i, &key);
		KeyState south = world_state(&world->south, world, i, &key);

		if (north == KEY_ACTIVE && south == KEY_ACTIVE && !world->may_be_both)
			fail_msg("key %zu is active on both sides", i);
		if (north == KEY_DESTROYED && south != KEY_ACTIVE)
			fail_msg("key %zu is lost", i);
	}
}

bool world_try_with(TransferWorld *world, TransferKind kind, const Buffer *document)
{
	WorldSide *side = world_side(world, kind);
	TransferParty party = { side->store, side->signer, side->agree, world->anchors,
				world->values };
	KeyTransfer *request = calloc(1, sizeof(*request));
	Error err = ERROR_INIT;
	bool ok;

	assert_non_null(request);
	*request = world->request;
	request->kind = kind;
	if (kind == TRANSFER_NAME_KEYS)
		request->keys_count = 0;
	if (document) {
		assert_in_range(document->used, 1, sizeof(request->document));
		memcpy(request->document, document->data, document->used);
		request->document_size = document->used;
	}
	world->err = ERROR_INIT;
	ok = key_transfer(&party, request, world->now_s, &world->answer, &world->err);
	free(request);
	check_world(world);
	if (!ok)
		return false;
	assert_int_equal(world->answer.kind, kind);
	buffer_clear(&world->made[kind]);
	world->made[kind] = BUFFER_INIT(LIMIT_PACKAGE);
	must(buffer_put(&world->made[kind], world->answer.document, world->answer.document_size,
			&err),
	     &err);
	return true;
}

bool world_try(TransferWorld *world, TransferKind kind)
{
	TransferKind from = world_needs(kind);
	bool has = from != TRANSFER_KIND_COUNT && world->made[from].used;

	return world_try_with(world, kind, has ? &world->made[from] : NULL);
}

void world_works_with(TransferWorld *world, TransferKind kind, const Buffer *document)
{
	if (!world_try_with(world, kind, document))
		fail_msg("%s: %s: %s", transfer_words[kind], error_word(world->err.category),
			 world->err.text);
}

void world_works(TransferWorld *world, TransferKind kind)
{
	if (!world_try(world, kind))
		fail_msg("%s: %s: %s", transfer_words[kind], error_word(world->err.category),
			 world->err.text);
}

static uint64_t entries_of(const WorldSide *side)
{
	uint8_t chain[KEY_DIGEST_BYTES];
	uint64_t entries;

	key_store_head(side->store, &entries, chain);
	return entries;
}

void world_fails_with(TransferWorld *world, TransferKind kind, const Buffer *document,
		      ErrorCategory category, const char *reason)
{
	uint64_t north = entries_of(&world->north), south = entries_of(&world->south);

	if (world_try_with(world, kind, document))
		fail_msg("%s went well, not refused with \"%s\"", transfer_words[kind], reason);
	support_check_error(&world->err, category, reason, __FILE__, __LINE__);
	assert_int_equal(entries_of(&world->north), north);
	assert_int_equal(entries_of(&world->south), south);
}

void world_fails(TransferWorld *world, TransferKind kind, ErrorCategory category,
		 const char *reason)
{
	TransferKind from = world_needs(kind);
	bool has = from != TRANSFER_KIND_COUNT && world->made[from].used;

	world_fails_with(world, kind, has ? &world->made[from] : NULL, category, reason);
}

void world_go(TransferWorld *world, size_t count)
{
	for (size_t i = 0; i < count; i++)
		world_works(world, world_order[i]);
}

void world_expect(const TransferWorld *world, const WorldSide *side, KeyState state)
{
	KeyRecord key;

	for (size_t i = 0; i < world->request.keys_count; i++)
		assert_int_equal(world_state(side, world, i, &key), state);
}

void world_story(const WorldSide *side, const char *detail, char *ret_text, size_t size)
{
	enum { ENTRIES_MAX = 256 };
	KeyLogEntry *entries = calloc(ENTRIES_MAX, sizeof(*entries));
	size_t count, used = 0;
	Error err = ERROR_INIT;

	assert_non_null(entries);
	must(key_store_log(side->store, 1, entries, ENTRIES_MAX, &count, &err), &err);
	ret_text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		if (strstr(entries[i].detail, detail)) {
			used += (size_t)snprintf(ret_text + used, size - used, "%s%s",
						 used ? " " : "",
						 key_action_words[entries[i].action]);
			assert_in_range(used, 1, size - 1);
		}
	free(entries);
}

Buffer world_json(const TransferWorld *world, TransferKind made)
{
	CmsContentType type =
		made == TRANSFER_OFFER ? CMS_CONTENT_KEY_OFFER : CMS_CONTENT_KEY_RECEIPT;
	Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;
	SpiffeId signer;

	must(cms_verify(world->anchors, (int64_t)world->now_s, world->made[made].data,
			world->made[made].used, type, SPIFFE_KEYD, &signer, &json, &err),
	     &err);
	return json;
}

void world_read(const TransferWorld *world, TransferKind made, KeyStatement *ret_statement)
{
	AUTO_BUFFER Buffer json = world_json(world, made);
	Error err = ERROR_INIT;

	must(key_statement_decode_json(json.data, json.used, ret_statement, &err), &err);
}

Buffer world_forge_text(const CmsSigner *signer, CmsContentType type, const void *text, size_t size)
{
	Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	Error err = ERROR_INIT;

	must(cms_sign(signer, type, text, size, &der, &err), &err);
	return der;
}

Buffer world_forge(const CmsSigner *signer, const KeyStatement *statement)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	must(key_statement_encode_json(statement, &json, &err), &err);
	return world_forge_text(signer,
				statement->kind == KEY_STATEMENT_OFFER ? CMS_CONTENT_KEY_OFFER
								       : CMS_CONTENT_KEY_RECEIPT,
				json.data, json.used);
}
