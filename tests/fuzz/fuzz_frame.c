/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/frame.c with a description of this host's own: a byte that says which devices there
 * are, then sections. What is framed is walked without a gap but for headers, and ends at the last
 * byte. (With a description of the peer's: fuzz_vmdesc.c.)
 */
#include <string.h>

#include "base/buffer.h"
#include "qemustream/frame.h"
#include "tests/fuzz/fuzz.h"

enum {
	REACHED_SECTION,
	REACHED_FIELD,
	REACHED_ELEMENT,
	REACHED_SUBSECTION,
	REACHED_FRAMED,
	REACHED_REFUSED,
	DESCRIPTIONS = 2,
};

#define LEAF(name, type, size) "{\"name\":\"" name "\",\"type\":\"" type "\",\"size\":" size "}"
#define LEAVES_OF_PLAIN	       LEAF("b", "bool", "1") "," LEAF("none", "nullptr", "1")
#define PLAIN                                                                                      \
	"{\"name\":\"p\",\"instance_id\":1,\"vmsd_name\":\"plain\",\"version\":1,"                 \
	"\"fields\":[" LEAVES_OF_PLAIN "]}"
#define LEAVES_OF_TIMER LEAF("on", "bool", "1") "," LEAF("when", "uint64", "8")
#define TIMERS                                                                                     \
	"{\"name\":\"timers\",\"array_len\":2,\"type\":\"struct\",\"struct\":{"                    \
	"\"vmsd_name\":\"rich_timer\",\"version\":1,\"fields\":[" LEAVES_OF_TIMER "]},"            \
	"\"size\":9}"
#define LEAF_OF_A LEAF("x", "uint8", "1")
#define LEAF_OF_B LEAF("y", "uint8", "1")
#define SUBSECTIONS                                                                                \
	"\"subsections\":[{\"vmsd_name\":\"rich/a\",\"version\":1,\"fields\":[" LEAF_OF_A          \
	"],\"subsections\":[{\"vmsd_name\":\"rich/a/b\",\"version\":3,"                            \
	"\"fields\":[" LEAF_OF_B "]}]}]"
#define LEAF_OF_RICH LEAF("count", "uint32", "4")
#define RICH                                                                                       \
	"{\"name\":\"r\",\"instance_id\":0,\"vmsd_name\":\"rich\",\"version\":2,"                  \
	"\"fields\":[" LEAF_OF_RICH "," TIMERS "]," SUBSECTIONS "}"
#define DEVICES(list) "{\"page_size\":4096,\"devices\":[" list "]}"

static VmDescription *descriptions[DESCRIPTIONS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const texts[DESCRIPTIONS] = { DEVICES(RICH), DEVICES(RICH "," PLAIN) };
	static const char *const names[] = { "section",	   "field",	 "field of an element",
					     "subsection", "all framed", "refusal" };
	Error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	for (size_t i = 0; i < DESCRIPTIONS; i++) {
		descriptions[i] =
			vmdesc_parse(texts[i], strlen(texts[i]), &VMDESC_LIMITS_DEFAULT, &err);
		if (!descriptions[i])
			fuzz_fail(err.text);
	}
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

typedef struct Walk {
	const uint8_t *held;
	size_t next, sections, payload, payload_end;
} Walk;

static bool on_section(void *context, const FrameSection *section, Error *err)
{
	Walk *walk = context;

	(void)err;
	if (section->header_offset < walk->payload_end ||
	    section->payload_offset <= section->header_offset ||
	    section->payload_bytes != vmdesc_payload_size(section->device))
		fuzz_fail("a section of another length");
	walk->sections++;
	walk->payload += section->payload_bytes;
	walk->next = section->payload_offset;
	walk->payload_end = section->payload_offset + section->payload_bytes;
	fuzz_reached(REACHED_SECTION);
	return true;
}

static bool on_field(void *context, const FrameField *field, Error *err)
{
	char path[FRAME_PATH_SIZE];
	Walk *walk = context;

	(void)err;
	if (field->offset < walk->next || field->offset + field->size_bytes > walk->payload_end ||
	    field->bytes != walk->held + field->offset || !frame_path(field, path)[0])
		fuzz_fail("a field outside its section, or without a name");
	walk->next = field->offset + field->size_bytes;
	fuzz_reached(REACHED_FIELD);
	if (field->levels_count)
		fuzz_reached(field->levels[0].node->kind == VM_STRUCT ? REACHED_ELEMENT
								      : REACHED_SUBSECTION);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const VmDescription *description;
	FrameVisitor visitor = { on_section, on_field, NULL };
	Error err = ERROR_INIT;
	Walk walk = { 0 };

	if (!size)
		return 0;
	description = descriptions[data[0] % DESCRIPTIONS];
	walk.held = data + 1;
	visitor.context = &walk;
	if (!frame_sections(data + 1, size - 1, description, &visitor, &err)) {
		if (err.category != ERROR_PEER || !err.text[0])
			fuzz_fail("a refusal without a reason");
		fuzz_reached(REACHED_REFUSED);
		return 0;
	}
	fuzz_reached(REACHED_FRAMED);
	if (walk.sections != description->devices_count ||
	    walk.payload != description->payload_bytes || walk.payload_end > size - 1)
		fuzz_fail("framed without all of it");
	return 0;
}
