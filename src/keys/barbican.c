/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/barbican.h"

#include <assert.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/random.h"
#include "keys/keystone.h"
#include "keys/wiping_memory.h"

enum {
	WORD_BYTES = 8,	  /* of the random word behind a label */
	LOOKUP_SHARE = 4, /* of a deadline, kept for asking what became of a request */
	STATUS_CREATED = 201,
	STATUS_UNAUTHORIZED = 401,
	STATUS_NOT_FOUND = 404,
	STATUS_SERVER = 500,
};
static_assert(BARBICAN_LABEL_MAX + 1 + 2 * WORD_BYTES < LIMIT_BARBICAN_NAME, "a name fits");

typedef struct BarbicanProvider {
	KeyProvider base; /* first: provider.h */
	RestHosts hosts;
	RestClient *client;
	Keystone *keystone;
	bool from_catalog;     /* the endpoint */
	RestEndpoint endpoint; /* url "": not known yet */
} BarbicanProvider;

static BarbicanProvider *provider_of(KeyProvider *base)
{
	return (BarbicanProvider *)base;
}

static int64_t deadline_of(const BarbicanProvider *provider)
{
	return clock_monotonic_us(&clock_system) + (int64_t)provider->base.deadline_ms * 1000;
}

/* --- asking --- */

/* The token, and with it where Barbican is: the catalogue may tell another URL with each. */
static const Secret *be_allowed(BarbicanProvider *provider, int64_t deadline_us, Error *err)
{
	const Secret *token =
		keystone_token(provider->keystone, provider->client, deadline_us, err);
	const char *url = keystone_key_manager(provider->keystone);

	if (!token || !provider->from_catalog)
		return token;
	if (!url[0]) {
		error_set(err, ERROR_CONFIG, "Keystone's catalogue has no key manager that fits");
		return NULL;
	}
	if (!rest_endpoint_parse(url, &provider->hosts, false, "/v1", &provider->endpoint, err)) {
		error_prefix(err, "Keystone's catalogue");
		return NULL;
	}
	return token;
}

/* A request with a token; once more with a new one if Barbican says that it is none, for which it
 * looks before it does anything. Any status counts as an answer. */
static RestFate ask(BarbicanProvider *provider, RestRequest *request, int64_t deadline_us,
		    RestAnswer *answer, Error *err)
{
	for (int attempt = 0;; attempt++) {
		RestFate fate;

		rest_answer_clear(answer);
		request->endpoint = &provider->endpoint;
		request->token = be_allowed(provider, deadline_us, err);
		if (!request->token)
			return REST_UNSENT;
		fate = rest_ask(provider->client, request, deadline_us, answer, err);
		if (fate != REST_ANSWERED) {
			error_prefix(err, "Barbican");
			return fate;
		}
		if (answer->status != STATUS_UNAUTHORIZED || attempt)
			return fate;
		keystone_forget(provider->keystone);
	}
}

static bool is_json(const RestAnswer *answer, Error *err)
{
	return !strcmp(answer->content_type, "application/json") ||
	       error_set(err, ERROR_PEER, "Barbican answers with \"%s\", wanted is JSON",
			 answer->content_type);
}

/* A list of secrets, by the query; the first one's UUID. */
static bool list(BarbicanProvider *provider, const char *query, const char *name,
		 int64_t deadline_us, char ret_uuid[LIMIT_UUID], Error *err)
{
	AUTO_REST_ANSWER RestAnswer answer = REST_ANSWER_INIT;
	char path[REST_PATH_MAX];
	RestRequest request = { .path = path, .accept = "application/json" };

	snprintf(path, sizeof(path), "/v1/secrets?%.1000s", query);
	if (ask(provider, &request, deadline_us, &answer, err) != REST_ANSWERED)
		return false;
	if (answer.status != 200)
		return rest_refusal(&answer, "Barbican", err);
	return is_json(&answer, err) &&
	       (barbican_decode_list(answer.body.data, answer.body.used, name, ret_uuid, err) ||
		error_prefix(err, "Barbican"));
}

/* --- put --- */

/* The label and a random word, so that no other secret has this name. */
static bool make_name(const char *label, char ret_name[LIMIT_BARBICAN_NAME], Error *err)
{
	size_t size = strnlen(label, LIMIT_BARBICAN_NAME);
	uint8_t word[WORD_BYTES];
	char hex[2 * WORD_BYTES + 1];

	if (!size || size > BARBICAN_LABEL_MAX || !text_is(TEXT_PRINTABLE, label, 1))
		return error_set(err, ERROR_USAGE,
				 "the label \"%.100s\" is not 1 to %d printable characters", label,
				 BARBICAN_LABEL_MAX);
	if (!random_bytes(word, sizeof(word), err))
		return false;
	hex_encode(word, sizeof(word), hex);
	snprintf(ret_name, LIMIT_BARBICAN_NAME, "%s:%s", label, hex);
	return true;
}

