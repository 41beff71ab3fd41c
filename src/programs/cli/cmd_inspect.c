/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift inspect`: opens the file, leaves all rights but reading and writing, and tells by its
 * first bytes which channel was recorded. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/secret.h"
#include "programs/cli/command.h"
#include "programs/cli/inspect.h"
#include "programs/cli/inspect_guard.h"
#include "sandbox/sandbox.h"

typedef enum InspectOption {
	INSPECT_PAGES,
	INSPECT_DEVICE,
	INSPECT_RETURN_PATH,
	INSPECT_GUARD,
	INSPECT_MACHINE,
	INSPECT_TWIN,
	INSPECT_DUMP,
	INSPECT_CHANNELS,
	INSPECT_AGREED,
	INSPECT_DISKS,
	INSPECT_SENT,
} InspectOption;
const CliOption cmd_inspect_options[] = {
	[INSPECT_PAGES] = { "pages", NULL, "print every page, discarded range and packet" },
	[INSPECT_DEVICE] = { "device", "NAME", "print the fields of a device's state" },
	[INSPECT_RETURN_PATH] = { "return-path", NULL,
				  "the file is what the destination's QEMU answered" },
	[INSPECT_GUARD] = { "guard", NULL, "say what the guard would say, and no more" },
	[INSPECT_MACHINE] = { "machine", "TYPE", "that the guard expects, else the twin's" },
	[INSPECT_TWIN] = { "twin", "FILE", "stream of such a machine that never ran" },
	[INSPECT_DUMP] = { "dump", "FILE", "its QEMU's tables, by -dump-vmstate" },
	[INSPECT_CHANNELS] = { "channels", "N", "that the guard expects, main included; else 17" },
	[INSPECT_AGREED] = { "agreed", "FEATURES",
			     "that both sides have: postcopy-ram,xbzrle,..." },
	[INSPECT_DISKS] = { "disks", "NAME=BYTES,...", "whose dirty bitmaps may come" },
	[INSPECT_SENT] = { "sent", "FILE", "with --return-path: the main channel it answers" },
	{ NULL, NULL, NULL },
};

enum { OUTPUT_BUFFER = 1 << 16, MAGIC_SIZE = 4 };
#define MAGIC_MAIN    UINT32_C(0x5145564d) /* "QEVM" */
#define MAGIC_MULTIFD UINT32_C(0x11223344)

/* inspect_input_fill; all else was opened before. */
static const char *const syscalls[] = { "read", NULL };
static const SandboxPolicy policy = { .role = "inspect", .syscalls = syscalls };

static int open_input(const char *path, Error *err)
{
	AUTO_FD int fd = -1;
	struct stat status;

	fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
			       : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0 || fstat(fd, &status)) {
		error_set_errno(err,
				errno == ENOENT	  ? ERROR_NOT_FOUND
				: errno == EACCES ? ERROR_DENIED
						  : ERROR_IO,
				errno, "cannot open %.200s", path);
		return -1;
	}
	if (S_ISDIR(status.st_mode)) {
		error_set(err, ERROR_USAGE, "%.200s is a directory", path);
		return -1;
	}
	return TAKE_FD(fd);
}

/*
 * The C library would ask what stdout is when it makes its buffer, and Jansson opens a file for its
 * first object: both are done before. The buffer stays until the process ends, since exit(3)
 * flushes it.
 */
static bool prepare(Error *err)
{
	char *buffer = malloc(OUTPUT_BUFFER);

	if (!buffer || setvbuf(stdout, buffer, _IOFBF, OUTPUT_BUFFER)) {
		free(buffer);
		return error_set(err, ERROR_INTERNAL, "no memory for the output");
	}
	json_object_seed(0);
	return true;
}

/* What is in the file may come from anybody. From here on this process can read, write and end. */
static bool isolate(int fd, Error *err)
{
	SandboxReport report = { 0 };

	if ((fd > STDERR_FILENO + 1 && close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0)) ||
	    close_range((unsigned int)fd + 1, UINT_MAX, 0))
		return error_set_errno(err, ERROR_IO, errno, "cannot close other descriptors");
	return secret_harden_process(err) && sandbox_filter(&policy, false, &report, err);
}

/* What reads a channel: by itself, or by the guard of this side. */
static bool inspect_channel(Inspect *inspect, Guard *guard, unsigned int channel,
			    bool (*reader)(Inspect *inspect, Error *err), Error *err)
{
	return guard ? inspect_guard(inspect, guard, channel, err) : reader(inspect, err);
}

static bool inspect_by_magic(Inspect *inspect, Guard *guard, Error *err)
{
	InspectInput *input = &inspect->input;
	uint32_t magic;

	if (!inspect_input_need(input, MAGIC_SIZE, err))
		return false;
	if (inspect_input_size(input) < MAGIC_SIZE)
		return error_set(err, ERROR_PEER,
				 "byte %zu: the file ends before its magic number is whole",
				 inspect_input_size(input));
	magic = load_be32(inspect_input_window(input));
	if (magic == MAGIC_MAIN)
		return inspect_channel(inspect, guard, 0, inspect_main, err);
	if (magic == MAGIC_MULTIFD)
		return inspect_channel(inspect, guard, 1, inspect_multifd, err);
	return error_set(err, ERROR_PEER,
			 "byte 0: magic 0x%08x is neither a main channel's (0x%08x) nor a "
			 "multifd channel's (0x%08x); a return path has none: --return-path",
			 magic, MAGIC_MAIN, MAGIC_MULTIFD);
}

/* *ret_guard stays NULL if it was not asked for. */
static bool make_guard(const CliInput *input, Guard **ret_guard, Error *err)
{
	static const InspectOption with_guard[] = { INSPECT_MACHINE,  INSPECT_TWIN,   INSPECT_DUMP,
						    INSPECT_CHANNELS, INSPECT_AGREED, INSPECT_DISKS,
						    INSPECT_SENT };
	static const InspectOption without_guard[] = { INSPECT_PAGES, INSPECT_DEVICE };
	const bool asked = input->values[INSPECT_GUARD];
	const InspectOption *wrong = asked ? without_guard : with_guard;
	const size_t n_wrong = asked ? ARRAY_SIZE(without_guard) : ARRAY_SIZE(with_guard);
	const InspectGuardOptions options = { .return_path = input->values[INSPECT_RETURN_PATH],
					      .machine = input->values[INSPECT_MACHINE],
					      .twin = input->values[INSPECT_TWIN],
					      .dump = input->values[INSPECT_DUMP],
					      .channels = input->values[INSPECT_CHANNELS],
					      .agreed = input->values[INSPECT_AGREED],
					      .disks = input->values[INSPECT_DISKS],
					      .sent = input->values[INSPECT_SENT] };

	for (size_t i = 0; i < n_wrong; i++)
		if (input->values[wrong[i]])
			return error_set(err, ERROR_USAGE, "--%s %s --guard",
					 cmd_inspect_options[wrong[i]].name,
					 asked ? "does not go with" : "means nothing without");
	if (asked)
		*ret_guard = inspect_guard_new(&options, err);
	return !asked || *ret_guard;
}

bool cmd_inspect(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_FD int fd = open_input(input->words[0], err);
	AUTO_FREE uint8_t *window = malloc(INSPECT_WINDOW);
	AUTO_GUARD Guard *guard = NULL;
	Inspect inspect = { .input = { .fd = fd, .bytes = window },
			    .output = { .stream = stdout, .json = context->json },
			    .pages = input->values[INSPECT_PAGES],
			    .device = input->values[INSPECT_DEVICE] };

	if (fd < 0)
		return false;
	if (!window)
		return error_set(err, ERROR_INTERNAL, "no memory for a window on the file");
	if (!prepare(err) || !make_guard(input, &guard, err) || !isolate(fd, err))
		return false;
	if (input->values[INSPECT_RETURN_PATH])
		return inspect_channel(&inspect, guard, 0, inspect_return_path, err);
	return inspect_by_magic(&inspect, guard, err);
}
