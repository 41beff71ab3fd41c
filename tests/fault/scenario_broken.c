/* SPDX-License-Identifier: Apache-2.0 */
/* Each breaks one rule of fault.h, only when something fails. */
#include <errno.h>
#include <fcntl.h>

#include "base/bounds.h"
#include "base/buffer.h"
#include "tests/fault/fault.h"

static bool allocate(void)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(LIMIT_NAME);
	Error ignored = ERROR_INIT;

	return buffer_put_u8(&buffer, 1, &ignored);
}

static bool silent(void *fixture, Error *err)
{
	const bool memory = allocate();

	(void)fixture;
	(void)err;
	return memory;
}

static bool leaves_fd(void *fixture, Error *err)
{
	bool memory;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)fixture;
	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "no /dev/null");
	memory = allocate();
	if (!memory)
		return error_set(err, ERROR_INTERNAL, "no memory");
	close(fd);
	return true;
}

static bool lies(void *fixture, Error *err)
{
	const bool memory = allocate();

	(void)fixture;
	return memory || fault_wrong(err, "nothing was allocated");
}

static bool goes_well(void *fixture, Error *err)
{
	const bool memory = allocate();

	(void)fixture;
	(void)err;
	return memory || error_set(err, ERROR_INTERNAL, "no memory");
}

static bool always_wrong(void *fixture, Error *err)
{
	(void)fixture;
	return error_set(err, ERROR_INTERNAL, "the state is broken");
}

/* Works until something failed once. */
static bool broken_for_good(void *fixture, Error *err)
{
	bool *broken = fixture;
	const bool memory = allocate();

	if (!memory)
		*broken = true;
	return !*broken || error_set(err, ERROR_INTERNAL, "no memory, never again");
}

static void *new_flag(void)
{
	bool *flag = calloc(1, sizeof(*flag));
	Error err = ERROR_INIT;

	fault_must(flag, &err);
	return flag;
}

const Scenario scenarios_broken[] = {
	{ "broken: no error", NULL, silent, NULL, NULL, 0 },
	{ "broken: descriptor", NULL, leaves_fd, NULL, NULL, 0 },
	{ "broken: wrong outcome", NULL, lies, NULL, NULL, 0 },
	{ "broken: check", NULL, goes_well, always_wrong, NULL, 0 },
	{ "broken: for good", new_flag, broken_for_good, NULL, free, 0 },
	{ 0 },
};
