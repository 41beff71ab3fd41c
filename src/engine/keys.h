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

/* Where the end of its log is kept, in the state directory, a second late at most: JSON of a KeydHead.
 * To accept a store that was put back on purpose, a person removes it. */
#define KEYS_HEAD_NAME "keys.head"
/* The same of a key manager on another host (keys.manager), as its host told it. */
#define KEYS_MANAGER_HEAD_NAME "keys-manager.head"

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
/* Tell it of a change in whom to trust: a domain anew, not any more, or by a newer CRL. One that cannot
 * be told is started anew, and gets all that the engine's store says. */
void keys_retrust(Engine *engine, const RoleForget *name, const DomainRecord *domain);
void keys_distrust(Engine *engine, const RoleForget *name);
void keys_take_crl(Engine *engine, const RoleCrl *crl);
/* Whether somebody waits for this kind of answer. */
bool keys_awaits(const Engine *engine, uint16_t answer);
/* For `sealift doctor`: whether it serves, and what there is to say. False if none is configured.
 */
bool keys_describe(const Engine *engine, bool *ret_ok, char ret_text[LIMIT_TEXT]);

/* keys_trust.c */
/* A regular file, opened to be passed on. ERROR_CONFIG. */
MUST_CHECK bool keys_open_pem(const char *path, int *ret_fd, Error *err);
enum { KEYS_CERTIFICATE_FDS = 4 };
/* What it signs by and what is sealed for it, opened as KEYD_CERTIFICATE_FD and up want them; those
 * that were opened before a failure are there too. ERROR_CONFIG. */
MUST_CHECK bool keys_open_certificates(const ConfigKeys *config, int ret_fds[KEYS_CERTIFICATE_FDS],
				       Error *err);
/* Tells a key manager of a domain's roots and CRL, or of every domain of the engine's store. A refusal
 * comes as ROLE_FAILED with a subject that nobody waits for. */
MUST_CHECK bool keys_tell_domain(Engine *engine, Child *child, const DomainRecord *domain,
				 Error *err);
MUST_CHECK bool keys_tell_all_domains(Engine *engine, Child *child, Error *err);

/* keys_commands.c: the commands of the API. True: it was answered or will be. */
typedef bool KeysCommand(Engine *engine, ApiRequest *request, json_t *arguments, Error *err);
KeysCommand keys_do_create, keys_do_list, keys_do_show, keys_do_rotate, keys_do_destroy,
	keys_do_backends, keys_do_audit, keys_do_verify;
/* keys_abandon.c */
KeysCommand keys_do_abandon;
/* Whether the key may be abandoned: it is on its way, and its migration is over, as the engine itself
 * remembers it; *request gets what of it is known. ERROR_CONFLICT with the migration's id. */
MUST_CHECK bool keys_judge_abandoning(Engine *engine, const KeyRecord *key, KeydAbandon *request,
				      Error *err);
/* An answer as JSON, a new reference; NULL without memory. */
json_t *keys_view(uint16_t answer, const void *payload);
/* "uid 1000" */
void keys_caller(const ApiRequest *request, char ret_who[KEY_WHO_SIZE]);
/* "migration HEX" */
void keys_migration(const MigrationRecord *record, char ret_who[KEY_WHO_SIZE]);

#endif
