/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds the description of an incoming stream against the layout of the QEMU that is to load it.
 *
 * `local` is the description that the destination's own QEMU writes of the same machine, never
 * started; `dump` is its tables (dump_vmstate.h). A guest that has run needs fields and
 * subsections that one that never ran does not; what those may be is taken from, in this order:
 * the local description, the tables of the local QEMU, and a short list in known_layout.c of what
 * neither tells. What none of them knows is refused.
 *
 * Measured between a guest that was booted and one that was not (q35, QEMU 10.0.2, and 7.2 to
 * 10.0.2): cpu/msr_smi_count, cpu/pkru, cpu/fpop_ip_dp (not in the tables: the CPU's is none of a
 * device class), ich9_pm/cpuhp and hpet/offset (in the tables), and the length of fields of type
 * `virtio`. All other fields were equal. Between 7.2 and 10.0.2 three fields were described
 * otherwise in the same bytes (known_layout.c), and fields of e1000e had become unused bytes; esp
 * (am53c974) has another layout, and is refused.
 */
#ifndef SEALIFT_QEMUSTREAM_COMPARE_H
#define SEALIFT_QEMUSTREAM_COMPARE_H

#include "qemustream/dump_vmstate.h"
#include "qemustream/vmdesc.h"

enum {
	/* virtio-scsi lets a disk have 128 requests (cmd_per_lun), virtio-blk 256 in a queue, of 49
	 * KB each, and with an error all may wait. */
	COMPARE_VARIABLE_MAX = 16 << 20,
};

/* An array or buffer that may be longer, shorter or missing: no description says which are. */
typedef struct CompareVariable {
	const char *vmsd_name; /* the table that the field stands in */
	const char *field;
	uint32_t max_bytes; /* of all its elements */
} CompareVariable;

typedef struct CompareOptions {
	/* Names of local devices that the incoming stream may lack. The other way round is never
	 * allowed: QEMU refuses sections that it does not know. */
	const char *const *optional_devices;
	size_t optional_devices_count;
	/* Beside those that known_layout.c lists. */
	const CompareVariable *variable;
	size_t variable_count;
	/* Bound of fields whose type is of variable length (virtio), and of those of which the
	 * tables do not tell the length; at most COMPARE_VARIABLE_MAX is wise. */
	uint32_t variable_max_bytes;
	/* Whether somebody judges the value of a local field by its table and name: then the
	 * incoming description may not call it unused. NULL: nobody does. */
	bool (*is_judged)(const char *vmsd_name, const char *field);
} CompareOptions;
#define COMPARE_OPTIONS_DEFAULT ((CompareOptions){ .variable_max_bytes = COMPARE_VARIABLE_MAX })

/*
 * Every incoming device exists here with the same instance, table and version (QEMU leaves out
 * fields that are newer than the version of a section or subsection, whatever is described); every
 * local one is in the stream unless it is optional; fields are equal in order, name, type, count
 * and size but for what may vary; what only one side has is listed (options, known_layout.h) and as
 * the tables have it; each subsection is known. ERROR_PEER names device, field and
 * both values. dump may be NULL: then a guest that has run will most often be refused.
 */
MUST_CHECK bool vmdesc_compare(const VmDescription *incoming, const VmDescription *local,
			       const DumpVmstate *dump, const CompareOptions *options, Error *err);

#endif
