/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations that break one rule and nothing else, beside the same that do not. */
#ifndef SEALIFT_TESTS_NBD_CASES_H
#define SEALIFT_TESTS_NBD_CASES_H

#include "nbd/rules.h"
#include "tests/nbd/talk.h"

typedef void (*PutTalk)(Talk *talk);

typedef struct NbdCase {
	NbdRule rule;
	NbdFrom fault; /* who breaks it */
	const char *what;
	PutTalk good, bad;
	const char *text; /* a part of the refusal */
	NbdAccess access;
} NbdCase;

extern const NbdCase nbd_handshake_cases[];
extern const size_t nbd_handshake_cases_count;
extern const NbdCase nbd_transmission_cases[];
extern const size_t nbd_transmission_cases_count;

#endif
