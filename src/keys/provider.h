/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key managers of others behind one table: where the values of keys are kept if not in our own
 * store. A provider runs in a process of its own (programs/keyhelper), which has the network or the
 * third party's module and no store; calls block until they are answered or their deadline is over.
 *
 * What is stored is opaque: our key manager wraps a value before it gives it away (key_wrap.h), so
 * that nobody who keeps a copy of what was deleted can use it.
 */
#ifndef SEALIFT_KEYS_PROVIDER_H
#define SEALIFT_KEYS_PROVIDER_H

#include "keys/key.h"

enum {
	PROVIDER_BLOB_MAX = 256,       /* bytes of a stored value */
	PROVIDER_DEADLINE_MS = 10000,  /* for one call, retries included, if nothing else is said */
	PROVIDER_ANSWER_MAX = 64 * 1024, /* bytes that a peer may answer with */
};

typedef struct KeyProvider KeyProvider;

/* Each reads its part of the helper's configuration; paths were opened by the parent, so that the
 * helper can live without files: see the providers' own headers. */
typedef struct KeyProviderType {
	const char *name; /* "kmip", "barbican", "pkcs11" */
	/* Stores blob (1..PROVIDER_BLOB_MAX bytes) under a label for people. *ret_reference is the
	 * peer's name of it: printable, no longer than the array. If it is not certain whether the
	 * peer stored it, the call fails, and *ret_reference, if not "", names what may be there;
	 * if it is certain that nothing was stored, the call sets nothing_stored (below). The
	 * category cannot tell: both may be ERROR_UNAVAILABLE. */
	bool (*put)(KeyProvider *provider, const char *label, const Secret *blob,
		    char ret_reference[LIMIT_KEY_REFERENCE], Error *err);
	/* Owned by the caller. ERROR_NOT_FOUND, ERROR_AUTH, ERROR_PEER (a lie: wrong length, kind or
	 * answer), ERROR_TIMEOUT or ERROR_UNAVAILABLE (not reached: worth another try). */
	Secret *(*get)(KeyProvider *provider, const char *reference, Error *err);
	/* Deactivates where the peer wants that first, deletes, and asks whether it is gone. True if
	 * it was gone already. */
	bool (*destroy)(KeyProvider *provider, const char *reference, Error *err);
	/* One cheap call that needs the peer's consent: for `sealift key backends`. */
	bool (*check)(KeyProvider *provider, Error *err);
	void (*free)(KeyProvider *provider);
} KeyProviderType;

/* A provider's own struct begins with this. */
struct KeyProvider {
	const KeyProviderType *type;
	uint64_t deadline_ms; /* for each call */
	/* Of the last put, if that failed: it is certain that the peer stored nothing (it was never
	 * asked, or said no). Set by put only; without it, the peer may have the blob. */
	bool nothing_stored;
};

static inline bool key_provider_put(KeyProvider *provider, const char *label, const Secret *blob,
				    char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	provider->nothing_stored = false;
	return provider->type->put(provider, label, blob, ret_reference, err);
}

static inline Secret *key_provider_get(KeyProvider *provider, const char *reference, Error *err)
{
	return provider->type->get(provider, reference, err);
}

static inline bool key_provider_destroy(KeyProvider *provider, const char *reference, Error *err)
{
	return provider->type->destroy(provider, reference, err);
}

static inline bool key_provider_check(KeyProvider *provider, Error *err)
{
	return provider->type->check(provider, err);
}

/* NULL is fine. */
static inline void key_provider_free(KeyProvider *provider)
{
	if (provider)
		provider->type->free(provider);
}
DEFINE_CLEANUP(KeyProvider, key_provider, key_provider_free)
#define AUTO_KEY_PROVIDER CLEANUP(key_provider_cleanup)

#endif
