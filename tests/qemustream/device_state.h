/* SPDX-License-Identifier: Apache-2.0 */
/* Small device state for tests: descriptions as text, sections as bytes. */
#ifndef SEALIFT_TESTS_QEMUSTREAM_DEVICE_STATE_H
#define SEALIFT_TESTS_QEMUSTREAM_DEVICE_STATE_H

#include "tests/support/support.h"

#include "qemustream/vmdesc.h"

/* {"page_size": 4096, "devices": [...]} around the text of the devices. */
#define DESCRIPTION(devices) "{\"page_size\": 4096, \"devices\": [" devices "]}"
/* One device with the rest of its members. */
#define DEVICE(name, rest)  "{\"name\": \"" name "\", \"instance_id\": 0, " rest "}"
#define TABLE(vmsd, fields) "\"vmsd_name\": \"" vmsd "\", \"version\": 2, \"fields\": [" fields "]"
#define FIELD(name, type, size)                                                                    \
	"{\"name\": \"" name "\", \"type\": \"" type "\", \"size\": " size "}"
#define STRUCT(name, size, table)                                                                  \
	"{\"name\": \"" name "\", \"type\": \"struct\", \"struct\": {" table "}, \"size\": " size  \
	"}"

/* A device with everything: a leaf, an array, a struct array, a subsection with one of its own. */
#define RICH_FIELDS                                                                                \
	FIELD("count", "uint32", "4")                                                              \
	", {\"name\": \"regs\", \"array_len\": 3, \"type\": \"uint16\", \"size\": 2}"              \
	", {\"name\": \"timers\", \"array_len\": 2, \"type\": \"struct\", \"struct\": {"           \
	"\"vmsd_name\": \"rich_timer\", \"version\": 1, \"fields\": [" FIELD(                      \
		"on", "bool", "1") ", " FIELD("when", "uint64", "8") "]}, \"size\": 9}"
#define RICH_SUBSECTIONS                                                                           \
	"\"subsections\": [{\"vmsd_name\": \"rich/a\", \"version\": 1, \"fields\": [" FIELD(       \
		"x", "uint8", "1") "], \"subsections\": [{\"vmsd_name\": \"rich/a/b\", "           \
				   "\"version\": 3, \"fields\": [" FIELD("y", "uint8",             \
									 "1") "]}]}]"
#define RICH TABLE("rich", RICH_FIELDS) ", " RICH_SUBSECTIONS
/* 4 + 6 + 18, then 12 + 1 for rich/a and 14 + 1 for rich/a/b inside it. */
enum { RICH_BYTES = 28 + 13 + 15 };

/* Parses, or fails the test. */
VmDescription *describe(const char *json);

/* The payload that RICH describes. */
void put_rich_payload(Buffer *buffer);
/* A FULL section with this payload. */
void put_section(Buffer *buffer, uint32_t id, const char *name, uint32_t version,
		 const void *payload, size_t size);

#endif
