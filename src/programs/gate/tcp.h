/* SPDX-License-Identifier: Apache-2.0 */
/* Small things about TCP sockets. */
#ifndef SEALIFT_PROGRAMS_GATE_TCP_H
#define SEALIFT_PROGRAMS_GATE_TCP_H

#include <sys/socket.h>

#include "programs/gate/gate.h"

/* TCP_NODELAY, keepalive, and LIMIT_SILENCE_MS until unacknowledged bytes end a connection: best
 * effort, since a socket without them still works. */
void tcp_tune(int fd);

/* The kernel's estimate of the round trip, microseconds; 0 if it has none. */
uint64_t tcp_rtt_us(int fd);

/* Text and key of an address; false if it is neither IPv4 nor IPv6. */
MUST_CHECK bool tcp_address(const struct sockaddr_storage *from, PeerAddress *ret_address);


#endif
