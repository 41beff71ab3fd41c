/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/statement.h"

#include "wire/json.h"

const char *const move_manner_words[MANNER_COUNT] = { "live", "offline", "cold" };
const char *const statement_words[STATEMENT_KIND_COUNT] = {
	"offer", "accept", "ready", "commit", "declined", "activated", "destroyed",
};

const Schema *const statement_schemas[STATEMENT_KIND_COUNT] = {
	[STATEMENT_OFFER] = &statement_offer_schema,
	[STATEMENT_ACCEPT] = &statement_accept_schema,
	[STATEMENT_READY] = &statement_ready_schema,
	[STATEMENT_COMMIT] = &statement_commit_schema,
	[STATEMENT_DECLINED] = &statement_declined_schema,
	[STATEMENT_ACTIVATED] = &statement_activated_schema,
	[STATEMENT_DESTROYED] = &statement_destroyed_schema,
};

static const JsonFamily statement_family = {
	.tag = "statement",
	.words = statement_words,
	.schemas = statement_schemas,
	.count = STATEMENT_KIND_COUNT,
};

bool statement_encode_json(const Statement *statement, Buffer *buffer, Error *err)
{
	return json_encode(&statement_family, statement->kind, statement, buffer, err);
}

static bool check_life(const Statement *statement, Error *err)
{
	if (statement->expires_s <= statement->issued_s)
		return error_set(err, ERROR_PEER, "expires_s is not after issued_s");
	if (statement->kind == STATEMENT_OFFER &&
	    statement->expires_s - statement->issued_s > LIMIT_STATEMENT_AGE_S)
		return error_set(err, ERROR_PEER, "offer is good for %llu s, more than %d",
				 (unsigned long long)(statement->expires_s - statement->issued_s),
				 LIMIT_STATEMENT_AGE_S);
	return true;
}

bool statement_decode_json(const void *data, size_t size, Statement *ret_statement, Error *err)
{
	unsigned int kind;

	if (size > LIMIT_STATEMENT_JSON)
		return error_set(err, ERROR_LIMIT, "statement of %zu bytes, more than %d", size,
				 LIMIT_STATEMENT_JSON);
	if (!json_decode(&statement_family, data, size, &kind, ret_statement, err))
		return false;
	ret_statement->kind = (StatementKind)kind;
	if (!check_life(ret_statement, err))
		return false;
	return kind != STATEMENT_OFFER ||
	       (manifest_check(&ret_statement->manifest, err) &&
		offered_keys_check(ret_statement->keys, ret_statement->keys_count, err));
}
