/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/vm_file.c: what a person wrote, or was made to copy from somewhere. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/vm_file.h"

enum { REACHED_GOOD, REACHED_REFUSAL };

/* libconfig 1.5 forgets strings and names when its text breaks off. The unit tests of this file see
 * what we would forget. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "vm_file_parse", "its refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static VmFile file;
	AUTO_FREE char *text = NULL;
	Error err = ERROR_INIT;

	/* No file of this machine is to be read for a guessed name. */
	if (size > VM_FILE_MAX_BYTES || memmem(data, size, "kernel", 6) ||
	    memmem(data, size, "initrd", 6))
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (!vm_file_parse("vm.conf", "/nonexistent", text, &file, &err)) {
		if (!err.category || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_REFUSAL);
		return 0;
	}
	fuzz_reached(REACHED_GOOD);
	return 0;
}
