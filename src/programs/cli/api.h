/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's end of the engine's local API (docs/API.md): one JSON object a line on a UNIX stream
 * socket. What the engine says is bounded and checked, since a bug there must not become one here;
 * whoever prints it escapes it (text.h).
 */
#ifndef SEALIFT_PROGRAMS_CLI_API_H
#define SEALIFT_PROGRAMS_CLI_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	API_TIMEOUT_MS = 30 * 1000,	  /* for what the engine answers from memory or its store */
	API_TIMEOUT_LONG_MS = 900 * 1000, /* for what makes several images */
	API_TIMEOUT_SLOW_MS = 120 * 1000, /* for what starts or ends a hypervisor */
};

DEFINE_CLEANUP(json_t, json, json_decref)
#define AUTO_JSON CLEANUP(json_cleanup)

typedef struct Api Api;

/* Connects. Owned by the caller. ERROR_UNAVAILABLE if no engine listens there, ERROR_DENIED if the
 * socket's permissions forbid it, ERROR_USAGE if the path is too long for a UNIX socket. */
MUST_CHECK Api *api_open(const char *path, Error *err);
void api_close(Api *api);
DEFINE_CLEANUP(Api, api, api_close)
#define AUTO_API CLEANUP(api_cleanup)

/* For poll(2): readable when api_fill has something to do. */
int api_fd(const Api *api);
/* Whether an ERROR_UNAVAILABLE meant this connection, and not what the engine says of a migration.
 */
bool api_is_gone(const Api *api);

/* Sends a request; takes `arguments` (an object or NULL) in any case. ERROR_UNAVAILABLE if the
 * engine has gone, ERROR_LIMIT if the line would exceed LIMIT_API_LINE. */
MUST_CHECK bool api_send(Api *api, const char *command, json_t *arguments, uint64_t *ret_id,
			 Error *err);

typedef enum ApiKind {
	API_NOTHING, /* no whole line has arrived yet */
	API_RETURN,  /* body is the object under "return" */
	API_REFUSAL, /* the engine's error is in `error` */
	API_EVENT,   /* body is the whole event with "event", "time", "data" */
} ApiKind;

typedef struct ApiMessage {
	ApiKind kind;
	uint64_t id;  /* of the request; 0 for events and for a refusal that names none */
	json_t *body; /* a new reference */
	Error error;
} ApiMessage;

void api_message_clear(ApiMessage *message);
#define AUTO_API_MESSAGE CLEANUP(api_message_clear)

/* Reads once what has arrived, without waiting. ERROR_UNAVAILABLE at end of file. */
MUST_CHECK bool api_fill(Api *api, Error *err);
/* Takes the next whole line out of what was read. ERROR_PEER if it is over-long or not of the API.
 */
MUST_CHECK bool api_take(Api *api, ApiMessage *ret_message, Error *err);

/* api_send, then waits for the reply; events that come before it are dropped. *ret_body (a new
 * reference) may be NULL if the caller does not care. ERROR_TIMEOUT, or the engine's own error. */
MUST_CHECK bool api_call(Api *api, const char *command, json_t *arguments, int timeout_ms,
			 json_t **ret_body, Error *err);

/* Waits for one message of any kind, without limit of time. */
MUST_CHECK bool api_wait(Api *api, ApiMessage *ret_message, Error *err);

/* Opens, calls once, closes. */
MUST_CHECK bool api_ask(const char *path, const char *command, json_t *arguments, int timeout_ms,
			json_t **ret_body, Error *err);

/* Adds a text to an object of arguments. ERROR_USAGE if it is not UTF-8. */
MUST_CHECK bool api_put_text(json_t *arguments, const char *name, const char *value, Error *err);

/* Members of what the engine sent: NULL or false if absent or of another type. */
const char *api_text(const json_t *object, const char *name);
bool api_u64(const json_t *object, const char *name, uint64_t *ret_value);
bool api_number(const json_t *object, const char *name,
		double *ret_value); /* finite, not negative */
/* A list: 0 items if it is absent or of another type. */
size_t api_count(const json_t *object, const char *name);
const json_t *api_item(const json_t *object, const char *name, size_t index);

#endif
