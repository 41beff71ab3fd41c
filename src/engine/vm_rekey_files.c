/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/vm_rekey_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

#define HIDDEN_PREFIX ".sealift-rekey."
#define FRESH_PREFIX  "rekey-"

enum {
	ENTRIES_MAX = 65536,	   /* of a pool that are looked at */
	DESCRIPTORS_MAX = 4096,	   /* of a hypervisor */
	OVERHEAD_BYTES = 24 << 20, /* headers and tables of the second image */
};

static int open_pool(const PoolResource *pool)
{
	return open(pool->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool look_at(const PoolResource *pool, const char *name, struct stat *ret_status)
{
	AUTO_FD int fd = open_pool(pool);

	return fd >= 0 && !fstatat(fd, name, ret_status, AT_SYMLINK_NOFOLLOW);
}

/* --- which pool --- */

static bool has_open(pid_t pid, const struct stat *wanted)
{
	const struct dirent *entry = NULL;
	struct stat status;
	bool found = false;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	for (int i = 0; directory && !found && i < DESCRIPTORS_MAX && (entry = readdir(directory));
	     i++)
		found = !fstatat(dirfd(directory), entry->d_name, &status, 0) &&
			status.st_dev == wanted->st_dev && status.st_ino == wanted->st_ino;
	if (directory)
		closedir(directory);
	return found;
}

bool rekey_files_in_use(const RekeyFiles *files, pid_t pid)
{
	struct stat status;

	return files->hidden[0] && look_at(files->pool, files->hidden, &status) &&
	       has_open(pid, &status);
}

bool rekey_files_pool(const Resources *resources, const ManifestDisk *disk, pid_t pid,
		      const PoolResource **ret_pool, Error *err)
{
	for (size_t i = 0; i < resources->pools_count; i++) {
		const PoolResource *pool = &resources->pools[i];
		struct stat status;

		if (strcmp(pool->name, disk->pool) != 0 || !look_at(pool, disk->volume, &status) ||
		    !has_open(pid, &status))
			continue;
		*ret_pool = pool;
		return true;
	}
	return error_set(err, ERROR_NOT_FOUND,
			 "no pool \"%s\" of this host holds the volume that the VM has open",
			 disk->pool);
}

/* --- names --- */

void rekey_files_fresh_name(const ManifestDisk *disk, uint64_t version, char ret_name[LIMIT_NAME])
{
	char id[KEY_ID_HEX];

	key_id_text(disk->key, id);
	snprintf(ret_name, LIMIT_NAME, FRESH_PREFIX "%s-%" PRIu64, id, version);
}

static void sweep(const PoolResource *pool, const char *prefix)
{
	AUTO_FD int pool_fd = open_pool(pool);
	const struct dirent *entry = NULL;
	DIR *directory = pool_fd < 0 ? NULL : opendir(pool->directory);
	size_t length = strlen(prefix);

	for (int n = 0; directory && n < ENTRIES_MAX && (entry = readdir(directory)); n++) {
		const char *version = entry->d_name + length;

		if (!strncmp(entry->d_name, prefix, length) && *version &&
		    strspn(version, "0123456789") == strlen(version))
			(void)unlinkat(pool_fd, entry->d_name, 0);
	}
	if (directory)
		closedir(directory);
}

void rekey_files_sweep(const Resources *resources, const ManifestDisk *disk)
{
	char id[KEY_ID_HEX], prefix[LIMIT_NAME];

	key_id_text(disk->key, id);
	snprintf(prefix, sizeof(prefix), FRESH_PREFIX "%s-", id);
	for (size_t i = 0; i < resources->pools_count; i++)
		if (!strcmp(resources->pools[i].name, disk->pool))
			sweep(&resources->pools[i], prefix);
}

static void prefix_of(const ManifestDisk *disk, char ret_prefix[REKEY_FILE_NAME])
{
	char id[KEY_ID_HEX];

	key_id_text(disk->key, id);
	snprintf(ret_prefix, REKEY_FILE_NAME, HIDDEN_PREFIX "%s.", id);
}

static RekeyPlace place_of(const PoolResource *pool, const ManifestDisk *disk, const char *hidden,
			   uint64_t inode)
{
	struct stat volume, second;

	if (!look_at(pool, hidden, &second) || !look_at(pool, disk->volume, &volume))
		return REKEY_UNCLEAR;
	if (second.st_ino == inode && volume.st_ino != inode)
		return REKEY_BEFORE;
	return volume.st_ino == inode && second.st_ino != inode ? REKEY_EXCHANGED : REKEY_UNCLEAR;
}

static void consider(const PoolResource *pool, const ManifestDisk *disk, const char *name,
		     RekeyFiles *found)
{
	char prefix[REKEY_FILE_NAME], again[REKEY_FILE_NAME];
	unsigned long long version, inode;

	prefix_of(disk, prefix);
	if (strncmp(name, prefix, strlen(prefix)) != 0 || strlen(name) >= REKEY_FILE_NAME ||
	    sscanf(name + strlen(prefix), "%19llu.%19llu", &version, &inode) != 2)
		return;
	/* Only what we have written ourselves. */
	snprintf(again, sizeof(again), "%.60s%llu.%llu", prefix, version, inode);
	if (strcmp(again, name) != 0 || version < found->version)
		return;
	found->pool = pool;
	found->version = version;
	found->place = place_of(pool, disk, name, inode);
	snprintf(found->hidden, sizeof(found->hidden), "%s", name);
}

void rekey_files_find(const Resources *resources, const ManifestDisk *disk, RekeyFiles *ret_files)
{
	*ret_files = (RekeyFiles){ .place = REKEY_NOTHING };
	for (size_t i = 0; i < resources->pools_count; i++) {
		const PoolResource *pool = &resources->pools[i];
		const struct dirent *entry = NULL;
		DIR *directory = strcmp(pool->name, disk->pool) ? NULL : opendir(pool->directory);

		for (int n = 0; directory && n < ENTRIES_MAX && (entry = readdir(directory)); n++)
			consider(pool, disk, entry->d_name, ret_files);
		if (directory)
			closedir(directory);
	}
}

/* --- before --- */

/* Two empty files, since only trying tells. */
static bool check_exchange(int pool_fd, Error *err)
{
	char names[2][64];
	bool ok = true;

	for (int i = 0; i < 2; i++) {
		AUTO_FD int fd = -1;

		snprintf(names[i], sizeof(names[i]), HIDDEN_PREFIX "try%d.%d", i, getpid());
		fd = openat(pool_fd, names[i], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		ok = ok && fd >= 0;
	}
	if (!ok)
		error_set_errno(err, ERROR_IO, errno, "cannot make a file in the pool");
	else if (renameat2(pool_fd, names[0], pool_fd, names[1], RENAME_EXCHANGE))
		ok = error_set_errno(
			err, ERROR_CONFLICT, errno,
			"the pool's file system cannot exchange the names of two files");
	for (int i = 0; i < 2; i++)
		(void)unlinkat(pool_fd, names[i], 0);
	return ok;
}

bool rekey_files_check(const PoolResource *pool, const ManifestDisk *disk, Error *err)
{
	AUTO_FD int pool_fd = open_pool(pool);
	struct statvfs space;
	struct stat status;
	uint64_t wanted;

	if (pool_fd < 0 || fstatat(pool_fd, disk->volume, &status, AT_SYMLINK_NOFOLLOW) ||
	    fstatvfs(pool_fd, &space))
		return error_set_errno(err, ERROR_IO, errno, "cannot look at the pool");
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFLICT,
				 "the volume is no regular file: its key cannot be changed here");
	/* A raw one has no holes; a qcow2 one takes what the old one does. */
	wanted =
		(disk->format == DISK_QCOW2 ? (uint64_t)status.st_blocks * 512 : disk->size_bytes) +
		OVERHEAD_BYTES;
	if (wanted / space.f_frsize >= space.f_bavail)
		return error_set(err, ERROR_LIMIT,
				 "a second image is needed: %" PRIu64 " bytes wanted, %" PRIu64
				 " free",
				 wanted, (uint64_t)space.f_bavail * space.f_frsize);
	return check_exchange(pool_fd, err);
}

bool rekey_files_hide(RekeyFiles *files, const ManifestDisk *disk, int *ret_fd, Error *err)
{
	AUTO_FD int pool_fd = open_pool(files->pool);
	AUTO_FD int fd = -1;
	char fresh[LIMIT_NAME], prefix[REKEY_FILE_NAME];
	struct stat status;

	rekey_files_fresh_name(disk, files->version, fresh);
	if (pool_fd >= 0)
		fd = openat(pool_fd, fresh,
			    O_RDWR | O_NOFOLLOW | O_CLOEXEC | (files->pool->direct ? O_DIRECT : 0));
	if (fd < 0 || fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot open the new image");
	prefix_of(disk, prefix);
	snprintf(files->hidden, sizeof(files->hidden), "%.60s%" PRIu64 ".%" PRIu64, prefix,
		 files->version, (uint64_t)status.st_ino);
	if (renameat2(pool_fd, fresh, pool_fd, files->hidden, RENAME_NOREPLACE) || fsync(pool_fd)) {
		files->hidden[0] = '\0';
		error_set_errno(err, ERROR_IO, errno, "cannot hide the new image");
		(void)unlinkat(pool_fd, fresh, 0);
		return false;
	}
	files->place = REKEY_BEFORE;
	*ret_fd = TAKE_FD(fd);
	return true;
}

/* --- the exchange, and after --- */

bool rekey_files_exchange(RekeyFiles *files, const ManifestDisk *disk, int fd, Error *err)
{
	AUTO_FD int pool_fd = open_pool(files->pool);

	if (pool_fd < 0 || (fd >= 0 && fsync(fd)))
		return error_set_errno(err, ERROR_IO, errno,
				       "cannot write the new image to the disk");
	if (renameat2(pool_fd, files->hidden, pool_fd, disk->volume, RENAME_EXCHANGE))
		return error_set_errno(err, ERROR_IO, errno, "cannot give the new image its name");
	if (fsync(pool_fd)) {
		error_set_errno(err, ERROR_IO, errno,
				"cannot write the new image's name to the disk");
		(void)renameat2(pool_fd, files->hidden, pool_fd, disk->volume, RENAME_EXCHANGE);
		return false;
	}
	files->place = files->place == REKEY_BEFORE ? REKEY_EXCHANGED : REKEY_BEFORE;
	return true;
}

bool rekey_files_remove(RekeyFiles *files, Error *err)
{
	AUTO_FD int pool_fd = files->hidden[0] ? open_pool(files->pool) : -1;

	if (!files->hidden[0])
		return true;
	if (pool_fd < 0 || (unlinkat(pool_fd, files->hidden, 0) && errno != ENOENT) ||
	    fsync(pool_fd))
		return error_set_errno(err, ERROR_IO, errno, "cannot remove %s", files->hidden);
	files->hidden[0] = '\0';
	files->place = REKEY_NOTHING;
	return true;
}
