/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/key_statement.h"

#include <string.h>

#include "crypto/digest.h"
#include "wire/json.h"

const char *const key_statement_words[KEY_STATEMENT_KIND_COUNT] = {
	"offer", "imported", "activated", "discarded", "destroyed", "kept",
};

static const Field key_fields[] = {
	SCHEMA_HEX(KeyNamed, id),
	SCHEMA_U64(KeyNamed, version, 1, INT64_MAX),
	SCHEMA_HEX(KeyNamed, fingerprint),
};
static SCHEMA_DEFINE(key_named_schema, "key", KeyNamed, key_fields);

/* Common rows of both tables. */
#define COMMON_FIELDS                                                                              \
	SCHEMA_HEX(KeyStatement, migration), SCHEMA_TEXT(KeyStatement, vm, TEXT_UUID, 1),          \
		SCHEMA_TEXT(KeyStatement, owner, TEXT_DOMAIN, 1),                                  \
		SCHEMA_U64(KeyStatement, epoch, 1, INT64_MAX),                                     \
		SCHEMA_TEXT(KeyStatement, source, TEXT_DOMAIN, 1),                                 \
		SCHEMA_TEXT(KeyStatement, destination, TEXT_DOMAIN, 1),                            \
		SCHEMA_HEX(KeyStatement, permit), SCHEMA_U64(KeyStatement, issued_s, 0, INT64_MAX)

static const Field offer_fields[] = {
	SCHEMA_HEX(KeyStatement, id),
	COMMON_FIELDS,
	SCHEMA_U64(KeyStatement, expires_s, 0, INT64_MAX),
	SCHEMA_BYTES(KeyStatement, certificates, 1),
};
static SCHEMA_DEFINE(offer_schema, "key offer", KeyStatement, offer_fields);

static const Field receipt_fields[] = {
	COMMON_FIELDS,
	SCHEMA_HEX(KeyStatement, package),
	SCHEMA_HEX(KeyStatement, previous),
	SCHEMA_LIST(KeyStatement, keys, &key_named_schema, 1),
};
static SCHEMA_DEFINE(receipt_schema, "key receipt", KeyStatement, receipt_fields);

static const Schema *const schemas[KEY_STATEMENT_KIND_COUNT] = {
	[KEY_STATEMENT_OFFER] = &offer_schema,	     [KEY_STATEMENT_IMPORTED] = &receipt_schema,
	[KEY_STATEMENT_ACTIVATED] = &receipt_schema, [KEY_STATEMENT_DISCARDED] = &receipt_schema,
	[KEY_STATEMENT_DESTROYED] = &receipt_schema, [KEY_STATEMENT_KEPT] = &receipt_schema,
};

static const JsonFamily family = {
	.tag = "document",
	.words = key_statement_words,
	.schemas = schemas,
	.count = KEY_STATEMENT_KIND_COUNT,
};

static CmsContentType content_type(KeyStatementKind kind)
{
	return kind == KEY_STATEMENT_OFFER ? CMS_CONTENT_KEY_OFFER : CMS_CONTENT_KEY_RECEIPT;
}

/* Whose word it is. */
static const char *domain_of(const KeyStatement *statement)
{
	bool is_source =
		statement->kind == KEY_STATEMENT_DESTROYED || statement->kind == KEY_STATEMENT_KEPT;

	return is_source ? statement->source : statement->destination;
}

static bool check_signer(const SpiffeId *signer, const KeyStatement *statement,
			 ErrorCategory category, Error *err)
{
	const char *domain = domain_of(statement);

	return (signer->role == SPIFFE_KEYD && !strcmp(signer->domain, domain)) ||
	       error_set(err, category,
			 "\"%s\" is the word of the key manager of %s, not of %.128s",
			 key_statement_words[statement->kind], domain, signer->text);
}

static bool check_life(const KeyStatement *statement, ErrorCategory category, Error *err)
{
	if (statement->kind != KEY_STATEMENT_OFFER ||
	    (statement->expires_s > statement->issued_s &&
	     statement->expires_s - statement->issued_s <= LIMIT_KEY_OFFER_AGE_S))
		return true;
	return error_set(err, category, "key offer lives from %llu to %llu, not for 1..%d s",
			 (unsigned long long)statement->issued_s,
			 (unsigned long long)statement->expires_s, LIMIT_KEY_OFFER_AGE_S);
}

bool key_statement_encode_json(const KeyStatement *statement, Buffer *buffer, Error *err)
{
	return json_encode(&family, statement->kind, statement, buffer, err);
}

bool key_statement_decode_json(const void *data, size_t size, KeyStatement *ret_statement,
			       Error *err)
{
	unsigned int kind;

	if (size > LIMIT_STATEMENT_JSON)
		return error_set(err, ERROR_LIMIT, "key document of %zu bytes, more than %d", size,
				 LIMIT_STATEMENT_JSON);
	if (!json_decode(&family, data, size, &kind, ret_statement, err))
		return false;
	ret_statement->kind = (KeyStatementKind)kind;
	return true;
}

