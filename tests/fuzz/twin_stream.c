/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/twin.h"
#include "tests/qemustream/build.h"

enum { RAM_PAGES = 16 };

void fuzz_twin_put_stream(Buffer *stream, bool is_twin, const Buffer *held)
{
	AUTO_BUILD Build build = BUILD_INIT;
	Error err = ERROR_INIT;

	put_begin(&build);
	if (is_twin) {
		put_subsection(&build, "configuration/capabilities", 1);
		put_be32(&build, 1);
		put_name(&build, "x-ignore-shared");
	} else {
		put_command(&build, COMMAND_OPEN_RETURN_PATH, NULL, 0);
		put_ping(&build, 1);
	}
	put_start(&build, RAM_ID, "ram", 4);
	put_mem_size(&build, RAM_PAGES * PAGE);
	put_block(&build, "pc.ram", RAM_PAGES * PAGE);
	if (is_twin)
		put_be64(&build, 0);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	put_end(&build, RAM_ID);
	put_eos(&build);
	put_footer(&build, RAM_ID);
	if (!buffer_put(stream, build.bytes.data, build.bytes.used, &err) ||
	    !buffer_put(stream, held->data, held->used, &err))
		fuzz_fail(err.text);
}
