/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/keys.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "engine/key_ends.h"
#include "engine/key_backends.h"
#include "engine/keys_link.h"
#include "sandbox/sandbox.h"
#include "wire/json.h"

enum {
	RESTART_FIRST_S = 1,
	RESTART_LAST_S = 64,
	SETTLED_S = 60, /* who has served so long starts with a short pause again */
	ANSWER_S = 30,	/* a key manager that takes longer is ended */
	START_S = 120,	/* and one that says for so long not how far it is with verifying its store */
	PROGRESS_S = 10,
	WATCH_S = 5,
	HEAD_KEEP_S = 1,
	HEAD_JSON_MAX = 512,
};

/* Somebody who waits for an answer: a client of the API, or the engine itself. */
typedef struct Waiting {
	LIST_ENTRY(Waiting) link;
	uint64_t number;
	uint16_t answer;
	int64_t since_us;
	ApiRequest *api;
	KeysDone *done; /* where api is NULL */
	void *context;
} Waiting;

struct KeyManager {
	Child *child; /* keyd, or the keylink to another host's */
	KeysLink *serving; /* other hosts; or NULL */
	bool remote, linked; /* another host's; its keylink is ready, whether there is a connection or not */
	KeyBackends *backends;
	bool ready;
	int64_t started_us; /* or when it last said how far it is */
	int64_t ready_us, logged_us;
	KeydProgress progress;
	unsigned int pause_s;
	struct event *restart, *watch, *keep;
	Error cause; /* why it is away; category 0 while it starts */
	KeydHead head;
	bool head_waits; /* to be kept */
	LIST_HEAD(, Waiting) waiting;
};

static int64_t now_us(void)
{
	return clock_monotonic_us(&clock_system);
}

/* --- the end of its log --- */

static void head_path(const Engine *engine, char path[LIMIT_PATH])
{
	snprintf(path, LIMIT_PATH, "%.*s/%s", CONFIG_DIRECTORY_MAX, engine->config.state_directory,
		 engine->keys->remote ? KEYS_MANAGER_HEAD_NAME : KEYS_HEAD_NAME);
}

/* One that is there and cannot be read is no reason to believe whatever store there is. */
static bool read_head(Engine *engine, KeydHead *ret_head, Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(HEAD_JSON_MAX);
	char path[LIMIT_PATH];

	*ret_head = (KeydHead){ 0 };
	head_path(engine, path);
	if (access(path, F_OK) && errno == ENOENT)
		return true;
	return (file_read(path, HEAD_JSON_MAX, &json, err) &&
		json_decode_plain(&keyd_head_schema, json.data, json.used, ret_head, err)) ||
	       error_prefix(err, "%s", path);
}

static bool write_head(Engine *engine, const KeydHead *head, Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(HEAD_JSON_MAX);
	char path[LIMIT_PATH];

	head_path(engine, path);
	return json_encode_plain(&keyd_head_schema, head, &json, err) &&
	       file_replace(path, json.data, json.used, 0600, err);
}

/* A log only grows: one that does not is of another store than the one that was answered from. */
static bool check_grown(const KeydHead *known, const KeydHead *head, Error *err)
{
	if (head->entries < known->entries)
		return error_set(err, ERROR_AUTH,
				 "it says that its log has %" PRIu64 " entries, though it had %" PRIu64
				 ": its store was put back while it ran",
				 head->entries, known->entries);
	return head->entries > known->entries || !head->entries ||
	       !memcmp(head->chain, known->chain, sizeof(head->chain)) ||
	       error_set(err, ERROR_AUTH,
			 "it says that log entry %" PRIu64 " is another than it was: another store "
			 "took the place of its own",
			 head->entries);
}

static void keep_head(Engine *engine)
{
	KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	if (!keys->head_waits)
		return;
	keys->head_waits = false;
	if (!write_head(engine, &keys->head, &err))
		log_error(engine->log, "the end of the key store's log cannot be kept: %s",
			  err.text);
}

static void on_keep(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	keep_head(context);
}

/* It is looked at in memory at once, and kept a moment later, for all changes of that moment: two syncs of
 * the disk after each would be on the way of a VM. Who kills us and puts the store back in one can hide a
 * moment, no more; who ends the key manager can not, see lose(). */
