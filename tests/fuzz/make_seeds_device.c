/* SPDX-License-Identifier: Apache-2.0 */
/* Device state: descriptions, tables, sections, and edits of a real machine's (twin.h). */
#include <string.h>

#include "tests/fuzz/make_seeds.h"
#include "tests/fuzz/twin.h"
#include "tests/qemustream/build.h"

#define LEAF(name, type, size) "{\"name\":\"" name "\",\"type\":\"" type "\",\"size\":" size "}"
#define MACHINE(device)	       "{\"page_size\":4096,\"devices\":[" device "]}"
#define COUNT		       LEAF("count", "uint32", "4")
#define REGISTERS	       "{\"name\":\"regs\",\"array_len\":3,\"type\":\"uint16\",\"size\":2}"
#define VIRTIO		       LEAF("v", "virtio", "9")
#define DEVICE(rest)                                                                               \
	"{\"name\":\"r\",\"instance_id\":0,\"vmsd_name\":\"rich\",\"version\":2,"                  \
	"\"fields\":[" COUNT "," REGISTERS "," VIRTIO "]" rest "}"
#define MORE LEAF("x", "uint8", "1")
#define SUBSECTION                                                                                 \
	",\"subsections\":[{\"vmsd_name\":\"rich/a\",\"version\":1,\"fields\":[" MORE "]}]"
#define TABLE_FIELD(name)                                                                          \
	"{\"field\":\"" name "\",\"version_id\":0,\"field_exists\":false,\"size\":1}"
#define INNER	   TABLE_FIELD("i")
#define TABLE_MORE TABLE_FIELD("x")
#define TABLES                                                                                     \
	"{\"rich-device\":{\"Name\":\"rich-device\",\"version_id\":2,"                             \
	"\"minimum_version_id\":1,\"Description\":{\"name\":\"rich\",\"version_id\":2,"            \
	"\"minimum_version_id\":1,\"Fields\":[{\"field\":\"s\",\"version_id\":1,"                  \
	"\"field_exists\":true,\"size\":8,\"Description\":{\"name\":\"inner\","                    \
	"\"version_id\":1,\"minimum_version_id\":1,\"Fields\":[" INNER "]}}],"                     \
	"\"Subsections\":[{\"name\":\"rich/a\",\"version_id\":1,"                                  \
	"\"minimum_version_id\":1,\"Fields\":[" TABLE_MORE "]}]}}}"

static void write_build(const char *root, const char *target, const char *name, Build *build)
{
	seeds_write(root, target, name, build->bytes.data, build->bytes.used);
	build_clear(build);
}

static void put_text(Build *build, const char *text)
{
	put_bytes(build, text, strlen(text));
}

static void write_compare(const char *root, const char *name, const char *incoming,
			  const char *local, const char *tables)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_be16(&build, (uint16_t)strlen(incoming));
	put_be16(&build, (uint16_t)strlen(local));
	put_text(&build, incoming);
	put_text(&build, local);
	put_text(&build, tables);
	write_build(root, "compare", name, &build);
}

static void write_texts(const char *root)
{
	static const char plain[] = MACHINE(DEVICE("")), more[] = MACHINE(DEVICE(SUBSECTION));

	seeds_write(root, "dump_vmstate", "tables", TABLES, strlen(TABLES));
	seeds_write(root, "dump_vmstate", "none", "{}", 2);
	seeds_write(root, "dump_vmstate", "bad", TABLES, strlen(TABLES) - 1);
	write_compare(root, "same", plain, plain, "");
	write_compare(root, "by-tables", more, plain, TABLES);
	write_compare(root, "unknown", more, plain, "");
}

/* --- sections --- */

static void put_rich(Build *build)
{
	put_full(build, 3, "r", 0);
	/* put_full's version is 1 */
	build->bytes.data[build->bytes.used - 1] = 2;
	put_be32(build, 7);
	for (int i = 0; i < 2; i++) {
		put_u8(build, 1);
		put_be64(build, 9);
	}
	put_subsection(build, "rich/a", 1);
	put_u8(build, 'X');
	put_subsection(build, "rich/a/b", 3);
	put_u8(build, 'Y');
	put_footer(build, 3);
}

static void write_frame(const char *root)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_u8(&build, 0);
	put_rich(&build);
	write_build(root, "frame", "one", &build);
	put_u8(&build, 1);
	put_rich(&build);
	put_full(&build, 4, "p", 1);
	put_bytes(&build,
		  "\1"
		  "0",
		  2);
	put_footer(&build, 4);
	write_build(root, "frame", "two", &build);
	put_u8(&build, 0);
	put_full(&build, 3, "p", 1);
	write_build(root, "frame", "another", &build);
}

/* --- edits --- */

typedef struct Edit {
	const char *name;
	FuzzEdit kind;
	uint32_t at; /* of FIELD: its number */
	uint16_t cut;
	const char *bytes;
	uint8_t size;
} Edit;

static const Edit edits[] = {
	{ "field", FUZZ_EDIT_FIELD, 200, 0, "\377\377\377\0", 4 },
	{ "same", FUZZ_EDIT_FIELD, 1, 0, "", 0 },
	{ "bytes", FUZZ_EDIT_BYTES, 0, 0, "\5", 1 },
	{ "text", FUZZ_EDIT_TEXT, 0, 1, "", 0 },
	{ "layout", FUZZ_EDIT_TEXT, 300, 1, "x", 1 },
	{ "cut", FUZZ_EDIT_CUT, 40, 16, "", 0 },
	{ "insert", FUZZ_EDIT_INSERT, 40, 0, "\0\0", 2 },
};

