/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift version`: this program's, and the engine's if one answers. */
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/text.h"

static bool print_json(const json_t *engine, Error *err)
{
	AUTO_JSON json_t *object = json_pack("{s:s}", "client", SEALIFT_VERSION);

	if (!object || (engine && json_object_set_new(object, "engine", json_deep_copy(engine))))
		return error_set(err, ERROR_INTERNAL, "no memory for the versions");
	return text_print_json(stdout, object, err);
}

bool cmd_version(CliContext *context, const CliInput *input, Error *err)
{
	static const char *const members[] = { "version", "protocol", "host", "domain" };
	AUTO_JSON json_t *engine = NULL;
	Error absent = ERROR_INIT;
	bool answered =
		api_ask(context->socket_path, "version", NULL, API_TIMEOUT_MS, &engine, &absent);

	(void)input;
	if (context->json)
		return print_json(engine, err);
	printf("sealift %s\n", SEALIFT_VERSION);
	if (!answered) {
		printf("engine: %s\n", absent.text);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const json_t *value = json_object_get(engine, members[i]);

		if (json_is_integer(value)) {
			printf("engine %s: %lld\n", members[i],
			       (long long)json_integer_value(value));
		} else if (json_is_string(value)) {
			printf("engine %s: ", members[i]);
			text_print(stdout, json_string_value(value));
			putchar('\n');
		}
	}
	return true;
}
