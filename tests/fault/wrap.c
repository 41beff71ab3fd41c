/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the linker puts between the program and the C library (ld(1), --wrap): each function here
 * stands for one of that name and fails when inject.h says so. The list of names stands in
 * meson.build too; -D_FORTIFY_SOURCE and large files bring names of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fault/inject.h"

/* One row: the type returned, the name, what it returns on failure, the errno of its failure (0:
 * none), whether a signal may interrupt it, parameters, arguments. */
#define WRAP(Type, name, failed, failure, interrupt, parameters, arguments)                        \
	Type __real_##name parameters;                                                             \
	Type __wrap_##name parameters;                                                             \
	Type __wrap_##name parameters                                                              \
	{                                                                                          \
		if (inject_system_fails(#name, failure, interrupt))                                \
			return failed;                                                             \
		return __real_##name arguments;                                                    \
	}

#define WRAP_MEMORY(name, parameters, arguments)                                                   \
	void *__real_##name parameters;                                                            \
	void *__wrap_##name parameters;                                                            \
	void *__wrap_##name parameters                                                             \
	{                                                                                          \
		if (inject_memory_fails(#name))                                                    \
			return NULL;                                                               \
		return __real_##name arguments;                                                    \
	}

/* --- memory --- */

WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t count, size_t size), (count, size))
WRAP_MEMORY(realloc, (void *pointer, size_t size), (pointer, size))
WRAP_MEMORY(reallocarray, (void *pointer, size_t count, size_t size), (pointer, count, size))
WRAP_MEMORY(strdup, (const char *text), (text))
WRAP_MEMORY(strndup, (const char *text, size_t size), (text, size))

/* --- files --- */

/* Those that take a mode as well: it is there whenever it counts, and harmless when not. */
#define WRAP_OPEN(name)                                                                            \
	int __real_##name(const char *path, int flags, ...);                                       \
	int __wrap_##name(const char *path, int flags, ...);                                       \
	int __wrap_##name(const char *path, int flags, ...)                                        \
	{                                                                                          \
		mode_t mode;                                                                       \
		va_list rest;                                                                      \
		va_start(rest, flags);                                                             \
		mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                 \
		va_end(rest);                                                                      \
		if (inject_system_fails(#name, EMFILE, true))                                      \
			return -1;                                                                 \
		return __real_##name(path, flags, mode);                                           \
	}
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(name)                                                                          \
	int __real_##name(int directory, const char *path, int flags, ...);                        \
	int __wrap_##name(int directory, const char *path, int flags, ...);                        \
	int __wrap_##name(int directory, const char *path, int flags, ...)                         \
	{                                                                                          \
		mode_t mode;                                                                       \
		va_list rest;                                                                      \
		va_start(rest, flags);                                                             \
		mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                 \
		va_end(rest);                                                                      \
		if (inject_system_fails(#name, EMFILE, true))                                      \
			return -1;                                                                 \
		return __real_##name(directory, path, flags, mode);                                \
	}
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

WRAP(int, mkostemp, -1, EMFILE, true, (char *path, int flags), (path, flags))
WRAP(int, mkostemp64, -1, EMFILE, true, (char *path, int flags), (path, flags))
WRAP(ssize_t, read, -1, EIO, true, (int fd, void *bytes, size_t size), (fd, bytes, size))
WRAP(ssize_t, __read_chk, -1, EIO, true, (int fd, void *bytes, size_t size, size_t room),
     (fd, bytes, size, room))
WRAP(ssize_t, write, -1, ENOSPC, true, (int fd, const void *bytes, size_t size), (fd, bytes, size))
WRAP(ssize_t, pread, -1, EIO, true, (int fd, void *bytes, size_t size, off_t at),
     (fd, bytes, size, at))
WRAP(ssize_t, pread64, -1, EIO, true, (int fd, void *bytes, size_t size, off_t at),
     (fd, bytes, size, at))
WRAP(ssize_t, __pread64_chk, -1, EIO, true,
     (int fd, void *bytes, size_t size, off_t at, size_t room), (fd, bytes, size, at, room))
WRAP(ssize_t, pwrite64, -1, ENOSPC, true, (int fd, const void *bytes, size_t size, off_t at),
     (fd, bytes, size, at))
WRAP(int, ftruncate64, -1, EIO, true, (int fd, off_t size), (fd, size))
WRAP(int, fsync, -1, EIO, false, (int fd), (fd))
WRAP(int, rename, -1, EIO, false, (const char *from, const char *to), (from, to))
WRAP(int, fchmod, -1, EPERM, false, (int fd, mode_t mode), (fd, mode))
WRAP(int, fstat64, -1, EIO, false, (int fd, struct stat *status), (fd, status))
WRAP(int, mkdir, -1, ENOSPC, false, (const char *path, mode_t mode), (path, mode))
WRAP(int, memfd_create, -1, EMFILE, false, (const char *name, unsigned int flags), (name, flags))
WRAP(int, eventfd, -1, EMFILE, false, (unsigned int value, int flags), (value, flags))
WRAP(int, pipe2, -1, EMFILE, false, (int *fds, int flags), (fds, flags))

/* --- sockets --- */

WRAP(int, socket, -1, EMFILE, false, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, socketpair, -1, EMFILE, false, (int domain, int type, int protocol, int *fds),
     (domain, type, protocol, fds))
WRAP(int, bind, -1, EADDRINUSE, false, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
WRAP(int, listen, -1, EADDRINUSE, false, (int fd, int backlog), (fd, backlog))
WRAP(int, accept4, -1, EMFILE, true, (int fd, struct sockaddr *address, socklen_t *size, int flags),
     (fd, address, size, flags))
WRAP(int, connect, -1, ECONNREFUSED, true, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
WRAP(ssize_t, send, -1, EPIPE, true, (int fd, const void *bytes, size_t size, int flags),
     (fd, bytes, size, flags))
WRAP(ssize_t, sendmsg, -1, ENOBUFS, true, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))
WRAP(ssize_t, recv, -1, ECONNRESET, true, (int fd, void *bytes, size_t size, int flags),
     (fd, bytes, size, flags))
WRAP(ssize_t, __recv_chk, -1, ECONNRESET, true,
     (int fd, void *bytes, size_t size, size_t room, int flags), (fd, bytes, size, room, flags))
WRAP(ssize_t, recvmsg, -1, ECONNRESET, true, (int fd, struct msghdr *message, int flags),
     (fd, message, flags))

/* --- memory pages, processes, threads --- */

WRAP(void *, mmap, MAP_FAILED, ENOMEM, false,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(void *, mmap64, MAP_FAILED, ENOMEM, false,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(int, mlock, -1, ENOMEM, false, (const void *at, size_t size), (at, size))
WRAP(int, madvise, -1, ENOMEM, false, (void *at, size_t size, int advice), (at, size, advice))
WRAP(pid_t, fork, -1, EAGAIN, false, (void), ())
/* Returns the error itself. */
WRAP(int, pthread_create, EAGAIN, EAGAIN, false,
     (void *thread, const void *attributes, void *(*run)(void *), void *context),
     (thread, attributes, run, context))
/* openat2 and pidfd_open, which the C library has no function for. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	long a, b, c, d, e, f;
	va_list rest;

	va_start(rest, number);
	a = va_arg(rest, long);
	b = va_arg(rest, long);
	c = va_arg(rest, long);
	d = va_arg(rest, long);
	e = va_arg(rest, long);
	f = va_arg(rest, long);
	va_end(rest);
	if (inject_system_fails("syscall", EMFILE, true))
		return -1;
	return __real_syscall(number, a, b, c, d, e, f);
}

/*
 * The one thing left out. Jansson 2.14 ignores that the buffer of its lexer cannot grow (lex_save
 * in load.c): characters of the text are lost, its closing quote too, and what reads on for the
 * quote leaves the buffer. No caller can see that, so there is nothing to be survived here.
 */
json_t *__real_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
{
	json_t *root;

	inject_pause();
	root = __real_json_loadb(text, size, flags, error);
	inject_resume();
	return root;
}
