/* SPDX-License-Identifier: Apache-2.0 */
/* main() of sealift-keyhelper, started by sealiftd only; see keyhelper.h. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "crypto/prepare.h"
#include "keys/wiping_memory.h"
#include "programs/keyhelper/files.h"
#include "programs/keyhelper/keyhelper.h"
#include "programs/keyhelper/policy.h"

typedef struct Options {
	bool given;
	HelperKind kind;
	SandboxUser user;
} Options;

static HelperOpener *const openers[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = helper_open_kmip,		[HELPER_KIND_PKCS11] = helper_open_pkcs11,
	[HELPER_KIND_PKCS11_ROOT] = helper_open_pkcs11, [HELPER_KIND_TPM2] = helper_open_tpm2,
	[HELPER_KIND_BARBICAN] = helper_open_barbican,
};

static bool parse_kind(const char *word, Options *options)
{
	for (size_t i = 0; i < HELPER_KIND_COUNT && !options->given; i++) {
		options->given = !strcmp(word, helper_kind_words[i]);
		options->kind = (HelperKind)i;
	}
	return options->given;
}

static bool parse_options(int argc, char **argv, Options *ret_options, Error *err)
{
	static const struct option known[] = {
		{ "provider", required_argument, NULL, 'p' },
		{ "user", required_argument, NULL, 'u' },
		{ 0 },
	};
	Options options = { 0 };
	bool good = true;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		if (option == 'u' && !sandbox_user_parse(optarg, &options.user, err))
			return false;
		if (option != 'u')
			good = good && option == 'p' && !options.given &&
			       parse_kind(optarg, &options);
	}
	if (!good || !options.given || optind < argc)
		return error_set(err, ERROR_USAGE,
				 "usage: sealift-keyhelper --provider "
				 "kmip|barbican|pkcs11|pkcs11-root|tpm2 [--user UID:GID]");
	*ret_options = options;
	return true;
}

/* Until it serves it waits for the engine alone; then for both, so neither may block it. */
static bool set_blocking(int fd, bool blocks, Error *err)
{
	int flags = fcntl(fd, F_GETFL);
	int wanted = blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;

	return (flags >= 0 && !fcntl(fd, F_SETFL, wanted)) ||
	       error_set(err, ERROR_USAGE, "descriptor %d is not a link", fd);
}

static bool receive(Helper *helper, IpcMessage *ret_message, Error *err)
{
	switch (ipc_receive(helper->engine, ret_message, err)) {
	case IPC_MESSAGE:
		return true;
	case IPC_BROKEN:
		return false;
	case IPC_NOTHING:
	case IPC_CLOSED:
	default:
		return error_set(err, ERROR_UNAVAILABLE, "the engine closed before the start");
	}
}

static bool receive_configuration(Helper *helper, Error *err)
{
	HelperSetup *setup = &helper->setup;
	IpcMessage message;

	if (!receive(helper, &message, err))
		return false;
	if (message.type == HELPER_KMIP)
		setup->kmip = *(const HelperKmip *)message.payload;
	else if (message.type == HELPER_PKCS11)
		setup->pkcs11 = *(const HelperPkcs11 *)message.payload;
	else if (message.type == HELPER_BARBICAN)
		setup->barbican = *(const HelperBarbican *)message.payload;
	else
		setup->tpm2 = *(const HelperTpm2 *)message.payload;
	ipc_message_clear(&message, helper->engine);
	return true;
}

#define PART(name) (1U << HELPER_PART_##name)

/* Which parts each kind takes. */
static const unsigned int parts[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = PART(CA) | PART(CRL) | PART(CERTIFICATE) | PART(KEY) | PART(PASSWORD),
	[HELPER_KIND_PKCS11] = PART(PASSWORD),
	[HELPER_KIND_PKCS11_ROOT] = PART(PASSWORD),
	[HELPER_KIND_TPM2] = PART(BLOB) | PART(DEVICE),
	[HELPER_KIND_BARBICAN] = PART(CA) | PART(CRL) | PART(PASSWORD),
};

