/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 requests that block up to a deadline, by libcurl's multi interface. Private to
 * barbican.c and keystone.c.
 *
 * libcurl is left no choice of its own: no proxy, no redirect, no cookie, no netrc, no resolver
 * (the address of each host is given), no other protocol, no certificates but the given CA's. It
 * opens no file. Connections are kept between requests for up to ten minutes, so that certificates
 * are looked at again.
 *
 * One libcurl handle lives for one request, so that its buffers, which held a token and a value,
 * are wiped after it (wiping_memory.h).
 */
#ifndef SEALIFT_KEYS_BARBICAN_REST_H
#define SEALIFT_KEYS_BARBICAN_REST_H

#include "base/buffer.h"
#include "keys/barbican.h"

enum {
	REST_HEADERS_MAX = 32 * 1024, /* bytes of an answer's headers, all together */
	REST_PATH_MAX = 1024,	      /* of a request, with its query: a name escaped */
	REST_URL_MAX = LIMIT_BARBICAN_URL + REST_PATH_MAX,
	REST_HOST_MAX = 256,
};

/* A service: where it is, and as whom it must prove itself. */
typedef struct RestEndpoint {
	char url[LIMIT_BARBICAN_URL];	 /* without the version and a slash at its end */
	char host[REST_HOST_MAX];	 /* its name or numeric address, without brackets */
	char dialled[LIMIT_ADDRESS + 8]; /* as CURLOPT_CONNECT_TO wants it */
	bool host_is_ip;
	bool encrypted;
} RestEndpoint;

/* What may be dialled. */
typedef struct RestHosts {
	BarbicanHost entries[BARBICAN_HOSTS_MAX];
	size_t count;
	bool permit_http;
} RestHosts;

/* ERROR_CONFIG for a name or an address that is none. All is copied. */
MUST_CHECK bool rest_hosts_set(RestHosts *hosts, const BarbicanHost *entries, size_t count,
			       bool permit_http, Error *err);

/*
 * Takes a URL apart: http or https, a host, a port perhaps and a path, nothing else. A host needs
 * its entry in `hosts`; a numeric one stands for itself if `configured`, so that only people choose
 * it. http needs hosts->permit_http and a loopback address. `version` ("/v3") is dropped from the
 * end of the path if it is there. ERROR_CONFIG.
 */
MUST_CHECK bool rest_endpoint_parse(const char *url, const RestHosts *hosts, bool configured,
				    const char *version, RestEndpoint *ret_endpoint, Error *err);

typedef struct RestClient RestClient;

/* Of the configuration: ca_*, NULL if only plain HTTP is to be spoken, and the revocation lists.
 * ERROR_CONFIG. */
MUST_CHECK RestClient *rest_client_new(const BarbicanConfig *config, Error *err);
void rest_client_free(RestClient *client);
DEFINE_CLEANUP(RestClient, rest_client, rest_client_free)
#define AUTO_REST_CLIENT CLEANUP(rest_client_cleanup)

typedef enum RestMethod {
	REST_GET,
	REST_POST,
	REST_DELETE,
} RestMethod;

typedef struct RestRequest {
	const RestEndpoint *endpoint;
	RestMethod method;
	const char *path; /* behind the endpoint's URL, with the query, escaped */
	const char *accept;
	const Secret *token; /* X-Auth-Token; NULL: none */
	const Buffer *body;  /* JSON, of a POST */
	/* Not to be heard twice: libcurl repeats by itself what found a kept connection dead, and
	 * the peer may have acted before it died. On a new connection it does not. */
	bool once;
} RestRequest;

typedef enum RestFate {
	REST_ANSWERED,
	REST_UNSENT,  /* no byte of it left us */
	REST_UNKNOWN, /* the peer may have acted on it */
} RestFate;

typedef struct RestAnswer {
	long status;	       /* 200..599 */
	char content_type[64]; /* without parameters, in lower case; "" if none */
	Buffer body;	       /* up to PROVIDER_ANSWER_MAX */
	Secret *token;	       /* X-Subject-Token; NULL if none */
} RestAnswer;

#define REST_ANSWER_INIT ((RestAnswer){ .body = BUFFER_INIT(PROVIDER_ANSWER_MAX) })
void rest_answer_clear(RestAnswer *answer);
#define AUTO_REST_ANSWER CLEANUP(rest_answer_clear)

/* One request and its answer. deadline_us: clock_system's monotonic clock. ERROR_TIMEOUT,
 * ERROR_UNAVAILABLE, ERROR_AUTH (TLS), ERROR_PEER (no HTTP, too long, a redirect), unless it was
 * answered. The answer is to be cleared in any case. */
MUST_CHECK RestFate rest_ask(RestClient *client, const RestRequest *request, int64_t deadline_us,
			     RestAnswer *answer, Error *err);

/* Sets err for an answer that says no, by its status, with the words that it has for people. `who`:
 * "Keystone". Returns false always. */
bool rest_refusal(const RestAnswer *answer, const char *who, Error *err);

#endif
