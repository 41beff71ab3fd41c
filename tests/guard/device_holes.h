/* SPDX-License-Identifier: Apache-2.0 */
/* Device state with fields changed: one by one by the table of rules, or as published holes did. */
#ifndef SEALIFT_TESTS_GUARD_DEVICE_HOLES_H
#define SEALIFT_TESTS_GUARD_DEVICE_HOLES_H

#include "base/buffer.h"
#include "guard/device_rules.h"
#include "guard/guard_device.h"

/* An incoming stream and the machine that it goes to. */
typedef struct HeldPair {
	Buffer incoming;
	size_t eof;
	VmDescription *description; /* of the incoming one */
	DumpVmstate *dump;
	GuardDevice *device;
} HeldPair;

void held_pair_clear(HeldPair *pair);
#define AUTO_HELD_PAIR CLEANUP(held_pair_clear)

/* DIR/INCOMING.held, DIR/LOCAL.held, DIR/DUMP.dump. */
MUST_CHECK bool held_pair_open(HeldPair *pair, const char *folder, const char *incoming,
			       const char *local, const char *dump, Error *err);
MUST_CHECK bool held_pair_make(HeldPair *pair, const Buffer *incoming, const Buffer *local,
			       Error *err);
/* What guard_device_judge says of the incoming bytes as they are now. */
MUST_CHECK bool held_pair_judge(HeldPair *pair, Error *err);

/* Where a field stands; its first element. */
typedef struct HeldField {
	size_t offset;
	uint32_t size, count;
	bool is_signed;
} HeldField;

/* The first field of this name in a table of this name (that is not empty). */
bool held_find(const HeldPair *pair, const char *table, const char *field, HeldField *ret_field);
/* The first field of this type of a device of this table. */
bool held_find_type(const HeldPair *pair, const char *vmsd_name, const char *type,
		    HeldField *ret_field);
void held_set(HeldPair *pair, const HeldField *field, int64_t value);
int64_t held_get(const HeldPair *pair, const HeldField *field);

/* Sets the field to values that the rule forbids, one after the other, and restores it: whether
 * each was refused by the rule's name; and for a range, whether its ends pass this rule. */
bool held_break_row(HeldPair *pair, const DeviceRule *rule, const HeldField *field);

/* A published hole, built into the incoming stream; false if that has not what it needs. */
typedef struct DeviceHole {
	const char *name;
	bool (*build)(HeldPair *pair);
} DeviceHole;
extern const DeviceHole device_holes[];
extern const size_t device_holes_count;

/* A disk with a request that waits, as a guest has that stopped on an error: no hole. */
bool device_holes_good_request(HeldPair *pair);

#endif
