/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/key_backends.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum {
	RESTART_FIRST_S = 1,
	RESTART_LAST_S = 64,
	SETTLED_S = 60, /* who has served so long starts with a short pause again */
	START_S = 60,	/* a helper that takes longer is ended: its module or chip hangs */
	/* For one call to the peer: less than keyd waits for the helper, so that a helper that is
	 * late is one that hangs. */
	PEER_MS = 8000,
	CHIP_MS = 10000,
};

typedef struct KeyBackend {
	KeyBackends *all;
	const ConfigHelper *config; /* NULL: no root key of this kind */
	Child *child;
	int keyd_end; /* of its pair, until keyd gets it; -1 */
	bool ready, refused;
	uint64_t number; /* of the last KEYD_HELPER about it */
	int64_t ready_us;
	unsigned int pause_s;
	struct event *timer; /* its start is late, or it is time to start it */
	Error cause;	     /* what it said; category 0: nothing */
} KeyBackend;

struct KeyBackends {
	Engine *engine;
	Child *keyd; /* NULL: not there */
	KeyBackend root;
	KeyBackend items[KEYD_BACKENDS - 1];
	size_t count;
};

static const char *name_of(const KeyBackend *backend)
{
	return backend == &backend->all->root ? "root key" : backend->config->name;
}

/* --- what it gets --- */

/* A key or a password that others can read is none. Nor is another user's file what a person wrote
 * down for us. */
static bool check_file(int fd, const char *path, HelperPart part, Error *err)
{
	bool secret = part == HELPER_PART_KEY || part == HELPER_PART_PASSWORD;
	struct stat status;

	if (fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot examine %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "%s is not a regular file", path);
	if (status.st_uid && status.st_uid != geteuid())
		return error_set(err, ERROR_CONFIG, "%s belongs to the user %u", path,
				 status.st_uid);
	return !(status.st_mode & (secret ? 077 : 022)) ||
	       error_set(err, ERROR_CONFIG, "%s has mode %04o: others may %s it", path,
			 (unsigned int)status.st_mode & 07777, secret ? "use" : "change");
}

/* An emulated chip has a socket where a real one has a device. */
static int open_device(const char *path, Error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;
	AUTO_FD int fd = -1;
	bool ok = true;

	if (stat(path, &status)) {
		error_set_errno(err, ERROR_CONFIG, errno, "cannot find %s", path);
		return -1;
	}
	if (S_ISCHR(status.st_mode)) {
		fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	} else if (S_ISSOCK(status.st_mode) && strlen(path) < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, strlen(path));
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		ok = fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof(address));
	} else {
		error_set(err, ERROR_CONFIG, "%s is no device", path);
		return -1;
	}
	if (fd < 0 || !ok) {
		error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s", path);
		return -1;
	}
	return TAKE_FD(fd);
}

static int open_part(const char *path, HelperPart part, Error *err)
{
	AUTO_FD int fd = -1;

	if (part == HELPER_PART_DEVICE)
		return open_device(path, err);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		error_set_errno(err, ERROR_CONFIG, errno, "cannot open %s", path);
		return -1;
	}
	return check_file(fd, path, part, err) ? TAKE_FD(fd) : -1;
}

static bool send_parts(KeyBackend *backend, Error *err)
{
	for (HelperPart part = 0; part < HELPER_PART_COUNT; part++) {
		const char *path = backend->config->files[part];
		const HelperFile file = { part };
		AUTO_FD int fd = -1;

		if (!path[0])
			continue;
		fd = open_part(path, part, err);
		if (fd < 0 || !child_send(backend->child, HELPER_FILE, 0, &helper_file_schema,
					  &file, &fd, 1, err))
			return false;
	}
	return true;
}

/* The first message says all that its sandbox has to leave open. */
static bool send_configuration(KeyBackend *backend, Error *err)
{
	const ConfigHelper *config = backend->config;
	HelperKmip kmip;
	HelperBarbican barbican;

	switch (config->kind) {
	case HELPER_KIND_KMIP:
		kmip = config->kmip;
		kmip.deadline_ms = PEER_MS;
		return child_send(backend->child, HELPER_KMIP, 0, &helper_kmip_schema, &kmip, NULL,
				  0, err);
	case HELPER_KIND_BARBICAN:
		barbican = config->barbican;
		barbican.deadline_ms = PEER_MS;
		return child_send(backend->child, HELPER_BARBICAN, 0, &helper_barbican_schema,
				  &barbican, NULL, 0, err);
	case HELPER_KIND_PKCS11:
	case HELPER_KIND_PKCS11_ROOT:
		return child_send(backend->child, HELPER_PKCS11, 0, &helper_pkcs11_schema,
				  &config->pkcs11, NULL, 0, err);
	case HELPER_KIND_TPM2:
	case HELPER_KIND_COUNT:
		break;
	}
	return child_send(backend->child, HELPER_TPM2, 0, &helper_tpm2_schema,
			  &(HelperTpm2){ CHIP_MS }, NULL, 0, err);
}

