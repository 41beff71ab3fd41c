/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `qemu-system-x86_64 -machine M -dump-vmstate FILE` writes: the tables by which the local
 * QEMU loads each type of device (dump_vmstate_json_to_file, migration/savevm.c, 7.2 and 10.0). The
 * file is our own QEMU's, so it is trusted, and bounded all the same.
 *
 * It knows what a description of a stream (vmdesc.h) cannot: all conditional fields and
 * subsections of a table. It does not know the lengths on the wire: `size` is that of the memory,
 * the lengths of fixed arrays are told by QEMU 10, and of few by 7.2.
 *
 * Which names it knows, measured with q35 and pc of QEMU 10.0.2 and 7.2: its keys are types of
 * devices (`virtio-net-device`), so look up by the name of the table (`virtio-net`), which is a
 * vmdesc's vmsd_name. Types may share a name, and have different tables under it (`ne2000`, `vga`,
 * `cirrus_vga`; in 7.2 `serial`), so that a caller tries each. No entry have tables that no qdev
 * class points to: cpu, cpu_common, apic, timer, globalstate, configuration, acpi_build, slirp
 * (which has no table at all), PCIBUS and i2c_bus (buses), eeprom (93xx, registered by the NIC),
 * the kinds of i8255x (`i82550`: named when they are made), and in 7.2 ide. A virtio device's own
 * contents are one leaf of type `virtio` in both: virtio_state.h.
 */
#ifndef SEALIFT_QEMUSTREAM_DUMP_VMSTATE_H
#define SEALIFT_QEMUSTREAM_DUMP_VMSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	DUMP_BYTES_MAX = 8 << 20, /* 0.8 MB were seen */
	DUMP_TYPES_MAX = 4096,	  /* 226 were seen */
	DUMP_NODES_MAX = 65536,	  /* 4204 were seen */
	DUMP_DEPTH_MAX = 16,	  /* 5 were seen */
};

typedef enum DumpNodeKind { DUMP_FIELD, DUMP_STRUCT, DUMP_SUBSECTION } DumpNodeKind;

/* One entry of a list in which each node stands before what is inside it. */
typedef struct DumpNode {
	DumpNodeKind kind;
	const char *name;		   /* of the field; a subsection's table */
	const char *vmsd_name;		   /* the table inside; "" for a field */
	uint32_t field_version;		   /* the first version of the table that has this field */
	bool is_conditional;		   /* a test decides at run time whether it is there */
	uint64_t size_bytes;		   /* of an element in memory */
	uint32_t count;			   /* of a fixed array; 1 if it is not told */
	uint32_t version, minimum_version; /* of the table inside */
	uint32_t end;			   /* the first node that is not inside this one */
} DumpNode;

typedef struct DumpType {
	const char *name;      /* the type of the device */
	const char *vmsd_name; /* "" if the type has no table */
	uint32_t version, minimum_version;
	uint32_t first, end; /* its nodes */
} DumpType;

/* Read-only once parsed. */
typedef struct DumpVmstate {
	DumpType *types;
	size_t types_count;
	DumpNode *nodes;
	size_t nodes_count;
	char *text;
} DumpVmstate;

/* ERROR_HYPERVISOR or ERROR_LIMIT with the type. Free with dump_vmstate_free. */
MUST_CHECK DumpVmstate *dump_vmstate_parse(const void *json, size_t size, Error *err);
void dump_vmstate_free(DumpVmstate *dump);
DEFINE_CLEANUP(DumpVmstate, dump_vmstate, dump_vmstate_free)
#define AUTO_DUMP_VMSTATE CLEANUP(dump_vmstate_cleanup)

/* The next type after `previous` (NULL: the first) with a table of this name; NULL: no more. */
const DumpType *dump_vmstate_find(const DumpVmstate *dump, const char *vmsd_name,
				  const DumpType *previous);

/* The subsection of this name anywhere in a type's table; NULL if it has none. */
const DumpNode *dump_vmstate_subsection(const DumpVmstate *dump, const DumpType *type,
					const char *name);

#endif
