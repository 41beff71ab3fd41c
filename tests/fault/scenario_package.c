/* SPDX-License-Identifier: Apache-2.0 */
/* Key packages: made, opened, and refused, whatever fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "tests/fault/fault.h"
#include "tests/keys/package_world.h"

enum { KEYS = 3, FAULTS_MAX = 400 };

typedef struct PackageFixture {
	PackageWorld world;
	Buffer good, forged, lie;
	Buffer made; /* by the last run; empty if it failed */
	Package opened;
} PackageFixture;

static void *package_fixture_new(void)
{
	PackageFixture *f = calloc(1, sizeof(*f));
	Package lie;
	Error err = ERROR_INIT;

	fault_must(f, &err);
	package_world_open(&f->world, KEYS, FIXTURE_NOW_S);
	f->good = package_world_made(&f->world);
	f->forged = package_world_made(&f->world);
	f->forged.data[f->forged.used - 1] ^= 1;
	/* Signed and sealed by the right sender, with a value that is not the one that was named.
	 */
	lie = f->world.package;
	lie.keys[0].value[0] ^= 1;
	f->lie = package_world_forged(&f->world, &lie);
	package_wipe(&lie);
	f->made = BUFFER_INIT(LIMIT_PACKAGE);
	return f;
}

static void package_fixture_free(void *fixture)
{
	PackageFixture *f = fixture;

	buffer_clear(&f->good);
	buffer_clear(&f->forged);
	buffer_clear(&f->lie);
	buffer_clear(&f->made);
	package_wipe(&f->opened);
	package_world_close(&f->world);
	free(f);
}

static bool open_package(PackageFixture *f, const Buffer *der, Error *err)
{
	const PackageWorld *world = &f->world;

	/* What a refusal must not leave behind. */
	memset(&f->opened, 'x', sizeof(f->opened));
	return package_open(world->store, world->key, world->now_s, der->data, der->used,
			    &world->expected, &f->opened, err);
}

static bool is_wiped(const PackageFixture *f)
{
	static const Package nothing;

	return !memcmp(&f->opened, &nothing, sizeof(nothing));
}

static bool is_whole(const PackageFixture *f)
{
	const Package *package = &f->world.package;

	if (f->opened.keys_count != package->keys_count)
		return false;
	for (size_t i = 0; i < package->keys_count; i++)
		if (memcmp(f->opened.keys[i].value, package->keys[i].value, KEY_BYTES) != 0)
			return false;
	return true;
}

static bool make_package(void *fixture, Error *err)
{
	PackageFixture *f = fixture;
	const PackageWorld *world = &f->world;

	buffer_clear(&f->made);
	f->made = BUFFER_INIT(LIMIT_PACKAGE);
	if (package_make(world->signer, world->recipient, &world->package, &f->made, err))
		return f->made.used || fault_wrong(err, "no package");
	return f->made.used ? fault_wrong(err, "half a package") : false;
}

/* What was made despite a failure is as good as any: without memory OpenSSL 3.0 writes a SET
 * without its elements, or no content, and says that it went well; so the sender looks at what it
 * made (cms_check_made, cms_check_envelope). Here one that cannot be opened is wrong, unless it is
 * the opening that failed. */
static bool check_made(void *fixture, Error *err)
{
	PackageFixture *f = fixture;

	if (!f->made.used)
		return true;
	if (open_package(f, &f->made, err))
		return is_whole(f) || fault_wrong(err, "another package");
	return fault_wrong(err, "a package that does not open");
}

static bool take_package(void *fixture, Error *err)
{
	PackageFixture *f = fixture;

	if (open_package(f, &f->good, err))
		return is_whole(f) || fault_wrong(err, "another package");
	return is_wiped(f) ? false : fault_wrong(err, "values after a failure");
}

/* A lost allocation makes no bad package good, and leaves nothing of it. */
static bool refuse(PackageFixture *f, const Buffer *der, Error *err)
{
	Error refusal = ERROR_INIT;

	if (open_package(f, der, &refusal))
		return fault_wrong(err, "a bad package was opened");
	if (!is_wiped(f))
		return fault_wrong(err, "values of a refused package");
	return (refusal.category && refusal.text[0]) ||
	       fault_wrong(err, "refused without an error");
}

static bool refuse_forged(void *fixture, Error *err)
{
	PackageFixture *f = fixture;

	return refuse(f, &f->forged, err);
}

static bool refuse_lie(void *fixture, Error *err)
{
	PackageFixture *f = fixture;

	return refuse(f, &f->lie, err);
}

#define PACKAGE(name, run, check)                                                                  \
	{                                                                                          \
		name, package_fixture_new, run, check, package_fixture_free, FAULTS_MAX            \
	}
const Scenario scenarios_package[] = {
	PACKAGE("package made", make_package, check_made),
	PACKAGE("package opened", take_package, NULL),
	PACKAGE("package forgery refused", refuse_forged, take_package),
	PACKAGE("package lie refused", refuse_lie, take_package),
	{ 0 },
};
