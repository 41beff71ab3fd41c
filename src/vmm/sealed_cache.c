/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sealed_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bounds.h"
#include "base/file.h"

enum { MAGIC_SIZE = 8, HEADER_SIZE = MAGIC_SIZE + DIGEST_SHA256_SIZE, KEY_HEX = 65 };
static const char magic[MAGIC_SIZE + 1] = "SLIFTC01";

typedef struct Entry {
	uint8_t key[DIGEST_SHA256_SIZE];
	int fd;
} Entry;

struct SealedCache {
	char directory[LIMIT_PATH];
	Entry entries[SEALED_CACHE_MEMORIES];
	size_t used;
	size_t next; /* is replaced */
};

SealedCache *sealed_cache_new(const char *directory, Error *err)
{
	SealedCache *cache = calloc(1, sizeof(*cache));

	if (!cache) {
		error_set(err, ERROR_INTERNAL, "no memory for a cache");
		return NULL;
	}
	snprintf(cache->directory, sizeof(cache->directory), "%s", directory);
	return cache;
}

void sealed_cache_free(SealedCache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < cache->used; i++)
		close(cache->entries[i].fd);
	free(cache);
}

static const char *hex_of(const uint8_t key[DIGEST_SHA256_SIZE], char text[KEY_HEX])
{
	for (size_t i = 0; i < DIGEST_SHA256_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	return text;
}

static void path_of(const SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE],
		    char path[LIMIT_PATH + KEY_HEX + 1])
{
	char name[KEY_HEX];

	snprintf(path, LIMIT_PATH + KEY_HEX + 1, "%s/%s", cache->directory, hex_of(key, name));
}

/* --- memory --- */

int sealed_memory_new(const void *data, size_t size, Error *err)
{
	AUTO_FD int fd = file_make_memory("sealift");

	if (fd < 0 || !file_write_fd(fd, data, size, err) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) {
		error_set_errno(err, ERROR_INTERNAL, errno, "cannot make sealed memory");
		return -1;
	}
	return TAKE_FD(fd);
}

static void remember(SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE], int fd)
{
	Entry *entry = &cache->entries[cache->next];
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return;
	if (cache->next < cache->used)
		close(entry->fd);
	else
		cache->used++;
	memcpy(entry->key, key, DIGEST_SHA256_SIZE);
	entry->fd = copy;
	cache->next = (cache->next + 1) % SEALED_CACHE_MEMORIES;
}

/* --- files --- */

/* The content of a file whose digest fits, as sealed memory; -1. */
static int read_entry(const char *path, size_t max_bytes)
{
	AUTO_BUFFER Buffer file = BUFFER_INIT(HEADER_SIZE + max_bytes);
	uint8_t digest[DIGEST_SHA256_SIZE];
	Error ignored = ERROR_INIT;

	if (!file_read(path, HEADER_SIZE + max_bytes, &file, &ignored) || file.used < HEADER_SIZE ||
	    memcmp(file.data, magic, MAGIC_SIZE) ||
	    !digest_sha256(file.data + HEADER_SIZE, file.used - HEADER_SIZE, digest, &ignored) ||
	    memcmp(file.data + MAGIC_SIZE, digest, sizeof(digest)))
		return -1;
	return sealed_memory_new(file.data + HEADER_SIZE, file.used - HEADER_SIZE, &ignored);
}

int sealed_cache_find(SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE], size_t max_bytes)
{
	char path[LIMIT_PATH + KEY_HEX + 1];
	int fd;

	if (!cache)
		return -1;
	for (size_t i = 0; i < cache->used; i++)
		if (!memcmp(cache->entries[i].key, key, DIGEST_SHA256_SIZE))
			return fcntl(cache->entries[i].fd, F_DUPFD_CLOEXEC, 3);
	path_of(cache, key, path);
	fd = read_entry(path, max_bytes);
	if (fd >= 0)
		remember(cache, key, fd);
	else
		(void)unlink(path);
	return fd;
}

/* Removes the oldest file if the directory is full. */
static void make_room(const SealedCache *cache)
{
	char oldest[KEY_HEX] = "", path[LIMIT_PATH + KEY_HEX + 1];
	struct timespec oldest_time = { 0 };
	size_t count = 0;
	const struct dirent *entry;
	DIR *directory = opendir(cache->directory);

	while (directory && (entry = readdir(directory))) {
		struct stat status;

		if (strlen(entry->d_name) != KEY_HEX - 1 ||
		    fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
			continue;
		if (!count++ || status.st_mtim.tv_sec < oldest_time.tv_sec) {
			memcpy(oldest, entry->d_name, sizeof(oldest));
			oldest_time = status.st_mtim;
		}
	}
	if (directory)
		closedir(directory);
	if (count < SEALED_CACHE_FILES)
		return;
	snprintf(path, sizeof(path), "%s/%s", cache->directory, oldest);
	(void)unlink(path);
}

/* The engine's journal lies on the same disk, and is worth more. */
static bool check_room(const SealedCache *cache, Error *err)
{
	struct statvfs status;

	if (statvfs(cache->directory, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot look at %s", cache->directory);
	if (status.f_bavail < SEALED_CACHE_SPARE / status.f_frsize)
		return error_set(err, ERROR_LIMIT, "less than %d MiB are free for %s",
				 SEALED_CACHE_SPARE >> 20, cache->directory);
	return true;
}

static bool read_memory(int fd, Buffer *bytes, Error *err)
{
	uint8_t chunk[4096];
	ssize_t got;

	while ((got = pread(fd, chunk, sizeof(chunk), (off_t)(bytes->used - HEADER_SIZE))) > 0)
		if (!buffer_put(bytes, chunk, (size_t)got, err))
			return false;
	return !got || error_set_errno(err, ERROR_IO, errno, "cannot read sealed memory");
}

bool sealed_cache_keep(SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE], int memory_fd,
		       Error *err)
{
	AUTO_BUFFER Buffer file = BUFFER_INIT(HEADER_SIZE + LIMIT_TWIN);
	uint8_t nothing[DIGEST_SHA256_SIZE] = { 0 };
	char path[LIMIT_PATH + KEY_HEX + 1];

	if (!cache)
		return true;
	remember(cache, key, memory_fd);
	if (!file_make_directories(cache->directory, 0700, err) || !check_room(cache, err) ||
	    !buffer_put(&file, magic, MAGIC_SIZE, err) ||
	    !buffer_put(&file, nothing, sizeof(nothing), err) ||
	    !read_memory(memory_fd, &file, err) ||
	    !digest_sha256(file.data + HEADER_SIZE, file.used - HEADER_SIZE, file.data + MAGIC_SIZE,
			   err))
		return false;
	make_room(cache);
	path_of(cache, key, path);
	return file_replace(path, file.data, file.used, 0600, err);
}
