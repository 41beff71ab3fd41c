/* SPDX-License-Identifier: Apache-2.0 */
/* Values that go to other key managers and come from them; which of those there are. */
#include "programs/keyd/backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "programs/keyd/keyd.h"

static int64_t now_us(const Keyd *keyd)
{
	return clock_monotonic_us(keyd->clock);
}

void keyd_lose_engine(Keyd *keyd, const Error *why)
{
	if (!keyd->backends.link_failure.category)
		keyd->backends.link_failure = *why;
}

void keyd_fail_later(Keyd *keyd, uint64_t subject, const Error *failure)
{
	Error err = ERROR_INIT;

	if (!keyd_tell_head(keyd, &err) || !role_send_failure(keyd->link, subject, failure, &err))
		keyd_lose_engine(keyd, &err);
}

/* --- which there are --- */

static void tell_lost(void *context, const HelperPlace *place)
{
	Keyd *keyd = context;
	KeydHelper lost = { .kind = place->kind };
	Error err = ERROR_INIT;

	snprintf(lost.name, sizeof(lost.name), "%s", place->name);
	snprintf(lost.why, sizeof(lost.why), "%s", place->why);
	if (!ipc_send(keyd->link, KEYD_HELPER_LOST, place->number, &keyd_helper_schema, &lost, NULL,
		      0, &err))
		keyd_lose_engine(keyd, &err);
}

void backends_init(Keyd *keyd)
{
	helpers_init(&keyd->backends.helpers, tell_lost, keyd);
}

void backends_clear(Keyd *keyd)
{
	helpers_clear(&keyd->backends.helpers);
}

bool keyd_on_helper(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydHelper *helper = message->payload;
	KeydHelper refused = *helper;
	int fd = -1;

	/* A handler may take descriptors: the message is the loop's, which closes what is left. */
	if (message->fds_count)
		fd = TAKE_FD(((IpcMessage *)(uintptr_t)message)->fds[0]);
	if (helpers_set(&keyd->backends.helpers, helper, message->subject, fd, err))
		return true;
	snprintf(refused.why, sizeof(refused.why), "%s", err->text);
	*link_ok = ipc_send(keyd->link, KEYD_HELPER_LOST, message->subject, &keyd_helper_schema,
			    &refused, NULL, 0, err);
	return *link_ok;
}

bool backend_is_embedded(const char *name)
{
	return !strcmp(name, KEY_BACKEND_EMBEDDED);
}

bool backend_check(Keyd *keyd, const char *name, Error *err)
{
	Helpers *helpers = &keyd->backends.helpers;
	char known[HELPERS_MAX * (LIMIT_NAME + 4)] = "";

	if (backend_is_embedded(name) || helpers_find(helpers, name))
		return true;
	for (size_t i = 0; i < HELPERS_MAX; i++) {
		size_t used = strlen(known);

		if (helpers->places[i].name[0])
			snprintf(known + used, sizeof(known) - used, ", \"%s\"",
				 helpers->places[i].name);
	}
	return error_set(err, ERROR_NOT_FOUND, "no back-end \"%.63s\"; there is \"%s\"%.300s", name,
			 KEY_BACKEND_EMBEDDED, known);
}

/* Of a record whose back-end was taken out of the configuration nobody can get the value. */
static HelperPlace *place_of(Keyd *keyd, const KeyRecord *key, Error *err)
{
	HelperPlace *place = helpers_find(&keyd->backends.helpers, key->backend);

	if (!place)
		error_set(err, ERROR_UNAVAILABLE, "the back-end \"%s\" is not configured any more",
			  key->backend);
	return place;
}

/* --- a value goes there --- */

typedef struct Storing {
	Keyd *keyd;
	char who[KEY_WHO_SIZE];
	KeyRecord key;
	Secret *blob_key;
	char label[LIMIT_HELPER_LABEL];
	BackendStored *done;
	void *context;
} Storing;

static void storing_free(Storing *storing)
{
	if (storing)
		secret_free(storing->blob_key);
	free(storing);
}
DEFINE_CLEANUP(Storing, storing, storing_free)

