/* SPDX-License-Identifier: Apache-2.0 */
/* programs/keylink/frame.c: what another host says on the key link. The first byte chooses which
 * side hears it. */
#include <stdlib.h>
#include <string.h>

#include "programs/keylink/conn.h"
#include "tests/fuzz/fuzz.h"

enum { REACHED_REQUEST, REACHED_ANSWER, REACHED_VALUE, REACHED_SECOND };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "a request", "an answer", "a value",
					     "a second message" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

/* What was taken can be said again, and is then taken as the same. */
static void say_again(const IpcRule *rules, const Frame *frame, const void *payload, void *again)
{
	Queue queue;
	Frame second;
	Error err = ERROR_INIT;

	if (!queue_init(&queue, CONN_QUEUE_BYTES, true, &err))
		return;
	if (!frame_put(&queue, frame->type, frame->subject, frame->rule->schema, payload,
		       frame->value, &err) ||
	    frame_peek(&queue, rules, &second, again, &err) != FRAME_WHOLE)
		fuzz_fail("what was taken is not taken again");
	if (second.type != frame->type || second.subject != frame->subject ||
	    !second.value != !frame->value ||
	    (frame->rule->schema && memcmp(payload, again, frame->rule->schema->struct_size) != 0))
		fuzz_fail("one message became another");
	queue_clear(&queue);
}

static void take_all(Queue *queue, const IpcRule *rules, bool answers, void *payload, void *again)
{
	size_t taken = 0;
	Frame frame;
	Error err = ERROR_INIT;

	while (frame_peek(queue, rules, &frame, payload, &err) == FRAME_WHOLE) {
		if (frame.size > queue->used)
			fuzz_fail("a message past its bytes");
		if (frame.value && (frame.value < queue->bytes ||
				    frame.value + KEY_PASSPHRASE_BYTES > queue->bytes + frame.size))
			fuzz_fail("a value past its message");
		fuzz_reached(answers ? REACHED_ANSWER : REACHED_REQUEST);
		if (frame.value)
			fuzz_reached(REACHED_VALUE);
		if (taken++)
			fuzz_reached(REACHED_SECOND);
		say_again(rules, &frame, payload, again);
		queue_take(queue, frame.size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool answers = size && data[0] & 1;
	const IpcRule *rules = answers ? keylink_manager_rules : keylink_host_rules;
	void *payload = calloc(1, frame_payload_size(rules)),
	     *again = calloc(1, frame_payload_size(rules));
	Error err = ERROR_INIT;
	Queue queue;

	if (payload && again && size && size <= CONN_QUEUE_BYTES &&
	    queue_init(&queue, CONN_QUEUE_BYTES, true, &err)) {
		queue_put(&queue, data + 1, size - 1);
		take_all(&queue, rules, answers, payload, again);
		queue_clear(&queue);
	}
	free(payload);
	free(again);
	return 0;
}
