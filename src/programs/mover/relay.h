/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that move a channel's bytes. In place, in one buffer for each thread: out, from
 * QEMU's socket into the buffer, sealed there, to TCP; in, from TCP into the buffer, opened there,
 * judged by the filter, to QEMU's socket.
 */
#ifndef SEALIFT_PROGRAMS_MOVER_RELAY_H
#define SEALIFT_PROGRAMS_MOVER_RELAY_H

#include "programs/mover/session.h"

/* Maps the buffers and starts both threads of each of the first `channels` channels of the stream
 * and of the first `disks` of disks. They wait until their channel is proven. On failure
 * session_clear joins those that were started. */
MUST_CHECK bool relay_start_threads(Session *session, size_t channels, size_t disks, Error *err);
/* Releases the buffers, after all threads were joined. */
void relay_free_buffers(Session *session);

#endif
