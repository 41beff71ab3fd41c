/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/keys_link.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "crypto/spiffe.h"

enum {
	RESTART_FIRST_S = 1,
	RESTART_LAST_S = 64,
	RELAYS_MAX = KEYLINK_HOSTS_MAX * KEYLINK_ASKED_MAX,
	BACKLOG = 64,
};

struct KeysLink {
	Engine *engine;
	Child *child;
	bool ready;
	Error cause;		 /* why it does not serve */
	unsigned int generation; /* of the child */
	unsigned int pause_s;
	struct event *restart;
	size_t relays; /* that wait for an answer */
	LIST_HEAD(, Relay) opened;
	KeydHead head;
	bool has_head; /* keyd has served: before that nobody is let in */
};

/* A request of another host, as keyd has it; of a value that was opened, until it was read. */
typedef struct Relay {
	LIST_ENTRY(Relay) entry; /* of `opened` only */
	KeysLink *link;
	unsigned int generation;
	const KeylinkExchange *exchange;
	uint64_t subject; /* with keylink */
	uint64_t number;  /* with keyd */
} Relay;

/* --- to use another host's --- */

static bool open_identity(const Config *config, int *ret_chain, int *ret_key, Error *err)
{
	return keys_open_pem(config->tls_certificate, ret_chain, err) &&
	       keys_open_pem(config->tls_key, ret_key, err);
}

Child *keys_link_connect(Engine *engine, const KeydHead *head, const ChildEvents *events,
			 void *context, Error *err)
{
	char mode[32];
	const char *const modes[] = { mode, NULL };
	const ConfigKeys *config = &engine->config.keys;
	KeylinkDial dial = { .port = config->manager_port };
	AUTO_FD int chain = -1;
	AUTO_FD int key = -1;
	Child *child;

	snprintf(mode, sizeof(mode), KEYLINK_CONNECT_OPTION "=%u", config->manager_port);
	snprintf(dial.address, sizeof(dial.address), "%s", config->manager_address);
	snprintf(dial.manager, sizeof(dial.manager), "%s", config->manager_id);
	if (!open_identity(&engine->config, &chain, &key, err))
		return NULL;
	child = children_spawn_with(engine, "sealift-keylink", modes, engine->config.keyhelper_user,
				    (int[]){ chain, key }, 2, engine_keylink_connect_rules, events,
				    context, err);
	if (child &&
	    child_send(child, KEYLINK_DIAL, 0, &keylink_dial_schema, &dial, NULL, 0, err) &&
	    keys_tell_all_domains(engine, child, err) &&
	    child_send(child, KEYD_START, 0, &keyd_head_schema, head, NULL, 0, err))
		return child;
	child_free(child);
	return NULL;
}

/* --- to serve: start, end, start --- */

static void drop_opened(KeysLink *link)
{
	while (!LIST_EMPTY(&link->opened)) {
		Relay *relay = LIST_FIRST(&link->opened);

		LIST_REMOVE(relay, entry);
		keys_used(link->engine, relay->number);
		free(relay);
	}
}

/* Answers that are still to come are nobody's: another generation. */
static void lose(KeysLink *link, const Error *cause)
{
	const struct timeval delay = { .tv_sec = link->pause_s };

	link->cause = *cause;
	if (link->ready)
		link->pause_s = RESTART_FIRST_S;
	link->ready = false;
	link->generation++;
	child_free(TAKE_PTR(link->child));
	drop_opened(link);
	if (link->engine->stopping)
		return;
	log_error(link->engine->log, "key manager for other hosts: %s; again in %u s", cause->text,
		  link->pause_s);
	evtimer_add(link->restart, &delay);
	link->pause_s = 2 * link->pause_s > RESTART_LAST_S ? RESTART_LAST_S : 2 * link->pause_s;
}

/* Bound here, so that keylink needs no right to bind. */
static bool open_port(const ConfigKeys *config, int *ret_fd, Error *err)
{
	struct sockaddr_storage at;
	socklen_t size;
	const int on = 1;
	AUTO_FD int fd = -1;

	if (!address_parse(config->serve_address, config->serve_port, &at, &size, err))
		return error_prefix(err, "keys.serve");
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "keys.serve");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, size) ||
	    listen(fd, BACKLOG))
		return error_set_errno(err, ERROR_IO, errno, "cannot listen on %s port %u",
				       config->serve_address, config->serve_port);
	*ret_fd = TAKE_FD(fd);
	return true;
}

