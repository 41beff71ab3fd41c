/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/open_beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

bool open_beneath(int directory_fd, const char *name, int flags, int *ret_fd, Error *err)
{
	struct open_how how = {
		.flags = (unsigned int)(flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	AUTO_FD int fd = (int)syscall(SYS_openat2, directory_fd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ELOOP || errno == EXDEV))
		return error_set(err, ERROR_DENIED, "%s is a link", name);
	if (fd < 0)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
				       "cannot open %s", name);
	if (fcntl(fd, F_SETFL, flags & ~O_CLOEXEC))
		return error_set_errno(err, ERROR_IO, errno, "cannot open %s", name);
	*ret_fd = TAKE_FD(fd);
	return true;
}
