/* SPDX-License-Identifier: Apache-2.0 */
/* A host of the domain: in keyd's place to its engine, and a guest of the key manager's host. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "programs/keylink/keylink.h"

/* A request that was sent and is not answered. */
typedef struct Asked {
	const KeylinkExchange *exchange; /* NULL: free */
	uint64_t subject;
	int64_t since_us;
} Asked;

typedef struct Host {
	Keylink *keylink;
	KeylinkDial dial;
	bool started; /* KEYD_START came */
	Conn *conn;
	bool there; /* its first message came, and the engine was told */
	int64_t redial_us;
	unsigned int pause_ms;
	Asked asked[KEYLINK_ASKED_MAX];
	Values values;
} Host;

static int64_t now_us(const Host *host)
{
	return clock_monotonic_us(host->keylink->clock);
}

static Asked *find_asked(Host *host, uint64_t subject)
{
	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++)
		if (host->asked[i].exchange && host->asked[i].subject == subject)
			return &host->asked[i];
	return NULL;
}

static bool fail(Host *host, uint64_t subject, const Error *failure, Error *err)
{
	return role_send_failure(host->keylink->link, subject, failure, err);
}

static bool tell_state(Host *host, bool there, const char *text, Error *err)
{
	KeylinkState state = { .there = there };

	host->there = there;
	snprintf(state.text, sizeof(state.text), "%.500s", text);
	return ipc_send(host->keylink->link, KEYLINK_STATE, 0, &keylink_state_schema, &state, NULL,
			0, err);
}

/* --- the connection --- */

/* What was sent may have been done: nothing is sent again by itself. */
static bool fail_asked(Host *host, Error *err)
{
	const Error failure = {
		.category = ERROR_UNAVAILABLE,
		.text = "the connection to the key manager broke; it is not certain "
			"whether what was asked for was done"
	};

	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++) {
		Asked *asked = &host->asked[i];

		if (!asked->exchange)
			continue;
		asked->exchange = NULL;
		if (!fail(host, asked->subject, &failure, err))
			return false;
	}
	return true;
}

static bool lose(Host *host, const Error *cause, Error *err)
{
	char text[LIMIT_TEXT];

	if (host->there)
		host->pause_ms = REDIAL_FIRST_MS;
	snprintf(text, sizeof(text), "%.250s, %.60s port %u: %.150s", host->dial.manager,
		 host->dial.address, (unsigned int)host->dial.port, cause->text);
	conn_free(TAKE_PTR(host->conn));
	host->redial_us = now_us(host) + INT64_C(1000) * host->pause_ms;
	host->pause_ms = 2 * host->pause_ms > REDIAL_LAST_MS ? REDIAL_LAST_MS : 2 * host->pause_ms;
	return fail_asked(host, err) && tell_state(host, false, text, err);
}

static bool dial(Host *host, Error *err)
{
	Error cause = ERROR_INIT;

	host->conn = conn_dial(&host->keylink->trust, host->dial.address, (uint16_t)host->dial.port,
			       &cause);
	return host->conn || lose(host, &cause, err);
}

/* --- from the manager --- */

static bool pass_value(Host *host, const Frame *frame, Error *err)
{
	AUTO_FD int fd =
		values_make(&host->values, frame->subject, frame->value, now_us(host), err);
	Error failure = *err;

	if (fd < 0)
		return fail(host, frame->subject, &failure, err);
	return ipc_send(host->keylink->link, frame->type, frame->subject, frame->rule->schema,
			host->keylink->payload, &fd, 1, err);
}

static bool pass_answer(Host *host, const Frame *frame, Error *err)
{
	return frame->value ? pass_value(host, frame, err)
			    : ipc_send(host->keylink->link, frame->type, frame->subject,
				       frame->rule->schema, host->keylink->payload, NULL, 0, err);
}