static bool take_head(Engine *engine, const KeydHead *head, Error *cause)
{
	static const struct timeval delay = { .tv_sec = HEAD_KEEP_S };
	KeyManager *keys = engine->keys;

	if (!check_grown(&keys->head, head, cause))
		return false;
	if (!keys->head.entries && head->entries && !keys->ready)
		log_warning(engine->log,
			    "the key store has %" PRIu64
			    " log entries and this host remembers none: "
			    "it is taken as it is",
			    head->entries);
	keys->head = *head;
	keys->head_waits = true;
	if (!keys->ready || (!evtimer_pending(keys->keep, NULL) && evtimer_add(keys->keep, &delay)))
		keep_head(engine);
	if (keys->ready)
		keys_link_tell_head(keys->serving, head);
	return true;
}

/* --- how it is with it --- */

static void take_progress(Engine *engine, const KeydProgress *progress)
{
	KeyManager *keys = engine->keys;

	keys->progress = *progress;
	keys->started_us = now_us();
	if (keys->started_us - keys->logged_us < INT64_C(1000000) * PROGRESS_S)
		return;
	keys->logged_us = keys->started_us;
	log_info(engine->log,
		 "key manager verifies its store entries=%" PRIu64 " of=%" PRIu64 " keys=%" PRIu64,
		 progress->entries, progress->total, progress->keys);
}

/* Why it does not serve. */
static void describe_away(const KeyManager *keys, char ret_text[LIMIT_TEXT])
{
	const KeydProgress *progress = &keys->progress;

	if (keys->cause.category)
		snprintf(ret_text, LIMIT_TEXT, "%.400s", keys->cause.text);
	else if (progress->total)
		snprintf(ret_text, LIMIT_TEXT,
			 "it is verifying its store: %" PRIu64 " of %" PRIu64
			 " log entries so far, and %" PRIu64 " keys",
			 progress->entries, progress->total, progress->keys);
	else
		snprintf(ret_text, LIMIT_TEXT, "it is starting");
}

/* --- requests --- */

static Waiting *find(const KeyManager *keys, uint64_t number)
{
	Waiting *waiting;

	LIST_FOREACH(waiting, &keys->waiting, link)
	if (waiting->number == number)
		return waiting;
	return NULL;
}

bool keys_awaits(const Engine *engine, uint16_t answer)
{
	const Waiting *waiting;

	if (!engine->keys)
		return false;
	LIST_FOREACH(waiting, &engine->keys->waiting, link)
	if (waiting->answer == answer)
		return true;
	return false;
}

/* One of the two is NULL. */
static void end_waiting(Waiting *waiting, IpcMessage *answer, const Error *failure)
{
	const Waiting who = *waiting;

	LIST_REMOVE(waiting, link);
	free(waiting);
	if (!who.api)
		who.done(who.context, answer, failure);
	else if (failure)
		api_fail(who.api, failure);
	else
		api_return(who.api, keys_view(answer->type, answer->payload));
}

static void fail_all(KeyManager *keys, const Error *cause)
{
	while (!LIST_EMPTY(&keys->waiting))
		end_waiting(LIST_FIRST(&keys->waiting), NULL, cause);
}

static bool ask(Engine *engine, uint16_t type, const Schema *schema, const void *request,
		const Waiting *who, uint64_t *ret_number, Error *err)
{
	KeyManager *keys = engine->keys;
	char away[LIMIT_TEXT];
	Waiting *waiting;

	if (!keys)
		return error_set(err, ERROR_UNAVAILABLE,
				 "this host has no key manager: its configuration has no \"keys\"");
	if (!keys->ready) {
		describe_away(keys, away);
		return error_set(err, ERROR_UNAVAILABLE, "the key manager is not there: %s", away);
	}
	waiting = calloc(1, sizeof(*waiting));
	if (!waiting)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*waiting = *who;
	waiting->number = ++engine->next_number;
	if (!child_send(keys->child, type, waiting->number, schema, request, NULL, 0, err)) {
		free(waiting);
		return false;
	}
	waiting->since_us = now_us();
	LIST_INSERT_HEAD(&keys->waiting, waiting, link);
	if (ret_number)
		*ret_number = waiting->number;
	return true;
}