/* --- what keyd hears --- */

/* In words that stay true until the next ones. */
static void tell_keyd(KeyBackend *backend, const char *why, int fd)
{
	KeyBackends *all = backend->all;
	KeydHelper helper = { .kind = backend->config->kind };
	Error err = ERROR_INIT;

	if (!all->keyd || backend == &all->root)
		return;
	snprintf(helper.name, sizeof(helper.name), "%s", backend->config->name);
	snprintf(helper.why, sizeof(helper.why), "%s", why);
	backend->number = ++all->engine->next_number;
	if (!child_send(all->keyd, KEYD_HELPER, backend->number, &keyd_helper_schema, &helper, &fd,
			fd >= 0, &err))
		log_warning(all->engine->log, "the key manager is not told of back-end %s: %s",
			    name_of(backend), err.text);
}

/* --- start, end, start --- */

static void set_timer(KeyBackend *backend, unsigned int seconds)
{
	const struct timeval delay = { .tv_sec = seconds };

	if (!backend->all->engine->stopping)
		evtimer_add(backend->timer, &delay);
}

static void drop(KeyBackend *backend)
{
	if (backend->timer)
		evtimer_del(backend->timer);
	child_free(TAKE_PTR(backend->child));
	cleanup_fd(&backend->keyd_end);
	backend->keyd_end = -1;
	backend->ready = false;
}

static void lose(KeyBackend *backend, const Error *how)
{
	KeyBackends *all = backend->all;
	char why[LIMIT_TEXT];

	if (!backend->cause.category)
		backend->cause = *how;
	if (backend->ready &&
	    clock_monotonic_us(&clock_system) - backend->ready_us > INT64_C(1000000) * SETTLED_S)
		backend->pause_s = RESTART_FIRST_S;
	drop(backend);
	if (backend->refused)
		snprintf(why, sizeof(why),
			 "%.380s; it is not tried again before sealiftd is started anew",
			 backend->cause.text);
	else
		snprintf(why, sizeof(why), "%.380s; again in %u s", backend->cause.text,
			 backend->pause_s);
	log_error(all->engine->log, "key back-end %s: %s", name_of(backend), why);
	tell_keyd(backend, why, -1);
	if (backend->refused)
		return;
	set_timer(backend, backend->pause_s);
	backend->pause_s =
		2 * backend->pause_s > RESTART_LAST_S ? RESTART_LAST_S : 2 * backend->pause_s;
}

/* The root key's goes and comes with keyd, which says so itself: a chip's has done its work. */
static void on_gone(void *context, Child *child, const Error *how)
{
	KeyBackend *backend = context;

	(void)child;
	if (backend == &backend->all->root)
		drop(backend);
	else
		lose(backend, how);
}

static void serve(KeyBackend *backend)
{
	AUTO_FD int keyd_end = TAKE_FD(backend->keyd_end);

	backend->ready = true;
	backend->ready_us = clock_monotonic_us(&clock_system);
	evtimer_del(backend->timer);
	if (backend != &backend->all->root)
		tell_keyd(backend, "", keyd_end);
	log_info(backend->all->engine->log, "key back-end %s serves type=%s", name_of(backend),
		 helper_kind_words[backend->config->kind]);
}

static void on_message(void *context, Child *child, IpcMessage *message)
{
	KeyBackend *backend = context;
	const RoleFailure *failure = message->payload;

	(void)child;
	if (message->type == ROLE_READY) {
		serve(backend);
		return;
	}
	/* The first and last that it says: it ends now. */
	error_set(&backend->cause, (ErrorCategory)failure->category, "%s", failure->text);
	backend->refused = !backend->ready && failure->category == ERROR_AUTH;
}

