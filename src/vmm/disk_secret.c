/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/disk_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* linux/fcntl.h, since 5.1 */
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE };

/* What is in memory with a name of its own could be swapped out as any other. */
static bool map(DiskSecret *secret, Error *err)
{
	void *mapping =
		mmap(NULL, DISK_SECRET_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, secret->fd, 0);

	if (mapping == MAP_FAILED)
		return error_set_errno(err, ERROR_INTERNAL, errno, "no memory for a disk's secret");
	secret->mapping = mapping;
	if (mlock(mapping, DISK_SECRET_BYTES) ||
	    madvise(mapping, DISK_SECRET_BYTES, MADV_DONTDUMP) ||
	    madvise(mapping, DISK_SECRET_BYTES, MADV_DONTFORK))
		return error_set_errno(err, ERROR_IO, errno,
				       "cannot lock a disk's secret in memory");
	return true;
}

bool disk_secret_make(const Secret *passphrase, DiskSecret *ret_secret, Error *err)
{
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;

	if (secret_size(passphrase) != DISK_SECRET_BYTES)
		return error_set(err, ERROR_USAGE, "a disk's secret of %zu bytes, not %d",
				 secret_size(passphrase), DISK_SECRET_BYTES);
	secret.fd = file_make_memory("sealift-disk-secret");
	if (secret.fd < 0 || ftruncate(secret.fd, DISK_SECRET_BYTES))
		return error_set_errno(err, ERROR_INTERNAL, errno, "no memory for a disk's secret");
	if (!map(&secret, err))
		return false;
	/* Filled only after it is sealed: then it never was where it could be written or dumped. */
	if (fchmod(secret.fd, 0444) || fcntl(secret.fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL))
		return error_set_errno(err, ERROR_IO, errno, "cannot seal a disk's secret");
	memcpy(secret.mapping, secret_peek(passphrase), DISK_SECRET_BYTES);
	*ret_secret = secret;
	secret = DISK_SECRET_INIT;
	return true;
}

/* The text itself is nobody's business here: no value of it is told. */
static bool is_base64(const uint8_t *text)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < DISK_SECRET_BYTES - 1; i++)
		if (!text[i] || !strchr(letters, text[i]))
			return false;
	return text[DISK_SECRET_BYTES - 1] == '=';
}

bool disk_secret_check(int fd, Error *err)
{
	uint8_t text[DISK_SECRET_BYTES];
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);
	bool whole, good;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return error_set(err, ERROR_USAGE, "the secret is not in sealed memory");
	if (fstat(fd, &status) || status.st_size != DISK_SECRET_BYTES)
		return error_set(err, ERROR_USAGE, "the secret has %lld bytes, not %d",
				 (long long)status.st_size, DISK_SECRET_BYTES);
	whole = pread(fd, text, sizeof(text), 0) == DISK_SECRET_BYTES;
	good = whole && is_base64(text);
	explicit_bzero(text, sizeof(text));
	if (!whole)
		return error_set(err, ERROR_USAGE, "the secret cannot be read");
	return good || error_set(err, ERROR_USAGE, "the secret is no base64 text of %d bytes",
				 DISK_SECRET_BYTES);
}

void disk_secret_wipe(DiskSecret *secret)
{
	if (secret->mapping) {
		explicit_bzero(secret->mapping, DISK_SECRET_BYTES);
		munmap(secret->mapping, DISK_SECRET_BYTES);
	}
	if (secret->fd >= 0)
		close(secret->fd);
	*secret = DISK_SECRET_INIT;
}
