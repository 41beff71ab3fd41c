/* SPDX-License-Identifier: Apache-2.0 */
/* Which URLs may be dialled, and at which address. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "keys/barbican_rest.h"

static const char host_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-:";
static const char path_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-/";

typedef enum AddressKind {
	ADDRESS_NONE,
	ADDRESS_V4,
	ADDRESS_V6,
} AddressKind;

static AddressKind judge_address(const char *text, bool *ret_loopback)
{
	struct in_addr v4;
	struct in6_addr v6;

	*ret_loopback = false;
	if (inet_pton(AF_INET, text, &v4) == 1) {
		*ret_loopback = ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
		return ADDRESS_V4;
	}
	if (inet_pton(AF_INET6, text, &v6) == 1) {
		*ret_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
		return ADDRESS_V6;
	}
	return ADDRESS_NONE;
}

static bool is_host(const char *text, size_t room)
{
	size_t size = strnlen(text, room);

	return size && size < room && strspn(text, host_characters) == size && text[0] != '.';
}

bool rest_hosts_set(RestHosts *hosts, const BarbicanHost *entries, size_t count, bool permit_http,
		    Error *err)
{
	bool loopback;

	if (count > BARBICAN_HOSTS_MAX)
		return error_set(err, ERROR_CONFIG, "%zu hosts, %d are the limit", count,
				 BARBICAN_HOSTS_MAX);
	for (size_t i = 0; i < count; i++) {
		if (!is_host(entries[i].name, sizeof(entries[i].name)))
			return error_set(err, ERROR_CONFIG, "\"%.64s\" is no name of a host",
					 entries[i].name);
		if (!memchr(entries[i].address, '\0', sizeof(entries[i].address)) ||
		    judge_address(entries[i].address, &loopback) == ADDRESS_NONE)
			return error_set(err, ERROR_CONFIG, "\"%.63s\" is no numeric address",
					 entries[i].address);
		hosts->entries[i] = entries[i];
	}
	hosts->count = count;
	hosts->permit_http = permit_http;
	return true;
}

static const char *address_of(const RestHosts *hosts, const RestEndpoint *endpoint, bool configured)
{
	for (size_t i = 0; i < hosts->count; i++)
		if (!strcasecmp(hosts->entries[i].name, endpoint->host))
			return hosts->entries[i].address;
	return configured && endpoint->host_is_ip && strlen(endpoint->host) < LIMIT_ADDRESS
		       ? endpoint->host
		       : NULL;
}

static bool set_address(RestEndpoint *endpoint, const RestHosts *hosts, bool configured, Error *err)
{
	const char *address;
	bool loopback;
	AddressKind kind;

	endpoint->host_is_ip = judge_address(endpoint->host, &loopback) != ADDRESS_NONE;
	address = address_of(hosts, endpoint, configured);
	if (!address)
		return error_set(err, ERROR_CONFIG, "the host \"%.100s\" has no configured address",
				 endpoint->host);
	kind = judge_address(address, &loopback);
	if (!endpoint->encrypted && !hosts->permit_http)
		return error_set(err, ERROR_CONFIG, "plain HTTP is not permitted");
	if (!endpoint->encrypted && !loopback)
		return error_set(err, ERROR_CONFIG,
				 "plain HTTP to %s: only to this host itself is it permitted",
				 address);
	snprintf(endpoint->dialled, sizeof(endpoint->dialled),
		 kind == ADDRESS_V6 ? "::[%s]:" : "::%s:", address);
	return true;
}

static inline void url_cleanup(CURLU **url)
{
	curl_url_cleanup(*url);
}

static inline void part_cleanup(char **part)
{
	curl_free(*part);
}
#define AUTO_PART CLEANUP(part_cleanup)

/* What a base URL does not have. */
static bool has_more(CURLU *url)
{
	static const CURLUPart parts[] = { CURLUPART_USER,  CURLUPART_PASSWORD, CURLUPART_OPTIONS,
					   CURLUPART_QUERY, CURLUPART_FRAGMENT, CURLUPART_ZONEID };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		AUTO_PART char *part = NULL;

		if (curl_url_get(url, parts[i], &part, 0) == CURLUE_OK)
			return true;
	}
	return false;
}

static void strip(char *path, const char *version)
{
	size_t size = strlen(path), tail = strlen(version);

	while (size && path[size - 1] == '/')
		path[--size] = '\0';
	if (size >= tail && !strcmp(path + size - tail, version))
		path[size - tail] = '\0';
}

static bool take_host(const char *host, RestEndpoint *endpoint)
{
	size_t size = strlen(host);
	bool bracketed = size > 2 && host[0] == '[' && host[size - 1] == ']';

	if (bracketed) {
		host++;
		size -= 2;
	}
	if (!size || size >= sizeof(endpoint->host))
		return false;
	memcpy(endpoint->host, host, size);
	return is_host(endpoint->host, LIMIT_BARBICAN_HOST) &&
	       (strchr(endpoint->host, ':') != NULL) == bracketed;
}

static bool take_apart(CURLU *url, const char *version, RestEndpoint *endpoint)
{
	AUTO_PART char *scheme = NULL;
	AUTO_PART char *host = NULL;
	AUTO_PART char *port = NULL;
	AUTO_PART char *path = NULL;
	int size;

	if (has_more(url) || curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
	    curl_url_get(url, CURLUPART_PATH, &path, 0))
		return false;
	endpoint->encrypted = !strcmp(scheme, "https");
	if ((!endpoint->encrypted && strcmp(scheme, "http") != 0) || !take_host(host, endpoint) ||
	    path[strspn(path, path_characters)] || strstr(path, ".."))
		return false;
	strip(path, version);
	size = snprintf(endpoint->url, sizeof(endpoint->url), "%s://%s:%s%s", scheme, host, port,
			path);
	return size > 0 && (size_t)size < sizeof(endpoint->url);
}

bool rest_endpoint_parse(const char *url, const RestHosts *hosts, bool configured,
			 const char *version, RestEndpoint *ret_endpoint, Error *err)
{
	CLEANUP(url_cleanup) CURLU *parsed = curl_url();
	RestEndpoint endpoint = { 0 };

	if (!parsed)
		return error_set(err, ERROR_INTERNAL, "no memory for a URL");
	if (strnlen(url, LIMIT_BARBICAN_URL) == LIMIT_BARBICAN_URL ||
	    curl_url_set(parsed, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
	    !take_apart(parsed, version, &endpoint))
		return error_set(err, ERROR_CONFIG,
				 "\"%.200s\" is no URL of a service: http(s)://HOST[:PORT][/PATH]",
				 url);
	if (!set_address(&endpoint, hosts, configured, err))
		return error_prefix(err, "%.200s", url);
	*ret_endpoint = endpoint;
	return true;
}
