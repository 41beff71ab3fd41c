/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { QUEUE_BYTES = 1 << 20 };

struct Relay {
	struct bufferevent *ends[2];
	bool ended[2]; /* nothing more comes from it */
	bool stalled;
};

static int index_of(const Relay *relay, const struct bufferevent *end)
{
	return relay->ends[1] == end;
}

static void pass_end(Relay *relay, int from)
{
	struct bufferevent *to = relay->ends[!from];

	if (relay->ended[from] && !evbuffer_get_length(bufferevent_get_output(to)))
		shutdown(bufferevent_getfd(to), SHUT_WR);
}

static void on_read(struct bufferevent *end, void *context)
{
	Relay *relay = context;
	struct bufferevent *to = relay->ends[!index_of(relay, end)];

	evbuffer_add_buffer(bufferevent_get_output(to), bufferevent_get_input(end));
	if (evbuffer_get_length(bufferevent_get_output(to)) > QUEUE_BYTES)
		bufferevent_disable(end, EV_READ);
}

static void on_written(struct bufferevent *end, void *context)
{
	Relay *relay = context;
	int from = !index_of(relay, end);

	if (!relay->ended[from] && !relay->stalled)
		bufferevent_enable(relay->ends[from], EV_READ);
	pass_end(relay, from);
}

static void on_end(struct bufferevent *end, short what, void *context)
{
	Relay *relay = context;
	int from = index_of(relay, end);

	/* One end that is broken for good breaks the other. */
	if (what & BEV_EVENT_ERROR)
		shutdown(bufferevent_getfd(relay->ends[!from]), SHUT_RDWR);
	relay->ended[from] = true;
	bufferevent_disable(end, EV_READ);
	pass_end(relay, from);
}

Relay *relay_new(struct event_base *base, int a_fd, int b_fd)
{
	Relay *relay = calloc(1, sizeof(*relay));
	int fds[2] = { a_fd, b_fd };

	for (int i = 0; i < 2; i++) {
		relay->ends[i] = bufferevent_socket_new(base, fds[i], BEV_OPT_CLOSE_ON_FREE);
		bufferevent_setcb(relay->ends[i], on_read, on_written, on_end, relay);
		bufferevent_enable(relay->ends[i], EV_READ | EV_WRITE);
	}
	return relay;
}

void relay_stall(Relay *relay)
{
	relay->stalled = true;
	bufferevent_disable(relay->ends[0], EV_READ);
	bufferevent_disable(relay->ends[1], EV_READ);
}

void relay_free(Relay *relay)
{
	if (!relay)
		return;
	bufferevent_free(relay->ends[0]);
	bufferevent_free(relay->ends[1]);
	free(relay);
}
