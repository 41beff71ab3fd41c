/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte of each item of the main channel (QEMU's migration/savevm.h). */
#ifndef SEALIFT_QEMUSTREAM_MAIN_TAGS_H
#define SEALIFT_QEMUSTREAM_MAIN_TAGS_H

enum {
	TAG_EOF = 0x00,
	TAG_SECTION_START = 0x01,
	TAG_SECTION_PART = 0x02,
	TAG_SECTION_END = 0x03,
	TAG_SECTION_FULL = 0x04,
	TAG_SUBSECTION = 0x05,
	TAG_VMDESC = 0x06,
	TAG_CONFIGURATION = 0x07,
	TAG_COMMAND = 0x08,
	TAG_FOOTER = 0x7e,
};

#endif
