/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/package.h"

#include <string.h>

#include "crypto/openssl.h"
#include "keys/package_json.h"

/* --- what both sides look at --- */

static bool same_key(const PackageKey *a, const PackageKey *b)
{
	return a->version == b->version && !memcmp(a->id, b->id, KEY_ID_BYTES);
}

static bool check_once(const Package *package, ErrorCategory category, Error *err)
{
	for (size_t i = 0; i < package->keys_count; i++)
		for (size_t j = 0; j < i; j++)
			if (same_key(&package->keys[i], &package->keys[j]))
				return error_set(err, category, "key %zu is key %zu again", i, j);
	return true;
}

static bool check_fingerprint(const PackageKey *key, size_t number, ErrorCategory category,
			      Error *err)
{
	AUTO_SECRET Secret *value = secret_new_from(key->value, KEY_BYTES, err);
	uint8_t digest[KEY_FINGERPRINT_BYTES];

	if (!value || !key_fingerprint(key->id, key->version, value, digest, err))
		return false;
	return !memcmp(digest, key->fingerprint, sizeof(digest)) ||
	       error_set(err, category, "value of key %zu has another fingerprint", number);
}

static bool check_life(const Package *package, ErrorCategory category, Error *err)
{
	if (package->expires_s > package->issued_s &&
	    package->expires_s - package->issued_s <= LIMIT_PACKAGE_AGE_S)
		return true;
	return error_set(err, category, "package lives from %llu to %llu, not for 1..%d s",
			 (unsigned long long)package->issued_s,
			 (unsigned long long)package->expires_s, LIMIT_PACKAGE_AGE_S);
}

/* --- make --- */

static bool check_own(const CmsSigner *signer, const EnvelopeRecipient *recipient,
		      const Package *package, Error *err)
{
	const SpiffeId *sender = cms_signer_id(signer);
	const SpiffeId *receiver = envelope_recipient_id(recipient);

	if (sender->role != SPIFFE_KEYD || strcmp(sender->text, package->sender))
		return error_set(err, ERROR_CONFLICT, "package of %s cannot be signed by %s",
				 package->sender, sender->text);
	if (receiver->role != SPIFFE_KEYD || strcmp(receiver->text, package->receiver))
		return error_set(err, ERROR_CONFLICT, "package for %s cannot be sealed for %s",
				 package->receiver, receiver->text);
	if (package->keys_count > LIMIT_PACKAGE_KEYS)
		return error_set(err, ERROR_CONFLICT, "%zu keys are more than %d",
				 package->keys_count, LIMIT_PACKAGE_KEYS);
	if (!check_life(package, ERROR_CONFLICT, err) || !check_once(package, ERROR_CONFLICT, err))
		return false;
	for (size_t i = 0; i < package->keys_count; i++)
		if (!check_fingerprint(&package->keys[i], i, ERROR_CONFLICT, err))
			return false;
	return true;
}

bool package_make(const CmsSigner *signer, const EnvelopeRecipient *recipient,
		  const Package *package, Buffer *buffer, Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	AUTO_BUFFER Buffer envelope = BUFFER_INIT(LIMIT_ENVELOPE);
	bool ok = check_own(signer, recipient, package, err) &&
		  package_encode_json(package, &json, err) &&
		  envelope_seal(recipient, json.data, json.used, &envelope, err);

	openssl_wipe_stack();
	return ok &&
	       cms_sign_package(signer, package->permit, envelope.data, envelope.used, buffer, err);
}

/* --- open --- */

static bool check_bytes(const char *what, const uint8_t *found, const uint8_t *expected,
			size_t size, Error *err)
{
	return !memcmp(found, expected, size) ||
	       error_set(err, ERROR_AUTH, "package is for another %s", what);
}

static bool check_text(const char *what, const char *found, const char *expected, Error *err)
{
	return !strcmp(found, expected) ||
	       error_set(err, ERROR_AUTH, "package has %s %.128s, not %.128s", what, found,
			 expected);
}

