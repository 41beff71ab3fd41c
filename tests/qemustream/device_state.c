/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/device_state.h"

#include <string.h>

static void put(Buffer *buffer, const void *data, size_t size)
{
	Error err;

	assert_works(buffer_put(buffer, data, size, &err), &err);
}

VmDescription *describe(const char *json)
{
	Error err = ERROR_INIT;
	VmDescription *description = vmdesc_parse(json, strlen(json), &VMDESC_LIMITS_DEFAULT, &err);

	if (!description)
		fail_msg("%s: %s", err.text, json);
	return description;
}

void put_rich_payload(Buffer *buffer)
{
	static const uint8_t bytes[] = { 0,   0, 0,   7,			  /* count */
					 1,   2, 3,   4,   5,	6,		  /* regs */
					 1,   0, 0,   0,   0,	0,   0,	  0,   9, /* timers[0] */
					 0,   0, 0,   0,   0,	0,   0,	  0,   8, /* timers[1] */
					 5,   6, 'r', 'i', 'c', 'h', '/', 'a', 0,
					 0,   0, 1,   'X', /* x */
					 5,   8, 'r', 'i', 'c', 'h', '/', 'a', '/',
					 'b', 0, 0,   0,   3,	'Y' };

	assert_int_equal(sizeof(bytes), RICH_BYTES);
	put(buffer, bytes, sizeof(bytes));
}

void put_section(Buffer *buffer, uint32_t id, const char *name, uint32_t version,
		 const void *payload, size_t size)
{
	uint8_t numbers[8];

	store_be32(numbers, id);
	put(buffer, "\4", 1);
	put(buffer, numbers, 4);
	numbers[0] = (uint8_t)strlen(name);
	put(buffer, numbers, 1);
	put(buffer, name, strlen(name));
	store_be32(numbers, 0);
	store_be32(numbers + 4, version);
	put(buffer, numbers, 8);
	if (size)
		put(buffer, payload, size);
	store_be32(numbers, id);
	put(buffer, "\x7e", 1);
	put(buffer, numbers, 4);
}
