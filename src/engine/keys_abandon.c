/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `key-abandon`: the way out for a key that a move left `exporting` or `imported`. While that move
 * is under way, its engines and key managers see to the key; when it is over and nobody will, a
 * person ends it here, and says why.
 */
#include <stdio.h>
#include <string.h>

#include "crypto/spiffe.h"
#include "engine/keys.h"

/* Which domain has seen a key whose migration this engine does not remember any more. */
#define UNKNOWN_DOMAIN "unknown"

typedef struct Abandon {
	Engine *engine;
	ApiRequest *api;
	KeydAbandon request;
} Abandon;

static bool check_over(Engine *engine, const MigrationRecord *migration, const char *id, Error *err)
{
	/* Given away: taken back here while the other side is asked, the key would be active on
	 * both. */
	if (migration->committed && migration->role == MIGRATION_SOURCE &&
	    job_of_migration(engine, migration->id))
		return error_set(
			err, ERROR_CONFLICT,
			"migration %s gave the VM to %s, which is still asked for its receipt", id,
			migration->peer_id);
	if (migration->state == MIGRATION_ACTIVE || migration->state == MIGRATION_STUCK)
		return error_set(err, ERROR_CONFLICT,
				 "migration %s is under way, and the key belongs to it", id);
	/* What it brought runs here, or will. */
	return migration->role != MIGRATION_DESTINATION || migration->state != MIGRATION_OK ||
	       error_set(err, ERROR_CONFLICT,
			 "migration %s brought the VM here: the key will be active", id);
}

static void name_domain(const MigrationRecord *migration, char ret_domain[LIMIT_DOMAIN])
{
	SpiffeId peer;
	Error ignored = ERROR_INIT;

	if (spiffe_parse(migration->peer_id, strlen(migration->peer_id), &peer, &ignored))
		snprintf(ret_domain, LIMIT_DOMAIN, "%s", peer.domain);
}

bool keys_judge_abandoning(Engine *engine, const KeyRecord *key, KeydAbandon *request, Error *err)
{
	AUTO_FREE MigrationRecord *migration = calloc(1, sizeof(*migration));
	char id[2 * MIGRATION_ID_BYTES + 1];
	Error unknown = ERROR_INIT;

	if (!migration)
		return error_set(err, ERROR_INTERNAL, "no memory for a migration");
	if (key->state != KEY_EXPORTING && key->state != KEY_IMPORTED)
		return error_set(err, ERROR_CONFLICT,
				 "the key is %s: it is not on its way, and needs no abandoning",
				 key_state_words[key->state]);
	hex_encode(key->migration, MIGRATION_ID_BYTES, id);
	/* The store knows of a migration before any key leaves or comes by it. */
	if (key->state == KEY_IMPORTED && vm_find(engine, key->vm))
		return error_set(
			err, ERROR_CONFLICT,
			"VM %s, which came with migration %s, is here, and the key opens it",
			key->vm, id);
	snprintf(request->seen_by, LIMIT_DOMAIN, UNKNOWN_DOMAIN);
	if (store_get(engine->store, STORE_MIGRATIONS, id, migration, &unknown)) {
		if (!check_over(engine, migration, id, err))
			return false;
		name_domain(migration, request->seen_by);
	} else if (unknown.category != ERROR_NOT_FOUND) {
		*err = unknown;
		return false;
	}
	request->version = key->version;
	memcpy(request->migration, key->migration, sizeof(key->migration));
	return true;
}

static void on_shown(void *context, IpcMessage *answer, const Error *err)
{
	AUTO_FREE Abandon *abandon = context;
	const KeyRecord *key = answer ? answer->payload : NULL;
	Error failure = err ? *err : ERROR_INIT;

	if (key && keys_judge_abandoning(abandon->engine, key, &abandon->request, &failure))
		log_warning(abandon->engine->log, "abandons a key vm=%s %s: %s", key->vm,
			    abandon->request.who, abandon->request.reason);
	if (failure.category || !keys_ask(abandon->engine, KEYD_ABANDON, &keyd_abandon_schema,
					  &abandon->request, KEYD_KEY, abandon->api, &failure))
		api_fail(abandon->api, &failure);
}

static bool fill(Abandon *abandon, json_t *arguments, KeydName *name, Error *err)
{
	const char *key = json_string_value(json_object_get(arguments, "key"));
	const char *reason = json_string_value(json_object_get(arguments, "reason"));
	const json_t *version = json_object_get(arguments, "version");
	KeydAbandon *request = &abandon->request;

	if (!reason || strlen(reason) >= sizeof(request->reason) ||
	    !text_is(TEXT_PRINTABLE, reason, 1))
		return error_set(err, ERROR_USAGE, "reason is not 1..%zu printable characters",
				 sizeof(request->reason) - 1);
	snprintf(request->reason, sizeof(request->reason), "%s", reason);
	keys_caller(abandon->api, request->who);
	memcpy(name->who, request->who, sizeof(name->who));
	name->version = version ? (uint64_t)json_integer_value(version) : 0;
	if (!key_id_parse(key ? key : "", request->id, err))
		return false;
	memcpy(name->id, request->id, sizeof(name->id));
	return true;
}

bool keys_do_abandon(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	AUTO_FREE Abandon *abandon = calloc(1, sizeof(*abandon));
	KeydName name = { .version = 0 };

	if (!abandon)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	abandon->engine = engine;
	abandon->api = request;
	if (!api_may_name_files(request))
		return error_set(err, ERROR_DENIED,
				 "only root and the engine's own user may abandon keys");
	if (!fill(abandon, arguments, &name, err) ||
	    !keys_request(engine, KEYD_SHOW, &keyd_name_schema, &name, KEYD_KEY, on_shown, abandon,
			  NULL, err))
		return false;
	(void)TAKE_PTR(abandon);
	return true;
}
