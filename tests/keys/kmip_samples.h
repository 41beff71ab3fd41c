/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as PyKMIP 0.10's encoder writes them, and what its server answered to them: bytes of a
 * stranger's implementation. The values are 0, 1, 2, ... */
#ifndef SEALIFT_TESTS_KMIP_SAMPLES_H
#define SEALIFT_TESTS_KMIP_SAMPLES_H

#include "keys/kmip_message.h"

enum { KMIP_SAMPLE_COUNT = 12, KMIP_SAMPLE_MAX = 1024 };

typedef struct KmipSample {
	const char *name;
	KmipRequest request; /* `blob` and `password` are made from the sizes below */
	size_t blob_size;    /* 0: none */
	const char *password;
	const char *request_hex;
	const char *answer_hex; /* NULL: was not sent */
} KmipSample;
extern const KmipSample kmip_samples[KMIP_SAMPLE_COUNT];

/* By name; aborts if there is none. */
const KmipSample *kmip_sample(const char *name);
/* The bytes of a hex text of at most KMIP_SAMPLE_MAX bytes; their number. */
size_t kmip_sample_bytes(const char *hex, uint8_t ret_bytes[KMIP_SAMPLE_MAX]);

#endif
