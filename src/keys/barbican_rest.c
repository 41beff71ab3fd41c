/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/barbican_rest.h"

#include <curl/curl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/openssl.h"
#include "keys/network_tls.h"

enum {
	CONNECTIONS_MAX = 4,
	CONNECTION_LIFE_S = 600,
	POLL_MAX_MS = 1000,
};

struct RestClient {
	CURLM *multi;	     /* holds the connections between requests */
	X509_STORE *anchors; /* NULL: plain HTTP only */
};

/* One request under way; libcurl's callbacks get it. */
typedef struct Transfer {
	const RestClient *client;
	const RestRequest *request;
	RestAnswer *answer;
	CURL *easy;
	struct curl_slist *headers, *dialled;
	size_t header_bytes;
	bool ended;  /* the headers */
	bool framed; /* so that the body's end is not just the connection's */
	char reason[CURL_ERROR_SIZE];
	Error refusal; /* why a callback ended it */
} Transfer;

static void transfer_clear(Transfer *transfer)
{
	if (transfer->easy) {
		curl_multi_remove_handle(transfer->client->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
	}
	curl_slist_free_all(transfer->headers);
	curl_slist_free_all(transfer->dialled);
}

/* --- what comes in --- */

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
	Transfer *transfer = context;

	(void)one;
	if (buffer_put(&transfer->answer->body, data, size, &transfer->refusal))
		return size;
	if (transfer->refusal.category == ERROR_LIMIT)
		error_set(&transfer->refusal, ERROR_PEER, "an answer of more than %d bytes",
			  PROVIDER_ANSWER_MAX);
	return 0;
}

/* The value of a header line, without blanks around it, if the line is that header. */
static bool header_is(const char *line, size_t size, const char *name, Reader *ret_value)
{
	size_t name_size = strlen(name);

	if (size <= name_size || strncasecmp(line, name, name_size) != 0 || line[name_size] != ':')
		return false;
	line += name_size + 1;
	size -= name_size + 1;
	while (size && strchr(" \t\r\n", line[size - 1]))
		size--;
	while (size && strchr(" \t", line[0])) {
		line++;
		size--;
	}
	*ret_value = reader_of(line, size);
	return true;
}

/* Another header of ours shall carry it: nothing but visible characters. */
static bool take_token(RestAnswer *answer, Reader value, Error *err)
{
	if (answer->token)
		return error_set(err, ERROR_PEER, "two tokens in one answer");
	if (!value.left || value.left > SECRET_MAX_BYTES)
		return error_set(err, ERROR_PEER,
				 "a token of %zu bytes, 1 to %d are taken: Fernet tokens fit",
				 value.left, SECRET_MAX_BYTES);
	for (size_t i = 0; i < value.left; i++)
		if (value.data[i] <= ' ' || value.data[i] > '~')
			return error_set(err, ERROR_PEER, "a token with the byte 0x%02x",
					 value.data[i]);
	answer->token = secret_new_from(value.data, value.left, err);
	return answer->token != NULL;
}

