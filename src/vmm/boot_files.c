/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "vmm/open_beneath.h"

enum { READ_BYTES = 256 * 1024 };

typedef struct BootFile {
	char name[NAME_MAX + 1];
	struct stat status;
	uint8_t sha256[DIGEST_SHA256_BYTES];
	bool seen;
} BootFile;

struct BootFiles {
	char directory[LIMIT_PATH];
	BootFile files[BOOT_FILES_MAX];
	size_t count;
};

static inline void digest_cleanup(EVP_MD_CTX **digest)
{
	EVP_MD_CTX_free(*digest);
}

static inline void directory_cleanup(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

BootFiles *boot_files_new(const char *directory, Error *err)
{
	BootFiles *files = calloc(1, sizeof(*files));

	if (!files) {
		error_set(err, ERROR_INTERNAL, "no memory for the boot directory");
		return NULL;
	}
	if ((size_t)snprintf(files->directory, LIMIT_PATH, "%s", directory) >= LIMIT_PATH) {
		free(files);
		error_set(err, ERROR_CONFIG, "boot directory %s is longer than %d bytes", directory,
			  LIMIT_PATH - 1);
		return NULL;
	}
	return files;
}

void boot_files_free(BootFiles *files)
{
	free(files);
}

bool boot_file_digest(int fd, uint8_t ret_sha256[DIGEST_SHA256_BYTES], Error *err)
{
	CLEANUP(digest_cleanup) EVP_MD_CTX *digest = EVP_MD_CTX_new();
	AUTO_FREE uint8_t *chunk = malloc(READ_BYTES);
	off_t offset = 0;

	if (!digest || !chunk || !EVP_DigestInit_ex(digest, EVP_sha256(), NULL))
		return error_set(err, ERROR_INTERNAL, "no memory for a digest");
	for (;;) {
		ssize_t got = pread(fd, chunk, READ_BYTES, offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot read");
		if (!got)
			break;
		offset += got;
		if (offset > BOOT_FILE_MAX_BYTES)
			return error_set(err, ERROR_LIMIT, "longer than %d bytes",
					 BOOT_FILE_MAX_BYTES);
		if (!EVP_DigestUpdate(digest, chunk, (size_t)got))
			return error_set(err, ERROR_INTERNAL, "the digest failed");
	}
	if (!EVP_DigestFinal_ex(digest, ret_sha256, NULL))
		return error_set(err, ERROR_INTERNAL, "the digest failed");
	return true;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static BootFile *find_name(BootFiles *files, const char *name)
{
	for (size_t i = 0; i < files->count; i++)
		if (!strcmp(files->files[i].name, name))
			return &files->files[i];
	return NULL;
}

static bool scan_one(BootFiles *files, int directory_fd, const char *name, Error *err)
{
	BootFile *file = find_name(files, name);
	AUTO_FD int fd = -1;
	struct stat status;

	/* A link, a file that goes away meanwhile, a directory: not for us. */
	if (!open_beneath(directory_fd, name, O_RDONLY, &fd, &(Error){ 0 }) || fstat(fd, &status) ||
	    !S_ISREG(status.st_mode) || status.st_size > BOOT_FILE_MAX_BYTES)
		return true;
	if (file && is_same_file(&file->status, &status)) {
		file->seen = true;
		return true;
	}
	if (!file) {
		if (files->count == BOOT_FILES_MAX)
			return error_set(err, ERROR_LIMIT,
					 "boot directory %s has more than %d files",
					 files->directory, BOOT_FILES_MAX);
		file = &files->files[files->count++];
	}
	*file = (BootFile){ .status = status };
	snprintf(file->name, sizeof(file->name), "%s", name);
	if (!boot_file_digest(fd, file->sha256, err))
		return error_prefix(err, "%s/%s", files->directory, name);
	file->seen = true;
	return true;
}

static void forget_unseen(BootFiles *files)
{
	size_t kept = 0;

	for (size_t i = 0; i < files->count; i++)
		if (files->files[i].seen)
			files->files[kept++] = files->files[i];
	files->count = kept;
}

bool boot_files_scan(BootFiles *files, Error *err)
{
	CLEANUP(directory_cleanup) DIR *directory = opendir(files->directory);
	bool ok = true;

	for (size_t i = 0; i < files->count; i++)
		files->files[i].seen = false;
	if (!directory && errno != ENOENT)
		return error_set_errno(err, ERROR_IO, errno, "cannot list boot directory %s",
				       files->directory);
	while (directory && ok) {
		const struct dirent *entry = readdir(directory);

		if (!entry)
			break;
		if (entry->d_name[0] != '.')
			ok = scan_one(files, dirfd(directory), entry->d_name, err);
	}
	forget_unseen(files);
	return ok;
}

bool boot_files_open(BootFiles *files, const uint8_t sha256[DIGEST_SHA256_BYTES], int *ret_fd,
		     Error *err)
{
	char text[2 * DIGEST_SHA256_BYTES + 1];
	AUTO_FD int directory_fd = -1;

	if (!boot_files_scan(files, err))
		return false;
	directory_fd = open(files->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; directory_fd >= 0 && i < files->count; i++) {
		AUTO_FD int fd = -1;
		struct stat status;

		if (memcmp(files->files[i].sha256, sha256, DIGEST_SHA256_BYTES))
			continue;
		if (!open_beneath(directory_fd, files->files[i].name, O_RDONLY, &fd, err))
			return false;
		if (fstat(fd, &status) || !is_same_file(&status, &files->files[i].status))
			return error_set(err, ERROR_CONFLICT, "%s changed while it was opened",
					 files->files[i].name);
		*ret_fd = TAKE_FD(fd);
		return true;
	}
	hex_encode(sha256, DIGEST_SHA256_BYTES, text);
	return error_set(err, ERROR_NOT_FOUND, "no boot file here has SHA-256 %s", text);
}
