/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a domain's certification authority, as `sealift pki` keeps it (mode 0700):
 *
 *   root.crt             the roots in use, newest first: what other domains are given
 *   root.key             private key of the newest
 *   root-ID.key          private keys of older ones, as long as they sign CRLs
 *   crl.pem              one CRL of each root
 *   index                first "sealift-pki 1 DOMAIN", then one line a certificate:
 *                        SERIAL KIND NAME ROOT-ID NOT-AFTER STATUS
 *   hosts/NAME/          tls.crt tls.key sign.crt sign.key
 *   authority/           sign.crt sign.key
 *   keyd/                sign.crt sign.key agree.crt agree.key
 *
 * ID is the start of the root's serial. STATUS is "valid" or "revoked@TIME"; times are seconds
 * since 1970. Private keys have mode 0600 and are never overwritten: a renewal puts a new
 * directory in the place of the old in one step. CRL numbers are the time of making, or one more
 * than the last, so that they grow even if crl.pem was lost. Every change is made under a lock, in
 * an order that leaves a directory of use after a crash.
 */
#ifndef SEALIFT_CRYPTO_PKI_DIRECTORY_H
#define SEALIFT_CRYPTO_PKI_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/pki.h"

enum {
	PKI_CERTIFICATES_MAX = 8192, /* lines of the index */
	PKI_ROOTS_MAX = 4,	     /* that overlap */
	PKI_DAYS_MAX = 36500,
	PKI_ROOT_ID = 9,	   /* 8 hex digits and NUL */
	PKI_DIRECTORY_PATH = 1024, /* bytes of its path with NUL */
};

typedef enum PkiKind {
	PKI_KIND_HOST_TLS,
	PKI_KIND_HOST_SIGN,
	PKI_KIND_AUTHORITY_SIGN,
	PKI_KIND_KEYD_SIGN,
	PKI_KIND_KEYD_AGREE,
	PKI_KIND_COUNT,
} PkiKind;

/* One line of the index. */
typedef struct PkiRecord {
	uint8_t serial[PKI_SERIAL_SIZE];
	PkiKind kind;
	char name[LIMIT_NAME]; /* of the host; "authority", "keyd" for those roles */
	char root[PKI_ROOT_ID];
	int64_t not_after_s;
	int64_t revoked_s; /* 0: not revoked */
} PkiRecord;

/* An open and locked directory. */
typedef struct PkiDirectory PkiDirectory;

/* Makes `path` (which must not exist, or be an empty directory) a domain's directory, with a root
 * that lives `days` days and an empty CRL. ERROR_CONFLICT if there is something already. */
MUST_CHECK bool pki_directory_init(const char *path, const char *domain, int64_t now_s,
				   unsigned int days, Error *err);

/* Opens and locks. ERROR_NOT_FOUND if it is no such directory, ERROR_CONFLICT if another process
 * has it locked, ERROR_CONFIG with file and line if something in it is broken. */
MUST_CHECK PkiDirectory *pki_directory_open(const char *path, Error *err);
void pki_directory_close(PkiDirectory *directory);
DEFINE_CLEANUP(PkiDirectory, pki_directory, pki_directory_close)
#define AUTO_PKI_DIRECTORY CLEANUP(pki_directory_cleanup)

/* Issues the certificates of a role (SPIFFE_HOST with its name, the others with NULL) for
 * `days` days. ERROR_CONFLICT if there are some already, unless `renew`: then new ones with new
 * keys take their place (ERROR_NOT_FOUND if there are none), and the old ones stay valid until they
 * expire or are revoked. A host may not have the name of another role. */
MUST_CHECK bool pki_directory_issue(PkiDirectory *directory, SpiffeRole role, const char *name,
				    int64_t now_s, unsigned int days, bool renew, Error *err);

/* Revokes by serial (32 lower-case hex digits: one certificate) or name (a host's, "authority" or
 * "keyd": all that have not expired) and renews the CRL for crl_days. Gives how many were revoked;
 * ERROR_NOT_FOUND if there is none, ERROR_CONFLICT if all of them are revoked already. */
MUST_CHECK bool pki_directory_revoke(PkiDirectory *directory, const char *serial_or_name,
				     int64_t now_s, unsigned int crl_days, size_t *ret_count,
				     Error *err);

/* Renews the CRLs: next number, fresh for `days` days. */
MUST_CHECK bool pki_directory_renew_crl(PkiDirectory *directory, int64_t now_s, unsigned int days,
					Error *err);

/* Makes a new root beside the old ones; new certificates come from it. Peers must be given the new
 * root.crt before hosts use them. ERROR_LIMIT at PKI_ROOTS_MAX. */
MUST_CHECK bool pki_directory_rotate_root(PkiDirectory *directory, int64_t now_s, unsigned int days,
					  unsigned int crl_days, Error *err);

/* Ends a rotation: drops all roots but the newest with their keys. ERROR_CONFLICT while a
 * certificate of theirs is neither revoked nor expired, or if there is only one root. */
MUST_CHECK bool pki_directory_retire_roots(PkiDirectory *directory, int64_t now_s,
					   unsigned int crl_days, Error *err);

/* What the directory holds. Pointers are owned by it and valid until its next change. */
const char *pki_directory_domain(const PkiDirectory *directory);
size_t pki_directory_root_count(const PkiDirectory *directory);
const X509 *pki_directory_root(const PkiDirectory *directory, size_t index); /* 0 is the newest */
size_t pki_directory_record_count(const PkiDirectory *directory);
const PkiRecord *pki_directory_record(const PkiDirectory *directory, size_t index);
/* Of the CRL file: the highest number, and seconds since 1970 when the first CRL in it goes stale;
 * 0 if there is no such file or one root has no CRL in it. */
uint64_t pki_directory_crl_number(const PkiDirectory *directory);
int64_t pki_directory_crl_next_update_s(const PkiDirectory *directory);

/* "host-tls", "host-sign", "authority-sign", "keyd-sign", "keyd-agree". */
const char *pki_kind_word(PkiKind kind);

#endif
