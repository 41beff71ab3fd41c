/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/helpers.h"

#include <stdio.h>
#include <string.h>

/* What may be answered to what. */
static const struct {
	uint16_t type, good, bad;
	const Schema *schema;
} exchanges[] = {
	{ HELPER_PUT, HELPER_STORED, HELPER_NOT_STORED, &helper_put_schema },
	{ HELPER_GET, HELPER_VALUE, ROLE_FAILED, &helper_reference_schema },
	{ HELPER_DESTROY, HELPER_DESTROYED, ROLE_FAILED, &helper_reference_schema },
	{ HELPER_CHECK, HELPER_OK, ROLE_FAILED, NULL },
};

static size_t row_of(uint16_t type)
{
	size_t row = 0;

	while (exchanges[row].type != type)
		row++;
	return row;
}

void helpers_init(Helpers *helpers, void (*on_lost)(void *context, const HelperPlace *place),
		  void *context)
{
	*helpers = (Helpers){ .on_lost = on_lost, .context = context };
	for (size_t i = 0; i < HELPERS_MAX; i++)
		TAILQ_INIT(&helpers->places[i].queue);
}

/* The first of the queue, gone from it. A blob in it is wiped by who frees it. */
static HelperRequest *take_first(HelperPlace *place)
{
	HelperRequest *request = TAILQ_FIRST(&place->queue);

	TAILQ_REMOVE(&place->queue, request, link);
	place->queued--;
	place->sent = false;
	return request;
}

static void free_request(HelperRequest *request)
{
	explicit_bzero(request, sizeof(*request));
	free(request);
}

/* It is out of the queue before it is told, for who is told may ask again. */
static void end_first(HelperPlace *place, const IpcMessage *answer, const Error *failure)
{
	bool sent = place->sent;
	HelperRequest *request = take_first(place);

	request->done(request->context, answer, failure, sent);
	free_request(request);
}

/* Closes the link and fails all that waited; what is asked for meanwhile is refused, since there is
 * no link. */
static void close_link(HelperPlace *place, ErrorCategory category, const char *why)
{
	Error failure = ERROR_INIT;

	ipc_link_free(TAKE_PTR(place->link));
	snprintf(place->why, sizeof(place->why), "%s", why);
	error_set(&failure, category, "back-end \"%s\": %.400s", place->name, place->why);
	while (!TAILQ_EMPTY(&place->queue))
		end_first(place, NULL, &failure);
}

static void lose(Helpers *helpers, HelperPlace *place, ErrorCategory category, const char *why)
{
	close_link(place, category, why);
	helpers->on_lost(helpers->context, place);
}

void helpers_clear(Helpers *helpers)
{
	for (size_t i = 0; i < HELPERS_MAX; i++) {
		HelperPlace *place = &helpers->places[i];

		while (!TAILQ_EMPTY(&place->queue))
			free_request(take_first(place));
		ipc_link_free(TAKE_PTR(place->link));
	}
}

HelperPlace *helpers_find(Helpers *helpers, const char *name)
{
	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (helpers->places[i].name[0] && !strcmp(helpers->places[i].name, name))
			return &helpers->places[i];
	return NULL;
}

static HelperPlace *find_or_add(Helpers *helpers, const KeydHelper *helper, Error *err)
{
	HelperPlace *place = helpers_find(helpers, helper->name);

	if (helper->kind != HELPER_KIND_KMIP && helper->kind != HELPER_KIND_PKCS11 &&
	    helper->kind != HELPER_KIND_BARBICAN) {
		error_set(err, ERROR_USAGE, "back-end \"%s\" of the kind %s keeps no values",
			  helper->name, helper_kind_words[helper->kind]);
		return NULL;
	}
	for (size_t i = 0; i < HELPERS_MAX && !place; i++)
		if (!helpers->places[i].name[0])
			place = &helpers->places[i];
	if (!place) {
		error_set(err, ERROR_LIMIT, "%d back-ends are there already", HELPERS_MAX);
		return NULL;
	}
	snprintf(place->name, sizeof(place->name), "%s", helper->name);
	place->kind = helper->kind;
	return place;
}

