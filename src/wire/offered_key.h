/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of a VM as the offer of its migration names it: all that says which key is meant, and nothing
 * of its value. What keys are, keys/key.h says.
 */
#ifndef SEALIFT_WIRE_OFFERED_KEY_H
#define SEALIFT_WIRE_OFFERED_KEY_H

#include "base/bounds.h"
#include "base/schema.h"

enum {
	OFFERED_KEY_ID_BYTES = 16,
	OFFERED_KEY_FINGERPRINT_BYTES = 48,
	LIMIT_OFFERED_KEYS = 24, /* of one VM: disks, vTPM twice, to spare */
};

/* What a key opens. */
typedef enum KeyPurpose {
	KEY_IMAGE,	    /* a LUKS slot of a disk image */
	KEY_TPM_MIGRATION,  /* swtpm's state in a migration stream */
	KEY_TPM_FILE,	    /* swtpm's state at rest */
	KEY_PURPOSE_COUNT,
} KeyPurpose;
extern const char *const key_purpose_words[KEY_PURPOSE_COUNT];

typedef struct OfferedKey {
	uint8_t id[OFFERED_KEY_ID_BYTES];
	uint64_t version; /* from 1 */
	KeyPurpose purpose;
	char slot[LIMIT_NAME]; /* which of the VM's things: the disk's volume, "tpm0" */
	uint8_t fingerprint[OFFERED_KEY_FINGERPRINT_BYTES];
} OfferedKey;
extern const Schema offered_key_schema;

/* None twice, neither by id nor by purpose and slot. ERROR_PEER. */
MUST_CHECK bool offered_keys_check(const OfferedKey *keys, size_t count, Error *err);

#endif
