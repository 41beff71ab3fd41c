/* SPDX-License-Identifier: Apache-2.0 */
/* Values in a token: pkcs11.h. */
#include "keys/pkcs11.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/random.h"
#include "keys/pkcs11_module.h"
#include "keys/pkcs11_token.h"

#define APPLICATION "sealift"

enum { SERIAL_BYTES = 16, SERIAL_HEX = 2 * SERIAL_BYTES + 1 };

typedef struct Pkcs11Provider {
	KeyProvider base; /* first: provider.h */
	Pkcs11Token *token;
} Pkcs11Provider;

static Pkcs11Token *token_of(KeyProvider *base)
{
	return ((Pkcs11Provider *)base)->token;
}

/* The standard's pointers are not const. */
static CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, const void *value, size_t size)
{
	return (CK_ATTRIBUTE){ type, (void *)(uintptr_t)value, size };
}

/* The label for people, and a number that makes it the only one. */
static bool make_reference(const char *label, char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	uint8_t serial[SERIAL_BYTES];
	char hex[SERIAL_HEX];
	size_t size = strnlen(label, LIMIT_KEY_REFERENCE);

	if (!size || size > LIMIT_KEY_REFERENCE - 1 - SERIAL_HEX)
		return error_set(err, ERROR_USAGE, "a label of %zu bytes, 1 to %d are allowed",
				 size, LIMIT_KEY_REFERENCE - 1 - SERIAL_HEX);
	if (!random_bytes(serial, sizeof(serial), err))
		return false;
	hex_encode(serial, sizeof(serial), hex);
	snprintf(ret_reference, LIMIT_KEY_REFERENCE, "%s/%s", label, hex);
	return true;
}

static bool pkcs11_put(KeyProvider *base, const char *label, const Secret *blob,
		       char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	static const CK_OBJECT_CLASS data = CKO_DATA;
	static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	Pkcs11Token *token = token_of(base);
	char reference[LIMIT_KEY_REFERENCE];
	unsigned int tries = 0;

	ret_reference[0] = '\0';
	base->nothing_stored = true;
	if (!make_reference(label, reference, err))
		return false;

	CK_ATTRIBUTE template[] = {
		attribute(CKA_CLASS, &data, sizeof(data)),
		attribute(CKA_TOKEN, &yes, sizeof(yes)),
		attribute(CKA_PRIVATE, &yes, sizeof(yes)),
		attribute(CKA_MODIFIABLE, &no, sizeof(no)),
		attribute(CKA_APPLICATION, APPLICATION, strlen(APPLICATION)),
		attribute(CKA_LABEL, reference, strlen(reference)),
		attribute(CKA_VALUE, secret_peek(blob), secret_size(blob)),
	};

	for (;;) {
		CK_OBJECT_HANDLE object;
		CK_RV rv = pkcs11_functions(token)->C_CreateObject(pkcs11_session(token), template,
								   ARRAY_SIZE(template), &object);

		if (rv == CKR_OK || !pkcs11_is_undone(rv))
			memcpy(ret_reference, reference, sizeof(reference));
		if (rv == CKR_OK)
			return true;
		if (!pkcs11_is_undone(rv)) {
			base->nothing_stored = false;
			(void)pkcs11_fail(token, rv, "store", err);
			return error_prefix(err, "it is not certain whether \"%.100s\" was stored",
					    label);
		}
		if (!pkcs11_token_revive(token, rv, "store", &tries, err))
			return false;
	}
}

static CK_RV find(Pkcs11Token *token, const char *reference, CK_OBJECT_HANDLE *ret_object,
		  CK_ULONG *ret_count)
{
	static const CK_OBJECT_CLASS data = CKO_DATA;
	CK_ATTRIBUTE template[] = {
		attribute(CKA_CLASS, &data, sizeof(data)),
		attribute(CKA_APPLICATION, APPLICATION, strlen(APPLICATION)),
		attribute(CKA_LABEL, reference, strlen(reference)),
	};

	return pkcs11_find(token, template, ARRAY_SIZE(template), ret_object, ret_count);
}

static bool check_count(CK_ULONG count, const char *reference, Error *err)
{
	if (!count)
		return error_set(err, ERROR_NOT_FOUND, "the token has no %.200s", reference);
	return count == 1 || error_set(err, ERROR_PEER, "the token has two of %.200s", reference);
}