static bool start(KeyBackend *backend, int *ret_keyd_end, Error *err)
{
	static const ChildEvents events = { on_message, on_gone };
	Engine *engine = backend->all->engine;
	char provider[48];
	const char *const modes[] = { provider, NULL };
	int pair[2];

	snprintf(provider, sizeof(provider), "--provider=%s",
		 helper_kind_words[backend->config->kind]);
	if (!ipc_pair(pair, err))
		return false;

	AUTO_FD int keyd_end = pair[0];
	AUTO_FD int helper_end = pair[1];

	/* Keyd's filter leaves it no way to do so itself. */
	if (fcntl(keyd_end, F_SETFL, O_NONBLOCK))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a link");
	backend->cause = ERROR_INIT;
	backend->child = children_spawn_with(engine, "sealift-keyhelper", modes,
					     engine->config.keyhelper_user, &helper_end, 1,
					     engine_helper_rules, &events, backend, err);
	if (!backend->child || !send_configuration(backend, err) || !send_parts(backend, err) ||
	    !child_send(backend->child, ROLE_START, 0, NULL, NULL, NULL, 0, err))
		return false;
	set_timer(backend, START_S);
	*ret_keyd_end = TAKE_FD(keyd_end);
	return true;
}

static void start_item(KeyBackend *backend)
{
	Error err = ERROR_INIT;

	if (!start(backend, &backend->keyd_end, &err))
		lose(backend, &err);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	KeyBackend *backend = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	if (!backend->child && backend != &backend->all->root) {
		start_item(backend);
		return;
	}
	error_set(&err, ERROR_TIMEOUT, "it did not start within %d s", START_S);
	if (!backend->cause.category)
		backend->cause = err;
	on_gone(backend, backend->child, &err);
}

/* --- with keyd --- */

static bool prepare(KeyBackends *all, KeyBackend *backend, const ConfigHelper *config, Error *err)
{
	*backend = (KeyBackend){
		.all = all, .config = config, .keyd_end = -1, .pause_s = RESTART_FIRST_S
	};
	backend->timer = evtimer_new(all->engine->base, on_timer, backend);
	return backend->timer || error_set(err, ERROR_INTERNAL, "no memory for a timer");
}

KeyBackends *key_backends_new(Engine *engine, Error *err)
{
	const ConfigKeys *config = &engine->config.keys;
	KeyBackends *all = calloc(1, sizeof(*all));
	bool ok;

	if (!all) {
		error_set(err, ERROR_INTERNAL, "no memory for the key back-ends");
		return NULL;
	}
	all->engine = engine;
	ok = prepare(all, &all->root, config->root_is_helper ? &config->root_helper : NULL, err);
	for (; ok && all->count < config->backends_count; all->count++)
		ok = prepare(all, &all->items[all->count], &config->backends[all->count], err);
	if (ok)
		return all;
	key_backends_free(all);
	return NULL;
}

static void clear(KeyBackend *backend)
{
	drop(backend);
	if (backend->timer)
		event_free(TAKE_PTR(backend->timer));
}

void key_backends_free(KeyBackends *all)
{
	if (!all)
		return;
	clear(&all->root);
	for (size_t i = 0; i < all->count; i++)
		clear(&all->items[i]);
	free(all);
}

const char *key_backends_root_word(const KeyBackends *all)
{
	return all->root.config ? helper_kind_words[all->root.config->kind] : NULL;
}

bool key_backends_start_root(KeyBackends *all, int *ret_fd, Error *err)
{
	drop(&all->root);
	if (all->root.refused) {
		*err = all->root.cause;
		return false;
	}
	return start(&all->root, ret_fd, err) || error_prefix(err, "root key");
}

const Error *key_backends_root_cause(const KeyBackends *all)
{
	return all->root.cause.category ? &all->root.cause : NULL;
}

bool key_backends_is_refused(const KeyBackends *all)
{
	return all->root.refused;
}

void key_backends_on_keyd(KeyBackends *all, Child *keyd)
{
	all->keyd = keyd;
	for (size_t i = 0; i < all->count; i++) {
		KeyBackend *backend = &all->items[i];

		drop(backend);
		if (backend->refused) {
			Error cause = backend->cause;

			lose(backend, &cause);
			continue;
		}
		tell_keyd(backend, "its helper is starting", -1);
		start_item(backend);
	}
}

void key_backends_on_keyd_gone(KeyBackends *all)
{
	all->keyd = NULL;
	drop(&all->root);
	for (size_t i = 0; i < all->count; i++)
		drop(&all->items[i]);
}

/* Unless another has come since. */
void key_backends_on_lost(KeyBackends *all, const IpcMessage *message)
{
	const KeydHelper *lost = message->payload;
	Error how = ERROR_INIT;

	error_set(&how, ERROR_UNAVAILABLE, "%s", lost->why);
	for (size_t i = 0; i < all->count; i++) {
		KeyBackend *backend = &all->items[i];

		if (backend->number == message->subject && backend->child)
			lose(backend, &how);
	}
}