static void on_message(void *context, Child *child, IpcMessage *message);

static void on_gone(void *context, Child *child, const Error *cause)
{
	(void)child;
	lose(context, cause);
}

static bool spawn(KeysLink *link, Error *err)
{
	static const ChildEvents events = { on_message, on_gone };
	static const char *const modes[] = { KEYLINK_SERVE_OPTION, NULL };
	const Config *config = &link->engine->config;
	AUTO_FD int chain = -1;
	AUTO_FD int key = -1;
	AUTO_FD int listening = -1;

	if (!open_identity(config, &chain, &key, err) || !open_port(&config->keys, &listening, err))
		return false;
	link->child = children_spawn_with(link->engine, "sealift-keylink", modes,
					  config->keyhelper_user, (int[]){ chain, key, listening },
					  3, engine_keylink_serve_rules, &events, link, err);
	return link->child && keys_tell_all_domains(link->engine, link->child, err) &&
	       child_send(link->child, KEYLINK_SERVE, 0, &keylink_serve_schema, &config->keys.hosts,
			  NULL, 0, err) &&
	       (!link->has_head || child_send(link->child, KEYD_HEAD, 0, &keyd_head_schema,
					      &link->head, NULL, 0, err));
}

static void start(KeysLink *link)
{
	Error err = ERROR_INIT;

	if (!spawn(link, &err))
		lose(link, &err);
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	start(context);
}

KeysLink *keys_link_new(Engine *engine, Error *err)
{
	KeysLink *link = calloc(1, sizeof(*link));

	if (link)
		link->restart = evtimer_new(engine->base, on_restart, link);
	if (!link || !link->restart) {
		free(link);
		error_set(err, ERROR_INTERNAL, "no memory for a key manager of other hosts");
		return NULL;
	}
	link->engine = engine;
	link->pause_s = RESTART_FIRST_S;
	LIST_INIT(&link->opened);
	start(link);
	return link;
}

void keys_link_free(KeysLink *link)
{
	if (!link)
		return;
	child_free(link->child);
	drop_opened(link);
	event_free(link->restart);
	free(link);
}

/* --- what other hosts ask for --- */

static void send_on(KeysLink *link, uint16_t type, uint64_t subject, const Schema *schema,
		    const void *payload, const int *fds, size_t n_fds)
{
	Error err = ERROR_INIT;

	if (link->child &&
	    !child_send(link->child, type, subject, schema, payload, fds, n_fds, &err))
		lose(link, &err);
}

static void send_failure(KeysLink *link, uint64_t subject, const Error *failure)
{
	RoleFailure answer = { .category = failure->category };

	snprintf(answer.text, sizeof(answer.text), "%s", failure->text);
	send_on(link, ROLE_FAILED, subject, &role_failure_schema, &answer, NULL, 0);
}

static void on_done(void *context, IpcMessage *answer, const Error *failure)
{
	AUTO_FREE Relay *relay = context;
	KeysLink *link = relay->link;
	bool opens = answer && answer->type == KEYD_OPENED;

	link->relays--;
	if (!link->child || relay->generation != link->generation) {
		if (opens)
			keys_used(link->engine, relay->number);
		return;
	}
	if (failure) {
		send_failure(link, relay->subject, failure);
		return;
	}
	if (opens)
		LIST_INSERT_HEAD(&link->opened, relay, entry);
	send_on(link, answer->type, relay->subject, relay->exchange->answer_schema, answer->payload,
		answer->fds, answer->fds_count);
	if (opens)
		(void)TAKE_PTR(relay); /* it is in the list, or ended with that */
}

static void on_used(KeysLink *link, uint64_t subject)
{
	Relay *relay;

	LIST_FOREACH(relay, &link->opened, entry)
	if (relay->subject == subject) {
		LIST_REMOVE(relay, entry);
		keys_used(link->engine, relay->number);
		free(relay);
		return;
	}
}

