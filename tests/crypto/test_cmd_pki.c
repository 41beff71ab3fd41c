/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift pki` as a user types it: what it prints, its exit statuses, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "crypto/pki_directory.h"
#include "fixture_pki.h"
#include "programs/cmd_pki.h"

enum { OUTPUT_MAX = 65536, ARGUMENTS = 10, PATH_BYTES = 512 };

typedef struct World {
	char *scratch;
	char dir[PATH_BYTES];
	char output[OUTPUT_MAX]; /* of the last command, both streams */
} World;

static int open_world(void **state)
{
	World *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->scratch = fixture_directory_new();
	snprintf(world->dir, sizeof(world->dir), "%s/north", world->scratch);
	*state = world;
	return 0;
}

static int close_world(void **state)
{
	World *world = *state;

	fixture_directory_remove(world->scratch);
	free(world);
	return 0;
}

static int captured(int argc, char **argv, char output[OUTPUT_MAX])
{
	AUTO_FD int file = memfd_create("output", MFD_CLOEXEC);
	AUTO_FD int saved_out = dup(STDOUT_FILENO);
	AUTO_FD int saved_err = dup(STDERR_FILENO);
	ssize_t size;
	int status;

	fflush(stdout);
	assert_true(file >= 0 && saved_out >= 0 && saved_err >= 0);
	assert_true(dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0);
	status = cmd_pki(argc, argv);
	fflush(stdout);
	assert_true(dup2(saved_out, STDOUT_FILENO) >= 0 && dup2(saved_err, STDERR_FILENO) >= 0);
	size = pread(file, output, OUTPUT_MAX - 1, 0);
	assert_true(size >= 0);
	output[size] = '\0';
	return status;
}

/* The command line is cut at spaces; "DIR" stands for the world's directory. */
static int run(World *world, const char *line)
{
	char copy[1024];
	char *argv[ARGUMENTS + 1] = { 0 }, *rest = copy;
	int argc = 0;

	snprintf(copy, sizeof(copy), "pki %s", line);
	for (char *word = strsep(&rest, " "); word && argc < ARGUMENTS; word = strsep(&rest, " "))
		argv[argc++] = strcmp(word, "DIR") ? word : world->dir;
	return captured(argc, argv, world->output);
}

static void says(const World *world, const char *text)
{
	if (!strstr(world->output, text))
		fail_msg("\"%s\" does not say \"%s\"", world->output, text);
}

static void does(World *world, const char *line, const char *text)
{
	if (run(world, line))
		fail_msg("%s: %s", line, world->output);
	says(world, text);
}

static void fails(World *world, const char *line, ErrorCategory category, const char *text)
{
	assert_int_equal(run(world, line), error_exit_status(category));
	assert_ptr_equal(strstr(world->output, "sealift pki: "), world->output);
	assert_non_null(strchr(world->output, '\n'));
	assert_string_equal(strchr(world->output, '\n'), "\n"); /* one line */
	says(world, text);
}

static void test_whole_life(void **state)
{
	World *world = *state;
	char line[2 * PATH_BYTES];

	does(world, "init north.example --dir DIR", "root of north.example");
	does(world, "issue host alpha --dir DIR", "spiffe://north.example/host/alpha");
	does(world, "issue authority --dir DIR --days 365", "spiffe://north.example/authority");
	does(world, "issue keyd --dir DIR",
	     "/keyd: certificates of spiffe://north.example/keyd made");
	does(world, "show --dir DIR", "domain north.example");
	says(world, "keyd-sign       keyd");
	says(world, "keyd-agree      keyd");
	says(world, "host-tls        alpha");
	says(world, "authority-sign  authority");
	says(world, "(newest)");
	says(world, "crl  number ");
	assert_null(strstr(world->output, "expires soon"));
	does(world, "revoke alpha --dir DIR", "2 certificates revoked");
	does(world, "show --dir DIR", "revoked 20");
	does(world, "crl --days 1 --dir DIR", "good until");
	does(world, "show --dir DIR", "expires soon");
	does(world, "issue --renew host alpha --dir DIR --days 1", "host/alpha");
	does(world, "rotate-root --dir DIR", "2 roots");
	does(world, "show --dir DIR", "(older)");
	fails(world, "rotate-root --dir DIR --finish", ERROR_CONFLICT, "still valid");
	does(world, "revoke alpha --dir DIR", "revoked");
	does(world, "revoke authority --dir DIR", "1 certificate revoked");
	fails(world, "rotate-root --dir DIR --finish", ERROR_CONFLICT, "keyd-sign of keyd");
	does(world, "issue keyd --renew --dir DIR", "/keyd made");
	does(world, "revoke keyd --dir DIR", "4 certificates revoked");
	does(world, "rotate-root --dir DIR --finish", "the newest root alone");
	snprintf(line, sizeof(line), "show %s/hosts/alpha/tls.crt", world->dir);
	does(world, line, "certificate of spiffe://north.example/host/alpha");
	says(world, "expires soon");
	says(world, "for TLS");
	snprintf(line, sizeof(line), "show %s/keyd/sign.crt", world->dir);
	does(world, line, "for signing statements");
	snprintf(line, sizeof(line), "show %s/keyd/agree.crt", world->dir);
	does(world, line, "certificate of spiffe://north.example/keyd");
	says(world, "for sealing keys for its holder");
	snprintf(line, sizeof(line), "show %s/crl.pem", world->dir);
	does(world, line, "CRL of /O=north.example/CN=root ");
	snprintf(line, sizeof(line), "show %s/root.crt", world->dir);
	does(world, line, "CA certificate /O=north.example");
}

static void test_longest_life(void **state)
{
	World *world = *state;

	does(world, "init north.example --dir DIR --days 36500", "made");
	does(world, "issue host a --dir DIR --days 36500", "made");
	does(world, "show --dir DIR", "valid");
}

static void test_usage(void **state)
{
	World *world = *state;

	does(world, "--help", "usage: sealift pki init");
	assert_int_equal(captured(1, (char *[]){ (char[]){ "pki" }, NULL }, world->output), 2);
	says(world, "no subcommand");
	fails(world, "frobnicate", ERROR_USAGE, "no subcommand \"frobnicate\"");
	fails(world, "init --dir DIR", ERROR_USAGE, "init has 0 arguments");
	fails(world, "init north.example", ERROR_USAGE, "init needs --dir DIR");
	fails(world, "init north.example --dir", ERROR_USAGE, "--dir needs a value");
	fails(world, "init north.example --dir DIR --days 0", ERROR_USAGE, "from 1 to 36500");
	fails(world, "init north.example --dir DIR --days 36501", ERROR_USAGE, "from 1 to 36500");
	fails(world, "init north.example --dir DIR --days -1", ERROR_USAGE, "from 1 to 36500");
	fails(world, "init north.example --dir DIR --days 9x", ERROR_USAGE, "from 1 to 36500");
	fails(world, "init north.example --dir DIR --renew", ERROR_USAGE, "init has no --renew");
	fails(world, "init north.example --dir DIR --finish", ERROR_USAGE, "init has no --finish");
	fails(world, "init north.example --dir DIR --frob", ERROR_USAGE, "unknown option --frob");
	fails(world, "init a b c --dir DIR", ERROR_USAGE, "one argument too many");
	fails(world, "init North.example --dir DIR", ERROR_USAGE, "is not a domain");
	fails(world, "issue host --dir DIR", ERROR_USAGE, "needs a NAME");
	fails(world, "issue authority x --dir DIR", ERROR_USAGE, "has no NAME");
	fails(world, "issue keyd x --dir DIR", ERROR_USAGE, "issue keyd has no NAME");
	fails(world, "issue guest x --dir DIR", ERROR_USAGE, "not \"guest\"");
	fails(world, "rotate-root --finish --days 3 --dir DIR", ERROR_USAGE, "has no --days");
	fails(world, "show", ERROR_USAGE, "needs FILE or --dir");
	fails(world, "show x --dir DIR", ERROR_USAGE, "not both");
}

static void test_refusals(void **state)
{
	World *world = *state;
	char line[2 * PATH_BYTES];

	fails(world, "issue host alpha --dir DIR", ERROR_NOT_FOUND, "is not a domain's directory");
	does(world, "init north.example --dir DIR", "made");
	fails(world, "init north.example --dir DIR", ERROR_CONFLICT, "is not empty");
	does(world, "issue host alpha --dir DIR", "made");
	fails(world, "issue host alpha --dir DIR", ERROR_CONFLICT, "has certificates already");
	fails(world, "issue host beta --renew --dir DIR", ERROR_NOT_FOUND,
	      "no certificates to renew");
	fails(world, "issue host ../beta --dir DIR", ERROR_USAGE, "is not a name");
	fails(world, "issue host keyd --dir DIR", ERROR_USAGE, "may not be named \"keyd\"");
	fails(world, "issue keyd --renew --dir DIR", ERROR_NOT_FOUND, "no certificates to renew");
	does(world, "issue keyd --dir DIR", "made");
	fails(world, "issue keyd --dir DIR", ERROR_CONFLICT, "has certificates already");
	fails(world, "revoke beta --dir DIR", ERROR_NOT_FOUND, "beta");
	fails(world, "rotate-root --finish --dir DIR", ERROR_CONFLICT, "only one root");
	snprintf(line, sizeof(line), "show %s/nothing", world->dir);
	fails(world, line, ERROR_NOT_FOUND, "nothing");
	snprintf(line, sizeof(line), "show %s/index", world->dir);
	fails(world, line, ERROR_CONFIG, "has no PEM certificate or CRL");
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_whole_life),
		WITH_WORLD(test_longest_life),
		WITH_WORLD(test_usage),
		WITH_WORLD(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
