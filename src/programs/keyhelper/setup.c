/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "keys/barbican.h"
#include "keys/kmip.h"
#include "keys/pkcs11.h"
#include "programs/keyhelper/keyhelper.h"

/* How much of each part is read; 0: not read but kept. */
static const size_t part_bounds[HELPER_PART_COUNT] = {
	[HELPER_PART_CA] = LIMIT_PEM,
	[HELPER_PART_CRL] = LIMIT_CRL,
	[HELPER_PART_CERTIFICATE] = LIMIT_PEM,
	[HELPER_PART_KEY] = LIMIT_PEM,
	[HELPER_PART_PASSWORD] = SECRET_MAX_BYTES,
	[HELPER_PART_BLOB] = LIMIT_PEM,
	[HELPER_PART_DEVICE] = 0,
};

/* One line, its end dropped; nothing else is, for a password may end in a space. */
static bool take_password(HelperSetup *setup, Error *err)
{
	Buffer *text = &setup->contents[HELPER_PART_PASSWORD];
	size_t size = text->used;

	if (size && text->data[size - 1] == '\n')
		size--;
	if (!size || memchr(text->data, '\n', size) || memchr(text->data, '\0', size))
		return error_set(err, ERROR_CONFIG, "the password is not one line");
	setup->password = secret_new_from(text->data, size, err);
	buffer_clear(text);
	return setup->password != NULL;
}

bool helper_read_files(HelperSetup *setup, Error *err)
{
	for (size_t i = 0; i < HELPER_PART_COUNT; i++) {
		Buffer *content = &setup->contents[i];

		if (setup->files[i] < 0 || !part_bounds[i])
			continue;
		*content = BUFFER_INIT(part_bounds[i]);

		AUTO_FD int fd = TAKE_FD(setup->files[i]);

		if (!file_read_fd(fd, part_bounds[i], content, err))
			return error_prefix(err, "%s", helper_part_words[i]);
		if (!content->used)
			return error_set(err, ERROR_CONFIG, "%s is empty", helper_part_words[i]);
	}
	return !setup->contents[HELPER_PART_PASSWORD].used || take_password(setup, err);
}

bool helper_open_kmip(Helper *helper, Error *err)
{
	HelperSetup *setup = &helper->setup;
	const Buffer *contents = setup->contents;
	const KmipConfig config = {
		.address = setup->kmip.address,
		.port = (uint16_t)setup->kmip.port,
		.server_name = setup->kmip.server_name,
		.ca_pem = contents[HELPER_PART_CA].data,
		.ca_size = contents[HELPER_PART_CA].used,
		.check_revocation = contents[HELPER_PART_CRL].used > 0,
		.crl_pem = contents[HELPER_PART_CRL].data,
		.crl_size = contents[HELPER_PART_CRL].used,
		.certificate_pem = contents[HELPER_PART_CERTIFICATE].data,
		.certificate_size = contents[HELPER_PART_CERTIFICATE].used,
		.key_pem = contents[HELPER_PART_KEY].data,
		.key_size = contents[HELPER_PART_KEY].used,
		.username = setup->kmip.username[0] ? setup->kmip.username : NULL,
		.password = setup->password,
		.weak_ciphers = setup->kmip.weak_ciphers,
		.deadline_ms = setup->kmip.deadline_ms,
		.link_ms = setup->kmip.link_ms,
	};

	helper->provider = kmip_provider_new(&config, err);
	return helper->provider != NULL;
}

void helper_describe(const Helper *helper, char ret_text[LIMIT_TEXT])
{
	char text[BARBICAN_DESCRIPTION_SIZE] = "";

	static_assert((int)BARBICAN_DESCRIPTION_SIZE >= (int)KMIP_DESCRIPTION_SIZE &&
			      (int)BARBICAN_DESCRIPTION_SIZE >= (int)PKCS11_DESCRIPTION_SIZE,
		      "it holds each");
	if (helper->setup.kind == HELPER_KIND_KMIP)
		kmip_provider_describe(helper->provider, text);
	else if (helper->setup.kind == HELPER_KIND_BARBICAN)
		barbican_provider_describe(helper->provider, text);
	else if (helper->provider)
		pkcs11_provider_describe(helper->provider, text);
	else if (helper->root)
		pkcs11_root_describe(helper->root, text);
	snprintf(ret_text, LIMIT_TEXT, "%.*s", LIMIT_TEXT - 1, text);
}
