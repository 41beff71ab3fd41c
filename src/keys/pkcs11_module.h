/* SPDX-License-Identifier: Apache-2.0 */
/* The module itself, and what its return values mean. */
#ifndef SEALIFT_KEYS_PKCS11_MODULE_H
#define SEALIFT_KEYS_PKCS11_MODULE_H

#include <p11-kit/pkcs11.h>

#include "keys/pkcs11.h"

/* Loads and initialises a module, once a process: it stays until the process ends, for to finalise
 * some takes OpenSSL along, which is ours too. Checks that each function that is used is there. */
MUST_CHECK CK_FUNCTION_LIST *pkcs11_module_load(const Pkcs11Config *config, Error *err);

/* What a return value (never CKR_OK) is to a caller, and its name, "CKR_..." or its number. */
ErrorCategory pkcs11_category(CK_RV rv);
enum { PKCS11_NAME_SIZE = 48 };
void pkcs11_name(CK_RV rv, char ret_name[PKCS11_NAME_SIZE]);
/* Whether the session or the token is gone and may be there again. */
bool pkcs11_is_lost(CK_RV rv);
/* Whether this return value of a call that changes something means that nothing was changed. */
bool pkcs11_is_undone(CK_RV rv);

#endif
