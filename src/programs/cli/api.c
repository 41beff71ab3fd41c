/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/api.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bounds.h"
#include "base/clock.h"
#include "wire/json.h"

enum { SEND_TIMEOUT_S = 10 };

struct Api {
	int fd;
	bool gone;
	uint64_t last_id;
	size_t used;
	char line[LIMIT_API_LINE + 1]; /* the newline comes on top of the bound */
};

static bool connect_to(int fd, const char *path, Error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	size_t length = strlen(path);

	if (!length || length >= sizeof(address.sun_path))
		return error_set(err, ERROR_USAGE,
				 "the socket's path has %zu bytes; 1 to %zu are possible", length,
				 sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, length + 1);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		return error_set_errno(err, ERROR_IO, errno, "cannot set up a socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return error_set_errno(err, errno == EACCES ? ERROR_DENIED : ERROR_UNAVAILABLE,
				       errno, "no engine answers at %s", path);
	return true;
}

Api *api_open(const char *path, Error *err)
{
	AUTO_API Api *api = calloc(1, sizeof(*api));

	if (!api) {
		error_set(err, ERROR_INTERNAL, "no memory for a connection");
		return NULL;
	}
	api->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (api->fd < 0) {
		error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
		return NULL;
	}
	if (!connect_to(api->fd, path, err))
		return NULL;
	return TAKE_PTR(api);
}

void api_close(Api *api)
{
	if (!api)
		return;
	if (api->fd >= 0)
		close(api->fd);
	free(api);
}

int api_fd(const Api *api)
{
	return api->fd;
}

bool api_is_gone(const Api *api)
{
	return api->gone;
}

