/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/folder.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/fault.h"

void *fault_folder_new(void)
{
	FaultFolder *folder = calloc(1, sizeof(*folder));
	Error err = ERROR_INIT;

	error_set(&err, ERROR_IO, "no temporary folder");
	if (!folder) {
		fault_must(false, &err);
		return NULL;
	}
	snprintf(folder->path, sizeof(folder->path), "/dev/shm/sealift-fault.XXXXXX");
	if (!mkdtemp(folder->path)) {
		snprintf(folder->path, sizeof(folder->path), "/tmp/sealift-fault.XXXXXX");
		fault_must(mkdtemp(folder->path), &err);
	}
	return folder;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

void fault_folder_free(void *folder)
{
	enum { DESCRIPTORS = 8 };

	(void)nftw(((const FaultFolder *)folder)->path, remove_one, DESCRIPTORS,
		   FTW_DEPTH | FTW_PHYS);
	free(folder);
}

const char *fault_path(const FaultFolder *folder, const char *name, char path[LIMIT_PATH])
{
	snprintf(path, LIMIT_PATH, "%s/%s", folder->path, name);
	return path;
}

bool fault_folder_holds(const FaultFolder *folder, size_t count, Error *err)
{
	DIR *list = opendir(folder->path);
	char last[LIMIT_NAME] = "nothing";
	size_t found = 0;

	for (struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list))
		if (entry->d_name[0] != '.') {
			snprintf(last, sizeof(last), "%.63s", entry->d_name);
			found++;
		}
	if (list)
		closedir(list);
	return found == count ||
	       error_set(err, ERROR_CONFLICT, "%zu files, not %zu: %s", found, count, last);
}
