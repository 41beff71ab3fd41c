/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "vmm/unix_socket.h"

static bool name_paths(const Resources *resources, const char *instance, QemuDirectory *directory,
		       Error *err)
{
	if (!text_is(TEXT_NAME, instance, 1) || strlen(instance) >= LIMIT_NAME)
		return error_set(err, ERROR_USAGE, "\"%.64s\" cannot name a VM's run directory",
				 instance);
	snprintf(directory->path, sizeof(directory->path), "%s/%s", resources->run_directory,
		 instance);
	snprintf(directory->sockets_path, sizeof(directory->sockets_path), "%s/%s", directory->path,
		 QEMU_DIRECTORY_SOCKETS);
	return true;
}

static bool open_both(QemuDirectory *directory, Error *err)
{
	int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

	directory->fd = open(directory->path, flags);
	if (directory->fd >= 0)
		directory->sockets_fd = openat(directory->fd, QEMU_DIRECTORY_SOCKETS, flags);
	if (directory->sockets_fd < 0)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
				       "cannot open run directory %s", directory->path);
	return true;
}

bool qemu_directory_open(const Resources *resources, const char *instance,
			 QemuDirectory *ret_directory, Error *err)
{
	AUTO_QEMU_DIRECTORY QemuDirectory directory = QEMU_DIRECTORY_INIT;

	if (!name_paths(resources, instance, &directory, err) || !open_both(&directory, err))
		return false;
	*ret_directory = directory;
	directory = QEMU_DIRECTORY_INIT;
	return true;
}

bool qemu_directory_make(const Resources *resources, const char *instance,
			 QemuDirectory *ret_directory, Error *err)
{
	AUTO_QEMU_DIRECTORY QemuDirectory directory = QEMU_DIRECTORY_INIT;
	const QemuUser *user = &resources->user;

	if (!name_paths(resources, instance, &directory, err) ||
	    !file_make_directories(resources->run_directory, 0700, err))
		return false;
	if (mkdir(directory.path, 0700))
		return error_set_errno(err, errno == EEXIST ? ERROR_CONFLICT : ERROR_IO, errno,
				       "cannot make run directory %s", directory.path);
	if (mkdir(directory.sockets_path, 0700))
		error_set_errno(err, ERROR_IO, errno, "cannot make %s", directory.sockets_path);
	else if (!geteuid() && user->set && chown(directory.sockets_path, user->uid, user->gid))
		error_set_errno(err, ERROR_IO, errno, "cannot give away %s",
				directory.sockets_path);
	else if (open_both(&directory, err)) {
		*ret_directory = directory;
		directory = QEMU_DIRECTORY_INIT;
		return true;
	}
	qemu_directory_remove(&directory);
	return false;
}

bool qemu_directory_listen(const QemuDirectory *directory, const QemuUser *user, const char *name,
			   int *ret_fd, Error *err)
{
	AUTO_FD int fd = -1;

	if (!unix_socket_listen(directory->sockets_fd, name, 0600, &fd, err))
		return false;
	if (!geteuid() && user->set &&
	    fchownat(directory->sockets_fd, name, user->uid, user->gid, AT_SYMLINK_NOFOLLOW))
		return error_set_errno(err, ERROR_IO, errno, "cannot give away socket %s", name);
	*ret_fd = TAKE_FD(fd);
	return true;
}

/* What QEMU's user left there is files and sockets; a directory of its own making stays. */
static void empty_sockets(const char *path)
{
	DIR *list = opendir(path);
	const struct dirent *entry;

	while (list && (entry = readdir(list)))
		unlinkat(dirfd(list), entry->d_name, 0);
	if (list)
		closedir(list);
}

void qemu_directory_remove(QemuDirectory *directory)
{
	static const char *const files[] = { QEMU_FILE_RECORD, QEMU_FILE_TPM_RECORD, QEMU_FILE_QMP,
					     QEMU_FILE_LOG };
	char path[sizeof(directory->path) + 16];

	empty_sockets(directory->sockets_path);
	rmdir(directory->sockets_path);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory->path, files[i]);
		unlink(path);
	}
	rmdir(directory->path);
	qemu_directory_close(directory);
}

void qemu_directory_close(QemuDirectory *directory)
{
	if (directory->fd >= 0)
		close(directory->fd);
	if (directory->sockets_fd >= 0)
		close(directory->sockets_fd);
	directory->fd = directory->sockets_fd = -1;
}
