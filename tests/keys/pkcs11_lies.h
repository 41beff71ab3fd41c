/* SPDX-License-Identifier: Apache-2.0 */
/* A PKCS #11 module with one token, one value and one root key, that lies as it is told to. */
#ifndef SEALIFT_TESTS_KEYS_PKCS11_LIES_H
#define SEALIFT_TESTS_KEYS_PKCS11_LIES_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

#define LIES_TOKEN "liar"
#define LIES_KEY   "root"

/* All zeros: it tells the truth. */
typedef struct Lies {
	const char *call; /* "C_Login": gives this return value instead of acting */
	CK_RV rv;
	unsigned int times;    /* that often, 0: always */
	const char *next_call; /* when those are over, this one, always */
	CK_RV next_rv;
	bool acts_too;	 /* and acts all the same */
	CK_ULONG slots;	 /* says that it has so many */
	CK_ULONG tokens; /* of the same label; 0: one */
	CK_FLAGS flags;	 /* of the token, besides what it has */
	bool set_size;	 /* of values: says this size */
	CK_ULONG size;
	CK_ULONG wrapped;	 /* says this size of a wrapped key; 0: the truth */
	CK_ULONG found;		 /* objects; 0: the truth */
	bool forgets;		 /* to destroy */
	bool in_clear;		 /* wraps without a cipher */
	bool garbles;		 /* unwraps to something else */
	CK_ATTRIBUTE_TYPE wrong; /* this attribute of the root key is not what it must be */
	bool is_wrong;
	/* what was called */
	unsigned int logins, opened, closed, objects_made, objects_destroyed;
} Lies;

/* By dlsym: of the module itself, and changes to its list of functions. */
typedef Lies *LiesFunction(void);
#define LIES_FUNCTION "pkcs11_lies"

#endif
