/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership by scope: a resource lives in a variable marked AUTO_* from its first line and leaves
 * the scope only by TAKE_PTR or TAKE_FD. There is no goto in this project.
 */
#ifndef SEALIFT_BASE_CLEANUP_H
#define SEALIFT_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))
#define MUST_CHECK __attribute__((warn_unused_result))

/* Defines name##_cleanup(Type **), for CLEANUP(name##_cleanup). free_function accepts NULL. */
#define DEFINE_CLEANUP(Type, name, free_function)       \
	static inline void name##_cleanup(Type **object) \
	{                                                \
		free_function(*object);                  \
		*object = NULL;                          \
	}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define AUTO_FREE CLEANUP(cleanup_free)
#define AUTO_FD CLEANUP(cleanup_fd)
#define AUTO_FILE CLEANUP(cleanup_file)

#define TAKE_PTR(pointer)                             \
	({                                            \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL;                     \
		taken_;                               \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}
#define TAKE_FD(fd) take_fd(&(fd))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
