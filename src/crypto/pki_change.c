/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to a domain's directory. The index goes first: a certificate that it lists but that was
 * never written does no harm, one that it does not list could never be revoked.
 */
#include "crypto/pki_directory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "crypto/anchor.h"
#include "crypto/pki_directory_internal.h"

enum { CRL_GRACE_S = 30 * PKI_DAY_S };

static const char staging[] = ".new"; /* a host's name never begins with a dot */

typedef struct IssueRow {
	SpiffeRole role;
	PkiKind kind;
	PkiUse use;
	const char *certificate_file, *key_file;
} IssueRow;

static const IssueRow issue_table[] = {
	{ SPIFFE_HOST, PKI_KIND_HOST_TLS, PKI_USE_TLS, "tls.crt", "tls.key" },
	{ SPIFFE_HOST, PKI_KIND_HOST_SIGN, PKI_USE_SIGN, "sign.crt", "sign.key" },
	{ SPIFFE_AUTHORITY, PKI_KIND_AUTHORITY_SIGN, PKI_USE_SIGN, "sign.crt", "sign.key" },
	{ SPIFFE_KEYD, PKI_KIND_KEYD_SIGN, PKI_USE_SIGN, "sign.crt", "sign.key" },
	{ SPIFFE_KEYD, PKI_KIND_KEYD_AGREE, PKI_USE_AGREE, "agree.crt", "agree.key" },
};

static bool remove_staging(const PkiDirectory *directory, Error *err)
{
	char path[PKI_FILE_PATH];

	for (size_t i = 0; i < ARRAY_SIZE(issue_table); i++) {
		pki_path(directory, path, "%s/%s", staging, issue_table[i].certificate_file);
		unlink(path);
		pki_path(directory, path, "%s/%s", staging, issue_table[i].key_file);
		unlink(path);
	}
	pki_path(directory, path, "%s", staging);
	if (rmdir(path) && errno != ENOENT)
		return error_set_errno(err, ERROR_IO, errno, "cannot remove %s", path);
	return true;
}

static bool write_pair(const PkiDirectory *directory, const IssueRow *row, const PkiPair *pair,
		       Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	char path[PKI_FILE_PATH];

	pki_path(directory, path, "%s/%s", staging, row->key_file);
	if (!pki_write_key(path, pair->key, err) ||
	    !pki_put_certificate(pair->certificate, &pem, err))
		return false;
	pki_path(directory, path, "%s/%s", staging, row->certificate_file);
	return file_replace(path, pem.data, pem.used, PKI_MODE_PUBLIC, err);
}

/* A role that has no name goes by its word, which therefore is no host's name. */
static const char *name_in_index(const SpiffeId *id)
{
	return *id->name ? id->name : spiffe_role_word(id->role);
}

static bool check_host_name(const char *name, Error *err)
{
	for (unsigned int role = 0; role < SPIFFE_ROLE_COUNT; role++)
		if (role != SPIFFE_HOST && !strcmp(name, spiffe_role_word((SpiffeRole)role)))
			return error_set(err, ERROR_USAGE, "a host may not be named \"%s\"", name);
	return true;
}

static bool issue_one(PkiDirectory *directory, const IssueRow *row, const SpiffeId *id,
		      int64_t now_s, unsigned int days, Error *err)
{
	AUTO_PKI_PAIR PkiPair pair = { NULL, NULL };
	PkiRecord record = { .kind = row->kind };

	if (!pki_issue(&directory->roots[0], id, row->use, now_s - PKI_BACKDATE_S,
		       now_s + (int64_t)days * PKI_DAY_S, &pair, err) ||
	    !pki_serial(pair.certificate, record.serial, err))
		return false;
	record.not_after_s = anchor_time_s(X509_get0_notAfter(pair.certificate));
	snprintf(record.name, sizeof(record.name), "%s", name_in_index(id));
	memcpy(record.root, directory->root_ids[0], sizeof(record.root));
	return pki_index_add(directory, &record, err) && write_pair(directory, row, &pair, err);
}

static bool put_in_place(const PkiDirectory *directory, const char *target, bool renew, Error *err)
{
	char from[PKI_FILE_PATH];

	pki_path(directory, from, "%s", staging);
	if (renameat2(AT_FDCWD, from, AT_FDCWD, target, renew ? RENAME_EXCHANGE : RENAME_NOREPLACE))
		return error_set_errno(err, errno == EEXIST ? ERROR_CONFLICT : ERROR_IO, errno,
				       "cannot put %s in its place", target);
	return true;
}

