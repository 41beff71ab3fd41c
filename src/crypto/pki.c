/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pki.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/bounds.h"
#include "base/schema.h"
#include "crypto/anchor.h"
#include "crypto/openssl.h"
#include "crypto/random.h"

enum { VERSION_3 = 2, CRL_VERSION_2 = 1 }; /* as they are encoded, RFC 5280 */

void pki_pair_clear(PkiPair *pair)
{
	X509_free(pair->certificate);
	EVP_PKEY_free(pair->key);
	*pair = (PkiPair){ NULL, NULL };
}

/* RFC 5280, section 4.1.2.2: positive, at most 20 octets, not to be guessed. */
static bool random_serial(uint8_t serial[PKI_SERIAL_SIZE], Error *err)
{
	do {
		if (!random_bytes(serial, PKI_SERIAL_SIZE, err))
			return false;
		serial[0] &= 0x7f;
	} while (!serial[0]);
	return true;
}

static bool set_serial(ASN1_INTEGER *integer, const uint8_t serial[PKI_SERIAL_SIZE])
{
	AUTO_BIGNUM BIGNUM *number = BN_bin2bn(serial, PKI_SERIAL_SIZE, NULL);

	return number && BN_to_ASN1_INTEGER(number, integer);
}

bool pki_serial(const X509 *certificate, uint8_t ret_serial[PKI_SERIAL_SIZE], Error *err)
{
	AUTO_BIGNUM BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);

	if (!number)
		return openssl_error(err, ERROR_INTERNAL, "no memory for a serial number");
	if (BN_is_negative(number) || BN_num_bytes(number) != PKI_SERIAL_SIZE)
		return error_set(err, ERROR_CONFIG, "serial number of %d bytes, not %d",
				 BN_num_bytes(number), PKI_SERIAL_SIZE);
	return BN_bn2binpad(number, ret_serial, PKI_SERIAL_SIZE) == PKI_SERIAL_SIZE ||
	       openssl_error(err, ERROR_INTERNAL, "cannot read a serial number");
}

static bool set_time(ASN1_TIME *time, int64_t time_s)
{
	/* Picks UTCTime up to 2049, as RFC 5280 section 4.1.2.5 wants. */
	return X509_time_adj_ex(time, 0, 0, &(time_t){ (time_t)time_s }) != NULL;
}

static bool add_name_part(X509_NAME *name, const char *part, const char *value)
{
	/* RFC 5280, appendix A: a common name has at most 64 characters, as has an organisation. */
	enum { PART_MAX = 64 };
	int length = (int)strnlen(value, PART_MAX);

	return X509_NAME_add_entry_by_txt(name, part, MBSTRING_ASC, (const unsigned char *)value,
					  length, -1, 0) == 1;
}

static bool add_extension(X509V3_CTX *context, X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, nid, value);
	bool ok = extension && X509_add_ext(certificate, extension, -1) == 1;

	X509_EXTENSION_free(extension);
	return ok;
}

typedef struct ExtensionRow {
	int nid;
	const char *value;
} ExtensionRow;

static bool add_extensions(X509 *issuer, X509 *certificate, const ExtensionRow *rows, size_t n_rows)
{
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].value &&
		    !add_extension(&context, certificate, rows[i].nid, rows[i].value))
			return false;
	return true;
}

/* An unsigned certificate with a fresh key, serial and times; name and extensions are to come. */
static bool begin(PkiPair *pair, const uint8_t serial[PKI_SERIAL_SIZE], int64_t not_before_s,
		  int64_t not_after_s, Error *err)
{
	char from[32], until[32];

	snprintf(from, sizeof(from), "%lld", (long long)not_before_s);
	snprintf(until, sizeof(until), "%lld", (long long)not_after_s);
	if (not_before_s < 0 || not_after_s <= not_before_s)
		return error_set(err, ERROR_USAGE, "certificate valid from %s until %s", from,
				 until);
	pair->key = EVP_EC_gen("P-384");
	pair->certificate = X509_new();
	if (!pair->key || !pair->certificate ||
	    X509_set_version(pair->certificate, VERSION_3) != 1 ||
	    !set_serial(X509_get_serialNumber(pair->certificate), serial) ||
	    !set_time(X509_getm_notBefore(pair->certificate), not_before_s) ||
	    !set_time(X509_getm_notAfter(pair->certificate), not_after_s) ||
	    X509_set_pubkey(pair->certificate, pair->key) != 1)
		return openssl_error(err, ERROR_INTERNAL, "cannot make a certificate");
	return true;
}

