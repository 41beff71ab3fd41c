/* SPDX-License-Identifier: Apache-2.0 */
/* main() of sealift-keyd, started by sealiftd only; see keyd.h. */
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "crypto/prepare.h"
#include "programs/keyd/keyd.h"
#include "programs/keyd/policy.h"
#include "wire/json.h"

typedef struct Options {
	SandboxUser user;
	bool certificates;
	bool helper_root; /* the root key is a helper's, of this kind */
	HelperKind root;
} Options;

static bool parse_root(const char *word, Options *options)
{
	options->root = !strcmp(word, helper_kind_words[HELPER_KIND_TPM2])
				? HELPER_KIND_TPM2
				: HELPER_KIND_PKCS11_ROOT;
	options->helper_root = !strcmp(word, helper_kind_words[options->root]);
	return options->helper_root;
}

static bool parse_options(int argc, char **argv, Options *options, Error *err)
{
	static const struct option known[] = {
		{ "user", required_argument, NULL, 'u' },
		{ &KEYD_CERTIFICATES_OPTION[2], no_argument, NULL, 'c' },
		{ &KEYD_ROOT_OPTION[2], required_argument, NULL, 'r' },
		{ 0 },
	};
	bool wrong = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		wrong = wrong || !strchr("ucr", option) ||
			(option == 'r' && !parse_root(optarg, options));
		options->certificates = options->certificates || option == 'c';
		if (option == 'u' && !sandbox_user_parse(optarg, &options->user, err))
			return false;
	}
	return (!wrong && optind == argc) ||
	       error_set(err, ERROR_USAGE,
			 "usage: sealift-keyd [--certificates] [--root=pkcs11-root|tpm2] "
			 "[--user UID:GID]");
}

static bool open_store(Keyd *keyd, const Options *options, Error *err)
{
	if (options->helper_root) {
		keyd->root = helper_root_open(options->root, KEYD_ROOT_FD, err);
	} else {
		keyd->root = root_key_read(KEYD_ROOT_FD, err);
		close(KEYD_ROOT_FD);
	}
	if (!keyd->root)
		return false;
	keyd->store = key_store_open(KEYD_STORE_NAME, keyd->root, err);
	return keyd->store;
}

static bool enter_sandbox(const Options *options, const Log *log, SandboxReport *report,
			  Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, KEYD_ROOT_FD, KEYD_STORE_FD, KEYD_CERTIFICATE_FD,
				    KEYD_KEY_FD, KEYD_AGREE_CERTIFICATE_FD, KEYD_AGREE_KEY_FD };
	size_t kept = options->certificates ? ARRAY_SIZE(keep) : 3;
	char missing[SANDBOX_TEXT_SIZE];

	if (!sandbox_enter(&keyd_policy, &options->user, keep, kept, report, err))
		return false;
	sandbox_report_missing(report, missing);
	if (missing[0])
		log_warning(log, "sandbox without %s", missing);
	return true;
}

/* The engine tells whoever asks for keys why there are none. Its start is read before: the end of a
 * socket with something unread in it would overtake what was sent. */
static void tell_why(Keyd *keyd, const Error *failure)
{
	Error ignored = ERROR_INIT;
	IpcMessage message = { 0 };

	/* It ends the loop, or the link does. */
	while (message.type != KEYD_START) {
		if (ipc_receive(keyd->link, &message, &ignored) != IPC_MESSAGE)
			return;
		ipc_message_clear(&message, keyd->link);
	}
	(void)!role_send_failure(keyd->link, message.subject, failure, &ignored);
}

/* Disks of VMs are opened without them: what is wrong with them stops the moving of keys alone. */
static void load_certificates(Keyd *keyd, const Options *options, const Log *log)
{
	error_set(&keyd->no_certificates, ERROR_UNAVAILABLE,
		  "this host's key manager has no certificates: keys.certificate is not set");
	if (!options->certificates || keyd_load_certificates(keyd, &keyd->no_certificates))
		return;
	log_warning(log, "keys cannot be moved: %s", keyd->no_certificates.text);
	cms_signer_free(TAKE_PTR(keyd->signer));
	envelope_key_free(TAKE_PTR(keyd->agree));
}

static bool setup(Keyd *keyd, const Options *options, const Log *log, Error *err)
{
	SandboxReport report;
	int flags = fcntl(ROLE_LINK_FD, F_GETFL);
	Error failure;

	if (flags < 0 || fcntl(ROLE_LINK_FD, F_SETFL, flags & ~O_NONBLOCK))
		return error_set(err, ERROR_USAGE, "descriptor %d is not the engine's link",
				 ROLE_LINK_FD);
	/* Without this it would open /dev/urandom with the first object. */
	json_object_seed(0);
	if (!crypto_prepare(err) || !enter_sandbox(options, log, &report, err))
		return false;
	load_certificates(keyd, options, log);
	keyd->anchors = anchor_store_new(err);
	keyd->link = keyd->anchors ? ipc_link_new(ROLE_LINK_FD, keyd_rules, err) : NULL;
	if (!keyd->link)
		return false;
	if (open_store(keyd, options, err) && sandbox_filter(&keyd_policy, false, &report, err))
		return true;
	failure = *err;
	tell_why(keyd, &failure);
	*err = failure;
	return false;
}

/* The store stays open to the end, which lets go of it: SQLite, when it closes a file, looks for
 * its name once more, and nothing here needs the right to do so. */
static void teardown(Keyd *keyd)
{
	opened_wipe_all(&keyd->opened);
	backends_clear(keyd);
	holders_clear(&keyd->holders);
	ipc_link_free(keyd->link);
	root_key_free(keyd->root);
	cms_signer_free(keyd->signer);
	envelope_key_free(keyd->agree);
	anchor_store_free(keyd->anchors);
	free(keyd);
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-keyd",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Options options = { 0 };
	Error err = ERROR_INIT;
	Keyd *keyd;
	bool ok;

	json_end_without_memory();
	if (!parse_options(argc, argv, &options, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	keyd = calloc(1, sizeof(*keyd));
	if (!keyd)
		return error_exit_status(ERROR_INTERNAL);
	keyd->clock = &clock_system;
	backends_init(keyd);
	ok = setup(keyd, &options, &log, &err) && keyd_serve(keyd, &err);
	if (!ok)
		log_error(&log, "%s", err.text);
	teardown(keyd);
	return ok ? 0 : error_exit_status(err.category);
}
