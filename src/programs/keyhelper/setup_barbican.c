/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <curl/curl.h>
#include <string.h>

#include "keys/barbican.h"
#include "programs/keyhelper/keyhelper.h"

static_assert((int)LIMIT_HELPER_HOSTS == (int)BARBICAN_HOSTS_MAX &&
		      (int)LIMIT_HELPER_SERVER == (int)LIMIT_BARBICAN_HOST &&
		      (int)LIMIT_HELPER_URL == (int)LIMIT_BARBICAN_URL &&
		      (int)LIMIT_HELPER_CREDENTIAL == (int)LIMIT_BARBICAN_CREDENTIAL,
	      "a message holds what the back-end takes");

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

bool helper_open_barbican(Helper *helper, Error *err)
{
	const HelperBarbican *setup = &helper->setup.barbican;
	const Buffer *ca = &helper->setup.contents[HELPER_PART_CA];
	const Buffer *crl = &helper->setup.contents[HELPER_PART_CRL];
	BarbicanHost hosts[BARBICAN_HOSTS_MAX];
	BarbicanConfig config = {
		.keystone_url = setup->keystone_url,
		.barbican_url = or_null(setup->barbican_url),
		.interface = or_null(setup->interface),
		.region = or_null(setup->region),
		.hosts = hosts,
		.hosts_count = setup->hosts_count,
		.credential_id = setup->credential_id,
		.credential_secret = helper->setup.password,
		.ca_pem = ca->data,
		.ca_size = ca->used,
		.check_revocation = crl->used > 0,
		.crl_pem = crl->data,
		.crl_size = crl->used,
		.permit_http = setup->permit_http,
		.deadline_ms = setup->deadline_ms,
	};

	if (!config.credential_secret)
		return error_set(err, ERROR_CONFIG, "the credential's secret was not given");
	for (size_t i = 0; i < setup->hosts_count; i++) {
		memcpy(hosts[i].name, setup->hosts[i].name, sizeof(hosts[i].name));
		memcpy(hosts[i].address, setup->hosts[i].address, sizeof(hosts[i].address));
	}
	helper->provider = barbican_provider_new(&config, err);
	return helper->provider != NULL;
}

static void url_clear(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void part_clear(char **part)
{
	curl_free(*part);
}

/* The back-end judges the rest of it. */
static bool port_of(const char *text, uint16_t *ret_port, Error *err)
{
	CLEANUP(url_clear) CURLU *url = curl_url();
	CLEANUP(part_clear) char *port = NULL;

	if (!url || curl_url_set(url, CURLUPART_URL, text, 0) ||
	    curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
		return error_set(err, ERROR_CONFIG, "\"%.200s\" is no URL with a port", text);
	/* libcurl lets none through above 65535. */
	*ret_port = (uint16_t)strtoul(port, NULL, 10);
	return *ret_port || error_set(err, ERROR_CONFIG, "\"%.200s\": port 0", text);
}

bool helper_limit_ports(const HelperSetup *setup, uint16_t ret_ports[SANDBOX_PORTS_MAX], Error *err)
{
	if (setup->kind == HELPER_KIND_KMIP)
		ret_ports[0] = (uint16_t)setup->kmip.port;
	/* Where Barbican is, Keystone says later. */
	if (setup->kind != HELPER_KIND_BARBICAN || !setup->barbican.barbican_url[0])
		return true;
	return port_of(setup->barbican.keystone_url, &ret_ports[0], err) &&
	       port_of(setup->barbican.barbican_url, &ret_ports[1], err);
}
