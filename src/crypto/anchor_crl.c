/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/anchor.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "crypto/anchor_internal.h"

static bool read_der(const uint8_t *der, size_t size, STACK_OF(X509_CRL) * crls, Error *err)
{
	const uint8_t *end = der;
	AUTO_X509_CRL X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)size);

	if (!crl)
		return openssl_error(err, ERROR_AUTH, "broken CRL");
	if (end != der + size)
		return error_set(err, ERROR_AUTH, "%zu bytes after the CRL",
				 size - (size_t)(end - der));
	if (!sk_X509_CRL_push(crls, crl))
		return openssl_error(err, ERROR_INTERNAL, "no memory for a CRL");
	(void)TAKE_PTR(crl);
	return true;
}

static bool read_pem(const void *pem, size_t size, STACK_OF(X509_CRL) * crls, Error *err)
{
	AUTO_BIO BIO *bio = openssl_view(pem, size, err);
	unsigned long code;
	X509_CRL *crl;

	if (!bio)
		return false;
	ERR_clear_error();
	while ((crl = PEM_read_bio_X509_CRL(bio, NULL, openssl_no_password, NULL))) {
		if (sk_X509_CRL_num(crls) >= ANCHOR_CRLS_MAX || !sk_X509_CRL_push(crls, crl)) {
			X509_CRL_free(crl);
			return error_set(err, ERROR_LIMIT, "more than %d CRLs", ANCHOR_CRLS_MAX);
		}
	}
	code = ERR_peek_last_error();
	if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
		return openssl_error(err, ERROR_AUTH, "broken CRL");
	ERR_clear_error();
	return sk_X509_CRL_num(crls) > 0 || error_set(err, ERROR_AUTH, "no CRL in %zu bytes", size);
}

static STACK_OF(X509_CRL) * read_crls(const void *bytes, size_t size, Error *err)
{
	const uint8_t *head = bytes;
	AUTO_X509_CRL_STACK STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
	bool ok;

	if (!crls) {
		openssl_error(err, ERROR_INTERNAL, "no memory for CRLs");
		return NULL;
	}
	/* No CRL is shorter than 128 bytes, so its DER has a length with the top bit set; PEM is
	 * text. */
	if (size >= 2 && head[0] == 0x30 && head[1] & 0x80)
		ok = read_der(bytes, size, crls, err);
	else
		ok = read_pem(bytes, size, crls, err);
	return ok ? TAKE_PTR(crls) : NULL;
}

static X509 *signer_among(const STACK_OF(X509) * authorities, X509_CRL *crl)
{
	for (int i = 0; i < sk_X509_num(authorities); i++) {
		X509 *authority = sk_X509_value(authorities, i);
		EVP_PKEY *key = X509_get0_pubkey(authority);

		if (key &&
		    !X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(crl)) &&
		    X509_CRL_verify(crl, key) == 1)
			return authority;
	}
	ERR_clear_error();
	return NULL;
}

static bool has_strong_digest(const X509_CRL *crl)
{
	int digest = NID_undef;

	if (OBJ_find_sigid_algs(X509_CRL_get_signature_nid(crl), &digest, NULL) != 1)
		return false;
	return digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512;
}

static bool get_number(const X509_CRL *crl, uint64_t *ret_number)
{
	AUTO_ASN1_INTEGER ASN1_INTEGER *number =
		X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	bool ok = number && ASN1_INTEGER_get_uint64(ret_number, number) == 1;

	ERR_clear_error();
	return ok;
}

static bool check_form(const X509_CRL *crl, AnchorCrlEntry *entry, const char *domain, Error *err)
{
	if (!has_strong_digest(crl))
		return error_set(err, ERROR_AUTH, "CRL of %s is signed with a weak digest", domain);
	if (X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1) >= 0 ||
	    X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
		return error_set(err, ERROR_AUTH, "CRL of %s covers a part only", domain);
	if (!get_number(crl, &entry->number))
		return error_set(err, ERROR_AUTH, "CRL of %s has no number below 2^64", domain);
	entry->this_update_s = anchor_time_s(X509_CRL_get0_lastUpdate(crl));
	entry->next_update_s = anchor_time_s(X509_CRL_get0_nextUpdate(crl));
	if (entry->this_update_s < 0 || entry->next_update_s <= entry->this_update_s)
		return error_set(err, ERROR_AUTH, "CRL of %s does not say when the next one comes",
				 domain);
	return true;
}

static bool check_times(const AnchorCrlEntry *entry, const char *domain, int64_t now_s, Error *err)
{
	char bound[ANCHOR_TIME_TEXT], now[ANCHOR_TIME_TEXT];

	if (entry->next_update_s <= now_s)
		return error_set(err, ERROR_AUTH, "CRL of %s is stale: good until %s, now is %s",
				 domain, anchor_time_text(entry->next_update_s, bound),
				 anchor_time_text(now_s, now));
	if (entry->this_update_s > now_s)
		return error_set(err, ERROR_AUTH,
				 "CRL of %s is from the future: made %s, now is %s", domain,
				 anchor_time_text(entry->this_update_s, bound),
				 anchor_time_text(now_s, now));
	return true;
}

