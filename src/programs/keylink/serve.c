/* SPDX-License-Identifier: Apache-2.0 */
/* The key manager's host: takes the domain's hosts, and passes what they ask for on to our engine.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "programs/keylink/keylink.h"

static_assert(GUESTS_MAX * CONN_GUEST_OUT_BYTES <= 8 << 20 &&
		      CONN_GUEST_OUT_BYTES >= FRAME_LENGTH_BYTES + FRAME_MAX,
	      "all guests' queues can be locked, and each has room for any message");

enum { SECOND_US = 1000000, LINES_US = 10 * SECOND_US, LINES_MAX = 60 };

/* A request that our engine has. */
typedef struct Passed {
	const KeylinkExchange *exchange; /* NULL: free */
	uint64_t number;		 /* with our engine */
	uint64_t subject;		 /* with the host */
} Passed;

typedef struct Guest {
	Conn *conn;   /* NULL: free */
	bool welcome; /* its handshake is done */
	Passed passed[KEYLINK_ASKED_MAX];
	int64_t window_us; /* start of the second in which requests are counted */
	unsigned int window_requests;
} Guest;

typedef struct Manager {
	Keylink *keylink;
	bool serving;
	Guest guests[GUESTS_MAX];
	uint64_t last_number;
	KeydHead head;
	bool has_head; /* nobody is let in before */
	/* Lines that others cause: so many in so long, the others are counted. */
	int64_t lines_us;
	unsigned int lines, left_out;
} Manager;

static int64_t now_us(const Manager *manager)
{
	return clock_monotonic_us(manager->keylink->clock);
}

/* Lines that strangers cause, or hosts that come and go, must not fill the log. */
static bool may_log(Manager *manager)
{
	int64_t now = now_us(manager);

	if (!manager->lines_us || now - manager->lines_us >= LINES_US) {
		if (manager->left_out)
			log_warning(manager->keylink->log,
				    "%u lines about connections were left out", manager->left_out);
		manager->lines_us = now;
		manager->lines = manager->left_out = 0;
	}
	manager->left_out += manager->lines >= LINES_MAX;
	return manager->lines++ < LINES_MAX;
}

static void note_refusal(Manager *manager, const char *address, const Error *cause)
{
	if (may_log(manager))
		log_warning(manager->keylink->log, "refused a connection address=%s: %s", address,
			    cause->text);
}

/* Answers to what it asked for are dropped when they come: their numbers are nobody's. */
static void end_guest(Manager *manager, Guest *guest, const Error *cause)
{
	if (!guest->welcome)
		note_refusal(manager, guest->conn->text, cause);
	else if (may_log(manager))
		log_info(manager->keylink->log, "host=%s left: %s", guest->conn->peer.text,
			 cause->text);
	conn_free(guest->conn);
	*guest = (Guest){ 0 };
}

/* --- those who come --- */

static bool check_room(const Manager *manager, const Conn *conn, Error *err)
{
	size_t pending = 0, of_address = 0;

	for (size_t i = 0; i < GUESTS_MAX; i++) {
		const Guest *guest = &manager->guests[i];

		if (!guest->conn || guest->welcome)
			continue;
		pending++;
		of_address += !memcmp(guest->conn->address, conn->address, CONN_ADDRESS_BYTES);
	}
	if (of_address >= GUESTS_ADDRESS_MAX)
		return error_set(err, ERROR_LIMIT, "%d connections of one address are unproven",
				 GUESTS_ADDRESS_MAX);
	return pending < GUESTS_PENDING_MAX ||
	       error_set(err, ERROR_LIMIT, "%d connections are unproven", GUESTS_PENDING_MAX);
}

static void accept_one(Manager *manager)
{
	Error cause = ERROR_INIT;
	Conn *conn = conn_accept(&manager->keylink->trust, KEYLINK_LISTEN_FD, &cause);

	if (conn && check_room(manager, conn, &cause))
		for (size_t i = 0; i < GUESTS_MAX; i++)
			if (!manager->guests[i].conn) {
				manager->guests[i].conn = conn;
				return;
			}
	if (conn || cause.category)
		note_refusal(manager, conn ? conn->text : "-", &cause);
	conn_free(conn);
}

