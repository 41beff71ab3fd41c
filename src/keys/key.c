/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/key.h"

#include <assert.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/base64.h"
#include "crypto/digest.h"

const char *const key_state_words[KEY_STATE_COUNT] = {
	"pre-active", "active", "exporting", "imported", "deactivated", "destroyed",
};

#define WORDS(o, m, table, n)                                                                      \
	{                                                                                          \
		.name = #m, .kind = FIELD_ENUM, .offset = offsetof(o, m), .words = (table),        \
		.n_words = (n)                                                                     \
	}

static const Field key_fields[] = {
	SCHEMA_HEX(KeyRecord, id),
	SCHEMA_U64(KeyRecord, version, 1, INT64_MAX),
	WORDS(KeyRecord, purpose, key_purpose_words, KEY_PURPOSE_COUNT),
	WORDS(KeyRecord, state, key_state_words, KEY_STATE_COUNT),
	SCHEMA_TEXT(KeyRecord, vm, TEXT_UUID, 1),
	SCHEMA_TEXT(KeyRecord, owner, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(KeyRecord, slot, TEXT_NAME, 1),
	SCHEMA_U64(KeyRecord, epoch, 0, INT64_MAX),
	SCHEMA_TEXT(KeyRecord, backend, TEXT_NAME, 1),
	SCHEMA_TEXT(KeyRecord, reference, TEXT_PRINTABLE, 0),
	SCHEMA_HEX(KeyRecord, fingerprint),
	SCHEMA_TEXT(KeyRecord, exposed_to, TEXT_DOMAIN, 0),
	SCHEMA_HEX(KeyRecord, migration),
	SCHEMA_U64(KeyRecord, created_s, 0, INT64_MAX),
	SCHEMA_U64(KeyRecord, changed_s, 0, INT64_MAX),
};
SCHEMA_DEFINE(key_record_schema, "key", KeyRecord, key_fields);

bool key_record_check(const KeyRecord *key, Error *err)
{
	static const uint8_t none[sizeof(key->migration)];
	bool embedded, travels, named = memcmp(key->migration, none, sizeof(none)) != 0;

	if (!schema_check(&key_record_schema, key, err)) {
		err->category = ERROR_USAGE;
		return error_prefix(err, "key");
	}
	embedded = !strcmp(key->backend, KEY_BACKEND_EMBEDDED);
	travels = key->state == KEY_EXPORTING || key->state == KEY_IMPORTED;
	if (embedded != !*key->reference)
		return error_set(err, ERROR_USAGE,
				 "a key of the back-end %s has the reference \"%.64s\"",
				 key->backend, key->reference);
	if (travels != named)
		return error_set(err, ERROR_USAGE, "a key that is %s names %s migration",
				 key_state_words[key->state], named ? "a" : "no");
	return true;
}

/* A row for each state; a bit for each state that may follow it. */
#define TO(state) (1U << (state))
static const unsigned int may_follow[] = {
	[KEY_PRE_ACTIVE] = TO(KEY_ACTIVE) | TO(KEY_DEACTIVATED),
	[KEY_ACTIVE] = TO(KEY_EXPORTING) | TO(KEY_DEACTIVATED),
	[KEY_EXPORTING] = TO(KEY_ACTIVE) | TO(KEY_DESTROYED),
	[KEY_IMPORTED] = TO(KEY_ACTIVE) | TO(KEY_DESTROYED),
	[KEY_DEACTIVATED] = TO(KEY_DESTROYED),
	[KEY_DESTROYED] = 0,
};
static_assert(ARRAY_SIZE(may_follow) == KEY_STATE_COUNT, "a row for each state");

bool key_state_may_follow(KeyState from, KeyState to)
{
	return from < KEY_STATE_COUNT && to < KEY_STATE_COUNT && (may_follow[from] & TO(to));
}

bool key_state_check(const KeyRecord *key, KeyState to, Error *err)
{
	char id[KEY_ID_HEX], from[64] = "";

	if (key_state_may_follow(key->state, to))
		return true;
	key_id_text(key->id, id);
	for (KeyState state = 0; state < KEY_STATE_COUNT; state++)
		if (key_state_may_follow(state, to))
			snprintf(from + strlen(from), sizeof(from) - strlen(from), "%s%s",
				 *from ? " or " : "", key_state_words[state]);
	if (!*from)
		snprintf(from, sizeof(from), "a new key");
	return error_set(err, ERROR_CONFLICT, "key %s is %s; only %s may become %s", id,
			 key_state_words[key->state], from, key_state_words[to]);
}

void key_id_text(const uint8_t id[KEY_ID_BYTES], char ret_text[KEY_ID_HEX])
{
	hex_encode(id, KEY_ID_BYTES, ret_text);
}

bool key_id_parse(const char *text, uint8_t ret_id[KEY_ID_BYTES], Error *err)
{
	if (strnlen(text, KEY_ID_HEX) == KEY_ID_HEX - 1 && hex_decode(text, ret_id, KEY_ID_BYTES))
		return true;
	return error_set(err, ERROR_USAGE, "key id \"%.64s\" is not %d lower-case hex digits", text,
			 KEY_ID_HEX - 1);
}

bool key_fingerprint(const uint8_t id[KEY_ID_BYTES], uint64_t version, const Secret *value,
		     uint8_t ret_digest[KEY_FINGERPRINT_BYTES], Error *err)
{
	static const char label[] = "sealift key fingerprint 1";
	uint8_t named[sizeof(label) + KEY_ID_BYTES + 8];

	assert(secret_size(value) == KEY_BYTES);
	memcpy(named, label, sizeof(label));
	memcpy(named + sizeof(label), id, KEY_ID_BYTES);
	store_be64(named + sizeof(label) + KEY_ID_BYTES, version);
	return digest_sha384_pair(named, sizeof(named), secret_peek(value), KEY_BYTES, ret_digest,
				  err);
}

Secret *key_passphrase(const Secret *value, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(KEY_PASSPHRASE_BYTES);

	assert(secret_size(value) == KEY_BYTES);
	if (!base64_encode(secret_peek(value), KEY_BYTES, &text, err))
		return NULL;
	return secret_new_from(text.data, text.used, err);
}
