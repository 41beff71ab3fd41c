/* SPDX-License-Identifier: Apache-2.0 */
/* What pki_directory.c, pki_index.c and pki_change.c share. */
#ifndef SEALIFT_CRYPTO_PKI_DIRECTORY_INTERNAL_H
#define SEALIFT_CRYPTO_PKI_DIRECTORY_INTERNAL_H

#include "base/bounds.h"
#include "crypto/openssl.h"
#include "crypto/pki_directory.h"

enum {
	PKI_FILE_PATH = PKI_DIRECTORY_PATH + LIMIT_NAME + 32,
	PKI_SERIAL_HEX = 2 * PKI_SERIAL_SIZE + 1,
	PKI_MODE_PRIVATE = 0600,
	PKI_MODE_PUBLIC = 0644,
	PKI_MODE_DIRECTORY = 0700,
};

struct PkiDirectory {
	char path[PKI_DIRECTORY_PATH];
	char domain[LIMIT_DOMAIN];
	int lock_fd;
	PkiPair roots[PKI_ROOTS_MAX]; /* newest first */
	char root_ids[PKI_ROOTS_MAX][PKI_ROOT_ID];
	size_t n_roots;
	PkiRecord *records;
	size_t n_records;
	uint64_t crl_number;
	int64_t crl_next_update_s;
};

/* path/name in ret; `format` makes the name, which is short. */
void pki_path(const PkiDirectory *directory, char ret[PKI_FILE_PATH], const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The id of a root out of its serial. */
MUST_CHECK bool pki_root_id(const X509 *root, char ret_id[PKI_ROOT_ID], Error *err);

/* pki_index.c: reads the index into domain and records, writes it from them. */
MUST_CHECK bool pki_index_read(PkiDirectory *directory, Error *err);
MUST_CHECK bool pki_index_write(const PkiDirectory *directory, Error *err);
/* Adds one record in memory. */
MUST_CHECK bool pki_index_add(PkiDirectory *directory, const PkiRecord *record, Error *err);

/* Write what is in memory. */
MUST_CHECK bool pki_write_roots(const PkiDirectory *directory, Error *err);
MUST_CHECK bool pki_write_key(const char *path, const EVP_PKEY *key, Error *err);
MUST_CHECK bool pki_write_crls(PkiDirectory *directory, int64_t now_s, unsigned int days,
			       Error *err);

/* 1..PKI_DAYS_MAX days, else ERROR_USAGE. */
MUST_CHECK bool pki_check_days(unsigned int days, Error *err);

#endif
