/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_status.h"

#include <stddef.h>
#include <stdio.h>

typedef struct Figure {
	const char *name;
	size_t offset;
} Figure;

static const Figure top_figures[] = {
	{ "total-time", offsetof(VmmMigration, total_ms) },
	{ "setup-time", offsetof(VmmMigration, setup_ms) },
	{ "expected-downtime", offsetof(VmmMigration, expected_downtime_ms) },
	{ "downtime", offsetof(VmmMigration, downtime_ms) },
};

static const Figure ram_figures[] = {
	{ "total", offsetof(VmmMigration, ram_total_bytes) },
	{ "transferred", offsetof(VmmMigration, ram_transferred_bytes) },
	{ "remaining", offsetof(VmmMigration, ram_remaining_bytes) },
	{ "precopy-bytes", offsetof(VmmMigration, precopy_bytes) },
	{ "downtime-bytes", offsetof(VmmMigration, downtime_bytes) },
	{ "multifd-bytes", offsetof(VmmMigration, multifd_bytes) },
	{ "normal", offsetof(VmmMigration, normal_pages) },
	{ "duplicate", offsetof(VmmMigration, duplicate_pages) },
	{ "page-size", offsetof(VmmMigration, page_size_bytes) },
	{ "dirty-sync-count", offsetof(VmmMigration, iteration) },
	{ "dirty-pages-rate", offsetof(VmmMigration, dirty_pages_s) },
};

static void take_figures(const json_t *object, const Figure *figures, size_t count,
			 VmmMigration *migration)
{
	for (size_t i = 0; i < count; i++) {
		json_int_t value = json_integer_value(json_object_get(object, figures[i].name));

		if (value > 0)
			*(uint64_t *)(void *)((char *)migration + figures[i].offset) =
				(uint64_t)value;
	}
}

bool qemu_status_of_migration(const json_t *reply, VmmMigration *ret_migration, Error *err)
{
	const char *status = json_string_value(json_object_get(reply, "status"));
	const char *reason = json_string_value(json_object_get(reply, "error-desc"));
	const json_t *ram = json_object_get(reply, "ram");
	double mbps = json_number_value(json_object_get(ram, "mbps"));
	VmmMigration migration = { .status = VMM_MIGRATION_NONE };

	if (!json_is_object(reply))
		return error_set(err, ERROR_HYPERVISOR, "query-migrate: the reply is no object");
	if (status)
		migration.status = vmm_migration_status_of_word(status);
	take_figures(reply, top_figures, ARRAY_SIZE(top_figures), &migration);
	take_figures(ram, ram_figures, ARRAY_SIZE(ram_figures), &migration);
	if (mbps > 0 && mbps < 1e12)
		migration.bits_s = (uint64_t)(mbps * 1e6);
	if (reason)
		snprintf(migration.error, sizeof(migration.error), "%s", reason);
	*ret_migration = migration;
	return true;
}

bool qemu_status_of_run(const json_t *reply, VmmRunState *ret_state, Error *err)
{
	const char *status = json_string_value(json_object_get(reply, "status"));

	if (!status)
		return error_set(err, ERROR_HYPERVISOR, "query-status: the reply has no status");
	*ret_state = vmm_run_state_of_word(status);
	return true;
}