/* False with *cause: the manager broke the rules. */
static bool judge_answer(Host *host, const Frame *frame, Error *cause)
{
	Asked *asked = find_asked(host, frame->subject);

	if (frame->type == KEYD_HEAD)
		return !frame->subject ||
		       error_set(cause, ERROR_PEER, "a head that answers something");
	if (!asked || (frame->type != asked->exchange->answer && frame->type != ROLE_FAILED))
		return error_set(cause, ERROR_PEER, "an answer \"%s\" that nobody waits for",
				 frame->rule->name);
	asked->exchange = NULL;
	return true;
}

/* *ret_broken: of the connection; false: of our own link. */
static bool take_frames(Host *host, bool *ret_broken, Error *cause, Error *err)
{
	Frame frame;
	FrameGot got = FRAME_PART;

	while (!*ret_broken && (got = frame_peek(&host->conn->in, keylink_manager_rules, &frame,
						 host->keylink->payload, cause)) == FRAME_WHOLE) {
		*ret_broken = !judge_answer(host, &frame, cause);
		if (!*ret_broken &&
		    (!pass_answer(host, &frame, err) ||
		     (!host->there && !tell_state(host, true, host->dial.manager, err))))
			return false;
		queue_take(&host->conn->in, frame.size);
		conn_note_part(host->conn, false);
	}
	*ret_broken = *ret_broken || got == FRAME_BROKEN;
	if (host->there)
		conn_note_part(host->conn, host->conn->in.used > 0);
	return true;
}

static bool take_connection(Host *host, Error *err)
{
	bool broken = false;
	Error cause = ERROR_INIT;
	bool alive = conn_go_on(host->conn, &cause);

	/* What came before the end counts. */
	if (host->conn->state == CONN_OPEN && !take_frames(host, &broken, &cause, err))
		return false;
	return (alive && !broken) || lose(host, &cause, err);
}

/* --- from the engine --- */

static bool send_request(Host *host, const KeylinkExchange *exchange, const IpcMessage *message,
			 Error *err)
{
	Asked *place = NULL;

	for (size_t i = 0; i < KEYLINK_ASKED_MAX && !place; i++)
		if (!host->asked[i].exchange)
			place = &host->asked[i];
	if (!place)
		return error_set(err, ERROR_LIMIT, "%d requests wait for the key manager already",
				 KEYLINK_ASKED_MAX);
	if (find_asked(host, message->subject))
		return error_set(err, ERROR_CONFLICT, "this request waits already");
	if (!frame_put(&host->conn->out, message->type, message->subject, exchange->request_schema,
		       message->payload, NULL, err))
		return false;
	*place = (Asked){ exchange, message->subject, now_us(host) };
	return true;
}

static bool take_request(Host *host, const IpcMessage *message, Error *err)
{
	const KeylinkExchange *exchange = keylink_exchange_of(message->type);
	Error failure = ERROR_INIT;

	if (!exchange)
		error_set(&failure, ERROR_DENIED,
			  "the key manager's log is read and verified on its own host: %s",
			  host->dial.manager);
	else if (!host->there)
		error_set(&failure, ERROR_UNAVAILABLE, "there is no connection to the key manager");
	else if (send_request(host, exchange, message, &failure))
		return true;
	return fail(host, message->subject, &failure, err);
}

static bool begin(Host *host, uint64_t subject, Error *err)
{
	Trust *trust = &host->keylink->trust;
	SpiffeId manager;
	Error cause = ERROR_INIT;

	if (spiffe_parse(host->dial.manager, strlen(host->dial.manager), &manager, &cause) &&
	    strcmp(manager.domain, trust->own.domain) != 0)
		error_set(&cause, ERROR_CONFIG,
			  "keys.manager_id is %s, of another domain than this host, %s",
			  manager.text, trust->own.text);
	snprintf(trust->expected, sizeof(trust->expected), "%s", host->dial.manager);
	host->started = true;
	if (!ipc_send(host->keylink->link, ROLE_READY, subject, NULL, NULL, NULL, 0, err))
		return false;
	if (!cause.category)
		return true;
	/* It will not do later either: the configuration is read at the start. */
	host->redial_us = INT64_MAX;
	return tell_state(host, false, cause.text, err);
}