static void take_content_type(RestAnswer *answer, Reader value)
{
	size_t size = 0;

	while (size < value.left && size < sizeof(answer->content_type) - 1 &&
	       !strchr("; \t", value.data[size])) {
		uint8_t c = value.data[size];

		answer->content_type[size++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
	}
	answer->content_type[size] = '\0';
}

static size_t on_header(char *line, size_t one, size_t size, void *context)
{
	Transfer *transfer = context;
	Reader value;

	(void)one;
	if (size > REST_HEADERS_MAX - transfer->header_bytes) {
		error_set(&transfer->refusal, ERROR_PEER, "headers of more than %d bytes",
			  REST_HEADERS_MAX);
		return 0;
	}
	transfer->header_bytes += size;
	/* The one before it was provisional (100 to 199). */
	if (size > 5 && !strncmp(line, "HTTP/", 5)) {
		transfer->answer->content_type[0] = '\0';
		transfer->ended = transfer->framed = false;
	}
	transfer->ended = transfer->ended || (size == 2 && !memcmp(line, "\r\n", 2));
	if (header_is(line, size, "Content-Length", &value) ||
	    header_is(line, size, "Transfer-Encoding", &value))
		transfer->framed = true;
	if (header_is(line, size, "X-Subject-Token", &value) &&
	    !take_token(transfer->answer, value, &transfer->refusal))
		return 0;
	if (header_is(line, size, "Content-Type", &value))
		take_content_type(transfer->answer, value);
	return size;
}

/* The last word on TLS is ours: libcurl would also take a common name, and its own anchors. */
static CURLcode on_tls(CURL *easy, void *tls, void *context)
{
	const Transfer *transfer = context;
	const RestEndpoint *endpoint = transfer->request->endpoint;

	(void)easy;
	if (!transfer->client->anchors || !network_tls_narrow(tls, false) ||
	    !network_tls_expect_name(SSL_CTX_get0_param(tls), endpoint->host, endpoint->host_is_ip))
		return CURLE_SSL_CIPHER;
	SSL_CTX_set1_cert_store(tls, transfer->client->anchors);
	return CURLE_OK;
}

/* --- what goes out --- */

static bool add(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer)
		*list = longer;
	return longer != NULL;
}

static bool add_token(struct curl_slist **list, const Secret *token)
{
	static const char name[] = "X-Auth-Token: ";
	char line[sizeof(name) + SECRET_MAX_BYTES];
	bool ok;

	if (!token)
		return true;
	memcpy(line, name, sizeof(name) - 1);
	memcpy(line + sizeof(name) - 1, secret_peek(token), secret_size(token));
	line[sizeof(name) - 1 + secret_size(token)] = '\0';
	ok = add(list, line);
	explicit_bzero(line, sizeof(line));
	return ok;
}

static bool set_headers(Transfer *transfer)
{
	const RestRequest *request = transfer->request;
	char accept[80];

	snprintf(accept, sizeof(accept), "Accept: %s", request->accept);
	return add(&transfer->headers, accept) && add(&transfer->headers, "Expect:") &&
	       add_token(&transfer->headers, request->token) &&
	       (!request->body || add(&transfer->headers, "Content-Type: application/json")) &&
	       add(&transfer->dialled, request->endpoint->dialled) &&
	       curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) ==
		       CURLE_OK &&
	       curl_easy_setopt(transfer->easy, CURLOPT_CONNECT_TO, transfer->dialled) == CURLE_OK;
}

static bool set_request(Transfer *transfer)
{
	const RestRequest *request = transfer->request;
	CURL *easy = transfer->easy;
	char url[REST_URL_MAX];
	int size = snprintf(url, sizeof(url), "%s%s", request->endpoint->url, request->path);
	CURLcode code = CURLE_OK;

	if (size < 0 || (size_t)size >= sizeof(url))
		return false;
	if (request->method == REST_POST) {
		code = curl_easy_setopt(easy, CURLOPT_POST, 1L);
		code = code ? code
			    : curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body->data);
		code = code ? code
			    : curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
					       (curl_off_t)request->body->used);
	} else if (request->method == REST_DELETE) {
		code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
	}
	return !code && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L) == CURLE_OK;
}

/* Everything that libcurl would do by itself, and we do not want. */
static bool set_bounds(CURL *easy, bool encrypted, long left_ms)
{
	const struct {
		CURLoption option;
		long value;
	} numbers[] = {
		{ CURLOPT_NOSIGNAL, 1 },
		{ CURLOPT_TIMEOUT_MS, left_ms },
		{ CURLOPT_CONNECTTIMEOUT_MS, left_ms },
		{ CURLOPT_FOLLOWLOCATION, 0 },
		{ CURLOPT_NETRC, CURL_NETRC_IGNORED },
		{ CURLOPT_HTTP09_ALLOWED, 0 },
		{ CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1 },
		{ CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S },
		{ CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2 },
		{ CURLOPT_SSL_VERIFYPEER, 1 },
		{ CURLOPT_SSL_VERIFYHOST, 2 },
		{ CURLOPT_SSL_SESSIONID_CACHE, 0 },
	};
	/* The paths: what Debian built in would be loaded. */
	static const CURLoption nothing[] = { CURLOPT_CAINFO, CURLOPT_CAPATH, CURLOPT_CRLFILE };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (curl_easy_setopt(easy, numbers[i].option, numbers[i].value) != CURLE_OK)
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++)
		if (curl_easy_setopt(easy, nothing[i], NULL) != CURLE_OK)
			return false;
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, encrypted ? "https" : "http") ==
		       CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_USERAGENT, "sealift") == CURLE_OK;
}

