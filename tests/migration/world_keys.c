/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two key managers of the world: one key each, in the states of keys/key.h, that stay over an
 * engine's restart, and documents that carry their kind and migration. What they refuse the real ones
 * refuse too (keys/transfer.h); the rules are judged at each change.
 */
#include <string.h>

#include "tests/migration/world.h"

enum { KEYD_US = 3 * MS, KEYD_DOWN_US = 400 };

typedef struct Document {
	KeyDocument kind;
	uint8_t migration[MIGRATION_ID_BYTES];
} Document;

typedef struct Step {
	TransferKind kind;
	bool has_document;
	Document document;
	uint8_t migration[MIGRATION_ID_BYTES];
	bool keep;
} Step;

/* One row a step: on which side, what it needs, and from which states it leads where. A state of its own
 * end gives the answer again. */
typedef struct Row {
	HostName side;
	bool wants;
	KeyDocument in;
	KeyState from, to;
	bool answers;
	KeyDocument out;
} Row;

static const Row rows[TRANSFER_KIND_COUNT] = {
	[TRANSFER_NAME_KEYS] = { SOURCE, false, 0, KEY_ACTIVE, KEY_ACTIVE, false, 0 },
	[TRANSFER_OFFER] = { DESTINATION, false, 0, WORLD_NO_KEY, WORLD_NO_KEY, true, KEY_DOCUMENT_OFFER },
	[TRANSFER_EXPORT] = { SOURCE, true, KEY_DOCUMENT_OFFER, KEY_ACTIVE, KEY_EXPORTING, true,
			      KEY_DOCUMENT_PACKAGE },
	[TRANSFER_IMPORT] = { DESTINATION, true, KEY_DOCUMENT_PACKAGE, WORLD_NO_KEY, KEY_IMPORTED, true,
			      KEY_DOCUMENT_IMPORTED },
	[TRANSFER_IMPORTED] = { SOURCE, true, KEY_DOCUMENT_IMPORTED, KEY_EXPORTING, KEY_EXPORTING, false, 0 },
	[TRANSFER_ACTIVATED] = { DESTINATION, false, 0, KEY_IMPORTED, KEY_ACTIVE, true,
				 KEY_DOCUMENT_ACTIVATED },
	[TRANSFER_RELEASE] = { SOURCE, true, KEY_DOCUMENT_ACTIVATED, KEY_EXPORTING, KEY_DESTROYED, true,
			       KEY_DOCUMENT_DESTROYED },
	[TRANSFER_RELEASED] = { DESTINATION, true, KEY_DOCUMENT_DESTROYED, KEY_ACTIVE, KEY_ACTIVE, false, 0 },
	[TRANSFER_DISCARD] = { DESTINATION, false, 0, KEY_IMPORTED, KEY_DESTROYED, true,
			       KEY_DOCUMENT_DISCARDED },
	[TRANSFER_TAKE_BACK] = { SOURCE, false, 0, KEY_EXPORTING, KEY_ACTIVE, false, 0 },
};

static const char *state_word(KeyState state)
{
	return state == WORLD_NO_KEY ? "none" : key_state_words[state];
}

/* --- the rules --- */

static void judge(World *world)
{
	const WorldKey *source = &world->hosts[SOURCE].key, *destination = &world->hosts[DESTINATION].key;

	if (source->state == KEY_ACTIVE && destination->state == KEY_ACTIVE && !world->options.keep_keys &&
	    !world->resolved)
		world_break(world, "RULE: the key is active on both sides");
	if (source->state == KEY_DESTROYED && destination->state != KEY_ACTIVE)
		world_break(world, "RULE: the key is destroyed at src and %s at dst",
			    state_word(destination->state));
}

void keys_watch_end(World *world, Outcome outcome)
{
	const KeyState source = world->hosts[SOURCE].key.state;
	const KeyState destination = world->hosts[DESTINATION].key.state;
	const KeyState moved = world->options.keep_keys ? KEY_ACTIVE : KEY_DESTROYED;
	bool stayed = source == KEY_ACTIVE &&
		      (destination == WORLD_NO_KEY || destination == KEY_DESTROYED);
	bool went = source == moved && destination == KEY_ACTIVE;

	/* Where nobody decides any more it lies as it lay. */
	if (!world->options.keys || world->resolved || outcome == HELD)
		return;
	if ((outcome == AT_SOURCE && !stayed) || (outcome == AT_DESTINATION && !went) ||
	    (!stayed && !went))
		world_break(world, "END: the key is %s at src and %s at dst", state_word(source),
			    state_word(destination));
}

/* --- a step --- */

