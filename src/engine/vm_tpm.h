/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What opens the TPM of a VM: the two keys in its slot "tpm0" (purposes tpm-file and
 * tpm-migration), found in the key manager, and made there when a VM with a TPM starts for the
 * first time.
 *
 * A VM never gets an empty TPM in place of its own: state without keys, and keys without state, are
 * refused. Between the making of the keys and the first state stands a mark (vtpm_mark_new).
 */
#ifndef SEALIFT_ENGINE_VM_TPM_H
#define SEALIFT_ENGINE_VM_TPM_H

#include "engine/engine.h"
#include "keys/key.h"
#include "vmm/resources.h"

#define TPM_SLOT "tpm0"

enum {
	TPM_KEYS = 2,
	TPM_KEY_VERSION = 1, /* no state is encrypted anew, whatever versions the key has since */
};

/* What is known of a VM's TPM on this host. */
typedef struct TpmFound {
	bool has_state;
	bool is_new;		 /* the mark is there: it never had any */
	bool any[TPM_KEYS];	 /* by purpose, from KEY_TPM_MIGRATION on */
	bool rotated[TPM_KEYS];	 /* there is a newer version, and it is active */
	KeyRecord key[TPM_KEYS]; /* the one that is not destroyed, else the last */
} TpmFound;

/* Looks at one key of the VM, in the order in which the key manager lists them. */
void vm_tpm_consider(TpmFound *found, const KeyRecord *key);

/* Whether the VM may start here: *ret_make, its keys have to be made first. ERROR_DENIED: state
 * without keys, keys without state, or a key that is not active. */
MUST_CHECK bool vm_tpm_judge(const TpmFound *found, bool *ret_make, Error *err);
/* Whether it may come by a migration. ERROR_CONFLICT: there is state of it here. ERROR_DENIED: the
 * keys did not come along. */
MUST_CHECK bool vm_tpm_judge_coming(const TpmFound *found, const uint8_t *migration, Error *err);

typedef struct TpmKeys TpmKeys;
/* Once, from the event loop; err is NULL if both are open. May free it. */
typedef void TpmKeysDone(void *context, const Error *err);

typedef struct TpmKeysWanted {
	const Manifest *manifest; /* with a TPM */
	const char *owner;	  /* the domain that owns the VM */
	uint64_t epoch;		  /* the VM's */
	const char *who;	  /* asks, for the key manager's log */
	/* By which the VM is coming: KEY_ID_BYTES, or NULL. Then nothing is made, the keys are
	 * those that came along, and state that is here already is refused. */
	const uint8_t *migration;
} TpmKeysWanted;

/* Begins. ERROR_UNAVAILABLE, here or later: no key manager, or no swtpm. ERROR_DENIED: what
 * vm_tpm_judge says. */
TpmKeys *tpm_keys_new(Engine *engine, const TpmKeysWanted *wanted, TpmKeysDone *done, void *context,
		      Error *err);
/* Once done: gives the descriptors to the VM. */
void tpm_keys_give(TpmKeys *keys, ResolvedVm *vm);
/* The VM runs: its TPM has state now. ERROR_IO. */
MUST_CHECK bool tpm_keys_used(const TpmKeys *keys, Error *err);
/* Has both values wiped, as disk_keys_free. NULL is fine. */
void tpm_keys_free(TpmKeys *keys);

#endif
