/* SPDX-License-Identifier: Apache-2.0 */
/* The root key in a token: pkcs11.h. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "keys/pkcs11_module.h"
#include "keys/pkcs11_token.h"

typedef struct Pkcs11Root {
	RootKey base; /* first: key_wrap.h */
	Pkcs11Token *token;
	char label[LIMIT_NAME];
	CK_OBJECT_HANDLE key; /* good while the token is logged in to */
} Pkcs11Root;

static const CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static const CK_KEY_TYPE aes = CKK_AES;
static const CK_ULONG key_bytes = KEY_BYTES;
static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, const void *value, size_t size)
{
	return (CK_ATTRIBUTE){ type, (void *)(uintptr_t)value, size };
}

static CK_ATTRIBUTE truth(CK_ATTRIBUTE_TYPE type, bool value)
{
	return attribute(type, value ? &yes : &no, sizeof(yes));
}

static CK_MECHANISM key_wrap_mechanism(void)
{
	return (CK_MECHANISM){ CKM_AES_KEY_WRAP, NULL, 0 };
}

static bool take_label(const Pkcs11Config *config, char ret_label[LIMIT_NAME], Error *err)
{
	size_t size = config->key ? strnlen(config->key, LIMIT_NAME) : 0;

	if (!size || size == LIMIT_NAME)
		return error_set(err, ERROR_CONFIG, "a root key's label is not 1 to %d bytes",
				 LIMIT_NAME - 1);
	memcpy(ret_label, config->key, size + 1);
	return true;
}

static CK_RV find_key(Pkcs11Token *token, const char *label, CK_OBJECT_HANDLE *ret_key,
		      CK_ULONG *ret_count)
{
	CK_ATTRIBUTE template[] = {
		attribute(CKA_CLASS, &secret_key, sizeof(secret_key)),
		truth(CKA_TOKEN, true),
		attribute(CKA_LABEL, label, strlen(label)),
	};

	return pkcs11_find(token, template, ARRAY_SIZE(template), ret_key, ret_count);
}

/* What a root key must be, and why not otherwise. */
static const struct {
	CK_ATTRIBUTE_TYPE type;
	bool expected;
	const char *reason;
} demands[] = {
	{ CKA_SENSITIVE, true, "it can be read out" },
	{ CKA_EXTRACTABLE, false, "it may leave the token" },
	{ CKA_NEVER_EXTRACTABLE, true, "it once could have left the token" },
	{ CKA_ALWAYS_SENSITIVE, true, "it once could have been read out" },
	{ CKA_LOCAL, true, "it was not made in the token" },
	{ CKA_WRAP, true, "it may not wrap" },
	{ CKA_UNWRAP, true, "it may not unwrap" },
};

static bool has_value(Pkcs11Root *root, CK_ATTRIBUTE_TYPE type, const void *expected, size_t size)
{
	uint8_t value[sizeof(CK_ULONG)] = { 0 };
	CK_ATTRIBUTE asked = { type, value, size };
	CK_RV rv = pkcs11_functions(root->token)
			   ->C_GetAttributeValue(pkcs11_session(root->token), root->key, &asked, 1);

	return rv == CKR_OK && asked.ulValueLen == size && !memcmp(value, expected, size);
}

static bool check_key(Pkcs11Root *root, Error *err)
{
	if (!has_value(root, CKA_KEY_TYPE, &aes, sizeof(aes)) ||
	    !has_value(root, CKA_VALUE_LEN, &key_bytes, sizeof(key_bytes)))
		return error_set(err, ERROR_DENIED, "root key \"%s\": not of AES with %d bytes",
				 root->label, KEY_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(demands); i++)
		if (!has_value(root, demands[i].type, demands[i].expected ? &yes : &no,
			       sizeof(yes)))
			return error_set(err, ERROR_DENIED, "root key \"%s\": %s", root->label,
					 demands[i].reason);
	return true;
}

/* In the session that is open now. */
static bool take_key(Pkcs11Root *root, Error *err)
{
	CK_ULONG count;
	CK_RV rv = find_key(root->token, root->label, &root->key, &count);

	if (rv != CKR_OK)
		return pkcs11_fail(root->token, rv, "look for the root key", err);
	if (count != 1)
		return error_set(err, count ? ERROR_CONFLICT : ERROR_NOT_FOUND,
				 "the token has %s root key \"%s\"", count ? "more than one" : "no",
				 root->label);
	return check_key(root, err);
}