/* One connection for each host: the older one is of a host that was started anew, and does not
 * know. */
static void welcome(Manager *manager, Guest *guest)
{
	const char *name = guest->conn->peer.text;
	Error replaced = { .category = ERROR_CONFLICT, .text = "it connected anew" };
	Error err = ERROR_INIT;

	for (size_t i = 0; i < GUESTS_MAX; i++) {
		Guest *other = &manager->guests[i];

		if (other != guest && other->welcome && !strcmp(other->conn->peer.text, name))
			end_guest(manager, other, &replaced);
	}
	guest->welcome = true;
	if (may_log(manager))
		log_info(manager->keylink->log, "host=%s came address=%s", name, guest->conn->text);
	/* By this the host knows that it was let in (PROTOCOL.md). */
	if (!frame_put(&guest->conn->out, KEYD_HEAD, 0, &keyd_head_schema, &manager->head, NULL,
		       &err))
		end_guest(manager, guest, &err);
}

/* --- what they ask for --- */

static Passed *find_free(Guest *guest)
{
	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++)
		if (!guest->passed[i].exchange)
			return &guest->passed[i];
	return NULL;
}

static bool judge_request(Manager *manager, Guest *guest, const Frame *frame, Error *cause)
{
	int64_t now = now_us(manager);

	if (now - guest->window_us >= SECOND_US) {
		guest->window_us = now;
		guest->window_requests = 0;
	}
	if (++guest->window_requests > REQUESTS_S)
		return error_set(cause, ERROR_LIMIT, "more than %d requests in a second",
				 REQUESTS_S);
	if (!frame->subject)
		return error_set(cause, ERROR_PEER, "a request \"%s\" without a number",
				 frame->rule->name);
	for (size_t i = 0; i < KEYLINK_ASKED_MAX; i++)
		if (guest->passed[i].exchange && guest->passed[i].subject == frame->subject)
			return error_set(cause, ERROR_PEER,
					 "a request \"%s\" with the number of another that waits",
					 frame->rule->name);
	return true;
}

static bool put_failure(Guest *guest, uint64_t subject, const Error *failure, Error *cause)
{
	RoleFailure answer = { .category = failure->category };

	snprintf(answer.text, sizeof(answer.text), "%s", failure->text);
	return frame_put(&guest->conn->out, ROLE_FAILED, subject, &role_failure_schema, &answer,
			 NULL, cause);
}

/* False with *err: our own link broke; with *cause: the guest goes. */
static bool pass_request(Manager *manager, Guest *guest, const Frame *frame, Error *cause,
			 Error *err)
{
	Passed *place = find_free(guest);
	Error too_long = ERROR_INIT;

	/* Each request's struct begins with it (role/keylink_messages.h). */
	if (!keylink_prefix_who(manager->keylink->payload, guest->conn->peer.text)) {
		error_set(&too_long, ERROR_USAGE,
			  "who asks has more than %d characters with its host", KEY_WHO_SIZE - 1);
		return put_failure(guest, frame->subject, &too_long, cause) || true;
	}
	*place = (Passed){ keylink_exchange_of(frame->type), ++manager->last_number,
			   frame->subject };
	return ipc_send(manager->keylink->link, frame->type, place->number, frame->rule->schema,
			manager->keylink->payload, NULL, 0, err);
}

/* As many as may wait for answers at once: the rest stays where it is, in the end with the host. */
static bool take_frames(Manager *manager, Guest *guest, Error *cause, Error *err)
{
	FrameGot got = FRAME_PART;
	Frame frame;

	while (find_free(guest) && !cause->category &&
	       (got = frame_peek(&guest->conn->in, keylink_host_rules, &frame,
				 manager->keylink->payload, cause)) == FRAME_WHOLE) {
		if (judge_request(manager, guest, &frame, cause) &&
		    !pass_request(manager, guest, &frame, cause, err))
			return false;
		queue_take(&guest->conn->in, frame.size);
		conn_note_part(guest->conn, false);
	}
	conn_note_part(guest->conn, got == FRAME_PART && find_free(guest) && guest->conn->in.used);
	return true;
}

