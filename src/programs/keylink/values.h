/* SPDX-License-Identifier: Apache-2.0 */
/* Values of keys as our engine gets them: memory that nobody but we can change, and that is wiped
 * when the hypervisor has read it, or after KEYD_OPEN_S; as keyd's own (role/keyd_messages.h). */
#ifndef SEALIFT_PROGRAMS_KEYLINK_VALUES_H
#define SEALIFT_PROGRAMS_KEYLINK_VALUES_H

#include <stdint.h>

#include "keys/key.h"
#include "role/keylink_messages.h"

typedef struct Value {
	uint64_t subject;
	uint8_t *bytes; /* mapped; NULL: free */
	int64_t until_us;
} Value;

/* All zeros: none. */
typedef struct Values {
	Value values[KEYD_OPEN_MAX];
} Values;

/* The descriptor to pass on, owned by the caller; -1 with ERROR_LIMIT, ERROR_IO. */
MUST_CHECK int values_make(Values *values, uint64_t subject,
			   const uint8_t passphrase[KEY_PASSPHRASE_BYTES], int64_t now_us,
			   Error *err);
void values_wipe(Values *values, uint64_t subject);
/* Wipes those whose time is over; returns when the next is, or INT64_MAX. */
int64_t values_expire(Values *values, int64_t now_us);
void values_wipe_all(Values *values);

#endif
