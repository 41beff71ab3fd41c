/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of OpenStack's Keystone for one application credential (Identity API v3). Private to
 * barbican.c.
 */
#ifndef SEALIFT_KEYS_KEYSTONE_H
#define SEALIFT_KEYS_KEYSTONE_H

#include "keys/barbican_rest.h"

typedef struct Keystone Keystone;

/* Of the configuration: keystone_url, interface, region, credential_*. Asks for a catalogue only
 * where barbican_url is missing. Does not dial. ERROR_CONFIG. */
MUST_CHECK Keystone *keystone_new(const BarbicanConfig *config, const RestHosts *hosts, Error *err);
void keystone_free(Keystone *keystone);
DEFINE_CLEANUP(Keystone, keystone, keystone_free)
#define AUTO_KEYSTONE CLEANUP(keystone_cleanup)

const RestEndpoint *keystone_endpoint(const Keystone *keystone);

/* The token, asked for anew if there is none or its time is nearly over: with a minute left, or a
 * quarter of its life, whichever is less. NULL with ERROR_AUTH if Keystone does not know the
 * credential (any more), and the errors of rest_ask and rest_refusal. Belongs to `keystone`, until
 * the next call. */
MUST_CHECK const Secret *keystone_token(Keystone *keystone, RestClient *client, int64_t deadline_us,
					Error *err);

/* Somebody says that the token is none. */
void keystone_forget(Keystone *keystone);

/* The key manager of the catalogue that came with the last token; "" if there was none. */
const char *keystone_key_manager(const Keystone *keystone);

#endif
