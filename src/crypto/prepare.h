/* SPDX-License-Identifier: Apache-2.0 */
/* What OpenSSL loads lazily, loaded before the sandbox closes. */
#ifndef SEALIFT_CRYPTO_PREPARE_H
#define SEALIFT_CRYPTO_PREPARE_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

/*
 * Call once at the start of main(), before threads and before the sandbox: makes OpenSSL read its
 * configuration, fetches each algorithm this layer uses and seeds the random generators of the
 * calling thread. Afterwards the layer needs only: mmap, munmap, brk, madvise, mlock (memory and
 * Secret), futex (locks between threads), getrandom (seeding: once in each thread, again when the
 * generators grow old) and getpid (the generators ask whether the process forked).
 * ERROR_INTERNAL if an algorithm is missing, for instance by the machine's OpenSSL configuration.
 */
MUST_CHECK bool crypto_prepare(Error *err);

/* Seeds the generators of the calling thread, for threads that draw random bytes in a sandbox
 * without getrandom. */
MUST_CHECK bool crypto_prepare_thread(Error *err);

#endif
