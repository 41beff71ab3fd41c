/* SPDX-License-Identifier: Apache-2.0 */
/* Is a secret left somewhere in this process? */
#ifndef SEALIFT_TESTS_FIXTURE_MEMORY_H
#define SEALIFT_TESTS_FIXTURE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Inverts each byte: what is looked for is kept so, or it would find itself. */
void fixture_memory_invert(const void *bytes, size_t size, uint8_t *ret_inverted);

/* How often the bytes that were inverted stand in all memory that this process may write: heap,
 * stacks (also below the stack pointer), data, mappings of up to 256 MiB. */
size_t fixture_memory_count(const uint8_t *inverted, size_t size);

#endif
