/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/inject.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/fault/hooks.h"

enum { CALLERS_MAX = 24 };

const char *const inject_class_words[INJECT_CLASS_COUNT] = { "memory", "system", "interrupted" };

/* A wrapped call brings no context, so this is the one place with state of its own. */
static struct {
	bool armed, fired;
	unsigned int paused;
	InjectClass klass;
	size_t nth, seen;
	const char *call;
	void *callers[CALLERS_MAX];
	int callers_count;
} state;

bool inject_init(void)
{
	/* The first backtrace loads a library, which allocates. */
	state.callers_count = backtrace(state.callers, CALLERS_MAX);
	return hooks_install();
}

void inject_arm(InjectClass klass, size_t nth)
{
	memset(&state, 0, sizeof(state));
	state.klass = klass;
	state.nth = nth;
	state.armed = true;
}

size_t inject_disarm(void)
{
	state.armed = false;
	return state.seen;
}

bool inject_fired(void)
{
	return state.fired;
}

const char *inject_call(void)
{
	return state.call ? state.call : "nothing";
}

void inject_print_callers(void)
{
	fflush(stderr);
	backtrace_symbols_fd(state.callers, state.callers_count, STDERR_FILENO);
}

void inject_pause(void)
{
	state.paused++;
}

void inject_resume(void)
{
	state.paused--;
}

/*
 * Functions of OpenSSL 3.0 that do not survive an allocation that fails in them: nothing of ours
 * can make up for it, so none does. EVP_KDF_CTX_new frees a context of X9.63 that it has not got,
 * and dies; of X509_ALGOR_set0 ecdh_cms_encrypt does not look at the outcome, and what it handed
 * over is lost (what it sealed is then refused by cms_check_envelope).
 */
static const char *const spared[] = { "EVP_KDF_CTX_new", "X509_ALGOR_set0" };

/* By its exported name, and not that of the nearest one before. */
static bool is_inside(const void *address, const char *name)
{
	ElfW(Sym) *symbol = NULL;
	Dl_info info;

	return dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) && info.dli_sname &&
	       !strcmp(info.dli_sname, name) && symbol &&
	       (uintptr_t)address - (uintptr_t)info.dli_saddr <= symbol->st_size;
}

static bool is_spared(void)
{
	for (int i = 0; i < state.callers_count; i++)
		for (size_t j = 0; j < ARRAY_SIZE(spared); j++)
			if (is_inside(state.callers[i], spared[j]))
				return true;
	return false;
}

static bool is_the_one(const char *name)
{
	if (++state.seen != state.nth)
		return false;
	state.armed = false;
	state.callers_count = backtrace(state.callers, CALLERS_MAX);
	state.armed = true;
	if (state.klass == INJECT_MEMORY && is_spared())
		return false;
	state.call = name;
	state.fired = true;
	return true;
}

bool inject_memory_fails(const char *name)
{
	if (!state.armed || state.paused || state.klass != INJECT_MEMORY || !is_the_one(name))
		return false;
	errno = ENOMEM;
	return true;
}

bool inject_system_fails(const char *name, int failure, bool may_interrupt)
{
	if (!state.armed || state.paused || state.klass == INJECT_MEMORY)
		return false;
	if (state.klass == INJECT_INTERRUPTED ? !may_interrupt : !failure)
		return false;
	if (!is_the_one(name))
		return false;
	errno = state.klass == INJECT_INTERRUPTED ? EINTR : failure;
	return true;
}
