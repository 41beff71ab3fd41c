/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

struct Secret {
	size_t size;
	uint8_t bytes[SECRET_MAX_BYTES];
};

/* One page for each secret: mlock and madvise act on whole pages, and there are few secrets. */
Secret *secret_new(size_t size_bytes, Error *err)
{
	Secret *secret;

	assert(size_bytes > 0 && size_bytes <= SECRET_MAX_BYTES);
	secret = mmap(NULL, sizeof(Secret), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (secret == MAP_FAILED) {
		error_set_errno(err, ERROR_INTERNAL, errno, "no memory for a secret");
		return NULL;
	}
	if (mlock(secret, sizeof(Secret)) || madvise(secret, sizeof(Secret), MADV_DONTDUMP)) {
		error_set_errno(err, ERROR_IO, errno, "cannot lock a secret in memory");
		munmap(secret, sizeof(Secret));
		return NULL;
	}
	/* Older kernels lack it: then fork is the caller's care, and ours always exec at once. */
	(void)madvise(secret, sizeof(Secret), MADV_WIPEONFORK);
	secret->size = size_bytes;
	return secret;
}

Secret *secret_new_from(const void *bytes, size_t size_bytes, Error *err)
{
	Secret *secret = secret_new(size_bytes, err);

	if (secret)
		memcpy(secret->bytes, bytes, size_bytes);
	return secret;
}

void secret_free(Secret *secret)
{
	if (!secret)
		return;
	explicit_bzero(secret, sizeof(Secret));
	munmap(secret, sizeof(Secret));
}

uint8_t *secret_bytes(Secret *secret)
{
	return secret->bytes;
}

const uint8_t *secret_peek(const Secret *secret)
{
	return secret->bytes;
}

size_t secret_size(const Secret *secret)
{
	return secret->size;
}

bool secret_equal(const Secret *a, const Secret *b)
{
	volatile uint8_t difference = 0;

	if (a->size != b->size)
		return false;
	for (size_t i = 0; i < a->size; i++)
		difference = (uint8_t)(difference | (a->bytes[i] ^ b->bytes[i]));
	return difference == 0;
}

bool secret_harden_process(Error *err)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0))
		return error_set_errno(err, ERROR_IO, errno, "cannot forbid core dumps");
	return true;
}
