/* SPDX-License-Identifier: Apache-2.0 */
/* The package that PROTOCOL.md shows. SEALIFT_TEST_PROTOCOL is its path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "crypto/openssl.h"
#include "crypto/pki.h"
#include "keys/package_json.h"

enum { PAGE_MAX = 1 << 20 };

/* What stands behind "NAME = " on its line; owned by the caller. */
static char *line_of(const char *name)
{
	AUTO_BUFFER Buffer page = BUFFER_INIT(PAGE_MAX);
	char start[64];
	const char *at;
	char *line;
	Error err = ERROR_INIT;

	assert_non_null(getenv("SEALIFT_TEST_PROTOCOL"));
	assert_true(file_read(getenv("SEALIFT_TEST_PROTOCOL"), PAGE_MAX - 1, &page, &err));
	assert_true(buffer_put_u8(&page, 0, &err));
	snprintf(start, sizeof(start), "\n%s = ", name);
	at = strstr((const char *)page.data, start);
	if (!at)
		fail_msg("PROTOCOL.md has no line %s", name);
	at += strlen(start);
	line = strndup(at, strcspn(at, "\n"));
	assert_non_null(line);
	return line;
}

static Buffer bytes_of(const char *name)
{
	AUTO_FREE char *hex = line_of(name);
	size_t size = strlen(hex) / 2;
	Buffer bytes = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	for (size_t i = 0; i < size; i++)
		assert_true(buffer_put_u8(&bytes, 0, &err));
	assert_true(hex_decode(hex, bytes.data, size));
	return bytes;
}

static EnvelopeKey *load_key(void)
{
	AUTO_BUFFER Buffer certificate_der = bytes_of("package_certificate");
	AUTO_BUFFER Buffer key_der = bytes_of("package_private_key");
	AUTO_BUFFER Buffer certificate_pem = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key_pem = BUFFER_INIT(LIMIT_PEM);
	const uint8_t *at = certificate_der.data, *key_at = key_der.data;
	AUTO_X509 X509 *certificate = d2i_X509(NULL, &at, (long)certificate_der.used);
	AUTO_EVP_PKEY EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &key_at, (long)key_der.used);
	EnvelopeKey *envelope_key;
	Error err = ERROR_INIT;

	assert_true(certificate && key);
	assert_true(pki_put_certificate(certificate, &certificate_pem, &err) &&
		    pki_put_key(key, &key_pem, &err));
	envelope_key = envelope_key_load(certificate_pem.data, certificate_pem.used, key_pem.data,
					 key_pem.used, &err);
	if (!envelope_key)
		fail_msg("%s", err.text);
	return envelope_key;
}

static void test_envelope_opens(void **state)
{
	AUTO_ENVELOPE_KEY EnvelopeKey *key = load_key();
	AUTO_BUFFER Buffer envelope = bytes_of("package_envelope");
	AUTO_FREE char *json = line_of("package_json");
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Error err = ERROR_INIT;

	(void)state;
	if (!envelope_open(key, envelope.data, envelope.used, &content, &err))
		fail_msg("%s", err.text);
	assert_int_equal(content.used, strlen(json));
	assert_memory_equal(content.data, json, content.used);
	envelope.data[envelope.used - 1] ^= 1;
	assert_false(envelope_open(key, envelope.data, envelope.used, &content, &err));
}

static void test_json_decodes(void **state)
{
	AUTO_FREE char *json = line_of("package_json");
	AUTO_SECRET Secret *value = NULL;
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];
	Package package;
	Error err = ERROR_INIT;

	(void)state;
	if (!package_decode_json((uint8_t *)json, strlen(json), &package, &err))
		fail_msg("%s", err.text);
	assert_int_equal(package.keys_count, 1);
	assert_string_equal(package.keys[0].slot, "disk0");
	value = secret_new_from(package.keys[0].value, KEY_BYTES, &err);
	assert_non_null(value);
	assert_true(key_fingerprint(package.keys[0].id, package.keys[0].version, value, fingerprint,
				    &err));
	assert_memory_equal(fingerprint, package.keys[0].fingerprint, sizeof(fingerprint));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envelope_opens),
		cmocka_unit_test(test_json_decodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