/* Always false: whatever is found, the call has failed. */
static bool look_for(BarbicanProvider *provider, const char *name, int64_t deadline_us,
		     char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	char query[REST_PATH_MAX], uuid[LIMIT_UUID];
	char *escaped = curl_easy_escape(NULL, name, 0);
	Error lookup = ERROR_INIT;

	snprintf(query, sizeof(query), "name=%s", escaped ? escaped : "");
	curl_free(escaped);
	if (!list(provider, query, name, deadline_us, uuid, &lookup))
		return error_prefix(err, "it is not certain whether \"%.255s\" was stored", name);
	if (!uuid[0])
		return error_prefix(err, "\"%.255s\" was not stored until now", name);
	memcpy(ret_reference, uuid, LIMIT_UUID);
	return error_prefix(err, "stored as %s, but perhaps not whole", uuid);
}

static bool created(const RestAnswer *answer, char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	char uuid[LIMIT_UUID];

	if (answer->status != STATUS_CREATED) {
		rest_refusal(answer, "Barbican", err);
		return false;
	}
	if (!is_json(answer, err) ||
	    !barbican_decode_created(answer->body.data, answer->body.used, uuid, err))
		return error_prefix(err, "Barbican");
	memcpy(ret_reference, uuid, LIMIT_UUID);
	return true;
}

static bool barbican_put(KeyProvider *base, const char *label, const Secret *blob,
			 char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	BarbicanProvider *provider = provider_of(base);
	AUTO_BUFFER Buffer body = BUFFER_INIT(BARBICAN_BODY_MAX);
	AUTO_REST_ANSWER RestAnswer answer = REST_ANSWER_INIT;
	RestRequest request = { .method = REST_POST,
				.path = "/v1/secrets",
				.accept = "application/json",
				.body = &body,
				.once = true };
	int64_t deadline_us = deadline_of(provider);
	int64_t kept_us = (int64_t)base->deadline_ms * 1000 / LOOKUP_SHARE;
	char name[LIMIT_BARBICAN_NAME];
	RestFate fate;

	ret_reference[0] = '\0';
	base->nothing_stored = true;
	if (!make_name(label, name, err) || !barbican_encode_secret(name, blob, &body, err))
		return false;
	fate = ask(provider, &request, deadline_us - kept_us, &answer, err);
	if (fate == REST_UNSENT)
		return false;
	if (fate == REST_ANSWERED && created(&answer, ret_reference, err))
		return true;
	/* 4xx is a refusal. What a proxy or a liar says leaves open what Barbican did. */
	if (fate == REST_ANSWERED && answer.status >= 400 && answer.status < STATUS_SERVER)
		return false;
	base->nothing_stored = false;
	return look_for(provider, name, deadline_us, ret_reference, err);
}

/* --- get, destroy, check --- */

static bool make_path(const char *reference, const char *tail, char *ret_path, size_t room,
		      Error *err)
{
	if (strnlen(reference, LIMIT_UUID) != LIMIT_UUID - 1 || !text_is(TEXT_UUID, reference, 1))
		return error_set(err, ERROR_USAGE, "\"%.64s\" is no reference of Barbican's",
				 reference);
	snprintf(ret_path, room, "/v1/secrets/%s%s", reference, tail);
	return true;
}

static Secret *barbican_get(KeyProvider *base, const char *reference, Error *err)
{
	BarbicanProvider *provider = provider_of(base);
	AUTO_REST_ANSWER RestAnswer answer = REST_ANSWER_INIT;
	char path[64 + LIMIT_UUID];
	RestRequest request = { .path = path, .accept = "application/octet-stream" };

	if (!make_path(reference, "/payload", path, sizeof(path), err) ||
	    ask(provider, &request, deadline_of(provider), &answer, err) != REST_ANSWERED)
		return NULL;
	if (answer.status != 200) {
		rest_refusal(&answer, "Barbican", err);
		return NULL;
	}
	if (strcmp(answer.content_type, "application/octet-stream") != 0) {
		error_set(err, ERROR_PEER, "Barbican has \"%s\" under %s, wanted are octets",
			  answer.content_type, reference);
		return NULL;
	}
	if (!answer.body.used || answer.body.used > PROVIDER_BLOB_MAX) {
		error_set(err, ERROR_PEER,
			  "Barbican has a value of %zu bytes under %s, 1 to %d fit",
			  answer.body.used, reference, PROVIDER_BLOB_MAX);
		return NULL;
	}
	return secret_new_from(answer.body.data, answer.body.used, err);
}

