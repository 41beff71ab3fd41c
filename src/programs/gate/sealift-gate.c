/* SPDX-License-Identifier: Apache-2.0 */
/* main() of sealift-gate, started by sealiftd only; see gate.h. */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <jansson.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "crypto/prepare.h"
#include "programs/gate/connection.h"
#include "programs/gate/engine.h"
#include "programs/gate/inbound.h"
#include "programs/gate/policy.h"
#include "programs/gate/refusal.h"
#include "programs/gate/tls.h"
#include "wire/json.h"

/* Descriptors as the engine passes them. */
enum { LISTEN_FD = ROLE_EXTRA_FD, CHAIN_FD, KEY_FD };

typedef struct Options {
	SandboxUser user;
	bool listen;
	unsigned int handshake_ms;
} Options;

static bool parse_ms(const char *text, unsigned int *ret_ms, Error *err)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < 50 || value > 60000)
		return error_set(err, ERROR_USAGE, "--handshake-ms %.20s: expected 50 to 60000",
				 text);
	*ret_ms = (unsigned int)value;
	return true;
}

static bool parse_options(int argc, char **argv, Options *ret_options, Error *err)
{
	static const struct option known[] = {
		{ "user", required_argument, NULL, 'u' },
		{ "no-listen", no_argument, NULL, 'n' },
		{ "handshake-ms", required_argument, NULL, 'h' },
		{ 0 },
	};
	Options options = { .listen = true, .handshake_ms = LIMIT_HANDSHAKE_MS };
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (option == 'n')
			options.listen = false;
		else if (option == 'u' && !sandbox_user_parse(optarg, &options.user, err))
			return false;
		else if (option == 'h' && !parse_ms(optarg, &options.handshake_ms, err))
			return false;
		else if (option == '?')
			return error_set(
				err, ERROR_USAGE,
				"usage: sealift-gate [--user UID:GID] [--no-listen] [--handshake-ms N]");
	}
	if (optind < argc)
		return error_set(err, ERROR_USAGE, "unexpected argument %.40s", argv[optind]);
	*ret_options = options;
	return true;
}

static bool load_identity(Gate *gate, Error *err)
{
	AUTO_BUFFER Buffer chain = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);
	bool ok = (file_read_fd(CHAIN_FD, LIMIT_PEM, &chain, err) ||
		   error_prefix(err, "certificate")) &&
		  (file_read_fd(KEY_FD, LIMIT_PEM, &key, err) || error_prefix(err, "private key"));

	close(CHAIN_FD);
	close(KEY_FD);
	return ok && tls_setup(gate, &chain, &key, err);
}

static bool enter_sandbox(const Options *options, SandboxReport *ret_report, const Log *log,
			  Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, CHAIN_FD, KEY_FD, LISTEN_FD };
	char missing[SANDBOX_TEXT_SIZE];

	/* A write to a closed socket is an error to handle, not a signal; OpenSSL uses plain write.
	 */
	signal(SIGPIPE, SIG_IGN);
	/* Without this it would open /dev/urandom with the first object. */
	json_object_seed(0);
	if (!crypto_prepare(err) || !sandbox_enter(&gate_policy, &options->user, keep,
						   options->listen ? 4 : 3, ret_report, err))
		return false;
	sandbox_report_missing(ret_report, missing);
	if (missing[0])
		log_warning(log, "sandbox without %s", missing);
	return true;
}

static bool setup(Gate *gate, Error *err)
{
	struct event_config *config = event_config_new();

	/* Environment variables may not choose; poll or select could not be in the filter's list.
	 */
	if (config && !event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) &&
	    !event_config_require_features(config, EV_FEATURE_O1))
		gate->base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	if (!gate->base)
		return error_set(err, ERROR_INTERNAL, "no event loop");
	gate->anchors = anchor_store_new(err);
	return gate->anchors && refusal_setup(gate, err) && engine_setup(gate, err) &&
	       load_identity(gate, err);
}

static void teardown(Gate *gate)
{
	while (!LIST_EMPTY(&gate->connections))
		connection_free(LIST_FIRST(&gate->connections));
	inbound_teardown(gate);
	engine_teardown(gate);
	refusal_teardown(gate);
	anchor_store_free(gate->anchors);
	SSL_CTX_free(gate->server);
	SSL_CTX_free(gate->client);
	if (gate->base)
		event_base_free(gate->base);
	explicit_bzero(gate, sizeof(*gate));
	free(gate);
}

static bool run(Gate *gate, const Options *options, Error *err)
{
	SandboxReport report;

	if (!enter_sandbox(options, &report, gate->log, err) || !setup(gate, err) ||
	    !sandbox_filter(&gate_policy, false, &report, err))
		return false;
	if (event_base_dispatch(gate->base) < 0)
		return error_set(err, ERROR_INTERNAL, "the event loop failed");
	*err = gate->fatal;
	return err->category == ERROR_NONE;
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-gate",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Error err = ERROR_INIT;
	Options options;
	Gate *gate;

	json_end_without_memory();
	if (!parse_options(argc, argv, &options, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	gate = calloc(1, sizeof(*gate));
	if (!gate)
		return error_exit_status(ERROR_INTERNAL);
	gate->log = &log;
	gate->clock = &clock_system;
	gate->listen_fd = options.listen ? LISTEN_FD : -1;
	gate->handshake_ms = options.handshake_ms;
	LIST_INIT(&gate->connections);
	if (!run(gate, &options, &err))
		log_error(&log, "%s", err.text);
	teardown(gate);
	return error_exit_status(err.category);
}
