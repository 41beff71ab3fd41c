/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keylink/queue.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

bool queue_init(Queue *queue, size_t size_bytes, bool locked, Error *err)
{
	void *bytes =
		mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*queue = (Queue){ 0 };
	if (bytes == MAP_FAILED)
		return error_set_errno(err, ERROR_INTERNAL, errno, "no memory for a connection");
	if ((locked && mlock(bytes, size_bytes)) || madvise(bytes, size_bytes, MADV_DONTDUMP)) {
		error_set_errno(err, ERROR_IO, errno, "cannot lock %zu bytes for a connection",
				size_bytes);
		munmap(bytes, size_bytes);
		return false;
	}
	*queue = (Queue){ .bytes = bytes, .size = size_bytes };
	return true;
}

void queue_clear(Queue *queue)
{
	if (queue->bytes) {
		explicit_bzero(queue->bytes, queue->size);
		munmap(queue->bytes, queue->size);
	}
	*queue = (Queue){ 0 };
}

size_t queue_room(const Queue *queue)
{
	return queue->size - queue->used;
}

void queue_put(Queue *queue, const void *data, size_t size)
{
	assert(size <= queue_room(queue));
	if (size)
		memcpy(queue->bytes + queue->used, data, size);
	queue->used += size;
}

void queue_take(Queue *queue, size_t size)
{
	assert(size <= queue->used);
	memmove(queue->bytes, queue->bytes + size, queue->used - size);
	queue->used -= size;
	explicit_bzero(queue->bytes + queue->used, size);
}
