/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pki_directory.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/file.h"
#include "crypto/anchor.h"
#include "crypto/pki_directory_internal.h"

void pki_path(const PkiDirectory *directory, char ret[PKI_FILE_PATH], const char *format, ...)
{
	char name[LIMIT_NAME + 32];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	snprintf(ret, PKI_FILE_PATH, "%s/%s", directory->path, name);
}

bool pki_check_days(unsigned int days, Error *err)
{
	if (days >= 1 && days <= PKI_DAYS_MAX)
		return true;
	return error_set(err, ERROR_USAGE, "%u days, not 1..%d", days, PKI_DAYS_MAX);
}

bool pki_root_id(const X509 *root, char ret_id[PKI_ROOT_ID], Error *err)
{
	uint8_t serial[PKI_SERIAL_SIZE];

	if (!pki_serial(root, serial, err))
		return false;
	hex_encode(serial, PKI_ROOT_ID / 2, ret_id);
	return true;
}

void pki_directory_close(PkiDirectory *directory)
{
	if (!directory)
		return;
	for (size_t i = 0; i < directory->n_roots; i++)
		pki_pair_clear(&directory->roots[i]);
	if (directory->lock_fd >= 0)
		close(directory->lock_fd); /* and the lock with it */
	free(directory->records);
	free(directory);
}

static PkiDirectory *directory_new(const char *path, Error *err)
{
	PkiDirectory *directory;

	if (!*path || strlen(path) >= PKI_DIRECTORY_PATH) {
		error_set(err, ERROR_USAGE, "path of %zu bytes, not 1..%d", strlen(path),
			  PKI_DIRECTORY_PATH - 1);
		return NULL;
	}
	directory = calloc(1, sizeof(*directory));
	if (!directory) {
		error_set(err, ERROR_INTERNAL, "no memory for a directory");
		return NULL;
	}
	directory->lock_fd = -1;
	memcpy(directory->path, path, strlen(path) + 1);
	return directory;
}

static bool take_lock(PkiDirectory *directory, Error *err)
{
	char path[PKI_FILE_PATH];

	pki_path(directory, path, ".lock");
	directory->lock_fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, PKI_MODE_PRIVATE);
	if (directory->lock_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot open %s", path);
	if (!flock(directory->lock_fd, LOCK_EX | LOCK_NB))
		return true;
	if (errno == EWOULDBLOCK)
		return error_set(err, ERROR_CONFLICT, "another process works in %s",
				 directory->path);
	return error_set_errno(err, ERROR_IO, errno, "cannot lock %s", path);
}

/* Nothing is there but the lock itself. Asked before the lock, so that no lock file is left in a
 * place that is not ours, and again under it. */
static bool check_empty(const PkiDirectory *directory, Error *err)
{
	DIR *listing = opendir(directory->path);
	const struct dirent *entry;
	bool ok = true;

	if (!listing)
		return error_set_errno(err, ERROR_IO, errno, "cannot list %s", directory->path);
	while (ok && (entry = readdir(listing)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
		    strcmp(entry->d_name, ".lock"))
			ok = error_set(err, ERROR_CONFLICT, "%s is not empty: it has %s",
				       directory->path, entry->d_name);
	closedir(listing);
	return ok;
}

bool pki_write_key(const char *path, const EVP_PKEY *key, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);

	return pki_put_key(key, &pem, err) &&
	       file_replace(path, pem.data, pem.used, PKI_MODE_PRIVATE, err);
}

bool pki_write_roots(const PkiDirectory *directory, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	char path[PKI_FILE_PATH];

	for (size_t i = 0; i < directory->n_roots; i++)
		if (!pki_put_certificate(directory->roots[i].certificate, &pem, err))
			return false;
	pki_path(directory, path, "root.crt");
	return file_replace(path, pem.data, pem.used, PKI_MODE_PUBLIC, err);
}

bool pki_directory_init(const char *path, const char *domain, int64_t now_s, unsigned int days,
			Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = directory_new(path, err);
	char file[PKI_FILE_PATH];

	if (!directory || !pki_check_days(days, err))
		return false;
	/* The root comes first: a bad domain must leave nothing behind. */
	if (!pki_make_root(domain, now_s - PKI_BACKDATE_S, now_s + (int64_t)days * PKI_DAY_S,
			   &directory->roots[0], err))
		return false;
	directory->n_roots = 1;
	memcpy(directory->domain, domain, strlen(domain) + 1);
	if (!file_make_directories(path, PKI_MODE_DIRECTORY, err) || !check_empty(directory, err) ||
	    !take_lock(directory, err) || !check_empty(directory, err) ||
	    !pki_root_id(directory->roots[0].certificate, directory->root_ids[0], err))
		return false;
	pki_path(directory, file, "hosts");
	if (chmod(path, PKI_MODE_DIRECTORY) || mkdir(file, PKI_MODE_DIRECTORY))
		return error_set_errno(err, ERROR_IO, errno, "cannot make %s", file);
	pki_path(directory, file, "root.key");
	return pki_write_key(file, directory->roots[0].key, err) &&
	       pki_index_write(directory, err) &&
	       pki_write_crls(directory, now_s, PKI_CRL_DAYS, err) &&
	       pki_write_roots(directory, err);
}