static bool take_guest(Manager *manager, Guest *guest, Error *err)
{
	Error cause = ERROR_INIT;
	bool alive = conn_go_on(guest->conn, &cause);

	if (alive && !guest->welcome && guest->conn->state == CONN_OPEN)
		welcome(manager, guest);
	/* Who is gone gets no answer: what it asked for last is not passed on either. */
	if (alive && guest->conn && guest->welcome && !take_frames(manager, guest, &cause, err))
		return false;
	if (guest->conn && (!alive || cause.category))
		end_guest(manager, guest, &cause);
	return true;
}

/* --- what our engine says --- */

static Guest *find_passed(Manager *manager, uint64_t number, Passed **ret_passed)
{
	for (size_t i = 0; number && i < GUESTS_MAX; i++)
		for (size_t j = 0; j < KEYLINK_ASKED_MAX; j++) {
			*ret_passed = &manager->guests[i].passed[j];
			if ((*ret_passed)->exchange && (*ret_passed)->number == number)
				return &manager->guests[i];
		}
	return NULL;
}

/* Straight from keyd's memory into the queue, which is locked as that is. */
static bool put_opened(Guest *guest, const IpcMessage *message, uint64_t subject, Error *err)
{
	AUTO_SECRET Secret *value = secret_new(KEY_PASSPHRASE_BYTES, err);

	if (!value)
		return false;
	if (pread(message->fds[0], secret_bytes(value), KEY_PASSPHRASE_BYTES, 0) !=
	    (ssize_t)KEY_PASSPHRASE_BYTES)
		return error_set(err, ERROR_IO, "the value cannot be read");
	return frame_put(&guest->conn->out, KEYD_OPENED, subject, &key_record_schema,
			 message->payload, secret_peek(value), err);
}

static const Schema *answer_schema(const Passed *passed, uint16_t type)
{
	if (type == ROLE_FAILED)
		return &role_failure_schema;
	return type == passed->exchange->answer ? passed->exchange->answer_schema : NULL;
}

static bool pass_answer(Manager *manager, const IpcMessage *message, Error *err)
{
	Passed *passed;
	Guest *guest = find_passed(manager, message->subject, &passed);
	const Schema *schema = guest ? answer_schema(passed, message->type) : NULL;
	Error cause = ERROR_INIT;
	bool ok;

	if (guest && !schema)
		return error_set(err, ERROR_INTERNAL, "the engine answered with another message");
	if (guest) {
		ok = message->type == KEYD_OPENED
			     ? put_opened(guest, message, passed->subject, &cause)
			     : frame_put(&guest->conn->out, message->type, passed->subject, schema,
					 message->payload, NULL, &cause);
		passed->exchange = NULL;
		if (!ok)
			end_guest(manager, guest, &cause);
	}
	/* keyd need not keep it any longer. */
	return message->type != KEYD_OPENED || ipc_send(manager->keylink->link, KEYD_USED,
							message->subject, NULL, NULL, NULL, 0, err);
}

static void tell_head(Manager *manager, const KeydHead *head)
{
	Error cause = ERROR_INIT;

	manager->head = *head;
	manager->has_head = true;
	for (size_t i = 0; i < GUESTS_MAX; i++) {
		Guest *guest = &manager->guests[i];

		if (guest->welcome && !frame_put(&guest->conn->out, KEYD_HEAD, 0, &keyd_head_schema,
						 head, NULL, &cause))
			end_guest(manager, guest, &cause);
	}
}

static void judge_again(Manager *manager)
{
	for (size_t i = 0; i < GUESTS_MAX; i++) {
		Guest *guest = &manager->guests[i];
		Error cause = ERROR_INIT;

		if (guest->welcome && !conn_verify_again(guest->conn, &cause))
			end_guest(manager, guest, &cause);
	}
}

static bool take_message(Manager *manager, const IpcMessage *message, Error *err)
{
	if (keylink_is_trust(message->type))
		return keylink_take_trust(manager->keylink, message, err);
	switch (message->type) {
	case KEYLINK_SERVE:
		manager->keylink->trust.allowed = *(const KeylinkServe *)message->payload;
		manager->serving = true;
		return ipc_send(manager->keylink->link, ROLE_READY, message->subject, NULL, NULL,
				NULL, 0, err);
	case KEYD_HEAD:
		tell_head(manager, message->payload);
		return true;
	default:
		return pass_answer(manager, message, err);
	}
}