static bool again(const WorldKey *key, const Row *row, const Step *step)
{
	return key->state == (step->keep && row->to == KEY_DESTROYED ? KEY_ACTIVE : row->to) &&
	       step->kind != TRANSFER_IMPORT &&
	       !memcmp(key->migration, step->migration, sizeof(key->migration));
}

static bool judge_document(const Row *row, const Step *step, Error *err)
{
	KeyDocument wanted = step->keep && row->in == KEY_DOCUMENT_DESTROYED ? KEY_DOCUMENT_KEPT : row->in;

	if (!row->wants)
		return true;
	if (!step->has_document || step->document.kind != wanted)
		return error_set(err, ERROR_AUTH, "not the document that was expected");
	return !memcmp(step->document.migration, step->migration, sizeof(step->migration)) ||
	       error_set(err, ERROR_AUTH, "a document of another migration");
}

/* A key that never came, or was never given away, has nothing to be undone. */
static bool nothing_to_undo(const WorldKey *key, const Step *step)
{
	return (step->kind == TRANSFER_DISCARD &&
		(key->state == WORLD_NO_KEY || key->state == KEY_DESTROYED)) ||
	       (step->kind == TRANSFER_TAKE_BACK && key->state == KEY_ACTIVE);
}

static bool take_step(Host *host, const Step *step, KeyTransferred *ret_result, Error *err)
{
	const Row *row = &rows[step->kind];
	WorldKey *key = &host->key;
	KeyState to = step->keep && row->to == KEY_DESTROYED && row->side == SOURCE ? KEY_ACTIVE : row->to;
	Document out = { .kind = row->out };
	bool fresh = key->state == row->from || (row->from == WORLD_NO_KEY && key->state == KEY_DESTROYED);

	assert_int_equal(row->side, host->name);
	if (!judge_document(row, step, err))
		return false;
	if (!fresh && !again(key, row, step) && !nothing_to_undo(key, step)) {
		world_trace(host->world, "   keyd of %s refuses step %d: the key is %s", host_word(host),
			    (int)step->kind, state_word(key->state));
		return error_set(err, ERROR_CONFLICT, "the key is %s", state_word(key->state));
	}
	if (fresh && row->to != row->from) {
		ret_result->exposed = step->kind == TRANSFER_TAKE_BACK;
		key->state = to;
		memcpy(key->migration, step->migration, sizeof(key->migration));
		judge(host->world);
	}
	if (row->answers) {
		if (step->keep && out.kind == KEY_DOCUMENT_DESTROYED)
			out.kind = KEY_DOCUMENT_KEPT;
		memcpy(out.migration, step->migration, sizeof(out.migration));
		memcpy(ret_result->document, &out, sizeof(out));
		ret_result->document_size = sizeof(out);
	}
	return true;
}

static void name_key(KeyTransferred *result)
{
	OfferedKey *key = &result->keys[result->keys_count++];

	*key = (OfferedKey){ .version = 1, .purpose = KEY_IMAGE };
	memset(key->id, WORLD_KEY_ID, sizeof(key->id));
	strcpy(key->slot, WORLD_KEY_SLOT);
}

static void on_step(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	const Step *step = event->payload;
	KeyTransferred *result = test_calloc(1, sizeof(*result));
	Error err = ERROR_INIT;
	bool ok;

	result->kind = step->kind;
	if (host->keyd_down_until_us > world->now_us)
		ok = error_set(&err, ERROR_UNAVAILABLE, "the key manager is being restarted");
	else
		ok = take_step(host, step, result, &err);
	if (ok && step->kind == TRANSFER_NAME_KEYS && host->key.state == KEY_ACTIVE)
		name_key(result);
	host_enter(host);
	migration_on_keys(job->migration, step->kind, ok ? result : NULL, ok ? NULL : &err);
	host_leave(host);
	host_settle(host, job);
	test_free(result);
}

void keys_ask(void *context, Migration *m, TransferKind kind, const PeerMessage *in)
{
	Host *host = context;
	Step *step;
	Event *event;

	if (!host_acts(host))
		return;
	step = malloc(sizeof(*step));
	assert_non_null(step);
	memset(step, 0, sizeof(*step));
	step->kind = kind;
	step->keep = migration_record(m)->keep_keys;
	memcpy(step->migration, migration_record(m)->id, sizeof(step->migration));
	if (in && in->package_size == sizeof(step->document)) {
		memcpy(&step->document, in->package, sizeof(step->document));
		step->has_document = true;
	}
	event = world_schedule_job(host, host_job_of(host, m),
				   host->keyd_down_until_us > host->world->now_us ? KEYD_DOWN_US : KEYD_US,
				   "keys", on_step);
	event->payload = step;
}
