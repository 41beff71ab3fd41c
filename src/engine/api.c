/* SPDX-License-Identifier: Apache-2.0 */
/* The local API: docs/API.md. Clients, lines, replies, events. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "engine/caller.h"
#include "engine/engine.h"
#include "wire/json.h"

enum { CLIENT_OUTPUT_MAX = 1 << 20, CLIENT_PENDING_MAX = 8 };

struct ApiClient {
	LIST_ENTRY(ApiClient) link;
	Engine *engine;
	struct bufferevent *socket;
	Caller caller;
	bool wants_events;
	unsigned int references; /* itself and the requests under way */
	unsigned int pending;
	bool closed;
};

struct ApiRequest {
	ApiClient *client;
	json_t *arguments;
	json_t *id;
};

static void client_unref(ApiClient *client)
{
	if (--client->references)
		return;
	free(client);
}

static void client_close(ApiClient *client)
{
	if (client->closed)
		return;
	client->closed = true;
	LIST_REMOVE(client, link);
	client->engine->clients_count--;
	bufferevent_free(client->socket);
	client->socket = NULL;
	client_unref(client);
}

static void client_send(ApiClient *client, json_t *object)
{
	char *line;

	if (!client->closed) {
		line = json_text_new(object, JSON_COMPACT | JSON_ENSURE_ASCII);
		if (line) {
			(void)bufferevent_write(client->socket, line, strlen(line));
			(void)bufferevent_write(client->socket, "\n", 1);
			free(line);
		}
		/* One that does not read may not make us hold what it does not read. */
		if (evbuffer_get_length(bufferevent_get_output(client->socket)) > CLIENT_OUTPUT_MAX) {
			log_warning(client->engine->log, "an API client does not read its replies: closed");
			client_close(client);
		}
	}
	json_decref(object);
}

static void request_end(ApiRequest *request)
{
	request->client->pending--;
	/* Lines that had to wait for a place. */
	if (!request->client->closed)
		bufferevent_trigger(request->client->socket, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
	client_unref(request->client);
	json_decref(request->arguments);
	json_decref(request->id);
	free(request);
}

void api_return(ApiRequest *request, json_t *value)
{
	json_t *reply = json_pack("{s:o}", "return", value ? value : json_object());

	if (request->id)
		(void)json_object_set(reply, "id", request->id);
	client_send(request->client, reply);
	request_end(request);
}

void api_fail(ApiRequest *request, const Error *err)
{
	json_t *reply = json_pack("{s:{s:s, s:s}}", "error", "category", error_word(err->category),
				  "text", err->text);

	if (request->id)
		(void)json_object_set(reply, "id", request->id);
	client_send(request->client, reply);
	request_end(request);
}

void api_subscribe(ApiRequest *request)
{
	request->client->wants_events = true;
}

Engine *api_engine(const ApiRequest *request)
{
	return request->client->engine;
}

uid_t api_uid(const ApiRequest *request)
{
	return request->client->caller.uid;
}

bool api_may_name_files(const ApiRequest *request)
{
	return caller_may_name_files(&request->client->caller, geteuid());
}

json_t *api_arguments(const ApiRequest *request)
{
	return request->arguments;
}

void api_event(Engine *engine, const char *name, json_t *data)
{
	ApiClient *client, *next;
	struct timeval now;
	json_t *event;

	evutil_gettimeofday(&now, NULL);
	event = json_pack("{s:s, s:f, s:o}", "event", name, "time",
			  (double)now.tv_sec + (double)now.tv_usec / 1e6, "data", data);
	for (client = LIST_FIRST(&engine->clients); event && client; client = next) {
		next = LIST_NEXT(client, link);
		if (client->wants_events)
			client_send(client, json_incref(event));
	}
	json_decref(event);
}

/* --- requests --- */

static bool parse_request(const char *line, size_t length, ApiRequest *request,
			  const char **ret_command, json_t **ret_root, Error *err)
{
	static const char *const known[] = { "execute", "arguments", "id" };
	json_error_t where;
	json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	const char *name;
	json_t *value;

	*ret_root = root;
	if (!root)
		return error_set(err, ERROR_USAGE, "not JSON: %s", where.text);
	if (!json_is_object(root))
		return error_set(err, ERROR_USAGE, "a request must be an object");
	request->id = json_incref(json_object_get(root, "id"));
	json_object_foreach(root, name, value) {
		bool found = false;

		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			found = found || !strcmp(known[i], name);
		if (!found)
			return error_set(err, ERROR_USAGE, "unknown member \"%.64s\"", name);
	}
	value = json_object_get(root, "arguments");
	if (value && !json_is_object(value))
		return error_set(err, ERROR_USAGE, "arguments must be an object");
	request->arguments = value ? json_incref(value) : json_object();
	*ret_command = json_string_value(json_object_get(root, "execute"));
	return *ret_command || error_set(err, ERROR_USAGE, "member \"execute\" is missing");
}

static void on_line(ApiClient *client, const char *line, size_t length)
{
	ApiRequest *request = calloc(1, sizeof(*request));
	const char *command = NULL;
	json_t *root = NULL;
	Error err = ERROR_INIT;

	if (!request) {
		client_close(client);
		return;
	}
	request->client = client;
	client->references++;
	client->pending++;
	if (!parse_request(line, length, request, &command, &root, &err))
		api_fail(request, &err);
	else
		api_dispatch(request, command);
	json_decref(root);
}

static void on_read(struct bufferevent *socket, void *context)
{
	ApiClient *client = context;
	struct evbuffer *input = bufferevent_get_input(socket);

	client->references++;
	while (!client->closed && client->pending < CLIENT_PENDING_MAX) {
		size_t length;
		char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF);

		if (!line) {
			if (evbuffer_get_length(input) >= LIMIT_API_LINE) {
				log_warning(client->engine->log, "an API line is longer than %d bytes: closed",
					    LIMIT_API_LINE);
				client_close(client);
			}
			break;
		}
		on_line(client, line, length);
		free(line);
	}
	client_unref(client);
}

