/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a key is: 256 random bits that open one thing of one VM, with a state of NIST SP 800-57
 * part 1, section 7, in which `exporting` and `imported` are ours: they say that the key is on its
 * way between two key managers.
 *
 *   pre-active --> active --> exporting --> destroyed        moved: the other side has it now
 *                    |  ^         |
 *                    |  '---------'                          undone: the other side discarded it
 *   imported ------> active                                  at the destination, with RESUME
 *   imported ------> destroyed                               undone
 *   pre-active, active --> deactivated --> destroyed         retired; opens, never for new data
 *
 * A key that was sent and came back stays marked with the domain that has seen it: a discard is a
 * promise, a new master key is a fact. A destroyed key stays destroyed: if its VM comes back with
 * the same key, that is a second record of the same id and version, which begins as imported.
 */
#ifndef SEALIFT_KEYS_KEY_H
#define SEALIFT_KEYS_KEY_H

#include "base/bounds.h"
#include "base/schema.h"
#include "base/secret.h"
#include "wire/offered_key.h"

enum {
	KEY_ID_BYTES = 16,
	KEY_ID_HEX = 2 * KEY_ID_BYTES + 1, /* text of it with the NUL */
	KEY_BYTES = 32,
	KEY_PASSPHRASE_BYTES = 44, /* base64 of it, without a NUL */
	KEY_FINGERPRINT_BYTES = 48,
	LIMIT_KEY_REFERENCE = 256, /* bytes of a back-end's name of a key, with the NUL */
	LIMIT_KEYS = 1 << 20,	   /* in one store */
};

typedef enum KeyState {
	KEY_PRE_ACTIVE,
	KEY_ACTIVE,
	KEY_EXPORTING,
	KEY_IMPORTED,
	KEY_DEACTIVATED,
	KEY_DESTROYED,
	KEY_STATE_COUNT,
} KeyState;
extern const char *const key_state_words[KEY_STATE_COUNT];

/* All that is known of a key but its value. key_record_schema has its bounds. */
typedef struct KeyRecord {
	uint8_t id[KEY_ID_BYTES]; /* random, once ever; the same in both domains */
	uint64_t version;	  /* grows by one with each rotation; from 1 */
	KeyPurpose purpose;
	KeyState state;
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];  /* the domain that owns the VM */
	char slot[LIMIT_NAME];	   /* which of the VM's things: the disk's name, "tpm0" */
	uint64_t epoch;		   /* of the VM, when the key came to this state */
	char backend[LIMIT_NAME];  /* where its value is: "embedded", or a configured name */
	char reference[LIMIT_KEY_REFERENCE]; /* the back-end's own name of it; "" where embedded */
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];
	char exposed_to[LIMIT_DOMAIN]; /* who has seen it although it was not moved; or "" */
	uint8_t migration[16];	       /* exporting, imported: on which it travels; else zeros */
	uint64_t created_s, changed_s; /* since 1970 */
} KeyRecord;
extern const Schema key_record_schema;

/* The back-end whose values are in our own store. */
#define KEY_BACKEND_EMBEDDED "embedded"

/* What the schema cannot say: a key of the embedded back-end has no reference and every other one
 * has, one that travels names its migration and no other does. ERROR_USAGE, also for the schema's
 * bounds. */
MUST_CHECK bool key_record_check(const KeyRecord *key, Error *err);

/* Whether a key may go from one state to the other: the arrows above and no others. */
bool key_state_may_follow(KeyState from, KeyState to);
/* ERROR_CONFLICT "key ID is STATE; only ... may become ..." */
MUST_CHECK bool key_state_check(const KeyRecord *key, KeyState to, Error *err);

/* Lower-case hex of the id; and back, strictly. ERROR_USAGE. */
void key_id_text(const uint8_t id[KEY_ID_BYTES], char ret_text[KEY_ID_HEX]);
MUST_CHECK bool key_id_parse(const char *text, uint8_t ret_id[KEY_ID_BYTES], Error *err);

/* SHA-384 over "sealift key fingerprint 1" and a NUL, the id, the version in 8 bytes, big-endian,
 * and the KEY_BYTES of the value: both sides can say which key they mean without telling it. A key
 * is random, so its digest gives nothing away. */
MUST_CHECK bool key_fingerprint(const uint8_t id[KEY_ID_BYTES], uint64_t version,
				const Secret *value, uint8_t ret_digest[KEY_FINGERPRINT_BYTES],
				Error *err);

/* The value as QEMU's LUKS and swtpm want it: base64, KEY_PASSPHRASE_BYTES characters (QEMU takes
 * only UTF-8). Owned by the caller. */
MUST_CHECK Secret *key_passphrase(const Secret *value, Error *err);

#endif
