/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KMIP back-end as a program (provider_tool.h):
 *
 *   kmip-client ADDRESS PORT NAME CA CERTIFICATE KEY DEADLINE_MS [weak] [user=U] [password=P]
 *		 [crl=FILE] [link=MS]
 */
#include <stdio.h>
#include <string.h>

#include "keys/kmip.h"
#include "tests/keys/provider_tool.h"

static void take_options(KmipConfig *config, char **options, Secret **password, Buffer *crl)
{
	Error err = ERROR_INIT;

	for (; *options; options++) {
		char *value = strchr(*options, '=');

		if (!strcmp(*options, "weak"))
			config->weak_ciphers = true;
		else if (!strncmp(*options, "user=", 5))
			config->username = value + 1;
		else if (!strncmp(*options, "password=", 9) && value[1])
			*password = secret_new_from(value + 1, strlen(value + 1), &err);
		else if (!strncmp(*options, "crl=", 4)) {
			config->check_revocation = true;
			provider_tool_read(value + 1, crl);
		} else if (!strncmp(*options, "link=", 5))
			config->link_ms = strtoul(value + 1, NULL, 10);
	}
	config->crl_pem = crl->data;
	config->crl_size = crl->used;
	config->password = *password;
}

int main(int argc, char **argv)
{
	AUTO_BUFFER Buffer ca = BUFFER_INIT(LIMIT_PEM), certificate = BUFFER_INIT(LIMIT_PEM),
			   key = BUFFER_INIT(LIMIT_PEM), crl = BUFFER_INIT(LIMIT_CRL);
	AUTO_SECRET Secret *password = NULL;
	AUTO_KEY_PROVIDER KeyProvider *provider = NULL;
	Error err = ERROR_INIT;

	if (argc < 8)
		return 2;
	provider_tool_start();
	provider_tool_read(argv[4], &ca);
	provider_tool_read(argv[5], &certificate);
	provider_tool_read(argv[6], &key);

	KmipConfig config = {
		.address = argv[1],
		.port = (uint16_t)strtoul(argv[2], NULL, 10),
		.server_name = argv[3],
		.ca_pem = ca.data,
		.ca_size = ca.used,
		.certificate_pem = certificate.data,
		.certificate_size = certificate.used,
		.key_pem = key.data,
		.key_size = key.used,
		.deadline_ms = strtoul(argv[7], NULL, 10),
	};

	take_options(&config, argv + 8, &password, &crl);
	provider = kmip_provider_new(&config, &err);
	if (!provider) {
		provider_tool_say_error(&err);
		return 1;
	}
	buffer_clear(&key);
	puts("ok");
	provider_tool_serve(provider, kmip_provider_describe);
	return 0;
}
