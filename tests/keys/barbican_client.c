/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Barbican back-end as a program (provider_tool.h):
 *
 *   barbican-client KEYSTONE BARBICAN|catalog CREDENTIAL CA|none DEADLINE_MS [OPTION...]
 *
 * Options: http, host=NAME=ADDRESS, region=R, interface=I, crl=FILE.
 *
 * The first line of its input is the credential's secret.
 */
#include <stdio.h>
#include <string.h>

#include "keys/barbican.h"
#include "keys/wiping_memory.h"
#include "tests/keys/provider_tool.h"

static bool take_host(BarbicanHost *host, char *text)
{
	char *name = strsep(&text, "=");

	return snprintf(host->name, sizeof(host->name), "%s", name) < (int)sizeof(host->name) &&
	       text &&
	       snprintf(host->address, sizeof(host->address), "%s", text) <
		       (int)sizeof(host->address);
}

static bool take_options(BarbicanConfig *config, BarbicanHost *hosts, Buffer *crl, char **options)
{
	for (; *options; options++) {
		char *value = strchr(*options, '=');

		if (!strcmp(*options, "http"))
			config->permit_http = true;
		else if (!strncmp(*options, "host=", 5)) {
			if (config->hosts_count == BARBICAN_HOSTS_MAX ||
			    !take_host(&hosts[config->hosts_count++], value + 1))
				return false;
		} else if (!strncmp(*options, "crl=", 4)) {
			config->check_revocation = true;
			provider_tool_read(value + 1, crl);
		} else if (!strncmp(*options, "region=", 7))
			config->region = value + 1;
		else if (!strncmp(*options, "interface=", 10))
			config->interface = value + 1;
		else
			return false;
	}
	config->hosts = hosts;
	config->crl_pem = crl->data;
	config->crl_size = crl->used;
	return true;
}

static Secret *read_secret(Error *err)
{
	char line[SECRET_MAX_BYTES + 2];
	Secret *secret = NULL;

	if (fgets(line, sizeof(line), stdin) && strcspn(line, "\n"))
		secret = secret_new_from(line, strcspn(line, "\n"), err);
	explicit_bzero(line, sizeof(line));
	return secret;
}

int main(int argc, char **argv)
{
	AUTO_BUFFER Buffer ca = BUFFER_INIT(LIMIT_PEM), crl = BUFFER_INIT(LIMIT_CRL);
	AUTO_SECRET Secret *secret = NULL;
	AUTO_KEY_PROVIDER KeyProvider *provider = NULL;
	BarbicanHost hosts[BARBICAN_HOSTS_MAX] = { 0 };
	BarbicanConfig config = { 0 };
	Error err = ERROR_INIT;

	if (argc < 6 || !take_options(&config, hosts, &crl, argv + 6))
		return 2;
	provider_tool_start();
	if (!wiping_memory_install(&err)) {
		provider_tool_say_error(&err);
		return 1;
	}
	secret = read_secret(&err);
	if (!secret)
		return 2;
	provider_tool_read(argv[4], &ca);
	config.keystone_url = argv[1];
	config.barbican_url = strcmp(argv[2], "catalog") != 0 ? argv[2] : NULL;
	config.credential_id = argv[3];
	config.credential_secret = secret;
	config.ca_pem = ca.data;
	config.ca_size = ca.used;
	config.deadline_ms = strtoul(argv[5], NULL, 10);
	provider = barbican_provider_new(&config, &err);
	if (!provider) {
		provider_tool_say_error(&err);
		return 1;
	}
	secret_free(TAKE_PTR(secret));
	puts("ok");
	provider_tool_serve(provider, barbican_provider_describe);
	return 0;
}
