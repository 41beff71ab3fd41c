/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/crash_vfs.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PENDING_MAX = 4096, EXIT_CRASHED = 9 };

/* A write or cut that no sync followed yet. */
typedef struct Pending {
	sqlite3_file *file; /* the real one */
	sqlite3_int64 at;
	int size; /* -1: the file was cut at `at` */
	uint8_t *old_bytes, *new_bytes;
	sqlite3_int64 old_size; /* of the file */
} Pending;

struct CrashVfs {
	sqlite3_vfs vfs, *real;
	CrashKind kind;
	size_t nth, calls;
	uint32_t random;
	Pending pending[PENDING_MAX];
	size_t pending_count;
};

typedef struct CrashFile {
	sqlite3_file base;
	CrashVfs *crash;
	sqlite3_file *real; /* behind this struct */
} CrashFile;

static CrashFile *file_of(sqlite3_file *file)
{
	return (CrashFile *)file;
}

size_t crash_vfs_calls(const CrashVfs *crash)
{
	return crash->calls;
}

static uint32_t next_random(CrashVfs *crash)
{
	crash->random = crash->random * 1664525U + 1013904223U;
	return crash->random >> 16;
}

/* --- the power fails --- */

static void give_back(const Pending *p)
{
	if (p->size >= 0)
		(void)p->file->pMethods->xWrite(p->file, p->old_bytes, p->size, p->at);
	else if (p->old_size > p->at)
		(void)p->file->pMethods->xWrite(p->file, p->old_bytes, (int)(p->old_size - p->at),
						p->at);
	(void)p->file->pMethods->xTruncate(p->file, p->old_size);
}

static void do_again(const Pending *p)
{
	if (p->size >= 0)
		(void)p->file->pMethods->xWrite(p->file, p->new_bytes, p->size, p->at);
	else
		(void)p->file->pMethods->xTruncate(p->file, p->at);
}

/* Back to what was synced, then each write again or not. */
static void lose_power(CrashVfs *crash)
{
	for (size_t i = crash->pending_count; i > 0; i--)
		give_back(&crash->pending[i - 1]);
	for (size_t i = 0; i < crash->pending_count; i++)
		if (next_random(crash) & 1)
			do_again(&crash->pending[i]);
}

static uint8_t *read_part(sqlite3_file *file, sqlite3_int64 at, sqlite3_int64 size)
{
	uint8_t *bytes = calloc(1, size > 0 ? (size_t)size : 1);

	if (!bytes)
		abort();
	if (size > 0)
		(void)file->pMethods->xRead(file, bytes, (int)size,
					    at); /* short reads give zeros */
	return bytes;
}

static void remember(CrashVfs *crash, sqlite3_file *file, const void *bytes, int size,
		     sqlite3_int64 at)
{
	Pending *p = &crash->pending[crash->pending_count];

	if (crash->kind != CRASH_POWER)
		return;
	if (crash->pending_count++ == PENDING_MAX)
		abort();
	*p = (Pending){ .file = file, .at = at, .size = size };
	(void)file->pMethods->xFileSize(file, &p->old_size);
	p->old_bytes = read_part(file, at, size >= 0 ? size : p->old_size - at);
	if (size >= 0) {
		p->new_bytes = calloc(1, size > 0 ? (size_t)size : 1);
		if (!p->new_bytes)
			abort();
		memcpy(p->new_bytes, bytes, (size_t)size);
	}
}

static void forget(CrashVfs *crash, const sqlite3_file *file)
{
	size_t left = 0;

	for (size_t i = 0; i < crash->pending_count; i++)
		if (crash->pending[i].file == file) {
			free(crash->pending[i].old_bytes);
			free(crash->pending[i].new_bytes);
		} else {
			crash->pending[left++] = crash->pending[i];
		}
	crash->pending_count = left;
}

/* --- calls --- */

/* Ends the process at the nth call, or says whether this call is to fail. */
static bool is_the_one(CrashVfs *crash)
{
	crash->calls++;
	if (crash->kind == CRASH_FULL)
		return crash->nth && crash->calls >= crash->nth;
	if (crash->calls != crash->nth)
		return false;
	if (crash->kind == CRASH_FAIL)
		return true;
	if (crash->kind == CRASH_POWER)
		lose_power(crash);
	_exit(EXIT_CRASHED);
}

