/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "keys/tpm2_root.h"
#include "programs/keyhelper/keyhelper.h"

/* At once and not when keyd asks: afterwards the filter leaves no way to the chip. */
bool helper_open_tpm2(Helper *helper, Error *err)
{
	HelperSetup *setup = &helper->setup;
	const Buffer *blob = &setup->contents[HELPER_PART_BLOB];
	const Tpm2Config config = { .fd = setup->files[HELPER_PART_DEVICE],
				    .deadline_ms = setup->tpm2.deadline_ms };

	if (config.fd < 0 || !blob->used)
		return error_set(
			err, ERROR_CONFIG, "no %s was given",
			helper_part_words[config.fd < 0 ? HELPER_PART_DEVICE : HELPER_PART_BLOB]);
	/* The library's own log is for those who debug it. */
	if (setenv("TSS2_LOG", "all+NONE", 1))
		return error_set(err, ERROR_INTERNAL, "no memory for a variable");
	helper->unsealed = tpm2_root_unseal(&config, blob->data, blob->used, err);
	cleanup_fd(&setup->files[HELPER_PART_DEVICE]);
	setup->files[HELPER_PART_DEVICE] = -1;
	return helper->unsealed != NULL;
}
