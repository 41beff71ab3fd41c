/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side of sealift-keylink (role/keylink_messages.h): to use the key manager of another
 * host of this domain in the place of one's own, or to let other hosts use ours.
 *
 * To serve, the engine passes on what listed hosts ask for, and what keyd answers; a value goes by
 * as a descriptor that it does not read. Who asks stands before each request's `who` and is judged
 * again here: a keylink that was taken over can speak for listed hosts at most, never for this one.
 */
#ifndef SEALIFT_ENGINE_KEYS_LINK_H
#define SEALIFT_ENGINE_KEYS_LINK_H

#include "engine/keys.h"
#include "role/keylink_messages.h"

typedef struct KeysLink KeysLink;

/* connect: a sealift-keylink in keyd's place, which was told where to go and whom to trust, and
 * started. What it sends follows engine_keylink_connect_rules. Owned by the caller. */
Child *keys_link_connect(Engine *engine, const KeydHead *head, const ChildEvents *events,
			 void *context, Error *err);

/* serve: listens and serves, or tries again later, which is logged; NULL without memory only. */
KeysLink *keys_link_new(Engine *engine, Error *err);
/* After all that was asked of the key manager has been answered. NULL is fine, for all of these. */
void keys_link_free(KeysLink *link);
/* keyd serves, or its log ends here now. Before the first one no host is let in: it would be told
 * less than it knows. */
void keys_link_tell_head(KeysLink *link, const KeydHead *head);
/* A change in whom to trust: see keys_retrust, keys_distrust, keys_take_crl. */
void keys_link_retrust(KeysLink *link, const DomainRecord *domain);
void keys_link_tell(KeysLink *link, uint16_t type, const Schema *schema, const void *payload);
/* Appends how it is with it: "; serves 2 other hosts at ADDRESS:PORT". False if it does not serve.
 */
bool keys_link_describe(const KeysLink *link, char *text, size_t size);

/* Whether this `who`, as keylink made it, is of a host that may ask: of our domain, among
 * keys.hosts, not ourselves. ERROR_PEER. */
MUST_CHECK bool keys_link_judge_who(const Engine *engine, const char *who, Error *err);

#endif
