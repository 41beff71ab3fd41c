/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qmp.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "vmm/unix_socket.h"
#include "wire/json.h"

enum {
	COMMAND_NAME_BYTES = 48,
	READ_CHUNK_BYTES = 65536,
	READ_CHUNKS_MAX = 8, /* how long one QEMU may keep the loop */
};

typedef enum QmpState { QMP_GREETING, QMP_NEGOTIATING, QMP_READY, QMP_CLOSED } QmpState;

typedef struct Pending {
	bool used;
	bool expired; /* told ERROR_TIMEOUT already; waits for the late reply */
	uint64_t id;
	int64_t deadline_us;
	QmpReply *reply;
	void *context;
	char command[COMMAND_NAME_BYTES];
} Pending;

/* One command on its way out; a descriptor goes with its first byte. */
typedef struct Outgoing {
	struct Outgoing *next;
	char *text;
	size_t size;
	size_t sent;
	int fd;
} Outgoing;

struct QmpClient {
	struct event_base *base;
	int fd;
	QmpState state;
	struct event *readable;
	struct event *writable;
	struct event *timer;
	int64_t greeting_deadline_us;
	Buffer input;
	size_t scanned; /* bytes of input known to hold no newline */
	Outgoing *first, **last;
	size_t queued_bytes;
	Pending pending[QMP_PENDING_MAX];
	uint64_t next_id;
	QmpEvents events;
	void *context;
	unsigned int depth; /* callbacks of ours on the stack */
	bool freed;
};

static inline void json_cleanup(json_t **object)
{
	json_decref(*object);
}
#define AUTO_JSON CLEANUP(json_cleanup)

static int64_t now_us(void)
{
	return clock_monotonic_us(&clock_system);
}

static void outgoing_free(Outgoing *outgoing)
{
	free(outgoing->text);
	if (outgoing->fd >= 0)
		close(outgoing->fd);
	free(outgoing);
}

static void drop_outgoing(QmpClient *client)
{
	while (client->first) {
		Outgoing *next = client->first->next;

		outgoing_free(client->first);
		client->first = next;
	}
	client->last = &client->first;
	client->queued_bytes = 0;
}

static void disconnect(QmpClient *client)
{
	client->state = QMP_CLOSED;
	if (client->readable)
		event_free(client->readable);
	if (client->writable)
		event_free(client->writable);
	if (client->timer)
		event_free(client->timer);
	client->readable = client->writable = client->timer = NULL;
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	drop_outgoing(client);
}

static void release(QmpClient *client)
{
	buffer_clear(&client->input);
	free(client);
}

static void leave(QmpClient *client)
{
	if (!--client->depth && client->freed)
		release(client);
}

static void settle(Pending *pending, json_t *ret, const Error *err)
{
	QmpReply *reply = pending->reply;
	void *context = pending->context;
	bool tell = !pending->expired && reply;

	pending->used = false;
	if (tell)
		reply(context, ret, err);
}

static void fail_pending(QmpClient *client, const Error *cause)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++) {
		Error err = *cause;

		if (!client->pending[i].used)
			continue;
		error_prefix(&err, "%s", client->pending[i].command);
		settle(&client->pending[i], NULL, &err);
	}
}

static void close_with(QmpClient *client, const Error *cause)
{
	if (client->state == QMP_CLOSED)
		return;
	disconnect(client);
	client->events.on_closed(client->context, cause);
	/* An owner that freed us in on_closed has had them all told by qmp_free. */
	fail_pending(client, cause);
}

void qmp_free(QmpClient *client)
{
	Error err = ERROR_INIT;

	if (!client || client->freed)
		return;
	client->freed = true;
	client->depth++;
	disconnect(client);
	error_set(&err, ERROR_CANCELLED, "the QMP connection was closed by its owner");
	fail_pending(client, &err);
	leave(client);
}

