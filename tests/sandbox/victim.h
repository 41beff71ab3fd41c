/* SPDX-License-Identifier: Apache-2.0 */
/* What there is on a host for a role to get at: a process of the same user, with a memory, an
 * environment, listening sockets and shared memory. A new one for each attempt. */
#ifndef SEALIFT_TESTS_SANDBOX_VICTIM_H
#define SEALIFT_TESTS_SANDBOX_VICTIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

typedef struct Victim {
	pid_t pid;
	uint16_t port;	 /* TCP and UDP, of 127.0.0.1 */
	int segment;	 /* of System V shared memory; -1 if the kernel has none */
	uint8_t *secret; /* at the same address in both processes */
	int listeners[4];
} Victim;

/* Forks it; false if that fails. victim_end kills it and removes what it had. */
bool victim_start(Victim *ret_victim);
void victim_end(Victim *victim);

/* Where it listens: by a name in the file system, or an abstract one. *ret_size for bind(2). */
void victim_unix_address(const Victim *victim, bool abstract, struct sockaddr_un *ret_address,
			 socklen_t *ret_size);
/* Its message queue, mq_overview(7). */
void victim_queue_name(const Victim *victim, char ret_name[32]);

/* The one of this process: attempts take no argument. */
const Victim *victim_known(const Victim *set);

#endif