static bool send_all(Api *api, const char *data, size_t size, Error *err)
{
	while (size) {
		ssize_t put = send(api->fd, data, size, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return error_set(err, ERROR_TIMEOUT, "the engine has read nothing for %d s",
					 SEND_TIMEOUT_S);
		if (put < 0) {
			api->gone = true;
			return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the engine is gone");
		}
		data += put;
		size -= (size_t)put;
	}
	return true;
}

bool api_send(Api *api, const char *command, json_t *arguments, uint64_t *ret_id, Error *err)
{
	AUTO_JSON json_t *owned = arguments ? arguments : json_object();
	AUTO_JSON json_t *request = NULL;
	AUTO_FREE char *text = NULL;
	size_t length;

	api->last_id++;
	request = json_pack("{s:s, s:O, s:I}", "execute", command, "arguments", owned, "id",
			    (json_int_t)api->last_id);
	text = request ? json_text_new(request, JSON_COMPACT) : NULL;
	if (!text)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	length = strlen(text);
	if (length > LIMIT_API_LINE)
		return error_set(err, ERROR_LIMIT, "the request has %zu bytes; the engine takes %d",
				 length, LIMIT_API_LINE);
	text[length] = '\n'; /* in the place of the NUL: the line is sent by its length */
	if (!send_all(api, text, length + 1, err))
		return false;
	*ret_id = api->last_id;
	return true;
}

void api_message_clear(ApiMessage *message)
{
	json_decref(message->body);
	*message = (ApiMessage){ 0 };
}

bool api_fill(Api *api, Error *err)
{
	ssize_t got;

	if (api->used == sizeof(api->line))
		return true; /* api_take finds out whether that is one line too long */
	got = recv(api->fd, api->line + api->used, sizeof(api->line) - api->used, MSG_DONTWAIT);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	api->gone = got <= 0;
	if (got < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the engine is gone");
	if (!got)
		return error_set(err, ERROR_UNAVAILABLE,
				 "the engine is gone: it closed the connection");
	api->used += (size_t)got;
	return true;
}

static bool decode_refusal(const json_t *refusal, Error *ret_error, Error *err)
{
	const char *category = api_text(refusal, "category");
	const char *text = api_text(refusal, "text");
	ErrorCategory value;

	if (!category || !text)
		return error_set(err, ERROR_PEER,
				 "the engine sent an error without category and text");
	value = error_category_of_word(category);
	error_set(ret_error, value == ERROR_NONE ? ERROR_INTERNAL : value, "%s", text);
	return true;
}

static bool decode_message(const json_t *line, ApiMessage *ret_message, Error *err)
{
	json_t *body = json_object_get(line, "return"), *refusal = json_object_get(line, "error");
	const char *event = api_text(line, "event");

	if (!!body + !!refusal + !!event != 1)
		return error_set(err, ERROR_PEER, "the engine sent neither a reply nor an event");
	api_u64(line, "id", &ret_message->id);
	if (refusal) {
		ret_message->kind = API_REFUSAL;
		return decode_refusal(refusal, &ret_message->error, err);
	}
	if (!json_is_object(body ? body : json_object_get(line, "data")))
		return error_set(err, ERROR_PEER, "the engine sent a %s that is no object",
				 body ? "reply" : "event");
	ret_message->kind = body ? API_RETURN : API_EVENT;
	ret_message->body = body ? json_incref(body) : json_deep_copy(line);
	if (!ret_message->body)
		return error_set(err, ERROR_INTERNAL, "no memory for a reply");
	return true;
}

bool api_take(Api *api, ApiMessage *ret_message, Error *err)
{
	char *end = memchr(api->line, '\n', api->used);
	AUTO_JSON json_t *line = NULL;
	AUTO_API_MESSAGE ApiMessage message = { 0 };
	size_t length;

	*ret_message = (ApiMessage){ 0 };
	if (!end && api->used == sizeof(api->line))
		return error_set(err, ERROR_PEER, "the engine sent a line of more than %d bytes",
				 LIMIT_API_LINE);
	if (!end)
		return true;
	length = (size_t)(end - api->line);
	line = json_loadb(api->line, length, JSON_REJECT_DUPLICATES, NULL);
	api->used -= length + 1;
	memmove(api->line, end + 1, api->used);
	if (!json_is_object(line))
		return error_set(err, ERROR_PEER, "the engine sent a line that is no JSON object");
	if (!decode_message(line, &message, err))
		return false;
	*ret_message = message;
	message = (ApiMessage){ 0 };
	return true;
}

/* Waits until a message is there or the deadline (by clock_system; negative: none) has passed. */
static bool wait_message(Api *api, int64_t deadline_us, ApiMessage *ret_message, Error *err)
{
	for (;;) {
		struct pollfd event = { .fd = api->fd, .events = POLLIN };
		int64_t left_ms = -1;

		if (!api_take(api, ret_message, err))
			return false;
		if (ret_message->kind != API_NOTHING)
			return true;
		if (deadline_us >= 0) {
			left_ms = (deadline_us - clock_monotonic_us(&clock_system)) / 1000;
			if (left_ms <= 0)
				return error_set(err, ERROR_TIMEOUT,
						 "the engine has not answered in time");
		}
		if (poll(&event, 1, (int)left_ms) < 0 && errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno, "cannot wait for the engine");
		if (event.revents && !api_fill(api, err))
			return false;
	}
}

bool api_wait(Api *api, ApiMessage *ret_message, Error *err)
{
	return wait_message(api, -1, ret_message, err);
}

/* An engine that refuses a caller says why and hangs up, perhaps before our request was sent. */
static void prefer_refusal(Api *api, Error *err)
{
	AUTO_API_MESSAGE ApiMessage message = { 0 };
	Error unreadable = ERROR_INIT;

	if (api_fill(api, &unreadable) && api_take(api, &message, &unreadable) &&
	    message.kind == API_REFUSAL)
		*err = message.error;
}

bool api_call(Api *api, const char *command, json_t *arguments, int timeout_ms, json_t **ret_body,
	      Error *err)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + (int64_t)timeout_ms * 1000;
	uint64_t id;

	if (!api_send(api, command, arguments, &id, err)) {
		if (api->gone)
			prefer_refusal(api, err);
		return false;
	}
	for (;;) {
		AUTO_API_MESSAGE ApiMessage message = { 0 };

		if (!wait_message(api, deadline_us, &message, err))
			return error_prefix(err, "%s", command);
		if (message.kind == API_EVENT)
			continue;
		if (message.kind == API_REFUSAL && (!message.id || message.id == id)) {
			*err = message.error;
			return false;
		}
		if (message.id != id)
			return error_set(err, ERROR_PEER,
					 "the engine answered a question never asked");
		if (ret_body)
			*ret_body = json_incref(message.body);
		return true;
	}
}

bool api_ask(const char *path, const char *command, json_t *arguments, int timeout_ms,
	     json_t **ret_body, Error *err)
{
	AUTO_JSON json_t *owned = arguments;
	AUTO_API Api *api = api_open(path, err);

	return api && api_call(api, command, TAKE_PTR(owned), timeout_ms, ret_body, err);
}

bool api_put_text(json_t *arguments, const char *name, const char *value, Error *err)
{
	AUTO_JSON json_t *text = json_string(value);

	if (!text)
		return error_set(err, ERROR_USAGE, "%s \"%.64s\" is not UTF-8", name, value);
	if (json_object_set(arguments, name, text))
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	return true;
}

const char *api_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

bool api_u64(const json_t *object, const char *name, uint64_t *ret_value)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret_value = (uint64_t)json_integer_value(value);
	return true;
}

bool api_number(const json_t *object, const char *name, double *ret_value)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_number(value) || !isfinite(json_number_value(value)) ||
	    json_number_value(value) < 0)
		return false;
	*ret_value = json_number_value(value);
	return true;
}

size_t api_count(const json_t *object, const char *name)
{
	return json_array_size(json_object_get(object, name));
}

const json_t *api_item(const json_t *object, const char *name, size_t index)
{
	return json_array_get(json_object_get(object, name), index);
}
