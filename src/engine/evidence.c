/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/evidence.h"

#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"
#include "role/keylink_messages.h"

enum { PIECES = STATEMENT_KIND_COUNT + KEY_DOCUMENT_COUNT };

static void name_piece(unsigned int piece, char ret_name[LIMIT_NAME])
{
	if (piece < STATEMENT_KIND_COUNT)
		snprintf(ret_name, LIMIT_NAME, "%s", statement_words[piece]);
	else
		snprintf(ret_name, LIMIT_NAME, "keys-%s", key_document_words[piece - STATEMENT_KIND_COUNT]);
}

static bool read_piece(Engine *engine, const uint8_t *migration, unsigned int piece, Buffer *cms, Error *err)
{
	uint8_t digest[DIGEST_SHA384_BYTES];

	if (piece < STATEMENT_KIND_COUNT)
		return store_statement(engine->store, migration, (StatementKind)piece, cms, digest, err);
	return store_document(engine->store, migration, (KeyDocument)(piece - STATEMENT_KIND_COUNT), cms, err);
}

typedef struct Search {
	const char *prefix;
	unsigned int found;
	MigrationRecord record;
} Search;

static bool match(void *context, const void *object, Error *err)
{
	Search *search = context;
	const MigrationRecord *record = object;
	char id[2 * MIGRATION_ID_BYTES + 1];

	(void)err;
	hex_encode(record->id, sizeof(record->id), id);
	if (strncmp(id, search->prefix, strlen(search->prefix)))
		return true;
	search->found++;
	search->record = *record;
	return true;
}

static bool find(Engine *engine, Search *search, Error *err)
{
	if (!store_each(engine->store, STORE_MIGRATIONS, match, search, err))
		return false;
	if (!search->found || !*search->prefix)
		return error_set(err, ERROR_NOT_FOUND, "no migration \"%.64s\"", search->prefix);
	return search->found == 1 ||
	       error_set(err, ERROR_CONFLICT, "\"%.64s\" names several migrations", search->prefix);
}

/* Between two hosts of one key manager nothing of it is signed: its log tells of such a move. */
static bool is_evidence(const Buffer *cms)
{
	return cms->used < strlen(HANDOVER_MAGIC) ||
	       memcmp(cms->data, HANDOVER_MAGIC, strlen(HANDOVER_MAGIC)) != 0;
}

static bool list(Engine *engine, const MigrationRecord *record, json_t *pieces, Error *err)
{
	for (unsigned int piece = 0; piece < PIECES; piece++) {
		AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_PACKAGE);
		char name[LIMIT_NAME];
		Error probe = ERROR_INIT;

		name_piece(piece, name);
		if (read_piece(engine, record->id, piece, &cms, &probe) && is_evidence(&cms))
			(void)json_array_append_new(pieces, json_string(name));
		else if (probe.category && probe.category != ERROR_NOT_FOUND)
			return *err = probe, false;
	}
	return true;
}

static bool answer_list(Engine *engine, ApiRequest *request, const MigrationRecord *record, const char *id,
			Error *err)
{
	json_t *pieces = json_array();

	if (!list(engine, record, pieces, err)) {
		json_decref(pieces);
		return false;
	}
	api_return(request, json_pack("{s:s, s:o}", "migration", id, "pieces", pieces));
	return true;
}

static bool answer_piece(Engine *engine, ApiRequest *request, const MigrationRecord *record, const char *id,
			 const char *wanted, Error *err)
{
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_PACKAGE), text = BUFFER_INIT(2 * LIMIT_PACKAGE);

	for (unsigned int piece = 0; piece < PIECES; piece++) {
		char name[LIMIT_NAME];

		name_piece(piece, name);
		if (strcmp(name, wanted) != 0)
			continue;
		if (!read_piece(engine, record->id, piece, &cms, err) ||
		    !base64_encode(cms.data, cms.used, &text, err))
			return false;
		api_return(request, json_pack("{s:s, s:s, s:s%}", "migration", id, "piece", name, "cms",
					      (const char *)text.data, text.used));
		return true;
	}
	return error_set(err, ERROR_USAGE, "\"%.32s\" is no piece of evidence", wanted);
}

bool evidence_do(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	const json_t *piece = json_object_get(arguments, "piece");
	AUTO_FREE Search *search = calloc(1, sizeof(*search));
	char id[2 * MIGRATION_ID_BYTES + 1];

	if (!search)
		return error_set(err, ERROR_INTERNAL, "no memory to look for a migration");
	search->prefix = json_string_value(json_object_get(arguments, "migration"));
	if (!find(engine, search, err))
		return false;
	hex_encode(search->record.id, sizeof(search->record.id), id);
	return piece ? answer_piece(engine, request, &search->record, id, json_string_value(piece), err) :
		       answer_list(engine, request, &search->record, id, err);
}