/* Nobody can open what may be there: its blob key is dropped with us. So it is untidy, no more. */
static void see_to_rest(Storing *storing, const char *reference, const char *why)
{
	char detail[LIMIT_TEXT] = "";
	KeyReason reason = keyd_reason(storing->keyd, KEY_REFUSED, storing->who, detail);
	Error ignored = ERROR_INIT;

	snprintf(detail, sizeof(detail),
		 "back-end \"%s\" may keep a blob that opens nothing, \"%s\"%s%.128s: %.100s",
		 storing->key.backend, storing->label, reference[0] ? ", as " : "", reference, why);
	(void)!key_store_note(storing->keyd->store, NULL, &reason, &ignored);
	if (!reference[0])
		return;
	snprintf(storing->key.reference, sizeof(storing->key.reference), "%s", reference);
	backend_discard(storing->keyd, &storing->key);
}

static void on_not_stored(Storing *storing, const HelperNotStored *told, Error *ret_failure)
{
	error_set(ret_failure, (ErrorCategory)told->failure.category, "back-end \"%s\": %.400s",
		  storing->key.backend, told->failure.text);
	if (!told->certain)
		see_to_rest(storing, told->reference, told->failure.text);
}

static void on_stored(void *context, const IpcMessage *answer, const Error *failure, bool sent)
{
	CLEANUP(storing_cleanup) Storing *storing = context;
	Error why = ERROR_INIT;

	if (failure) {
		why = *failure;
		if (sent)
			see_to_rest(storing, "", failure->text);
	} else if (answer->type == HELPER_NOT_STORED) {
		/* Copied: who discards asks again, and the answer is gone. */
		const HelperNotStored told = *(const HelperNotStored *)answer->payload;

		on_not_stored(storing, &told, &why);
	} else {
		const HelperReference *stored = answer->payload;

		snprintf(storing->key.reference, sizeof(storing->key.reference), "%s",
			 stored->reference);
	}
	if (why.category)
		storing->done(storing->keyd, storing->context, NULL, NULL, &why);
	else
		storing->done(storing->keyd, storing->context, &storing->key, storing->blob_key,
			      NULL);
}

/* Some key managers want labels of their own for each object, and keep those of destroyed ones. */
static bool make_label(const KeyRecord *key, char label[LIMIT_HELPER_LABEL], Error *err)
{
	uint8_t random[8];
	char id[KEY_ID_HEX], word[2 * sizeof(random) + 1];

	if (!random_bytes(random, sizeof(random), err))
		return false;
	hex_encode(random, sizeof(random), word);
	key_id_text(key->id, id);
	snprintf(label, LIMIT_HELPER_LABEL, "sealift-%s-%" PRIu64 "-%s", id, key->version, word);
	return true;
}

bool backend_store(Keyd *keyd, const char *who, const KeyRecord *key, const Secret *value,
		   BackendStored *done, void *context, Error *err)
{
	CLEANUP(storing_cleanup) Storing *storing = calloc(1, sizeof(*storing));
	HelperPlace *place = place_of(keyd, key, err);
	AUTO_SECRET Secret *blob = NULL;

	if (!place)
		return false;
	if (!storing)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*storing = (Storing){ .keyd = keyd, .key = *key, .done = done, .context = context };
	snprintf(storing->who, sizeof(storing->who), "%s", who);
	if (!make_label(key, storing->label, err) ||
	    !key_blob_seal(key, value, &storing->blob_key, &blob, err) ||
	    !helpers_put(&keyd->backends.helpers, place, storing->label, blob, on_stored, storing,
			 now_us(keyd), err))
		return false;
	(void)TAKE_PTR(storing);
	return true;
}

/* --- a value comes from there --- */

typedef struct Fetching {
	Keyd *keyd;
	KeyRecord key;
	BackendFetched *done;
	void *context;
} Fetching;

/* With the blob key as it is in the store now: if the key was destroyed meanwhile, it is gone. */
static Secret *open_blob(Fetching *fetching, const HelperValue *told, Error *err)
{
	AUTO_SECRET Secret *blob = secret_new_from(told->blob, told->blob_size, err);
	AUTO_SECRET Secret *blob_key =
		blob ? key_store_value(fetching->keyd->store, &fetching->key, err) : NULL;
	Secret *value = blob_key ? key_blob_open(&fetching->key, blob_key, blob, err) : NULL;

	if (!value)
		error_prefix(err, "back-end \"%s\"", fetching->key.backend);
	return value;
}

static void on_fetched(void *context, const IpcMessage *answer, const Error *failure, bool sent)
{
	AUTO_FREE Fetching *fetching = context;
	AUTO_SECRET Secret *value = NULL;
	Error why = ERROR_INIT;

	(void)sent;
	if (!failure) {
		value = open_blob(fetching, answer->payload, &why);
		failure = &why;
	}
	fetching->done(fetching->keyd, fetching->context, value, value ? NULL : failure);
}

