/* SPDX-License-Identifier: Apache-2.0 */
/* Enumerations of the KMIP Specification 1.2, section 9.1.3.2, that both directions need; and what
 * kmip_message.c and kmip_answer.c share. Private to them. */
#ifndef SEALIFT_KEYS_KMIP_CODES_H
#define SEALIFT_KEYS_KMIP_CODES_H

#include "keys/kmip_message.h"
#include "keys/ttlv.h"

enum {
	KMIP_CREDENTIAL_PASSWORD = 1,
	KMIP_FORMAT_RAW = 1,
	KMIP_FORMAT_OPAQUE = 2,
	KMIP_ALGORITHM_AES = 3,
	KMIP_OBJECT_SYMMETRIC_KEY = 2,
	KMIP_OBJECT_SECRET_DATA = 7,
	KMIP_SECRET_SEED = 2,
	KMIP_NAME_TEXT = 1,
	KMIP_QUERY_OPERATIONS = 1,
	KMIP_CESSATION_OF_OPERATION = 6,
	KMIP_MASK_ENCRYPT = 4,
	KMIP_MASK_DECRYPT = 8,
};

uint32_t kmip_operation_code(KmipOperation operation);

/* At least one byte, and none below `first` or above '~'. */
bool kmip_is_printable(const void *text, size_t size, uint8_t first);

#endif
