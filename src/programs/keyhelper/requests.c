/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "programs/keyhelper/keyhelper.h"

/* True if it was answered. False: with link_ok the error goes back as ROLE_FAILED, else the link is
 * gone. */
typedef bool Handler(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err);

static bool answer(Helper *helper, const IpcMessage *message, uint16_t type, const Schema *schema,
		   const void *payload, bool *link_ok, Error *err)
{
	*link_ok = ipc_send(helper->keyd, type, message->subject, schema, payload, NULL, 0, err);
	return *link_ok;
}

static bool answer_key(Helper *helper, const IpcMessage *message, const Secret *key, bool *link_ok,
		       Error *err)
{
	HelperKey payload;
	bool ok;

	if (secret_size(key) != KEY_BYTES)
		return error_set(err, ERROR_PEER, "a key of %zu bytes, expected %d",
				 secret_size(key), KEY_BYTES);
	memcpy(payload.key, secret_peek(key), KEY_BYTES);
	ok = answer(helper, message, HELPER_KEY, &helper_key_schema, &payload, link_ok, err);
	explicit_bzero(&payload, sizeof(payload));
	return ok;
}

/* Keyd must learn what may be there, so it has a failure of its own. */
static bool answer_not_stored(Helper *helper, const IpcMessage *message, const char *reference,
			      bool *link_ok, Error *err)
{
	HelperNotStored payload = { .failure.category = (uint64_t)err->category,
				    .certain = helper->provider->nothing_stored };

	snprintf(payload.failure.text, sizeof(payload.failure.text), "%s", err->text);
	if (!payload.certain)
		snprintf(payload.reference, sizeof(payload.reference), "%s", reference);
	return answer(helper, message, HELPER_NOT_STORED, &helper_not_stored_schema, &payload,
		      link_ok, err);
}

static bool on_put(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	const HelperPut *request = message->payload;
	HelperReference payload = { "" };
	AUTO_SECRET Secret *blob = secret_new_from(request->blob, request->blob_size, err);

	if (!blob) {
		helper->provider->nothing_stored = true;
		return answer_not_stored(helper, message, "", link_ok, err);
	}
	if (!key_provider_put(helper->provider, request->label, blob, payload.reference, err))
		return answer_not_stored(helper, message, payload.reference, link_ok, err);
	return answer(helper, message, HELPER_STORED, &helper_reference_schema, &payload, link_ok,
		      err);
}

static bool on_get(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	const HelperReference *request = message->payload;
	AUTO_SECRET Secret *blob = key_provider_get(helper->provider, request->reference, err);
	HelperValue payload;
	bool ok;

	if (!blob)
		return false;
	payload.blob_size = secret_size(blob);
	if (payload.blob_size > sizeof(payload.blob))
		return error_set(err, ERROR_PEER, "a value of %zu bytes, %d are the limit",
				 payload.blob_size, PROVIDER_BLOB_MAX);
	memcpy(payload.blob, secret_peek(blob), payload.blob_size);
	ok = answer(helper, message, HELPER_VALUE, &helper_value_schema, &payload, link_ok, err);
	explicit_bzero(&payload, sizeof(payload));
	return ok;
}

static bool on_destroy(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	const HelperReference *request = message->payload;

	return key_provider_destroy(helper->provider, request->reference, err) &&
	       answer(helper, message, HELPER_DESTROYED, NULL, NULL, link_ok, err);
}

static bool on_check(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	HelperOk payload = { "" };

	if (helper->provider && !key_provider_check(helper->provider, err))
		return false;
	helper_describe(helper, payload.text);
	return answer(helper, message, HELPER_OK, &helper_ok_schema, &payload, link_ok, err);
}

static bool on_wrap(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	const HelperKey *request = message->payload;
	AUTO_SECRET Secret *key = secret_new_from(request->key, sizeof(request->key), err);
	HelperWrapped payload;

	return key && helper->root->type->wrap(helper->root, key, payload.wrapped, err) &&
	       answer(helper, message, HELPER_WRAPPED, &helper_wrapped_schema, &payload, link_ok,
		      err);
}

static bool on_unwrap(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	const HelperWrapped *request = message->payload;
	AUTO_SECRET Secret *key = secret_new(KEY_BYTES, err);

	return key && helper->root->type->unwrap(helper->root, request->wrapped, key, err) &&
	       answer_key(helper, message, key, link_ok, err);
}

/* The link's rules permit it once. */
static bool on_unseal(Helper *helper, const IpcMessage *message, bool *link_ok, Error *err)
{
	AUTO_SECRET Secret *key = TAKE_PTR(helper->unsealed);

	helper->done = true;
	return answer_key(helper, message, key, link_ok, err);
}

static const struct {
	uint16_t type; /* 0 ends the table */
	Handler *handler;
} requests[] = {
	{ HELPER_PUT, on_put },		{ HELPER_GET, on_get },
	{ HELPER_DESTROY, on_destroy }, { HELPER_CHECK, on_check },
	{ HELPER_WRAP, on_wrap },	{ HELPER_UNWRAP, on_unwrap },
	{ HELPER_UNSEAL, on_unseal },	{ 0 },
};

bool helper_answer(Helper *helper, const IpcMessage *message, Error *err)
{
	bool link_ok = true;
	size_t row = 0;
	Error failure;

	while (requests[row].type && requests[row].type != message->type)
		row++;
	/* The link lets nothing else through. */
	assert(requests[row].type);
	*err = ERROR_INIT;
	if (requests[row].handler(helper, message, &link_ok, err))
		return true;
	if (!link_ok)
		return false;
	failure = *err;
	return role_send_failure(helper->keyd, message->subject, &failure, err);
}
