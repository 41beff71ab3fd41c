/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Describes device state that came without a description, as the local QEMU would read it.
 *
 * In postcopy, and for sections that come early, no vmdesc tells the lengths. The twin's own
 * description does: what it says of a device is read off the bytes, field by field. What a guest
 * that ran may have otherwise is known in three ways, and refused else:
 *
 *  - subsections, which the bytes name: of the twin, of known_layout.h, or of guard_layout.h;
 *  - fields of a length of their own (virtio): their decoders accept exactly one length, to the
 *    last byte; it is looked for where the footer of the section stands;
 *  - fields that a number before them makes be there, or counts: guard_layout.h.
 *
 * The result goes through all that judges a description of the peer (compare.h, device_length.h,
 * frame.h), which holds once more that names, counts and bytes fit.
 */
#ifndef SEALIFT_GUARD_GUARD_LOCAL_H
#define SEALIFT_GUARD_GUARD_LOCAL_H

#include "guard/rules.h"
#include "qemustream/frame.h"
#include "qemustream/vmdesc.h"

/* Whether a field of a variable type has exactly these bytes; the error is dropped if not. */
typedef struct LocalProbe {
	bool (*fits)(void *context, const FrameField *field, Error *err);
	void *context;
} LocalProbe;

/*
 * The FULL sections at the front of `bytes`, up to what is no section. *ret_size: how many bytes
 * they are. ERROR_PEER by a rule of device state; ERROR_INTERNAL without memory. Owned by the
 * caller; it points into `local`, which has to outlive it.
 */
MUST_CHECK VmDescription *local_describe(const VmDescription *local, const uint8_t *bytes,
					 size_t size, const LocalProbe *probe, size_t *ret_size,
					 Error *err);

#endif