static void on_end(struct bufferevent *socket, short what, void *context)
{
	(void)socket;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		client_close(context);
}

/* --- who may --- */

static bool may_use(const Engine *engine, int fd, Caller *ret_caller)
{
	const Config *config = &engine->config;
	Error err = ERROR_INIT;

	if (caller_of(fd, config->api_group[0] ? config->api_gid : (gid_t)-1, ret_caller, &err))
		return caller_may_use(ret_caller, geteuid());
	log_warning(engine->log, "API: %s", err.text);
	return false;
}

static void refuse(Engine *engine, int fd, const char *why)
{
	char line[256];
	int length = snprintf(line, sizeof(line),
			      "{\"error\":{\"category\":\"denied\",\"text\":\"%s\"}}\n", why);

	log_warning(engine->log, "API: %s", why);
	(void)!write(fd, line, (size_t)length);
	close(fd);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int length, void *context)
{
	Engine *engine = context;
	ApiClient *client;
	Caller caller;

	(void)listener;
	(void)address;
	(void)length;
	if (!may_use(engine, fd, &caller)) {
		refuse(engine, fd, "your UNIX user may not use this engine");
		return;
	}
	if (engine->clients_count >= LIMIT_API_CLIENTS) {
		refuse(engine, fd, "too many clients");
		return;
	}
	client = calloc(1, sizeof(*client));
	if (client)
		client->socket = bufferevent_socket_new(engine->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client || !client->socket) {
		free(client);
		close(fd);
		return;
	}
	client->engine = engine;
	client->caller = caller;
	client->references = 1;
	LIST_INSERT_HEAD(&engine->clients, client, link);
	engine->clients_count++;
	bufferevent_setcb(client->socket, on_read, NULL, on_end, client);
	bufferevent_setwatermark(client->socket, EV_READ, 0, LIMIT_API_LINE);
	bufferevent_enable(client->socket, EV_READ | EV_WRITE);
}

bool api_start(Engine *engine, Error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const char *path = engine->config.socket;
	bool group = engine->config.api_group[0] != '\0';
	mode_t old;
	bool bound;

	memcpy(address.sun_path, path, strlen(path) + 1);
	/* Ours: the run directory is locked by the store's exclusive lock. */
	unlink(path);
	old = umask(0177);
	bound = fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(old);
	if (!bound || listen(fd, 64))
		return error_set_errno(err, ERROR_IO, errno, "cannot listen on %s", path);
	if (group && (chown(path, (uid_t)-1, engine->config.api_gid) || chmod(path, 0660)))
		return error_set_errno(err, ERROR_IO, errno, "cannot give %s to group %s", path,
				       engine->config.api_group);
	engine->api = evconnlistener_new(engine->base, on_client, engine,
					 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!engine->api)
		return error_set(err, ERROR_INTERNAL, "no memory for the API");
	(void)take_fd(&fd);
	return true;
}

void api_stop(Engine *engine)
{
	ApiClient *client;

	if (engine->api) {
		evconnlistener_free(engine->api);
		unlink(engine->config.socket);
	}
	engine->api = NULL;
	while ((client = LIST_FIRST(&engine->clients)))
		client_close(client);
}
