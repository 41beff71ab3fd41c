/* SPDX-License-Identifier: Apache-2.0 */
/* The simplest mover: bytes between two sockets, as they are. */
#ifndef SEALIFT_TESTS_VMM_RELAY_H
#define SEALIFT_TESTS_VMM_RELAY_H

struct event_base;

typedef struct Relay Relay;

/* Both sockets become the relay's. */
Relay *relay_new(struct event_base *base, int a_fd, int b_fd);
/* Reads no more, as a peer that hangs: who writes into it has to wait. */
void relay_stall(Relay *relay);
void relay_free(Relay *relay);

#endif