static bool set_callbacks(Transfer *transfer)
{
	CURL *easy = transfer->easy;

	return curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->reason) == CURLE_OK &&
	       (!transfer->request->endpoint->encrypted ||
		(curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK &&
		 curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer) == CURLE_OK));
}

/* --- one request --- */

static CURLcode run(const Transfer *transfer, int64_t deadline_us)
{
	CURLM *multi = transfer->client->multi;

	for (;;) {
		int64_t left_us = deadline_us - clock_monotonic_us(&clock_system);
		int running, queued, wait_ms;
		const CURLMsg *done;

		if (left_us <= 0)
			return CURLE_OPERATION_TIMEDOUT;
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			return CURLE_FAILED_INIT;
		done = curl_multi_info_read(multi, &queued);
		if (done && done->msg == CURLMSG_DONE)
			return done->data.result;
		wait_ms = left_us / 1000 < POLL_MAX_MS ? (int)(left_us / 1000) + 1 : POLL_MAX_MS;
		if (curl_multi_poll(multi, NULL, 0, wait_ms, NULL) != CURLM_OK)
			return CURLE_FAILED_INIT;
	}
}

static ErrorCategory category_of(CURLcode code)
{
	static const struct {
		CURLcode code;
		ErrorCategory category;
	} categories[] = {
		{ CURLE_OPERATION_TIMEDOUT, ERROR_TIMEOUT },
		{ CURLE_COULDNT_CONNECT, ERROR_UNAVAILABLE },
		{ CURLE_GOT_NOTHING, ERROR_UNAVAILABLE },
		{ CURLE_PARTIAL_FILE, ERROR_UNAVAILABLE },
		{ CURLE_SEND_ERROR, ERROR_UNAVAILABLE },
		{ CURLE_RECV_ERROR, ERROR_UNAVAILABLE },
		{ CURLE_SSL_CONNECT_ERROR, ERROR_AUTH },
		{ CURLE_PEER_FAILED_VERIFICATION, ERROR_AUTH },
		{ CURLE_SSL_CERTPROBLEM, ERROR_AUTH },
		{ CURLE_SSL_ISSUER_ERROR, ERROR_AUTH },
		{ CURLE_SSL_CIPHER, ERROR_AUTH },
		{ CURLE_OUT_OF_MEMORY, ERROR_INTERNAL },
		{ CURLE_FAILED_INIT, ERROR_INTERNAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(categories); i++)
		if (categories[i].code == code)
			return categories[i].category;
	return ERROR_PEER; /* what it sent is no HTTP that libcurl takes */
}

static RestFate judge(const Transfer *transfer, CURLcode code, Error *err)
{
	long sent = 0;

	if (transfer->refusal.category)
		*err = transfer->refusal;
	else
		error_set(err, category_of(code), "%s: %s", transfer->request->endpoint->host,
			  transfer->reason[0] ? transfer->reason : curl_easy_strerror(code));
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &sent);
	return sent ? REST_UNKNOWN : REST_UNSENT;
}

/* libcurl takes for an answer what ended with the connection, in the headers too. */
static RestFate judge_answer(const Transfer *transfer, Error *err)
{
	const char *host = transfer->request->endpoint->host;
	const RestAnswer *answer = transfer->answer;

	if (!transfer->ended)
		error_set(err, ERROR_UNAVAILABLE, "%s: the connection ended amid the headers",
			  host);
	else if (answer->body.used && !transfer->framed)
		error_set(err, ERROR_PEER, "%s: an answer without a length", host);
	else if (answer->status / 100 == 3)
		error_set(err, ERROR_PEER, "%s answers with status %ld, a redirect", host,
			  answer->status);
	else if (answer->status < 200 || answer->status > 599)
		error_set(err, ERROR_PEER, "%s answers with status %ld", host, answer->status);
	else
		return REST_ANSWERED;
	return REST_UNKNOWN;
}

