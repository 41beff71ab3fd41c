/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a move of which some values are in other key managers: they are fetched before a package
 * is made, and their blobs deleted after the keys were destroyed. What is imported goes to our own
 * store. */
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

/* A package that waits for its values. */
typedef struct Moving {
	Keyd *keyd;
	uint64_t subject;
	size_t outstanding;
	Error failure; /* the first; category 0: none */
	TransferValues values;
	KeyTransfer request;
} Moving;

typedef struct MovingOne {
	Moving *all;
	size_t index;
} MovingOne;

static void moving_free(Moving *moving)
{
	if (!moving)
		return;
	transfer_values_clear(&moving->values);
	free(moving);
}
DEFINE_CLEANUP(Moving, moving, moving_free)

static void end_moving(Moving *moving)
{
	CLEANUP(moving_cleanup) Moving *owned = moving;
	Keyd *keyd = moving->keyd;
	bool link_ok = true;
	Error err = owned->failure;

	/* It is judged again: others were served meanwhile. */
	if (!err.category &&
	    keyd_take_step(keyd, owned->subject, &owned->request, &owned->values, &link_ok, &err))
		return;
	if (link_ok)
		keyd_fail_later(keyd, owned->subject, &err);
	else
		keyd_lose_engine(keyd, &err);
}

static void on_fetched(Keyd *keyd, void *context, const Secret *value, const Error *failure)
{
	AUTO_FREE MovingOne *one = context;
	Moving *all = one->all;
	Error why = ERROR_INIT;

	(void)keyd;
	if (!failure) {
		all->values.values[one->index] =
			secret_new_from(secret_peek(value), secret_size(value), &why);
		failure = &why;
	}
	if (failure->category && !all->failure.category)
		all->failure = *failure;
	if (!--all->outstanding)
		end_moving(all);
}

static bool fetch_one(Moving *moving, size_t index, Error *err)
{
	AUTO_FREE MovingOne *one = calloc(1, sizeof(*one));

	if (!one)
		return error_set(err, ERROR_INTERNAL, "no memory for a value");
	*one = (MovingOne){ moving, index };
	if (!backend_fetch(moving->keyd, &moving->values.keys[index], on_fetched, one, err))
		return false;
	(void)TAKE_PTR(one);
	return true;
}

/* Takes the values. The answer comes later, whatever it is, unless there is no memory. */
static bool fetch_first(Keyd *keyd, uint64_t subject, const KeyTransfer *request,
			TransferValues *values, Error *err)
{
	Moving *moving = calloc(1, sizeof(*moving));

	if (!moving)
		return error_set(err, ERROR_INTERNAL, "no memory for a package");
	/* One more, so that it does not end before the last one was asked for. */
	*moving = (Moving){ .keyd = keyd, .subject = subject, .outstanding = 1 };
	moving->request = *request;
	moving->values = *values;
	*values = (TransferValues){ .count = 0 };
	for (size_t i = 0; i < moving->values.count && !moving->failure.category; i++) {
		Error failure = ERROR_INIT;

		moving->outstanding++;
		if (fetch_one(moving, i, &failure))
			continue;
		moving->outstanding--;
		moving->failure = failure;
	}
	if (!--moving->outstanding)
		end_moving(moving);
	return true;
}

bool keyd_take_step_with_values(Keyd *keyd, uint64_t subject, const KeyTransfer *request,
				TransferValues *values, bool *link_ok, Error *err)
{
	if (request->kind == TRANSFER_EXPORT && values->count)
		return fetch_first(keyd, subject, request, values, err);
	if (!keyd_take_step(keyd, subject, request, NULL, link_ok, err))
		return false;
	/* Nothing opens them any more. */
	for (size_t i = 0; i < values->count; i++)
		backend_discard(keyd, &values->keys[i]);
	return true;
}
