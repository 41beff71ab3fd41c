/* SPDX-License-Identifier: Apache-2.0 */
#include "role/keylink_messages.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const Field dial_fields[] = {
	SCHEMA_TEXT(KeylinkDial, address, TEXT_PRINTABLE, 1),
	SCHEMA_U64(KeylinkDial, port, 1, 65535),
	SCHEMA_TEXT(KeylinkDial, manager, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(keylink_dial_schema, "keylink-dial", KeylinkDial, dial_fields);

static const Field host_fields[] = { SCHEMA_TEXT(KeylinkHost, name, TEXT_NAME, 1) };
static SCHEMA_DEFINE(host_schema, "host", KeylinkHost, host_fields);

static const Field serve_fields[] = { SCHEMA_LIST(KeylinkServe, hosts, &host_schema, 1) };
SCHEMA_DEFINE(keylink_serve_schema, "keylink-serve", KeylinkServe, serve_fields);

static const Field state_fields[] = {
	SCHEMA_BOOL(KeylinkState, there),
	SCHEMA_TEXT(KeylinkState, text, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(keylink_state_schema, "state", KeylinkState, state_fields);

const KeylinkExchange keylink_exchanges[] = {
	{ KEYD_CREATE, &keyd_create_schema, KEYD_KEY, &key_record_schema },
	{ KEYD_SHOW, &keyd_name_schema, KEYD_KEY, &key_record_schema },
	{ KEYD_LIST, &keyd_list_schema, KEYD_KEYS, &keyd_keys_schema },
	{ KEYD_ROTATE, &keyd_name_schema, KEYD_KEY, &key_record_schema },
	{ KEYD_CHANGE, &keyd_change_schema, KEYD_CHANGED, &keyd_changed_schema },
	{ KEYD_OPEN, &keyd_open_schema, KEYD_OPENED, &key_record_schema },
	{ KEYD_PLACES, &keyd_who_schema, KEYD_BACKEND_LIST, &keyd_backends_schema },
	{ KEYD_TRANSFER, &key_transfer_schema, KEYD_TRANSFERRED, &key_transferred_schema },
	{ KEYD_ABANDON, &keyd_abandon_schema, KEYD_KEY, &key_record_schema },
	{ 0 },
};

const KeylinkExchange *keylink_exchange_of(uint16_t request)
{
	for (const KeylinkExchange *exchange = keylink_exchanges; exchange->request; exchange++)
		if (exchange->request == request)
			return exchange;
	return NULL;
}

/* The prefix is written without knowing which of them it is. */
static_assert(!offsetof(KeydCreate, who) && !offsetof(KeydName, who) && !offsetof(KeydList, who) &&
		      !offsetof(KeydChange, who) && !offsetof(KeydOpen, who) &&
		      !offsetof(KeydWho, who) && !offsetof(KeyTransfer, who) &&
		      !offsetof(KeydAbandon, who),
	      "every request begins with who asks");

static const char scheme[] = "spiffe://";

bool keylink_prefix_who(char *who, const char *host)
{
	char both[KEY_WHO_SIZE];
	int length = snprintf(both, sizeof(both), "%s %s", host, who);

	if (length < 0 || (size_t)length >= sizeof(both))
		return false;
	memcpy(who, both, (size_t)length + 1);
	return true;
}

void keylink_host_of_who(const char *who, char ret_host[LIMIT_SPIFFE_ID])
{
	size_t length = strcspn(who, " ");

	if (strncmp(who, scheme, sizeof(scheme) - 1) != 0)
		length = 0;
	snprintf(ret_host, LIMIT_SPIFFE_ID, "%.*s", (int)length, who);
}

#define STARTING IPC_IN(ROLE_STARTING)
#define SERVING	 IPC_IN(ROLE_SERVING)

/* clang-format off */
#define TRUST_ROWS                                                                                 \
	{ ROLE_ANCHOR, &role_anchor_schema, 0, 0, IPC_ANY, IPC_KEEP, "anchor" },                   \
	{ ROLE_CRL, &role_crl_schema, 0, 0, IPC_ANY, IPC_KEEP, "crl" },                            \
	{ ROLE_FORGET, &role_forget_schema, 0, 0, IPC_ANY, IPC_KEEP, "forget" }

#define REQUEST_ROWS(states)                                                                       \
	{ KEYD_CREATE, &keyd_create_schema, 0, 0, states, IPC_KEEP, "create" },                    \
	{ KEYD_SHOW, &keyd_name_schema, 0, 0, states, IPC_KEEP, "show" },                          \
	{ KEYD_LIST, &keyd_list_schema, 0, 0, states, IPC_KEEP, "list" },                          \
	{ KEYD_ROTATE, &keyd_name_schema, 0, 0, states, IPC_KEEP, "rotate" },                      \
	{ KEYD_CHANGE, &keyd_change_schema, 0, 0, states, IPC_KEEP, "change" },                    \
	{ KEYD_OPEN, &keyd_open_schema, 0, 0, states, IPC_KEEP, "open" },                          \
	{ KEYD_PLACES, &keyd_who_schema, 0, 0, states, IPC_KEEP, "places" },                       \
	{ KEYD_TRANSFER, &key_transfer_schema, 0, 0, states, IPC_KEEP, "transfer" },               \
	{ KEYD_ABANDON, &keyd_abandon_schema, 0, 0, states, IPC_KEEP, "abandon" }

#define ANSWER_ROWS(states)                                                                        \
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },                  \
	{ KEYD_HEAD, &keyd_head_schema, 0, 0, states, IPC_KEEP, "head" },                          \
	{ KEYD_KEY, &key_record_schema, 0, 0, states, IPC_KEEP, "key" },                           \
	{ KEYD_KEYS, &keyd_keys_schema, 0, 0, states, IPC_KEEP, "keys" },                          \
	{ KEYD_CHANGED, &keyd_changed_schema, 0, 0, states, IPC_KEEP, "changed" },                 \
	{ KEYD_OPENED, &key_record_schema, 1, 1, states, IPC_KEEP, "opened" },                     \
	{ KEYD_BACKEND_LIST, &keyd_backends_schema, 0, 0, states, IPC_KEEP, "backend-list" },      \
	{ KEYD_TRANSFERRED, &key_transferred_schema, 0, 0, states, IPC_KEEP, "transferred" }
/* clang-format on */

/* type, schema, least and most descriptors, states, next state, name */
const IpcRule keylink_connect_rules[] = {
	TRUST_ROWS,
	{ KEYLINK_DIAL, &keylink_dial_schema, 0, 0, STARTING, IPC_KEEP, "keylink-dial" },
	{ KEYD_START, &keyd_head_schema, 0, 0, STARTING, ROLE_SERVING, "start" },
	REQUEST_ROWS(SERVING),
	{ KEYD_USED, NULL, 0, 0, SERVING, IPC_KEEP, "used" },
	{ KEYD_LOG, &keyd_log_schema, 0, 0, SERVING, IPC_KEEP, "log" },
	{ KEYD_VERIFY, &keyd_verify_schema, 0, 0, SERVING, IPC_KEEP, "verify" },
	{ 0 },
};

const IpcRule engine_keylink_connect_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ KEYLINK_STATE, &keylink_state_schema, 0, 0, SERVING, IPC_KEEP, "state" },
	ANSWER_ROWS(SERVING),
	{ 0 },
};

const IpcRule keylink_serve_rules[] = {
	TRUST_ROWS,
	{ KEYLINK_SERVE, &keylink_serve_schema, 0, 0, STARTING, ROLE_SERVING, "keylink-serve" },
	ANSWER_ROWS(SERVING),
	{ 0 },
};

const IpcRule engine_keylink_serve_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	REQUEST_ROWS(SERVING),
	{ KEYD_USED, NULL, 0, 0, SERVING, IPC_KEEP, "used" },
	{ 0 },
};

const IpcRule keylink_host_rules[] = { REQUEST_ROWS(IPC_ANY), { 0 } };

const IpcRule keylink_manager_rules[] = { ANSWER_ROWS(IPC_ANY), { 0 } };
