/* SPDX-License-Identifier: Apache-2.0 */
/* engine/config.c: what an administrator wrote, or was made to copy from somewhere. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "engine/config.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/feature_cache.h"

enum { REACHED_GOOD, REACHED_REFUSAL, TEXT_MAX = 16384 };

static int memory_fd;

/* libconfig 1.5 forgets strings and names when its text breaks off. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "config_load", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	memory_fd = memfd_create("sealift.conf", MFD_CLOEXEC);
	return memory_fd < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Config config;
	char path[32];
	Error err = ERROR_INIT;
	bool good;

	/* No file of this machine is to be read for a guessed name. */
	if (size > TEXT_MAX || memmem(data, size, "@include", strlen("@include")))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory_fd);
	if (ftruncate(memory_fd, 0) || lseek(memory_fd, 0, SEEK_SET) ||
	    !file_write_fd(memory_fd, data, size, &err))
		fuzz_fail("no memory for a file");
	good = config_load(path, &config, &err);
	if (!good && (err.category != ERROR_CONFIG || !err.text[0]))
		fuzz_fail("a refusal without a reason");
	fuzz_reached(good ? REACHED_GOOD : REACHED_REFUSAL);
	config_release(&config);
	return 0;
}
