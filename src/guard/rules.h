/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guard holds, rule by rule. GUARD.md explains each; a test holds that none is missing
 * there, and another that each has a stream that breaks it.
 */
#ifndef SEALIFT_GUARD_RULES_H
#define SEALIFT_GUARD_RULES_H

#include "base/error.h"

typedef enum GuardRule {
	/* all channels */
	GUARD_RULE_GRAMMAR,
	GUARD_RULE_END,
	GUARD_RULE_CLOSED,
	/* main channel */
	GUARD_RULE_MACHINE,
	GUARD_RULE_CAPABILITY,
	GUARD_RULE_UUID,
	GUARD_RULE_COMMAND,
	GUARD_RULE_PING,
	GUARD_RULE_SECTION_INSTANCE,
	GUARD_RULE_SECTION_EARLY,
	GUARD_RULE_RAM_BLOCK,
	GUARD_RULE_RAM_SIZE,
	GUARD_RULE_RAM_OFFSET,
	GUARD_RULE_RAM_PAGES,
	GUARD_RULE_HELD_SIZE,
	/* postcopy: main and preempt */
	GUARD_RULE_POSTCOPY_PAGE_SIZE,
	GUARD_RULE_POSTCOPY_DISCARD,
	GUARD_RULE_POSTCOPY_PACKAGE,
	GUARD_RULE_PREEMPT_EARLY,
	GUARD_RULE_PREEMPT_PAGES,
	/* dirty bitmaps */
	GUARD_RULE_BITMAP_NODE,
	GUARD_RULE_BITMAP_COUNT,
	GUARD_RULE_BITMAP_RANGE,
	/* multifd channels */
	GUARD_RULE_MULTIFD_ID,
	GUARD_RULE_MULTIFD_NUMBER,
	GUARD_RULE_MULTIFD_PAGES,
	GUARD_RULE_MULTIFD_SYNC,
	GUARD_RULE_MULTIFD_COMPRESSED,
	/* return path */
	GUARD_RULE_RETURN_MESSAGE,
	GUARD_RULE_RETURN_COUNT,
	GUARD_RULE_RETURN_COOKIE,
	GUARD_RULE_RETURN_REQUEST,
	GUARD_RULE_RETURN_PAGES,
	GUARD_RULE_RETURN_BITMAP,
	GUARD_RULE_RETURN_CHANNEL,
	/* device state: guard_device.h. What is a whole section's or the description's. */
	GUARD_RULE_DEVICE_DESCRIPTION,
	GUARD_RULE_DEVICE_UNKNOWN,
	GUARD_RULE_DEVICE_MISSING,
	GUARD_RULE_DEVICE_LAYOUT,
	GUARD_RULE_DEVICE_LENGTH,
	GUARD_RULE_DEVICE_FRAME,
	GUARD_RULE_DEVICE_EQUAL,
	GUARD_RULE_DEVICE_OPAQUE,
	GUARD_RULE_DEVICE_LOCAL,
	/* device state: values of fields, by kind of device; device_rules.c, device_virtio.c */
	GUARD_RULE_DEVICE_VIRTIO,
	GUARD_RULE_DEVICE_VIRTIO_NET,
	GUARD_RULE_DEVICE_VIRTIO_BLK,
	GUARD_RULE_DEVICE_VIRTIO_SERIAL,
	GUARD_RULE_DEVICE_VIRTIO_GPU,
	GUARD_RULE_DEVICE_SCSI,
	GUARD_RULE_DEVICE_IDE,
	GUARD_RULE_DEVICE_AHCI,
	GUARD_RULE_DEVICE_FDC,
	GUARD_RULE_DEVICE_SD,
	GUARD_RULE_DEVICE_USB,
	GUARD_RULE_DEVICE_XHCI,
	GUARD_RULE_DEVICE_NET,
	GUARD_RULE_DEVICE_E1000E,
	GUARD_RULE_DEVICE_VMXNET3,
	GUARD_RULE_DEVICE_PCI,
	GUARD_RULE_DEVICE_HPET,
	GUARD_RULE_DEVICE_PC,
	GUARD_RULE_DEVICE_PS2,
	GUARD_RULE_DEVICE_SERIAL,
	GUARD_RULE_DEVICE_VGA,
	GUARD_RULE_DEVICE_SOUND,
	GUARD_RULE_DEVICE_ACPI,
	GUARD_RULE_DEVICE_TPM,
	GUARD_RULE_DEVICE_CPU,
	GUARD_RULE_DEVICE_STATE,
	GUARD_RULE_COUNT,
} GuardRule;

typedef struct GuardRuleText {
	const char *name;
	const char *holds;  /* one line */
	const char *closes; /* the published hole, or what QEMU does not look at */
} GuardRuleText;

const GuardRuleText *guard_rule_text(GuardRule rule);

/* Sets err, ERROR_PEER, to the rule's name, ": " and the formatted text. Returns false always. */
bool guard_violation(Error *err, GuardRule rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for an error that is there: ERROR_INTERNAL stays what it is, anything else becomes a
 * violation of this rule. Returns false always. */
bool guard_violation_by(Error *err, GuardRule rule);

#endif
