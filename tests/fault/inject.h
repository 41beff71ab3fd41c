/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes one call fail: the Nth of a class, once, counted from inject_arm. The linker leads the
 * calls of the program's own objects here (ld(1), --wrap); OpenSSL, SQLite, jansson and libevent
 * allocate through the hooks that they offer, SQLite also reads and writes so. libconfig has no
 * such hook.
 */
#ifndef SEALIFT_TESTS_FAULT_INJECT_H
#define SEALIFT_TESTS_FAULT_INJECT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum InjectClass {
	INJECT_MEMORY,	    /* an allocation fails */
	INJECT_SYSTEM,	    /* a system call fails for good: no space, no descriptors, broken */
	INJECT_INTERRUPTED, /* a system call that may, fails with EINTR */
	INJECT_CLASS_COUNT,
} InjectClass;
extern const char *const inject_class_words[INJECT_CLASS_COUNT];

/* To be called first in main(): installs the hooks. False if a library refuses its own. */
bool inject_init(void);

/* From now on the nth call of this class fails; 0: none does, they are only counted. */
void inject_arm(InjectClass klass, size_t nth);
/* No call fails any more. Returns how many calls of the class were made since inject_arm. */
size_t inject_disarm(void);
/* Whether the failure was given since inject_arm. */
bool inject_fired(void);
/* The name of the call that failed, and on standard error from where it was called. */
const char *inject_call(void);
void inject_print_callers(void);

/* Between these two no call is counted and none fails: for what cannot be survived. They nest. */
void inject_pause(void);
void inject_resume(void);

/* For the wrappers: whether this call is to fail; errno is set then. `failure` 0: the call is not
 * one of INJECT_SYSTEM, `may_interrupt`: it is one of INJECT_INTERRUPTED. */
bool inject_system_fails(const char *name, int failure, bool may_interrupt);
bool inject_memory_fails(const char *name);

#endif
