/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a QEMU: shutdown(2) returns a second late. So what its other threads do about a
 * socket that is gone comes before what the caller does next, each time and not once in a hundred.
 */
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int shutdown(int fd, int how)
{
	long result = syscall(SYS_shutdown, fd, how);

	/* The delay is the fault that is tried; no test waits for it to pass. */
	poll(NULL, 0, 1000);
	return (int)result;
}
