/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/inject.h"

#include <errno.h>
#include <execinfo.h>
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

static bool is_the_one(const char *name)
{
	if (++state.seen != state.nth)
		return false;
	state.armed = false;
	state.callers_count = backtrace(state.callers, CALLERS_MAX);
	state.armed = true;
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