/* Descriptors, until ROLE_START. */
static bool receive_files(Helper *helper, Error *err)
{
	HelperSetup *setup = &helper->setup;
	IpcMessage message;

	for (;;) {
		if (!receive(helper, &message, err))
			return false;
		if (message.type == ROLE_START)
			return true;

		HelperPart part = ((const HelperFile *)message.payload)->part;
		bool good = setup->files[part] < 0 && (parts[setup->kind] & 1U << part);

		if (good)
			setup->files[part] = TAKE_FD(message.fds[0]);
		ipc_message_clear(&message, helper->engine);
		if (!good)
			return error_set(err, ERROR_PEER, "%s came twice, or is not for %s",
					 helper_part_words[part], helper_kind_words[setup->kind]);
	}
}

/* The configuration decides what the sandbox must leave open; credentials come after it closed. */
static bool enter(Helper *helper, const Options *options, SandboxReport *report, Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, ROLE_EXTRA_FD };
	SandboxPolicy policy = *keyhelper_policies[options->kind];
	char missing[SANDBOX_TEXT_SIZE];
	bool ok = false;

	if (!helper_limit_ports(&helper->setup, policy.connect_ports, err))
		return false;
	if (options->kind == HELPER_KIND_PKCS11 || options->kind == HELPER_KIND_PKCS11_ROOT)
		ok = helper_enter_with_files(&policy, &options->user, keep, ARRAY_SIZE(keep),
					     &helper->setup.pkcs11, report, err);
	else
		ok = sandbox_enter(&policy, &options->user, keep, ARRAY_SIZE(keep), report, err);
	if (!ok)
		return false;
	sandbox_report_missing(report, missing);
	if (missing[0])
		log_warning(helper->log, "sandbox without %s", missing);
	return true;
}

static bool start(Helper *helper, const Options *options, Error *err)
{
	SandboxReport report;

	if (!set_blocking(ROLE_LINK_FD, true, err) || !set_blocking(ROLE_EXTRA_FD, false, err) ||
	    !crypto_prepare(err))
		return false;
	helper->engine = ipc_link_new(ROLE_LINK_FD, helper_rules[options->kind], err);
	if (!helper->engine)
		return false;
	helper->keyd = ipc_link_new(ROLE_EXTRA_FD, helper_request_rules[options->kind], err);
	return helper->keyd && receive_configuration(helper, err) &&
	       enter(helper, options, &report, err) && receive_files(helper, err) &&
	       helper_read_files(&helper->setup, err) && openers[options->kind](helper, err) &&
	       sandbox_filter(keyhelper_policies[options->kind], false, &report, err);
}

/* What the provider copied is not needed twice. */
static void drop_credentials(HelperSetup *setup)
{
	for (size_t i = 0; i < HELPER_PART_COUNT; i++)
		buffer_clear(&setup->contents[i]);
	secret_free(TAKE_PTR(setup->password));
}

/* The engine learns why before it sees the end. */
static bool run(Helper *helper, const Options *options, Error *err)
{
	Error failure, ignored;

	if (start(helper, options, err)) {
		drop_credentials(&helper->setup);
		return ipc_send(helper->engine, ROLE_READY, 0, NULL, NULL, NULL, 0, err) &&
		       helper_serve(helper, err);
	}
	failure = *err;
	if (helper->engine)
		(void)!role_send_failure(helper->engine, 0, &failure, &ignored);
	return false;
}

static void teardown(Helper *helper)
{
	drop_credentials(&helper->setup);
	for (size_t i = 0; i < HELPER_PART_COUNT; i++)
		cleanup_fd(&helper->setup.files[i]);
	key_provider_free(helper->provider);
	root_key_free(helper->root);
	secret_free(helper->unsealed);
	ipc_link_free(helper->engine);
	ipc_link_free(helper->keyd);
	free(helper);
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-keyhelper",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Error err = ERROR_INIT;
	Options options;
	Helper *helper;
	bool ok;

	/* OpenSSL and chips write to what may be gone. */
	signal(SIGPIPE, SIG_IGN);
	if (!parse_options(argc, argv, &options, &err) ||
	    (options.kind == HELPER_KIND_BARBICAN && !wiping_memory_install(&err))) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	helper = calloc(1, sizeof(*helper));
	if (!helper)
		return error_exit_status(ERROR_INTERNAL);
	helper->log = &log;
	helper->setup.kind = options.kind;
	for (size_t i = 0; i < HELPER_PART_COUNT; i++)
		helper->setup.files[i] = -1;
	ok = run(helper, &options, &err);
	if (!ok)
		log_error(&log, "%s: %s", helper_kind_words[options.kind], err.text);
	teardown(helper);
	return ok ? 0 : error_exit_status(err.category);
}