bool pki_make_root(const char *domain, int64_t not_before_s, int64_t not_after_s, PkiPair *ret_root,
		   Error *err)
{
	AUTO_PKI_PAIR PkiPair root = { NULL, NULL };
	uint8_t serial[PKI_SERIAL_SIZE];
	char hex[9], common_name[65], constraint[LIMIT_DOMAIN + 16];
	X509_NAME *name;

	if (!text_is(TEXT_DOMAIN, domain, 1) || strlen(domain) >= LIMIT_DOMAIN)
		return error_set(err, ERROR_USAGE,
				 "\"%s\" is not a domain of at most %d of [a-z0-9.-]", domain,
				 LIMIT_DOMAIN - 1);
	if (!random_serial(serial, err) || !begin(&root, serial, not_before_s, not_after_s, err))
		return false;
	hex_encode(serial, 4, hex);
	snprintf(common_name, sizeof(common_name), "root %s", hex);
	snprintf(constraint, sizeof(constraint), "critical,permitted;URI:%s", domain);
	name = X509_get_subject_name(root.certificate);

	const ExtensionRow rows[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
		{ NID_key_usage, "critical,keyCertSign,cRLSign" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_name_constraints, constraint },
	};

	if (!add_name_part(name, "O", domain) || !add_name_part(name, "CN", common_name) ||
	    X509_set_issuer_name(root.certificate, name) != 1 ||
	    !add_extensions(root.certificate, root.certificate, rows, ARRAY_SIZE(rows)) ||
	    !X509_sign(root.certificate, root.key, EVP_sha384()))
		return openssl_error(err, ERROR_INTERNAL, "cannot make a root certificate");
	*ret_root = root;
	root = (PkiPair){ NULL, NULL };
	return true;
}

static const char *const key_usages[] = {
	[PKI_USE_TLS] = "critical,digitalSignature",
	[PKI_USE_SIGN] = "critical,digitalSignature,nonRepudiation",
	[PKI_USE_AGREE] = "critical,keyAgreement",
};
static_assert(ARRAY_SIZE(key_usages) == PKI_USE_COUNT, "one row for each use");

static bool finish_leaf(const PkiPair *root, const SpiffeId *id, PkiUse use, PkiPair *leaf)
{
	X509_NAME *name = X509_get_subject_name(leaf->certificate);
	char uri[LIMIT_SPIFFE_ID + 8];
	const ExtensionRow rows[] = {
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_key_usage, key_usages[use] },
		{ NID_ext_key_usage, use == PKI_USE_TLS ? "serverAuth,clientAuth" : NULL },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid:always" },
		{ NID_subject_alt_name, uri },
	};

	/* An identity has neither comma nor any other sign that means something in this notation.
	 */
	snprintf(uri, sizeof(uri), "URI:%s", id->text);
	return add_name_part(name, "O", id->domain) &&
	       add_name_part(name, "CN", *id->name ? id->name : spiffe_role_word(id->role)) &&
	       X509_set_issuer_name(leaf->certificate, X509_get_subject_name(root->certificate)) ==
		       1 &&
	       add_extensions(root->certificate, leaf->certificate, rows, ARRAY_SIZE(rows)) &&
	       X509_sign(leaf->certificate, root->key, EVP_sha384()) > 0;
}

