/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keylink/frame.h"

#include "base/buffer.h"
#include "ipc/binary.h"

static bool put(Queue *queue, const Buffer *head, const Buffer *body, const uint8_t *value,
		Error *err)
{
	size_t size = head->used + body->used + (value ? KEY_PASSPHRASE_BYTES : 0);

	if (size > queue_room(queue))
		return error_set(err, ERROR_LIMIT, "%zu bytes do not fit behind %zu that wait",
				 size, queue->used);
	queue_put(queue, head->data, head->used);
	queue_put(queue, body->data, body->used);
	if (value)
		queue_put(queue, value, KEY_PASSPHRASE_BYTES);
	return true;
}

bool frame_put(Queue *queue, uint16_t type, uint64_t subject, const Schema *schema,
	       const void *payload, const uint8_t *value, Error *err)
{
	AUTO_BUFFER Buffer head = BUFFER_INIT(FRAME_LENGTH_BYTES + FRAME_HEADER_BYTES);
	AUTO_BUFFER Buffer body = BUFFER_INIT(LIMIT_IPC_MESSAGE - FRAME_HEADER_BYTES);
	uint16_t value_size = value ? KEY_PASSPHRASE_BYTES : 0;

	return (!schema || binary_encode(schema, payload, &body, err)) &&
	       buffer_put_be32(&head, (uint32_t)(FRAME_HEADER_BYTES + body.used + value_size),
			       err) &&
	       buffer_put_be16(&head, type, err) && buffer_put_be16(&head, value_size, err) &&
	       buffer_put_be64(&head, subject, err) && put(queue, &head, &body, value, err);
}

static const IpcRule *rule_of(const IpcRule *rules, uint16_t type)
{
	for (; rules->type; rules++)
		if (rules->type == type)
			return rules;
	return NULL;
}

static bool judge_header(const IpcRule *rules, uint32_t length, uint16_t value_size, Frame *frame,
			 Error *err)
{
	frame->rule = rule_of(rules, frame->type);
	if (!frame->rule)
		return error_set(err, ERROR_PEER, "a message of the unknown type %u", frame->type);
	if (value_size != (frame->rule->fds_min ? KEY_PASSPHRASE_BYTES : 0))
		return error_set(err, ERROR_PEER, "a message \"%s\" with a value of %u bytes",
				 frame->rule->name, value_size);
	return length - FRAME_HEADER_BYTES >= value_size ||
	       error_set(err, ERROR_PEER, "a message \"%s\" of %u bytes has no room for its value",
			 frame->rule->name, length);
}

static bool decode(Reader *reader, uint16_t value_size, Frame *frame, void *ret_payload, Error *err)
{
	size_t size = reader->left - value_size;

	frame->value = value_size ? reader->data + size : NULL;
	if (!frame->rule->schema)
		return !size || error_set(err, ERROR_PEER, "a message \"%s\" with a payload",
					  frame->rule->name);
	return binary_decode(frame->rule->schema, reader->data, size, ret_payload, err) ||
	       error_prefix(err, "a message \"%s\"", frame->rule->name);
}

FrameGot frame_peek(const Queue *queue, const IpcRule *rules, Frame *ret_frame, void *ret_payload,
		    Error *err)
{
	Reader reader = reader_of(queue->bytes, queue->used);
	uint16_t value_size = 0;
	uint32_t length = 0;

	*ret_frame = (Frame){ 0 };
	if (!reader_get_be32(&reader, &length))
		return FRAME_PART;
	if (length < FRAME_HEADER_BYTES || length > FRAME_MAX) {
		error_set(err, ERROR_PEER, "a message of %u bytes: %d to %d are allowed", length,
			  FRAME_HEADER_BYTES, FRAME_MAX);
		return FRAME_BROKEN;
	}
	if (reader.left < length)
		return FRAME_PART;
	reader.left = length;
	ret_frame->size = FRAME_LENGTH_BYTES + length;
	return reader_get_be16(&reader, &ret_frame->type) &&
			       reader_get_be16(&reader, &value_size) &&
			       reader_get_be64(&reader, &ret_frame->subject) &&
			       judge_header(rules, length, value_size, ret_frame, err) &&
			       decode(&reader, value_size, ret_frame, ret_payload, err)
		       ? FRAME_WHOLE
		       : FRAME_BROKEN;
}

size_t frame_payload_size(const IpcRule *rules)
{
	size_t largest = 1;

	for (; rules->type; rules++)
		if (rules->schema && rules->schema->struct_size > largest)
			largest = rules->schema->struct_size;
	return largest;
}
