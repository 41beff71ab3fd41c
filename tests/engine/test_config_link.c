/* SPDX-License-Identifier: Apache-2.0 */
/* keys.manager and keys.serve: a key manager that several hosts use. Each refusal word for word,
 * beside what is good. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "engine/config.h"

#define BASE                                                                                       \
	"tls = { certificate = \"/c\"; key = \"/k\"; };"                                           \
	"sign = { certificate = \"/d\"; key = \"/l\"; };\n"
#define KEYS(text) BASE "keys = { " text " };"
#define MANAGER	   "manager = \"10.0.0.1:7469\"; manager_id = \"spiffe://n.example/host/a\"; "
#define SERVE	   "serve = \"[fd00::1]:7469\"; "
#define ROOT	   "root = \"/r\"; "

static Config config; /* too large for a stack */

static bool load(const char *text, Error *err)
{
	TestFolder folder;
	char path[128];
	size_t length;
	bool ok;

	support_make_folder(&folder);
	support_path(&folder, "x.conf", path);
	*err = ERROR_INIT;
	if (!file_replace(path, text, strlen(text), 0600, err))
		fail_msg("%s", err->text);
	ok = config_load(path, &config, err);
	length = strlen(path);
	if (!strncmp(err->text, path, length))
		memmove(err->text, err->text + length, strlen(err->text + length) + 1);
	support_remove_folder(&folder);
	return ok;
}

static void must_load(const char *text)
{
	Error err = ERROR_INIT;

	if (!load(text, &err))
		fail_msg("%s", err.text);
}

static void what_is_wrong_is_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ KEYS(""), ":2: keys: has neither \"root\" for a key manager of its own nor "
			    "\"manager\" for another host's" },
		{ KEYS("manager = \"10.0.0.1:1\";"),
		  ":2: keys: has one of manager and manager_id: both or none" },
		{ KEYS(ROOT "manager_id = \"spiffe://n.example/host/a\";"),
		  ":2: keys: has one of manager and manager_id: both or none" },
		{ KEYS("manager = \"north:1\";"),
		  ":2: keys.manager: is \"north:1\": not ADDRESS:PORT with a numeric IPv4 address or "
		  "[ADDRESS]:PORT with an IPv6 one" },
		{ KEYS("manager_id = \"n.example/a\";"),
		  ":2: keys.manager_id: is \"n.example/a\": not spiffe://DOMAIN/host/NAME" },
		{ KEYS("manager_id = \"spiffe://n.example/keyd\";"),
		  ":2: keys.manager_id: is \"spiffe://n.example/keyd\": not a host" },
		{ KEYS(MANAGER ROOT),
		  ":2: keys: has \"manager\" and \"root\", which belongs to that "
		  "host's own configuration" },
		{ KEYS(MANAGER "store = \"/s\";"), ":2: keys: has \"manager\" and \"store\", which "
						   "belongs to that host's own configuration" },
		{ KEYS(MANAGER SERVE "hosts = [ \"b\" ];"),
		  ":2: keys: has \"manager\" and \"serve\", which belongs to that host's own "
		  "configuration" },
		{ KEYS(ROOT SERVE), ":2: keys: has one of serve and hosts: both or none" },
		{ KEYS(ROOT "hosts = [ \"b\" ];"),
		  ":2: keys: has one of serve and hosts: both or none" },
		{ KEYS(ROOT SERVE "hosts = \"b\";"),
		  ":2: keys.hosts: is not a list of 1 to 64 names of hosts: [ \"NAME\", ... ]" },
		{ KEYS(ROOT SERVE "hosts = [ ];"),
		  ":2: keys.hosts: is not a list of 1 to 64 names of hosts: [ \"NAME\", ... ]" },
		{ KEYS(ROOT SERVE "hosts = [ \"b\", \"b\" ];"),
		  ":2: keys.hosts: names \"b\" twice" },
		{ KEYS(ROOT "default_backend = \"kms\";"),
		  ":2: keys.default_backend: is \"kms\": none of \"backends\" has this name" },
	};
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_false(load(cases[i].text, &err));
		assert_string_equal(err.text, cases[i].said);
		assert_int_equal(err.category, ERROR_CONFIG);
		config_release(&config);
	}
}

static void what_is_good_is_read(void **state)
{
	(void)state;
	must_load(KEYS(MANAGER "default_backend = \"kms\"; rekey_after_move = false;"));
	assert_true(config.keys.wanted);
	assert_string_equal(config.keys.manager_address, "10.0.0.1");
	assert_int_equal(config.keys.manager_port, 7469);
	assert_string_equal(config.keys.manager_id, "spiffe://n.example/host/a");
	assert_string_equal(config.keys.serve_address, "");
	config_release(&config);
	must_load(KEYS(ROOT SERVE "hosts = [ \"b\", \"c-1\" ];"));
	assert_string_equal(config.keys.manager_address, "");
	assert_string_equal(config.keys.serve_address, "fd00::1");
	assert_int_equal(config.keys.serve_port, 7469);
	assert_int_equal(config.keys.hosts.hosts_count, 2);
	assert_string_equal(config.keys.hosts.hosts[1].name, "c-1");
	config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(what_is_good_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