bool keys_ask(Engine *engine, uint16_t type, const Schema *schema, const void *request,
	      uint16_t answer, ApiRequest *api, Error *err)
{
	return ask(engine, type, schema, request, &(Waiting){ .answer = answer, .api = api }, NULL, err);
}

bool keys_request(Engine *engine, uint16_t type, const Schema *schema, const void *request,
		  uint16_t answer, KeysDone *done, void *context, uint64_t *ret_number, Error *err)
{
	const Waiting who = { .answer = answer, .done = done, .context = context };

	return ask(engine, type, schema, request, &who, ret_number, err);
}

/* One that cannot be told wipes the value by itself (KEYD_OPEN_S), or has ended. */
void keys_used(Engine *engine, uint64_t number)
{
	const KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	if (keys && keys->child && !child_send(keys->child, KEYD_USED, number, NULL, NULL, NULL, 0, &err))
		log_warning(engine->log, "the key manager is not told that a value was used: %s", err.text);
}

/* Verifying goes on, step by step, until it is done; others are served in between. */
static bool step_again(Engine *engine, Waiting *waiting, Error *err)
{
	KeydVerify request = { .begin = false };

	keys_caller(waiting->api, request.who);
	waiting->since_us = now_us();
	return child_send(engine->keys->child, KEYD_VERIFY, waiting->number, &keyd_verify_schema,
			  &request, NULL, 0, err);
}

static void on_answer(Engine *engine, IpcMessage *message)
{
	Waiting *waiting = find(engine->keys, message->subject);
	Error err = ERROR_INIT;

	if (!waiting || waiting->answer != message->type) {
		error_set(&err, ERROR_INTERNAL, "the key manager gave an answer of the kind %u",
			  message->type);
		log_warning(engine->log, "%s, which nobody waits for", err.text);
		if (waiting)
			end_waiting(waiting, NULL, &err);
		return;
	}
	if (message->type != KEYD_VERIFIED || ((const KeydVerified *)message->payload)->done)
		end_waiting(waiting, message, NULL);
	else if (!step_again(engine, waiting, &err))
		end_waiting(waiting, NULL, &err);
}

static void on_failed(Engine *engine, const IpcMessage *message)
{
	const RoleFailure *failure = message->payload;
	Waiting *waiting = find(engine->keys, message->subject);
	Error err = ERROR_INIT;

	error_set(&err, (ErrorCategory)failure->category, "%s", failure->text);
	if (waiting) {
		end_waiting(waiting, NULL, &err);
		return;
	}
	/* Of itself as a whole: it ends now. Else of what it was told. */
	if (message->subject)
		log_warning(engine->log, "key manager: %s", err.text);
	else
		engine->keys->cause = err;
}

/* --- start, end, start --- */

static void schedule(Engine *engine)
{
	KeyManager *keys = engine->keys;
	const struct timeval delay = { .tv_sec = keys->pause_s };

	if (engine->stopping || key_backends_is_refused(keys->backends))
		return;
	evtimer_add(keys->restart, &delay);
	keys->pause_s = 2 * keys->pause_s > RESTART_LAST_S ? RESTART_LAST_S : 2 * keys->pause_s;
}

/* Why stays known: what it said last tells more than how it ended. */
static void lose(Engine *engine, const Error *cause)
{
	KeyManager *keys = engine->keys;

	const Error *of_root = key_backends_root_cause(keys->backends);

	keep_head(engine);

	if (of_root)
		keys->cause = *of_root;
	else if (keys->ready || !keys->cause.category)
		keys->cause = *cause;
	if (keys->ready && now_us() - keys->ready_us > INT64_C(1000000) * SETTLED_S)
		keys->pause_s = RESTART_FIRST_S;
	keys->ready = keys->linked = false;
	key_backends_on_keyd_gone(keys->backends);
	child_free(TAKE_PTR(keys->child));
	if (key_backends_is_refused(keys->backends))
		log_error(engine->log,
			  "key manager: root key: %s; VMs go on; it is not tried again before sealiftd "
			  "is started anew",
			  keys->cause.text);
	else
		log_error(engine->log, "key manager: %s; VMs go on, again in %u s",
			  keys->cause.text, keys->pause_s);
	fail_all(keys, &(Error){ .category = ERROR_UNAVAILABLE,
				 .text = "the key manager ended; it is not certain whether "
					 "what was asked for was done" });
	schedule(engine);
}

