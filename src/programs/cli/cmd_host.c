/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift host` and `sealift hosts`: whom this host knows and trusts. */
#include <string.h>

#include "base/bounds.h"
#include "base/clock.h"
#include "base/file.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/parse.h"
#include "programs/cli/text.h"

typedef enum AddOption { ADD_ADDRESS, ADD_ID } AddOption;
const CliOption cmd_host_add_options[] = {
	[ADD_ADDRESS] = { "address", "HOST[:PORT]",
			  "where it listens; port 7468 if none is given, IPv6 in brackets" },
	[ADD_ID] = { "id", "SPIFFE-ID",
		     "whom its certificate must name: spiffe://DOMAIN/host/NAME" },
	{ NULL, NULL, NULL },
};

typedef enum TrustOption { TRUST_ROOT, TRUST_CRL } TrustOption;
const CliOption cmd_host_trust_options[] = {
	[TRUST_ROOT] = { "root", "FILE", "the domain's root certificates, PEM" },
	[TRUST_CRL] = { "crl", "FILE",
			"its revocation lists, PEM; without any no host of it is accepted" },
	{ NULL, NULL, NULL },
};

static bool require(const CliInput *input, const CliOption *options, size_t index, Error *err)
{
	return input->values[index] || error_set(err, ERROR_USAGE, "--%s %s is needed",
						 options[index].name, options[index].value);
}

/* For commands whose whole answer is that they worked. */
static bool ask_plainly(CliContext *context, const char *command, json_t *arguments, Error *err)
{
	AUTO_JSON json_t *body = NULL;

	if (!api_ask(context->socket_path, command, arguments, API_TIMEOUT_MS, &body, err))
		return false;
	return !context->json || text_print_json(stdout, body, err);
}

/* The engine takes numeric addresses only: it must not wait for a name server, and what was
 * resolved here is seen by the person. */
static bool put_address(CliContext *context, json_t *arguments, const char *name, const char *text,
			Error *err)
{
	AUTO_JSON json_t *port_number = NULL;
	char host[PARSE_HOST_SIZE], address[LIMIT_ADDRESS];
	unsigned int count = 0;
	uint16_t port = 0;

	if (!parse_address(text, host, &port, err) || !parse_resolve(host, address, &count, err))
		return false;
	if (!context->json && strcmp(host, address)) {
		text_print(stdout, name);
		fputs(": ", stdout);
		text_print(stdout, host);
		printf(" is %s%s\n", address, count > 1 ? ", the first of several addresses" : "");
	}
	port_number = json_integer(port);
	if (!port_number || json_object_set(arguments, "port", port_number))
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	return api_put_text(arguments, "address", address, err);
}

bool cmd_host_add(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();
	const char *name = input->words[0];

	if (!require(input, cmd_host_add_options, ADD_ADDRESS, err) ||
	    !require(input, cmd_host_add_options, ADD_ID, err))
		return false;
	if (!api_put_text(arguments, "name", name, err) ||
	    !api_put_text(arguments, "id", input->values[ADD_ID], err) ||
	    !put_address(context, arguments, name, input->values[ADD_ADDRESS], err))
		return false;
	return ask_plainly(context, "host-add", TAKE_PTR(arguments), err);
}

bool cmd_host_remove(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	return api_put_text(arguments, "name", input->words[0], err) &&
	       ask_plainly(context, "host-remove", TAKE_PTR(arguments), err);
}

/* Reads a PEM file into an argument. A private key given by mistake must not leave this process. */
static bool put_pem(json_t *arguments, const char *name, const char *path, const char *marker,
		    size_t max_bytes, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(max_bytes + 1);

	if (!file_read(path, max_bytes, &pem, err) || !buffer_put_u8(&pem, 0, err))
		return false;
	if (memmem(pem.data, pem.used, "PRIVATE KEY-----", strlen("PRIVATE KEY-----")))
		return error_set(err, ERROR_USAGE,
				 "%.200s holds a private key; give the certificate alone", path);
	if (strlen((const char *)pem.data) != pem.used - 1 ||
	    !strstr((const char *)pem.data, marker))
		return error_set(err, ERROR_USAGE, "%.200s is not PEM: it has no line \"%s\"", path,
				 marker);
	return api_put_text(arguments, name, (const char *)pem.data, err);
}

bool cmd_host_trust(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	if (!require(input, cmd_host_trust_options, TRUST_ROOT, err))
		return false;
	if (!api_put_text(arguments, "domain", input->words[0], err) ||
	    !put_pem(arguments, "root", input->values[TRUST_ROOT], "-----BEGIN CERTIFICATE-----",
		     LIMIT_PEM, err))
		return false;
	if (input->values[TRUST_CRL] && !put_pem(arguments, "crl", input->values[TRUST_CRL],
						 "-----BEGIN X509 CRL-----", LIMIT_CRL, err))
		return false;
	return ask_plainly(context, "host-trust", TAKE_PTR(arguments), err);
}

bool cmd_host_distrust(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	return api_put_text(arguments, "domain", input->words[0], err) &&
	       ask_plainly(context, "host-distrust", TAKE_PTR(arguments), err);
}

static bool print_hosts(const json_t *body, Error *err)
{
	static const char *const headings[] = { "HOST", "ADDRESS", "PORT", "ID", NULL };
	AUTO_TEXT_TABLE TextTable *table = text_table_new(headings, err);

	for (size_t i = 0; table && i < api_count(body, "hosts"); i++) {
		const json_t *host = api_item(body, "hosts", i);
		char port[TEXT_NUMBER_SIZE] = "";
		uint64_t number;

		if (api_u64(host, "port", &number))
			snprintf(port, sizeof(port), "%llu", (unsigned long long)number);
		const char *const cells[] = { api_text(host, "name"), api_text(host, "address"),
					      port, api_text(host, "id") };
		if (!text_table_add(table, cells, err))
			return false;
	}
	if (table)
		text_table_print(table, "no hosts are known; `sealift help host add`", stdout);
	return table != NULL;
}

/* "2026-03-01 12:00:00", with a word for what must be looked after. */
static void format_crl(const json_t *domain, char out[TEXT_CELL_SIZE])
{
	const uint64_t soon_s = 24 * 3600;
	uint64_t now_s = (uint64_t)clock_wall_s(&clock_system), next_s = 0;
	char when[TEXT_NUMBER_SIZE];

	if (!api_u64(domain, "crl_next_update", &next_s)) {
		snprintf(out, TEXT_CELL_SIZE, "none: no host of it is accepted");
		return;
	}
	if (!next_s) {
		snprintf(out, TEXT_CELL_SIZE, "not looked at yet");
		return;
	}
	text_time(next_s, when);
	snprintf(out, TEXT_CELL_SIZE, "%s%s", when,
		 next_s <= now_s	   ? " EXPIRED: no host of it is accepted"
		 : next_s - now_s < soon_s ? " expires soon"
					   : "");
}

static bool print_domains(const json_t *body, Error *err)
{
	static const char *const headings[] = { "TRUSTED DOMAIN",
						"REVOCATION LIST VALID UNTIL (UTC)", NULL };
	AUTO_TEXT_TABLE TextTable *table = text_table_new(headings, err);

	for (size_t i = 0; table && i < api_count(body, "domains"); i++) {
		const json_t *domain = api_item(body, "domains", i);
		char crl[TEXT_CELL_SIZE];

		format_crl(domain, crl);
		const char *const cells[] = { api_text(domain, "domain"), crl };
		if (!text_table_add(table, cells, err))
			return false;
	}
	if (table)
		text_table_print(table, "no domains are trusted; `sealift help host trust`",
				 stdout);
	return table != NULL;
}

bool cmd_hosts(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *body = NULL;

	(void)input;
	if (!api_ask(context->socket_path, "host-list", NULL, API_TIMEOUT_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json_list(stdout, body, "hosts", err) &&
		       text_print_json_list(stdout, body, "domains", err);
	if (!print_hosts(body, err))
		return false;
	putchar('\n');
	return print_domains(body, err);
}
