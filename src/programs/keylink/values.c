/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keylink/values.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"

enum { SEALS = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };

static void wipe(Value *value)
{
	explicit_bzero(value->bytes, KEY_PASSPHRASE_BYTES);
	munmap(value->bytes, KEY_PASSPHRASE_BYTES);
	*value = (Value){ 0 };
}

/* Locked before anything is in it. */
static uint8_t *map(int fd, Error *err)
{
	void *bytes = MAP_FAILED;

	if (!ftruncate(fd, KEY_PASSPHRASE_BYTES))
		bytes = mmap(NULL, KEY_PASSPHRASE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		error_set_errno(err, ERROR_IO, errno, "cannot make room for a value");
		return NULL;
	}
	if (mlock(bytes, KEY_PASSPHRASE_BYTES) || fcntl(fd, F_ADD_SEALS, SEALS)) {
		error_set_errno(err, ERROR_IO, errno, "cannot lock and seal a value");
		munmap(bytes, KEY_PASSPHRASE_BYTES);
		return NULL;
	}
	return bytes;
}

static Value *find_free(Values *values)
{
	for (size_t i = 0; i < ARRAY_SIZE(values->values); i++)
		if (!values->values[i].bytes)
			return &values->values[i];
	return NULL;
}

int values_make(Values *values, uint64_t subject, const uint8_t passphrase[KEY_PASSPHRASE_BYTES],
		int64_t now_us, Error *err)
{
	Value *place = find_free(values);
	AUTO_FD int fd = -1;

	if (!place) {
		error_set(err, ERROR_LIMIT, "%d values are open already", KEYD_OPEN_MAX);
		return -1;
	}
	fd = file_make_memory("sealift-key");
	if (fd < 0) {
		error_set_errno(err, ERROR_IO, errno, "cannot make memory for a value");
		return -1;
	}
	place->bytes = map(fd, err);
	if (!place->bytes)
		return -1;
	memcpy(place->bytes, passphrase, KEY_PASSPHRASE_BYTES);
	place->subject = subject;
	place->until_us = now_us + INT64_C(1000000) * KEYD_OPEN_S;
	return TAKE_FD(fd);
}

void values_wipe(Values *values, uint64_t subject)
{
	for (size_t i = 0; i < ARRAY_SIZE(values->values); i++)
		if (values->values[i].bytes && values->values[i].subject == subject)
			wipe(&values->values[i]);
}

int64_t values_expire(Values *values, int64_t now_us)
{
	int64_t next_us = INT64_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(values->values); i++) {
		Value *value = &values->values[i];

		if (!value->bytes)
			continue;
		if (value->until_us <= now_us)
			wipe(value);
		else if (value->until_us < next_us)
			next_us = value->until_us;
	}
	return next_us;
}

void values_wipe_all(Values *values)
{
	for (size_t i = 0; i < ARRAY_SIZE(values->values); i++)
		if (values->values[i].bytes)
			wipe(&values->values[i]);
}