bool helpers_set(Helpers *helpers, const KeydHelper *helper, uint64_t number, int fd, Error *err)
{
	AUTO_FD int owned = fd;
	HelperPlace *place = find_or_add(helpers, helper, err);

	if (!place)
		return false;
	place->number = number;
	close_link(place, ERROR_UNAVAILABLE, helper->why[0] ? helper->why : "its helper ended");
	if (owned < 0)
		return true;
	place->link = ipc_link_new(TAKE_FD(owned), keyd_helper_rules[place->kind], err);
	return place->link;
}

/* The next of the queue, if nothing is under way. */
static void send_next(Helpers *helpers, HelperPlace *place, int64_t now_us)
{
	HelperRequest *request = TAILQ_FIRST(&place->queue);
	Error err = ERROR_INIT;

	if (!request || place->sent || !place->link)
		return;
	if (!ipc_send(place->link, request->type, ++place->subject,
		      exchanges[row_of(request->type)].schema,
		      request->type == HELPER_CHECK ? NULL : (const void *)&request->put, NULL, 0,
		      &err)) {
		lose(helpers, place, ERROR_UNAVAILABLE, "its helper takes no requests");
		return;
	}
	place->sent = true;
	request->until_us = now_us + INT64_C(1000) * HELPER_DEADLINE_MS;
}

static HelperRequest *new_request(const HelperPlace *place, uint16_t type, Error *err)
{
	HelperRequest *request;

	if (!place->link) {
		error_set(err, ERROR_UNAVAILABLE, "back-end \"%s\": %.400s", place->name,
			  place->why);
		return NULL;
	}
	if (place->queued == HELPER_QUEUE) {
		error_set(err, ERROR_LIMIT, "back-end \"%s\": %d requests wait for it already",
			  place->name, HELPER_QUEUE);
		return NULL;
	}
	request = calloc(1, sizeof(*request));
	if (!request) {
		error_set(err, ERROR_INTERNAL, "no memory for a request");
		return NULL;
	}
	request->type = type;
	return request;
}

/* Sent at once if the helper is idle. If that fails, done is told, as of any later failure. */
static void enqueue(Helpers *helpers, HelperPlace *place, HelperRequest *request, HelperDone *done,
		    void *context, int64_t now_us)
{
	request->done = done;
	request->context = context;
	request->until_us = now_us + INT64_C(1000) * HELPER_DEADLINE_MS;
	TAILQ_INSERT_TAIL(&place->queue, request, link);
	place->queued++;
	send_next(helpers, place, now_us);
}

bool helpers_put(Helpers *helpers, HelperPlace *place, const char *label, const Secret *blob,
		 HelperDone *done, void *context, int64_t now_us, Error *err)
{
	HelperRequest *request;

	if (secret_size(blob) > PROVIDER_BLOB_MAX)
		return error_set(err, ERROR_USAGE, "a value of %zu bytes, at most %d",
				 secret_size(blob), PROVIDER_BLOB_MAX);
	request = new_request(place, HELPER_PUT, err);
	if (!request)
		return false;
	snprintf(request->put.label, sizeof(request->put.label), "%s", label);
	request->put.blob_size = secret_size(blob);
	memcpy(request->put.blob, secret_peek(blob), request->put.blob_size);
	enqueue(helpers, place, request, done, context, now_us);
	return true;
}

bool helpers_ask(Helpers *helpers, HelperPlace *place, uint16_t type, const char *reference,
		 HelperDone *done, void *context, int64_t now_us, Error *err)
{
	HelperRequest *request = new_request(place, type, err);

	if (!request)
		return false;
	snprintf(request->reference.reference, sizeof(request->reference.reference), "%s",
		 reference ? reference : "");
	enqueue(helpers, place, request, done, context, now_us);
	return true;
}

