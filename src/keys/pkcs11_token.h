/* SPDX-License-Identifier: Apache-2.0 */
/* A module, a token in it and a session with that: what the two uses of pkcs11.h share. */
#ifndef SEALIFT_KEYS_PKCS11_TOKEN_H
#define SEALIFT_KEYS_PKCS11_TOKEN_H

#include <p11-kit/pkcs11.h>

#include "keys/pkcs11.h"

typedef struct Pkcs11Token Pkcs11Token;

/* See Pkcs11Config. `writes`: the session may. Owned by the caller. */
MUST_CHECK Pkcs11Token *pkcs11_token_open(const Pkcs11Config *config, bool writes, Error *err);
/* NULL is fine. */
void pkcs11_token_close(Pkcs11Token *token);
DEFINE_CLEANUP(Pkcs11Token, pkcs11_token, pkcs11_token_close)
#define AUTO_PKCS11_TOKEN CLEANUP(pkcs11_token_cleanup)

CK_FUNCTION_LIST *pkcs11_functions(Pkcs11Token *token);
CK_SESSION_HANDLE pkcs11_session(const Pkcs11Token *token);

/* True if `rv` says that the session or the token is gone, and it could be opened anew: then the
 * call is worth another try. Once for each `*tries`, which the caller begins with 0. False with the
 * error set: what `rv` says, or why it could not be opened. */
MUST_CHECK bool pkcs11_token_revive(Pkcs11Token *token, CK_RV rv, const char *what,
				    unsigned int *tries, Error *err);

/* Sets the error that a return value stands for: "token \"T\" refused to WHAT: CKR_...". False. */
bool pkcs11_fail(const Pkcs11Token *token, CK_RV rv, const char *what, Error *err);

/* The object that this template fits; *ret_count is 0, 1 or 2 (two or more). */
CK_RV pkcs11_find(Pkcs11Token *token, CK_ATTRIBUTE *template, CK_ULONG size,
		  CK_OBJECT_HANDLE *ret_object, CK_ULONG *ret_count);

/* As modules show themselves: "SoftHSM project SoftHSM v2, token T". */
void pkcs11_token_describe(const Pkcs11Token *token, char ret_text[PKCS11_DESCRIPTION_SIZE]);

#endif
