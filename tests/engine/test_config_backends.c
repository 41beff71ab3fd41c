/* SPDX-License-Identifier: Apache-2.0 */
/* keys.backends, keys.default_backend and root keys that are no file: each refusal word for word,
 * beside what is good. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "engine/config.h"

#define BASE                                                                                       \
	"tls = { certificate = \"/c\"; key = \"/k\"; };"                                           \
	"sign = { certificate = \"/d\"; key = \"/l\"; };\n"
#define BACKENDS(text) BASE "keys = { root = \"/r\"; backends = ( " text " ); };"
#define ROOT(text)     BASE "keys = { root = { " text " }; };"
#define KMIP_FILES     "ca = \"/ca\"; certificate = \"/c\"; key = \"/k\"; "
#define KMIP(name)                                                                                 \
	"{ name = \"" name "\"; type = \"kmip\"; address = \"10.0.0.1:5696\"; " KMIP_FILES "}"
#define CLOUD                                                                                      \
	"name = \"cloud\"; type = \"barbican\"; keystone_url = \"https://k.test:5000/v3\"; "       \
	"credential_id = \"0a\"; credential_file = \"/s\"; "
#define HSM "type = \"pkcs11\"; module = \"/m.so\"; token = \"t\"; "

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

static void what_is_wrong_is_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ BACKENDS("1"), ":2: keys.backends[0]: is not a group { type = ...; ... }" },
		{ BACKENDS("{ name = \"k\"; }"), ":2: keys.backends[0]: has no \"type\"" },
		{ BACKENDS("{ name = \"k\"; type = \"vault\"; }"),
		  ":2: keys.backends[0].type: is \"vault\": not one of \"kmip\", \"barbican\", "
		  "\"pkcs11\"" },
		{ BACKENDS("{ name = \"k\"; type = \"tpm2\"; }"),
		  ":2: keys.backends[0].type: is \"tpm2\": not one of \"kmip\", \"barbican\", "
		  "\"pkcs11\"" },
		{ BACKENDS("{ name = \"a b\"; type = \"kmip\"; }"),
		  ":2: keys.backends[0].name: is \"a b\": not letters and digits, then also \".\", "
		  "\"_\" and \"-\"" },
		{ BACKENDS(KMIP("embedded")),
		  ":2: keys.backends[0].name: is \"embedded\": that is the key manager's own store" },
		{ BACKENDS(KMIP("k") "," KMIP("k")),
		  ":2: keys.backends[1]: is the second with the name \"k\"" },
		{ BACKENDS(KMIP("1") "," KMIP("2") "," KMIP("3") "," KMIP("4") "," KMIP(
			  "5") "," KMIP("6") "," KMIP("7") "," KMIP("8")),
		  ":2: keys.backends: has 8 entries, at most 7" },
		{ BACKENDS("{ name = \"k\"; type = \"kmip\"; address = \"kms.test:5696\"; }"),
		  ":2: keys.backends[0].address: is \"kms.test:5696\": not ADDRESS:PORT with a numeric "
		  "IPv4 address or [ADDRESS]:PORT with an IPv6 one" },
		{ BACKENDS("{ name = \"k\"; type = \"kmip\"; " KMIP_FILES "}"),
		  ":2: keys.backends[0]: has no \"address\"" },
		{ BACKENDS(
			  "{ name = \"k\"; type = \"kmip\"; address = \"10.0.0.1:1\"; ca = \"/ca\"; }"),
		  ":2: keys.backends[0]: has no \"certificate\"" },
		{ BACKENDS("{ name = \"k\"; type = \"kmip\"; token = \"t\"; }"),
		  ":2: keys.backends[0].token: is no known setting" },
		{ BACKENDS("{ name = \"k\"; type = \"kmip\"; address = \"10.0.0.1:1\"; username = "
			   "\"u\"; " KMIP_FILES "}"),
		  ":2: keys.backends[0]: has one of \"username\" and \"password_file\": both, or none" },
		{ BACKENDS("{ name = \"k\"; type = \"kmip\"; ca = \"ca.pem\"; }"),
		  ":2: keys.backends[0].ca: is \"ca.pem\": not an absolute path" },
		{ BACKENDS("{ " CLOUD "}"), ":2: keys.backends[0]: has no \"ca\"" },
		{ BACKENDS("{ name = \"c\"; type = \"barbican\"; keystone_url = \"https://k\"; "
			   "credential_id = \"a\"; }"),
		  ":2: keys.backends[0]: has no \"credential_file\"" },
		{ BACKENDS("{ name = \"h\"; type = \"pkcs11\"; module = \"m.so\"; }"),
		  ":2: keys.backends[0].module: is \"m.so\": not an absolute path" },
		{ BACKENDS("{ name = \"h\"; " HSM "label = \"root\"; }"),
		  ":2: keys.backends[0].label: is no known setting" },
		{ BACKENDS("{ name = \"h\"; " HSM "environment = \"A=B\"; }"),
		  ":2: keys.backends[0].environment: is not an array of at most 4 [ \"NAME=VALUE\", ... "
		  "]" },
		{ BACKENDS("{ name = \"h\"; " HSM
			   "environment = [ \"A=1\", \"B=2\", \"C=3\", \"D=4\", \"E=5\" ]; }"),
		  ":2: keys.backends[0].environment: is not an array of at most 4 [ \"NAME=VALUE\", ... "
		  "]" },
		{ BACKENDS("{ name = \"h\"; " HSM "paths = ( { write = true; } ); }"),
		  ":2: keys.backends[0].paths[0]: has no \"path\"" },
		{ BASE "keys = { root = \"/r\"; default_backend = \"kms\"; };",
		  ":2: keys.default_backend: is \"kms\": none of \"backends\" has this name" },
		{ ROOT("type = \"kmip\";"),
		  ":2: keys.root.type: is \"kmip\": not one of \"pkcs11\", \"tpm2\"" },
		{ ROOT("type = \"tpm2\";"), ":2: keys.root: has no \"blob\"" },
		{ ROOT(HSM), ":2: keys.root: has no \"label\"" },
		{ ROOT("name = \"n\"; " HSM "label = \"root\";"),
		  ":2: keys.root.name: is no known setting" },
		{ BASE "users = { keyhelper = \"0:0\"; };",
		  ":2: users.keyhelper: is \"0:0\": not UID:GID in digits, neither of them 0" },
	};
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (load(cases[i].text, &err))
			fail_msg("accepted: %s", cases[i].text);
		config_release(&config);
		assert_string_equal(err.text, cases[i].said);
		assert_int_equal(err.category, ERROR_CONFIG);
	}
}

static void must_load(const char *text)
{
	Error err;

	if (!load(text, &err))
		fail_msg("refused: %s: %s", text, err.text);
}

static void back_ends_are_read(void **state)
{
	const ConfigHelper *backends = config.keys.backends;

	(void)state;
	must_load(
		BASE
		"users = { keyhelper = \"7:8\"; };"
		"keys = { root = \"/r\"; default_backend = \"hsm\"; backends = ( " KMIP(
			"kms") ", { " CLOUD
			       "ca = \"/ca\"; hosts = ( { name = \"k.test\"; address = \"10.0.0.2\"; } ); }, "
			       "{ name = \"hsm\"; " HSM
			       "pin_file = \"/pin\"; after_failure = true; "
			       "paths = ( { path = \"/conf\"; }, { path = \"/tokens\"; write = true; } ); "
			       "environment = [ \"A=B\" ]; } ); };");
	assert_int_equal(config.keys.backends_count, 3);
	assert_string_equal(config.keyhelper_user, "7:8");
	assert_string_equal(config.keys.default_backend, "hsm");
	assert_false(config.keys.root_is_helper);
	assert_int_equal(backends[0].kind, HELPER_KIND_KMIP);
	assert_string_equal(backends[0].kmip.address, "10.0.0.1");
	assert_int_equal(backends[0].kmip.port, 5696);
	assert_string_equal(backends[0].kmip.server_name, "10.0.0.1");
	assert_string_equal(backends[0].files[HELPER_PART_KEY], "/k");
	assert_string_equal(backends[0].files[HELPER_PART_CRL], "");
	assert_int_equal(backends[1].kind, HELPER_KIND_BARBICAN);
	assert_string_equal(backends[1].barbican.hosts[0].address, "10.0.0.2");
	assert_string_equal(backends[1].files[HELPER_PART_PASSWORD], "/s");
	assert_int_equal(backends[2].kind, HELPER_KIND_PKCS11);
	assert_int_equal(backends[2].pkcs11.paths_count, 2);
	assert_true(backends[2].pkcs11.paths[1].write);
	assert_string_equal(backends[2].pkcs11.variables[0].text, "A=B");
	assert_true(backends[2].pkcs11.after_failure);
	config_release(&config);
	must_load(BACKENDS(KMIP("1") "," KMIP("2") "," KMIP("3") "," KMIP("4") "," KMIP(
		"5") "," KMIP("6") "," KMIP("7")));
	assert_int_equal(config.keys.backends_count, 7);
	assert_string_equal(config.keys.default_backend, "embedded");
	config_release(&config);
	must_load(BACKENDS(""));
	config_release(&config);
	must_load(BACKENDS("{ " CLOUD "permit_http = true; }"));
	config_release(&config);
}

static void root_keys_are_read(void **state)
{
	(void)state;
	must_load(ROOT(HSM "label = \"root\"; pin_file = \"/pin\";"));
	assert_true(config.keys.root_is_helper);
	assert_string_equal(config.keys.root, "");
	assert_int_equal(config.keys.root_helper.kind, HELPER_KIND_PKCS11_ROOT);
	assert_string_equal(config.keys.root_helper.pkcs11.key, "root");
	config_release(&config);
	must_load(ROOT("type = \"tpm2\"; blob = \"/b\";"));
	assert_int_equal(config.keys.root_helper.kind, HELPER_KIND_TPM2);
	assert_string_equal(config.keys.root_helper.files[HELPER_PART_DEVICE], "/dev/tpmrm0");
	config_release(&config);
	must_load(ROOT("type = \"tpm2\"; blob = \"/b\"; device = \"/dev/tpm0\";"));
	assert_string_equal(config.keys.root_helper.files[HELPER_PART_DEVICE], "/dev/tpm0");
	config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(back_ends_are_read),
		cmocka_unit_test(root_keys_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