static bool check_binding(const Package *package, const PackageExpected *expected, Error *err)
{
	if (!check_bytes("migration", package->migration, expected->migration,
			 sizeof(package->migration), err) ||
	    !check_bytes("permit", package->permit, expected->permit, sizeof(package->permit),
			 err) ||
	    !check_text("VM", package->vm, expected->vm, err) ||
	    !check_text("owner", package->owner, expected->owner, err) ||
	    !check_text("sender", package->sender, expected->sender, err) ||
	    !check_text("receiver", package->receiver, expected->receiver, err))
		return false;
	if (package->epoch != expected->epoch)
		return error_set(err, ERROR_AUTH, "package is of epoch %llu, not %llu",
				 (unsigned long long)package->epoch,
				 (unsigned long long)expected->epoch);
	return package->move == expected->move ||
	       error_set(err, ERROR_AUTH, "package is a %s, not a %s",
			 package->move ? "move" : "copy", expected->move ? "move" : "copy");
}

static bool check_times(const Package *package, int64_t now_s, Error *err)
{
	if (!check_life(package, ERROR_AUTH, err))
		return false;
	if (now_s < 0 || package->expires_s <= (uint64_t)now_s)
		return error_set(err, ERROR_AUTH, "package expired at %llu, now is %lld",
				 (unsigned long long)package->expires_s, (long long)now_s);
	return package->issued_s <= (uint64_t)now_s + PACKAGE_SKEW_S ||
	       error_set(err, ERROR_AUTH, "package is from the future: %llu, now is %lld",
			 (unsigned long long)package->issued_s, (long long)now_s);
}

static const KeyRecord *find_expected(const PackageKey *key, const PackageExpected *expected)
{
	for (size_t i = 0; i < expected->keys_count; i++)
		if (key->version == expected->keys[i].version &&
		    !memcmp(key->id, expected->keys[i].id, KEY_ID_BYTES))
			return &expected->keys[i];
	return NULL;
}

static bool check_key(const PackageKey *key, size_t number, const PackageExpected *expected,
		      Error *err)
{
	const KeyRecord *record = find_expected(key, expected);

	if (!record)
		return error_set(err, ERROR_AUTH, "key %zu was not offered", number);
	if (key->purpose != record->purpose || strcmp(key->slot, record->slot))
		return error_set(err, ERROR_AUTH, "key %zu was offered for another thing", number);
	if (memcmp(key->fingerprint, record->fingerprint, sizeof(key->fingerprint)))
		return error_set(err, ERROR_AUTH,
				 "key %zu has another fingerprint than was offered", number);
	return check_fingerprint(key, number, ERROR_AUTH, err);
}

static bool check_keys(const Package *package, const PackageExpected *expected, Error *err)
{
	if (package->keys_count != expected->keys_count)
		return error_set(err, ERROR_AUTH, "package has %zu keys, %zu were offered",
				 package->keys_count, expected->keys_count);
	if (!check_once(package, ERROR_AUTH, err))
		return false;
	for (size_t i = 0; i < package->keys_count; i++)
		if (!check_key(&package->keys[i], i, expected, err))
			return false;
	return true;
}

/* Everything that can be known without opening the envelope comes first. */
static bool open_package(const AnchorStore *anchors, const EnvelopeKey *key, int64_t now_s,
			 const void *der, size_t size, const PackageExpected *expected,
			 Package *package, Error *err)
{
	AUTO_BUFFER Buffer envelope = BUFFER_INIT(LIMIT_ENVELOPE);
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	SpiffeId signer;

	if (strcmp(envelope_key_id(key)->text, expected->receiver))
		return error_set(err, ERROR_AUTH, "package for %.128s cannot be opened by %.128s",
				 expected->receiver, envelope_key_id(key)->text);
	return cms_verify_package(anchors, now_s, der, size, expected->permit, &signer, &envelope,
				  err) &&
	       check_text("signer", signer.text, expected->sender, err) &&
	       envelope_open(key, envelope.data, envelope.used, &json, err) &&
	       package_decode_json(json.data, json.used, package, err) &&
	       check_binding(package, expected, err) && check_times(package, now_s, err) &&
	       check_keys(package, expected, err);
}

bool package_open(const AnchorStore *anchors, const EnvelopeKey *key, int64_t now_s,
		  const void *der, size_t size, const PackageExpected *expected,
		  Package *ret_package, Error *err)
{
	bool ok = open_package(anchors, key, now_s, der, size, expected, ret_package, err);

	openssl_wipe_stack();
	if (!ok)
		package_wipe(ret_package);
	return ok;
}
