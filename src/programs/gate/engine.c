/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "programs/gate/connection.h"
#include "programs/gate/dial.h"
#include "programs/gate/inbound.h"
#include "programs/gate/tls.h"

typedef void Handler(Gate *gate, uint64_t subject, void *payload);

static void report(Gate *gate, uint64_t subject, bool ok, const Error *err)
{
	if (!ok)
		engine_refuse(gate, ROLE_FAILED, subject, err);
}

static void on_anchor(Gate *gate, uint64_t subject, void *payload)
{
	const RoleAnchor *anchor = payload;
	Error err = ERROR_INIT;

	report(gate, subject,
	       anchor_store_add_root(gate->anchors, anchor->domain, anchor->root, anchor->root_size,
				     &err),
	       &err);
}

static void on_crl(Gate *gate, uint64_t subject, void *payload)
{
	const RoleCrl *crl = payload;
	Error err = ERROR_INIT;
	bool ok = anchor_store_set_crl(gate->anchors, crl->domain, crl->crl, crl->crl_size,
				       clock_wall_s(gate->clock), &err);

	report(gate, subject, ok, &err);
	if (ok)
		connection_verify_all(gate, crl->domain);
}

static void on_forget(Gate *gate, uint64_t subject, void *payload)
{
	const RoleForget *forget = payload;

	(void)subject;
	(void)anchor_store_remove(gate->anchors, forget->domain);
}

/* A message of its own: when roots are replaced, a domain is forgotten for a moment too, and what
 * runs under the new ones shall go on. */
static void on_judge(Gate *gate, uint64_t subject, void *payload)
{
	const RoleForget *domain = payload;

	(void)subject;
	connection_verify_all(gate, domain->domain);
}

static void on_start(Gate *gate, uint64_t subject, void *payload)
{
	Error err = ERROR_INIT;

	(void)payload;
	if (gate->listen_fd >= 0 && !inbound_setup(gate, &err)) {
		gate->fatal = err;
		event_base_loopbreak(gate->base);
		return;
	}
	engine_send(gate, ROLE_READY, subject, NULL, NULL, NULL, 0);
}

static void on_dial(Gate *gate, uint64_t subject, void *payload)
{
	const GateDial *dial = payload;

	dial_start(gate, subject, dial->address, (uint16_t)dial->port, dial->peer_id);
}

static void on_dial_channel(Gate *gate, uint64_t subject, void *payload)
{
	const GateAddress *to = payload;

	dial_start(gate, subject, to->address, (uint16_t)to->port, NULL);
}

/* A connection that is not found has just ended: GATE_CLOSED is on its way. */
static void on_send(Gate *gate, uint64_t subject, void *payload)
{
	RolePeer *peer = payload;
	Connection *connection = connection_find(gate, subject, false);

	if (!connection || connection->state < CONNECTION_HELLO)
		return;
	peer->message.kind = peer->kind;
	connection_send(connection, &peer->message);
}

static void on_export(Gate *gate, uint64_t subject, void *payload)
{
	const GateContext *context = payload;
	const Connection *connection = connection_find(gate, subject, false);
	GateSecret secret;
	Error err = ERROR_INIT;

	if (!connection || connection->state < CONNECTION_HELLO)
		return;
	if (tls_export(connection, context->migration, secret.secret, &err))
		engine_send(gate, GATE_EXPORTED, subject, &gate_secret_schema, &secret, NULL, 0);
	else
		engine_refuse(gate, ROLE_FAILED, subject, &err);
	explicit_bzero(&secret, sizeof(secret));
}

static void on_close(Gate *gate, uint64_t subject, void *payload)
{
	Connection *connection = connection_find(gate, subject, false);

	(void)payload;
	if (connection)
		connection_close(connection);
}

static Handler *handler_of(uint16_t type)
{
	static const struct {
		uint16_t type;
		Handler *handler;
	} handlers[] = {
		{ ROLE_ANCHOR, on_anchor }, { ROLE_CRL, on_crl },
		{ ROLE_FORGET, on_forget }, { ROLE_START, on_start },
		{ GATE_DIAL, on_dial },	    { GATE_DIAL_CHANNEL, on_dial_channel },
		{ GATE_SEND, on_send },	    { GATE_EXPORT, on_export },
		{ GATE_CLOSE, on_close },   { GATE_JUDGE, on_judge },
	};

	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
		if (handlers[i].type == type)
			return handlers[i].handler;
	return NULL;
}

/* One message at a time: the link blocks, so that a slow engine holds the gate back instead of
 * losing messages. */
static void on_readable(evutil_socket_t fd, short what, void *context)
{
	Gate *gate = context;
	IpcMessage message;
	Error err = ERROR_INIT;
	IpcReceived got = ipc_receive(gate->link, &message, &err);

	(void)fd;
	(void)what;
	if (got == IPC_NOTHING)
		return;
	if (got != IPC_MESSAGE) {
		if (got == IPC_BROKEN)
			gate->fatal = err;
		event_base_loopbreak(gate->base);
		return;
	}
	handler_of(message.type)(gate, message.subject, message.payload);
	ipc_message_clear(&message, gate->link);
}

bool engine_setup(Gate *gate, Error *err)
{
	int flags = fcntl(ROLE_LINK_FD, F_GETFL);

	if (flags < 0 || fcntl(ROLE_LINK_FD, F_SETFL, flags & ~O_NONBLOCK))
		return error_set(err, ERROR_USAGE, "descriptor %d is not the engine's link",
				 ROLE_LINK_FD);
	gate->link = ipc_link_new(ROLE_LINK_FD, gate_rules, err);
	if (!gate->link)
		return false;
	gate->link_event =
		event_new(gate->base, ROLE_LINK_FD, EV_READ | EV_PERSIST, on_readable, gate);
	if (!gate->link_event || event_add(gate->link_event, NULL))
		return error_set(err, ERROR_INTERNAL, "cannot wait for the engine");
	return true;
}

void engine_teardown(Gate *gate)
{
	if (gate->link_event)
		event_free(gate->link_event);
	ipc_link_free(gate->link);
}

void engine_send(Gate *gate, uint16_t type, uint64_t subject, const Schema *schema,
		 const void *payload, const int *fds, size_t n_fds)
{
	Error err = ERROR_INIT;

	if (gate->fatal.category != ERROR_NONE ||
	    ipc_send(gate->link, type, subject, schema, payload, fds, n_fds, &err))
		return;
	gate->fatal = err;
	event_base_loopbreak(gate->base);
}

void engine_refuse(Gate *gate, RoleMessage type, uint64_t subject, const Error *cause)
{
	RoleFailure failure = { .category = (uint64_t)cause->category };

	snprintf(failure.text, sizeof(failure.text), "%s", cause->text);
	engine_send(gate, (uint16_t)type, subject, &role_failure_schema, &failure, NULL, 0);
}
