/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that wait, in memory of fixed size that is never dumped, nor swapped where values are among
 * them. What is taken is wiped. */
#ifndef SEALIFT_PROGRAMS_KEYLINK_QUEUE_H
#define SEALIFT_PROGRAMS_KEYLINK_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

typedef struct Queue {
	uint8_t *bytes; /* NULL: not made */
	size_t size, used;
} Queue;

/* Locked in memory, or not: what holds no values need not be. ERROR_INTERNAL without memory,
 * ERROR_IO if it cannot be locked. Released by queue_clear, which a queue of zeros may be given
 * too. */
MUST_CHECK bool queue_init(Queue *queue, size_t size_bytes, bool locked, Error *err);
void queue_clear(Queue *queue);
size_t queue_room(const Queue *queue);
/* `size` is at most the room. */
void queue_put(Queue *queue, const void *data, size_t size);
/* Drops `size` bytes, of those that are used, from the front. */
void queue_take(Queue *queue, size_t size);

#endif
