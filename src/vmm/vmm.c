/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vmm.h"

#include <assert.h>
#include <string.h>

static const char *const status_words[] = {
	[VMM_MIGRATION_NONE] = "none",		 [VMM_MIGRATION_SETUP] = "setup",
	[VMM_MIGRATION_ACTIVE] = "active",	 [VMM_MIGRATION_PRE_SWITCHOVER] = "pre-switchover",
	[VMM_MIGRATION_DEVICE] = "device",	 [VMM_MIGRATION_COMPLETED] = "completed",
	[VMM_MIGRATION_FAILED] = "failed",	 [VMM_MIGRATION_CANCELLING] = "cancelling",
	[VMM_MIGRATION_CANCELLED] = "cancelled", [VMM_MIGRATION_OTHER] = "other",
};
static_assert(ARRAY_SIZE(status_words) == VMM_MIGRATION_STATUS_COUNT, "a word for each status");

static const char *const run_state_words[] = {
	[VMM_RUN_OTHER] = "other",
	[VMM_RUN_RUNNING] = "running",
	[VMM_RUN_PAUSED] = "paused",
	[VMM_RUN_PRELAUNCH] = "prelaunch",
	[VMM_RUN_INMIGRATE] = "inmigrate",
	[VMM_RUN_FINISH_MIGRATE] = "finish-migrate",
	[VMM_RUN_POSTMIGRATE] = "postmigrate",
	[VMM_RUN_SHUTDOWN] = "shutdown",
	[VMM_RUN_IO_ERROR] = "io-error",
	[VMM_RUN_INTERNAL_ERROR] = "internal-error",
	[VMM_RUN_GUEST_PANICKED] = "guest-panicked",
};
static_assert(ARRAY_SIZE(run_state_words) == VMM_RUN_STATE_COUNT, "a word for each state");

const char *vmm_migration_status_word(VmmMigrationStatus status)
{
	assert(status < VMM_MIGRATION_STATUS_COUNT);
	return status_words[status];
}

const char *vmm_run_state_word(VmmRunState state)
{
	assert(state < VMM_RUN_STATE_COUNT);
	return run_state_words[state];
}

VmmMigrationStatus vmm_migration_status_of_word(const char *word)
{
	for (int i = 0; word && i < VMM_MIGRATION_STATUS_COUNT; i++)
		if (!strcmp(status_words[i], word))
			return (VmmMigrationStatus)i;
	return VMM_MIGRATION_OTHER;
}

VmmRunState vmm_run_state_of_word(const char *word)
{
	for (int i = 0; word && i < VMM_RUN_STATE_COUNT; i++)
		if (!strcmp(run_state_words[i], word))
			return (VmmRunState)i;
	return VMM_RUN_OTHER;
}
