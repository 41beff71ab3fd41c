/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/opened.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"

enum { SEALS = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };

static void wipe(OpenedValue *value)
{
	explicit_bzero(value->bytes, KEY_PASSPHRASE_BYTES);
	munmap(value->bytes, KEY_PASSPHRASE_BYTES);
	*value = (OpenedValue){ 0 };
}

static OpenedValue *find(Opened *opened, uint64_t subject)
{
	for (size_t i = 0; i < ARRAY_SIZE(opened->values); i++)
		if (opened->values[i].bytes && opened->values[i].subject == subject)
			return &opened->values[i];
	return NULL;
}

static OpenedValue *find_free(Opened *opened)
{
	for (size_t i = 0; i < ARRAY_SIZE(opened->values); i++)
		if (!opened->values[i].bytes)
			return &opened->values[i];
	return NULL;
}

/* Locked before anything is in it: as long as we map it, it is not swapped out. */
static bool fill(int fd, const Secret *passphrase, void **ret_bytes, Error *err)
{
	void *bytes;

	if (ftruncate(fd, KEY_PASSPHRASE_BYTES))
		return error_set_errno(err, ERROR_IO, errno, "cannot make room for a value");
	bytes = mmap(NULL, KEY_PASSPHRASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return error_set_errno(err, ERROR_IO, errno, "cannot map a value");
	if (mlock(bytes, KEY_PASSPHRASE_BYTES) || fcntl(fd, F_ADD_SEALS, SEALS)) {
		munmap(bytes, KEY_PASSPHRASE_BYTES);
		return error_set_errno(err, ERROR_IO, errno, "cannot lock and seal a value");
	}
	memcpy(bytes, secret_peek(passphrase), KEY_PASSPHRASE_BYTES);
	*ret_bytes = bytes;
	return true;
}

int opened_make(Opened *opened, uint64_t subject, const Secret *passphrase, int64_t now_us,
		Error *err)
{
	OpenedValue *place = find_free(opened);
	AUTO_FD int fd = -1;

	if (!place || find(opened, subject)) {
		if (place)
			error_set(err, ERROR_CONFLICT, "this request has opened a value already");
		else
			error_set(err, ERROR_LIMIT, "%d values are open already", KEYD_OPEN_MAX);
		return -1;
	}
	fd = file_make_memory("sealift-key");
	if (fd < 0) {
		error_set_errno(err, ERROR_IO, errno, "cannot make memory for a value");
		return -1;
	}
	if (!fill(fd, passphrase, &place->bytes, err))
		return -1;
	place->subject = subject;
	place->until_us = now_us + INT64_C(1000000) * KEYD_OPEN_S;
	return TAKE_FD(fd);
}

void opened_wipe(Opened *opened, uint64_t subject)
{
	OpenedValue *value = find(opened, subject);

	if (value)
		wipe(value);
}

int opened_expire(Opened *opened, int64_t now_us)
{
	int64_t next_us = INT64_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(opened->values); i++) {
		OpenedValue *value = &opened->values[i];

		if (!value->bytes)
			continue;
		if (value->until_us <= now_us)
			wipe(value);
		else if (value->until_us < next_us)
			next_us = value->until_us;
	}
	return next_us == INT64_MAX ? -1 : (int)((next_us - now_us) / 1000 + 1);
}

void opened_wipe_all(Opened *opened)
{
	for (size_t i = 0; i < ARRAY_SIZE(opened->values); i++)
		if (opened->values[i].bytes)
			wipe(&opened->values[i]);
}
