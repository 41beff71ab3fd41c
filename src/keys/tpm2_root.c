/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/tpm2_root.h"

#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>

#include "crypto/random.h"
#include "keys/tpm2_link.h"

enum { MAGIC_BYTES = 8, NAME_BYTES = 2 + TPM2_SHA256_DIGEST_SIZE, PART_MAX = 512 };

static const char magic[MAGIC_BYTES] = { 'S', 'L', 'T', 'P', 'M', '2', 'R', '1' };

/* What is in a blob. */
typedef struct Sealed {
	uint32_t pcrs;
	uint8_t primary[NAME_BYTES];
	TPM2B_PUBLIC public;
	TPM2B_PRIVATE private;
} Sealed;

/* One conversation; what it made in the TPM is flushed at its end. */
typedef struct Tpm {
	Tpm2Link link;
	ESYS_CONTEXT *esys;
	ESYS_TR primary, session, object;
} Tpm;

static const TPMT_SYM_DEF aes_cfb = { .algorithm = TPM2_ALG_AES,
				      .keyBits.aes = 128,
				      .mode.aes = TPM2_ALG_CFB };

static void flush(Tpm *tpm, ESYS_TR *handle)
{
	if (*handle != ESYS_TR_NONE)
		(void)Esys_FlushContext(tpm->esys, *handle);
	*handle = ESYS_TR_NONE;
}

static void tpm_close(Tpm *tpm)
{
	/* A chip that does not answer would only be waited for. */
	if (tpm->esys && tpm->link.error.category == ERROR_NONE) {
		flush(tpm, &tpm->object);
		flush(tpm, &tpm->session);
		flush(tpm, &tpm->primary);
	}
	if (tpm->esys)
		Esys_Finalize(&tpm->esys);
}
#define AUTO_TPM CLEANUP(tpm_close)

/* A return value without the number of the parameter, handle or session it is about. */
static TSS2_RC reason_of(TSS2_RC rc)
{
	return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

/* False, with the error that a failed command stands for. */
static bool tpm_fail(const Tpm *tpm, TSS2_RC rc, const char *what, Error *err)
{
	if (tpm->link.error.category != ERROR_NONE) {
		*err = tpm->link.error;
		return error_prefix(err, "cannot %s", what);
	}
	switch (reason_of(rc)) {
	case TPM2_RC_POLICY_FAIL:
	case TPM2_RC_PCR_CHANGED:
		return error_set(err, ERROR_AUTH,
				 "cannot %s: the PCRs are not what they were when it was sealed",
				 what);
	case TPM2_RC_INTEGRITY:
	case TPM2_RC_SIZE:
	case TPM2_RC_BINDING:
		return error_set(err, ERROR_AUTH, "cannot %s: the blob was changed (TPM: 0x%x)",
				 what, rc);
	case TPM2_RC_BAD_AUTH:
	case TPM2_RC_AUTH_FAIL:
		return error_set(err, ERROR_DENIED,
				 "cannot %s: the owner's password of the TPM is set", what);
	case TPM2_RC_LOCKOUT:
	case TPM2_RC_RETRY:
		return error_set(err, ERROR_UNAVAILABLE,
				 "cannot %s: the TPM is busy or locked (0x%x)", what, rc);
	default:
		return error_set(err, ERROR_PEER, "cannot %s: the TPM says 0x%x", what, rc);
	}
}

static bool tpm_check(const Tpm *tpm, TSS2_RC rc, const char *what, Error *err)
{
	return rc == TSS2_RC_SUCCESS || tpm_fail(tpm, rc, what, err);
}

/* The same key each time, as long as the TPM is not cleared: TCG EK Credential Profile's manner of
 * a storage key, ECC P-256. */
static const TPM2B_PUBLIC primary_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
				    TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_NODA,
		.parameters.eccDetail = {
			.symmetric = { .algorithm = TPM2_ALG_AES,
				       .keyBits.aes = 128,
				       .mode.aes = TPM2_ALG_CFB },
			.scheme.scheme = TPM2_ALG_NULL,
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
	},
};

/* Nothing but the policy opens it: no password, and no parent elsewhere. */
static const TPM2B_PUBLIC sealed_template = {
	.publicArea = {
		.type = TPM2_ALG_KEYEDHASH,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA,
		.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
	},
};

static bool make_primary(Tpm *tpm, uint8_t ret_name[NAME_BYTES], Error *err)
{
	static const TPM2B_SENSITIVE_CREATE sensitive = { 0 };
	static const TPM2B_DATA outside = { 0 };
	static const TPML_PCR_SELECTION none = { 0 };
	TPM2B_NAME *name = NULL;
	bool good;

	if (!tpm_check(tpm,
		       Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
					  ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &primary_template,
					  &outside, &none, &tpm->primary, NULL, NULL, NULL, NULL),
		       "make a primary key", err) ||
	    !tpm_check(tpm, Esys_TR_GetName(tpm->esys, tpm->primary, &name), "name a key", err))
		return false;
	good = name->size == NAME_BYTES;
	if (good)
		memcpy(ret_name, name->name, NAME_BYTES);
	Esys_Free(name);
	return good || error_set(err, ERROR_PEER, "the TPM's primary key has no name of SHA-256");
}

