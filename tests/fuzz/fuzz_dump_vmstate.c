/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/dump_vmstate.c: the tables of a QEMU, as JSON. They are this host's own; still nothing
 * in them may do harm. */
#include <string.h>

#include "qemustream/dump_vmstate.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_PARSED, REACHED_FIELD, REACHED_STRUCT, REACHED_SUBSECTION, REACHED_REFUSED };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* Those in the middle by DumpNodeKind. */
	static const char *const names[] = { "tables", "field", "struct", "subsection", "refusal" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

/* A node lies inside its parent, and the first one behind it is not before it. */
static void judge_nodes(const DumpVmstate *dump, uint32_t first, uint32_t end)
{
	uint32_t open[DUMP_DEPTH_MAX + 1], depth = 0;

	open[0] = end;
	for (uint32_t i = first; i < end; i++) {
		const DumpNode *node = &dump->nodes[i];

		while (i >= open[depth])
			depth--;
		if (node->end <= i || node->end > open[depth] || !node->count)
			fuzz_fail("a node that is not inside its parent");
		if (node->kind == DUMP_FIELD && node->end != i + 1)
			fuzz_fail("a field with something inside");
		if (node->end > i + 1 && depth == DUMP_DEPTH_MAX)
			fuzz_fail("deeper than the bound");
		if (node->end > i + 1)
			open[++depth] = node->end;
		fuzz_reached(REACHED_FIELD + (size_t)node->kind);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Error err = ERROR_INIT;
	AUTO_DUMP_VMSTATE DumpVmstate *dump = dump_vmstate_parse(data, size, &err);

	if (!dump) {
		if ((err.category != ERROR_HYPERVISOR && err.category != ERROR_LIMIT) ||
		    !err.text[0])
			fuzz_fail("a refusal without a reason, or that blames a peer");
		fuzz_reached(REACHED_REFUSED);
		return 0;
	}
	fuzz_reached(REACHED_PARSED);
	if (dump->types_count > DUMP_TYPES_MAX || dump->nodes_count > DUMP_NODES_MAX)
		fuzz_fail("tables past their bounds");
	for (size_t i = 0; i < dump->types_count; i++) {
		const DumpType *type = &dump->types[i];

		if (type->first > type->end || type->end > dump->nodes_count)
			fuzz_fail("a type past the nodes");
		judge_nodes(dump, type->first, type->end);
		if (type->vmsd_name[0] && !dump_vmstate_find(dump, type->vmsd_name, NULL))
			fuzz_fail("a type that is not found");
	}
	return 0;
}
