/* SPDX-License-Identifier: Apache-2.0 */
/* What neither a description of a stream nor QEMU's tables tell of the layout of device state. */
#ifndef SEALIFT_QEMUSTREAM_KNOWN_LAYOUT_H
#define SEALIFT_QEMUSTREAM_KNOWN_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KNOWN_TPM_BLOB_MAX = 256 << 10 };

/* A subsection of a table that -dump-vmstate does not list. */
typedef struct KnownSubsection {
	const char *vmsd_name; /* of the table that it extends */
	const char *name;
	uint32_t version;
	uint32_t min_bytes, max_bytes; /* without its header, with its own subsections */
} KnownSubsection;

/* Fields that two versions of QEMU describe otherwise but write to the same bytes. */
typedef struct KnownAlias {
	const char *vmsd_name; /* of the table that they stand in */
	const char *field[2];  /* the first one */
	uint32_t count[2];     /* so many fields from there */
} KnownAlias;

/*
 * A field that is there, or has so many elements, as another field of the same stream says: a guest
 * that ran may have what one that never ran has not. Whoever judges values has to hold the two
 * together (guard/device_rules.h), since the loading QEMU reads as much as the other field says.
 * -dump-vmstate tells which fields have a test, but not of what: most of them ask for the version
 * or the machine, where the local description is right and another one is not. So they stand here.
 */
typedef struct KnownOptional {
	const char *vmsd_name; /* of the table that it stands in */
	const char *field;
	const char *behind; /* the field before it: it has no other place */
	bool is_struct;
	uint32_t size_bytes; /* of an element */
	uint32_t max_count;
} KnownOptional;

/* A buffer as long as another field of the same stream says. Values are held as with KnownOptional. */
typedef struct KnownBuffer {
	const char *vmsd_name; /* of the table that it stands in */
	const char *field;
	uint32_t max_bytes;
} KnownBuffer;

/* 0: it is none. */
uint32_t known_buffer_bytes(const char *vmsd_name, const char *field);
/* NULL if it is none. */
const KnownOptional *known_optional(const char *vmsd_name, const char *field);
const KnownSubsection *known_subsection(const char *vmsd_name, const char *name);
/* The pair that has `field` on this side (0 or 1) and `other` on the other; NULL if there is none.
 */
const KnownAlias *known_alias(const char *vmsd_name, const char *field, const char *other,
			      size_t side);
/* Whether fields of this type have a length that the device's state decides. */
bool known_variable_type(const char *type);
/* The bytes of one element of a type on the wire; 0 if the type does not decide it. */
uint32_t known_type_size(const char *type);

#endif