static void put_edit(Build *build, const Edit *edit)
{
	put_u8(build, (uint8_t)edit->kind);
	if (edit->kind == FUZZ_EDIT_FIELD) {
		put_be16(build, (uint16_t)edit->at);
		put_be16(build, 0);
	} else {
		put_be32(build, edit->at);
	}
	if (edit->kind == FUZZ_EDIT_CUT) {
		put_be16(build, edit->cut);
		return;
	}
	if (edit->kind == FUZZ_EDIT_TEXT)
		put_u8(build, (uint8_t)edit->cut);
	put_u8(build, edit->size);
	put_bytes(build, edit->bytes, edit->size);
}

/* Judged with its description and without it. */
static void write_state(const char *root, const char *name, Build *build)
{
	seeds_write(root, "guard_local", name, build->bytes.data, build->bytes.used);
	write_build(root, "guard_device", name, build);
}

static void write_edit(const char *root, const Edit *edit, bool warn)
{
	AUTO_BUILD Build build = BUILD_INIT;

	put_edit(&build, edit);
	write_state(root, edit->name, &build);
	/* Pieces of 128 bytes, 60 and 64 KiB. */
	put_bytes(&build, "\3\177\370\377", 4);
	put_u8(&build, warn);
	put_edit(&build, edit);
	write_build(root, "guard_state", edit->name, &build);
}

/* The first field of each family of rules, with a value that no range has. */
static void write_rules(const char *root, const FuzzTwin *twin)
{
	bool seen[GUARD_RULE_COUNT] = { false }, seen_virtio = false;

	AUTO_BUILD Build build = BUILD_INIT;

	for (uint32_t i = 0; i < twin->fields_count; i++) {
		const FuzzField *field = &twin->fields[i];
		Edit edit = { "guard-device-field-virtio",
			      FUZZ_EDIT_FIELD,
			      i,
			      0,
			      "\377\377\377\377\377\377\377\0",
			      8 };

		if (field->has_range && !seen[field->rule])
			edit.name = guard_rule_text(field->rule)->name;
		else if (!field->is_virtio || seen_virtio)
			continue;
		if (field->has_range)
			seen[field->rule] = true;
		else
			seen_virtio = true;
		put_edit(&build, &edit);
		write_state(root, edit.name, &build);
	}
}

/* A subsection of a CPU under a name that no CPU has. */
static void write_subsection(const char *root, const FuzzTwin *twin)
{
	static const char name[] = "cpu/msr_smi_count";
	Edit edit = { "subsection", FUZZ_EDIT_BYTES, 0, 0, "x", 1 };
	const uint8_t *found = memmem(twin->ran.data, twin->eof, name, strlen(name));
	AUTO_BUILD Build build = BUILD_INIT;

	if (!found)
		return;
	edit.at = (uint32_t)((size_t)(found - twin->ran.data) + strlen(name) - 1);
	put_edit(&build, &edit);
	write_state(root, edit.name, &build);
}

static void write_edits(const char *root)
{
	static const char name[] = "\"timer\"";
	AUTO_BUILD Build build = BUILD_INIT;
	Edit device = { "device", FUZZ_EDIT_TEXT, 0, 1, "T", 1 };
	const uint8_t *text, *found;
	FuzzTwin twin;

	for (size_t i = 0; i < ARRAY_SIZE(edits); i++)
		write_edit(root, &edits[i], i % 2);
	put_bytes(&build, "\0\0", 2);
	write_build(root, "guard_state", "good", &build);
	write_state(root, "good", &build);
	fuzz_twin_open(&twin, FUZZ_DATA);
	text = twin.ran.data + twin.eof + 6;
	found = memmem(text, twin.ran.used - twin.eof - 6, name, strlen(name));
	if (found) {
		device.at = (uint32_t)(found - text) + 1;
		write_edit(root, &device, false);
	}
	write_rules(root, &twin);
	write_subsection(root, &twin);
	fuzz_twin_close(&twin);
}

/* --- virtio: the device, then edits of its field --- */

static void write_virtio(const char *root)
{
	enum { DEVICES = 6 };
	AUTO_BUILD Build build = BUILD_INIT;

	for (uint8_t i = 0; i < DEVICES; i++) {
		const char name[] = { 'd', (char)('0' + i), 0 };

		put_u8(&build, i);
		write_build(root, "virtio_tail", name, &build);
	}
	/* The version of the PCI state, at the begin. */
	put_u8(&build, 0);
	put_bytes(&build, "\0\0\1\1\1", 5);
	write_build(root, "virtio_tail", "version", &build);
	/* A byte of the last subsection's room for 1024 queues, which all kinds have. */
	put_u8(&build, 1);
	put_bytes(&build, "\240\0\1\0", 4);
	write_build(root, "virtio_tail", "cut", &build);
}

void seeds_write_device(const char *root)
{
	write_texts(root);
	write_frame(root);
	write_edits(root);
	write_virtio(root);
}