size_t helpers_poll(const Helpers *helpers, struct pollfd ret_waits[HELPERS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (helpers->places[i].link)
			ret_waits[count++] =
				(struct pollfd){ .fd = ipc_link_fd(helpers->places[i].link),
						 .events = POLLIN };
	return count;
}

/* A failure is put into our own words; an answer goes as it is. */
static void deliver(Helpers *helpers, HelperPlace *place, const IpcMessage *answer)
{
	const HelperRequest *request = TAILQ_FIRST(&place->queue);
	size_t row = request ? row_of(request->type) : 0;
	Error failure = ERROR_INIT;

	if (!place->sent || answer->subject != place->subject ||
	    (answer->type != exchanges[row].good && answer->type != exchanges[row].bad)) {
		lose(helpers, place, ERROR_PEER, "its helper gave an answer to no question");
		return;
	}
	if (answer->type == ROLE_FAILED) {
		const RoleFailure *told = answer->payload;

		error_set(&failure, (ErrorCategory)told->category, "back-end \"%s\": %.400s",
			  place->name, told->text);
		end_first(place, NULL, &failure);
	} else {
		end_first(place, answer, NULL);
	}
}

/* False if it is worth no further look now. */
static bool take_one(Helpers *helpers, HelperPlace *place, int64_t now_us)
{
	IpcLink *link = place->link;
	Error err = ERROR_INIT;
	IpcMessage answer;

	switch (ipc_receive(link, &answer, &err)) {
	case IPC_MESSAGE:
		deliver(helpers, place, &answer);
		/* Otherwise it was wiped and freed with its link. */
		if (place->link == link)
			ipc_message_clear(&answer, link);
		send_next(helpers, place, now_us);
		return place->link == link;
	case IPC_NOTHING:
		return false;
	case IPC_CLOSED:
		lose(helpers, place, ERROR_UNAVAILABLE, "its helper ended");
		return false;
	case IPC_BROKEN:
	default:
		lose(helpers, place, ERROR_PEER, err.text);
		return false;
	}
}

void helpers_take(Helpers *helpers, const struct pollfd *waits, size_t count, int64_t now_us)
{
	for (size_t w = 0; w < count; w++) {
		if (!waits[w].revents)
			continue;
		for (size_t i = 0; i < HELPERS_MAX; i++) {
			HelperPlace *place = &helpers->places[i];

			if (place->link && ipc_link_fd(place->link) == waits[w].fd)
				(void)take_one(helpers, place, now_us);
		}
	}
}

/* What waits behind the one that is under way; there is one whenever something waits. */
static bool expire_waiting(HelperPlace *place, int64_t now_us, int64_t *next_us)
{
	HelperRequest *request = TAILQ_FIRST(&place->queue);
	Error late = ERROR_INIT;

	request = request ? TAILQ_NEXT(request, link) : NULL;
	if (!request)
		return false;
	if (request->until_us > now_us) {
		*next_us = request->until_us < *next_us ? request->until_us : *next_us;
		return false;
	}
	TAILQ_REMOVE(&place->queue, request, link);
	place->queued--;
	error_set(&late, ERROR_TIMEOUT, "back-end \"%s\": its turn did not come within %d s",
		  place->name, HELPER_DEADLINE_MS / 1000);
	request->done(request->context, NULL, &late, false);
	free_request(request);
	return true;
}

static void expire_place(Helpers *helpers, HelperPlace *place, int64_t now_us, int64_t *next_us)
{
	char why[96];

	while (expire_waiting(place, now_us, next_us))
		;
	if (!place->sent)
		return;
	if (TAILQ_FIRST(&place->queue)->until_us > now_us) {
		if (TAILQ_FIRST(&place->queue)->until_us < *next_us)
			*next_us = TAILQ_FIRST(&place->queue)->until_us;
		return;
	}
	snprintf(why, sizeof(why), "its helper did not answer within %d s",
		 HELPER_DEADLINE_MS / 1000);
	lose(helpers, place, ERROR_TIMEOUT, why);
}

int helpers_expire(Helpers *helpers, int64_t now_us)
{
	int64_t next_us = INT64_MAX;

	for (size_t i = 0; i < HELPERS_MAX; i++)
		expire_place(helpers, &helpers->places[i], now_us, &next_us);
	return next_us == INT64_MAX ? -1 : (int)((next_us - now_us) / 1000 + 1);
}
