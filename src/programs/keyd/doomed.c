/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs at other key managers that nobody wants any more. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

enum { RETRY_FIRST_S = 5, RETRY_LAST_S = 600, RETRY_DOUBLINGS = 7 };

static Doomed doomed_of(const KeyRecord *key)
{
	Doomed doomed = { .version = key->version };

	snprintf(doomed.backend, sizeof(doomed.backend), "%s", key->backend);
	snprintf(doomed.reference, sizeof(doomed.reference), "%s", key->reference);
	memcpy(doomed.id, key->id, sizeof(doomed.id));
	return doomed;
}

bool doomed_add(DoomedList **list, const KeyRecord *key, Error *err)
{
	if (backend_is_embedded(key->backend))
		return true;
	if (!*list)
		*list = calloc(1, sizeof(**list));
	if (!*list)
		return error_set(err, ERROR_INTERNAL, "no memory for what is to be deleted");
	if ((*list)->count == DOOMED_MAX)
		(*list)->more++;
	else
		(*list)->entries[(*list)->count++] = doomed_of(key);
	return true;
}

/* --- again, later --- */

static int64_t next_try_us(const DoomedRetry *retry, int64_t now_us)
{
	int64_t delay_s = RETRY_FIRST_S;

	for (unsigned int i = 1; i < retry->tries && i < RETRY_DOUBLINGS; i++)
		delay_s *= 2;
	return now_us + INT64_C(1000000) * (delay_s > RETRY_LAST_S ? RETRY_LAST_S : delay_s);
}

/* Past the end of the table it is left where it is: the log names it. */
static void try_later(Keyd *keyd, const Doomed *doomed, bool at_once)
{
	int64_t now_us = clock_monotonic_us(keyd->clock);

	for (size_t i = 0; i < DOOMED_MAX; i++) {
		DoomedRetry *retry = &keyd->backends.retries[i];

		if (retry->doomed.backend[0])
			continue;
		*retry = (DoomedRetry){ .doomed = *doomed, .tries = !at_once };
		retry->next_us = at_once ? now_us : next_try_us(retry, now_us);
		return;
	}
}

void backend_discard(Keyd *keyd, const KeyRecord *key)
{
	const Doomed doomed = doomed_of(key);

	try_later(keyd, &doomed, true);
}

static void on_retried(void *context, const IpcMessage *answer, const Error *failure, bool sent)
{
	Keyd *keyd = context;
	DoomedRetry *retry = &keyd->backends.retries[keyd->backends.retrying - 1];

	(void)answer;
	(void)sent;
	keyd->backends.retrying = 0;
	if (!failure) {
		*retry = (DoomedRetry){ 0 };
		return;
	}
	retry->tries++;
	retry->next_us = next_try_us(retry, clock_monotonic_us(keyd->clock));
}

static void retry_now(Keyd *keyd, size_t index, int64_t now_us)
{
	DoomedRetry *retry = &keyd->backends.retries[index];
	HelperPlace *place = helpers_find(&keyd->backends.helpers, retry->doomed.backend);
	Error ignored = ERROR_INIT;

	keyd->backends.retrying = index + 1;
	if (place && helpers_ask(&keyd->backends.helpers, place, HELPER_DESTROY,
				 retry->doomed.reference, on_retried, keyd, now_us, &ignored))
		return;
	keyd->backends.retrying = 0;
	retry->tries++;
	retry->next_us = next_try_us(retry, now_us);
}

/* One at a time: it is not urgent. */
static int retry_due(Keyd *keyd, int64_t now_us)
{
	int64_t next_us = INT64_MAX;

	for (size_t i = 0; i < DOOMED_MAX && !keyd->backends.retrying; i++) {
		const DoomedRetry *retry = &keyd->backends.retries[i];

		if (!retry->doomed.backend[0])
			continue;
		if (retry->next_us <= now_us)
			retry_now(keyd, i, now_us);
		if (retry->doomed.backend[0] && retry->next_us < next_us)
			next_us = retry->next_us;
	}
	if (keyd->backends.retrying || next_us == INT64_MAX)
		return -1;
	return next_us <= now_us ? 0 : (int)((next_us - now_us) / 1000 + 1);
}

