/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard/guard_local.c and guard_layout.c: the device state of a real machine with edits (twin.h),
 * judged without its description, as the package of postcopy is. What passes is framed by what was
 * made up for it, and has devices of the twin. If it passes with its description too, both cut it
 * in the same places: QEMU, which reads it in one way, has no third.
 */
#include <string.h>

#include "qemustream/frame.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/twin.h"

enum {
	REACHED_GOOD,
	REACHED_CHANGED,
	REACHED_BOTH,
	REACHED_LOCAL,
	REACHED_FRAME,
	REACHED_FIELD,
	REACHED_COUNT,
	HELD_MAX = 4 << 20,
};

static FuzzTwin real;
/* Each keeps what it judged last. */
static GuardDevice *bare, *described;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = {
		"good state",	      "changed state that is good", "good by its description too",
		"guard-device-local", "guard-device-frame",	    "guard-device-field"
	};
	Error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	fuzz_twin_open(&real, FUZZ_DATA);
	bare = guard_device_new(real.twin.data, real.twin.used, real.dump, &err);
	described = guard_device_new(real.twin.data, real.twin.used, real.dump, &err);
	if (!bare || !described)
		fuzz_fail(err.text);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static void see_refusal(const Error *err)
{
	static const struct {
		const char *rule;
		size_t reached;
	} seen[] = {
		{ "guard-device-local:", REACHED_LOCAL },
		{ "guard-device-frame:", REACHED_FRAME },
		{ "guard-device-field-", REACHED_FIELD },
	};

	if (err->category != ERROR_PEER || strncmp(err->text, "guard-device-", 13) != 0)
		fuzz_fail("a refusal without a rule");
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		if (!strncmp(err->text, seen[i].rule, strlen(seen[i].rule)))
			fuzz_reached(seen[i].reached);
}

static void judge_again(const Buffer *held, const VmDescription *cut)
{
	const VmDescription *incoming = NULL;
	GuardCounters counters = { 0 };
	Error err = ERROR_INIT;

	if (!guard_device_judge(described, held->data, held->used, &incoming, &counters, &err))
		return;
	if (incoming->devices_count != cut->devices_count)
		fuzz_fail("other devices by its description");
	for (size_t i = 0; i < cut->devices_count; i++)
		if (incoming->devices[i].size_bytes != cut->devices[i].size_bytes)
			fuzz_fail("cut elsewhere than its description says");
	fuzz_reached(REACHED_BOTH);
}

static void see_good(const Buffer *held, size_t eof, size_t taken, const VmDescription *cut)
{
	const VmDescription *local = guard_device_local(bare);
	const FrameVisitor visitor = { .context = NULL };
	Error err = ERROR_INIT;

	if (taken > eof || !frame_sections(held->data, taken, cut, &visitor, &err))
		fuzz_fail("accepted, but not framed");
	if (cut->devices_count != local->devices_count)
		fuzz_fail("other devices were accepted");
	for (size_t i = 0; i < cut->devices_count; i++)
		if (!vmdesc_find(local, cut->devices[i].name, cut->devices[i].instance_id))
			fuzz_fail("a device was accepted that is not here");
	if (taken == eof)
		judge_again(held, cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer held = BUFFER_INIT(HELD_MAX);
	Reader edits = reader_of(data, size);
	const VmDescription *cut = NULL;
	GuardCounters counters = { 0 };
	Error err = ERROR_INIT;
	size_t eof, taken = 0;

	fuzz_twin_edit(&real, &edits, &held);
	if (!frame_find_vmdesc(held.data, held.used, GUARD_DEVICE_JSON_MAX, &eof, &err))
		return 0;
	err = ERROR_INIT;
	if (!guard_device_judge_bare(bare, held.data, eof, true, &cut, &taken, &counters, &err)) {
		see_refusal(&err);
		return 0;
	}
	see_good(&held, eof, taken, cut);
	fuzz_reached(size ? REACHED_CHANGED : REACHED_GOOD);
	return 0;
}
