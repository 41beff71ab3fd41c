/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which values fields of device state may have, as a table. A row is for a field that QEMU uses as
 * index, count, length, divisor or state after it loaded it, bounded by what its own running device
 * can reach. What a guest may set at will has no row: it would hurt an honest guest, and QEMU has
 * to withstand it anyway.
 *
 * A field is found by the table of QEMU that it stands in (a vmdesc's vmsd_name, of the innermost
 * struct) and its name there. To add a rule: one row in device_rules.c; if the family is new, a
 * row in rules.c.
 */
#ifndef SEALIFT_GUARD_DEVICE_RULES_H
#define SEALIFT_GUARD_DEVICE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guard/rules.h"

enum { SWTPM_HEADER_BYTES = 10 };

typedef enum DeviceCheck {
	DEVICE_RANGE,	     /* min..max */
	DEVICE_AT_MOST,	     /* 0..value of `other`, and at most max if that is not 0 */
	DEVICE_AT_LEAST,     /* value of `other`..max */
	DEVICE_SUM,	     /* 0..max, and with `other` at most max */
	DEVICE_AHEAD,	     /* 0..max more than `other` */
	DEVICE_TIMES,	     /* max times `other` */
	DEVICE_BELOW_BYTES,  /* 0..bytes of the field `other` - 1 */
	DEVICE_UPTO_BYTES,   /* 0..bytes of the field `other` */
	DEVICE_COUNT,	     /* elements of the field `other` as described; 0 if there is none */
	DEVICE_BYTES,	     /* bytes of it, at least min; 0 if there is none */
	DEVICE_BYTES_BESIDE, /* times max: bytes of `other` of the same table; 0 if there is none */
	DEVICE_LOCAL,	     /* what the twin has there */
	DEVICE_WITHIN_LOCAL, /* 0..the twin's `other` << max */
	DEVICE_RUNSTATE,     /* a word that a QEMU may begin with, then zeros */
	DEVICE_ZEROS,	     /* every byte 0 */
	DEVICE_SEALED_BLOB,  /* swtpm's, encrypted for a migration */
	DEVICE_CHECK_COUNT,
} DeviceCheck;

typedef struct DeviceRule {
	const char *table, *field;
	DeviceCheck check;
	int64_t min, max;
	/* Another field of the same table. Where its value counts it must stand before this one;
	 * where its length counts, anywhere; for COUNT and BYTES behind it, in any table. */
	const char *other;
	uint64_t mask; /* the bits of the field that are judged; 0: all */
	bool has_also; /* `also` (all bits) may come too */
	int64_t also;
	GuardRule rule;
	const char *closes; /* what a wrong value does to QEMU */
} DeviceRule;

extern const DeviceRule device_rules[];
extern const size_t device_rules_count;

#endif
