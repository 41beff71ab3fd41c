/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys whose values other key managers keep. What such a one gets is a blob (keys/key_wrap.h); its
 * blob key is in our own store. So a change of state never leaves keyd, a key is destroyed when its
 * blob key is, and whatever blob is left behind opens nothing.
 *
 * Everything that has to ask a helper ends later than its handler: the request is answered from the
 * event loop, and others are served meanwhile. Nothing is believed to be as it was before: the
 * store is asked again when the answer is there.
 *
 * A blob that nobody wants any more and that could not be deleted is asked for again as long as
 * keyd runs, after seconds at first and minutes at last; the log names it.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_BACKEND_H
#define SEALIFT_PROGRAMS_KEYD_BACKEND_H

#include "programs/keyd/helpers.h"

enum { DOOMED_MAX = 64 }; /* blobs of one request, and those that are asked for again */

typedef struct Keyd Keyd;

/* A blob that is to be deleted. */
typedef struct Doomed {
	char backend[LIMIT_NAME]; /* "": the place is free */
	char reference[LIMIT_KEY_REFERENCE];
	uint8_t id[KEY_ID_BYTES];
	uint64_t version;
} Doomed;

typedef struct DoomedRetry {
	Doomed doomed;
	int64_t next_us;
	unsigned int tries;
} DoomedRetry;

typedef struct Backends {
	Helpers helpers;
	DoomedRetry retries[DOOMED_MAX];
	size_t retrying;    /* the one that is asked for now, plus 1; 0: none */
	Error link_failure; /* the engine could not be answered: keyd ends */
} Backends;

void backends_init(Keyd *keyd);
void backends_clear(Keyd *keyd);

bool backend_is_embedded(const char *name);
/* ERROR_NOT_FOUND with the names that there are. */
MUST_CHECK bool backend_check(Keyd *keyd, const char *name, Error *err);

/* Both borrow what they tell. `key` is the record with its reference, `blob_key` what goes to
 * key_store_add; both NULL with a failure. The helper's back-end has the blob then: who does not
 * keep it says backend_discard. */
typedef void BackendStored(Keyd *keyd, void *context, const KeyRecord *key, const Secret *blob_key,
			   const Error *failure);
typedef void BackendFetched(Keyd *keyd, void *context, const Secret *value, const Error *failure);

/*
 * Gives the value to the back-end of the record, or gets it, in either case from another than our
 * own store. If it returns true, `done` is told exactly once, perhaps before it returns; else
 * never. Failures: ERROR_UNAVAILABLE, ERROR_TIMEOUT, ERROR_LIMIT, ERROR_AUTH (it is not the value
 * that it was), ERROR_NOT_FOUND, and those of keys/provider.h; each names the back-end. What may be
 * left there after a failed store is seen to, and stands in the log.
 */
MUST_CHECK bool backend_store(Keyd *keyd, const char *who, const KeyRecord *key,
			      const Secret *value, BackendStored *done, void *context, Error *err);
MUST_CHECK bool backend_fetch(Keyd *keyd, const KeyRecord *key, BackendFetched *done, void *context,
			      Error *err);

/* The blob of a record that is not in the store: to be deleted, now or later. */
void backend_discard(Keyd *keyd, const KeyRecord *key);

/* Blobs of keys that a request destroyed. */
typedef struct DoomedList {
	Doomed entries[DOOMED_MAX];
	size_t count;
	uint64_t more; /* that did not fit */
} DoomedList;

/* One that is in our own store is not for it. *list is made with the first one; ERROR_INTERNAL. */
MUST_CHECK bool doomed_add(DoomedList **list, const KeyRecord *key, Error *err);
/* Deletes them all and then answers the request with KEYD_CHANGED: `keys` versions were destroyed.
 * Takes the list. */
void backend_destroy(Keyd *keyd, const char *who, uint64_t subject, DoomedList *list,
		     uint64_t keys);

/* For what ends later: the failure as ROLE_FAILED, behind the KEYD_HEAD. */
void keyd_fail_later(Keyd *keyd, uint64_t subject, const Error *failure);
/* An answer that could not be sent: the loop ends. */
void keyd_lose_engine(Keyd *keyd, const Error *why);

/* serve.c: what is to be waited for besides the engine; what came; what is due. Milliseconds until
 * something will be, -1: nothing. */
size_t backends_poll(const Keyd *keyd, struct pollfd ret_waits[HELPERS_MAX]);
void backends_take(Keyd *keyd, const struct pollfd *waits, size_t count);
int backends_tick(Keyd *keyd, int64_t now_us);

#endif
