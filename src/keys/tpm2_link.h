/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM at the other end of a descriptor, for libtss2-esys: /dev/tpmrm0 or a stream socket that
 * carries bare commands, as swtpm's. The descriptor comes from somebody who may open files, so that
 * this process need not. TCG "TSS 2.0 TPM Command Transmission Interface", context of version 1.
 */
#ifndef SEALIFT_KEYS_TPM2_LINK_H
#define SEALIFT_KEYS_TPM2_LINK_H

#include <tss2/tss2_tcti.h>

#include "base/error.h"

enum { TPM2_LINK_MAX = 4096 }; /* bytes of a command or an answer, as chips have it */

typedef struct Tpm2Link {
	TSS2_TCTI_CONTEXT_COMMON_V1 common; /* first: the interface's own */
	int fd;				    /* the caller's */
	uint64_t deadline_ms;		    /* of each answer */
	uint8_t answer[TPM2_LINK_MAX];	    /* that was received and not taken yet */
	size_t answer_size;
	Error error; /* what went wrong first, ERROR_NONE before */
} Tpm2Link;

/* The process ignores SIGPIPE. */
void tpm2_link_init(Tpm2Link *link, int fd, uint64_t deadline_ms);

#endif
