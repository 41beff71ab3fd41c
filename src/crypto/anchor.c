/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/anchor.h"

#include <string.h>
#include <time.h>

#include <openssl/err.h>

#include "base/schema.h"
#include "crypto/anchor_internal.h"

int64_t anchor_time_s(const ASN1_TIME *time)
{
	struct tm broken_down;

	if (!time || ASN1_TIME_to_tm(time, &broken_down) != 1)
		return -1;
	return (int64_t)timegm(&broken_down);
}

const char *anchor_time_text(int64_t time_s, char ret[ANCHOR_TIME_TEXT])
{
	time_t seconds = (time_t)time_s;
	struct tm broken_down;

	if (!gmtime_r(&seconds, &broken_down) ||
	    !strftime(ret, ANCHOR_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &broken_down))
		memcpy(ret, "?", 2);
	return ret;
}

AnchorStore *anchor_store_new(Error *err)
{
	AnchorStore *store = calloc(1, sizeof(*store));

	if (!store)
		error_set(err, ERROR_INTERNAL, "no memory for trust anchors");
	return store;
}

void anchor_store_free(AnchorStore *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < store->n_domains; i++)
		anchor_domain_free(store->domains[i]);
	free(store);
}

void anchor_domain_free(AnchorDomain *domain)
{
	if (!domain)
		return;
	for (size_t i = 0; i < domain->n_crls; i++) {
		X509_CRL_free(domain->crls[i].crl);
		X509_free(domain->crls[i].issuer);
	}
	openssl_free_certificates(domain->roots);
	openssl_free_certificates(domain->intermediates);
	X509_STORE_free(domain->trusted);
	free(domain);
}

static AnchorDomain *domain_new(const char *name, Error *err)
{
	AUTO_ANCHOR_DOMAIN AnchorDomain *domain = calloc(1, sizeof(*domain));

	if (domain) {
		memcpy(domain->name, name, strlen(name) + 1);
		domain->roots = sk_X509_new_null();
		domain->intermediates = sk_X509_new_null();
	}
	if (!domain || !domain->roots || !domain->intermediates) {
		error_set(err, ERROR_INTERNAL, "no memory for the anchors of %s", name);
		return NULL;
	}
	return TAKE_PTR(domain);
}

static bool push_reference(STACK_OF(X509) * stack, X509 *certificate, Error *err)
{
	if (X509_up_ref(certificate) == 1) {
		if (sk_X509_push(stack, certificate))
			return true;
		X509_free(certificate);
	}
	return openssl_error(err, ERROR_INTERNAL, "no memory for a certificate");
}

static bool push_all(STACK_OF(X509) * stack, const STACK_OF(X509) * from, Error *err)
{
	for (int i = 0; i < sk_X509_num(from); i++)
		if (!push_reference(stack, sk_X509_value(from, i), err))
			return false;
	return true;
}

AnchorDomain *anchor_domain_copy(const AnchorDomain *domain, Error *err)
{
	AUTO_ANCHOR_DOMAIN AnchorDomain *copy = domain_new(domain->name, err);

	if (!copy || !push_all(copy->roots, domain->roots, err) ||
	    !push_all(copy->intermediates, domain->intermediates, err))
		return NULL;
	for (size_t i = 0; i < domain->n_crls; i++) {
		X509_CRL_up_ref(domain->crls[i].crl);
		X509_up_ref(domain->crls[i].issuer);
		copy->crls[copy->n_crls++] = domain->crls[i];
	}
	return TAKE_PTR(copy);
}

bool anchor_domain_build(AnchorDomain *domain, Error *err)
{
	X509_STORE *trusted = X509_STORE_new();
	bool ok = trusted != NULL;

	X509_STORE_free(domain->trusted);
	domain->trusted = trusted;
	for (int i = 0; ok && i < sk_X509_num(domain->roots); i++)
		ok = X509_STORE_add_cert(trusted, sk_X509_value(domain->roots, i)) == 1;
	for (size_t i = 0; ok && i < domain->n_crls; i++)
		ok = X509_STORE_add_crl(trusted, domain->crls[i].crl) == 1;
	return ok || openssl_error(err, ERROR_INTERNAL, "cannot build the anchors of a domain");
}

static size_t find_index(const AnchorStore *store, const char *name)
{
	size_t i = 0;

	while (i < store->n_domains && strcmp(store->domains[i]->name, name))
		i++;
	return i;
}