/* The timer always stands at the earliest deadline. */
static void arm_timer(QmpClient *client)
{
	int64_t earliest = client->state < QMP_READY ? client->greeting_deadline_us : INT64_MAX;
	int64_t wait_us;

	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (client->pending[i].used && !client->pending[i].expired &&
		    client->pending[i].deadline_us < earliest)
			earliest = client->pending[i].deadline_us;
	if (earliest == INT64_MAX) {
		event_del(client->timer);
		return;
	}
	wait_us = earliest - now_us();
	if (wait_us < 0)
		wait_us = 0;
	event_add(client->timer,
		  &(struct timeval){ .tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000 });
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	QmpClient *client = context;
	int64_t now = now_us();
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	client->depth++;
	if (client->state < QMP_READY && client->greeting_deadline_us <= now) {
		error_set(&err, ERROR_TIMEOUT, "no QMP greeting in time");
		close_with(client, &err);
	}
	for (size_t i = 0; i < QMP_PENDING_MAX && client->state != QMP_CLOSED; i++) {
		Pending *pending = &client->pending[i];

		if (!pending->used || pending->expired || pending->deadline_us > now)
			continue;
		error_set(&err, ERROR_TIMEOUT, "%s: QEMU did not answer in time", pending->command);
		/* The slot stays taken: the late reply must find its id. */
		pending->expired = true;
		if (pending->reply)
			pending->reply(pending->context, NULL, &err);
	}
	if (client->state != QMP_CLOSED)
		arm_timer(client);
	leave(client);
}

static ssize_t send_some(int fd, const Outgoing *outgoing)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec part = { .iov_base = outgoing->text + outgoing->sent,
			      .iov_len = outgoing->size - outgoing->sent };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (outgoing->fd >= 0 && !outgoing->sent) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &outgoing->fd, sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
	QmpClient *client = context;

	(void)what;
	client->depth++;
	while (client->first) {
		Outgoing *outgoing = client->first;
		ssize_t sent = send_some(fd, outgoing);
		Error err = ERROR_INIT;

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0) {
			error_set_errno(&err, ERROR_UNAVAILABLE, errno, "cannot send to QEMU");
			close_with(client, &err);
			break;
		}
		outgoing->sent += (size_t)sent;
		client->queued_bytes -= (size_t)sent;
		if (outgoing->sent < outgoing->size)
			continue;
		client->first = outgoing->next;
		if (!client->first)
			client->last = &client->first;
		outgoing_free(outgoing);
	}
	if (client->state != QMP_CLOSED && !client->first)
		event_del(client->writable);
	leave(client);
}

static bool enqueue(QmpClient *client, const json_t *command, int fd, Error *err)
{
	AUTO_FREE char *text = json_text_new(command, JSON_COMPACT);
	AUTO_FD int copy = -1;
	size_t size = text ? strlen(text) : 0;
	Outgoing *outgoing;
	char *line;

	if (text && size + 1 > QMP_OUTPUT_MAX_BYTES - client->queued_bytes)
		return error_set(err, ERROR_LIMIT, "more than %d bytes wait for QEMU",
				 QMP_OUTPUT_MAX_BYTES);
	if (fd >= 0) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot pass a descriptor");
	}
	line = text ? realloc(text, size + 2) : NULL;
	if (line)
		text = line;
	outgoing = calloc(1, sizeof(*outgoing));
	if (!line || !outgoing) {
		free(outgoing);
		return error_set(err, ERROR_INTERNAL, "no memory for a QMP command");
	}
	memcpy(line + size, "\n", 2);
	*outgoing = (Outgoing){ .text = TAKE_PTR(text), .size = size + 1, .fd = TAKE_FD(copy) };
	*client->last = outgoing;
	client->last = &outgoing->next;
	client->queued_bytes += size + 1;
	event_add(client->writable, NULL);
	return true;
}

static Pending *find_free(QmpClient *client)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (!client->pending[i].used)
			return &client->pending[i];
	return NULL;
}

static bool submit(QmpClient *client, const char *command, json_t *arguments, int fd,
		   int64_t deadline_us, QmpReply *reply, void *context, Error *err)
{
	AUTO_JSON json_t *object = json_object();
	Pending *pending = find_free(client);

	if (!object || json_object_set_new(object, "execute", json_string(command)) ||
	    json_object_set_new(object, "id", json_integer((json_int_t)client->next_id)) ||
	    (arguments && json_object_set(object, "arguments", arguments)))
		return error_set(err, ERROR_INTERNAL, "%s: no memory for a QMP command", command);
	if (!pending)
		return error_set(err, ERROR_LIMIT, "%s: %d commands wait for QEMU already", command,
				 QMP_PENDING_MAX);
	if (!enqueue(client, object, fd, err))
		return error_prefix(err, "%s", command);
	*pending = (Pending){ .used = true,
			      .id = client->next_id++,
			      .deadline_us = deadline_us,
			      .reply = reply,
			      .context = context };
	snprintf(pending->command, sizeof(pending->command), "%s", command);
	arm_timer(client);
	return true;
}

