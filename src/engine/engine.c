/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"
#include "crypto/aead.h"
#include "engine/disk_daemon.h"
#include "engine/keys.h"
#include "engine/vm_rekey.h"
#include "vmm/image_create.h"

enum { PING_SECONDS = 2, EXPIRY_SECONDS = 3600, MEASURE_MS = 20, MEASURE_BYTES = 256 * 1024 };

static const int handled_signals[] = { SIGTERM, SIGINT };

/* Bound here so that the gate, which parses strangers' bytes, needs no right to bind. */
static bool open_port(Engine *engine, Error *err)
{
	const Config *config = &engine->config;
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(config->listen_port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(config->listen_port) };
	bool is_v6 = inet_pton(AF_INET6, config->listen_address, &v6.sin6_addr) == 1;
	const int on = 1;
	int fd;

	if (!is_v6 && inet_pton(AF_INET, config->listen_address, &v4.sin_addr) != 1)
		return error_set(err, ERROR_CONFIG, "listen: \"%s\" is not a numeric IP address",
				 config->listen_address);
	fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "listen");
	engine->listen_fd = fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
		 is_v6 ? sizeof(v6) : sizeof(v4)) ||
	    listen(fd, 128))
		return error_set_errno(err, ERROR_IO, errno, "cannot listen on %s port %u",
				       config->listen_address, config->listen_port);
	return true;
}

static bool read_into(const char *path, uint8_t *bytes, size_t max, size_t *ret_size, Error *err)
{
	AUTO_BUFFER Buffer file = BUFFER_INIT(max);

	if (!file_read(path, max, &file, err))
		return false;
	memcpy(bytes, file.data, file.used);
	*ret_size = file.used;
	return true;
}

/* Domains of the configuration file: taken into the store, a newer CRL that is there stays. */
static bool load_trust(Engine *engine, Error *err)
{
	for (size_t i = 0; i < engine->config.trust_count; i++) {
		const ConfigTrust *trust = &engine->config.trust[i];
		AUTO_FREE DomainRecord *domain = calloc(1, sizeof(*domain));
		Error ignored = ERROR_INIT;

		if (!domain)
			return error_set(err, ERROR_INTERNAL, "no memory for a domain");
		if (!store_get(engine->store, STORE_DOMAINS, trust->domain, domain, &ignored))
			memset(domain, 0, sizeof(*domain));
		snprintf(domain->domain, sizeof(domain->domain), "%s", trust->domain);
		if (!read_into(trust->root, domain->root, sizeof(domain->root), &domain->root_size, err))
			return false;
		if (trust->crl[0] && !domain->crl_size &&
		    !read_into(trust->crl, domain->crl, sizeof(domain->crl), &domain->crl_size, err))
			return false;
		if (!store_put(engine->store, STORE_DOMAINS, domain->domain, domain, err))
			return false;
	}
	return true;
}

static bool choose_aead(Engine *engine, Error *err)
{
	MigrationPolicy *policy = &engine->config.policy;
	const AeadProvider *provider;
	double rate = 0;

	if (!engine->config.aead_measured) {
		return aead_provider_by_name(policy->aead) ||
		       error_set(err, ERROR_CONFIG, "aead \"%s\" is not to be had here", policy->aead);
	}
	provider = aead_choose_fastest(MEASURE_BYTES, MEASURE_MS, &rate, err);
	if (!provider)
		return false;
	snprintf(policy->aead, sizeof(policy->aead), "%s", provider->name);
	log_info(engine->log, "aead provider=%s measured_mb_s=%.0f", provider->name, rate / 1e6);
	return true;
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
	Engine *engine = context;

	(void)what;
	log_info(engine->log, "signal %d: stops; VMs go on", (int)number);
	engine->stopping = true;
	event_base_loopbreak(engine->base);
}

static void on_ping(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	connections_ping(context);
}

static void on_expiry(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	children_warn_of_expiry(context);
}

