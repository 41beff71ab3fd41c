/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/openssl.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

bool openssl_error(Error *err, ErrorCategory category, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	if (reason)
		return error_set(err, category, "%s: %s", what, reason);
	return error_set(err, category, "%s", what);
}

__attribute__((noinline)) void openssl_wipe_stack(void)
{
	enum { DEAD_BYTES = 16384 };
	uint8_t dead[DEAD_BYTES];

	OPENSSL_cleanse(dead, sizeof(dead));
}

int openssl_no_password(char *buffer, int size, int writing, void *context)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)context;
	return -1;
}

BIO *openssl_view(const void *data, size_t size, Error *err)
{
	BIO *bio;

	if (size > INT_MAX) {
		error_set(err, ERROR_LIMIT, "%zu bytes are more than %d", size, INT_MAX);
		return NULL;
	}
	bio = BIO_new_mem_buf(size ? data : "", (int)size);
	if (!bio)
		openssl_error(err, ERROR_INTERNAL, "no memory for a view");
	return bio;
}

/* The reader stops with "no start line" at the end of the file; any other reason is damage. */
static bool at_end_of_pem(void)
{
	unsigned long code = ERR_peek_last_error();

	if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

STACK_OF(X509) * openssl_read_certificates(const void *pem, size_t size, int max, Error *err)
{
	AUTO_BIO BIO *bio = openssl_view(pem, size, err);
	AUTO_X509_STACK STACK_OF(X509) *stack = sk_X509_new_null();

	if (!bio)
		return NULL;
	ERR_clear_error();
	while (stack) {
		X509 *certificate = PEM_read_bio_X509(bio, NULL, openssl_no_password, NULL);

		if (!certificate)
			break;
		if (sk_X509_num(stack) >= max || !sk_X509_push(stack, certificate)) {
			X509_free(certificate);
			error_set(err, ERROR_CONFIG, "more than %d certificates", max);
			return NULL;
		}
	}
	if (!stack || !at_end_of_pem()) {
		openssl_error(err, ERROR_CONFIG, "broken certificate");
		return NULL;
	}
	if (!sk_X509_num(stack)) {
		error_set(err, ERROR_CONFIG, "no PEM certificate in %zu bytes", size);
		return NULL;
	}
	return TAKE_PTR(stack);
}
