/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard/guard_device.c with the device state of a real machine and what an input changes in it
 * (twin.h). What is accepted is framed to its last byte and has the twin's devices; judged twice it
 * is the same; and what was refused leaves nothing behind: the guest's own state passes after it.
 */
#include <string.h>

#include "qemustream/frame.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/twin.h"

enum {
	REACHED_GOOD,
	REACHED_CHANGED,
	REACHED_DESCRIPTION,
	REACHED_DEVICES,
	REACHED_LAYOUT,
	REACHED_FRAME,
	REACHED_FIELD,
	REACHED_VIRTIO,
	REACHED_AFTERWARDS,
	REACHED_COUNT,
	HELD_MAX = 4 << 20,
	ONE_IN = 16,
};

static FuzzTwin real;
static GuardDevice *judge_of_real;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = {
		"good state",	      "changed state that is good", "guard-device-description",
		"other devices",      "guard-device-layout",	    "guard-device-frame",
		"guard-device-field", "guard-device-field-virtio",  "good state afterwards",
	};
	Error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	fuzz_twin_open(&real, FUZZ_DATA);
	judge_of_real = guard_device_new(real.twin.data, real.twin.used, real.dump, &err);
	if (!judge_of_real)
		fuzz_fail(err.text);
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

/* The first that the rule's name begins with; the last ones stand before what they begin with. */
static void see_refusal(const Error *err)
{
	static const struct {
		const char *rule;
		size_t reached;
	} seen[] = {
		{ "guard-device-description:", REACHED_DESCRIPTION },
		{ "guard-device-unknown:", REACHED_DEVICES },
		{ "guard-device-missing:", REACHED_DEVICES },
		{ "guard-device-layout:", REACHED_LAYOUT },
		{ "guard-device-frame:", REACHED_FRAME },
		{ "guard-device-field-virtio", REACHED_VIRTIO },
		{ "guard-device-field-", REACHED_FIELD },
	};

	if (err->category != ERROR_PEER || strncmp(err->text, "guard-device-", 13) != 0)
		fuzz_fail("a refusal without a rule");
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		if (!strncmp(err->text, seen[i].rule, strlen(seen[i].rule))) {
			fuzz_reached(seen[i].reached);
			return;
		}
}

static void see_good(const Buffer *held, const VmDescription *incoming,
		     const GuardCounters *counters)
{
	const VmDescription *local = guard_device_local(judge_of_real);
	const FrameVisitor visitor = { .context = NULL };
	Error err = ERROR_INIT;
	size_t eof;

	if (!frame_find_vmdesc(held->data, held->used, GUARD_DEVICE_JSON_MAX, &eof, &err) ||
	    !frame_sections(held->data, eof, incoming, &visitor, &err))
		fuzz_fail("accepted, but not framed");
	if (counters->device_sections != incoming->devices_count ||
	    counters->device_bytes != incoming->payload_bytes)
		fuzz_fail("accepted without all of it");
	if (incoming->devices_count != local->devices_count)
		fuzz_fail("other devices were accepted");
	for (size_t i = 0; i < incoming->devices_count; i++)
		if (!vmdesc_find(local, incoming->devices[i].name,
				 incoming->devices[i].instance_id))
			fuzz_fail("a device was accepted that is not here");
}

static bool judge(const Buffer *held, Error *err)
{
	const VmDescription *incoming = NULL;
	GuardCounters counters = { 0 };

	*err = ERROR_INIT;
	if (!guard_device_judge(judge_of_real, held->data, held->used, &incoming, &counters, err))
		return false;
	see_good(held, incoming, &counters);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer held = BUFFER_INIT(HELD_MAX);
	Reader edits = reader_of(data, size);
	Error first, second;
	bool good;

	fuzz_twin_edit(&real, &edits, &held);
	good = judge(&held, &first);
	if (good) {
		fuzz_reached(size ? REACHED_CHANGED : REACHED_GOOD);
		return 0;
	}
	see_refusal(&first);
	/* For some only: it takes as long again. */
	if (data[size - 1] % ONE_IN)
		return 0;
	if (judge(&held, &second) || strcmp(first.text, second.text) != 0)
		fuzz_fail("judged twice it is another");
	if (!judge(&real.ran, &second))
		fuzz_fail("good state is refused after bad state");
	fuzz_reached(REACHED_AFTERWARDS);
	return 0;
}