static bool add_events(Engine *engine, Error *err)
{
	const struct timeval interval = { .tv_sec = PING_SECONDS }, hourly = { .tv_sec = EXPIRY_SECONDS };

	for (size_t i = 0; i < ARRAY_SIZE(handled_signals); i++) {
		engine->signals[i] = evsignal_new(engine->base, handled_signals[i], on_signal, engine);
		if (!engine->signals[i] || event_add(engine->signals[i], NULL))
			return error_set(err, ERROR_INTERNAL, "no memory for signals");
	}
	engine->ping = event_new(engine->base, -1, EV_PERSIST, on_ping, engine);
	engine->expiry = event_new(engine->base, -1, EV_PERSIST, on_expiry, engine);
	return (engine->ping && !event_add(engine->ping, &interval) && engine->expiry &&
		!event_add(engine->expiry, &hourly)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for timers");
}

static bool open_state(Engine *engine, Error *err)
{
	char path[LIMIT_PATH + 16];
	const Config *config = &engine->config;

	if (!file_make_directories(config->state_directory, 0700, err) ||
	    !file_make_directories(config->run_directory, 0755, err) ||
	    !file_make_directories(config->resources.run_directory, 0755, err))
		return false;
	snprintf(path, sizeof(path), "%s/sealift.db", config->state_directory);
	engine->store = store_open(path, err);
	if (!engine->store)
		return false;
	/* Behind the store, which is one process's. */
	snprintf(path, sizeof(path), "%s/pool-mark", config->state_directory);
	return image_create_read_mark(path, engine->config.resources.mark, err);
}

static void warn_of_weakness(Engine *engine)
{
	const Config *config = &engine->config;

	if (geteuid())
		log_warning(engine->log, "not root: roles and QEMU run as one user, without networks of bridges");
	else if (!config->gate_user[0] || !config->notary_user[0] || !config->mover_user[0] ||
		 !config->resources.user.set || (config->keys.wanted && !config->keyd_user[0]))
		log_warning(engine->log, "users.* are not all configured: some roles keep root's user id");
	if (config->policy.allow_disabled)
		log_warning(engine->log, "mode disabled is allowed: such migrations can be read on the wire");
	if (config->policy.forbid_encryption)
		log_warning(engine->log, "encryption is forbidden by this configuration");
	if (config->policy.guard == MOVER_GUARD_WARN)
		log_warning(engine->log, "the guard only warns: streams that break its rules reach QEMU");
}

Engine *engine_new(const char *config_path, Log *log, Error *err)
{
	AUTO_ENGINE Engine *engine = calloc(1, sizeof(*engine));
	Error ignored = ERROR_INIT;

	if (!engine) {
		error_set(err, ERROR_INTERNAL, "no memory for the engine");
		return NULL;
	}
	engine->log = log;
	engine->listen_fd = -1;
	LIST_INIT(&engine->vms);
	LIST_INIT(&engine->jobs);
	LIST_INIT(&engine->connections);
	LIST_INIT(&engine->requests);
	LIST_INIT(&engine->clients);
	LIST_INIT(&engine->creations);
	LIST_INIT(&engine->daemons);
	engine->base = event_base_new();
	if (!engine->base) {
		error_set(err, ERROR_INTERNAL, "no memory for the event loop");
		return NULL;
	}
	if (!config_load(config_path, &engine->config, err))
		return NULL;
	log->level = engine->config.log_level;
	warn_of_weakness(engine);
	if (!open_state(engine, err) || !load_trust(engine, err) || !choose_aead(engine, err) ||
	    !open_port(engine, err) || !add_events(engine, err))
		return NULL;
	ports_init(engine);
	image_create_sweep(&engine->config.resources, clock_wall_s(&clock_system));
	if (!boot_files_scan(engine->config.resources.boot_files, &ignored))
		log_debug(log, "boot files: %s", ignored.text);
	if (!recovery_load_vms(engine, err) || !children_start(engine, err) || !keys_start(engine, err) ||
	    !api_start(engine, err))
		return NULL;
	return TAKE_PTR(engine);
}

void engine_on_children_ready(Engine *engine)
{
	Error err = ERROR_INIT;

	if (!engine->host_id[0])
		return;
	log_info(engine->log, "serves host=%s port=%u", engine->host_id, engine->config.listen_port);
	if (engine->recovered)
		return;
	children_warn_of_expiry(engine);
	if (!recovery_run(engine, &err))
		log_error(engine->log, "recovery: %s", err.text);
	engine->recovered = true;
}

bool engine_run(Engine *engine, Error *err)
{
	return event_base_dispatch(engine->base) >= 0 ||
	       error_set(err, ERROR_INTERNAL, "the event loop failed");
}

void engine_free(Engine *engine)
{
	if (!engine)
		return;
	engine->stopping = true;
	if (engine->base) {
		/* Before the clients go: who waits for a key is told. */
		vm_rekey_stop(engine);
		keys_stop(engine);
		vm_create_stop(engine);
		api_stop(engine);
		children_stop(engine);
	}
	/* Migrations are left as the journal has them: recovery takes them up. */
	while (!LIST_EMPTY(&engine->jobs))
		job_free(LIST_FIRST(&engine->jobs));
	disk_daemons_free(engine);
	while (!LIST_EMPTY(&engine->connections)) {
		Connection *connection = LIST_FIRST(&engine->connections);

		LIST_REMOVE(connection, link);
		free(connection);
	}
	while (!LIST_EMPTY(&engine->vms))
		vm_forget(LIST_FIRST(&engine->vms));
	for (size_t i = 0; i < ARRAY_SIZE(engine->signals); i++)
		if (engine->signals[i])
			event_free(engine->signals[i]);
	if (engine->ping)
		event_free(engine->ping);
	if (engine->expiry)
		event_free(engine->expiry);
	store_close(engine->store);
	cleanup_fd(&engine->listen_fd);
	config_release(&engine->config);
	if (engine->base)
		event_base_free(engine->base);
	free(engine);
}
