/* SPDX-License-Identifier: Apache-2.0 */
/* sealiftd: the engine. sealiftd(8). */
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "base/secret.h"
#include "crypto/prepare.h"
#include "engine/engine.h"
#include "wire/json.h"

#define DEFAULT_CONFIG SEALIFT_SYSCONFDIR "/sealift.conf"

static int usage(FILE *to)
{
	fputs("usage: sealiftd [--config FILE]\n"
	      "       sealiftd --version\n"
	      "The engine of Sealift: keeps VMs and leads migrations. sealiftd(8), sealift.conf(5).\n",
	      to);
	return error_exit_status(to == stdout ? ERROR_NONE : ERROR_USAGE);
}

static int serve(const char *config)
{
	Log log = { .program = "sealiftd", .level = LOG_LEVEL_INFO, .fd = STDERR_FILENO };
	AUTO_ENGINE Engine *engine = NULL;
	Error err = ERROR_INIT;

	signal(SIGPIPE, SIG_IGN);
	if (secret_harden_process(&err) && crypto_prepare(&err))
		engine = engine_new(config, &log, &err);
	if (!engine || !engine_run(engine, &err)) {
		log_error(&log, "%s", err.text);
		return error_exit_status(err.category);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	const char *config = DEFAULT_CONFIG;
	int option;

	json_end_without_memory();
	while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 'h':
			return usage(stdout);
		case 'V':
			puts("sealiftd " SEALIFT_VERSION);
			return 0;
		default:
			return usage(stderr);
		}
	}
	if (optind < argc)
		return usage(stderr);
	return serve(config);
}
