/* SPDX-License-Identifier: Apache-2.0 */
/* What the hosts that share this key manager may do: each with its own keys. Our own host is one of
 * them for what gives a value away; what ends keys it may do to all, for hosts that are gone. */
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

/* Who must hold the key that a request names. */
typedef enum KeyOwner {
	ANY_HOST,     /* it names no key, or is looked at elsewhere */
	OWN_KEYS,     /* a key of the host that asks */
	OWN_OR_LOCAL, /* the same; our own host may for all */
} KeyOwner;

typedef struct OwnerRow {
	uint16_t type; /* 0 ends the table */
	KeyOwner owner;
} OwnerRow;

static const OwnerRow owners[] = {
	{ KEYD_SHOW, OWN_OR_LOCAL }, { KEYD_ROTATE, OWN_KEYS },	     { KEYD_CHANGE, OWN_OR_LOCAL },
	{ KEYD_OPEN, OWN_KEYS },     { KEYD_ABANDON, OWN_OR_LOCAL }, { 0, ANY_HOST },
};

static KeyOwner owner_of(uint16_t type)
{
	const OwnerRow *row = owners;

	while (row->type && row->type != type)
		row++;
	return row->owner;
}

/* The key that these requests name. */
static const uint8_t *key_of(const IpcMessage *message)
{
	switch (message->type) {
	case KEYD_CHANGE:
		return ((const KeydChange *)message->payload)->id;
	case KEYD_OPEN:
		return ((const KeydOpen *)message->payload)->id;
	case KEYD_ABANDON:
		return ((const KeydAbandon *)message->payload)->id;
	default:
		return ((const KeydName *)message->payload)->id;
	}
}

/* The handover by which this key is coming to this host; NULL: it is not. */
static const Handover *coming(const Keyd *keyd, const uint8_t id[KEY_ID_BYTES], const char *who)
{
	const Handover *handover = holders_handover_of(&keyd->holders, id);

	return handover && handover->state == HANDOVER_BEGUN &&
			       handover->to == holders_host(&keyd->holders, who)
		       ? handover
		       : NULL;
}

/* A VM that is coming is opened before it is there, by its migration only. */
static bool is_coming(const Keyd *keyd, const IpcMessage *message)
{
	const KeydOpen *open = message->payload;
	const Handover *handover;

	if (message->type != KEYD_OPEN && message->type != KEYD_SHOW)
		return false;
	handover = coming(keyd, key_of(message), message->payload);
	return handover &&
	       (message->type == KEYD_SHOW ||
		!memcmp(handover->migration, open->migration, sizeof(handover->migration)));
}

bool keyd_refuse_host(Keyd *keyd, const uint8_t id[KEY_ID_BYTES], const char *who, Error *err)
{
	uint16_t holder = holders_of(&keyd->holders, id);
	bool remote = keyd_is_remote(who);
	KeyRecord key;

	/* Not even a refusal is written more often than that. */
	if (!keyd_limit(keyd, LIMITED_CHANGE, who, err) ||
	    !key_store_get(keyd->store, id, 0, &key, err))
		return false;
	if (remote)
		error_set(err, ERROR_DENIED, "the key is of another host of this domain");
	else
		error_set(err, ERROR_DENIED, "the key is of %s: it is used there only",
			  holders_name(&keyd->holders, holder)[0]
				  ? holders_name(&keyd->holders, holder)
				  : "another host");
	return keyd_refuse(keyd, &key, who, err);
}

bool keyd_is_remote(const char *who)
{
	char name[LIMIT_SPIFFE_ID];

	keylink_host_of_who(who, name);
	return name[0];
}

bool keyd_holds(const Keyd *keyd, const uint8_t id[KEY_ID_BYTES], const char *who)
{
	uint16_t host = holders_host(&keyd->holders, who);

	return host != HOLDER_UNKNOWN && holders_of(&keyd->holders, id) == host;
}

bool keyd_judge_host(Keyd *keyd, const IpcMessage *message, Error *err)
{
	KeyOwner owner = owner_of(message->type);
	const char *who = message->payload;
	const uint8_t *id;

	if (keyd->verifying || !keylink_exchange_of(message->type))
		return true;
	if (!holders_read(&keyd->holders, keyd->store, err))
		return false;
	if (owner == ANY_HOST || (owner == OWN_OR_LOCAL && !keyd_is_remote(who)))
		return true;
	id = key_of(message);
	return keyd_holds(keyd, id, who) || is_coming(keyd, message) ||
	       keyd_refuse_host(keyd, id, who, err);
}

void keyd_keep_own(const Keyd *keyd, const char *who, KeydKeys *keys)
{
	size_t kept = 0;

	for (size_t i = 0; i < keys->keys_count; i++)
		if (keyd_holds(keyd, keys->keys[i].id, who) || coming(keyd, keys->keys[i].id, who))
			keys->keys[kept++] = keys->keys[i];
	keys->keys_count = kept;
}