static AnchorCrlEntry *entry_of(AnchorDomain *domain, const X509 *issuer)
{
	for (size_t i = 0; i < domain->n_crls; i++)
		if (!X509_cmp(domain->crls[i].issuer, issuer))
			return &domain->crls[i];
	return NULL;
}

/* Puts the CRL into the domain unless what it has from that CA is as new. */
static bool take_crl(AnchorDomain *domain, AnchorCrlEntry entry, bool *ret_newer, Error *err)
{
	AnchorCrlEntry *held = entry_of(domain, entry.issuer);

	if (held && entry.number < held->number)
		return error_set(err, ERROR_AUTH, "CRL of %s has number %llu, older than %llu",
				 domain->name, (unsigned long long)entry.number,
				 (unsigned long long)held->number);
	if (held && entry.number == held->number)
		return true;
	if (!held && domain->n_crls == ANCHOR_CRLS_MAX)
		return error_set(err, ERROR_LIMIT, "%s has CRLs of more than %d CAs", domain->name,
				 ANCHOR_CRLS_MAX);
	X509_CRL_up_ref(entry.crl);
	X509_up_ref(entry.issuer);
	if (held) {
		X509_CRL_free(held->crl);
		X509_free(held->issuer);
	} else {
		held = &domain->crls[domain->n_crls++];
	}
	*held = entry;
	*ret_newer = true;
	return true;
}

static bool judge_crl(AnchorDomain *domain, X509_CRL *crl, int64_t now_s, AnchorCrl *summary,
		      Error *err)
{
	AnchorCrlEntry entry = { .crl = crl };

	entry.issuer = signer_among(domain->roots, crl);
	if (!entry.issuer)
		entry.issuer = signer_among(domain->intermediates, crl);
	if (!entry.issuer)
		return error_set(err, ERROR_AUTH, "CRL is not signed by a CA of %s", domain->name);
	if (!check_form(crl, &entry, domain->name, err) ||
	    !check_times(&entry, domain->name, now_s, err) ||
	    !take_crl(domain, entry, &summary->newer, err))
		return false;
	if (entry.number < summary->number)
		summary->number = entry.number;
	if (entry.this_update_s < summary->this_update_s)
		summary->this_update_s = entry.this_update_s;
	if (entry.next_update_s < summary->next_update_s)
		summary->next_update_s = entry.next_update_s;
	return true;
}

/* The domain as it would be with the CRLs of the file; owned by the caller. */
static AnchorDomain *with_crls(const AnchorStore *store, const char *name, const void *der_or_pem,
			       size_t size, int64_t now_s, AnchorCrl *summary, Error *err)
{
	AUTO_X509_CRL_STACK STACK_OF(X509_CRL) *crls = NULL;
	AUTO_ANCHOR_DOMAIN AnchorDomain *changed = NULL;
	const AnchorDomain *domain = anchor_domain_find(store, name);

	*summary = (AnchorCrl){ UINT64_MAX, INT64_MAX, INT64_MAX, false };
	if (!domain) {
		error_set(err, ERROR_NOT_FOUND, "no root of %s is trusted here", name);
		return NULL;
	}
	if (!size || size > LIMIT_CRL) {
		error_set(err, ERROR_LIMIT, "CRL of %zu bytes, not 1..%d", size, LIMIT_CRL);
		return NULL;
	}
	crls = read_crls(der_or_pem, size, err);
	changed = crls ? anchor_domain_copy(domain, err) : NULL;
	if (!changed)
		return NULL;
	for (int i = 0; i < sk_X509_CRL_num(crls); i++)
		if (!judge_crl(changed, sk_X509_CRL_value(crls, i), now_s, summary, err))
			return NULL;
	return TAKE_PTR(changed);
}

bool anchor_store_check_crl(const AnchorStore *store, const char *domain, const void *der_or_pem,
			    size_t size, int64_t now_s, AnchorCrl *ret_crl, Error *err)
{
	AnchorCrl summary;
	AUTO_ANCHOR_DOMAIN AnchorDomain *changed =
		with_crls(store, domain, der_or_pem, size, now_s, &summary, err);

	if (!changed)
		return false;
	*ret_crl = summary;
	return true;
}

bool anchor_store_set_crl(AnchorStore *store, const char *domain, const void *der_or_pem,
			  size_t size, int64_t now_s, Error *err)
{
	AnchorCrl summary;
	AUTO_ANCHOR_DOMAIN AnchorDomain *changed =
		with_crls(store, domain, der_or_pem, size, now_s, &summary, err);

	if (!changed || !anchor_domain_build(changed, err))
		return false;
	for (size_t i = 0; i < store->n_domains; i++)
		if (!strcmp(store->domains[i]->name, domain)) {
			anchor_domain_free(store->domains[i]);
			store->domains[i] = TAKE_PTR(changed);
			break;
		}
	return true;
}

int64_t anchor_store_crl_next_update(const AnchorStore *store, const char *domain)
{
	const AnchorDomain *found = anchor_domain_find(store, domain);
	int64_t earliest = 0;

	for (size_t i = 0; found && i < found->n_crls; i++)
		if (!earliest || found->crls[i].next_update_s < earliest)
			earliest = found->crls[i].next_update_s;
	return earliest;
}
