/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include <errno.h>
#include <unistd.h>

#include "crypto/openssl.h"

static bool digest(const EVP_MD *md, const void *data, size_t size, uint8_t *ret, Error *err)
{
	if (EVP_Digest(size ? data : "", size, ret, NULL, md, NULL) == 1)
		return true;
	return openssl_error(err, ERROR_INTERNAL, "cannot digest");
}

bool digest_sha256(const void *data, size_t size, uint8_t ret[DIGEST_SHA256_SIZE], Error *err)
{
	return digest(EVP_sha256(), data, size, ret, err);
}

bool digest_sha384(const void *data, size_t size, uint8_t ret[DIGEST_SHA384_SIZE], Error *err)
{
	return digest(EVP_sha384(), data, size, ret, err);
}

bool digest_sha384_pair(const void *first, size_t first_size, const void *second,
			size_t second_size, uint8_t ret[DIGEST_SHA384_SIZE], Error *err)
{
	AUTO_EVP_MD_CONTEXT EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (context && EVP_DigestInit_ex(context, EVP_sha384(), NULL) == 1 &&
	    EVP_DigestUpdate(context, first, first_size) == 1 &&
	    EVP_DigestUpdate(context, second, second_size) == 1 &&
	    EVP_DigestFinal_ex(context, ret, NULL) == 1)
		return true;
	return openssl_error(err, ERROR_INTERNAL, "cannot digest");
}

bool digest_sha256_fd(int fd, uint64_t max_bytes, uint8_t ret[DIGEST_SHA256_SIZE], Error *err)
{
	AUTO_EVP_MD_CONTEXT EVP_MD_CTX *context = EVP_MD_CTX_new();
	enum { CHUNK = 256 * 1024 };
	AUTO_FREE uint8_t *chunk = malloc(CHUNK);
	uint64_t offset = 0;

	if (!chunk || !context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
		return openssl_error(err, ERROR_INTERNAL, "cannot digest");
	for (;;) {
		ssize_t got = pread(fd, chunk, CHUNK, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(err, ERROR_IO, errno, "cannot read to digest");
		if (!got)
			break;
		if ((uint64_t)got > max_bytes - offset)
			return error_set(err, ERROR_LIMIT, "file is longer than %llu bytes",
					 (unsigned long long)max_bytes);
		offset += (uint64_t)got;
		if (EVP_DigestUpdate(context, chunk, (size_t)got) != 1)
			return openssl_error(err, ERROR_INTERNAL, "cannot digest");
	}
	if (EVP_DigestFinal_ex(context, ret, NULL) != 1)
		return openssl_error(err, ERROR_INTERNAL, "cannot digest");
	return true;
}
