/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM of swtpm(8) with a state of its own. Each function asserts success with cmocka. */
#ifndef SEALIFT_TESTS_KEYS_SWTPM_FIXTURE_H
#define SEALIFT_TESTS_KEYS_SWTPM_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Swtpm {
	char folder[32];
	pid_t pid;
	int fd; /* commands go in, answers come out */
} Swtpm;

/* False if swtpm is not installed. */
bool swtpm_is_here(void);
void swtpm_begin(Swtpm *tpm);
/* As a machine that is switched off, and on. */
void swtpm_stop(Swtpm *tpm);
void swtpm_start(Swtpm *tpm);
/* Stops it and forgets its state. */
void swtpm_end(Swtpm *tpm);

void swtpm_extend(const Swtpm *tpm, uint32_t pcr);

#endif