/* Whether the answer's status is 404, or what was wanted; else err. */
static bool settled(BarbicanProvider *provider, RestMethod method, const char *path,
		    int64_t deadline_us, bool *ret_gone, Error *err)
{
	AUTO_REST_ANSWER RestAnswer answer = REST_ANSWER_INIT;
	RestRequest request = { .method = method, .path = path, .accept = "application/json" };

	if (ask(provider, &request, deadline_us, &answer, err) != REST_ANSWERED)
		return false;
	*ret_gone = answer.status == STATUS_NOT_FOUND;
	return *ret_gone || answer.status < 300 || rest_refusal(&answer, "Barbican", err);
}

/* The question is asked also when Barbican did not know it: another's secret is 403 to it. */
static bool barbican_destroy(KeyProvider *base, const char *reference, Error *err)
{
	BarbicanProvider *provider = provider_of(base);
	int64_t deadline_us = deadline_of(provider);
	char path[64 + LIMIT_UUID];
	bool gone;

	if (!make_path(reference, "", path, sizeof(path), err) ||
	    !settled(provider, REST_DELETE, path, deadline_us, &gone, err) ||
	    !settled(provider, REST_GET, path, deadline_us, &gone, err))
		return false;
	return gone || error_set(err, ERROR_PEER,
				 "Barbican says that it deleted %s, but still has it", reference);
}

static bool barbican_check(KeyProvider *base, Error *err)
{
	BarbicanProvider *provider = provider_of(base);
	char uuid[LIMIT_UUID];

	return list(provider, "limit=1", NULL, deadline_of(provider), uuid, err);
}

static void barbican_free(KeyProvider *base)
{
	BarbicanProvider *provider = provider_of(base);

	keystone_free(provider->keystone);
	rest_client_free(provider->client);
	free(provider);
}

static const KeyProviderType barbican_type = {
	.name = "barbican",
	.put = barbican_put,
	.get = barbican_get,
	.destroy = barbican_destroy,
	.check = barbican_check,
	.free = barbican_free,
};

/* --- birth --- */

static bool set_up(BarbicanProvider *provider, const BarbicanConfig *config, Error *err)
{
	if (config->deadline_ms > BARBICAN_DEADLINE_MAX_MS)
		return error_set(err, ERROR_CONFIG,
				 "a deadline of %" PRIu64 " ms, %d are the limit",
				 config->deadline_ms, BARBICAN_DEADLINE_MAX_MS);
	provider->base.deadline_ms =
		config->deadline_ms ? config->deadline_ms : PROVIDER_DEADLINE_MS;
	provider->from_catalog = !config->barbican_url;
	if (!config->ca_pem && !config->permit_http)
		return error_set(err, ERROR_CONFIG, "no CA for the key manager");
	if (!rest_hosts_set(&provider->hosts, config->hosts, config->hosts_count,
			    config->permit_http, err) ||
	    (config->barbican_url && !rest_endpoint_parse(config->barbican_url, &provider->hosts,
							  true, "/v1", &provider->endpoint, err)))
		return false;
	provider->keystone = keystone_new(config, &provider->hosts, err);
	if (!provider->keystone)
		return false;
	if (!config->ca_pem &&
	    (keystone_endpoint(provider->keystone)->encrypted || provider->endpoint.encrypted))
		return error_set(err, ERROR_CONFIG, "https without a CA");
	provider->client = rest_client_new(config, err);
	return provider->client != NULL;
}

KeyProvider *barbican_provider_new(const BarbicanConfig *config, Error *err)
{
	BarbicanProvider *provider;

	if (!wiping_memory_is_installed()) {
		error_set(err, ERROR_INTERNAL, "wiping_memory_install was not called");
		return NULL;
	}
	provider = calloc(1, sizeof(*provider));
	if (!provider) {
		error_set(err, ERROR_INTERNAL, "no memory for a key manager");
		return NULL;
	}

	AUTO_KEY_PROVIDER KeyProvider *base = &provider->base;

	base->type = &barbican_type;
	return set_up(provider, config, err) ? TAKE_PTR(base) : NULL;
}

static const char *weakness(const RestEndpoint *endpoint)
{
	return endpoint->encrypted || !endpoint->url[0] ? "" : ", weakened: plain HTTP";
}

void barbican_provider_describe(const KeyProvider *base, char ret_text[BARBICAN_DESCRIPTION_SIZE])
{
	const BarbicanProvider *provider = (const BarbicanProvider *)base;
	const RestEndpoint *keystone = keystone_endpoint(provider->keystone);
	const RestEndpoint *barbican = &provider->endpoint;

	snprintf(ret_text, BARBICAN_DESCRIPTION_SIZE, "Keystone %s%s, Barbican %s%s", keystone->url,
		 weakness(keystone), barbican->url[0] ? barbican->url : "not known yet",
		 weakness(barbican));
}