static void on_gone(void *context, Child *child, const Error *cause)
{
	(void)child;
	lose(context, cause);
}

static void serve(Engine *engine)
{
	KeyManager *keys = engine->keys;

	keys->ready = true;
	keys->ready_us = now_us();
	keys->cause = ERROR_INIT;
	log_info(engine->log, "key manager serves entries=%" PRIu64, keys->head.entries);
	keys_link_tell_head(keys->serving, &keys->head);
	key_ends_go_on(engine);
}

/* Of another host's: requests that had no answer have been failed one by one. */
static void take_state(Engine *engine, const KeylinkState *state)
{
	KeyManager *keys = engine->keys;
	bool was_there = keys->ready;

	if (state->there) {
		serve(engine);
		return;
	}
	keys->ready = false;
	error_set(&keys->cause, ERROR_UNAVAILABLE, "%s", state->text);
	if (was_there)
		log_error(engine->log, "key manager: %s; VMs go on, it is dialled again", state->text);
}

static void on_message(void *context, Child *child, IpcMessage *message)
{
	Engine *engine = context;
	KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	(void)child;
	switch (message->type) {
	case ROLE_READY:
		keys->linked = keys->remote;
		if (!keys->remote)
			serve(engine);
		return;
	case KEYLINK_STATE:
		take_state(engine, message->payload);
		return;
	case KEYD_HEAD:
		if (!take_head(engine, message->payload, &err))
			lose(engine, &err);
		return;
	case KEYD_HELPER_LOST:
		key_backends_on_lost(keys->backends, message);
		return;
	case KEYD_PROGRESS:
		take_progress(engine, message->payload);
		return;
	case ROLE_FAILED:
		on_failed(engine, message);
		return;
	default:
		on_answer(engine, message);
	}
}

/* One that cannot be read counts as full. */
static bool is_empty(int directory_fd)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	int entries = 0;

	if (!directory) {
		cleanup_fd(&fd);
		return false;
	}
	/* "." and "..", then a third or none. */
	while (entries < 3 && readdir(directory))
		entries++;
	closedir(directory);
	return entries == 2;
}

/* Ours while it is new; then its user's, whom nobody else in there could deceive. A directory with
 * something in it is never given away: a mistyped path may name any of the host's. */
static bool own_directory(int fd, const Config *config, Error *err)
{
	const char *path = config->keys.store;
	SandboxUser user = { .uid = geteuid(), .gid = getegid() };
	struct stat status;

	if (config->keyd_user[0] && !geteuid() &&
	    !sandbox_user_parse(config->keyd_user, &user, err))
		return false;
	if (fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot examine %s", path);
	if (status.st_mode & 077)
		return error_set(err, ERROR_CONFIG,
				 "%s has mode %04o: others may use it, 0700 is wanted", path,
				 (unsigned int)status.st_mode & 07777);
	if (status.st_uid == geteuid() && status.st_uid != user.uid && is_empty(fd)) {
		if (fchown(fd, user.uid, user.gid))
			return error_set_errno(err, ERROR_IO, errno, "cannot give %s to user %u",
					       path, user.uid);
		status.st_uid = user.uid;
	}
	return status.st_uid == user.uid ||
	       error_set(err, ERROR_CONFIG,
			 "%s belongs to the user %u, not to %u, as whom the key manager runs", path,
			 status.st_uid, user.uid);
}

/* Not another user's, who could read it, nor a pipe, at which we would wait. */
static bool open_root(const char *path, int *ret_fd, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot open the root key %s",
				       path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "the root key %s is not a regular file", path);
	if (status.st_uid && status.st_uid != geteuid())
		return error_set(err, ERROR_CONFIG,
				 "the root key %s belongs to the user %u, who could read it", path,
				 status.st_uid);
	*ret_fd = TAKE_FD(fd);
	return true;
}

/* Or the link to who has it. */
static bool get_root(Engine *engine, int *ret_fd, Error *err)
{
	return engine->config.keys.root_is_helper
		       ? key_backends_start_root(engine->keys->backends, ret_fd, err)
		       : open_root(engine->config.keys.root, ret_fd, err);
}

