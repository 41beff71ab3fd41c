/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that were opened for a hypervisor: each is memory in a descriptor (memfd_create(2)) that
 * can neither grow nor shrink nor be written to by who gets it; our own mapping was made before
 * that seal. So we can wipe it under everybody's hands: when it was read, or after KEYD_OPEN_S.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_OPENED_H
#define SEALIFT_PROGRAMS_KEYD_OPENED_H

#include "base/secret.h"
#include "role/keyd_messages.h"

typedef struct OpenedValue {
	uint64_t subject; /* of the request */
	int64_t until_us; /* monotonic */
	void *bytes;	  /* a page, shared with the descriptor; NULL: the place is free */
} OpenedValue;

/* All zeros: none is open. */
typedef struct Opened {
	OpenedValue values[KEYD_OPEN_MAX];
} Opened;

/* The passphrase in a new descriptor of exactly its size, owned by the caller; -1 sets err.
 * ERROR_LIMIT if KEYD_OPEN_MAX are open, ERROR_CONFLICT if this subject has one, ERROR_IO. */
MUST_CHECK int opened_make(Opened *opened, uint64_t subject, const Secret *passphrase,
			   int64_t now_us, Error *err);
/* Wipes it; one that is not there, any more, is no error. */
void opened_wipe(Opened *opened, uint64_t subject);
/* Wipes those whose time is over. Milliseconds until the next one's is, for poll(2); -1: none. */
int opened_expire(Opened *opened, int64_t now_us);
void opened_wipe_all(Opened *opened);

#endif
