/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a virtio device: one byte of queue pairs, then the field. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "qemustream/virtio_state.h"

enum { REACHED_STATE, REACHED_QUEUES, REACHED_NET, REACHED_PAIRS, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = { "state", "queues", "network",
							  "queue pairs" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static void check(const VirtioState *state, const uint8_t *data, size_t size)
{
	if (state->shape.queues > VIRTIO_QUEUES_MAX || state->shape.vectors > VIRTIO_VECTORS_MAX ||
	    state->rest_bytes > size || state->rest != data + size - state->rest_bytes)
		fuzz_fail("a state past its bounds");
	for (uint32_t i = 0; i < state->shape.queues; i++) {
		const VirtioQueue *queue = &state->queues[i];

		if (queue->size < 1 || queue->size > VIRTIO_QUEUE_SIZE_MAX ||
		    (queue->vector != VIRTIO_NO_VECTOR && queue->vector >= state->shape.vectors))
			fuzz_fail("a queue past its bounds");
		fuzz_reached(REACHED_QUEUES);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static VirtioState state, again;
	const uint16_t pairs = size ? data[0] : 0;
	VirtioNetState net;
	Error err = ERROR_INIT;

	if (!size || !virtio_state_decode(data + 1, size - 1, NULL, &state, &err))
		return 0;
	fuzz_reached(REACHED_STATE);
	check(&state, data + 1, size - 1);
	if (!virtio_state_decode(data + 1, size - 1, &state.shape, &again, &err))
		fuzz_fail("a state that does not have the shape it has");
	if (!virtio_net_state_decode(&state, pairs, &net, &err))
		return 0;
	fuzz_reached(REACHED_NET);
	if (net.pairs < 1 || (net.pairs > 1 && net.pairs > pairs) ||
	    net.macs > VIRTIO_NET_MACS_MAX || net.rest_offset > state.rest_bytes)
		fuzz_fail("a network state past its bounds");
	if (pairs > 1)
		fuzz_reached(REACHED_PAIRS);
	return 0;
}
