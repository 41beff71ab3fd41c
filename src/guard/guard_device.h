/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges device state: what a precopy stream has from its first FULL section to its end, and what
 * comes without a description: the package of postcopy, and early sections (guard_local.h).
 *
 * The twin (a QEMU of this host with the same devices, never run) and the tables of its binary say
 * which sections and fields may come and how long they are; device_rules.h says which values the
 * fields may have that QEMU uses as index, count or length; device_virtio.h does that for virtio
 * devices, of which no description tells more than one long field. All of it is judged before one
 * byte of it goes on.
 */
#ifndef SEALIFT_GUARD_GUARD_DEVICE_H
#define SEALIFT_GUARD_GUARD_DEVICE_H

#include "guard/guard.h"
#include "qemustream/dump_vmstate.h"
#include "qemustream/vmdesc.h"

enum {
	/* The longest description that is read. 68 KB were seen of a machine of 30 devices. */
	GUARD_DEVICE_JSON_MAX = 2 << 20,
};

typedef struct GuardDevice GuardDevice;

/*
 * twin: the twin's held state, from its first FULL section to its last byte, the description;
 * borrowed for the call. dump: borrowed as long as the result; NULL: no tables, and a guest that
 * ran will most often be refused. ERROR_INTERNAL if the twin's own state cannot be read. Owned by
 * the caller; guard_device_free takes NULL.
 */
MUST_CHECK GuardDevice *guard_device_new(const uint8_t *twin, size_t size, const DumpVmstate *dump,
					 Error *err);
void guard_device_free(GuardDevice *device);
DEFINE_CLEANUP(GuardDevice, guard_device, guard_device_free)
#define AUTO_GUARD_DEVICE CLEANUP(guard_device_cleanup)

/* What the twin's description says of the machine; lives as long as `device`. */
const VmDescription *guard_device_local(const GuardDevice *device);

/*
 * held: from the first FULL section to the last byte of the stream. Its description is parsed and
 * compared, every section is framed, every rule applied. *ret_incoming gives the lengths of all
 * sections in their order; it lives until the next call or guard_device_free. counters: the
 * sections and bytes are added; the time is not. ERROR_PEER with a text that begins with the
 * rule's name, and names device, field, byte and both numbers. Allocates; for one thread.
 */
MUST_CHECK bool guard_device_judge(GuardDevice *device, const uint8_t *held, size_t size,
				   const VmDescription **ret_incoming, GuardCounters *counters,
				   Error *err);

/*
 * The same for the FULL sections at the front of `sections`, which no description follows: their
 * lengths are those that the local QEMU would read. is_whole: no device may be missing; else they
 * are early ones. *ret_size: bytes of all sections; what stands behind is not looked at.
 */
MUST_CHECK bool guard_device_judge_bare(GuardDevice *device, const uint8_t *sections, size_t size,
					bool is_whole, const VmDescription **ret_incoming,
					size_t *ret_size, GuardCounters *counters, Error *err);

#endif