static bool open_store(const Config *config, int *ret_fd, Error *err)
{
	AUTO_FD int fd = -1;

	if (!file_make_directories(config->keys.store, 0700, err))
		return false;
	fd = open(config->keys.store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s",
				       config->keys.store);
	if (!own_directory(fd, config, err))
		return false;
	*ret_fd = TAKE_FD(fd);
	return true;
}

static void close_all(int (*fds)[KEYS_CERTIFICATE_FDS])
{
	for (size_t i = 0; i < KEYS_CERTIFICATE_FDS; i++)
		cleanup_fd(&(*fds)[i]);
}
#define AUTO_CERTIFICATE_FDS CLEANUP(close_all)

/* Without them it opens disks all the same. */
static bool open_certificates(Engine *engine, int fds[KEYS_CERTIFICATE_FDS])
{
	Error err = ERROR_INIT;

	if (!engine->config.keys.certificate[0])
		return false;
	if (keys_open_certificates(&engine->config.keys, fds, &err))
		return true;
	engine_warn(engine, "keys cannot be moved: %s", err.text);
	return false;
}

static const ChildEvents child_events = { on_message, on_gone };

static bool spawn(Engine *engine, Error *err)
{
	const Config *config = &engine->config;
	KeyManager *keys = engine->keys;
	AUTO_CERTIFICATE_FDS int pem[KEYS_CERTIFICATE_FDS] = { -1, -1, -1, -1 };
	AUTO_FD int root = -1;
	AUTO_FD int store = -1;
	bool certified = open_certificates(engine, pem);
	const char *root_word = key_backends_root_word(keys->backends);
	const char *modes[3] = { NULL };
	char root_mode[48];

	if (!read_head(engine, &keys->head, err) || !open_store(config, &store, err) ||
	    !get_root(engine, &root, err))
		return false;
	snprintf(root_mode, sizeof(root_mode), KEYD_ROOT_OPTION "=%s", root_word ? root_word : "");
	if (root_word)
		modes[0] = root_mode;
	if (certified)
		modes[!!root_word] = KEYD_CERTIFICATES_OPTION;
	keys->child = children_spawn_with(
		engine, "sealift-keyd", modes, config->keyd_user,
		(int[]){ root, store, pem[0], pem[1], pem[2], pem[3] }, certified ? 6 : 2,
		engine_keyd_rules, &child_events, engine, err);
	if (!keys->child || !keys_tell_all_domains(engine, keys->child, err))
		return false;
	key_backends_on_keyd(keys->backends, keys->child);
	return child_send(keys->child, KEYD_START, 0, &keyd_head_schema, &keys->head, NULL, 0, err);
}

static bool spawn_link(Engine *engine, Error *err)
{
	KeyManager *keys = engine->keys;

	if (!read_head(engine, &keys->head, err))
		return false;
	keys->child = keys_link_connect(engine, &keys->head, &child_events, engine, err);
	return keys->child;
}

static void start(Engine *engine)
{
	KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	keys->cause = ERROR_INIT;
	keys->progress = (KeydProgress){ 0 };
	keys->started_us = keys->logged_us = now_us();
	if (!(keys->remote ? spawn_link(engine, &err) : spawn(engine, &err)))
		lose(engine, &err);
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	start(context);
}

/* One that does not answer is ended, so that who waits is told. */
static void on_watch(evutil_socket_t fd, short what, void *context)
{
	Engine *engine = context;
	const KeyManager *keys = engine->keys;
	const int64_t late_us = now_us() - INT64_C(1000000) * ANSWER_S;
	bool late = keys->child && !keys->ready && !keys->linked &&
		    keys->started_us < now_us() - INT64_C(1000000) * START_S;
	const Waiting *waiting;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	LIST_FOREACH(waiting, &keys->waiting, link)
	late = late || waiting->since_us < late_us;
	if (!late)
		return;
	error_set(&err, ERROR_TIMEOUT, "it did not answer within %d s",
		  keys->ready ? ANSWER_S : START_S);
	lose(engine, &err);
}

/* --- whom to trust --- */

static void told(Engine *engine, bool ok, Error *err)
{
	if (ok)
		return;
	error_prefix(err, "it cannot be told whom to trust");
	lose(engine, err);
}

