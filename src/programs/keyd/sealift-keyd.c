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

static bool parse_options(int argc, char **argv, SandboxUser *ret_user, Error *err)
{
	static const struct option known[] = {
		{ "user", required_argument, NULL, 'u' },
		{ 0 },
	};
	bool wrong = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		wrong = wrong || option != 'u';
		if (option == 'u' && !sandbox_user_parse(optarg, ret_user, err))
			return false;
	}
	return (!wrong && optind == argc) ||
	       error_set(err, ERROR_USAGE, "usage: sealift-keyd [--user UID:GID]");
}

static bool open_store(Keyd *keyd, Error *err)
{
	keyd->root = root_key_read(KEYD_ROOT_FD, err);
	close(KEYD_ROOT_FD);
	if (!keyd->root)
		return false;
	keyd->store = key_store_open(KEYD_STORE_NAME, keyd->root, err);
	return keyd->store;
}

static bool enter_sandbox(const SandboxUser *user, const Log *log, SandboxReport *report,
			  Error *err)
{
	static const int keep[] = { ROLE_LINK_FD, KEYD_ROOT_FD, KEYD_STORE_FD };
	char missing[SANDBOX_TEXT_SIZE];

	if (!sandbox_enter(&keyd_policy, user, keep, ARRAY_SIZE(keep), report, err))
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
	IpcMessage start;

	if (ipc_receive(keyd->link, &start, &ignored) != IPC_MESSAGE)
		return;
	ipc_message_clear(&start, keyd->link);
	(void)!role_send_failure(keyd->link, start.subject, failure, &ignored);
}

static bool setup(Keyd *keyd, const SandboxUser *user, const Log *log, Error *err)
{
	SandboxReport report;
	int flags = fcntl(ROLE_LINK_FD, F_GETFL);
	Error failure;

	if (flags < 0 || fcntl(ROLE_LINK_FD, F_SETFL, flags & ~O_NONBLOCK))
		return error_set(err, ERROR_USAGE, "descriptor %d is not the engine's link",
				 ROLE_LINK_FD);
	/* Without this it would open /dev/urandom with the first object. */
	json_object_seed(0);
	if (!crypto_prepare(err) || !enter_sandbox(user, log, &report, err))
		return false;
	keyd->link = ipc_link_new(ROLE_LINK_FD, keyd_rules, err);
	if (!keyd->link)
		return false;
	if (open_store(keyd, err) && sandbox_filter(&keyd_policy, false, &report, err))
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
	ipc_link_free(keyd->link);
	root_key_free(keyd->root);
	free(keyd);
}

int main(int argc, char **argv)
{
	const Log log = { .program = "sealift-keyd",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	SandboxUser user = { 0 };
	Error err = ERROR_INIT;
	Keyd *keyd;
	bool ok;

	json_end_without_memory();
	if (!parse_options(argc, argv, &user, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	keyd = calloc(1, sizeof(*keyd));
	if (!keyd)
		return error_exit_status(ERROR_INTERNAL);
	keyd->clock = &clock_system;
	ok = setup(keyd, &user, &log, &err) && keyd_serve(keyd, &err);
	if (!ok)
		log_error(&log, "%s", err.text);
	teardown(keyd);
	return ok ? 0 : error_exit_status(err.category);
}
