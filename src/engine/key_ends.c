/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/key_ends.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/keys.h"

static_assert((int)MANIFEST_KEY_ID_BYTES == (int)KEY_ID_BYTES, "a disk names its key by its id");

typedef struct Ask {
	Engine *engine;
	KeyEndRecord end;
} Ask;

static void warn(Engine *engine, const KeyEndRecord *end, const char *text)
{
	char id[KEY_ID_HEX];

	key_id_text(end->key, id);
	engine_warn(engine, "disk %s/%s, %s: ITS KEY %s IS STILL HERE: %.200s", end->pool, end->volume, end->why,
		    id, text);
}

static void settle(Engine *engine, const KeyEndRecord *end)
{
	char id[KEY_ID_HEX];
	Error err = ERROR_INIT;

	key_id_text(end->key, id);
	if (!store_delete(engine->store, STORE_KEY_ENDS, id, &err) && err.category != ERROR_NOT_FOUND)
		log_warning(engine->log, "key %s will be asked for again: %s", id, err.text);
}

static void on_answer(void *context, IpcMessage *answer, const Error *err)
{
	AUTO_FREE Ask *ask = context;

	(void)answer;
	/* A conflict: destroyed by an earlier try. Keys of copies belong to no transfer. */
	if (!err || err->category == ERROR_CONFLICT || err->category == ERROR_NOT_FOUND)
		settle(ask->engine, &ask->end);
	else if (!ask->engine->stopping)
		warn(ask->engine, &ask->end, err->text);
}

static void ask_for(Engine *engine, const KeyEndRecord *end)
{
	KeydChange change = { .kind = KEYD_DESTROY };
	Ask *ask = calloc(1, sizeof(*ask));
	Error err = ERROR_INIT;

	if (!ask) {
		warn(engine, end, "no memory to ask for its end");
		return;
	}
	*ask = (Ask){ engine, *end };
	snprintf(change.who, sizeof(change.who), "%s", end->why);
	memcpy(change.id, end->key, sizeof(change.id));
	if (!keys_request(engine, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, on_answer, ask, NULL,
			  &err))
		on_answer(ask, NULL, &err);
}

void key_ends_add(Engine *engine, const ManifestDisk *disk, const char *why)
{
	KeyEndRecord end = { 0 };
	char id[KEY_ID_HEX];
	Error err = ERROR_INIT;

	memcpy(end.key, disk->key, sizeof(end.key));
	snprintf(end.pool, sizeof(end.pool), "%s", disk->pool);
	snprintf(end.volume, sizeof(end.volume), "%s", disk->volume);
	snprintf(end.why, sizeof(end.why), "%s", why);
	key_id_text(end.key, id);
	if (!store_put(engine->store, STORE_KEY_ENDS, id, &end, &err))
		warn(engine, &end, err.text);
	ask_for(engine, &end);
}

static bool go_on(void *context, const void *object, Error *err)
{
	(void)err;
	/* Answered from the event loop: the table does not change meanwhile. */
	ask_for(context, object);
	return true;
}

void key_ends_go_on(Engine *engine)
{
	Error err = ERROR_INIT;

	if (!store_each(engine->store, STORE_KEY_ENDS, go_on, engine, &err))
		log_warning(engine->log, "keys whose end is owed: %s", err.text);
}