bool pki_issue(const PkiPair *root, const SpiffeId *id, PkiUse use, int64_t not_before_s,
	       int64_t not_after_s, PkiPair *ret_pair, Error *err)
{
	AUTO_PKI_PAIR PkiPair leaf = { NULL, NULL };
	int64_t root_ends_s = anchor_time_s(X509_get0_notAfter(root->certificate));
	uint8_t serial[PKI_SERIAL_SIZE];

	assert(use < PKI_USE_COUNT);
	if (not_after_s > root_ends_s)
		not_after_s = root_ends_s;
	if (!random_serial(serial, err) || !begin(&leaf, serial, not_before_s, not_after_s, err))
		return error_prefix(err, "%s", id->text);
	if (!finish_leaf(root, id, use, &leaf))
		return openssl_error(err, ERROR_INTERNAL, "cannot issue a certificate");
	*ret_pair = leaf;
	leaf = (PkiPair){ NULL, NULL };
	return true;
}

static bool add_revoked(X509_CRL *crl, const PkiRevoked *entry)
{
	AUTO_ASN1_INTEGER ASN1_INTEGER *serial = ASN1_INTEGER_new();
	AUTO_ASN1_TIME ASN1_TIME *time = ASN1_TIME_new();
	X509_REVOKED *revoked = X509_REVOKED_new();

	if (serial && time && revoked && set_serial(serial, entry->serial) &&
	    set_time(time, entry->revoked_s) &&
	    X509_REVOKED_set_serialNumber(revoked, serial) == 1 &&
	    X509_REVOKED_set_revocationDate(revoked, time) == 1 &&
	    X509_CRL_add0_revoked(crl, revoked) == 1)
		return true;
	X509_REVOKED_free(revoked);
	return false;
}

static bool add_crl_extensions(X509_CRL *crl, const PkiPair *root, uint64_t number)
{
	AUTO_ASN1_INTEGER ASN1_INTEGER *integer = ASN1_INTEGER_new();
	X509_EXTENSION *identifier;
	X509V3_CTX context;
	bool ok;

	X509V3_set_ctx(&context, root->certificate, NULL, NULL, crl, 0);
	identifier =
		X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
	ok = identifier && X509_CRL_add_ext(crl, identifier, -1) == 1 && integer &&
	     ASN1_INTEGER_set_uint64(integer, number) == 1 &&
	     X509_CRL_add1_ext_i2d(crl, NID_crl_number, integer, 0, 0) == 1;
	X509_EXTENSION_free(identifier);
	return ok;
}

X509_CRL *pki_make_crl(const PkiPair *root, uint64_t number, int64_t this_update_s,
		       int64_t next_update_s, const PkiRevoked *revoked, size_t n_revoked,
		       Error *err)
{
	AUTO_X509_CRL X509_CRL *crl = X509_CRL_new();
	AUTO_ASN1_TIME ASN1_TIME *this_update = ASN1_TIME_new();
	AUTO_ASN1_TIME ASN1_TIME *next_update = ASN1_TIME_new();
	bool ok = crl && this_update && next_update && set_time(this_update, this_update_s) &&
		  set_time(next_update, next_update_s) &&
		  X509_CRL_set_version(crl, CRL_VERSION_2) == 1 &&
		  X509_CRL_set_issuer_name(crl, X509_get_subject_name(root->certificate)) == 1 &&
		  X509_CRL_set1_lastUpdate(crl, this_update) == 1 &&
		  X509_CRL_set1_nextUpdate(crl, next_update) == 1;

	for (size_t i = 0; ok && i < n_revoked; i++)
		ok = add_revoked(crl, &revoked[i]);
	ok = ok && X509_CRL_sort(crl) == 1 && add_crl_extensions(crl, root, number) &&
	     X509_CRL_sign(crl, root->key, EVP_sha384()) > 0;
	if (!ok) {
		openssl_error(err, ERROR_INTERNAL, "cannot make a CRL");
		return NULL;
	}
	return TAKE_PTR(crl);
}