/* The value of one object. CKR_OK also if it has not the right size: then *ret_size says which. */
static CK_RV read_value(Pkcs11Token *token, CK_OBJECT_HANDLE object, Secret *room,
			CK_ULONG *ret_size)
{
	CK_ATTRIBUTE value = { CKA_VALUE, secret_bytes(room), secret_size(room) };
	CK_RV rv = pkcs11_functions(token)->C_GetAttributeValue(pkcs11_session(token), object,
								&value, 1);

	*ret_size = value.ulValueLen;
	if (rv != CKR_BUFFER_TOO_SMALL)
		return rv;
	*ret_size = CK_UNAVAILABLE_INFORMATION;
	return CKR_OK;
}

static Secret *pkcs11_get(KeyProvider *base, const char *reference, Error *err)
{
	Pkcs11Token *token = token_of(base);
	AUTO_SECRET Secret *room = secret_new(PROVIDER_BLOB_MAX, err);
	unsigned int tries = 0;
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_ULONG count, size = 0;
	CK_RV rv;

	if (!room)
		return NULL;
	for (;;) {
		rv = find(token, reference, &object, &count);
		if (rv == CKR_OK && !check_count(count, reference, err))
			return NULL;
		if (rv == CKR_OK)
			rv = read_value(token, object, room, &size);
		if (rv == CKR_OK)
			break;
		if (!pkcs11_token_revive(token, rv, "read", &tries, err))
			return NULL;
	}
	if (!size || size > PROVIDER_BLOB_MAX) {
		error_set(err, ERROR_PEER, "%.200s has not 1 to %d bytes", reference,
			  PROVIDER_BLOB_MAX);
		return NULL;
	}
	return secret_new_from(secret_peek(room), size, err);
}

/* *ret_gone: there was none. */
static CK_RV destroy_once(Pkcs11Token *token, const char *reference, bool *ret_gone)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_ULONG count;
	CK_RV rv = find(token, reference, &object, &count);

	*ret_gone = rv == CKR_OK && !count;
	if (rv != CKR_OK || !count)
		return rv;
	rv = pkcs11_functions(token)->C_DestroyObject(pkcs11_session(token), object);
	/* Another was faster: the question afterwards tells. */
	return rv == CKR_OBJECT_HANDLE_INVALID ? CKR_OK : rv;
}

static bool pkcs11_destroy(KeyProvider *base, const char *reference, Error *err)
{
	Pkcs11Token *token = token_of(base);
	unsigned int tries = 0;
	bool gone = false;

	/* Twice: the second time must find none. */
	for (unsigned int round = 0; round < 2 && !gone;) {
		CK_RV rv = destroy_once(token, reference, &gone);

		if (rv == CKR_OK)
			round++;
		else if (!pkcs11_token_revive(token, rv, "destroy", &tries, err))
			return false;
	}
	*err = ERROR_INIT;
	return gone ||
	       error_set(err, ERROR_PEER,
			 "the token says that it destroyed %.200s, and still has it", reference);
}

/* A question that needs the user's consent: an object that nobody has. */
static bool pkcs11_check(KeyProvider *base, Error *err)
{
	Pkcs11Token *token = token_of(base);
	unsigned int tries = 0;

	for (;;) {
		CK_OBJECT_HANDLE object;
		CK_ULONG count;
		CK_RV rv = find(token, "/", &object, &count);

		if (rv == CKR_OK)
			return true;
		if (!pkcs11_token_revive(token, rv, "be asked", &tries, err))
			return false;
	}
}

static void pkcs11_free(KeyProvider *base)
{
	pkcs11_token_close(token_of(base));
	free(base);
}

static const KeyProviderType pkcs11_type = {
	.name = "pkcs11",
	.put = pkcs11_put,
	.get = pkcs11_get,
	.destroy = pkcs11_destroy,
	.check = pkcs11_check,
	.free = pkcs11_free,
};

KeyProvider *pkcs11_provider_new(const Pkcs11Config *config, Error *err)
{
	AUTO_PKCS11_TOKEN Pkcs11Token *token = pkcs11_token_open(config, true, err);
	Pkcs11Provider *provider;

	if (!token)
		return NULL;
	provider = calloc(1, sizeof(*provider));
	if (!provider) {
		error_set(err, ERROR_INTERNAL, "no memory for a token");
		return NULL;
	}
	provider->base.type = &pkcs11_type;
	provider->base.deadline_ms = PROVIDER_DEADLINE_MS;
	provider->token = TAKE_PTR(token);
	return &provider->base;
}

void pkcs11_provider_describe(const KeyProvider *base, char ret_text[PKCS11_DESCRIPTION_SIZE])
{
	pkcs11_token_describe(((const Pkcs11Provider *)base)->token, ret_text);
}