RestFate rest_ask(RestClient *client, const RestRequest *request, int64_t deadline_us,
		  RestAnswer *answer, Error *err)
{
	CLEANUP(transfer_clear)
	Transfer transfer = { .client = client, .request = request, .answer = answer };
	int64_t left_ms = (deadline_us - clock_monotonic_us(&clock_system)) / 1000;
	CURLcode code;

	if (left_ms <= 0) {
		error_set(err, ERROR_TIMEOUT, "no time is left to ask %s", request->endpoint->host);
		return REST_UNSENT;
	}
	transfer.easy = curl_easy_init();
	if (!transfer.easy ||
	    !set_bounds(transfer.easy, request->endpoint->encrypted, (long)left_ms) ||
	    !set_callbacks(&transfer) || !set_headers(&transfer) || !set_request(&transfer) ||
	    curl_multi_add_handle(client->multi, transfer.easy) != CURLM_OK) {
		error_set(err, ERROR_INTERNAL, "libcurl does not take a request");
		return REST_UNSENT;
	}
	code = run(&transfer, deadline_us);
	if (code != CURLE_OK)
		return judge(&transfer, code, err);
	curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &answer->status);
	return judge_answer(&transfer, err);
}

void rest_answer_clear(RestAnswer *answer)
{
	buffer_clear(&answer->body);
	secret_free(answer->token);
	answer->token = NULL;
	answer->status = 0;
	answer->content_type[0] = '\0';
}

bool rest_refusal(const RestAnswer *answer, const char *who, Error *err)
{
	static const struct {
		long status;
		ErrorCategory category;
	} categories[] = {
		{ 401, ERROR_AUTH },	{ 403, ERROR_DENIED },	    { 404, ERROR_NOT_FOUND },
		{ 408, ERROR_TIMEOUT }, { 409, ERROR_CONFLICT },    { 410, ERROR_NOT_FOUND },
		{ 413, ERROR_LIMIT },	{ 429, ERROR_UNAVAILABLE }, { 507, ERROR_LIMIT },
	};
	ErrorCategory category = answer->status >= 500 ? ERROR_UNAVAILABLE : ERROR_PEER;
	char words[LIMIT_BARBICAN_REFUSAL];

	for (size_t i = 0; i < ARRAY_SIZE(categories); i++)
		if (categories[i].status == answer->status)
			category = categories[i].category;
	barbican_decode_refusal(answer->body.data, answer->body.used, words);
	return error_set(err, category, "%s answers with status %ld%s%s", who, answer->status,
			 words[0] ? ": " : "", words);
}

/* --- the client --- */

static bool use_anchors(RestClient *client, const BarbicanConfig *config, Error *err)
{
	if (!config->ca_pem)
		return true;
	client->anchors = network_tls_anchors(config->ca_pem, config->ca_size, err);
	if (!client->anchors)
		return error_prefix(err, "CA of the key manager");
	return !config->check_revocation ||
	       network_tls_revocations(client->anchors, config->crl_pem, config->crl_size, err) ||
	       error_prefix(err, "revocation lists of the key manager");
}

RestClient *rest_client_new(const BarbicanConfig *config, Error *err)
{
	AUTO_REST_CLIENT RestClient *client = calloc(1, sizeof(*client));

	if (client)
		client->multi = curl_multi_init();
	if (!client || !client->multi ||
	    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX) !=
		    CURLM_OK) {
		error_set(err, ERROR_INTERNAL, "no memory for libcurl");
		return NULL;
	}
	return use_anchors(client, config, err) ? TAKE_PTR(client) : NULL;
}

void rest_client_free(RestClient *client)
{
	if (!client)
		return;
	curl_multi_cleanup(client->multi);
	X509_STORE_free(client->anchors);
	free(client);
}
