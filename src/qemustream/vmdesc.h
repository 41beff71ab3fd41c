/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The description of device state that QEMU sends behind it (the "vmdesc", JSON; written by
 * vmstate_save_state_v in migration/vmstate.c and vmstate_save in migration/savevm.c, as 7.2 and
 * 10.0 do). Sections of devices carry no length; the sum of what the description says of a device
 * is the length of its section's payload.
 *
 * The description comes from the peer: it says how the bytes are cut, never that they are good.
 * QEMU itself reads it and throws it away.
 *
 * How it tells what is variable. An array of one element looks like a single field; one of no
 * elements is not there at all; an array of more is one entry with `array_len`, or, if its elements
 * may differ (conditional fields, subsections), one entry for each with `index`, which 10.0 leaves
 * out of the last one (7.2 does not). A buffer of variable length has the length it had. So
 * nothing in it says that a length is variable: compare.h has that knowledge.
 *
 * Refused although QEMU may write it: a list (qtailq, qlist, gtree) that holds elements, whose
 * members QEMU writes into one object again and again.
 */
#ifndef SEALIFT_QEMUSTREAM_VMDESC_H
#define SEALIFT_QEMUSTREAM_VMDESC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	VMDESC_NAME_MAX = 255,	    /* characters of a device, vmsd or field name */
	VMDESC_TYPE_MAX = 63,	    /* characters of a type */
	VMDESC_DEPTH_MAX = 16,	    /* structs and subsections inside each other; 5 were seen */
	VMDESC_STEPS_MAX = 1 << 20, /* fields of all elements of all arrays of structs */
	VMDESC_SUBSECTION_HEADER = 2 + 4, /* mark, length of the name; version behind the name */
};
#define VMDESC_NO_INDEX UINT32_MAX

/* What a caller may lower. */
typedef struct VmdescLimits {
	size_t json_bytes;
	size_t devices;
	size_t nodes;		/* fields and subsections of all devices */
	uint64_t payload_bytes; /* of all devices together */
} VmdescLimits;
#define VMDESC_LIMITS_DEFAULT                                                                      \
	((VmdescLimits){ .json_bytes = 2 << 20,                                                    \
			 .devices = 1024,                                                          \
			 .nodes = 65536,                                                           \
			 .payload_bytes = 64 << 20 })

typedef enum VmNodeKind {
	VM_LEAF,       /* count elements of size_bytes each, nothing inside */
	VM_STRUCT,     /* count elements; the nodes inside describe each of them */
	VM_SUBSECTION, /* a header that names it, then the nodes inside */
} VmNodeKind;

/* One entry of a list in which each node stands before what is inside it. */
typedef struct VmNode {
	VmNodeKind kind;
	uint8_t depth;	       /* 0: directly in the device */
	const char *name;      /* of the field; a subsection's vmsd name */
	const char *type;      /* QEMU's word; "" for a subsection. An element of an array of
				* pointers that points nowhere is a leaf of type "nullptr" */
	const char *vmsd_name; /* what stands inside; "" for a leaf */
	uint32_t version;      /* of that, 0 for a leaf */
	uint32_t index;	       /* in an array told element by element, or VMDESC_NO_INDEX */
	uint32_t count;	       /* at least 1; 1 for a subsection */
	uint32_t size_bytes;   /* of one element; of a subsection without its header */
	uint32_t end;	       /* the first node that is not inside this one */
} VmNode;

typedef struct VmDevice {
	const char *name; /* the idstr of its section */
	uint32_t instance_id;
	const char *vmsd_name; /* "" for an old-style device, which is one buffer */
	uint32_t version;      /* 0 for an old-style device: it is not told */
	uint32_t first, end;   /* its nodes */
	uint32_t size_bytes;   /* of its section's payload */
} VmDevice;

/* Read-only once parsed. */
typedef struct VmDescription {
	VmDevice *devices; /* in the order of their sections */
	size_t devices_count;
	VmNode *nodes;
	size_t nodes_count;
	uint64_t payload_bytes; /* of all devices */
	bool has_configuration; /* QEMU 7.2 does not write it */
	VmDevice configuration; /* the payload of the configuration section */
	char *text;		/* what the names point into */
} VmDescription;

/*
 * Parses a description strictly: no unknown or repeated member, every bound held, each struct as
 * large as what is inside it, each subsection named after what it extends, no device twice.
 * ERROR_PEER or ERROR_LIMIT with the device and field. Free with vmdesc_free.
 *
 * Measured: 2 ms for the 66 KB of a small machine, at most 120 ms and 47 MB for 2 MiB of the worst
 * text that the bounds let through. jansson draws its seed when it makes the first object, by
 * opening /dev/urandom: call json_object_seed(0) before a sandbox forbids that.
 */
MUST_CHECK VmDescription *vmdesc_parse(const void *json, size_t size, const VmdescLimits *limits,
				       Error *err);
void vmdesc_free(VmDescription *description);
DEFINE_CLEANUP(VmDescription, vmdesc, vmdesc_free)
#define AUTO_VMDESC CLEANUP(vmdesc_cleanup)

/* NULL if there is none. */
const VmDevice *vmdesc_find(const VmDescription *description, const char *name,
			    uint32_t instance_id);

/* The exact bytes of a device's section payload, between the section's header and its footer. */
uint64_t vmdesc_payload_size(const VmDevice *device);

#endif
