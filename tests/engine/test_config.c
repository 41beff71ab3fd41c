/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's configuration: each refusal word for word, beside what is good. */
#include "tests/support/support.h"

#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/aead.h"
#include "engine/config.h"

/* One line, so that what a case adds stands on line 2. */
#define KEYS                                                                                       \
	"tls = { certificate = \"/c\"; key = \"/k\"; };"                                           \
	"sign = { certificate = \"/d\"; key = \"/l\"; };\n"
#define LONG50	"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"
#define LONG100 LONG50 LONG50

static Config config; /* too large for a stack */

/* The text in a file; what config_load says of it, with the file's name taken out of the error. */
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

typedef struct Bad {
	const char *text;
	const char *said;
} Bad;

static void check_bad(const Bad *cases, size_t count)
{
	Error err;

	for (size_t i = 0; i < count; i++) {
		bool ok = load(cases[i].text, &err);

		config_release(&config);
		if (ok)
			fail_msg("accepted: %s", cases[i].text);
		assert_string_equal(err.text, cases[i].said);
		assert_int_equal(err.category, ERROR_CONFIG);
	}
}

static void check_good(const char *const *texts, size_t count)
{
	Error err;

	for (size_t i = 0; i < count; i++) {
		if (!load(texts[i], &err))
			fail_msg("%s: %s", texts[i], err.text);
		config_release(&config);
	}
}

