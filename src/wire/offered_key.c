/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/offered_key.h"

#include <string.h>

const char *const key_purpose_words[KEY_PURPOSE_COUNT] = { "image", "tpm-migration", "tpm-file" };

static const Field fields[] = {
	SCHEMA_HEX(OfferedKey, id),
	SCHEMA_U64(OfferedKey, version, 1, INT64_MAX),
	SCHEMA_ENUM(OfferedKey, purpose, key_purpose_words),
	SCHEMA_TEXT(OfferedKey, slot, TEXT_NAME, 1),
	SCHEMA_HEX(OfferedKey, fingerprint),
};
SCHEMA_DEFINE(offered_key_schema, "key", OfferedKey, fields);

bool offered_keys_check(const OfferedKey *keys, size_t count, Error *err)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < i; k++) {
			if (!memcmp(keys[i].id, keys[k].id, sizeof(keys[i].id)))
				return error_set(err, ERROR_PEER, "keys: %zu and %zu are the same", k, i);
			if (keys[i].purpose == keys[k].purpose &&
			    strcmp(keys[i].slot, keys[k].slot) == 0)
				return error_set(err, ERROR_PEER, "keys: %zu and %zu are both %s of \"%s\"",
						 k, i, key_purpose_words[keys[i].purpose], keys[i].slot);
		}
	}
	return true;
}