bool qmp_execute_with_fd(QmpClient *client, const char *command, json_t *arguments, int fd,
			 int64_t deadline_ms, QmpReply *reply, void *context, Error *err)
{
	AUTO_JSON json_t *owned = arguments;

	if (client->state != QMP_READY)
		return error_set(err, ERROR_UNAVAILABLE, "%s: no QMP connection", command);
	return submit(client, command, owned, fd, now_us() + deadline_ms * 1000, reply, context,
		      err);
}

bool qmp_execute(QmpClient *client, const char *command, json_t *arguments, int64_t deadline_ms,
		 QmpReply *reply, void *context, Error *err)
{
	return qmp_execute_with_fd(client, command, arguments, -1, deadline_ms, reply, context,
				   err);
}

static void on_negotiated(void *context, json_t *ret, const Error *err)
{
	QmpClient *client = context;

	(void)ret;
	/* A connection that ends meanwhile tells its owner by on_closed. */
	if (client->state != QMP_NEGOTIATING)
		return;
	if (err) {
		close_with(client, err);
		return;
	}
	client->state = QMP_READY;
	client->events.on_ready(client->context);
}

static bool take_greeting(QmpClient *client, const json_t *message, Error *err)
{
	if (!json_is_object(json_object_get(message, "QMP")))
		return error_set(err, ERROR_HYPERVISOR, "the first QMP line is no greeting");
	client->state = QMP_NEGOTIATING;
	return submit(client, "qmp_capabilities", NULL, -1, client->greeting_deadline_us,
		      on_negotiated, client, err);
}

static bool take_reply(QmpClient *client, const json_t *message, Error *err)
{
	const json_t *id = json_object_get(message, "id");
	const json_t *error = json_object_get(message, "error");
	const char *text = json_string_value(json_object_get(error, "desc"));
	Error refused = ERROR_INIT;

	if (error && !text)
		return error_set(err, ERROR_HYPERVISOR, "a QMP error without a description");
	if (!id && error)
		return error_set(err, ERROR_HYPERVISOR, "QEMU could not read a command: %s", text);
	for (size_t i = 0; i < QMP_PENDING_MAX && json_is_integer(id); i++) {
		Pending *pending = &client->pending[i];

		if (!pending->used || (json_int_t)pending->id != json_integer_value(id))
			continue;
		if (error)
			error_set(&refused, ERROR_HYPERVISOR, "%s: %s", pending->command, text);
		settle(pending, error ? NULL : json_object_get(message, "return"),
		       error ? &refused : NULL);
		return true;
	}
	return error_set(err, ERROR_HYPERVISOR, "a QMP reply with an id that was not asked for");
}

static bool take_event(QmpClient *client, const json_t *message, Error *err)
{
	const char *name = json_string_value(json_object_get(message, "event"));
	const json_t *stamp = json_object_get(message, "timestamp");
	json_int_t seconds = json_integer_value(json_object_get(stamp, "seconds"));
	json_int_t micros = json_integer_value(json_object_get(stamp, "microseconds"));
	int64_t wall_us = 0;

	if (!name)
		return error_set(err, ERROR_HYPERVISOR, "a QMP event without a name");
	/* QEMU gives -1 when its clock failed. */
	if (seconds > 0 && seconds < INT64_MAX / 1000000 - 1 && micros >= 0 && micros < 1000000)
		wall_us = seconds * 1000000 + micros;
	client->events.on_event(client->context, name, json_object_get(message, "data"), wall_us);
	return true;
}