/* The key of a root lies in root.key or, during and after a rotation, in root-ID.key. */
static bool read_root_key(const PkiDirectory *directory, const char *id, PkiPair *root, Error *err)
{
	char path[PKI_FILE_PATH];

	for (int attempt = 0; attempt < 2; attempt++) {
		AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);

		if (attempt)
			pki_path(directory, path, "root-%s.key", id);
		else
			pki_path(directory, path, "root.key");
		if (!file_read(path, LIMIT_PEM, &pem, err)) {
			if (err->category != ERROR_NOT_FOUND)
				return false;
			continue;
		}
		root->key = pki_get_key(pem.data, pem.used, err);
		if (!root->key)
			return error_prefix(err, "%s", path);
		if (X509_check_private_key(root->certificate, root->key) == 1) {
			*err = ERROR_INIT;
			return true;
		}
		ERR_clear_error();
		EVP_PKEY_free(TAKE_PTR(root->key));
	}
	return error_set(err, ERROR_CONFIG, "%s has no private key of the root %s", directory->path,
			 id);
}

static bool read_roots(PkiDirectory *directory, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	AUTO_X509_STACK STACK_OF(X509) *certificates = NULL;
	char path[PKI_FILE_PATH];

	pki_path(directory, path, "root.crt");
	if (!file_read(path, LIMIT_PEM, &pem, err))
		return false;
	certificates = openssl_read_certificates(pem.data, pem.used, PKI_ROOTS_MAX, err);
	if (!certificates)
		return error_prefix(err, "%s", path);
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		PkiPair *root = &directory->roots[i];

		root->certificate = sk_X509_value(certificates, i);
		X509_up_ref(root->certificate);
		directory->n_roots++;
		if (!pki_root_id(root->certificate, directory->root_ids[i], err))
			return error_prefix(err, "%s", path);
		if (!read_root_key(directory, directory->root_ids[i], root, err))
			return false;
	}
	return true;
}

static bool note_crl(PkiDirectory *directory, const X509_CRL *crl)
{
	AUTO_ASN1_INTEGER ASN1_INTEGER *integer =
		X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	int64_t next_update_s = anchor_time_s(X509_CRL_get0_nextUpdate(crl));
	uint64_t number = 0;

	if (!integer || ASN1_INTEGER_get_uint64(&number, integer) != 1 || next_update_s < 0)
		return false;
	if (number > directory->crl_number)
		directory->crl_number = number;
	if (!directory->crl_next_update_s || next_update_s < directory->crl_next_update_s)
		directory->crl_next_update_s = next_update_s;
	return true;
}

static bool read_crls(PkiDirectory *directory, Error *err)
{
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_CRL);
	AUTO_BIO BIO *bio = NULL;
	char path[PKI_FILE_PATH];
	size_t count = 0;

	pki_path(directory, path, "crl.pem");
	if (!file_read(path, LIMIT_CRL, &pem, err)) {
		if (err->category != ERROR_NOT_FOUND)
			return false;
		*err = ERROR_INIT;
		return true;
	}
	bio = openssl_view(pem.data, pem.used, err);
	if (!bio)
		return false;
	for (;; count++) {
		AUTO_X509_CRL X509_CRL *crl =
			PEM_read_bio_X509_CRL(bio, NULL, openssl_no_password, NULL);

		if (!crl)
			break;
		if (!note_crl(directory, crl))
			return error_set(err, ERROR_CONFIG, "%s: CRL %zu is not one of ours", path,
					 count + 1);
	}
	ERR_clear_error();
	if (count < directory->n_roots)
		directory->crl_next_update_s = 0;
	return true;
}

PkiDirectory *pki_directory_open(const char *path, Error *err)
{
	AUTO_PKI_DIRECTORY PkiDirectory *directory = directory_new(path, err);
	char file[PKI_FILE_PATH];

	if (!directory)
		return NULL;
	pki_path(directory, file, "root.crt");
	if (access(file, F_OK)) {
		error_set(err, ERROR_NOT_FOUND,
			  "%s is not a domain's directory: it has no root.crt", path);
		return NULL;
	}
	if (!take_lock(directory, err) || !read_roots(directory, err) ||
	    !pki_index_read(directory, err) || !read_crls(directory, err))
		return NULL;
	return TAKE_PTR(directory);
}

const char *pki_directory_domain(const PkiDirectory *directory)
{
	return directory->domain;
}

size_t pki_directory_root_count(const PkiDirectory *directory)
{
	return directory->n_roots;
}

const X509 *pki_directory_root(const PkiDirectory *directory, size_t index)
{
	assert(index < directory->n_roots);
	return directory->roots[index].certificate;
}

size_t pki_directory_record_count(const PkiDirectory *directory)
{
	return directory->n_records;
}

const PkiRecord *pki_directory_record(const PkiDirectory *directory, size_t index)
{
	assert(index < directory->n_records);
	return &directory->records[index];
}

uint64_t pki_directory_crl_number(const PkiDirectory *directory)
{
	return directory->crl_number;
}

int64_t pki_directory_crl_next_update_s(const PkiDirectory *directory)
{
	return directory->crl_next_update_s;
}