/* True if the session was lost and the key is there again in a new one. */
static bool revive(Pkcs11Root *root, CK_RV rv, const char *what, unsigned int *tries, Error *err)
{
	return pkcs11_token_revive(root->token, rv, what, tries, err) && take_key(root, err);
}

static void drop(Pkcs11Root *root, CK_OBJECT_HANDLE object)
{
	if (object != CK_INVALID_HANDLE)
		(void)pkcs11_functions(root->token)
			->C_DestroyObject(pkcs11_session(root->token), object);
}

static CK_RV wrap_once(Pkcs11Root *root, const Secret *key, uint8_t *ret_wrapped,
		       CK_ULONG *ret_size)
{
	CK_FUNCTION_LIST *functions = pkcs11_functions(root->token);
	CK_MECHANISM mechanism = key_wrap_mechanism();
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_ATTRIBUTE template[] = {
		attribute(CKA_CLASS, &secret_key, sizeof(secret_key)),
		attribute(CKA_KEY_TYPE, &aes, sizeof(aes)),
		truth(CKA_TOKEN, false),
		truth(CKA_PRIVATE, true),
		truth(CKA_SENSITIVE, true),
		truth(CKA_EXTRACTABLE, true),
		attribute(CKA_VALUE, secret_peek(key), secret_size(key)),
	};
	CK_RV rv = functions->C_CreateObject(pkcs11_session(root->token), template,
					     ARRAY_SIZE(template), &object);

	if (rv == CKR_OK)
		rv = functions->C_WrapKey(pkcs11_session(root->token), &mechanism, root->key,
					  object, ret_wrapped, ret_size);
	drop(root, object);
	return rv;
}

static bool pkcs11_wrap(RootKey *base, const Secret *key, uint8_t ret_wrapped[KEY_WRAPPED_BYTES],
			Error *err)
{
	Pkcs11Root *root = (Pkcs11Root *)base;
	unsigned int tries = 0;

	if (secret_size(key) != KEY_BYTES)
		return error_set(err, ERROR_USAGE, "a key of %zu bytes, expected %d",
				 secret_size(key), KEY_BYTES);
	for (;;) {
		uint8_t wrapped[KEY_WRAPPED_BYTES];
		CK_ULONG size = sizeof(wrapped);
		CK_RV rv = wrap_once(root, key, wrapped, &size);

		if (rv == CKR_OK && size != KEY_WRAPPED_BYTES)
			return error_set(err, ERROR_PEER, "the token wrapped %d bytes to %lu",
					 KEY_BYTES, size);
		if (rv == CKR_OK) {
			memcpy(ret_wrapped, wrapped, sizeof(wrapped));
			return true;
		}
		if (!revive(root, rv, "wrap", &tries, err))
			return false;
	}
}

static CK_RV unwrap_once(Pkcs11Root *root, uint8_t *wrapped, Secret *key, CK_ULONG *ret_size,
			 bool *ret_refused)
{
	CK_FUNCTION_LIST *functions = pkcs11_functions(root->token);
	CK_MECHANISM mechanism = key_wrap_mechanism();
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_ATTRIBUTE value = { CKA_VALUE, secret_bytes(key), secret_size(key) };
	CK_ATTRIBUTE template[] = {
		attribute(CKA_CLASS, &secret_key, sizeof(secret_key)),
		attribute(CKA_KEY_TYPE, &aes, sizeof(aes)),
		truth(CKA_TOKEN, false),
		truth(CKA_PRIVATE, true),
		truth(CKA_SENSITIVE, false),
		truth(CKA_EXTRACTABLE, true),
	};
	CK_RV rv =
		functions->C_UnwrapKey(pkcs11_session(root->token), &mechanism, root->key, wrapped,
				       KEY_WRAPPED_BYTES, template, ARRAY_SIZE(template), &object);

	*ret_refused = rv != CKR_OK && !pkcs11_is_lost(rv);
	if (rv == CKR_OK)
		rv = functions->C_GetAttributeValue(pkcs11_session(root->token), object, &value, 1);
	*ret_size = value.ulValueLen;
	drop(root, object);
	return rv;
}