/* --- the loop --- */

typedef struct Waits {
	struct pollfd fds[2 + GUESTS_MAX];
	size_t guests[2 + GUESTS_MAX]; /* which one each is */
	size_t count;
	int wait_ms; /* -1: for ever */
} Waits;

/* Whether a message waits for a place that is free now. */
static bool has_work(Guest *guest)
{
	return conn_has_more(guest->conn) ||
	       (guest->welcome && guest->conn->in.used >= FRAME_LENGTH_BYTES + FRAME_HEADER_BYTES &&
		!guest->conn->deadline_us && find_free(guest));
}

static void prepare(Manager *manager, Waits *waits)
{
	int64_t now = now_us(manager);
	int64_t until = manager->keylink->judge_us ? manager->keylink->judge_us : INT64_MAX;

	waits->fds[0] = (struct pollfd){ ROLE_LINK_FD, POLLIN, 0 };
	waits->fds[1] =
		(struct pollfd){ manager->serving && manager->has_head ? KEYLINK_LISTEN_FD : -1,
				 POLLIN, 0 };
	waits->count = 2;
	for (size_t i = 0; i < GUESTS_MAX; i++) {
		Guest *guest = &manager->guests[i];

		if (!guest->conn)
			continue;
		if (guest->conn->deadline_us && guest->conn->deadline_us < until)
			until = guest->conn->deadline_us;
		if (has_work(guest))
			until = now;
		waits->guests[waits->count] = i;
		waits->fds[waits->count++] =
			(struct pollfd){ guest->conn->fd, conn_events(guest->conn), 0 };
	}
	waits->wait_ms = until == INT64_MAX ? -1
			 : until <= now	    ? 0
					    : (int)((until - now) / 1000 + 1);
}

static bool take_link(Manager *manager, bool *ret_end, Error *err)
{
	IpcMessage message;
	IpcReceived got = ipc_receive(manager->keylink->link, &message, err);
	bool ok;

	*ret_end = got == IPC_CLOSED;
	if (got != IPC_MESSAGE)
		return got != IPC_BROKEN;
	*err = ERROR_INIT;
	ok = take_message(manager, &message, err);
	ipc_message_clear(&message, manager->keylink->link);
	return ok;
}

static bool take_guests(Manager *manager, const Waits *waits, Error *err)
{
	int64_t now = now_us(manager);

	for (size_t i = 2; i < waits->count; i++) {
		Guest *guest = &manager->guests[waits->guests[i]];
		Error late = ERROR_INIT;

		/* It may have gone meanwhile, and its place to nobody: who comes is taken last. */
		if (!guest->conn)
			continue;
		if ((waits->fds[i].revents || has_work(guest)) && !take_guest(manager, guest, err))
			return false;
		if (guest->conn && !conn_in_time(guest->conn, now, &late))
			end_guest(manager, guest, &late);
	}
	return true;
}

static bool turn(Manager *manager, bool *ret_end, Error *err)
{
	Waits waits;

	prepare(manager, &waits);
	if (poll(waits.fds, waits.count, waits.wait_ms) < 0) {
		if (errno == EINTR)
			return true;
		return error_set_errno(err, ERROR_IO, errno, "cannot wait");
	}
	if (waits.fds[0].revents && !take_link(manager, ret_end, err))
		return false;
	if (*ret_end || !take_guests(manager, &waits, err))
		return *ret_end;
	if (keylink_is_judging(manager->keylink))
		judge_again(manager);
	if (waits.fds[1].revents)
		accept_one(manager);
	return true;
}

bool keylink_serve(Keylink *keylink, Error *err)
{
	Manager *manager = calloc(1, sizeof(*manager));
	bool end = false, ok = true;

	if (!manager)
		return error_set(err, ERROR_INTERNAL, "no memory for a manager");
	manager->keylink = keylink;
	while (ok && !end)
		ok = turn(manager, &end, err);
	for (size_t i = 0; i < GUESTS_MAX; i++)
		conn_free(manager->guests[i].conn);
	free(manager);
	return ok;
}
