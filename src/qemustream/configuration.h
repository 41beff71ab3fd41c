/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands between a stream's header and its first section: tag 0x07, the machine type, then
 * subsections (vmstate_configuration, QEMU's migration/savevm.c). Each is a unit of its own.
 */
#ifndef SEALIFT_QEMUSTREAM_CONFIGURATION_H
#define SEALIFT_QEMUSTREAM_CONFIGURATION_H

#include "qemustream/unit.h"

enum {
	CONFIGURATION_CAPABILITIES_MAX = 64,
	CONFIGURATION_UUID_SIZE = 16,
};

typedef enum ConfigurationKind {
	CONFIGURATION_MACHINE,
	CONFIGURATION_PAGE_BITS,
	CONFIGURATION_CAPABILITIES,
	CONFIGURATION_UUID,
	CONFIGURATION_KIND_COUNT,
} ConfigurationKind;

typedef struct ConfigurationUnit {
	ConfigurationKind kind;
	size_t size_bytes; /* of the window */
	UnitName machine;  /* MACHINE. QEMU compares no more than this length: compare exactly */
	uint32_t page_bits;
	bool ignore_shared; /* CAPABILITIES: x-ignore-shared is listed */
	uint8_t uuid[CONFIGURATION_UUID_SIZE];
} ConfigurationUnit;

/* The tag and the machine type: a name of 1..255 bytes of printable ASCII. */
MUST_CHECK UnitResult configuration_next_machine(const uint8_t *window, size_t size,
						 ConfigurationUnit *ret_unit, Error *err);

/*
 * A subsection: the window begins with 0x05. They come in the order of ConfigurationKind, each at
 * most once; `last` is the kind of the one before. ERROR_PEER too for another version than 1, and
 * for capabilities: of those that QEMU lists mapped-ram is for files, any other is unknown.
 */
MUST_CHECK UnitResult configuration_next_subsection(ConfigurationKind last, const uint8_t *window,
						    size_t size, ConfigurationUnit *ret_unit,
						    Error *err);

#endif