bool keys_link_judge_who(const Engine *engine, const char *who, Error *err)
{
	const KeylinkServe *allowed = &engine->config.keys.hosts;
	char host[LIMIT_SPIFFE_ID];
	SpiffeId id;

	keylink_host_of_who(who, host);
	if (!spiffe_parse(host, strlen(host), &id, err) || id.role != SPIFFE_HOST ||
	    strcmp(id.domain, engine->domain) != 0 || !strcmp(id.text, engine->host_id))
		return error_set(err, ERROR_PEER,
				 "a request of \"%.200s\", which is no other host of %s", who,
				 engine->domain);
	for (size_t i = 0; i < allowed->hosts_count; i++)
		if (!strcmp(allowed->hosts[i].name, id.name))
			return true;
	return error_set(err, ERROR_PEER, "a request of %s, which is not among keys.hosts",
			 id.text);
}

static bool ask(KeysLink *link, const KeylinkExchange *exchange, const IpcMessage *message,
		Error *err)
{
	Relay *relay;

	if (link->relays >= RELAYS_MAX)
		return error_set(err, ERROR_LIMIT, "%d requests of other hosts wait already",
				 RELAYS_MAX);
	relay = calloc(1, sizeof(*relay));
	if (!relay)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*relay = (Relay){ .link = link,
			  .generation = link->generation,
			  .exchange = exchange,
			  .subject = message->subject };
	if (!keys_request(link->engine, message->type, exchange->request_schema, message->payload,
			  exchange->answer, on_done, relay, &relay->number, err)) {
		free(relay);
		return false;
	}
	link->relays++;
	return true;
}

static void pass_on(KeysLink *link, const IpcMessage *message)
{
	const KeylinkExchange *exchange = keylink_exchange_of(message->type);
	Error err = ERROR_INIT;

	/* Each request's struct begins with who asks. */
	if (!link->engine->domain[0]) {
		error_set(&err, ERROR_UNAVAILABLE, "the engine is still starting");
		send_failure(link, message->subject, &err);
		return;
	}
	if (!keys_link_judge_who(link->engine, message->payload, &err)) {
		lose(link, &err);
		return;
	}
	if (!ask(link, exchange, message, &err))
		send_failure(link, message->subject, &err);
}

static void on_failed(KeysLink *link, const IpcMessage *message)
{
	const RoleFailure *failure = message->payload;

	log_warning(link->engine->log, "key manager for other hosts: %s", failure->text);
}

static void on_message(void *context, Child *child, IpcMessage *message)
{
	KeysLink *link = context;
	const ConfigKeys *config = &link->engine->config.keys;

	(void)child;
	switch (message->type) {
	case ROLE_READY:
		link->ready = true;
		link->cause = ERROR_INIT;
		log_info(link->engine->log,
			 "key manager serves other hosts address=%s port=%u hosts=%zu",
			 config->serve_address, config->serve_port, config->hosts.hosts_count);
		return;
	case ROLE_FAILED:
		on_failed(link, message);
		return;
	case KEYD_USED:
		on_used(link, message->subject);
		return;
	default:
		pass_on(link, message);
	}
}

/* --- what it is told --- */

void keys_link_tell_head(KeysLink *link, const KeydHead *head)
{
	if (!link)
		return;
	link->head = *head;
	link->has_head = true;
	send_on(link, KEYD_HEAD, 0, &keyd_head_schema, head, NULL, 0);
}

void keys_link_retrust(KeysLink *link, const DomainRecord *domain)
{
	Error err = ERROR_INIT;

	if (link && link->child && !keys_tell_domain(link->engine, link->child, domain, &err))
		lose(link, &err);
}

void keys_link_tell(KeysLink *link, uint16_t type, const Schema *schema, const void *payload)
{
	if (link)
		send_on(link, type, ++link->engine->next_number, schema, payload, NULL, 0);
}

bool keys_link_describe(const KeysLink *link, char *text, size_t size)
{
	const ConfigKeys *config = link ? &link->engine->config.keys : NULL;
	size_t used = strlen(text);

	if (!link)
		return true;
	if (link->ready)
		snprintf(text + used, size - used, "; serves %zu other host%s at %s port %u",
			 config->hosts.hosts_count, config->hosts.hosts_count == 1 ? "" : "s",
			 config->serve_address, config->serve_port);
	else
		snprintf(text + used, size - used, "; does not serve other hosts: %.200s",
			 link->cause.category ? link->cause.text : "it is starting");
	return link->ready;
}
