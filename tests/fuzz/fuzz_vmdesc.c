/* SPDX-License-Identifier: Apache-2.0 */
/* Device state and its description, both of a peer: be32 length of the sections, the sections, then
 * JSON to the end. So an input may change in length without being refused for that alone. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "base/buffer.h"
#include "qemustream/compare.h"
#include "qemustream/frame.h"

enum {
	REACHED_FOUND,
	REACHED_PARSED,
	REACHED_FIELD,
	REACHED_INSIDE,
	REACHED_FRAMED,
	REACHED_FITS,
	REACHED_COUNT
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "vmdesc found", "vmdesc parsed",
							  "field",	  "field inside another",
							  "all framed",	  "fits ours" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

/* Our own machine: one device, whose subsection stands in QEMU's tables only. */
static const char local_text[] =
	"{\"page_size\": 4096, \"devices\": [{\"name\": \"r\", \"instance_id\": 0, "
	"\"vmsd_name\": \"rich\", \"version\": 2, \"fields\": ["
	"{\"name\": \"count\", \"type\": \"uint32\", \"size\": 4}, "
	"{\"name\": \"regs\", \"array_len\": 3, \"type\": \"uint16\", \"size\": 2}, "
	"{\"name\": \"timers\", \"array_len\": 2, \"type\": \"struct\", \"struct\": {"
	"\"vmsd_name\": \"rich_timer\", \"version\": 1, \"fields\": ["
	"{\"name\": \"on\", \"type\": \"bool\", \"size\": 1}, "
	"{\"name\": \"when\", \"type\": \"uint64\", \"size\": 8}]}, \"size\": 9}]}]}";
#define TABLE_FIELD(name)                                                                          \
	"{\"field\": \"" name "\", \"version_id\": 0, \"field_exists\": false, \"size\": 1}"
static const char dump_text[] =
	"{\"rich\": {\"Name\": \"rich\", \"version_id\": 2, \"minimum_version_id\": 1, "
	"\"Description\": {\"name\": \"rich\", \"version_id\": 2, \"minimum_version_id\": 1, "
	"\"Subsections\": [{\"name\": \"rich/a\", \"version_id\": 1, \"minimum_version_id\": 1, "
	"\"Fields\": [" TABLE_FIELD(
		"x") "], \"Subsections\": [{\"name\": \"rich/a/b\", "
		     "\"version_id\": 3, \"minimum_version_id\": 1, \"Fields\": [" TABLE_FIELD(
			     "y") "]}]}]}}}";

static void try_fit(const VmDescription *incoming)
{
	static const VmdescLimits limits = VMDESC_LIMITS_DEFAULT;
	static const CompareOptions options = COMPARE_OPTIONS_DEFAULT;
	Error err = ERROR_INIT;
	AUTO_VMDESC VmDescription *local =
		vmdesc_parse(local_text, sizeof(local_text) - 1, &limits, &err);
	AUTO_DUMP_VMSTATE DumpVmstate *dump =
		dump_vmstate_parse(dump_text, sizeof(dump_text) - 1, &err);

	if (!local || !dump)
		fuzz_fail("our own layout is wrong");
	if (vmdesc_compare(incoming, local, dump, &options, &err))
		fuzz_reached(REACHED_FITS);
	else if (err.category != ERROR_PEER)
		fuzz_fail("a refusal that blames nobody");
	/* A subsection twice does not even fit itself. */
	if (vmdesc_compare(incoming, incoming, dump, &options, &err) &&
	    incoming->payload_bytes > limits.payload_bytes)
		fuzz_fail("a description past its bounds fits");
}

typedef struct Walk {
	size_t next;
	uint64_t sum; /* so that each byte is read */
} Walk;

static bool on_field(void *context, const FrameField *field, Error *err)
{
	char path[FRAME_PATH_SIZE];
	Walk *walk = context;

	(void)err;
	if (field->offset < walk->next || !frame_path(field, path)[0])
		fuzz_fail("a field that lies in another, or without a name");
	walk->next = field->offset + field->size_bytes;
	for (size_t i = 0; i < field->size_bytes; i++)
		walk->sum += field->bytes[i];
	fuzz_reached(REACHED_FIELD);
	if (field->levels_count)
		fuzz_reached(REACHED_INSIDE);
	return true;
}

static void try_description(const uint8_t *sections, size_t sections_size, const uint8_t *json,
			    size_t json_size)
{
	/* Small bounds: what counts is that they hold. */
	static const VmdescLimits limits = {
		.json_bytes = 1 << 20, .devices = 64, .nodes = 4096, .payload_bytes = 1 << 20
	};
	Walk walk = { 0 };
	const FrameVisitor visitor = { .on_field = on_field, .context = &walk };
	AUTO_VMDESC VmDescription *description = NULL;
	uint64_t sum = 0;
	Error err = ERROR_INIT;

	description = vmdesc_parse(json, json_size, &limits, &err);
	if (!description)
		return;
	fuzz_reached(REACHED_PARSED);
	for (size_t i = 0; i < description->devices_count; i++)
		sum += vmdesc_payload_size(&description->devices[i]);
	if (description->devices_count > limits.devices ||
	    description->nodes_count > limits.nodes || sum > limits.payload_bytes ||
	    sum != description->payload_bytes)
		fuzz_fail("a description past its bounds");
	if (frame_sections(sections, sections_size, description, &visitor, &err)) {
		fuzz_reached(REACHED_FRAMED);
		if (walk.next > sections_size || sum > sections_size)
			fuzz_fail("fields past the end");
	} else if (!err.text[0]) {
		fuzz_fail("a refusal without a reason");
	}
	try_fit(description);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t eof, sections;
	Error err = ERROR_INIT;

	if (frame_find_vmdesc(data, size, 1 << 20, &eof, &err)) {
		fuzz_reached(REACHED_FOUND);
		try_description(data, eof, data + eof + 6, size - eof - 6);
	}
	if (size < 4)
		return 0;
	sections = load_be32(data);
	if (sections > size - 4)
		sections = size - 4;
	try_description(data + 4, sections, data + 4 + sections, size - 4 - sections);
	return 0;
}
