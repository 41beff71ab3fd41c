/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token behind a PKCS#11 module (OASIS PKCS #11 2.40, of which 3.x is a superset), in two uses:
 *
 * - as a back-end of keys (provider.h). A value is a private data object (CKO_DATA) of the token. A
 *   secret key object would be no safer: the value must come back, so it could be neither sensitive
 *   nor unextractable, and tokens bound the sizes of keys, while ours are sealed blobs.
 * - as the root key (key_wrap.h): an AES-256 key that was made in the token, can never leave it and
 *   may wrap and unwrap by CKM_AES_KEY_WRAP (RFC 3394). A key that was ever extractable, or was not
 *   made there, is refused. What is wrapped passes through the token as a session object, so a
 * token in a mode that takes no plain secret keys will not do.
 *
 * The module runs in this process and can do all that it can. So it is loaded only by an absolute
 * path that nobody but root can have changed, each length and handle that it returns is bounded,
 * and the process has neither our store nor more than one token's PIN. That a module writes beyond
 * a buffer, or does not come back, cannot be prevented here: whoever asks has a deadline of its
 * own.
 *
 * The PIN is tried once. A wrong one is never tried again by this object; and because processes are
 * started anew, it is not even tried if the token says that the last login failed, or that one more
 * would lock it: unless `after_failure` says that a person has looked.
 *
 * A token that was taken out, or a session that was lost, is opened anew once within a call.
 */
#ifndef SEALIFT_KEYS_PKCS11_H
#define SEALIFT_KEYS_PKCS11_H

#include "keys/key_wrap.h"
#include "keys/provider.h"

enum {
	PKCS11_LABEL_SIZE = 33, /* of a token: 32 bytes and the NUL */
	PKCS11_SLOTS_MAX = 256, /* more, and the module lies */
	PKCS11_DESCRIPTION_SIZE = 128,
};

/* All is copied, nothing is kept. */
typedef struct Pkcs11Config {
	const char *module; /* absolute path */
	const char *token;  /* its label: exactly one token must bear it */
	const Secret *pin;  /* of the user; NULL if the token asks for it at its own keys */
	const char *key;    /* label of the root key; NULL for a provider */
	bool after_failure;
	/* The module was checked, by pkcs11_module_check, before this process went where it cannot
	 * see any more who owns files, and is what that resolved to. */
	bool checked;
} Pkcs11Config;

/*
 * Loads the module, finds the token, logs in. ERROR_CONFIG: the path, an owner or mode on the way,
 * not a module, no or two such tokens. ERROR_AUTH: the PIN was refused, is locked, or was not
 * tried. ERROR_DENIED: the token is write-protected. ERROR_UNAVAILABLE: it is not there.
 * ERROR_PEER: the module's answers make no sense. Calls give the same, and those of provider.h;
 * ERROR_LIMIT if the token is full. A reference is the object's label: what was given to put, "/",
 * 32 hex digits.
 */
MUST_CHECK KeyProvider *pkcs11_provider_new(const Pkcs11Config *config, Error *err);

/* "MANUFACTURER MODEL, token LABEL", of a provider or a root key of this file. */
void pkcs11_provider_describe(const KeyProvider *provider, char ret_text[PKCS11_DESCRIPTION_SIZE]);
void pkcs11_root_describe(const RootKey *root, char ret_text[PKCS11_DESCRIPTION_SIZE]);

/* A session that cannot write. Proves the key by wrapping and unwrapping once. Also ERROR_NOT_FOUND
 * (no such key), ERROR_CONFLICT (two), ERROR_DENIED (the key is not what it must be). Owned by the
 * caller. */
MUST_CHECK RootKey *pkcs11_root_open(const Pkcs11Config *config, Error *err);

/* Makes the root key in the token, for `sealift key root init`. ERROR_CONFLICT if there is one. */
MUST_CHECK bool pkcs11_root_create(const Pkcs11Config *config, Error *err);

/* Whether nobody but root can change this module: what the path resolves to and each folder on the
 * way there belong to root and are writable for nobody else (a folder may be if it is sticky, for
 * in that one only owners rename). *ret_resolved is what to load. ERROR_CONFIG with the first that
 * is not so, or if it is not an absolute path of a regular file. */
MUST_CHECK bool pkcs11_module_check(const char *path, char ret_resolved[LIMIT_PATH], Error *err);

#endif