static bool check_target(const char *target, const SpiffeId *id, bool renew, Error *err)
{
	bool exists = !access(target, F_OK);

	if (exists && !renew)
		return error_set(err, ERROR_CONFLICT, "%s has certificates already, in %s",
				 id->text, target);
	if (!exists && renew)
		return error_set(err, ERROR_NOT_FOUND, "%s has no certificates to renew", id->text);
	return true;
}

bool pki_directory_issue(PkiDirectory *directory, SpiffeRole role, const char *name, int64_t now_s,
			 unsigned int days, bool renew, Error *err)
{
	char target[PKI_FILE_PATH], path[PKI_FILE_PATH];
	SpiffeId id;

	assert(role < SPIFFE_ROLE_COUNT);
	if (!pki_check_days(days, err) || !spiffe_make(role, directory->domain, name, &id, err))
		return false;
	if (role == SPIFFE_HOST && !check_host_name(name, err))
		return false;
	pki_path(directory, target, role == SPIFFE_HOST ? "hosts/%s" : "%s", name_in_index(&id));
	if (!check_target(target, &id, renew, err) || !remove_staging(directory, err))
		return false;
	pki_path(directory, path, "%s", staging);
	if (mkdir(path, PKI_MODE_DIRECTORY))
		return error_set_errno(err, ERROR_IO, errno, "cannot make %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(issue_table); i++)
		if (issue_table[i].role == role &&
		    !issue_one(directory, &issue_table[i], &id, now_s, days, err))
			return false;
	return pki_index_write(directory, err) && put_in_place(directory, target, renew, err) &&
	       remove_staging(directory, err);
}

static size_t collect_revoked(const PkiDirectory *directory, const char *root, int64_t now_s,
			      PkiRevoked *ret)
{
	size_t count = 0;

	for (size_t i = 0; i < directory->n_records; i++) {
		const PkiRecord *record = &directory->records[i];

		/* RFC 5280, section 3.3: an entry stays for at least one CRL beyond the end of its
		 * certificate. */
		if (!record->revoked_s || strcmp(record->root, root) ||
		    record->not_after_s + CRL_GRACE_S < now_s)
			continue;
		memcpy(ret[count].serial, record->serial, sizeof(record->serial));
		ret[count++].revoked_s = record->revoked_s;
	}
	return count;
}

bool pki_write_crls(PkiDirectory *directory, int64_t now_s, unsigned int days, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_CRL);
	AUTO_FREE PkiRevoked *revoked = calloc(directory->n_records + 1, sizeof(*revoked));
	int64_t next_update_s = now_s + (int64_t)days * PKI_DAY_S;
	uint64_t number = directory->crl_number + 1;
	char path[PKI_FILE_PATH];

	if (!revoked)
		return error_set(err, ERROR_INTERNAL, "no memory for a CRL");
	if (now_s > 0 && number < (uint64_t)now_s)
		number = (uint64_t)now_s;
	for (size_t i = 0; i < directory->n_roots; i++) {
		size_t count = collect_revoked(directory, directory->root_ids[i], now_s, revoked);
		AUTO_X509_CRL X509_CRL *crl =
			pki_make_crl(&directory->roots[i], number, now_s - PKI_BACKDATE_S,
				     next_update_s, revoked, count, err);

		if (!crl)
			return false;
		if (!pki_put_crl(crl, &pem, err))
			return error_prefix(err, "CRLs with %zu more entries", count);
	}
	pki_path(directory, path, "crl.pem");
	if (!file_replace(path, pem.data, pem.used, PKI_MODE_PUBLIC, err))
		return false;
	directory->crl_number = number;
	directory->crl_next_update_s = next_update_s;
	return true;
}

bool pki_directory_renew_crl(PkiDirectory *directory, int64_t now_s, unsigned int days, Error *err)
{
	return pki_check_days(days, err) && pki_write_crls(directory, now_s, days, err);
}

static bool record_matches(const PkiRecord *record, const char *serial_or_name, int64_t now_s)
{
	char hex[PKI_SERIAL_HEX];

	hex_encode(record->serial, sizeof(record->serial), hex);
	return !strcmp(hex, serial_or_name) ||
	       (!strcmp(record->name, serial_or_name) && record->not_after_s > now_s);
}