void keys_retrust(Engine *engine, const RoleForget *name, const DomainRecord *domain)
{
	Error err = ERROR_INIT;

	keys_distrust(engine, name);
	if (engine->keys && engine->keys->child)
		told(engine, keys_tell_domain(engine, engine->keys->child, domain, &err), &err);
	if (engine->keys)
		keys_link_retrust(engine->keys->serving, domain);
}

static void tell(Engine *engine, uint16_t type, const Schema *schema, const void *payload)
{
	KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	if (keys && keys->child)
		told(engine,
		     child_send(keys->child, type, ++engine->next_number, schema, payload, NULL, 0,
				&err),
		     &err);
	if (keys)
		keys_link_tell(keys->serving, type, schema, payload);
}

void keys_distrust(Engine *engine, const RoleForget *name)
{
	tell(engine, ROLE_FORGET, &role_forget_schema, name);
}

void keys_take_crl(Engine *engine, const RoleCrl *crl)
{
	tell(engine, ROLE_CRL, &role_crl_schema, crl);
}

bool keys_start(Engine *engine, Error *err)
{
	const struct timeval interval = { .tv_sec = WATCH_S };
	KeyManager *keys;

	if (!engine->config.keys.wanted)
		return true;
	keys = engine->keys = calloc(1, sizeof(*keys));
	if (!keys)
		return error_set(err, ERROR_INTERNAL, "no memory for the key manager");
	LIST_INIT(&keys->waiting);
	keys->backends = key_backends_new(engine, err);
	if (!keys->backends)
		return false;
	keys->pause_s = RESTART_FIRST_S;
	keys->restart = evtimer_new(engine->base, on_restart, engine);
	keys->watch = event_new(engine->base, -1, EV_PERSIST, on_watch, engine);
	keys->keep = evtimer_new(engine->base, on_keep, engine);
	if (!keys->restart || !keys->watch || !keys->keep || event_add(keys->watch, &interval))
		return error_set(err, ERROR_INTERNAL, "no memory for timers");
	keys->remote = engine->config.keys.manager_address[0];
	start(engine);
	if (engine->config.keys.serve_address[0])
		keys->serving = keys_link_new(engine, err);
	return !engine->config.keys.serve_address[0] || keys->serving;
}

void keys_stop(Engine *engine)
{
	KeyManager *keys = engine->keys;
	Error err = ERROR_INIT;

	if (!keys)
		return;
	keep_head(engine);
	error_set(&err, ERROR_UNAVAILABLE, "the engine stops");
	/* So that who is told asks for nothing more. */
	keys->ready = false;
	keys->cause = err;
	fail_all(keys, &err);
	keys_link_free(keys->serving);
	key_backends_free(keys->backends);
	child_free(keys->child);
	if (keys->restart)
		event_free(keys->restart);
	if (keys->watch)
		event_free(keys->watch);
	if (keys->keep)
		event_free(keys->keep);
	free(TAKE_PTR(engine->keys));
}

static void describe_serving(const Engine *engine, char ret_text[LIMIT_TEXT])
{
	const KeyManager *keys = engine->keys;
	const ConfigKeys *config = &engine->config.keys;

	if (keys->remote)
		snprintf(ret_text, LIMIT_TEXT, "the key manager of %.250s serves, %" PRIu64 " log entries",
			 config->manager_id, keys->head.entries);
	else
		snprintf(ret_text, LIMIT_TEXT, "the key manager serves, %" PRIu64 " log entries%s",
			 keys->head.entries,
			 config->certificate[0] ? "" : "; without certificates it moves no keys");
}

bool keys_describe(const Engine *engine, bool *ret_ok, char ret_text[LIMIT_TEXT])
{
	const KeyManager *keys = engine->keys;
	char away[LIMIT_TEXT];

	if (!keys)
		return false;
	*ret_ok = keys->ready;
	if (keys->ready) {
		describe_serving(engine, ret_text);
		(void)keys_link_describe(keys->serving, ret_text, LIMIT_TEXT);
		return true;
	}
	describe_away(keys, away);
	snprintf(ret_text, LIMIT_TEXT, "no key manager: %.400s", away);
	return true;
}
