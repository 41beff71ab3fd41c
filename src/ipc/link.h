/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link between two of our processes: a SOCK_SEQPACKET pair that carries typed messages of at most
 * 64 KiB with up to LIMIT_IPC_FDS descriptors. Message: be16 type, be16 zero, be64 subject (which
 * connection, channel or request it is about), payload by the type's schema.
 *
 * A rule table says which message the other side may send in which state; what breaks a rule ends
 * the link. After OpenSSH's monitor (monitor.c) and its "permitted when" flags.
 */
#ifndef SEALIFT_IPC_LINK_H
#define SEALIFT_IPC_LINK_H

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/schema.h"

enum { IPC_HEADER_BYTES = 12, IPC_STATES_MAX = 8 };

/* What one side may receive. The table ends with a row of type 0. */
typedef struct IpcRule {
	uint16_t type;
	const Schema *schema; /* NULL: no payload */
	uint8_t fds_min, fds_max;
	uint32_t states;    /* bit mask of states in which it is permitted */
	int8_t next_state;  /* state afterwards, or IPC_KEEP */
	const char *name;
} IpcRule;
enum { IPC_KEEP = -1 };
#define IPC_IN(state) (UINT32_C(1) << (state))
#define IPC_ANY UINT32_MAX

typedef struct IpcMessage {
	uint16_t type;
	uint64_t subject;
	void *payload;	/* decoded struct of the rule's schema, owned by the link until the next receive */
	int fds[LIMIT_IPC_FDS]; /* owned by the receiver: taken ones are set to -1, others are closed
				 * by ipc_message_clear */
	size_t fds_count;
} IpcMessage;

typedef struct IpcLink IpcLink;

/* Takes fd, also when it fails (else closed by ipc_link_free). `rules` are what this side receives; they outlive the link. */
IpcLink *ipc_link_new(int fd, const IpcRule *rules, Error *err);
void ipc_link_free(IpcLink *link);
DEFINE_CLEANUP(IpcLink, ipc_link, ipc_link_free)
#define AUTO_IPC_LINK CLEANUP(ipc_link_cleanup)
int ipc_link_fd(const IpcLink *link);
int ipc_link_state(const IpcLink *link);

/* Sends one message; blocks only if the descriptor does. Payload bytes are wiped from our buffers.
 * ERROR_UNAVAILABLE if the other side is gone, ERROR_LIMIT if its queue is full or it is too long. */
MUST_CHECK bool ipc_send(IpcLink *link, uint16_t type, uint64_t subject, const Schema *schema,
			 const void *payload, const int *fds, size_t n_fds, Error *err);

typedef enum IpcReceived { IPC_MESSAGE, IPC_NOTHING, IPC_CLOSED, IPC_BROKEN } IpcReceived;

/* Receives one message and checks it against the rules. IPC_NOTHING: would block. IPC_CLOSED: the
 * other side closed. IPC_BROKEN: *err says which rule was broken, or what the kernel
 * said; the link is dead from then on. */
MUST_CHECK IpcReceived ipc_receive(IpcLink *link, IpcMessage *ret_message, Error *err);
/* Wipes the payload and closes descriptors that were not taken. */
void ipc_message_clear(IpcMessage *message, IpcLink *link);

/* A connected close-on-exec SOCK_SEQPACKET pair with 256 KiB buffers. */
MUST_CHECK bool ipc_pair(int ret_fds[2], Error *err);

/* Passes descriptors over any UNIX socket (also SOCK_STREAM, with one byte of data). */
MUST_CHECK bool ipc_send_fd(int socket_fd, int fd, Error *err);

#endif
