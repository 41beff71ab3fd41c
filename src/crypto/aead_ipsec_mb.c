/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM by Intel's libipsec-mb, which uses VAES where the processor has it. Its manager is
 * needed only to choose the functions that suit the processor: they keep nothing but the key and
 * the context that they are given, so the manager (some hundred KiB) is released at once and a key
 * costs 4 KiB. alloc_mb_mgr takes memory (mmap, brk) and asks cpuid; nothing after it makes a
 * system call.
 */
#include "crypto/aead_providers.h"

#include <string.h>

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

typedef struct ImbState {
	struct gcm_key_data key;
	struct gcm_context_data context;
	aes_gcm_pre_t expand;
	aes_gcm_enc_dec_t seal;
	aes_gcm_enc_dec_t open;
} ImbState;

/* Without these instructions the library has only slow emulation, if anything. */
static bool imb_usable(void)
{
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
	       __builtin_cpu_supports("sse4.2");
}

static void imb_state_free(void *opaque)
{
	if (!opaque)
		return;
	explicit_bzero(opaque, sizeof(ImbState));
	free(opaque);
}

static void *imb_state_new(Error *err)
{
	IMB_MGR *manager = alloc_mb_mgr(0);
	ImbState *state = NULL;

	if (manager) {
		init_mb_mgr_auto(manager, NULL);
		state = aligned_alloc(_Alignof(ImbState), sizeof(ImbState));
	}
	if (state) {
		memset(state, 0, sizeof(*state));
		state->expand = manager->gcm256_pre;
		state->seal = manager->gcm256_enc;
		state->open = manager->gcm256_dec;
	}
	free_mb_mgr(manager);
	if (!state || !state->expand || !state->seal || !state->open) {
		error_set(err, ERROR_INTERNAL, "libipsec-mb gives no AES-256-GCM");
		imb_state_free(state);
		return NULL;
	}
	return state;
}

static bool imb_set_key(void *opaque, const uint8_t *key, Error *err)
{
	ImbState *state = opaque;

	(void)err;
	explicit_bzero(&state->key, sizeof(state->key));
	explicit_bzero(&state->context, sizeof(state->context));
	state->expand(key, &state->key);
	return true;
}

static bool imb_seal(void *opaque, const uint8_t *nonce, const void *aad, size_t aad_size,
		     const uint8_t *in, uint8_t *out, size_t size, uint8_t *ret_tag)
{
	ImbState *state = opaque;

	state->seal(&state->key, &state->context, out, in, size, nonce, aad, aad_size, ret_tag,
		    AEAD_TAG_SIZE);
	return true;
}

static bool imb_open(void *opaque, const uint8_t *nonce, const void *aad, size_t aad_size,
		     const uint8_t *in, uint8_t *out, size_t size, const uint8_t *tag)
{
	ImbState *state = opaque;
	uint8_t computed[AEAD_TAG_SIZE] = { 0 };
	bool same;

	state->open(&state->key, &state->context, out, in, size, nonce, aad, aad_size, computed,
		    AEAD_TAG_SIZE);
	same = CRYPTO_memcmp(computed, tag, AEAD_TAG_SIZE) == 0;
	/* The right tag of a forged record is what a forger wants to know. */
	explicit_bzero(computed, sizeof(computed));
	return same;
}

const AeadProvider aead_provider_ipsec_mb = {
	.name = "ipsec-mb",
	.usable = imb_usable,
	.state_new = imb_state_new,
	.state_free = imb_state_free,
	.set_key = imb_set_key,
	.seal = imb_seal,
	.open = imb_open,
};