static int crash_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
	CrashFile *f = file_of(file);
	CrashVfs *crash = f->crash;

	if (crash->kind == CRASH_TORN && crash->calls + 1 == crash->nth)
		(void)f->real->pMethods->xWrite(f->real, bytes, size / 2, at);
	if (is_the_one(crash))
		return crash->kind == CRASH_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	remember(crash, f->real, bytes, size, at);
	return f->real->pMethods->xWrite(f->real, bytes, size, at);
}

static int crash_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	CrashFile *f = file_of(file);

	if (is_the_one(f->crash))
		return SQLITE_IOERR_TRUNCATE;
	remember(f->crash, f->real, NULL, -1, size);
	return f->real->pMethods->xTruncate(f->real, size);
}

static int crash_sync(sqlite3_file *file, int flags)
{
	CrashFile *f = file_of(file);

	if (is_the_one(f->crash))
		return SQLITE_IOERR_FSYNC;
	forget(f->crash, f->real);
	/* A disk is not needed to see what would have reached it. */
	(void)flags;
	return SQLITE_OK;
}

static int crash_close(sqlite3_file *file)
{
	CrashFile *f = file_of(file);

	forget(f->crash, f->real);
	return f->real->pMethods->xClose(f->real);
}

static int crash_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 at)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xRead(real, bytes, size, at);
}

static int crash_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xFileSize(real, size);
}

static int crash_lock(sqlite3_file *file, int level)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xLock(real, level);
}

static int crash_unlock(sqlite3_file *file, int level)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xUnlock(real, level);
}

static int crash_check_lock(sqlite3_file *file, int *held)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xCheckReservedLock(real, held);
}

static int crash_control(sqlite3_file *file, int what, void *argument)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xFileControl(real, what, argument);
}

static int crash_sector(sqlite3_file *file)
{
	sqlite3_file *real = file_of(file)->real;

	return real->pMethods->xSectorSize(real);
}

/* None: the device promises nothing about the order or wholeness of writes. */
static int crash_device(sqlite3_file *file)
{
	(void)file;
	return 0;
}

static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = crash_close,
	.xRead = crash_read,
	.xWrite = crash_write,
	.xTruncate = crash_truncate,
	.xSync = crash_sync,
	.xFileSize = crash_file_size,
	.xLock = crash_lock,
	.xUnlock = crash_unlock,
	.xCheckReservedLock = crash_check_lock,
	.xFileControl = crash_control,
	.xSectorSize = crash_sector,
	.xDeviceCharacteristics = crash_device,
};

static int crash_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		      int *ret_flags)
{
	CrashVfs *crash = vfs->pAppData;
	CrashFile *f = file_of(file);
	int code;

	f->crash = crash;
	f->real = (sqlite3_file *)(f + 1);
	f->base.pMethods = NULL;
	code = crash->real->xOpen(crash->real, name, f->real, flags, ret_flags);
	if (f->real->pMethods)
		f->base.pMethods = &methods;
	return code;
}

static int crash_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	CrashVfs *crash = vfs->pAppData;

	if (is_the_one(crash))
		return SQLITE_IOERR_DELETE;
	return crash->real->xDelete(crash->real, name, sync);
}

static int crash_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret_there)
{
	CrashVfs *crash = vfs->pAppData;

	return crash->real->xAccess(crash->real, name, flags, ret_there);
}

static int crash_full_name(sqlite3_vfs *vfs, const char *name, int size, char *ret_name)
{
	CrashVfs *crash = vfs->pAppData;

	return crash->real->xFullPathname(crash->real, name, size, ret_name);
}

CrashVfs *crash_vfs_install(CrashKind kind, size_t nth, uint32_t seed)
{
	CrashVfs *crash = calloc(1, sizeof(*crash));

	if (!crash)
		return NULL;
	crash->real = sqlite3_vfs_find(NULL);
	crash->kind = kind;
	crash->nth = nth;
	crash->random = seed * 2654435761U + 1;
	crash->vfs = *crash->real;
	crash->vfs.zName = "crash";
	crash->vfs.pNext = NULL;
	crash->vfs.szOsFile = (int)sizeof(CrashFile) + crash->real->szOsFile;
	crash->vfs.pAppData = crash;
	crash->vfs.xOpen = crash_open;
	crash->vfs.xDelete = crash_delete;
	crash->vfs.xAccess = crash_access;
	crash->vfs.xFullPathname = crash_full_name;
	if (sqlite3_vfs_register(&crash->vfs, 1) != SQLITE_OK)
		return NULL;
	return crash;
}