bool key_statement_make(const CmsSigner *signer, const KeyStatement *statement, Buffer *buffer,
			uint8_t ret_digest[KEY_STATEMENT_DIGEST_BYTES], Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);

	return check_signer(cms_signer_id(signer), statement, ERROR_CONFLICT, err) &&
	       check_life(statement, ERROR_CONFLICT, err) &&
	       key_statement_encode_json(statement, &json, err) &&
	       digest_sha384(json.data, json.used, ret_digest, err) &&
	       cms_sign(signer, content_type(statement->kind), json.data, json.used, buffer, err);
}

/* --- verifying --- */

static bool check_times(const KeyStatement *statement, uint64_t now_s, Error *err)
{
	const char *word = key_statement_words[statement->kind];

	if (statement->issued_s > KEY_STATEMENT_SKEW_S &&
	    statement->issued_s - KEY_STATEMENT_SKEW_S > now_s)
		return error_set(err, ERROR_AUTH, "\"%s\" is from the future: %llu, now is %llu",
				 word, (unsigned long long)statement->issued_s,
				 (unsigned long long)now_s);
	if (statement->kind != KEY_STATEMENT_OFFER)
		return true;
	return check_life(statement, ERROR_AUTH, err) &&
	       (statement->expires_s > now_s ||
		error_set(err, ERROR_AUTH, "key offer expired at %llu, now is %llu",
			  (unsigned long long)statement->expires_s, (unsigned long long)now_s));
}

static bool check_bytes(const char *what, const uint8_t *found, const uint8_t *expected,
			size_t size, Error *err)
{
	return !memcmp(found, expected, size) ||
	       error_set(err, ERROR_AUTH, "key document is about another %s", what);
}

static bool check_text(const char *what, const char *found, const char *expected, Error *err)
{
	return !strcmp(found, expected) ||
	       error_set(err, ERROR_AUTH, "key document has %s %.128s, not %.128s", what, found,
			 expected);
}

static bool check_binding(const KeyStatement *found, const KeyStatement *expected, Error *err)
{
	if (!check_bytes("migration", found->migration, expected->migration,
			 sizeof(found->migration), err) ||
	    !check_bytes("permit", found->permit, expected->permit, sizeof(found->permit), err) ||
	    !check_text("VM", found->vm, expected->vm, err) ||
	    !check_text("owner", found->owner, expected->owner, err) ||
	    !check_text("source", found->source, expected->source, err) ||
	    !check_text("destination", found->destination, expected->destination, err))
		return false;
	return found->epoch == expected->epoch ||
	       error_set(err, ERROR_AUTH, "key document is of epoch %llu, not %llu",
			 (unsigned long long)found->epoch, (unsigned long long)expected->epoch);
}

static bool check_keys(const KeyStatement *found, const KeyStatement *expected, Error *err)
{
	if (found->kind == KEY_STATEMENT_OFFER)
		return true;
	if (found->keys_count != expected->keys_count)
		return error_set(err, ERROR_AUTH, "receipt names %zu keys, not %zu",
				 found->keys_count, expected->keys_count);
	for (size_t i = 0; i < found->keys_count; i++) {
		const KeyNamed *one = &found->keys[i], *other = &expected->keys[i];

		if (one->version != other->version || memcmp(one->id, other->id, KEY_ID_BYTES) ||
		    memcmp(one->fingerprint, other->fingerprint, KEY_FINGERPRINT_BYTES))
			return error_set(err, ERROR_AUTH, "receipt's key %zu is another", i);
	}
	return true;
}

static bool check_all(const SpiffeId *signer, const KeyStatement *found,
		      const KeyStatement *expected, uint64_t now_s, Error *err)
{
	if (found->kind != expected->kind)
		return error_set(err, ERROR_AUTH, "key document says \"%s\", not \"%s\"",
				 key_statement_words[found->kind],
				 key_statement_words[expected->kind]);
	return check_signer(signer, expected, ERROR_AUTH, err) &&
	       check_binding(found, expected, err) && check_keys(found, expected, err) &&
	       check_times(found, now_s, err);
}

bool key_statement_verify(const AnchorStore *anchors, uint64_t now_s, const void *der, size_t size,
			  const KeyStatement *expected, KeyStatement *ret_statement,
			  uint8_t ret_digest[KEY_STATEMENT_DIGEST_BYTES], Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	AUTO_FREE KeyStatement *found = calloc(1, sizeof(*found));
	uint8_t digest[KEY_STATEMENT_DIGEST_BYTES];
	SpiffeId signer;

	if (!found)
		return error_set(err, ERROR_INTERNAL, "no memory for a key document");
	if (!cms_verify(anchors, (int64_t)now_s, der, size, content_type(expected->kind),
			SPIFFE_KEYD, &signer, &json, err) ||
	    !key_statement_decode_json(json.data, json.used, found, err) ||
	    !check_all(&signer, found, expected, now_s, err) ||
	    !digest_sha384(json.data, json.used, digest, err))
		return false;
	*ret_statement = *found;
	memcpy(ret_digest, digest, sizeof(digest));
	return true;
}
