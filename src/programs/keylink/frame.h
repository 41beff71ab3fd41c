/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message of the key link between two hosts (PROTOCOL.md, "The key link"), inside TLS:
 *
 *	be32 length of what follows | be16 type | be16 bytes of value | be64 subject | payload |
 *value
 *
 * Payload: the binary codec of the type's schema (ipc/binary.h). Value: KEY_PASSPHRASE_BYTES of a
 * key that was opened, for the one type that has it; else none.
 */
#ifndef SEALIFT_PROGRAMS_KEYLINK_FRAME_H
#define SEALIFT_PROGRAMS_KEYLINK_FRAME_H

#include "keys/key.h"
#include "programs/keylink/queue.h"
#include "role/keylink_messages.h"

enum {
	FRAME_LENGTH_BYTES = 4,
	FRAME_HEADER_BYTES = 12,			      /* that the length counts */
	FRAME_MAX = LIMIT_IPC_MESSAGE + KEY_PASSPHRASE_BYTES, /* so does it */
};

typedef struct Frame {
	uint16_t type;
	uint64_t subject;
	const IpcRule *rule;
	const uint8_t *value; /* KEY_PASSPHRASE_BYTES inside the queue, or NULL */
	size_t size;	      /* of all of it, to be dropped from the queue when it was used */
} Frame;

/* Appends one message to the queue; `value` is KEY_PASSPHRASE_BYTES or NULL. ERROR_LIMIT if there
 * is no room, ERROR_PEER if the payload breaks its schema: nothing is appended then. */
MUST_CHECK bool frame_put(Queue *queue, uint16_t type, uint64_t subject, const Schema *schema,
			  const void *payload, const uint8_t *value, Error *err);

typedef enum FrameGot { FRAME_WHOLE, FRAME_PART, FRAME_BROKEN } FrameGot;

/* Looks at the first message of the queue. FRAME_WHOLE: *ret_frame, and its payload decoded and
 * checked into ret_payload (frame_payload_size(rules) bytes). FRAME_PART: more bytes are needed.
 * FRAME_BROKEN: *err (ERROR_PEER) says what was wrong; the length is judged as soon as it is there.
 */
MUST_CHECK FrameGot frame_peek(const Queue *queue, const IpcRule *rules, Frame *ret_frame,
			       void *ret_payload, Error *err);

/* Of the largest struct that these rules let in. */
size_t frame_payload_size(const IpcRule *rules);

#endif