bool backend_fetch(Keyd *keyd, const KeyRecord *key, BackendFetched *done, void *context,
		   Error *err)
{
	AUTO_FREE Fetching *fetching = calloc(1, sizeof(*fetching));
	HelperPlace *place = place_of(keyd, key, err);

	if (!place)
		return false;
	if (!fetching)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*fetching = (Fetching){ .keyd = keyd, .key = *key, .done = done, .context = context };
	if (!helpers_ask(&keyd->backends.helpers, place, HELPER_GET, key->reference, on_fetched,
			 fetching, now_us(keyd), err))
		return false;
	(void)TAKE_PTR(fetching);
	return true;
}

/* --- the loop --- */

size_t backends_poll(const Keyd *keyd, struct pollfd ret_waits[HELPERS_MAX])
{
	return helpers_poll(&keyd->backends.helpers, ret_waits);
}

void backends_take(Keyd *keyd, const struct pollfd *waits, size_t count)
{
	helpers_take(&keyd->backends.helpers, waits, count, now_us(keyd));
}

/* --- for people --- */

typedef struct Asking {
	Keyd *keyd;
	uint64_t subject;
	size_t outstanding;
	KeydBackends answer;
} Asking;

typedef struct AskingOne {
	Asking *all;
	KeydBackend *place;
} AskingOne;

static void end_asking(Asking *asking)
{
	Error err = ERROR_INIT;

	if (!ipc_send(asking->keyd->link, KEYD_BACKEND_LIST, asking->subject, &keyd_backends_schema,
		      &asking->answer, NULL, 0, &err))
		keyd_lose_engine(asking->keyd, &err);
	free(asking);
}

static void on_checked(void *context, const IpcMessage *answer, const Error *failure, bool sent)
{
	AUTO_FREE AskingOne *one = context;
	Asking *all = one->all;

	(void)sent;
	one->place->usable = !failure;
	snprintf(one->place->text, sizeof(one->place->text), "%s",
		 failure ? failure->text : ((const HelperOk *)answer->payload)->text);
	if (!--all->outstanding)
		end_asking(all);
}

static void ask_one(Asking *all, HelperPlace *place)
{
	KeydBackend *told = &all->answer.backends[all->answer.backends_count++];
	AUTO_FREE AskingOne *one = calloc(1, sizeof(*one));
	Keyd *keyd = all->keyd;
	Error err = ERROR_INIT;

	snprintf(told->name, sizeof(told->name), "%s", place->name);
	snprintf(told->type, sizeof(told->type), "%s", helper_kind_words[place->kind]);
	if (!one) {
		snprintf(told->text, sizeof(told->text), "not asked: no memory");
		return;
	}
	*one = (AskingOne){ all, told };
	all->outstanding++;
	if (helpers_ask(&keyd->backends.helpers, place, HELPER_CHECK, NULL, on_checked, one,
			now_us(keyd), &err)) {
		(void)TAKE_PTR(one);
		return;
	}
	all->outstanding--;
	snprintf(told->text, sizeof(told->text), "%s", err.text);
}

bool keyd_on_places(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydWho *request = message->payload;
	Helpers *helpers = &keyd->backends.helpers;
	KeydBackend *embedded;
	Asking *all;

	(void)link_ok;
	if (!keyd_limit(keyd, LIMITED_READ, request->who, err))
		return false;
	all = calloc(1, sizeof(*all));
	if (!all)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*all = (Asking){ .keyd = keyd, .subject = message->subject, .outstanding = 1 };
	snprintf(all->answer.root, sizeof(all->answer.root), "%s", keyd->root->type->name);
	embedded = &all->answer.backends[all->answer.backends_count++];
	snprintf(embedded->name, sizeof(embedded->name), KEY_BACKEND_EMBEDDED);
	snprintf(embedded->type, sizeof(embedded->type), KEY_BACKEND_EMBEDDED);
	snprintf(embedded->text, sizeof(embedded->text), "in the key manager's own store");
	embedded->usable = true;
	for (size_t i = 0; i < HELPERS_MAX; i++)
		if (helpers->places[i].name[0])
			ask_one(all, &helpers->places[i]);
	/* The one that this function itself held. */
	if (!--all->outstanding)
		end_asking(all);
	return true;
}
