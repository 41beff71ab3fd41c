/* SPDX-License-Identifier: Apache-2.0 */
/* The openssl command as an independent peer: the auditor's two commands of the manual open what we
 * made, and what it seals opens here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "keys/package_json.h"
#include "package_world.h"

typedef struct Place {
	PackageWorld world;
	char *folder;
} Place;

static void put(const Place *place, const char *name, const Buffer *contents)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", place->folder, name);
	fixture_write(path, contents);
}

static int run(const Place *place, const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd '%s' && %s 2>errors", place->folder, command);
	return system(line);
}

static Buffer get(const Place *place, const char *name)
{
	Buffer contents = BUFFER_INIT(LIMIT_PACKAGE);
	char path[512];
	Error err = ERROR_INIT;

	snprintf(path, sizeof(path), "%s/%s", place->folder, name);
	if (!file_read(path, LIMIT_PACKAGE, &contents, &err))
		fail_msg("%s", err.text);
	return contents;
}

static int open_place(void **state)
{
	Place *place = malloc(sizeof(*place));

	assert_non_null(place);
	package_world_open(&place->world, 3, clock_wall_s(&clock_system));
	place->folder = fixture_directory_new();

	AUTO_FIXTURE_PEM FixturePem agree = fixture_pem_of(&place->world.agree);

	put(place, "root.crt", &place->world.north.root_pem);
	put(place, "agree.crt", &agree.certificate);
	put(place, "agree.key", &agree.key);
	*state = place;
	return 0;
}

static int close_place(void **state)
{
	Place *place = *state;

	fixture_directory_remove(place->folder);
	package_world_close(&place->world);
	free(place);
	return 0;
}

#define VERIFY                                                                                     \
	"openssl cms -verify -binary -cades -inform DER -in package -CAfile root.crt -purpose any"
#define DECRYPT "openssl cms -decrypt -inform DER -in envelope -recip agree.crt -inkey agree.key"

static void test_auditor_opens_ours(void **state)
{
	const Place *place = *state;
	AUTO_BUFFER Buffer der = package_world_made(&place->world);
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Error err = ERROR_INIT;

	if (system("openssl version >/dev/null 2>&1"))
		skip();
	put(place, "package", &der);
	assert_int_equal(run(place, VERIFY " -out envelope"), 0);
	assert_int_equal(run(place, DECRYPT " -out json"), 0);

	AUTO_BUFFER Buffer found = get(place, "json");

	assert_true(package_encode_json(&place->world.package, &json, &err));
	assert_int_equal(found.used, json.used);
	assert_memory_equal(found.data, json.data, json.used);
	der.data[der.used - 1] ^= 1;
	put(place, "package", &der);
	assert_int_not_equal(run(place, VERIFY " -out /dev/null"), 0);
}

static void test_we_open_theirs(void **state)
{
	const Place *place = *state;
	const PackageWorld *world = &place->world;
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Package package;
	Error err = ERROR_INIT;

	if (system("openssl version >/dev/null 2>&1"))
		skip();
	assert_true(package_encode_json(&world->package, &json, &err));
	put(place, "json", &json);
	assert_int_equal(run(place,
			     "openssl cms -encrypt -binary -aes-256-gcm -aes256-wrap -in json "
			     "-outform DER -out envelope -recip agree.crt -keyopt "
			     "ecdh_kdf_md:sha384"),
			 0);

	AUTO_BUFFER Buffer envelope = get(place, "envelope");

	assert_true(cms_sign_package(world->signer, world->package.permit, envelope.data,
				     envelope.used, &der, &err));
	if (!package_open(world->store, world->key, world->now_s, der.data, der.used,
			  &world->expected, &package, &err))
		fail_msg("%s", err.text);
	assert_memory_equal(&package, &world->package, sizeof(package));
	package_wipe(&package);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_auditor_opens_ours),
		WITH_PLACE(test_we_open_theirs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
