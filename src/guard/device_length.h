/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds the lengths of arrays that no table of the local QEMU tells.
 *
 * A subsection that the twin does not have is compared with -dump-vmstate, which tells the lengths
 * of few arrays. The loading QEMU takes them from its own device: were another length described,
 * the bytes that are judged would not be those that it loads, and what follows could be sections
 * that nobody judged. So each such array must be in the twin, or told by the tables, or listed in
 * device_length.c.
 */
#ifndef SEALIFT_GUARD_DEVICE_LENGTH_H
#define SEALIFT_GUARD_DEVICE_LENGTH_H

#include "guard/rules.h"
#include "qemustream/dump_vmstate.h"
#include "qemustream/vmdesc.h"

/* The descriptions were compared before, and have the same devices. dump may be NULL. ERROR_PEER by
 * GUARD_RULE_DEVICE_LENGTH. */
MUST_CHECK bool device_length_judge(const VmDescription *incoming, const VmDescription *local,
				    const DumpVmstate *dump, Error *err);

#endif
