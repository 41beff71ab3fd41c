/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/package_json.h"

#include <assert.h>
#include <string.h>

#include "crypto/spiffe.h"
#include "wire/json.h"

static const Field key_fields[] = {
	SCHEMA_HEX(PackageKey, id),
	SCHEMA_U64(PackageKey, version, 1, INT64_MAX),
	SCHEMA_ENUM(PackageKey, purpose, key_purpose_words),
	SCHEMA_TEXT(PackageKey, slot, TEXT_NAME, 1),
	SCHEMA_HEX(PackageKey, value),
	SCHEMA_HEX(PackageKey, fingerprint),
};
static SCHEMA_DEFINE(package_key_schema, "key", PackageKey, key_fields);

static const Field fields[] = {
	SCHEMA_HEX(Package, id),
	SCHEMA_HEX(Package, migration),
	SCHEMA_TEXT(Package, vm, TEXT_UUID, 1),
	SCHEMA_TEXT(Package, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(Package, epoch, 1, INT64_MAX),
	SCHEMA_TEXT(Package, sender, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(Package, receiver, TEXT_PRINTABLE, 1),
	SCHEMA_HEX(Package, permit),
	SCHEMA_BOOL(Package, move),
	SCHEMA_U64(Package, issued_s, 0, INT64_MAX),
	SCHEMA_U64(Package, expires_s, 0, INT64_MAX),
	SCHEMA_LIST(Package, keys, &package_key_schema, 1),
};
SCHEMA_DEFINE(package_schema, "package", Package, fields);

/*
 * What stands before each value. Since the text has no spaces and no escapes, there is no other way
 * to write it, and these bytes are nothing else.
 */
static const char value_mark[] = "\"value\":\"";
enum { MARK_BYTES = sizeof(value_mark) - 1, VALUE_HEX = 2 * KEY_BYTES };

/* Walks from value to value. */
typedef struct Values {
	uint8_t *at;
	size_t left;
} Values;

/* The digits of the next value, NULL if there is none or it is cut. */
static uint8_t *next_value(Values *values)
{
	uint8_t *mark =
		values->left ? memmem(values->at, values->left, value_mark, MARK_BYTES) : NULL;
	uint8_t *digits = mark ? mark + MARK_BYTES : NULL;
	size_t left = mark ? values->left - (size_t)(digits - values->at) : 0;

	if (left < VALUE_HEX)
		return NULL;
	values->at = digits + VALUE_HEX;
	values->left = left - VALUE_HEX;
	return digits;
}

static void put_value(uint8_t *digits, const uint8_t value[KEY_BYTES])
{
	char text[VALUE_HEX + 1];

	hex_encode(value, KEY_BYTES, text);
	memcpy(digits, text, VALUE_HEX);
	explicit_bzero(text, sizeof(text));
}

/* Moves the value out of the text, in which zeros are left. */
static bool take_value(uint8_t *digits, uint8_t ret_value[KEY_BYTES])
{
	char text[VALUE_HEX + 1];
	bool ok;

	memcpy(text, digits, VALUE_HEX);
	text[VALUE_HEX] = '\0';
	ok = hex_decode(text, ret_value, KEY_BYTES);
	explicit_bzero(text, sizeof(text));
	memset(digits, '0', VALUE_HEX);
	return ok;
}

/* The package but for its values. */
static bool encode_rest(const Package *package, Buffer *buffer, Error *err)
{
	Package copy = *package;

	for (size_t i = 0; i < LIMIT_PACKAGE_KEYS; i++)
		explicit_bzero(copy.keys[i].value, sizeof(copy.keys[i].value));
	return json_encode_plain(&package_schema, &copy, buffer, err);
}

bool package_encode_json(const Package *package, Buffer *buffer, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Values values;

	if (!encode_rest(package, &text, err))
		return false;
	values = (Values){ text.data, text.used };
	for (size_t i = 0; i < package->keys_count; i++) {
		uint8_t *digits = next_value(&values);

		assert(digits);
		put_value(digits, package->keys[i].value);
	}
	return buffer_put(buffer, text.data, text.used, err);
}

static bool check_bytes(const uint8_t *text, size_t size, Error *err)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '\\')
			return error_set(err, ERROR_PEER, "package has byte 0x%02x at %zu", text[i],
					 i);
	return true;
}

typedef uint8_t ValueTable[LIMIT_PACKAGE_KEYS][KEY_BYTES];

static bool take_values(uint8_t *text, size_t size, ValueTable *ret_values, size_t *ret_count,
			Error *err)
{
	Values values = { text, size };
	bool ok = check_bytes(text, size, err);
	size_t count = 0;

	for (uint8_t *digits; ok && (digits = next_value(&values)); count++) {
		if (count == LIMIT_PACKAGE_KEYS)
			ok = error_set(err, ERROR_PEER, "package has more than %d values",
				       LIMIT_PACKAGE_KEYS);
		else if (!take_value(digits, (*ret_values)[count]))
			ok = error_set(err, ERROR_PEER,
				       "value of key %zu is not %d lower-case hex digits", count,
				       VALUE_HEX);
	}
	if (!ok)
		explicit_bzero(text, size);
	*ret_count = count;
	return ok;
}

/* The text has no value any more. */
static bool decode_rest(const uint8_t *text, size_t size, size_t n_values, Package *package,
			Error *err)
{
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_PACKAGE_JSON);

	if (!json_decode_plain(&package_schema, text, size, package, err))
		return false;
	if (package->keys_count != n_values)
		return error_set(err, ERROR_PEER, "package has %zu keys and %zu values",
				 package->keys_count, n_values);
	if (!json_encode_plain(&package_schema, package, &again, err))
		return false;
	return (again.used == size && !memcmp(again.data, text, size)) ||
	       error_set(err, ERROR_PEER, "package is not written in its one form");
}

bool package_decode_json(uint8_t *text, size_t size, Package *ret_package, Error *err)
{
	ValueTable values = { { 0 } };
	size_t count = 0;
	bool ok = take_values(text, size, &values, &count, err) &&
		  decode_rest(text, size, count, ret_package, err);

	if (ok)
		for (size_t i = 0; i < count; i++)
			memcpy(ret_package->keys[i].value, values[i], KEY_BYTES);
	else
		package_wipe(ret_package);
	explicit_bzero(values, sizeof(values));
	return ok;
}

void package_wipe(Package *package)
{
	explicit_bzero(package, sizeof(*package));
}
