/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identities: spiffe://DOMAIN/host/NAME, spiffe://DOMAIN/authority and spiffe://DOMAIN/keyd, parsed
 * by a parser of our own that is stricter than the SPIFFE-ID standard (and than any URI library):
 * whatever it does not know, it refuses.
 */
#ifndef SEALIFT_CRYPTO_SPIFFE_H
#define SEALIFT_CRYPTO_SPIFFE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"

typedef enum SpiffeRole {
	SPIFFE_HOST,
	SPIFFE_AUTHORITY, /* signs grants and VM epochs */
	SPIFFE_KEYD,	  /* the key manager */
	SPIFFE_ROLE_COUNT,
} SpiffeRole;

typedef struct SpiffeId {
	char text[LIMIT_SPIFFE_ID];
	char domain[LIMIT_DOMAIN];
	SpiffeRole role;
	char name[LIMIT_NAME]; /* of a host, empty for the other roles */
} SpiffeId;

/*
 * Parses exactly `length` bytes, which need not end with NUL. The domain is of the class
 * TEXT_DOMAIN, the name of TEXT_NAME (base/schema.h); so no upper case in the domain, no user,
 * port, query, fragment, percent escape, empty or dot segment, NUL. ERROR_AUTH with the reason.
 */
MUST_CHECK bool spiffe_parse(const char *bytes, size_t length, SpiffeId *ret_id, Error *err);

/* The id of a role in a domain; name is NULL or "" for all roles but SPIFFE_HOST. ERROR_USAGE if
 * domain or name is not of its class or too long. */
MUST_CHECK bool spiffe_make(SpiffeRole role, const char *domain, const char *name, SpiffeId *ret_id,
			    Error *err);

/* "host", "authority", "keyd". */
const char *spiffe_role_word(SpiffeRole role);

#endif
