/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift migrate`: asks for a migration and stays with it. */
#include "base/bounds.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/follow.h"
#include "programs/cli/parse.h"
#include "programs/cli/text.h"

enum {
	CHANNELS_MAX = LIMIT_STREAM_CHANNELS - 1, /* beside main */
	DOWNTIME_MAX_MS = 2000 * 1000,	   /* QEMU's own bound of downtime-limit */
};

typedef enum MigrateOption {
	MIGRATE_CHANNELS,
	MIGRATE_BANDWIDTH,
	MIGRATE_MAX_DOWNTIME,
	MIGRATE_KEEP_KEYS,
	MIGRATE_OFFLINE,
	MIGRATE_COLD,
	MIGRATE_DETACH,
} MigrateOption;
const CliOption cmd_migrate_options[] = {
	[MIGRATE_CHANNELS] = { "channels", "N", "parallel channels for the memory, 1 to 16" },
	[MIGRATE_BANDWIDTH] = { "bandwidth", "RATE",
				"at most this much on the wire: 100M (bytes a second), 10Gbit" },
	[MIGRATE_MAX_DOWNTIME] = { "max-downtime", "MS",
				   "the longest pause of the guest to aim at, in milliseconds" },
	[MIGRATE_KEEP_KEYS] = { "keep-keys", NULL,
				"keep the keys of the VM's disks here too, instead of destroying them" },
	[MIGRATE_OFFLINE] = { "offline", NULL, "stop the guest while its memory is sent" },
	[MIGRATE_COLD] = { "cold", NULL, "move a stopped VM, which stays stopped" },
	[MIGRATE_DETACH] = { "detach", NULL, "return as soon as the migration has begun" },
	{ NULL, NULL, NULL },
};

static bool put_u64(json_t *arguments, const char *name, uint64_t value, Error *err)
{
	return !json_object_set_new(arguments, name, json_integer((json_int_t)value)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for a request");
}

static bool put_manner(json_t *arguments, const CliInput *input, Error *err)
{
	if (input->values[MIGRATE_OFFLINE] && input->values[MIGRATE_COLD])
		return error_set(err, ERROR_USAGE,
				 "--offline is for a VM that runs, --cold for a stopped one");
	if (input->values[MIGRATE_OFFLINE])
		return api_put_text(arguments, "manner", "offline", err);
	return !input->values[MIGRATE_COLD] || api_put_text(arguments, "manner", "cold", err);
}

static bool put_options(json_t *arguments, const CliInput *input, Error *err)
{
	const char *channels = input->values[MIGRATE_CHANNELS];
	const char *bandwidth = input->values[MIGRATE_BANDWIDTH];
	const char *downtime = input->values[MIGRATE_MAX_DOWNTIME];
	uint64_t value = 0;

	if (channels && (!parse_u64(channels, "--channels", 1, CHANNELS_MAX, &value, err) ||
			 !put_u64(arguments, "channels", value, err)))
		return false;
	if (bandwidth &&
	    (!parse_rate(bandwidth, &value, err) || !put_u64(arguments, "bandwidth", value, err)))
		return false;
	if (input->values[MIGRATE_KEEP_KEYS] && json_object_set_new(arguments, "keep_keys", json_true()))
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	if (downtime && (!parse_u64(downtime, "--max-downtime", 1, DOWNTIME_MAX_MS, &value, err) ||
			 !put_u64(arguments, "max_downtime_ms", value, err)))
		return false;
	return put_manner(arguments, input, err);
}

static bool print_detached(CliContext *context, const json_t *body, const char *id, Error *err)
{
	if (context->json)
		return text_print_json(stdout, body, err);
	fputs("migration ", stdout);
	text_print(stdout, id);
	fputs(" has begun\n", stdout);
	return true;
}

bool cmd_migrate(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;
	AUTO_API Api *api = NULL;
	const char *id;

	if (!api_put_text(arguments, "vm", input->words[0], err) ||
	    !api_put_text(arguments, "destination", input->words[1], err) ||
	    !put_options(arguments, input, err))
		return false;
	api = api_open(context->socket_path, err);
	/* Events first: what happens between the command and its reply must not be missed. */
	if (!api || !api_call(api, "events", NULL, API_TIMEOUT_MS, NULL, err) ||
	    !api_call(api, "migrate", TAKE_PTR(arguments), API_TIMEOUT_MS, &body, err))
		return false;
	id = api_text(body, "migration");
	if (!id)
		return error_set(err, ERROR_PEER, "the engine began a migration without a name");
	if (input->values[MIGRATE_DETACH])
		return print_detached(context, body, id, err);
	if (follow_migration(context, api, id, true, err))
		return true;
	if (err->category == ERROR_UNAVAILABLE && api_is_gone(api))
		error_set(err, ERROR_UNAVAILABLE,
			  "the engine is gone; the migration is decided by both engines: "
			  "`sealift status %.64s` when it is back",
			  id);
	return false;
}
