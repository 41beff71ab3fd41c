/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/hooks.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/fault/inject.h"

/* --- memory: malloc and realloc here are wrapped, so they count --- */

static void *openssl_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return malloc(size);
}

static void *openssl_realloc(void *pointer, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(pointer, size);
}

static void openssl_free(void *pointer, const char *file, int line)
{
	(void)file;
	(void)line;
	free(pointer);
}

static void *hooked_malloc(size_t size)
{
	return malloc(size);
}

static void *hooked_realloc(void *pointer, size_t size)
{
	return realloc(pointer, size);
}

static void *sqlite_malloc(int size)
{
	return malloc((size_t)size);
}

static void *sqlite_realloc(void *pointer, int size)
{
	return realloc(pointer, (size_t)size);
}

static int sqlite_size(void *pointer)
{
	return (int)malloc_usable_size(pointer);
}

static int sqlite_roundup(int size)
{
	enum { UNIT = 8 };

	return (size + UNIT - 1) / UNIT * UNIT;
}

static int sqlite_init(void *context)
{
	(void)context;
	return SQLITE_OK;
}

static void sqlite_shutdown(void *context)
{
	(void)context;
}

/* --- what SQLite asks of the system (sqlite3_vfs.xSetSystemCall) --- */

static int sqlite_open(const char *path, int flags, int mode)
{
	return open(path, flags, mode);
}

typedef struct SystemCall {
	const char *name;
	sqlite3_syscall_ptr call;
} SystemCall;

/* SQLite takes each of these as a function of no known type; all of them are wrapped. */
#define SYSTEM_CALL(function) ((sqlite3_syscall_ptr)(void (*)(void))(function))

static bool hook_system_calls(void)
{
	const SystemCall calls[] = {
		{ "open", SYSTEM_CALL(sqlite_open) }, { "pread", SYSTEM_CALL(pread) },
		{ "pread64", SYSTEM_CALL(pread) },    { "pwrite", SYSTEM_CALL(pwrite) },
		{ "pwrite64", SYSTEM_CALL(pwrite) },  { "ftruncate", SYSTEM_CALL(ftruncate) },
	};
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	for (size_t i = 0; vfs && i < ARRAY_SIZE(calls); i++)
		if (vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call) != SQLITE_OK)
			return false;
	return vfs != NULL;
}

/* SQLite calls it by name; the one of the program comes first in the order of symbols. */
int fdatasync(int fd)
{
	if (inject_system_fails("fdatasync", EIO, false))
		return -1;
	return (int)syscall(SYS_fdatasync, fd);
}

bool hooks_install(void)
{
	static sqlite3_mem_methods methods = {
		.xMalloc = sqlite_malloc,
		.xFree = free,
		.xRealloc = sqlite_realloc,
		.xSize = sqlite_size,
		.xRoundup = sqlite_roundup,
		.xInit = sqlite_init,
		.xShutdown = sqlite_shutdown,
	};

	json_set_alloc_funcs(hooked_malloc, free);
	event_set_mem_functions(hooked_malloc, hooked_realloc, free);
	/* No lookaside: an allocation from it could not fail. */
	return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1 &&
	       sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK &&
	       sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK && hook_system_calls();
}
