/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/pkcs11_token.h"

#include <stdio.h>
#include <string.h>

#include "keys/pkcs11_module.h"

struct Pkcs11Token {
	CK_FUNCTION_LIST *functions;
	char label[PKCS11_LABEL_SIZE];
	bool writes, after_failure;
	bool pin_refused; /* it is never tried again */
	Secret *pin;	  /* NULL: the token asks for it */
	bool open;
	CK_SESSION_HANDLE session;
	char manufacturer[33], model[17];
};

CK_FUNCTION_LIST *pkcs11_functions(Pkcs11Token *token)
{
	return token->functions;
}

CK_SESSION_HANDLE pkcs11_session(const Pkcs11Token *token)
{
	return token->session;
}

bool pkcs11_fail(const Pkcs11Token *token, CK_RV rv, const char *what, Error *err)
{
	char name[PKCS11_NAME_SIZE];

	pkcs11_name(rv, name);
	return error_set(err, pkcs11_category(rv), "token \"%s\" cannot %s: %s", token->label, what,
			 name);
}

/* Texts of the standard are padded with blanks and have no NUL; some modules pad with NULs. */
static size_t size_of_text(const unsigned char *padded, size_t size)
{
	while (size && (padded[size - 1] == ' ' || padded[size - 1] == '\0'))
		size--;
	return size;
}

/* For people. */
static void take_text(const unsigned char *padded, size_t room, char *ret_text)
{
	size_t size = size_of_text(padded, room);

	for (size_t i = 0; i < size; i++)
		ret_text[i] = (char)(padded[i] >= 0x20 && padded[i] <= 0x7e ? padded[i] : '?');
	ret_text[size] = '\0';
}

static bool find_slot(Pkcs11Token *token, CK_SLOT_ID *ret_slot, CK_TOKEN_INFO *ret_info, Error *err)
{
	CK_SLOT_ID slots[PKCS11_SLOTS_MAX];
	CK_ULONG count = 0, found = 0;
	CK_RV rv = token->functions->C_GetSlotList(CK_TRUE, NULL, &count);

	if (rv == CKR_OK && count <= PKCS11_SLOTS_MAX) {
		count = PKCS11_SLOTS_MAX;
		rv = token->functions->C_GetSlotList(CK_TRUE, slots, &count);
	}
	if (rv != CKR_OK)
		return pkcs11_fail(token, rv, "be looked for", err);
	if (count > PKCS11_SLOTS_MAX)
		return error_set(err, ERROR_PEER, "the module has %lu slots, %d are the limit",
				 count, PKCS11_SLOTS_MAX);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info = { 0 };
		size_t size;

		if (token->functions->C_GetTokenInfo(slots[i], &info) != CKR_OK)
			continue;
		size = size_of_text(info.label, sizeof(info.label));
		if (size != strlen(token->label) || memcmp(info.label, token->label, size) != 0)
			continue;
		*ret_slot = slots[i];
		*ret_info = info;
		found++;
	}
	if (found > 1)
		return error_set(err, ERROR_CONFIG, "%lu tokens are called \"%s\"", found,
				 token->label);
	return found == 1 ||
	       error_set(err, ERROR_UNAVAILABLE, "there is no token \"%s\"", token->label);
}

/* Whether the PIN may be tried: a token locks itself after a few that are wrong. */
static bool may_log_in(const Pkcs11Token *token, const CK_TOKEN_INFO *info, Error *err)
{
	CK_FLAGS flags = info->flags;

	if (token->pin_refused)
		return error_set(err, ERROR_AUTH,
				 "token \"%s\" refused the PIN before; it is not tried again",
				 token->label);
	if (flags & CKF_USER_PIN_LOCKED)
		return error_set(err, ERROR_AUTH, "the PIN of token \"%s\" is locked",
				 token->label);
	if (!(flags & CKF_USER_PIN_INITIALIZED))
		return error_set(err, ERROR_AUTH, "token \"%s\" has no user's PIN", token->label);
	if ((flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY)) && !token->after_failure)
		return error_set(err, ERROR_AUTH,
				 "the last login to token \"%s\" failed; the PIN is not tried "
				 "before a person has seen to it",
				 token->label);
	if (!token->pin && !(flags & CKF_PROTECTED_AUTHENTICATION_PATH))
		return error_set(err, ERROR_CONFIG, "token \"%s\" needs a PIN", token->label);
	return true;
}

