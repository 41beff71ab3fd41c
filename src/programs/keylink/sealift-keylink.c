/* SPDX-License-Identifier: Apache-2.0 */
/* main() of sealift-keylink, started by sealiftd only; see keylink.h. */
#include <assert.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "crypto/prepare.h"
#include "programs/keylink/keylink.h"
#include "programs/keylink/policy.h"

typedef struct Options {
	SandboxUser user;
	uint16_t connect_port; /* 0: serve */
	bool serve;
} Options;

static bool parse_port(const char *text, uint16_t *ret_port)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || !value || value > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)value;
	return true;
}

static bool parse_options(int argc, char **argv, Options *options, Error *err)
{
	static const struct option known[] = {
		{ "user", required_argument, NULL, 'u' },
		{ &KEYLINK_CONNECT_OPTION[2], required_argument, NULL, 'c' },
		{ &KEYLINK_SERVE_OPTION[2], no_argument, NULL, 's' },
		{ 0 },
	};
	bool wrong = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		wrong = wrong || !strchr("ucs", option) ||
			(option == 'c' && !parse_port(optarg, &options->connect_port));
		options->serve = options->serve || option == 's';
		if (option == 'u' && !sandbox_user_parse(optarg, &options->user, err))
			return false;
	}
	return (!wrong && optind == argc && !options->connect_port == options->serve) ||
	       error_set(err, ERROR_USAGE,
			 "usage: sealift-keylink --connect=PORT|--serve [--user UID:GID]");
}

bool keylink_is_trust(uint16_t type)
{
	return type == ROLE_ANCHOR || type == ROLE_CRL || type == ROLE_FORGET;
}

static bool take(Keylink *keylink, const IpcMessage *message, Error *err)
{
	AnchorStore *anchors = keylink->trust.anchors;
	const RoleAnchor *anchor = message->payload;
	const RoleCrl *crl = message->payload;

	switch (message->type) {
	case ROLE_ANCHOR:
		return anchor_store_add_root(anchors, anchor->domain, anchor->root,
					     anchor->root_size, err);
	case ROLE_CRL:
		return anchor_store_set_crl(anchors, crl->domain, crl->crl, crl->crl_size,
					    clock_wall_s(keylink->clock), err) ||
		       error_prefix(err, "CRL of %s", crl->domain);
	default:
		(void)anchor_store_remove(anchors, keylink->trust.own.domain);
		return true;
	}
}

/* Each of the three begins with its domain. */
static_assert(!offsetof(RoleAnchor, domain) && !offsetof(RoleCrl, domain) &&
		      !offsetof(RoleForget, domain),
	      "the domain comes first");

bool keylink_take_trust(Keylink *keylink, const IpcMessage *message, Error *err)
{
	Error failure = ERROR_INIT;

	/* Nobody of another domain comes in here, nor do we go there. */
	if (strcmp(message->payload, keylink->trust.own.domain) != 0)
		return true;
	keylink->judge_us = clock_monotonic_us(keylink->clock) + JUDGE_US;
	return take(keylink, message, &failure) ||
	       role_send_failure(keylink->link, message->subject, &failure, err);
}

bool keylink_is_judging(Keylink *keylink)
{
	if (!keylink->judge_us || clock_monotonic_us(keylink->clock) < keylink->judge_us)
		return false;
	keylink->judge_us = 0;
	return true;
}

static bool load_identity(Keylink *keylink, Error *err)
{
	AUTO_BUFFER Buffer chain = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);
	bool ok = (file_read_fd(KEYLINK_CHAIN_FD, LIMIT_PEM, &chain, err) ||
		   error_prefix(err, "certificate")) &&
		  (file_read_fd(KEYLINK_KEY_FD, LIMIT_PEM, &key, err) ||
		   error_prefix(err, "private key"));

	close(KEYLINK_CHAIN_FD);
	close(KEYLINK_KEY_FD);
	return ok && trust_load(&keylink->trust, keylink->serve, &chain, &key, err);
}

static bool enter_sandbox(const SandboxPolicy *policy, const Options *options, const Log *log,
			  SandboxReport *ret_report, Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, KEYLINK_CHAIN_FD, KEYLINK_KEY_FD,
				    KEYLINK_LISTEN_FD };
	char missing[SANDBOX_TEXT_SIZE];

	/* A write to a closed socket is an error to handle, not a signal; OpenSSL uses plain write.
	 */
	signal(SIGPIPE, SIG_IGN);
	if (!crypto_prepare(err) ||
	    !sandbox_enter(policy, &options->user, keep, options->serve ? 4 : 3, ret_report, err))
		return false;
	sandbox_report_missing(ret_report, missing);
	if (missing[0])
		log_warning(log, "sandbox without %s", missing);
	return true;
}

static bool setup(Keylink *keylink, const Options *options, Error *err)
{
	SandboxPolicy policy = options->serve ? keylink_serve_policy : keylink_connect_policy;
	const IpcRule *from_engine = options->serve ? keylink_serve_rules : keylink_connect_rules;
	const IpcRule *from_network = options->serve ? keylink_host_rules : keylink_manager_rules;
	int flags = fcntl(ROLE_LINK_FD, F_GETFL);
	SandboxReport report;

	policy.connect_ports[0] = options->connect_port;
	if (flags < 0 || fcntl(ROLE_LINK_FD, F_SETFL, flags & ~O_NONBLOCK))
		return error_set(err, ERROR_USAGE, "descriptor %d is not the engine's link",
				 ROLE_LINK_FD);
	if (!enter_sandbox(&policy, options, keylink->log, &report, err))
		return false;
	keylink->trust.anchors = anchor_store_new(err);
	if (!keylink->trust.anchors || !load_identity(keylink, err))
		return false;
	keylink->payload = calloc(1, frame_payload_size(from_network));
	if (!keylink->payload)
		return error_set(err, ERROR_INTERNAL, "no memory for messages");
	keylink->link = ipc_link_new(ROLE_LINK_FD, from_engine, err);
	return keylink->link && sandbox_filter(&policy, false, &report, err);
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-keylink",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Keylink keylink = { .clock = &clock_system, .log = &log };
	Options options = { 0 };
	Error err = ERROR_INIT;
	bool ok;

	if (!parse_options(argc, argv, &options, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	keylink.serve = options.serve;
	keylink.trust.clock = keylink.clock;
	ok = setup(&keylink, &options, &err) &&
	     (options.serve ? keylink_serve(&keylink, &err) : keylink_connect(&keylink, &err));
	if (!ok)
		log_error(&log, "%s", err.text);
	ipc_link_free(keylink.link);
	trust_clear(&keylink.trust);
	free(keylink.payload);
	return ok ? 0 : error_exit_status(err.category);
}
