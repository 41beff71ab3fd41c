/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side of the key manager, sealift-keyd: its start and restart, what is asked of it
 * and by whom, and the memory of how far its log had come, so that a store that was put back to an
 * earlier day is noticed. It sees no value of a key.
 *
 * VMs do not depend on it: while it is away, requests are answered with ERROR_UNAVAILABLE and the
 * reason, and it is started again, after a second at first and a minute at last.
 */
#ifndef SEALIFT_ENGINE_KEYS_H
#define SEALIFT_ENGINE_KEYS_H

#include "engine/engine.h"
#include "role/keyd_messages.h"

/* Where the end of its log is kept, in the state directory: JSON of a KeydHead. To accept a store
 * that was put back on purpose, a person removes it. */
#define KEYS_HEAD_NAME "keys.head"

/* Without a `keys` group in the configuration it does nothing. A key manager that does not start is
 * logged and tried again: only a lack of memory is an error. */
MUST_CHECK bool keys_start(Engine *engine, Error *err);
void keys_stop(Engine *engine);

/* Sends a request about keys; its answer, of type `answer`, is given to `api` as JSON.
 * ERROR_UNAVAILABLE if there is no key manager, or none at the moment. */
MUST_CHECK bool keys_ask(Engine *engine, uint16_t type, const Schema *schema, const void *request,
			 uint16_t answer, ApiRequest *api, Error *err);
/* The same for the engine itself: done is told once, from the event loop, with the answer or with
 * the failure, the other NULL. Of the answer's descriptors it may take some. *ret_number, unless
 * NULL, names the request for keys_used. */
typedef void KeysDone(void *context, IpcMessage *answer, const Error *err);
MUST_CHECK bool keys_request(Engine *engine, uint16_t type, const Schema *schema,
			     const void *request, uint16_t answer, KeysDone *done, void *context,
			     uint64_t *ret_number, Error *err);
/* What this KEYD_OPEN opened is to be wiped now. Without a key manager there is nothing left of it. */
void keys_used(Engine *engine, uint64_t number);
/* Whether somebody waits for this kind of answer. */
bool keys_awaits(const Engine *engine, uint16_t answer);
/* For `sealift doctor`: whether it serves, and what there is to say. False if none is configured.
 */
bool keys_describe(const Engine *engine, bool *ret_ok, char ret_text[LIMIT_TEXT]);

/* keys_commands.c: the commands of the API. True: it was answered or will be. */
typedef bool KeysCommand(Engine *engine, ApiRequest *request, json_t *arguments, Error *err);
KeysCommand keys_do_create, keys_do_list, keys_do_show, keys_do_rotate, keys_do_destroy,
	keys_do_backends, keys_do_audit, keys_do_verify;
/* An answer as JSON, a new reference; NULL without memory. */
json_t *keys_view(uint16_t answer, const void *payload);
/* "uid 1000" */
void keys_caller(const ApiRequest *request, char ret_who[KEY_WHO_SIZE]);

#endif