static bool log_in(Pkcs11Token *token, const CK_TOKEN_INFO *info, Error *err)
{
	CK_RV rv;

	if (!(info->flags & CKF_LOGIN_REQUIRED))
		return true;
	if (!may_log_in(token, info, err))
		return false;
	/* The standard's type is not const; it is only read. */
	rv = token->functions->C_Login(token->session, CKU_USER,
				       token->pin ? secret_bytes(token->pin) : NULL,
				       token->pin ? secret_size(token->pin) : 0);
	if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
		return true;
	token->pin_refused = pkcs11_category(rv) == ERROR_AUTH;
	return pkcs11_fail(token, rv, "log in", err);
}

static void close_session(Pkcs11Token *token)
{
	if (token->open)
		(void)token->functions->C_CloseSession(token->session);
	token->open = false;
	token->session = CK_INVALID_HANDLE;
}

static bool open_session(Pkcs11Token *token, Error *err)
{
	CK_SLOT_ID slot;
	CK_TOKEN_INFO info;
	CK_RV rv;

	close_session(token);
	if (!find_slot(token, &slot, &info, err))
		return false;
	if (token->writes && (info.flags & CKF_WRITE_PROTECTED))
		return error_set(err, ERROR_DENIED, "token \"%s\" is write-protected",
				 token->label);
	take_text(info.manufacturerID, sizeof(info.manufacturerID), token->manufacturer);
	take_text(info.model, sizeof(info.model), token->model);
	rv = token->functions->C_OpenSession(
		slot, CKF_SERIAL_SESSION | (token->writes ? CKF_RW_SESSION : 0), NULL, NULL,
		&token->session);
	if (rv != CKR_OK)
		return pkcs11_fail(token, rv, "open a session", err);
	token->open = true;
	if (log_in(token, &info, err))
		return true;
	close_session(token);
	return false;
}

bool pkcs11_token_revive(Pkcs11Token *token, CK_RV rv, const char *what, unsigned int *tries,
			 Error *err)
{
	if (!pkcs11_is_lost(rv) || (*tries)++)
		return pkcs11_fail(token, rv, what, err);
	return open_session(token, err);
}

CK_RV pkcs11_find(Pkcs11Token *token, CK_ATTRIBUTE *template, CK_ULONG size,
		  CK_OBJECT_HANDLE *ret_object, CK_ULONG *ret_count)
{
	CK_OBJECT_HANDLE found[2] = { 0, 0 };
	CK_RV rv = token->functions->C_FindObjectsInit(token->session, template, size);
	CK_RV last;

	*ret_count = 0;
	if (rv != CKR_OK)
		return rv;
	rv = token->functions->C_FindObjects(token->session, found, 2, ret_count);
	last = token->functions->C_FindObjectsFinal(token->session);
	*ret_object = found[0];
	if (rv == CKR_OK && *ret_count > 2)
		return CKR_GENERAL_ERROR;
	return rv == CKR_OK ? last : rv;
}

void pkcs11_token_describe(const Pkcs11Token *token, char ret_text[PKCS11_DESCRIPTION_SIZE])
{
	snprintf(ret_text, PKCS11_DESCRIPTION_SIZE, "%s %s, token %s", token->manufacturer,
		 token->model, token->label);
}

static bool take_config(Pkcs11Token *token, const Pkcs11Config *config, Error *err)
{
	size_t size = strnlen(config->token, PKCS11_LABEL_SIZE);

	if (!size || size == PKCS11_LABEL_SIZE)
		return error_set(err, ERROR_CONFIG, "a token's label is not 1 to %d bytes",
				 PKCS11_LABEL_SIZE - 1);
	memcpy(token->label, config->token, size + 1);
	if (!config->pin)
		return true;
	token->pin = secret_new_from(secret_peek(config->pin), secret_size(config->pin), err);
	return token->pin != NULL;
}

Pkcs11Token *pkcs11_token_open(const Pkcs11Config *config, bool writes, Error *err)
{
	AUTO_PKCS11_TOKEN Pkcs11Token *token = calloc(1, sizeof(*token));

	if (!token) {
		error_set(err, ERROR_INTERNAL, "no memory for a token");
		return NULL;
	}
	token->writes = writes;
	token->after_failure = config->after_failure;
	if (!take_config(token, config, err))
		return NULL;
	token->functions = pkcs11_module_load(config, err);
	return token->functions && open_session(token, err) ? TAKE_PTR(token) : NULL;
}

void pkcs11_token_close(Pkcs11Token *token)
{
	if (!token)
		return;
	close_session(token);
	secret_free(token->pin);
	free(token);
}
