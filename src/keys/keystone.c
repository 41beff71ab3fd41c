/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/keystone.h"

#include <string.h>

#include "base/clock.h"

enum {
	MARGIN_S = 60, /* before a token's end */
	MARGIN_SHARE = 4,
	STATUS_CREATED = 201,
};

struct Keystone {
	RestEndpoint endpoint;
	char interface[LIMIT_NAME];
	char region[LIMIT_BARBICAN_HOST]; /* "": any */
	char credential_id[LIMIT_BARBICAN_CREDENTIAL];
	Secret *credential_secret;
	bool wants_catalog;
	Secret *token; /* NULL: none */
	int64_t renew_us;
	char key_manager[LIMIT_BARBICAN_URL];
};

static bool set_text(char *ret_text, size_t room, const char *text, const char *what, Error *err)
{
	size_t size = strnlen(text, room);

	if (!size || size == room || !text_is(TEXT_PRINTABLE, text, 1))
		return error_set(err, ERROR_CONFIG, "%s is not 1 to %zu printable characters", what,
				 room - 1);
	memcpy(ret_text, text, size + 1);
	return true;
}

static bool set_up(Keystone *keystone, const BarbicanConfig *config, const RestHosts *hosts,
		   Error *err)
{
	keystone->wants_catalog = !config->barbican_url;
	if (!rest_endpoint_parse(config->keystone_url, hosts, true, "/v3", &keystone->endpoint,
				 err) ||
	    !set_text(keystone->interface, sizeof(keystone->interface),
		      config->interface ? config->interface : "public", "the interface", err) ||
	    (config->region && !set_text(keystone->region, sizeof(keystone->region), config->region,
					 "the region", err)) ||
	    !set_text(keystone->credential_id, sizeof(keystone->credential_id),
		      config->credential_id, "the id of the application credential", err))
		return false;
	keystone->credential_secret = secret_new_from(secret_peek(config->credential_secret),
						      secret_size(config->credential_secret), err);
	return keystone->credential_secret != NULL;
}

Keystone *keystone_new(const BarbicanConfig *config, const RestHosts *hosts, Error *err)
{
	AUTO_KEYSTONE Keystone *keystone = calloc(1, sizeof(*keystone));
	AUTO_BUFFER Buffer trial = BUFFER_INIT(BARBICAN_BODY_MAX);

	if (!keystone) {
		error_set(err, ERROR_INTERNAL, "no memory for Keystone");
		return NULL;
	}
	if (!set_up(keystone, config, hosts, err) ||
	    !barbican_encode_auth(keystone->credential_id, keystone->credential_secret, &trial,
				  err))
		return NULL;
	return TAKE_PTR(keystone);
}

void keystone_free(Keystone *keystone)
{
	if (!keystone)
		return;
	secret_free(keystone->credential_secret);
	secret_free(keystone->token);
	free(keystone);
}

const RestEndpoint *keystone_endpoint(const Keystone *keystone)
{
	return &keystone->endpoint;
}

const char *keystone_key_manager(const Keystone *keystone)
{
	return keystone->key_manager;
}

void keystone_forget(Keystone *keystone)
{
	secret_free(keystone->token);
	keystone->token = NULL;
}

/* A credential that was deleted is 404 to Keystone, one with another secret or a disabled user 401.
 */
static bool refuse(const RestAnswer *answer, Error *err)
{
	rest_refusal(answer, "Keystone", err);
	if (answer->status == 401 || answer->status == 404)
		err->category = ERROR_AUTH;
	return false;
}

static bool take(Keystone *keystone, RestAnswer *answer, int64_t asked_us, Error *err)
{
	BarbicanToken told;
	uint64_t margin_s;

	if (answer->status != STATUS_CREATED)
		return refuse(answer, err);
	if (!answer->token)
		return error_set(err, ERROR_PEER, "Keystone answers without X-Subject-Token");
	if (!barbican_decode_token(answer->body.data, answer->body.used, keystone->interface,
				   keystone->region[0] ? keystone->region : NULL, &told, err))
		return error_prefix(err, "Keystone");
	margin_s = told.lifetime_s / MARGIN_SHARE < MARGIN_S ? told.lifetime_s / MARGIN_SHARE
							     : MARGIN_S;
	keystone->renew_us = asked_us + (int64_t)(told.lifetime_s - margin_s) * 1000000;
	memcpy(keystone->key_manager, told.key_manager, sizeof(keystone->key_manager));
	keystone->token = TAKE_PTR(answer->token);
	return true;
}

static bool fetch(Keystone *keystone, RestClient *client, int64_t deadline_us, Error *err)
{
	AUTO_BUFFER Buffer body = BUFFER_INIT(BARBICAN_BODY_MAX);
	AUTO_REST_ANSWER RestAnswer answer = REST_ANSWER_INIT;
	RestRequest request = {
		.endpoint = &keystone->endpoint,
		.method = REST_POST,
		.path = keystone->wants_catalog ? "/v3/auth/tokens" : "/v3/auth/tokens?nocatalog",
		.accept = "application/json",
		.body = &body,
	};
	int64_t asked_us = clock_monotonic_us(&clock_system);

	if (!barbican_encode_auth(keystone->credential_id, keystone->credential_secret, &body, err))
		return false;
	if (rest_ask(client, &request, deadline_us, &answer, err) != REST_ANSWERED)
		return error_prefix(err, "Keystone");
	return take(keystone, &answer, asked_us, err);
}

const Secret *keystone_token(Keystone *keystone, RestClient *client, int64_t deadline_us,
			     Error *err)
{
	if (keystone->token && clock_monotonic_us(&clock_system) >= keystone->renew_us)
		keystone_forget(keystone);
	if (!keystone->token && !fetch(keystone, client, deadline_us, err))
		return NULL;
	return keystone->token;
}
