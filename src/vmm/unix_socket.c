/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/bounds.h"

enum { BACKLOG = LIMIT_STREAM_CHANNELS + 1 };

static bool make_address(int directory_fd, const char *name, struct sockaddr_un *address,
			 Error *err)
{
	int length;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (directory_fd == AT_FDCWD)
		length = snprintf(address->sun_path, sizeof(address->sun_path), "%s", name);
	else
		length = snprintf(address->sun_path, sizeof(address->sun_path),
				  "/proc/self/fd/%d/%s", directory_fd, name);
	if (length < 0 || (size_t)length >= sizeof(address->sun_path))
		return error_set(err, ERROR_LIMIT, "socket path %s is longer than %zu bytes", name,
				 sizeof(address->sun_path) - 1);
	return true;
}

bool unix_socket_connect(int directory_fd, const char *name, int *ret_fd, Error *err)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	AUTO_FD int file_fd = openat(directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	if (file_fd < 0 || fstat(file_fd, &status))
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot connect to %s", name);
	if (!S_ISSOCK(status.st_mode))
		return error_set(err, ERROR_DENIED, "%s is not a socket", name);
	/* By the file that was looked at: its directory may belong to the other side, which could
	 * put a link to somebody else's socket in its place. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file_fd);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot connect to %s", name);
	*ret_fd = TAKE_FD(fd);
	return true;
}

void unix_socket_widen(int fd, int size_bytes)
{
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size_bytes, sizeof(size_bytes)))
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size_bytes, sizeof(size_bytes));
}

bool unix_socket_listen(int directory_fd, const char *name, unsigned int mode, int *ret_fd,
			Error *err)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;

	if (!make_address(directory_fd, name, &address, err))
		return false;
	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	if (unlinkat(directory_fd, name, 0) && errno != ENOENT)
		return error_set_errno(err, ERROR_IO, errno, "cannot replace %s", name);
	/* Linux gives the file the mode of the socket, less the umask: never more than asked for,
	 * not even for an instant. */
	if (fchmod(fd, mode) || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, BACKLOG))
		return error_set_errno(err, ERROR_IO, errno, "cannot listen on %s", name);
	*ret_fd = TAKE_FD(fd);
	return true;
}