int backends_tick(Keyd *keyd, int64_t now_us)
{
	int retry_ms = retry_due(keyd, now_us);
	int helpers_ms = helpers_expire(&keyd->backends.helpers, now_us);

	if (retry_ms < 0 || (helpers_ms >= 0 && helpers_ms < retry_ms))
		return helpers_ms;
	return retry_ms;
}

/* --- of a request --- */

typedef struct Destruction Destruction;

typedef struct DestructionStep {
	Destruction *all;
	Doomed doomed;
} DestructionStep;

struct Destruction {
	Keyd *keyd;
	char who[KEY_WHO_SIZE];
	uint64_t subject;
	size_t outstanding;
	KeydChanged answer;
	DestructionStep steps[DOOMED_MAX];
};

static void answer_changed(Keyd *keyd, uint64_t subject, const KeydChanged *answer)
{
	Error err = ERROR_INIT;

	if (!keyd_tell_head(keyd, &err) || !ipc_send(keyd->link, KEYD_CHANGED, subject,
						     &keyd_changed_schema, answer, NULL, 0, &err))
		keyd_lose_engine(keyd, &err);
}

static void end_destruction(Destruction *all)
{
	answer_changed(all->keyd, all->subject, &all->answer);
	free(all);
}

/* The key is destroyed all the same; the log says what else is there. */
static void note_left(DestructionStep *step, const Error *why)
{
	Keyd *keyd = step->all->keyd;
	char detail[LIMIT_TEXT] = "";
	KeyReason reason = keyd_reason(keyd, KEY_REFUSED, step->all->who, detail);
	Error ignored = ERROR_INIT;
	KeyRecord key;

	snprintf(detail, sizeof(detail),
		 "its blob, which opens nothing, is not deleted yet: %.400s", why->text);
	if (key_store_get(keyd->store, step->doomed.id, step->doomed.version, &key, &ignored))
		(void)!key_store_note(keyd->store, &key, &reason, &ignored);
	step->all->answer.left++;
	try_later(keyd, &step->doomed, false);
}

static void on_deleted(void *context, const IpcMessage *answer, const Error *failure, bool sent)
{
	DestructionStep *step = context;
	Destruction *all = step->all;

	(void)answer;
	(void)sent;
	if (failure)
		note_left(step, failure);
	if (!--all->outstanding)
		end_destruction(all);
}

static void delete_one(DestructionStep *step)
{
	Keyd *keyd = step->all->keyd;
	HelperPlace *place = helpers_find(&keyd->backends.helpers, step->doomed.backend);
	Error err = ERROR_INIT;

	step->all->outstanding++;
	if (!place)
		error_set(&err, ERROR_UNAVAILABLE, "the back-end \"%s\" is not configured any more",
			  step->doomed.backend);
	else if (helpers_ask(&keyd->backends.helpers, place, HELPER_DESTROY, step->doomed.reference,
			     on_deleted, step, clock_monotonic_us(keyd->clock), &err))
		return;
	step->all->outstanding--;
	note_left(step, &err);
}

void backend_destroy(Keyd *keyd, const char *who, uint64_t subject, DoomedList *list, uint64_t keys)
{
	AUTO_FREE DoomedList *owned = list;
	Destruction *all = calloc(1, sizeof(*all));

	/* The keys are destroyed in any case. */
	if (!all) {
		answer_changed(keyd, subject, &(KeydChanged){ keys, owned->count + owned->more });
		return;
	}
	/* One more, so that it does not end before the last one was asked for. */
	*all = (Destruction){ .keyd = keyd, .subject = subject, .outstanding = 1 };
	snprintf(all->who, sizeof(all->who), "%s", who);
	all->answer = (KeydChanged){ .keys = keys, .left = owned->more };
	for (size_t i = 0; i < owned->count; i++) {
		all->steps[i] = (DestructionStep){ all, owned->entries[i] };
		delete_one(&all->steps[i]);
	}
	if (!--all->outstanding)
		end_destruction(all);
}
