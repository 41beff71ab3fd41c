/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer under SQLite (sqlite3.h, sqlite3_vfs) that ends the process in the midst of its writes,
 * or lets one of them fail: for processes of their own, since it becomes SQLite's default.
 */
#ifndef SEALIFT_TESTS_KEYS_CRASH_VFS_H
#define SEALIFT_TESTS_KEYS_CRASH_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum CrashKind {
	CRASH_KILL,  /* the call is not made, and the process ends: what was written is in the files
		      */
	CRASH_TORN,  /* the same after half of a write */
	CRASH_POWER, /* of what was not synced, each write reached the disk or not, by the seed */
	CRASH_FAIL,  /* the call fails, once */
	CRASH_FULL,  /* this and all writes after it fail: no space */
	CRASH_KIND_COUNT,
} CrashKind;

typedef struct CrashVfs CrashVfs;

/* The nth call that writes, cuts, syncs or unlinks is the one; 0: none. Never freed: the process
 * that calls it ends. NULL without memory. */
CrashVfs *crash_vfs_install(CrashKind kind, size_t nth, uint32_t seed);
/* Calls made until now; whether the nth was among them. */
size_t crash_vfs_calls(const CrashVfs *crash);

#endif