/* Salted with the primary key, so that nobody on the way knows its keys. */
static bool start_session(Tpm *tpm, TPM2_SE kind, TPMA_SESSION attributes, Error *err)
{
	return tpm_check(tpm,
			 Esys_StartAuthSession(tpm->esys, tpm->primary, ESYS_TR_NONE, ESYS_TR_NONE,
					       ESYS_TR_NONE, ESYS_TR_NONE, NULL, kind, &aes_cfb,
					       TPM2_ALG_SHA256, &tpm->session),
			 "start a session", err) &&
	       tpm_check(tpm,
			 Esys_TRSess_SetAttributes(tpm->esys, tpm->session,
						   attributes | TPMA_SESSION_CONTINUESESSION, 0xff),
			 "start a session", err);
}

static bool policy_pcr(Tpm *tpm, uint32_t pcrs, Error *err)
{
	static const TPM2B_DIGEST present = { 0 };
	const TPML_PCR_SELECTION selection = {
		.count = 1,
		.pcrSelections = { { .hash = TPM2_ALG_SHA256,
				     .sizeofSelect = 3,
				     .pcrSelect = { (uint8_t)pcrs, (uint8_t)(pcrs >> 8),
						    (uint8_t)(pcrs >> 16) } } },
	};

	return tpm_check(tpm,
			 Esys_PolicyPCR(tpm->esys, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE,
					ESYS_TR_NONE, &present, &selection),
			 "read PCRs", err);
}

static bool open_tpm(Tpm *tpm, const Tpm2Config *config, uint8_t ret_name[NAME_BYTES], Error *err)
{
	tpm2_link_init(&tpm->link, config->fd, config->deadline_ms);
	tpm->primary = tpm->session = tpm->object = ESYS_TR_NONE;
	return tpm_check(tpm,
			 Esys_Initialize(&tpm->esys, (TSS2_TCTI_CONTEXT *)&tpm->link.common, NULL),
			 "speak with a TPM", err) &&
	       make_primary(tpm, ret_name, err);
}

/* --- the blob --- */

static bool check_pcrs(uint32_t pcrs)
{
	return pcrs && !(pcrs >> TPM2_PCRS);
}

static bool encode(const Sealed *sealed, Buffer *blob, Error *err)
{
	uint8_t public[PART_MAX], private[PART_MAX];
	size_t public_size = 0, private_size = 0;

	if (Tss2_MU_TPM2B_PUBLIC_Marshal(&sealed->public, public, sizeof(public), &public_size) ||
	    Tss2_MU_TPM2B_PRIVATE_Marshal(&sealed->private, private, sizeof(private),
					  &private_size))
		return error_set(err, ERROR_PEER, "the TPM's parts are longer than %d bytes",
				 PART_MAX);
	return buffer_put(blob, magic, sizeof(magic), err) &&
	       buffer_put_be32(blob, sealed->pcrs, err) &&
	       buffer_put(blob, sealed->primary, sizeof(sealed->primary), err) &&
	       buffer_put_be16(blob, (uint16_t)public_size, err) &&
	       buffer_put(blob, public, public_size, err) &&
	       buffer_put_be16(blob, (uint16_t)private_size, err) &&
	       buffer_put(blob, private, private_size, err);
}

static bool take_part(Reader *reader, const uint8_t **ret_part, uint16_t *ret_size)
{
	return reader_get_be16(reader, ret_size) && *ret_size && *ret_size <= PART_MAX &&
	       reader_skip(reader, *ret_size, ret_part);
}

static bool decode(const void *blob, size_t size, Sealed *ret_sealed)
{
	Reader reader = reader_of(blob, size);
	Sealed sealed = { 0 };
	char start[MAGIC_BYTES];
	const uint8_t *public, *private;
	uint16_t public_size, private_size;
	size_t public_used = 0, private_used = 0;

	if (size > TPM2_BLOB_MAX || !reader_get_bytes(&reader, start, sizeof(start)) ||
	    memcmp(start, magic, sizeof(start)) || !reader_get_be32(&reader, &sealed.pcrs) ||
	    !check_pcrs(sealed.pcrs) ||
	    !reader_get_bytes(&reader, sealed.primary, sizeof(sealed.primary)) ||
	    !take_part(&reader, &public, &public_size) ||
	    !take_part(&reader, &private, &private_size) || reader.left)
		return false;
	if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(public, public_size, &public_used, &sealed.public) ||
	    Tss2_MU_TPM2B_PRIVATE_Unmarshal(private, private_size, &private_used,
					    &sealed.private) ||
	    public_used != public_size || private_used != private_size)
		return false;
	*ret_sealed = sealed;
	return true;
}

