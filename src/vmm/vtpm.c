/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vtpm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/file.h"
#include "crypto/random.h"

enum {
	/* In swtpm, by their order in build(). */
	FD_CONTROL = QEMU_FD_FIRST,
	FD_FILE_KEY,
	FD_MIGRATION_KEY,
	FD_STATE,

	FILE_PATH_SIZE = VTPM_PATH_SIZE + 32,
	STATE_FILES_MAX = 64,		/* it makes four */
	OVERWRITE_MAX_BYTES = 16 << 20, /* it stores less than 100 KiB */
	SYNC_MAX_BYTES = 1 << 20,	/* a larger file is none of its */
};

/* What swtpm writes once it has been started by a guest's firmware or by a migration. */
static const char permanent_state[] = "tpm2-00.permall";
static const char *const state_files[] = { permanent_state, "tpm2-00.volatilestate",
					   "tpm2-00.savestate" };
static const char mark[] = "new";

static const char *program_of(const Resources *resources)
{
	return resources->swtpm_path[0] ? resources->swtpm_path : VTPM_PROGRAM;
}

bool vtpm_check_program(const Resources *resources, Error *err)
{
	return !access(program_of(resources), X_OK) ||
	       error_set_errno(err, ERROR_UNAVAILABLE, errno, "no TPM for VMs: cannot run %s",
			       program_of(resources));
}

/* --- the state's directory --- */

static bool name_state(const Resources *resources, const char *uuid, char path[VTPM_PATH_SIZE],
		       Error *err)
{
	if (!resources->tpm_directory[0])
		return error_set(err, ERROR_CONFIG, "no directory is configured for TPMs of VMs");
	if (!text_is(TEXT_UUID, uuid, 1))
		return error_set(err, ERROR_USAGE, "\"%.64s\" is no UUID", uuid);
	snprintf(path, VTPM_PATH_SIZE, "%s/%s", resources->tpm_directory, uuid);
	return true;
}

static bool open_directory(const char *path, int *ret_fd, Error *err)
{
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd >= 0 || error_set_errno(err, ERROR_IO, errno, "cannot open %s", path);
}

static bool give_away(int fd, const Resources *resources, Error *err)
{
	const QemuUser *user = &resources->user;

	return geteuid() || !user->set || !fchown(fd, user->uid, user->gid) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot give away the directory of a TPM");
}

bool vtpm_open_state(const Resources *resources, const char *uuid, int *ret_fd, Error *err)
{
	char path[VTPM_PATH_SIZE];
	AUTO_FD int fd = -1;

	if (!name_state(resources, uuid, path, err) ||
	    !file_make_directories(resources->tpm_directory, 0700, err))
		return false;
	if (mkdir(path, 0700) && errno != EEXIST)
		return error_set_errno(err, ERROR_IO, errno, "cannot make %s", path);
	if (!open_directory(path, &fd, err) || !give_away(fd, resources, err) ||
	    !file_sync_directory_of(path, err))
		return false;
	*ret_fd = TAKE_FD(fd);
	return true;
}

static bool has_file(const Resources *resources, const char *uuid, const char *name, bool *ret_has,
		     Error *err)
{
	char path[VTPM_PATH_SIZE];
	char file[FILE_PATH_SIZE];
	struct stat status;

	if (!name_state(resources, uuid, path, err))
		return false;
	snprintf(file, sizeof(file), "%s/%s", path, name);
	*ret_has = !lstat(file, &status);
	return *ret_has || errno == ENOENT ||
	       error_set_errno(err, ERROR_IO, errno, "cannot look at %s", file);
}

bool vtpm_has_state(const Resources *resources, const char *uuid, bool *ret_has, Error *err)
{
	return has_file(resources, uuid, permanent_state, ret_has, err);
}

bool vtpm_is_new(const Resources *resources, const char *uuid, bool *ret_is, Error *err)
{
	return has_file(resources, uuid, mark, ret_is, err);
}