bool pki_directory_revoke(PkiDirectory *directory, const char *serial_or_name, int64_t now_s,
			  unsigned int crl_days, size_t *ret_count, Error *err)
{
	size_t matched = 0, count = 0;

	if (!pki_check_days(crl_days, err))
		return false;
	for (size_t i = 0; i < directory->n_records; i++) {
		PkiRecord *record = &directory->records[i];

		if (!record_matches(record, serial_or_name, now_s))
			continue;
		matched++;
		if (record->revoked_s)
			continue;
		record->revoked_s = now_s;
		count++;
	}
	if (!matched)
		return error_set(err, ERROR_NOT_FOUND, "no certificate of that serial or name: %s",
				 serial_or_name);
	if (!count)
		return error_set(err, ERROR_CONFLICT, "%s is revoked already", serial_or_name);
	if (!pki_index_write(directory, err) || !pki_write_crls(directory, now_s, crl_days, err))
		return false;
	*ret_count = count;
	return true;
}

/* The new root's key lies under both names until root.crt, the one file that decides, is written.
 */
static bool write_rotation(const PkiDirectory *directory, Error *err)
{
	char extra[PKI_FILE_PATH], path[PKI_FILE_PATH];

	pki_path(directory, path, "root-%s.key", directory->root_ids[1]);
	pki_path(directory, extra, "root-%s.key", directory->root_ids[0]);
	if (!pki_write_key(path, directory->roots[1].key, err) ||
	    !pki_write_key(extra, directory->roots[0].key, err) || !pki_write_roots(directory, err))
		return false;
	pki_path(directory, path, "root.key");
	if (!pki_write_key(path, directory->roots[0].key, err))
		return false;
	if (unlink(extra))
		return error_set_errno(err, ERROR_IO, errno, "cannot remove %s", extra);
	return true;
}

bool pki_directory_rotate_root(PkiDirectory *directory, int64_t now_s, unsigned int days,
			       unsigned int crl_days, Error *err)
{
	AUTO_PKI_PAIR PkiPair root = { NULL, NULL };
	char id[PKI_ROOT_ID];

	if (!pki_check_days(days, err) || !pki_check_days(crl_days, err))
		return false;
	if (directory->n_roots == PKI_ROOTS_MAX)
		return error_set(err, ERROR_LIMIT, "%s has %d roots already, the most there may be",
				 directory->domain, PKI_ROOTS_MAX);
	if (!pki_make_root(directory->domain, now_s - PKI_BACKDATE_S,
			   now_s + (int64_t)days * PKI_DAY_S, &root, err) ||
	    !pki_root_id(root.certificate, id, err))
		return false;
	memmove(&directory->roots[1], &directory->roots[0],
		directory->n_roots * sizeof(directory->roots[0]));
	memmove(directory->root_ids[1], directory->root_ids[0], directory->n_roots * PKI_ROOT_ID);
	directory->roots[0] = root;
	root = (PkiPair){ NULL, NULL };
	memcpy(directory->root_ids[0], id, sizeof(id));
	directory->n_roots++;
	return write_rotation(directory, err) && pki_write_crls(directory, now_s, crl_days, err);
}

static bool check_unused(const PkiDirectory *directory, int64_t now_s, Error *err)
{
	char hex[PKI_SERIAL_HEX];

	for (size_t i = 0; i < directory->n_records; i++) {
		const PkiRecord *record = &directory->records[i];

		if (record->revoked_s || record->not_after_s <= now_s ||
		    !strcmp(record->root, directory->root_ids[0]))
			continue;
		hex_encode(record->serial, sizeof(record->serial), hex);
		return error_set(
			err, ERROR_CONFLICT,
			"certificate %s (%s of %s) of an old root is still valid: revoke it or wait",
			hex, pki_kind_word(record->kind), record->name);
	}
	return true;
}

bool pki_directory_retire_roots(PkiDirectory *directory, int64_t now_s, unsigned int crl_days,
				Error *err)
{
	if (!pki_check_days(crl_days, err))
		return false;
	if (directory->n_roots < 2)
		return error_set(err, ERROR_CONFLICT, "%s has only one root", directory->domain);
	if (!check_unused(directory, now_s, err))
		return false;

	size_t old_count = directory->n_roots;

	directory->n_roots = 1;
	for (size_t i = 1; i < old_count; i++)
		pki_pair_clear(&directory->roots[i]);
	if (!pki_write_roots(directory, err))
		return false;
	for (size_t i = 1; i < old_count; i++) {
		char path[PKI_FILE_PATH];

		pki_path(directory, path, "root-%s.key", directory->root_ids[i]);
		if (unlink(path) && errno != ENOENT)
			return error_set_errno(err, ERROR_IO, errno, "cannot remove %s", path);
	}
	return pki_write_crls(directory, now_s, crl_days, err);
}