static void what_is_required_is_asked_for_by_name(void **state)
{
	static const Bad cases[] = {
		{ "", ": there is no \"tls\"" },
		{ "tls = { certificate = \"/c\"; key = \"/k\"; };", ": there is no \"sign\"" },
		{ "\ntls = { certificate = \"/c\"; };", ":2: tls: has no \"key\"" },
		{ "\ntls = { key = \"/c\"; };", ":2: tls: has no \"certificate\"" },
		{ "tls = { certificate = \"/c\"; key = \"/k\"; };\nsign = { };",
		  ":2: sign: has no \"certificate\"" },
		{ KEYS "trust = (\n{ domain = \"a.b\"; });", ":3: trust[0]: has no \"root\"" },
		{ KEYS "trust = ( { root = \"/r\"; } );", ":2: trust[0]: has no \"domain\"" },
		{ KEYS "pools = ( { name = \"p\"; } );", ":2: pools[0]: has no \"directory\"" },
		{ KEYS "pools = ( { directory = \"/p\"; } );", ":2: pools[0]: has no \"name\"" },
		{ KEYS "networks = ( { bridge = \"br0\"; } );",
		  ":2: networks[0]: has no \"name\"" },
		{ KEYS "networks = ( { name = \"n\"; type = \"user\"; forwards = (\n{ listen = "
		       "\"127.0.0.1:1\"; } ); } );",
		  ":3: networks[0].forwards[0]: has no \"guest\"" },
		{ KEYS "networks = ( { name = \"n\"; } );",
		  ":2: networks[0]: has no \"bridge\", which type \"bridge\" needs" },
	};
	static const char *const good[] = {
		KEYS,
		KEYS "trust = ( { domain = \"a.b\"; root = \"/r\"; } );",
		KEYS "pools = ( { name = \"p\"; directory = \"/p\"; } );",
		KEYS "networks = ( { name = \"n\"; bridge = \"br0\"; } );",
		KEYS "networks = ( { name = \"n\"; type = \"user\"; forwards = ( { listen = "
		     "\"127.0.0.1:1\"; guest = \"10.0.0.2:2\"; } ); } );",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

static void keys_have_a_root_and_a_store(void **state)
{
	static const Bad cases[] = {
		{ KEYS "keys = { };",
		  ":2: keys: has neither \"root\" for a key manager of its own nor \"manager\" for another "
		  "host's" },
		{ KEYS "keys = \"/r\";", ":2: keys: is not a group { name = value; ... }" },
		{ KEYS "keys = { root = \"root.key\"; };",
		  ":2: keys.root: is \"root.key\": not an absolute path" },
		{ KEYS "keys = { root = { tpm2 = \"/b\"; }; };",
		  ":2: keys.root: has no \"type\"" },
		{ KEYS "keys = { root = \"/r\"; store = \"keys\"; };",
		  ":2: keys.store: is \"keys\": not an absolute path" },
		{ KEYS "keys = { root = \"/r\"; store = \"/" LONG100 LONG100 "\"; };",
		  ":2: keys.store: has 201 characters, at most 200" },
		{ KEYS "keys = { root = \"/r\"; backends = { }; };",
		  ":2: keys.backends: is not a list ( { ... }, ... )" },
		{ KEYS "keys = { root = \"/r\"; group_may_destroy = 1; };",
		  ":2: keys.group_may_destroy: is not true or false" },
		{ KEYS "keys = { root = \"/r\"; hsm = \"x\"; };", ":2: keys.hsm: is no known setting" },
		{ KEYS "keys = { root = \"/r\"; certificate = \"c\"; };",
		  ":2: keys.certificate: is \"c\": not an absolute path" },
		{ KEYS "keys = { root = \"/r\"; certificate = \"/c\"; key = \"/k\"; agree_key = \"/a\"; };",
		  ":2: keys: has 3 of certificate, key, agree_certificate and agree_key: all four, or "
		  "none" },
		{ KEYS "users = { keyd = \"root\"; };",
		  ":2: users.keyd: is \"root\": not UID:GID in digits, neither of them 0" },
	};
	Error err;

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	assert_true(load(KEYS, &err));
	assert_false(config.keys.wanted);
	config_release(&config);
	assert_true(load(KEYS "state_directory = \"/s\"; keys = { root = \"/r\"; };"
			      "users = { keyd = \"5:6\"; };",
			 &err));
	assert_true(config.keys.wanted);
	assert_false(config.keys.group_may_destroy);
	assert_string_equal(config.keys.root, "/r");
	assert_string_equal(config.keys.store, "/s/keys");
	assert_string_equal(config.keyd_user, "5:6");
	config_release(&config);
	assert_true(load(KEYS "keys = { root = \"/r\"; store = \"/k\"; group_may_destroy = true; };",
			 &err));
	assert_string_equal(config.keys.store, "/k");
	assert_true(config.keys.group_may_destroy);
	config_release(&config);
}

static void what_is_unknown_is_refused(void **state)
{
	static const Bad cases[] = {
		{ KEYS "\nnope = 1;", ":3: nope: is no known setting" },
		{ "tls = { certificate = \"/c\"; key = \"/k\";\n chain = \"/x\"; };",
		  ":2: tls.chain: is no known setting" },
		{ KEYS "users = { web = \"1:1\"; };", ":2: users.web: is no known setting" },
		{ KEYS "trust = ( { domain = \"a.b\"; root = \"/r\"; ca = \"/r\"; } );",
		  ":2: trust[0].ca: is no known setting" },
		{ KEYS "pools = ( { path = \"/p\"; } );",
		  ":2: pools[0].path: is no known setting" },
		{ KEYS "networks = ( { tap = \"t\"; } );",
		  ":2: networks[0].tap: is no known setting" },
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
}

static void what_is_no_configuration_is_refused(void **state)
{
	static const Bad cases[] = {
		{ KEYS "listen = ;", ":2: syntax error" },
		{ KEYS "crl = \"/a\";\ncrl = \"/b\";", ":3: duplicate setting name" },
	};
	Error err = ERROR_INIT;

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	assert_false(config_load("/nonexistent/x.conf", &config, &err));
	assert_string_equal(err.text, "cannot open /nonexistent/x.conf: No such file or directory");
	config_release(&config);
	assert_false(config_load("/etc", &config, &err));
	assert_string_equal(err.text, "/etc is not a regular file");
	config_release(&config);
}

static void numbers_have_bounds(void **state)
{
	static const Bad cases[] = {
		{ KEYS "lease_seconds = 0;", ":2: lease_seconds: is 0: outside 1 to 86400" },
		{ KEYS "lease_seconds = 86401;",
		  ":2: lease_seconds: is 86401: outside 1 to 86400" },
		{ KEYS "lease_seconds = -1;", ":2: lease_seconds: is -1: outside 1 to 86400" },
		{ KEYS "lease_seconds = 4294967297L;",
		  ":2: lease_seconds: is 4294967297: outside 1 to 86400" },
		{ KEYS "lease_seconds = \"9\";",
		  ":2: lease_seconds: is not a whole number from 1 to 86400" },
		{ KEYS "transfer_seconds = 0;", ":2: transfer_seconds: is 0: outside 1 to 86400" },
		{ KEYS "reservations_per_peer = 0;",
		  ":2: reservations_per_peer: is 0: outside 1 to 64" },
		{ KEYS "reservations_per_domain = 65;",
		  ":2: reservations_per_domain: is 65: outside 1 to 64" },
		{ KEYS "max_vcpus = 0;", ":2: max_vcpus: is 0: outside 1 to 1024" },
		{ KEYS "max_vcpus = 1025;", ":2: max_vcpus: is 1025: outside 1 to 1024" },
		{ KEYS "max_channels = 17;", ":2: max_channels: is 17: outside 1 to 16" },
		{ KEYS "max_channels = 1.5;",
		  ":2: max_channels: is not a whole number from 1 to 16" },
		{ KEYS "prealloc_threads = 257;",
		  ":2: prealloc_threads: is 257: outside 1 to 256" },
		{ KEYS "reserve_memory = 512;",
		  ":2: reserve_memory: is not a size in quotes such as \"512M\"" },
		{ KEYS "reserve_memory = \"12X\";",
		  ":2: reserve_memory: is \"12X\": not a size such as \"512M\"" },
		{ KEYS "reserve_memory = \"17T\";",
		  ":2: reserve_memory: is \"17T\": more than 16384G" },
		{ KEYS "allow_disabled = 1;", ":2: allow_disabled: is not true or false" },
		{ KEYS "forbid_encryption = \"no\";",
		  ":2: forbid_encryption: is not true or false" },
	};
	static const char *const good[] = {
		KEYS "lease_seconds = 1; transfer_seconds = 86400; reservations_per_peer = 64;",
		KEYS "lease_seconds = 86400L; reservations_per_domain = 64; max_vcpus = 1024;",
		KEYS "max_channels = 16; prealloc_threads = 256; reserve_memory = \"16T\";",
		KEYS
		"max_channels = 1; prealloc_threads = 1; reserve_memory = \"0\"; max_vcpus = 1;",
		KEYS "allow_disabled = false; forbid_encryption = true;",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

static void texts_have_bounds(void **state)
{
	static const Bad cases[] = {
		{ KEYS "crl = 1;", ":2: crl: is not a string in quotes" },
		{ KEYS "crl = \"\";", ":2: crl: is empty or not printable ASCII" },
		{ KEYS "crl = \"a\\nb\";", ":2: crl: is empty or not printable ASCII" },
		{ KEYS "crl = \"" LONG100 LONG100 LONG50 "123456\";",
		  ":2: crl: has 256 characters, at most 255" },
		{ KEYS "state_directory = \"" LONG100 LONG100 "1\";",
		  ":2: state_directory: has 201 characters, at most 200" },
		{ KEYS "run_directory = \"" LONG50 LONG50 "\";",
		  ":2: run_directory: has 100 characters, at most 93 unless \"socket\" is set" },
		{ KEYS "socket = \"" LONG100 "12345678\";",
		  ":2: socket: has 108 characters, at most 107" },
		{ KEYS "networks = ( { name = \"n\"; bridge = \"1234567890123456\"; } );",
		  ":2: networks[0].bridge: has 16 characters, at most 15" },
	};
	static const char *const good[] = {
		KEYS "crl = \"" LONG100 LONG100 LONG50 "12345\";",
		KEYS "state_directory = \"" LONG100 LONG100 "\";",
		KEYS "run_directory = \"" LONG100 LONG100 "\"; socket = \"/s\";",
		KEYS "socket = \"" LONG100 "1234567\";",
		KEYS "networks = ( { name = \"n\"; bridge = \"123456789012345\"; } );",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

static void words_are_listed(void **state)
{
	static const Bad cases[] = {
		{ KEYS "accel = \"xen\";", ":2: accel: is \"xen\": not one of \"tcg\", \"kvm\"" },
		{ KEYS "accel = true;", ":2: accel: is not one of \"tcg\", \"kvm\"" },
		{ KEYS "guard = \"off\";",
		  ":2: guard: is \"off\": not one of \"enforce\", \"warn\"" },
		{ KEYS "memory = \"huge\";",
		  ":2: memory: is \"huge\": not one of \"anonymous\", \"huge-2m\"" },
		{ KEYS "log_level = \"all\";",
		  ":2: log_level: is \"all\": not one of \"error\", \"warning\", \"info\", \"debug\"" },
		{ KEYS "disks = \"plain\";",
		  ":2: disks: is \"plain\": not one of \"any\", \"sealed\", \"fresh-key\"" },
		{ KEYS "disks = \"\";",
		  ":2: disks: is \"\": not one of \"any\", \"sealed\", \"fresh-key\"" },
		{ KEYS "trust = ( { domain = \"a.b\"; root = \"/r\"; disks = \"none\"; } );",
		  ":2: trust[0].disks: is \"none\": not one of \"any\", \"sealed\", \"fresh-key\"" },
		{ KEYS "networks = ( { name = \"n\"; type = \"tap\"; } );",
		  ":2: networks[0].type: is \"tap\": not one of \"bridge\", \"user\"" },
	};
	static const char *const good[] = {
		KEYS "accel = \"tcg\"; memory = \"huge-2m\"; log_level = \"debug\";",
		KEYS "accel = \"kvm\"; memory = \"anonymous\"; log_level = \"error\";",
		KEYS "guard = \"enforce\";",
		KEYS "guard = \"warn\";",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

static void addresses_are_numeric(void **state)
{
#define ENDPOINT ": not ADDRESS:PORT with a numeric IPv4 address or [ADDRESS]:PORT with an IPv6 one"
	static const Bad cases[] = {
		{ KEYS "listen = \"::1\";", ":2: listen: is \"::1\"" ENDPOINT },
		{ KEYS "listen = \"7468\";", ":2: listen: is \"7468\"" ENDPOINT },
		{ KEYS "listen = \":7468\";", ":2: listen: is \":7468\"" ENDPOINT },
		{ KEYS "listen = \"localhost:7468\";",
		  ":2: listen: is \"localhost:7468\"" ENDPOINT },
		{ KEYS "listen = \"[::1:7468\";", ":2: listen: is \"[::1:7468\"" ENDPOINT },
		{ KEYS "listen = \"[127.0.0.1]:7468\";",
		  ":2: listen: is \"[127.0.0.1]:7468\"" ENDPOINT },
		{ KEYS "listen = \"127.0.0.1:0\";",
		  ":2: listen: is \"127.0.0.1:0\": port outside 1 to 65535" },
		{ KEYS "listen = \"[::1]:65536\";",
		  ":2: listen: is \"[::1]:65536\": port outside 1 to 65535" },
		{ KEYS "listen = \"127.0.0.1:-1\";",
		  ":2: listen: is \"127.0.0.1:-1\": port outside 1 to 65535" },
		{ KEYS "listen = \"127.0.0.1: 80\";",
		  ":2: listen: is \"127.0.0.1: 80\": port outside 1 to 65535" },
		{ KEYS
		  "networks = ( { name = \"n\"; type = \"user\"; forwards = ( { listen = \"[::1]:1\"; "
		  "guest = \"10.0.0.2:2\"; } ); } );",
		  ":2: networks[0].forwards[0].listen: is \"[::1]:1\": not ADDRESS:PORT with a numeric "
		  "IPv4 address" },
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	Error err;

	assert_works(load(KEYS "listen = \"[2001:db8::1]:65535\";", &err), &err);
	assert_string_equal(config.listen_address, "2001:db8::1");
	assert_int_equal(config.listen_port, 65535);
	config_release(&config);
	assert_works(load(KEYS "listen = \"192.0.2.1:1\";", &err), &err);
	assert_string_equal(config.listen_address, "192.0.2.1");
	assert_int_equal(config.listen_port, 1);
	config_release(&config);
}

static void lists_and_groups_have_their_form(void **state)
{
	static const Bad cases[] = {
		{ "tls = 1;", ":1: tls: is not a group { name = value; ... }" },
		{ KEYS "users = ();", ":2: users: is not a group { name = value; ... }" },
		{ KEYS "pools = { };", ":2: pools: is not a list ( { ... }, ... )" },
		{ KEYS "pools = ( 1 );", ":2: pools[0]: is not a group { name = value; ... }" },
		{ KEYS
		  "networks = ( { name = \"n\"; type = \"user\"; forwards = ( {}, {}, {}, {}, {} ); } );",
		  ":2: networks[0].forwards: has 5 entries, at most 4" },
		{ KEYS "pools = ( { name = \"a/b\"; directory = \"/p\"; } );",
		  ":2: pools[0].name: is \"a/b\": not letters and digits, then also \".\", \"_\" and "
		  "\"-\"" },
		{ KEYS "pools = ( { name = \"p\"; directory = \"/p\"; domains = \"a.b\"; } );",
		  ":2: pools[0].domains: is not an array [ \"DOMAIN\", ... ]" },
		{ KEYS "pools = ( { name = \"p\"; directory = \"/p\"; domains = [ \"A\" ]; } );",
		  ":2: pools[0].domains[0]: is \"A\": not a domain such as \"north.example\"" },
		{ KEYS
		  "pools = ( { name = \"p\"; directory = \"/p\"; domains = [ \"a\", \"a\", \"a\", "
		  "\"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", \"a\", "
		  "\"a\", \"a\" ]; } );",
		  ":2: pools[0].domains: has 17 domains, at most 16" },
		{ KEYS "trust = ( { domain = \"a..b\"; root = \"/r\"; } );",
		  ":2: trust[0].domain: is \"a..b\": not a domain such as \"north.example\"" },
		{ KEYS "networks = ( { name = \"n\"; type = \"user\"; subnet = \"10.0.0.0\"; } );",
		  ":2: networks[0].subnet: is \"10.0.0.0\": not an IPv4 network such as \"10.0.0.0/24\", "
		  "/8 to /27" },
		{ KEYS
		  "networks = ( { name = \"n\"; type = \"user\"; subnet = \"10.0.0.0/28\"; } );",
		  ":2: networks[0].subnet: is \"10.0.0.0/28\": not an IPv4 network such as "
		  "\"10.0.0.0/24\", /8 to /27" },
	};
	static const char *const good[] = {
		KEYS "pools = (); networks = (); trust = (); users = { };",
		KEYS "networks = ( { name = \"n\"; type = \"user\"; subnet = \"10.0.0.0/27\"; } );",
		KEYS
		"pools = ( { name = \"p\"; directory = \"/p\"; domains = [ \"a.b\", \"c.d\" ]; } );",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

/* Two entries that one caller would find both; and a network that has what its type ignores. */
static void entries_do_not_contradict_each_other(void **state)
{
#define POOL(access)	"{ name = \"p\"; directory = \"/p\"; " access " }"
#define NETWORK(access) "{ name = \"n\"; bridge = \"b\"; " access " }"
	static const Bad cases[] = {
		{ KEYS
		  "trust = ( { domain = \"a.b\"; root = \"/r\"; },\n{ domain = \"a.b\"; root = \"/s\"; } );",
		  ":3: trust[1]: domain \"a.b\" is in entry 0 already" },
		{ KEYS "pools = ( " POOL("local = true;") ",\n" POOL("local = true;") " );",
		  ":3: pools[1]: \"p\" is there twice for VMs that are started here" },
		{ KEYS "pools = ( " POOL("domains = [ \"a.b\" ];") ",\n" POOL(
			  "domains = [ \"c.d\", \"a.b\" ];") " );",
		  ":3: pools[1]: \"p\" is there twice for domain \"a.b\"" },
		{ KEYS "pools = ( " POOL("local = true; sealed = true;") " );",
		  ":2: pools[0]: is \"sealed\" and not \"own\": what several hosts reach is not copied" },
		{ KEYS "networks = ( " NETWORK("local = true;") ", " NETWORK("local = true;") " );",
		  ":2: networks[1]: \"n\" is there twice for VMs that are started here" },
		{ KEYS "networks = ( " NETWORK("subnet = \"10.0.0.0/24\";") " );",
		  ":2: networks[0]: has \"subnet\" or \"forwards\", which only type \"user\" knows" },
		{ KEYS "networks = ( " NETWORK("type = \"user\";") " );",
		  ":2: networks[0]: has \"bridge\", which type \"user\" does not know" },
	};
	static const char *const good[] = {
		KEYS "pools = ( " POOL("local = true;") ", " POOL("domains = [ \"a.b\" ];") " );",
		KEYS "pools = ( " POOL("domains = [ \"c.d\" ];") ", " POOL(
			"domains = [ \"a.b\" ];") " );",
		KEYS "pools = ( " POOL("local = true; own = true; sealed = true;") " );",
		KEYS "pools = ( " POOL("local = true; own = true; sealed = false;") " );",
		KEYS "networks = ( " NETWORK("local = true;") ", " NETWORK(
			"domains = [ \"a.b\" ];") " );",
	};

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	check_good(good, ARRAY_SIZE(good));
}

static void users_are_numbers_or_users(void **state)
{
	static const Bad cases[] = {
		{ KEYS "users = { gate = \"0:1\"; };",
		  ":2: users.gate: is \"0:1\": not UID:GID in digits, neither of them 0" },
		{ KEYS "users = { mover = \"root\"; };",
		  ":2: users.mover: is \"root\": not UID:GID in digits, neither of them 0" },
		{ KEYS "users = { qemu = \"-1:-1\"; };",
		  ":2: users.qemu: is \"-1:-1\": not UID:GID in digits, neither of them 0" },
		{ KEYS "users = { qemu = \"nobody-of-that-name\"; };",
		  ":2: users.qemu: is \"nobody-of-that-name\": there is no user \"nobody-of-that-name\"" },
		{ KEYS "users = { qemu = \"root\"; };",
		  ":2: users.qemu: is \"root\": QEMU may not run as root (user \"root\")" },
		{ KEYS "api_group = \"no-group-of-that-name\";",
		  ":2: api_group: is \"no-group-of-that-name\": there is no such group" },
	};
	const struct group *root = getgrgid(0);
	char text[512];
	Error err;

	(void)state;
	check_bad(cases, ARRAY_SIZE(cases));
	assert_works(load(KEYS "users = { gate = \"1:2\"; qemu = \"3:4\"; };", &err), &err);
	assert_string_equal(config.gate_user, "1:2");
	assert_int_equal(config.resources.user.uid, 3);
	assert_int_equal(config.resources.user.gid, 4);
	config_release(&config);
	if (!root)
		return;
	snprintf(text, sizeof(text), KEYS "api_group = \"%s\";", root->gr_name);
	assert_works(load(text, &err), &err);
	assert_int_equal(config.api_gid, 0);
	config_release(&config);
}

static void an_aead_must_be_there(void **state)
{
	char there[128] = "\"auto\"", said[256], text[512];
	size_t count;
	const AeadProvider *const *providers = aead_providers(&count);
	Error err;

	(void)state;
	for (size_t i = 0; i < count; i++)
		if (providers[i]->usable())
			snprintf(there + strlen(there), sizeof(there) - strlen(there), ", \"%s\"",
				 providers[i]->name);
	snprintf(said, sizeof(said), ":2: aead: is \"rot13\": no such provider, there are %s",
		 there);
	check_bad(&(Bad){ KEYS "aead = \"rot13\";", said }, 1);
	assert_non_null(strstr(said, "\"auto\", \"openssl\""));
	for (size_t i = 0; i < count; i++) {
		snprintf(text, sizeof(text), KEYS "aead = \"%s\";", providers[i]->name);
		snprintf(said, sizeof(said),
			 ":2: aead: is \"%s\": no such provider on this machine, there are %s",
			 providers[i]->name, there);
		if (!providers[i]->usable()) {
			check_bad(&(Bad){ text, said }, 1);
			continue;
		}
		assert_works(load(text, &err), &err);
		assert_false(config.aead_measured);
		config_release(&config);
	}
	assert_works(load(KEYS "aead = \"auto\";", &err), &err);
	assert_true(config.aead_measured);
	config_release(&config);
}

static void defaults_are_those_of_the_manual(void **state)
{
	Error err;

	(void)state;
	assert_works(load(KEYS, &err), &err);
	assert_string_equal(config.socket, "/run/sealift/sealiftd.sock");
	assert_string_equal(config.boot_directory, "/var/lib/sealift/boot");
	assert_int_equal(config.policy.per_peer, 1);
	assert_int_equal(config.per_domain, 2);
	assert_int_equal(config.max_vcpus, 0);
	assert_int_equal(config.policy.lease_s, 30);
	assert_int_equal(config.policy.max_channels, LIMIT_STREAM_CHANNELS);
	assert_int_equal(config.policy.reserve_bytes, 512 << 20);
	config_release(&config);
	assert_works(
		load(KEYS "max_channels = 1; transfer_seconds = 2; reserve_memory = \"1G\";", &err),
		&err);
	assert_int_equal(config.policy.max_channels, 1);
	assert_int_equal(config.policy.transfer_ms, 2000);
	assert_int_equal(config.policy.reserve_bytes, 1 << 30);
	config_release(&config);
	assert_works(load(KEYS "reservations_per_peer = 8;", &err), &err);
	assert_int_equal(config.per_domain, 16);
	config_release(&config);
	assert_works(load(KEYS "reservations_per_peer = 8; reservations_per_domain = 3;", &err),
		     &err);
	assert_int_equal(config.per_domain, 3);
	config_release(&config);
}

/* A domain's own word counts before that for all. */
static void disks_may_be_demanded_either_way(void **state)
{
	Error err;

	(void)state;
	assert_works(load(KEYS, &err), &err);
	assert_int_equal(config_disks(&config, "a.b"), CONFIG_DISKS_ANY);
	config_release(&config);
	assert_works(load(KEYS "disks = \"sealed\"; trust = ( "
			       "{ domain = \"a.b\"; root = \"/r\"; disks = \"fresh-key\"; }, "
			       "{ domain = \"c.d\"; root = \"/r\"; disks = \"any\"; }, "
			       "{ domain = \"e.f\"; root = \"/r\"; } );",
			  &err),
		     &err);
	assert_int_equal(config_disks(&config, "a.b"), CONFIG_DISKS_FRESH_KEY);
	assert_int_equal(config_disks(&config, "c.d"), CONFIG_DISKS_ANY);
	assert_int_equal(config_disks(&config, "e.f"), CONFIG_DISKS_SEALED);
	assert_int_equal(config_disks(&config, "g.h"), CONFIG_DISKS_SEALED);
	config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_required_is_asked_for_by_name),
		cmocka_unit_test(keys_have_a_root_and_a_store),
		cmocka_unit_test(what_is_unknown_is_refused),
		cmocka_unit_test(what_is_no_configuration_is_refused),
		cmocka_unit_test(numbers_have_bounds),
		cmocka_unit_test(texts_have_bounds),
		cmocka_unit_test(words_are_listed),
		cmocka_unit_test(addresses_are_numeric),
		cmocka_unit_test(lists_and_groups_have_their_form),
		cmocka_unit_test(entries_do_not_contradict_each_other),
		cmocka_unit_test(disks_may_be_demanded_either_way),
		cmocka_unit_test(users_are_numbers_or_users),
		cmocka_unit_test(an_aead_must_be_there),
		cmocka_unit_test(defaults_are_those_of_the_manual),
	};

	return cmocka_run_group_tests_name("engine/config", tests, NULL, NULL);
}