bool vtpm_mark_new(const Resources *resources, const char *uuid, Error *err)
{
	AUTO_FD int directory_fd = -1;
	AUTO_FD int fd = -1;

	if (!vtpm_open_state(resources, uuid, &directory_fd, err))
		return false;
	fd = openat(directory_fd, mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return (fd >= 0 && !fsync(fd) && !fsync(directory_fd)) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot mark the TPM of %s as new", uuid);
}

/* The directory is another user's: nothing but what swtpm stores there may keep us waiting. */
static bool sync_file(int directory_fd, const char *name, Error *err)
{
	AUTO_FD int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;

	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return true;
	if (fd >= 0 && !fstat(fd, &status) &&
	    (!S_ISREG(status.st_mode) || status.st_size > SYNC_MAX_BYTES))
		return true;
	return (fd >= 0 && !fsync(fd)) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot sync %s", name);
}

static bool sync_files(int directory_fd, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_files); i++)
		if (!sync_file(directory_fd, state_files[i], err))
			return false;
	return !fsync(directory_fd) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot sync the directory of a TPM");
}

bool vtpm_sync_state(const Resources *resources, const char *uuid, Error *err)
{
	char path[VTPM_PATH_SIZE];
	AUTO_FD int fd = -1;

	if (!name_state(resources, uuid, path, err))
		return false;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ||
		       error_set_errno(err, ERROR_IO, errno, "cannot open %s", path);
	return sync_files(fd, err) || error_prefix(err, "%s", path);
}

bool vtpm_unmark_new(const Resources *resources, const char *uuid, Error *err)
{
	AUTO_FD int directory_fd = -1;

	if (!vtpm_open_state(resources, uuid, &directory_fd, err) ||
	    /* What stands for "it has state" must not be on disk before the state is. */
	    !sync_files(directory_fd, err))
		return false;
	return !unlinkat(directory_fd, mark, 0) || errno == ENOENT ||
	       error_set_errno(err, ERROR_IO, errno, "cannot unmark the TPM of %s", uuid);
}

/* --- the process --- */

static bool put(QemuCommand *command, Error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool put(QemuCommand *command, Error *err, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		return error_set(err, ERROR_INTERNAL, "no memory for swtpm's command line");
	command->argv[command->argc++] = text;
	return true;
}

/* The keys are random, so that the one round of SHA-512 does what the slow derivation would. */
static bool build(const VtpmStart *start, QemuCommand *command, Error *err)
{
	return put(command, err, "%s", program_of(start->resources)) &&
	       put(command, err, "socket") && put(command, err, "--tpm2") &&
	       put(command, err, "--terminate") && put(command, err, "--tpmstate") &&
	       put(command, err, "dir=/proc/self/fd/%d,mode=0600", FD_STATE) &&
	       put(command, err, "--ctrl") &&
	       put(command, err, "type=unixio,clientfd=%d", FD_CONTROL) &&
	       put(command, err, "--key") &&
	       put(command, err, "pwdfd=%d,mode=aes-256-cbc,kdf=sha512", FD_FILE_KEY) &&
	       put(command, err, "--migration-key") &&
	       put(command, err, "pwdfd=%d,mode=aes-256-cbc,kdf=sha512", FD_MIGRATION_KEY) &&
	       put(command, err, "--seccomp") && put(command, err, "action=kill");
}

/* Opened anew: swtpm reads from where the descriptor stands. */
static bool open_key(int fd, const char *what, int *ret_fd, Error *err)
{
	char path[32];

	if (fd < 0)
		return error_set(err, ERROR_USAGE, "the TPM has no %s key", what);
	if (!disk_secret_check(fd, err))
		return error_prefix(err, "the TPM's %s key", what);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd >= 0 ||
	       error_set_errno(err, ERROR_IO, errno, "cannot open the TPM's %s key", what);
}

bool vtpm_spawn(const VtpmStart *start, const char *record_path, QemuProcess *ret_process,
		Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	AUTO_FD int file_key = -1;
	AUTO_FD int migration_key = -1;

	if (!vtpm_check_program(start->resources, err) ||
	    !open_key(start->file_key_fd, "file", &file_key, err) ||
	    !open_key(start->migration_key_fd, "migration", &migration_key, err) ||
	    !build(start, &command, err))
		return false;
	command.fds[command.fds_count++] = start->control_fd;
	command.fds[command.fds_count++] = file_key;
	command.fds[command.fds_count++] = migration_key;
	command.fds[command.fds_count++] = start->state_fd;
	return qemu_process_spawn(&command, &start->resources->user, record_path, ret_process, err);
}

/* --- the end of the state --- */

/* Its directory is another user's: only a plain file with one name is written to. */
static bool overwrite(int directory_fd, const char *name, Error *err)
{
	static const uint8_t zeros[4096];
	AUTO_FD int fd = openat(directory_fd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_nlink != 1)
		return true;
	for (off_t at = 0; at < status.st_size && at < OVERWRITE_MAX_BYTES;
	     at += (off_t)sizeof(zeros))
		if (pwrite(fd, zeros, sizeof(zeros), at) < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot overwrite %.64s",
					       name);
	return !fsync(fd) || error_set_errno(err, ERROR_IO, errno, "cannot overwrite %.64s", name);
}

static bool empty(int directory_fd, Error *err)
{
	int copy = fcntl(directory_fd, F_DUPFD_CLOEXEC, 0);
	DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
	const struct dirent *entry;
	bool ok = true;

	if (!list) {
		if (copy >= 0)
			close(copy);
		return error_set_errno(err, ERROR_IO, errno, "cannot list it");
	}
	for (int i = 0; ok && i < STATE_FILES_MAX && (entry = readdir(list)); i++) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		ok = overwrite(directory_fd, entry->d_name, err) &&
		     (!unlinkat(directory_fd, entry->d_name, 0) ||
		      error_set_errno(err, ERROR_IO, errno, "cannot remove %.64s", entry->d_name));
	}
	closedir(list);
	return ok;
}

