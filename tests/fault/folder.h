/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder as a fixture of scenarios. */
#ifndef SEALIFT_TESTS_FAULT_FOLDER_H
#define SEALIFT_TESTS_FAULT_FOLDER_H

#include "base/bounds.h"
#include "base/error.h"

typedef struct FaultFolder {
	char path[64];
} FaultFolder;

/* In memory where that can be had: nothing waits for a disk. Ends the program if there is none. */
void *fault_folder_new(void);
/* With all that is in it. */
void fault_folder_free(void *folder);
/* folder/name in the caller's buffer. */
const char *fault_path(const FaultFolder *folder, const char *name, char path[LIMIT_PATH]);
/* Whether so many files lie in it; ERROR_CONFLICT with the name of one if not. */
bool fault_folder_holds(const FaultFolder *folder, size_t count, Error *err);

#endif
