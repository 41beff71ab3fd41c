/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay between a real NBD client and a real server, with the guard of both sides in the path, as
 * two movers have them:
 *
 *	run_nbd LISTEN CONNECT EXPORT SIZE receive|read-write PIECE both|source|destination
 *
 * says "ready" and takes one connection on the UNIX socket LISTEN. It reads at most PIECE bytes at
 * a time. The last word says who has a guard: a side that lies has none. At the end it writes one
 * line: the counters of a guard, or why it was refused ("SIDE: text"); exit status 0 or 1.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "nbd/nbd_guard.h"

enum { PIECE_MAX = 1 << 20 };

typedef struct Relay {
	NbdGuard *source, *destination; /* NULL: that side has none */
	int client_fd, server_fd;
	size_t piece;
	pthread_mutex_t lock;
	char refusal[ERROR_TEXT_SIZE + 32]; /* the first */
} Relay;

typedef struct Flow {
	Relay *relay;
	NbdFrom from;
	NbdGuard *own, *peer; /* of the speaker's side, and of the other */
	const char *peer_name;
	int in_fd, out_fd;
} Flow;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(2);
}

static void refuse(Relay *relay, const char *side, const Error *err)
{
	pthread_mutex_lock(&relay->lock);
	if (!relay->refusal[0])
		snprintf(relay->refusal, sizeof(relay->refusal), "%s: %s", side, err->text);
	pthread_mutex_unlock(&relay->lock);
	shutdown(relay->client_fd, SHUT_RDWR);
	shutdown(relay->server_fd, SHUT_RDWR);
}

static bool send_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		bytes += sent;
		size -= (size_t)sent;
	}
	return true;
}

/* What passed its own side's guard goes over the wire to the other's, and on from there. */
static bool pass(Flow *flow, Buffer *window, const uint8_t *bytes, size_t size)
{
	Error err = ERROR_INIT;
	size_t taken = size;

	if (flow->own && !nbd_guard_watch(flow->own, flow->from, bytes, size, &err)) {
		refuse(flow->relay, "own side", &err);
		return false;
	}
	if (!buffer_put(window, bytes, size, &err) ||
	    (flow->peer &&
	     !nbd_guard_take(flow->peer, flow->from, window->data, window->used, &taken, &err))) {
		refuse(flow->relay, flow->peer_name, &err);
		return false;
	}
	if (!send_all(flow->out_fd, window->data, taken))
		return false;
	buffer_consume(window, taken);
	return true;
}

static void *run_flow(void *context)
{
	Flow *flow = context;
	AUTO_BUFFER Buffer window = BUFFER_INIT(PIECE_MAX + NBD_GUARD_WINDOW);
	AUTO_FREE uint8_t *bytes = malloc(flow->relay->piece);
	Error err = ERROR_INIT;
	ssize_t got;

	if (!bytes)
		die("malloc");
	for (;;) {
		got = recv(flow->in_fd, bytes, flow->relay->piece, 0);
		if (got <= 0)
			break;
		if (!pass(flow, &window, bytes, (size_t)got))
			return NULL;
	}
	if (flow->own && !nbd_guard_end(flow->own, flow->from, 0, &err))
		refuse(flow->relay, "own side", &err);
	else if (flow->peer && !nbd_guard_end(flow->peer, flow->from, window.used, &err))
		refuse(flow->relay, flow->peer_name, &err);
	shutdown(flow->out_fd, SHUT_WR);
	return NULL;
}

static int unix_socket(const char *path, struct sockaddr_un *ret_address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s", path);
	return fd;
}

static void connect_both(Relay *relay, const char *listen_path, const char *connect_path)
{
	struct sockaddr_un address;
	int listener = unix_socket(listen_path, &address);

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0)
		die(listen_path);
	puts("ready");
	fflush(stdout);
	relay->client_fd = accept(listener, NULL, NULL);
	relay->server_fd = unix_socket(connect_path, &address);
	if (relay->client_fd < 0 ||
	    connect(relay->server_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(connect_path);
	close(listener);
}

static NbdGuard *new_guard(NbdFrom own, const char *name, char **argv)
{
	NbdGuardOptions options = {
		.own = own,
		.access = strcmp(argv[5], "receive") == 0 ? NBD_ACCESS_RECEIVE
							  : NBD_ACCESS_READ_WRITE,
		.size_bytes = strtoull(argv[4], NULL, 10),
	};
	Error err = ERROR_INIT;
	NbdGuard *guard;

	if (strcmp(argv[7], "both") != 0 && strcmp(argv[7], name) != 0)
		return NULL;
	snprintf(options.export_name, sizeof(options.export_name), "%s", argv[3]);
	guard = nbd_guard_new(&options, &err);
	if (!guard) {
		fprintf(stderr, "run_nbd: %s\n", err.text);
		exit(2);
	}
	return guard;
}

static int tell(Relay *relay)
{
	NbdGuardCounters c;

	if (relay->refusal[0]) {
		puts(relay->refusal);
		return 1;
	}
	nbd_guard_counters(relay->destination ? relay->destination : relay->source, &c);
	printf("requests=%llu written=%llu zeroed=%llu read=%llu errors=%llu most=%llu "
	       "most_bytes=%llu\n",
	       (unsigned long long)c.requests, (unsigned long long)c.written_bytes,
	       (unsigned long long)c.zeroed_bytes, (unsigned long long)c.read_bytes,
	       (unsigned long long)c.errors, (unsigned long long)c.in_flight_most,
	       (unsigned long long)c.in_flight_bytes_most);
	return 0;
}

int main(int argc, char **argv)
{
	Relay relay = { .lock = PTHREAD_MUTEX_INITIALIZER };
	AUTO_NBD_GUARD NbdGuard *source = NULL, *destination = NULL;
	pthread_t thread;
	Flow flows[NBD_FROM_COUNT];

	if (argc != 8) {
		fprintf(stderr, "usage: run_nbd LISTEN CONNECT EXPORT SIZE ACCESS PIECE WHO\n");
		return 2;
	}
	relay.piece = strtoull(argv[6], NULL, 10);
	if (!relay.piece || relay.piece > PIECE_MAX)
		return 2;
	relay.source = source = new_guard(NBD_FROM_CLIENT, "source", argv);
	relay.destination = destination = new_guard(NBD_FROM_SERVER, "destination", argv);
	if (!source && !destination)
		return 2;
	connect_both(&relay, argv[1], argv[2]);
	flows[NBD_FROM_CLIENT] =
		(Flow){ &relay,	       NBD_FROM_CLIENT, source,		destination,
			"destination", relay.client_fd, relay.server_fd };
	flows[NBD_FROM_SERVER] = (Flow){ &relay,   NBD_FROM_SERVER, destination,    source,
					 "source", relay.server_fd, relay.client_fd };
	if (pthread_create(&thread, NULL, run_flow, &flows[NBD_FROM_CLIENT]))
		die("pthread_create");
	run_flow(&flows[NBD_FROM_SERVER]);
	pthread_join(thread, NULL);
	return tell(&relay);
}
