/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* linux/memfd.h, since 6.3 */
#endif

bool file_read_fd(int fd, size_t max_bytes, Buffer *buffer, Error *err)
{
	uint8_t chunk[4096];
	size_t total = 0;
	ssize_t got;
	bool ok = true;

	do {
		got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno != EINTR)
			ok = error_set_errno(err, ERROR_IO, errno, "cannot read");
		if (got <= 0)
			continue;
		if ((size_t)got > max_bytes - total)
			ok = error_set(err, ERROR_LIMIT, "longer than %zu bytes", max_bytes);
		else
			ok = buffer_put(buffer, chunk, (size_t)got, err);
		total += (size_t)got;
	} while (ok && got);
	/* It may have been a key. */
	explicit_bzero(chunk, sizeof(chunk));
	return ok;
}

bool file_read(const char *path, size_t max_bytes, Buffer *buffer, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;

	if (fd < 0)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
				       "cannot open %s", path);
	if (fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot examine %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "%s is not a regular file", path);
	return file_read_fd(fd, max_bytes, buffer, err) || error_prefix(err, "%s", path);
}

bool file_write_fd(int fd, const void *data, size_t size, Error *err)
{
	const uint8_t *bytes = data;

	while (size) {
		ssize_t put = write(fd, bytes, size);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot write");
		bytes += put;
		size -= (size_t)put;
	}
	return true;
}

bool file_sync_directory_of(const char *path, Error *err)
{
	char directory[PATH_MAX];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (!slash)
		snprintf(directory, sizeof(directory), ".");
	else
		slash[slash == directory] = '\0';

	AUTO_FD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return error_set_errno(err, ERROR_IO, errno, "cannot sync %s", directory);
	return true;
}

bool file_replace(const char *path, const void *data, size_t size, unsigned int mode, Error *err)
{
	char temporary[PATH_MAX];
	bool ok;

	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return error_set(err, ERROR_LIMIT, "%s is longer than %d characters", path,
				 PATH_MAX - 8);

	AUTO_FD int fd = mkostemp(temporary, O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot create %s", temporary);
	ok = file_write_fd(fd, data, size, err);
	if (ok && (fchmod(fd, mode) || fsync(fd) || rename(temporary, path)))
		ok = error_set_errno(err, ERROR_IO, errno, "cannot replace %s", path);
	if (!ok) {
		unlink(temporary);
		return false;
	}
	return file_sync_directory_of(path, err);
}

int file_make_memory(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	/* A kernel that does not know the last flag says so. */
	return fd >= 0 || errno != EINVAL ? fd
					  : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/* What exists already must be a directory too: mkdir says EEXIST of any file. */
static bool make_directory(const char *path, unsigned int mode)
{
	struct stat status;

	if (!mkdir(path, mode))
		return true;
	if (errno != EEXIST || stat(path, &status))
		return false;
	if (S_ISDIR(status.st_mode))
		return true;
	errno = ENOTDIR;
	return false;
}

bool file_make_directories(const char *path, unsigned int mode, Error *err)
{
	char partial[PATH_MAX];

	if (snprintf(partial, sizeof(partial), "%s", path) >= (int)sizeof(partial))
		return error_set(err, ERROR_LIMIT, "%s is longer than %d characters", path,
				 PATH_MAX - 1);
	if (!partial[0])
		return error_set(err, ERROR_IO, "cannot make a directory without a name");
	for (char *p = partial + 1;; p++) {
		char saved = *p;

		if (saved != '/' && saved != '\0')
			continue;
		*p = '\0';
		if (!make_directory(partial, mode))
			return error_set_errno(err, ERROR_IO, errno, "cannot make %s", partial);
		*p = saved;
		if (!saved)
			return true;
	}
}