static bool pkcs11_unwrap(RootKey *base, const uint8_t wrapped[KEY_WRAPPED_BYTES], Secret *ret_key,
			  Error *err)
{
	Pkcs11Root *root = (Pkcs11Root *)base;
	unsigned int tries = 0;

	for (;;) {
		uint8_t copy[KEY_WRAPPED_BYTES];
		CK_ULONG size = 0;
		bool refused;
		CK_RV rv;

		memcpy(copy, wrapped, sizeof(copy));
		rv = unwrap_once(root, copy, ret_key, &size, &refused);
		if (rv == CKR_OK && size != KEY_BYTES)
			return error_set(err, ERROR_PEER,
					 "the token unwrapped a key of another size");
		if (rv == CKR_OK)
			return true;
		if (revive(root, rv, "unwrap", &tries, err))
			continue;
		/* Some say no more than that it failed (SoftHSM: CKR_GENERAL_ERROR). */
		if (refused && (rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED))
			err->category = ERROR_AUTH;
		return false;
	}
}

static void pkcs11_root_free(RootKey *base)
{
	pkcs11_token_close(((Pkcs11Root *)base)->token);
	free(base);
}

static const RootKeyType pkcs11_root_type = {
	.name = "pkcs11",
	.wrap = pkcs11_wrap,
	.unwrap = pkcs11_unwrap,
	.free = pkcs11_root_free,
};

/* A key that wraps and does not unwrap would lose all that it wrapped. */
static bool prove(RootKey *root, Error *err)
{
	uint8_t wrapped[KEY_WRAPPED_BYTES];
	AUTO_SECRET Secret *there = random_secret(KEY_BYTES, err);
	AUTO_SECRET Secret *back = there ? secret_new(KEY_BYTES, err) : NULL;

	if (!back || !pkcs11_wrap(root, there, wrapped, err) ||
	    !pkcs11_unwrap(root, wrapped, back, err))
		return false;
	if (memmem(wrapped, sizeof(wrapped), secret_peek(there), KEY_BYTES))
		return error_set(err, ERROR_PEER, "the token does not encrypt what it wraps");
	return secret_equal(there, back) ||
	       error_set(err, ERROR_PEER, "the token does not unwrap what it wrapped");
}

RootKey *pkcs11_root_open(const Pkcs11Config *config, Error *err)
{
	Pkcs11Root *root = calloc(1, sizeof(*root));
	AUTO_ROOT_KEY RootKey *base = root ? &root->base : NULL;

	if (!root) {
		error_set(err, ERROR_INTERNAL, "no memory for a root key");
		return NULL;
	}
	root->base.type = &pkcs11_root_type;
	if (!take_label(config, root->label, err))
		return NULL;
	root->token = pkcs11_token_open(config, false, err);
	if (!root->token || !take_key(root, err))
		return NULL;
	return prove(base, err) ? TAKE_PTR(base) : NULL;
}

void pkcs11_root_describe(const RootKey *base, char ret_text[PKCS11_DESCRIPTION_SIZE])
{
	pkcs11_token_describe(((const Pkcs11Root *)base)->token, ret_text);
}

static CK_RV generate(Pkcs11Token *token, const char *label)
{
	CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
	CK_OBJECT_HANDLE key;
	CK_ATTRIBUTE template[] = {
		truth(CKA_TOKEN, true),
		truth(CKA_PRIVATE, true),
		truth(CKA_SENSITIVE, true),
		truth(CKA_EXTRACTABLE, false),
		truth(CKA_MODIFIABLE, false),
		truth(CKA_WRAP, true),
		truth(CKA_UNWRAP, true),
		truth(CKA_ENCRYPT, false),
		truth(CKA_DECRYPT, false),
		truth(CKA_SIGN, false),
		truth(CKA_VERIFY, false),
		attribute(CKA_LABEL, label, strlen(label)),
		attribute(CKA_VALUE_LEN, &key_bytes, sizeof(key_bytes)),
	};

	return pkcs11_functions(token)->C_GenerateKey(pkcs11_session(token), &mechanism, template,
						      ARRAY_SIZE(template), &key);
}

bool pkcs11_root_create(const Pkcs11Config *config, Error *err)
{
	AUTO_PKCS11_TOKEN Pkcs11Token *token = NULL;
	char label[LIMIT_NAME];
	CK_OBJECT_HANDLE key;
	CK_ULONG count;
	CK_RV rv;

	if (!take_label(config, label, err))
		return false;
	token = pkcs11_token_open(config, true, err);
	if (!token)
		return false;
	rv = find_key(token, label, &key, &count);
	if (rv == CKR_OK && count)
		return error_set(err, ERROR_CONFLICT, "the token has a root key \"%s\" already",
				 label);
	if (rv == CKR_OK)
		rv = generate(token, label);
	return rv == CKR_OK || pkcs11_fail(token, rv, "make a root key", err);
}
