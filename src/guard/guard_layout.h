/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subsections that a guest which runs makes a device send, and a machine that never ran does not
 * have: their fields, for state that comes without a description (postcopy). QEMU's own tables by
 * -dump-vmstate do not help: they tell sizes in memory, and no counts.
 *
 * Names, their order, versions and the sizes of single values were compared with -dump-vmstate of
 * QEMU 10.0.2 and 7.2, and the guard compares names and order each time (compare.h). What a dump
 * does not tell, which fields are arrays and how long, is from QEMU's source: each row was read in
 * that of 10.0.2 and of 7.2, and is the same in both (i8259/ltim is younger than 7.2). What is not
 * here, nor in the twin, is refused.
 */
#ifndef SEALIFT_GUARD_GUARD_LAYOUT_H
#define SEALIFT_GUARD_GUARD_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LAYOUT_FIELDS_MAX = 8,
	LAYOUT_AS_CPUS = UINT32_MAX,	 /* as many elements as the machine has CPUs */
	LAYOUT_AS_TOLD = UINT32_MAX - 1, /* as another field says: LayoutOptional */
};

typedef struct LayoutTable LayoutTable;

typedef struct LayoutField {
	const char *name, *type;   /* as a description has them */
	uint32_t size_bytes;	   /* of one element; of a struct: not told */
	uint32_t count;		   /* 0 is 1 */
	const LayoutTable *inside; /* of a struct, whose fields are no arrays of structs */
} LayoutField;

struct LayoutTable {
	const char *vmsd_name;
	uint32_t version;
	LayoutField fields[LAYOUT_FIELDS_MAX]; /* up to one without a name */
};

typedef struct LayoutSubsection {
	const char *around; /* the table that it extends */
	LayoutTable table;
} LayoutSubsection;

/* NULL if there is no row. */
const LayoutSubsection *layout_subsection(const char *around, const char *name);

/*
 * A field that is there, or has so many elements, as a number before it says. The twin may have it
 * or not.
 */
typedef struct LayoutOptional {
	const char *table, *behind; /* the field before it */
	/* The number begins so many bytes before the end of that, and has so many. */
	uint32_t back_bytes, number_bytes;
	uint32_t most; /* of the number, which is a count; 0: the field is there if it is not 0 */
	LayoutTable added; /* the field alone */
} LayoutOptional;
const LayoutOptional *layout_optional(const char *table, const char *behind);

/* Whether what stands in a table depends on what the stream has said in ways that are not known
 * here. */
bool layout_is_unsteady(const char *table);

#endif
