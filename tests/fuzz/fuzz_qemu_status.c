/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/qemu_status.c and vmm/qemu_features.c: replies of a QEMU that its guest may have taken. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/qemu_features.h"
#include "vmm/qemu_status.h"

enum { REACHED_MIGRATION, REACHED_RUN, REACHED_SCHEMA };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "qemu_status_of_migration", "qemu_status_of_run",
					     "qemu_features_of_schema" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *reply = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
	VmmMigration migration;
	VmmRunState state;
	VmmFeatures features;
	Error err = ERROR_INIT;

	if (!reply)
		return 0;
	if (qemu_status_of_migration(reply, &migration, &err)) {
		fuzz_reached(REACHED_MIGRATION);
		if (!memchr(migration.error, '\0', sizeof(migration.error)))
			fuzz_fail("an error text without an end");
	}
	if (qemu_status_of_run(reply, &state, &err))
		fuzz_reached(REACHED_RUN);
	if (qemu_features_of_schema(reply, &features, &err))
		fuzz_reached(REACHED_SCHEMA);
	json_decref(reply);
	return 0;
}