AnchorDomain *anchor_domain_find(const AnchorStore *store, const char *name)
{
	size_t index = find_index(store, name);

	return index < store->n_domains ? store->domains[index] : NULL;
}

bool anchor_store_has(const AnchorStore *store, const char *domain)
{
	return anchor_domain_find(store, domain) != NULL;
}

bool anchor_store_remove(AnchorStore *store, const char *domain)
{
	size_t index = find_index(store, domain);

	if (index == store->n_domains)
		return false;
	anchor_domain_free(store->domains[index]);
	store->domains[index] = store->domains[--store->n_domains];
	return true;
}

bool anchor_has_issued(X509 *issuer, X509 *certificate)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	bool issued = key && X509_check_issued(issuer, certificate) == X509_V_OK &&
		      X509_verify(certificate, key) == 1;

	ERR_clear_error();
	return issued;
}

static bool has_certificate(const STACK_OF(X509) * stack, const X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(stack); i++)
		if (!X509_cmp(sk_X509_value(stack, i), certificate))
			return true;
	return false;
}

static bool has_issuer(const STACK_OF(X509) * stack, X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(stack); i++)
		if (anchor_has_issued(sk_X509_value(stack, i), certificate))
			return true;
	return false;
}

static bool add_certificate(AnchorDomain *domain, X509 *certificate, Error *err)
{
	if (has_certificate(domain->roots, certificate) ||
	    has_certificate(domain->intermediates, certificate))
		return true;
	if (X509_check_ca(certificate) != 1)
		return error_set(err, ERROR_AUTH, "is not a CA certificate (basicConstraints)");
	if (X509_self_signed(certificate, 1) == 1)
		return push_reference(domain->roots, certificate, err);
	ERR_clear_error();
	if (!has_issuer(domain->roots, certificate) &&
	    !has_issuer(domain->intermediates, certificate))
		return error_set(err, ERROR_AUTH,
				 "is neither self-signed nor issued by a CA that comes before it");
	return push_reference(domain->intermediates, certificate, err);
}

static size_t count_certificates(const AnchorStore *store, const AnchorDomain *without)
{
	size_t count = 0;

	for (size_t i = 0; i < store->n_domains; i++)
		if (store->domains[i] != without)
			count += (size_t)sk_X509_num(store->domains[i]->roots) +
				 (size_t)sk_X509_num(store->domains[i]->intermediates);
	return count;
}

/* Puts `changed` in the place of the domain of that name, or beside the others. */
static bool put_domain(AnchorStore *store, AnchorDomain **changed, Error *err)
{
	size_t index = find_index(store, (*changed)->name);
	AnchorDomain *old = index < store->n_domains ? store->domains[index] : NULL;
	size_t count = count_certificates(store, old) + (size_t)sk_X509_num((*changed)->roots) +
		       (size_t)sk_X509_num((*changed)->intermediates);

	if (count > LIMIT_ANCHORS)
		return error_set(err, ERROR_LIMIT, "%zu trust anchors are more than %d", count,
				 LIMIT_ANCHORS);
	anchor_domain_free(old);
	store->domains[index] = TAKE_PTR(*changed);
	if (!old)
		store->n_domains++;
	return true;
}

bool anchor_store_add_root(AnchorStore *store, const char *domain, const void *pem, size_t size,
			   Error *err)
{
	AUTO_X509_STACK STACK_OF(X509) *certificates = NULL;
	AUTO_ANCHOR_DOMAIN AnchorDomain *changed = NULL;
	const AnchorDomain *old;

	if (!text_is(TEXT_DOMAIN, domain, 1) || strlen(domain) >= LIMIT_DOMAIN)
		return error_set(err, ERROR_CONFIG,
				 "\"%s\" is not a domain of at most %d of [a-z0-9.-]", domain,
				 LIMIT_DOMAIN - 1);
	if (size > LIMIT_PEM)
		return error_set(err, ERROR_LIMIT, "root file of %zu bytes is longer than %d", size,
				 LIMIT_PEM);
	certificates = openssl_read_certificates(pem, size, LIMIT_ANCHORS, err);
	if (!certificates)
		return false;
	old = anchor_domain_find(store, domain);
	changed = old ? anchor_domain_copy(old, err) : domain_new(domain, err);
	if (!changed)
		return false;
	for (int i = 0; i < sk_X509_num(certificates); i++)
		if (!add_certificate(changed, sk_X509_value(certificates, i), err))
			return error_prefix(err, "certificate %d for %s", i + 1, domain);
	return anchor_domain_build(changed, err) && put_domain(store, &changed, err);
}
