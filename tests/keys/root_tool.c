/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes root keys for tests: root-tool pkcs11 MODULE TOKEN PIN LABEL; root-tool tpm2 FD BLOB PCRS
 * (the sealed key to the file BLOB, the key in hex to standard output).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "keys/pkcs11.h"
#include "keys/tpm2_root.h"

static bool make_in_token(char **words, Error *err)
{
	AUTO_SECRET Secret *pin = secret_new_from(words[2], strlen(words[2]), err);
	const Pkcs11Config config = {
		.module = words[0], .token = words[1], .pin = pin, .key = words[3]
	};

	return pin && pkcs11_root_create(&config, err);
}

static bool seal_by_tpm(char **words, Error *err)
{
	const Tpm2Config config = { .fd = atoi(words[0]), .deadline_ms = TPM2_DEADLINE_MS };
	AUTO_BUFFER Buffer blob = BUFFER_INIT(TPM2_BLOB_MAX);
	AUTO_SECRET Secret *key = NULL;
	char hex[2 * KEY_BYTES + 1];

	if (!tpm2_root_create(&config, (uint32_t)strtoul(words[2], NULL, 0), &blob, err) ||
	    !file_replace(words[1], blob.data, blob.used, 0600, err))
		return false;
	key = tpm2_root_unseal(&config, blob.data, blob.used, err);
	if (!key)
		return false;
	hex_encode(secret_peek(key), KEY_BYTES, hex);
	puts(hex);
	return true;
}

int main(int argc, char **argv)
{
	Error err = ERROR_INIT;
	bool ok;

	if (argc == 6 && !strcmp(argv[1], "pkcs11"))
		ok = make_in_token(argv + 2, &err);
	else if (argc == 5 && !strcmp(argv[1], "tpm2"))
		ok = seal_by_tpm(argv + 2, &err);
	else
		return 2;
	if (!ok)
		fprintf(stderr, "%s %s\n", error_word(err.category), err.text);
	return ok ? 0 : 1;
}