static bool judge_again(Host *host, Error *err)
{
	Error cause = ERROR_INIT;

	if (!host->conn || host->conn->state != CONN_OPEN || conn_verify_again(host->conn, &cause))
		return true;
	return lose(host, &cause, err);
}

static bool take_message(Host *host, const IpcMessage *message, Error *err)
{
	if (keylink_is_trust(message->type))
		return keylink_take_trust(host->keylink, message, err);
	switch (message->type) {
	case KEYLINK_DIAL:
		host->dial = *(const KeylinkDial *)message->payload;
		return true;
	case KEYD_START:
		return begin(host, message->subject, err);
	case KEYD_USED:
		values_wipe(&host->values, message->subject);
		return true;
	default:
		return take_request(host, message, err);
	}
}

/* --- the loop --- */

static int wait_ms(const Host *host, int64_t next_us)
{
	int64_t now = now_us(host), until = next_us;

	if (host->conn && conn_has_more(host->conn))
		return 0;
	if (host->conn && host->conn->deadline_us && host->conn->deadline_us < until)
		until = host->conn->deadline_us;
	if (host->keylink->judge_us && host->keylink->judge_us < until)
		until = host->keylink->judge_us;
	if (!host->conn && host->started && host->redial_us < until)
		until = host->redial_us;
	/* Requests are looked at once a second, if there are any. */
	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++)
		if (host->asked[i].exchange && now + 1000000 < until)
			until = now + 1000000;
	if (until == INT64_MAX)
		return -1;
	return until <= now ? 0 : (int)((until - now) / 1000 + 1);
}

/* What time alone does. */
static bool tick(Host *host, Error *err)
{
	int64_t now = now_us(host);
	Error cause = ERROR_INIT;

	if (keylink_is_judging(host->keylink) && !judge_again(host, err))
		return false;
	if (!host->conn)
		return !host->started || now < host->redial_us || dial(host, err);
	if (!conn_in_time(host->conn, now, &cause))
		return lose(host, &cause, err);
	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++) {
		if (!host->asked[i].exchange ||
		    now - host->asked[i].since_us < INT64_C(1000000) * ANSWER_S)
			continue;
		error_set(&cause, ERROR_TIMEOUT, "it did not answer within %d s", ANSWER_S);
		return lose(host, &cause, err);
	}
	return true;
}

/* True also where nothing was to be had; *ret_end: the engine closed the link. */
static bool take_link(Host *host, bool *ret_end, Error *err)
{
	IpcMessage message;
	IpcReceived got = ipc_receive(host->keylink->link, &message, err);
	bool ok;

	*ret_end = got == IPC_CLOSED;
	if (got != IPC_MESSAGE)
		return got != IPC_BROKEN;
	*err = ERROR_INIT;
	ok = take_message(host, &message, err);
	ipc_message_clear(&message, host->keylink->link);
	return ok;
}

static bool turn(Host *host, bool *ret_end, Error *err)
{
	int64_t next_us = values_expire(&host->values, now_us(host));
	struct pollfd waits[2] = { { .fd = ROLE_LINK_FD, .events = POLLIN }, { .fd = -1 } };

	if (host->conn)
		waits[1] = (struct pollfd){ host->conn->fd, conn_events(host->conn), 0 };
	if (poll(waits, 2, wait_ms(host, next_us)) < 0 && errno != EINTR)
		return error_set_errno(err, ERROR_IO, errno, "cannot wait");
	if (host->conn && (waits[1].revents || conn_has_more(host->conn)) &&
	    !take_connection(host, err))
		return false;
	if (waits[0].revents && !take_link(host, ret_end, err))
		return false;
	return *ret_end || tick(host, err);
}

bool keylink_connect(Keylink *keylink, Error *err)
{
	Host *host = calloc(1, sizeof(*host));
	bool end = false, ok = true;

	if (!host)
		return error_set(err, ERROR_INTERNAL, "no memory for a host");
	host->keylink = keylink;
	host->pause_ms = REDIAL_FIRST_MS;
	while (ok && !end)
		ok = turn(host, &end, err);
	conn_free(host->conn);
	values_wipe_all(&host->values);
	free(host);
	return ok;
}
