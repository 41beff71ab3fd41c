/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/bounds.h"
#include "base/file.h"
#include "base/secret.h"
#include "tests/fault/fault.h"
#include "tests/fault/folder.h"

/* --- buffers and secrets --- */

static bool use_buffer(void *fixture, Error *err)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_FRAME);
	char block[1000];

	(void)fixture;
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 8; i++)
		if (!buffer_put_be32(&buffer, UINT32_C(1), err) ||
		    !buffer_put(&buffer, block, sizeof(block), err))
			return false;
	buffer_consume(&buffer, 4);
	return (buffer.data[0] == 'x' && buffer.used == 8 * (4 + sizeof(block)) - 4) ||
	       fault_wrong(err, "the buffer holds something else");
}

static bool use_secret(void *fixture, Error *err)
{
	static const uint8_t key[] = "0123456789abcdef";
	AUTO_SECRET Secret *one = secret_new_from(key, sizeof(key), err);
	AUTO_SECRET Secret *two = one ? secret_new(sizeof(key), err) : NULL;

	(void)fixture;
	if (!two)
		return false;
	memcpy(secret_bytes(two), key, sizeof(key));
	return secret_equal(one, two) || fault_wrong(err, "two equal secrets differ");
}

/* --- a file that is replaced: old or new, never half, and no temporary file left --- */

static const char *const versions[] = { "the old text\n", "the new text, which is longer\n" };

static bool read_version(const FaultFolder *folder, int *ret_version, Error *err)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(LIMIT_PATH);
	char path[LIMIT_PATH];

	if (!file_read(fault_path(folder, "file", path), LIMIT_PATH, &bytes, err))
		return false;
	for (int i = 0; i < (int)ARRAY_SIZE(versions); i++)
		if (bytes.used == strlen(versions[i]) &&
		    !memcmp(bytes.data, versions[i], bytes.used)) {
			*ret_version = i;
			return true;
		}
	return fault_wrong(err, "the file is neither old nor new");
}

static bool replace_file(void *fixture, Error *err)
{
	const FaultFolder *folder = fixture;
	char path[LIMIT_PATH];
	int version = -1;

	fault_path(folder, "file", path);
	for (int i = 0; i < (int)ARRAY_SIZE(versions); i++)
		if (!file_replace(path, versions[i], strlen(versions[i]), 0600, err))
			return false;
	if (!read_version(folder, &version, err))
		return false;
	return version == 1 || fault_wrong(err, "the file is the old one");
}

static bool check_file(void *fixture, Error *err)
{
	int version;

	return read_version(fixture, &version, err) && fault_folder_holds(fixture, 1, err);
}

static bool make_directories(void *fixture, Error *err)
{
	static const char *const made[] = { "a/b/c", "a/b", "a" };
	const FaultFolder *folder = fixture;
	char path[LIMIT_PATH];
	bool ok = file_make_directories(fault_path(folder, "a/b/c", path), 0700, err);

	for (size_t i = 0; i < ARRAY_SIZE(made); i++)
		if (rmdir(fault_path(folder, made[i], path)) && ok)
			return fault_wrong(err, "a directory is missing");
	return ok;
}

const Scenario scenarios_base[] = {
	{ "base buffer", NULL, use_buffer, NULL, NULL, 0 },
	{ "base secret", NULL, use_secret, NULL, NULL, 0 },
	{ "base file replaced", fault_folder_new, replace_file, check_file, fault_folder_free, 0 },
	{ "base directories", fault_folder_new, make_directories, NULL, fault_folder_free, 0 },
	{ 0 },
};