static bool take_line(QmpClient *client, const char *line, size_t size, Error *err)
{
	json_error_t problem;
	AUTO_JSON json_t *message = json_loadb(line, size, JSON_REJECT_DUPLICATES, &problem);

	if (!json_is_object(message))
		return error_set(err, ERROR_HYPERVISOR, "not a QMP message: \"%.*s\"",
				 size < 64 ? (int)size : 64, line);
	if (client->state == QMP_GREETING)
		return take_greeting(client, message, err);
	if (json_object_get(message, "return") || json_object_get(message, "error"))
		return take_reply(client, message, err);
	if (json_object_get(message, "event"))
		/* Nobody has asked for events before on_ready. */
		return client->state != QMP_READY || take_event(client, message, err);
	return error_set(err, ERROR_HYPERVISOR, "a QMP message of no known kind: \"%.*s\"",
			 size < 64 ? (int)size : 64, line);
}

/* Takes every whole line out of the input. */
static bool take_lines(QmpClient *client, Error *err)
{
	while (client->state != QMP_CLOSED && client->input.used > client->scanned) {
		const char *start = (const char *)client->input.data;
		const char *end =
			memchr(start + client->scanned, '\n', client->input.used - client->scanned);
		size_t size;

		if (!end) {
			client->scanned = client->input.used;
			break;
		}
		size = (size_t)(end - start);
		while (size && (start[size - 1] == '\r' || start[size - 1] == ' '))
			size--;
		if (size && !take_line(client, start, size, err))
			return false;
		buffer_consume(&client->input, (size_t)(end - start) + 1);
		client->scanned = 0;
	}
	return true;
}

static bool read_some(QmpClient *client, bool *ret_more, Error *err)
{
	uint8_t chunk[READ_CHUNK_BYTES];
	ssize_t got = read(client->fd, chunk, sizeof(chunk));

	*ret_more = false;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno,
				       "cannot read from QEMU's QMP socket");
	if (!got && client->input.used)
		return error_set(err, ERROR_UNAVAILABLE,
				 "QEMU closed its QMP connection in the middle of a line");
	if (!got)
		return error_set(err, ERROR_UNAVAILABLE, "QEMU closed its QMP connection");
	if (!buffer_put(&client->input, chunk, (size_t)got, err))
		return error_prefix(err, "a QMP line");
	*ret_more = (size_t)got == sizeof(chunk);
	return take_lines(client, err);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	QmpClient *client = context;
	Error err = ERROR_INIT;
	bool more = true;

	(void)fd;
	(void)what;
	client->depth++;
	for (int i = 0; i < READ_CHUNKS_MAX && more && client->state != QMP_CLOSED; i++)
		if (!read_some(client, &more, &err)) {
			close_with(client, &err);
			break;
		}
	if (client->state != QMP_CLOSED)
		arm_timer(client);
	leave(client);
}

QmpClient *qmp_open_fd(struct event_base *base, int fd, int64_t greeting_ms,
		       const QmpEvents *events, void *context, Error *err)
{
	AUTO_FD int owned = fd;
	QmpClient *client = calloc(1, sizeof(*client));

	assert(events->on_ready && events->on_event && events->on_closed);
	if (!client || fcntl(owned, F_SETFL, O_NONBLOCK)) {
		free(client);
		error_set(err, ERROR_INTERNAL, "no memory for a QMP connection");
		return NULL;
	}
	client->base = base;
	client->fd = TAKE_FD(owned);
	client->events = *events;
	client->context = context;
	client->next_id = 1;
	client->last = &client->first;
	client->input = BUFFER_INIT(QMP_LINE_MAX_BYTES);
	client->greeting_deadline_us = now_us() + greeting_ms * 1000;
	client->readable = event_new(base, client->fd, EV_READ | EV_PERSIST, on_readable, client);
	client->writable = event_new(base, client->fd, EV_WRITE | EV_PERSIST, on_writable, client);
	client->timer = event_new(base, -1, 0, on_timer, client);
	if (!client->readable || !client->writable || !client->timer ||
	    event_add(client->readable, NULL)) {
		qmp_free(client);
		error_set(err, ERROR_INTERNAL, "no memory for a QMP connection");
		return NULL;
	}
	arm_timer(client);
	return client;
}

QmpClient *qmp_open(struct event_base *base, const char *path, int64_t greeting_ms,
		    const QmpEvents *events, void *context, Error *err)
{
	AUTO_FD int fd = -1;

	if (!unix_socket_connect(AT_FDCWD, path, &fd, err)) {
		error_prefix(err, "QMP");
		return NULL;
	}
	return qmp_open_fd(base, TAKE_FD(fd), greeting_ms, events, context, err);
}