/* --- sealing --- */

/* What the policy comes to with the PCRs of now. */
static bool trial_policy(Tpm *tpm, uint32_t pcrs, TPM2B_DIGEST *ret_digest, Error *err)
{
	TPM2B_DIGEST *digest = NULL;
	bool ok = start_session(tpm, TPM2_SE_TRIAL, 0, err) && policy_pcr(tpm, pcrs, err) &&
		  tpm_check(tpm,
			    Esys_PolicyGetDigest(tpm->esys, tpm->session, ESYS_TR_NONE,
						 ESYS_TR_NONE, ESYS_TR_NONE, &digest),
			    "read a policy", err);

	if (ok)
		*ret_digest = *digest;
	Esys_Free(digest);
	flush(tpm, &tpm->session);
	return ok;
}

static bool seal(Tpm *tpm, const Secret *key, Sealed *sealed, Error *err)
{
	static const TPM2B_DATA outside = { 0 };
	static const TPML_PCR_SELECTION none = { 0 };
	TPM2B_SENSITIVE_CREATE sensitive = { .sensitive.data.size = KEY_BYTES };
	TPM2B_PUBLIC template = sealed_template, *public = NULL;
	TPM2B_PRIVATE *private = NULL;
	bool ok;

	if (!trial_policy(tpm, sealed->pcrs, &template.publicArea.authPolicy, err) ||
	    !start_session(tpm, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT, err))
		return false;
	memcpy(sensitive.sensitive.data.buffer, secret_peek(key), KEY_BYTES);
	ok = tpm_check(tpm,
		       Esys_Create(tpm->esys, tpm->primary, tpm->session, ESYS_TR_NONE,
				   ESYS_TR_NONE, &sensitive, &template, &outside, &none, &private,
				   &public, NULL, NULL, NULL),
		       "seal a key", err);
	explicit_bzero(&sensitive, sizeof(sensitive));
	if (ok) {
		sealed->public = *public;
		sealed->private = *private;
	}
	Esys_Free(public);
	Esys_Free(private);
	return ok;
}

bool tpm2_root_create(const Tpm2Config *config, uint32_t pcrs, Buffer *blob, Error *err)
{
	AUTO_TPM Tpm tpm = { 0 };
	AUTO_SECRET Secret *key = NULL;
	Sealed sealed = { .pcrs = pcrs };

	if (!check_pcrs(pcrs))
		return error_set(err, ERROR_USAGE, "PCRs 0x%x, one to all of 0 to %d are allowed",
				 pcrs, TPM2_PCRS - 1);
	key = random_secret(KEY_BYTES, err);
	return key && open_tpm(&tpm, config, sealed.primary, err) &&
	       seal(&tpm, key, &sealed, err) && encode(&sealed, blob, err);
}

static Secret *unseal(Tpm *tpm, const Sealed *sealed, Error *err)
{
	TPM2B_SENSITIVE_DATA *data = NULL;
	Secret *key = NULL;

	if (!tpm_check(tpm,
		       Esys_Load(tpm->esys, tpm->primary, ESYS_TR_PASSWORD, ESYS_TR_NONE,
				 ESYS_TR_NONE, &sealed->private, &sealed->public, &tpm->object),
		       "load the root key", err) ||
	    !start_session(tpm, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT, err) ||
	    !policy_pcr(tpm, sealed->pcrs, err) ||
	    !tpm_check(tpm,
		       Esys_Unseal(tpm->esys, tpm->object, tpm->session, ESYS_TR_NONE, ESYS_TR_NONE,
				   &data),
		       "unseal the root key", err))
		return NULL;
	if (data->size == KEY_BYTES)
		key = secret_new_from(data->buffer, KEY_BYTES, err);
	else
		error_set(err, ERROR_PEER, "the TPM unsealed %u bytes, expected %d", data->size,
			  KEY_BYTES);
	explicit_bzero(data, sizeof(*data));
	Esys_Free(data);
	return key;
}

Secret *tpm2_root_unseal(const Tpm2Config *config, const void *blob, size_t size, Error *err)
{
	AUTO_TPM Tpm tpm = { 0 };
	Sealed sealed;
	uint8_t primary[NAME_BYTES];

	if (!decode(blob, size, &sealed)) {
		error_set(err, ERROR_CONFIG, "%zu bytes are not a root key that a TPM sealed",
			  size);
		return NULL;
	}
	if (!open_tpm(&tpm, config, primary, err))
		return NULL;
	if (memcmp(primary, sealed.primary, sizeof(primary))) {
		error_set(err, ERROR_AUTH,
			  "the root key was sealed by another TPM, or this one was cleared");
		return NULL;
	}
	return unseal(&tpm, &sealed, err);
}
