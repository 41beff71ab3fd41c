/* SPDX-License-Identifier: Apache-2.0 */
/* Holds a subsection or field that the local description lacks against the tables of the local
 * QEMU. */
#ifndef SEALIFT_QEMUSTREAM_COMPARE_DUMP_H
#define SEALIFT_QEMUSTREAM_COMPARE_DUMP_H

#include "qemustream/dump_vmstate.h"
#include "qemustream/vmdesc.h"

enum { COMPARE_ELEMENTS_MAX = 65536 }; /* of an array whose length no table tells */

/*
 * Whether a table of the device's name has this subsection with these fields: versions between the
 * minimum and ours; fields in order, those left out conditional or newer; the size of each type
 * that decides it; fixed arrays of the length that the table tells. Lengths that it does not tell
 * are bounded by max_bytes. ERROR_PEER if no table does, with what the last one that has the
 * subsection said. dump may be NULL: nothing is known then.
 */
MUST_CHECK bool compare_dump_subsection(const VmDescription *description, const VmDevice *device,
					const VmNode *subsection, const DumpVmstate *dump,
					uint32_t max_bytes, Error *err);

/* The same for one field that the local description lacks, in a table of this name anywhere in the
 * device's. */
MUST_CHECK bool compare_dump_field(const VmDescription *description, const VmDevice *device,
				   const char *vmsd_name, const VmNode *node,
				   const DumpVmstate *dump, uint32_t max_bytes, Error *err);

#endif
