/* SPDX-License-Identifier: Apache-2.0 */
/* Reproducible streams that stand for QEMU's. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/mover/rig.h"

enum { STREAM_BUFFER = 512 * 1024 };

/* xorshift64*: incompressible enough, and fast. */
static uint64_t next_word(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void fill(uint8_t *bytes, size_t size, uint64_t *state)
{
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t word = next_word(state);

		memcpy(bytes + i, &word, sizeof(word));
	}
}

static bool write_all(int fd, const uint8_t *bytes, size_t size, size_t piece)
{
	while (size) {
		ssize_t sent = send(fd, bytes, size < piece ? size : piece, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		bytes += sent;
		size -= (size_t)sent;
	}
	return true;
}

static void *run_writer(void *argument)
{
	RigStream *stream = argument;
	uint64_t state = stream->seed;
	uint8_t *bytes = malloc(STREAM_BUFFER);
	bool ok = bytes != NULL;

	if (ok)
		fill(bytes, STREAM_BUFFER, &state);
	while (ok && stream->moved < stream->bytes) {
		uint64_t left = stream->bytes - stream->moved;
		size_t part = left < STREAM_BUFFER ? (size_t)left : STREAM_BUFFER;

		ok = write_all(stream->fd, bytes, part, stream->piece ? stream->piece : part);
		stream->moved += ok ? part : 0;
		if (!stream->constant)
			fill(bytes, STREAM_BUFFER, &state);
	}
	stream->clean = ok;
	/* As QEMU closes: both ways, but only its own end. */
	shutdown(stream->fd, SHUT_WR);
	free(bytes);
	return NULL;
}

static void *run_reader(void *argument)
{
	RigStream *stream = argument;
	uint64_t state = stream->seed;
	uint8_t *bytes = malloc(STREAM_BUFFER);
	uint8_t *wanted = malloc(STREAM_BUFFER);
	ssize_t got = bytes && wanted ? 1 : -1;

	stream->same = true;
	while (got > 0) {
		got = recv(stream->fd, bytes, STREAM_BUFFER, stream->constant ? 0 : MSG_WAITALL);
		if (got <= 0)
			break;
		if (!stream->constant) {
			fill(wanted, STREAM_BUFFER, &state);
			stream->same = stream->same && !memcmp(bytes, wanted, (size_t)got);
		}
		stream->moved += (uint64_t)got;
	}
	stream->clean = got == 0;
	free(bytes);
	free(wanted);
	return NULL;
}

void rig_write_start(RigStream *stream)
{
	if (pthread_create(&stream->thread, NULL, run_writer, stream))
		abort();
}

void rig_read_start(RigStream *stream)
{
	if (pthread_create(&stream->thread, NULL, run_reader, stream))
		abort();
}

void rig_stream_join(RigStream *stream)
{
	pthread_join(stream->thread, NULL);
}