static bool remove_state(const char *path, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ||
		       error_set_errno(err, ERROR_IO, errno, "cannot open %s", path);
	if (!empty(fd, err))
		return error_prefix(err, "%s", path);
	return (!rmdir(path) || error_set_errno(err, ERROR_IO, errno, "cannot remove %s", path)) &&
	       file_sync_directory_of(path, err);
}

bool vtpm_destroy_state(const Resources *resources, const char *uuid, Error *err)
{
	char path[VTPM_PATH_SIZE];

	return name_state(resources, uuid, path, err) && remove_state(path, err);
}

/* --- one of a twin --- */

static bool make_scratch(const Resources *resources, char path[VTPM_PATH_SIZE], Error *err)
{
	snprintf(path, VTPM_PATH_SIZE, "%s/tpm-XXXXXX", resources->run_directory);
	if (!file_make_directories(resources->run_directory, 0700, err))
		return false;
	if (mkdtemp(path))
		return true;
	path[0] = '\0';
	return error_set_errno(err, ERROR_IO, errno, "cannot make a directory for a TPM in %s",
			       resources->run_directory);
}

static bool make_key(DiskSecret *ret_key, Error *err)
{
	AUTO_SECRET Secret *passphrase = secret_new(DISK_SECRET_BYTES, err);
	uint8_t random[32], text[DISK_SECRET_BYTES + 1];
	bool ok = passphrase && random_bytes(random, sizeof(random), err);

	if (ok) {
		EVP_EncodeBlock(text, random, sizeof(random));
		memcpy(secret_bytes(passphrase), text, DISK_SECRET_BYTES);
	}
	explicit_bzero(random, sizeof(random));
	explicit_bzero(text, sizeof(text));
	return ok && disk_secret_make(passphrase, ret_key, err);
}

static bool begin_scratch(const Resources *resources, VtpmStart *start, VtpmScratch *scratch,
			  Error *err)
{
	AUTO_FD int fd = -1;

	if (!make_scratch(resources, scratch->path, err) ||
	    !open_directory(scratch->path, &fd, err) || !give_away(fd, resources, err) ||
	    !make_key(&scratch->file_key, err) || !make_key(&scratch->migration_key, err))
		return false;
	start->state_fd = fd;
	start->file_key_fd = scratch->file_key.fd;
	start->migration_key_fd = scratch->migration_key.fd;
	return vtpm_spawn(start, NULL, &scratch->process, err);
}

bool vtpm_start_scratch(const Resources *resources, int control_fd, VtpmScratch *ret_scratch,
			Error *err)
{
	VtpmStart start = { .resources = resources, .control_fd = control_fd };

	if (begin_scratch(resources, &start, ret_scratch, err))
		return true;
	vtpm_end_scratch(ret_scratch);
	return false;
}

void vtpm_end_scratch(VtpmScratch *scratch)
{
	Error ignored = ERROR_INIT;

	if (scratch->process.pid > 0)
		qemu_process_destroy(&scratch->process);
	disk_secret_wipe(&scratch->file_key);
	disk_secret_wipe(&scratch->migration_key);
	if (scratch->path[0])
		(void)!remove_state(scratch->path, &ignored);
	*scratch = VTPM_SCRATCH_INIT;
}
