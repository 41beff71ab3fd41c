/* SPDX-License-Identifier: Apache-2.0 */
/* main() of sealift-notary, started by sealiftd only; see notary.h. */
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/prepare.h"
#include "programs/notary/notary.h"
#include "programs/notary/policy.h"
#include "wire/json.h"

/* Descriptors as the engine passes them to a signer. */
enum { CHAIN_FD = ROLE_EXTRA_FD, KEY_FD };

typedef enum NotaryRole { NOTARY_ROLE_NONE, NOTARY_ROLE_VERIFY, NOTARY_ROLE_SIGN } NotaryRole;

typedef struct Options {
	NotaryRole role;
	SandboxUser user;
} Options;

typedef struct RequestRow {
	uint16_t type; /* 0 ends the table */
	NotaryHandler *handler;
} RequestRow;

static const RequestRow verify_requests[] = {
	{ ROLE_ANCHOR, notary_on_anchor },
	{ ROLE_CRL, notary_on_crl },
	{ ROLE_FORGET, notary_on_forget },
	{ ROLE_START, notary_on_start_verify },
	{ NOTARY_VERIFY, notary_on_verify },
	{ NOTARY_CHECK_CRL, notary_on_check_crl },
	{ 0 },
};

static const RequestRow sign_requests[] = {
	{ ROLE_START, notary_on_start_sign },
	{ NOTARY_SIGN, notary_on_sign },
	{ 0 },
};

static bool parse_options(int argc, char **argv, Options *ret_options, Error *err)
{
	static const struct option known[] = {
		{ "verify", no_argument, NULL, 'v' },
		{ "sign", no_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ 0 },
	};
	Options options = { .role = NOTARY_ROLE_NONE };
	bool twice = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (option == 'u' && !sandbox_user_parse(optarg, &options.user, err))
			return false;
		if (option == 'u')
			continue;
		twice = twice || option == '?' || options.role != NOTARY_ROLE_NONE;
		options.role = option == 's' ? NOTARY_ROLE_SIGN : NOTARY_ROLE_VERIFY;
	}
	if (twice || options.role == NOTARY_ROLE_NONE || optind < argc)
		return error_set(err, ERROR_USAGE,
				 "usage: sealift-notary --verify|--sign [--user UID:GID]");
	*ret_options = options;
	return true;
}

static bool load_signer(Notary *notary, Error *err)
{
	AUTO_BUFFER Buffer chain = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);
	bool ok = (file_read_fd(CHAIN_FD, LIMIT_PEM, &chain, err) ||
		   error_prefix(err, "certificate")) &&
		  (file_read_fd(KEY_FD, LIMIT_PEM, &key, err) || error_prefix(err, "private key"));

	close(CHAIN_FD);
	close(KEY_FD);
	if (ok)
		notary->signer = cms_signer_load(chain.data, chain.used, key.data, key.used, err);
	if (!notary->signer)
		return false;
	return cms_signer_id(notary->signer)->role == SPIFFE_HOST ||
	       error_set(err, ERROR_CONFIG, "the signing certificate is of %s, not of a host",
			 cms_signer_id(notary->signer)->text);
}

static bool setup(Notary *notary, const Options *options, const Log *log, Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, CHAIN_FD, KEY_FD };
	bool sign = options->role == NOTARY_ROLE_SIGN;
	char missing[SANDBOX_TEXT_SIZE];
	SandboxReport report;
	int flags = fcntl(ROLE_LINK_FD, F_GETFL);

	if (flags < 0 || fcntl(ROLE_LINK_FD, F_SETFL, flags & ~O_NONBLOCK))
		return error_set(err, ERROR_USAGE, "descriptor %d is not the engine's link",
				 ROLE_LINK_FD);
	/* Without this it would open /dev/urandom with the first object. */
	json_object_seed(0);
	if (!crypto_prepare(err) ||
	    !sandbox_enter(&notary_policy, &options->user, keep, sign ? 3 : 1, &report, err))
		return false;
	sandbox_report_missing(&report, missing);
	if (missing[0])
		log_warning(log, "sandbox without %s", missing);
	notary->anchors = sign ? NULL : anchor_store_new(err);
	if (!(sign ? load_signer(notary, err) : notary->anchors != NULL))
		return false;
	notary->link =
		ipc_link_new(ROLE_LINK_FD, sign ? notary_sign_rules : notary_verify_rules, err);
	return notary->link && sandbox_filter(&notary_policy, false, &report, err);
}

static NotaryHandler *handler_of(const RequestRow *rows, uint16_t type)
{
	while (rows->type != type)
		rows++;
	return rows->handler;
}

/* Answers requests until the engine closes the link (true) or breaks it. */
static bool serve(Notary *notary, const RequestRow *rows, Error *err)
{
	for (;;) {
		IpcMessage message;
		bool link_ok = true;
		IpcReceived got = ipc_receive(notary->link, &message, err);

		if (got == IPC_CLOSED)
			return true;
		if (got == IPC_BROKEN)
			return false;
		if (got != IPC_MESSAGE)
			continue;
		*err = ERROR_INIT;
		if (!handler_of(rows, message.type)(notary, &message, &link_ok, err) && link_ok) {
			Error failure = *err;

			link_ok = role_send_failure(notary->link, message.subject, &failure, err);
		}
		ipc_message_clear(&message, notary->link);
		if (!link_ok)
			return false;
	}
}

static void teardown(Notary *notary)
{
	ipc_link_free(notary->link);
	anchor_store_free(notary->anchors);
	cms_signer_free(notary->signer);
	free(notary);
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-notary",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Error err = ERROR_INIT;
	Options options;
	Notary *notary;
	bool ok;

	json_end_without_memory();
	if (!parse_options(argc, argv, &options, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	notary = calloc(1, sizeof(*notary));
	if (!notary)
		return error_exit_status(ERROR_INTERNAL);
	notary->clock = &clock_system;
	ok = setup(notary, &options, &log, &err) &&
	     serve(notary, options.role == NOTARY_ROLE_SIGN ? sign_requests : verify_requests,
		   &err);
	if (!ok)
		log_error(&log, "%s", err.text);
	teardown(notary);
	return ok ? 0 : error_exit_status(err.category);
}
