/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mover/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "wire/preamble.h"

/* Outside cmocka too (the benchmark uses this file): a broken rig ends the program. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

enum { DISK_BYTES = 1 << 20 };

static void require_ok(bool ok, const Error *err, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, err->text);
	abort();
}

const char *rig_program(void)
{
	const char *path = getenv("SEALIFT_TEST_MOVER");

	REQUIRE(path);
	return path;
}

unsigned int rig_channels(const Rig *rig)
{
	return rig->options.channels + rig->options.disks;
}

unsigned int rig_channel(const Rig *rig, unsigned int i)
{
	return i < rig->options.channels ? i : LIMIT_STREAM_CHANNELS + i - rig->options.channels;
}

static void become_mover(const RigOptions *options, MoverSide side, int link_fd)
{
	bool other = side == MOVER_DESTINATION && options->other_path;
	const char *path = other ? options->other_path : options->path;
	char channels[16], disks[16];
	const char *argv[8] = { path, "--channels", channels, "--disks", disks };

	snprintf(channels, sizeof(channels), "%u", options->channels);
	snprintf(disks, sizeof(disks), "%u", options->disks);
	if (options->user) {
		argv[5] = "--user";
		argv[6] = options->user;
	}
	if (dup2(link_fd, ROLE_LINK_FD) < 0)
		_exit(127);
	/* dup2 to itself keeps close-on-exec */
	fcntl(ROLE_LINK_FD, F_SETFD, 0);
	close_range(ROLE_LINK_FD + 1, ~0U, 0);
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void start_mover(Rig *rig, MoverSide side)
{
	RigMover *mover = &rig->movers[side];
	Error err = ERROR_INIT;
	int pair[2];

	require_ok(ipc_pair(pair, &err), &err, "pair");
	mover->pid = fork();
	REQUIRE(mover->pid >= 0);
	if (!mover->pid)
		become_mover(&rig->options, side, pair[1]);
	close(pair[1]);
	mover->link = ipc_link_new(pair[0], engine_mover_rules, &err);
	require_ok(mover->link != NULL, &err, "link");
}

static void note_ended(RigMover *mover, const IpcMessage *message)
{
	const MoverEnded *ended = message->payload;

	REQUIRE(message->subject < LIMIT_CHANNELS);
	mover->ended[ended->outbound][message->subject] = true;
	mover->ended_bytes[ended->outbound][message->subject] = ended->bytes;
}

static void note_message(RigMover *mover, const IpcMessage *message, bool *ready)
{
	switch (message->type) {
	case ROLE_READY:
		*ready = true;
		break;
	case ROLE_FAILED:
		if (message->subject & VIOLATION_WARNED) {
			mover->warned++;
		} else {
			mover->failed = true;
			mover->failed_channel = message->subject & VIOLATION_CHANNEL;
		}
		mover->failed_subject = message->subject;
		mover->failure = *(const RoleFailure *)message->payload;
		break;
	case MOVER_PROVEN:
		mover->proven++;
		break;
	case MOVER_ENDED:
		note_ended(mover, message);
		break;
	case MOVER_DONE:
		mover->done = true;
		mover->stats = *(const MoverStats *)message->payload;
		break;
	case MOVER_STATS:
		mover->have_stats = true;
		mover->stats = *(const MoverStats *)message->payload;
		break;
	default:
		REQUIRE(!"a message that the rules forbid");
	}
}

static bool poll_mover(RigMover *mover, int timeout_ms, bool *ready)
{
	struct pollfd row = { .fd = ipc_link_fd(mover->link), .events = POLLIN };
	IpcMessage message;
	Error err = ERROR_INIT;

	if (mover->gone || poll(&row, 1, timeout_ms) <= 0)
		return false;
	switch (ipc_receive(mover->link, &message, &err)) {
	case IPC_MESSAGE:
		note_message(mover, &message, ready);
		ipc_message_clear(&message, mover->link);
		return true;
	case IPC_CLOSED:
		mover->gone = true;
		return true;
	case IPC_NOTHING:
		return false;
	case IPC_BROKEN:
	default:
		require_ok(false, &err, "message of a mover");
		return false;
	}
}

bool rig_poll(Rig *rig, MoverSide side, int timeout_ms)
{
	bool ready;

	return poll_mover(&rig->movers[side], timeout_ms, &ready);
}

static void refuse_surprise(const RigMover *mover, MoverSide side, const bool *flag)
{
	if (mover->failed && flag != &mover->failed && flag != &mover->gone) {
		fprintf(stderr, "mover %d failed: channel %llu: %s\n", (int)side,
			(unsigned long long)mover->failed_channel, mover->failure.text);
		abort();
	}
	REQUIRE(!mover->gone || flag == &mover->gone);
}

void rig_wait(Rig *rig, MoverSide side, const bool *flag)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + RIG_DEADLINE_MS * 1000;

	while (!*flag) {
		int64_t left_us = deadline_us - clock_monotonic_us(&clock_system);

		REQUIRE(left_us > 0);
		rig_poll(rig, side, (int)(left_us / 1000) + 1);
		refuse_surprise(&rig->movers[side], side, flag);
	}
}

void rig_wait_proven(Rig *rig, MoverSide side, unsigned int count)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + RIG_DEADLINE_MS * 1000;

	while (rig->movers[side].proven < count) {
		REQUIRE(clock_monotonic_us(&clock_system) < deadline_us);
		rig_poll(rig, side, 100);
		refuse_surprise(&rig->movers[side], side, NULL);
	}
}

void rig_send(Rig *rig, MoverSide side, uint16_t type, uint64_t subject, const Schema *schema,
	      const void *payload)
{
	Error err = ERROR_INIT;

	require_ok(ipc_send(rig->movers[side].link, type, subject, schema, payload, NULL, 0, &err),
		   &err, "send");
}

static void send_fd(Rig *rig, MoverSide side, uint16_t type, uint64_t subject, const Schema *schema,
		    const void *payload, int fd)
{
	Error err = ERROR_INIT;

	require_ok(ipc_send(rig->movers[side].link, type, subject, schema, payload, &fd, 1, &err),
		   &err, "send descriptor");
	close(fd);
}

static void wait_ready(Rig *rig, MoverSide side)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + RIG_DEADLINE_MS * 1000;
	bool ready = false;

	while (!ready) {
		REQUIRE(clock_monotonic_us(&clock_system) < deadline_us);
		poll_mover(&rig->movers[side], 100, &ready);
		refuse_surprise(&rig->movers[side], side, NULL);
	}
}

static void send_setup(Rig *rig, MoverSide side)
{
	const RigOptions *options = &rig->options;
	MoverSetup setup = {
		.side = side,
		.sealed = options->sealed,
		.channels = options->channels,
		.disks_count = options->disks,
		.guard = side == MOVER_SOURCE ? options->source_guard : MOVER_GUARD_OFF,
		.bandwidth_bytes_s = side == MOVER_SOURCE ? options->bandwidth_bytes_s : 0,
	};

	for (unsigned int i = 0; i < options->disks; i++) {
		snprintf(setup.disks[i].export_name, sizeof(setup.disks[i].export_name), "disk-%u",
			 i);
		setup.disks[i].size_bytes =
			options->disk_size_bytes ? options->disk_size_bytes : DISK_BYTES;
	}
	snprintf(setup.aead, sizeof(setup.aead), "%s", options->aead);
	memcpy(setup.secret, rig->secret, sizeof(setup.secret));
	setup.secret[47] ^= options->wrong_key && side == MOVER_SOURCE;
	memcpy(setup.routing, rig->routing, sizeof(setup.routing));
	rig_send(rig, side, MOVER_SETUP, 0, &mover_setup_schema, &setup);
}

void rig_start(Rig *rig, const RigOptions *options)
{
	memset(rig, 0, sizeof(*rig));
	signal(SIGPIPE, SIG_IGN);
	rig->options = *options;
	for (size_t i = 0; i < sizeof(rig->secret); i++)
		rig->secret[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(rig->routing); i++)
		rig->routing[i] = (uint8_t)(0xc0 + i);
	for (int side = 0; side < RIG_SIDES; side++)
		for (int i = 0; i < LIMIT_CHANNELS; i++)
			rig->qemu[side][i] = -1;
	for (int side = 0; side < RIG_SIDES; side++) {
		start_mover(rig, (MoverSide)side);
		wait_ready(rig, (MoverSide)side);
		send_setup(rig, (MoverSide)side);
	}
}

static void stop_relay(RigRelay *relay)
{
	if (!relay->running)
		return;
	shutdown(relay->source_fd, SHUT_RDWR);
	shutdown(relay->destination_fd, SHUT_RDWR);
	for (int i = 0; i < 2; i++)
		pthread_join(relay->threads[i], NULL);
	close(relay->source_fd);
	close(relay->destination_fd);
	relay->running = false;
}

void rig_stop(Rig *rig)
{
	for (int side = 0; side < RIG_SIDES; side++) {
		RigMover *mover = &rig->movers[side];
		int status;

		ipc_link_free(mover->link);
		REQUIRE(waitpid(mover->pid, &status, 0) == mover->pid);
		if (!mover->gone)
			REQUIRE(status == 0);
	}
	for (int i = 0; i < LIMIT_CHANNELS; i++)
		stop_relay(&rig->relays[i]);
	for (int side = 0; side < RIG_SIDES; side++)
		for (int i = 0; i < LIMIT_CHANNELS; i++)
			if (rig->qemu[side][i] >= 0)
				close(rig->qemu[side][i]);
}

void rig_tcp_pair(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *generic = (struct sockaddr *)(void *)&address;
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	REQUIRE(listener >= 0 && !bind(listener, generic, size) && !listen(listener, 1) &&
		!getsockname(listener, generic, &size));
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	REQUIRE(fds[0] >= 0 && !connect(fds[0], generic, size));
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	REQUIRE(fds[1] >= 0);
	close(listener);
}

void rig_give_local(Rig *rig, MoverSide side, unsigned int channel, int fd)
{
	send_fd(rig, side, MOVER_LOCAL, channel, NULL, NULL, fd);
}

void rig_connect_local(Rig *rig, MoverSide side, unsigned int channel)
{
	int pair[2];

	REQUIRE(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	rig->qemu[side][channel] = pair[0];
	rig_give_local(rig, side, channel, pair[1]);
}

void rig_give_source(Rig *rig, unsigned int channel, int fd)
{
	RolePreamble preamble = { .channel = channel };

	memcpy(preamble.routing, rig->routing, sizeof(preamble.routing));
	send_fd(rig, MOVER_SOURCE, MOVER_NETWORK, channel, &role_preamble_schema, &preamble, fd);
}

void rig_give_destination(Rig *rig, unsigned int channel, int fd)
{
	uint8_t bytes[PREAMBLE_SIZE];
	Preamble preamble;
	RolePreamble role;
	Error err = ERROR_INIT;

	REQUIRE(recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == PREAMBLE_SIZE);
	require_ok(preamble_decode(bytes, &preamble, &err), &err, "preamble");
	role = (RolePreamble){ .channel = preamble.channel, .generation = preamble.generation };
	memcpy(role.routing, preamble.routing, sizeof(role.routing));
	memcpy(role.source_nonce, preamble.source_nonce, sizeof(role.source_nonce));
	REQUIRE(role.channel == channel);
	send_fd(rig, MOVER_DESTINATION, MOVER_NETWORK, channel, &role_preamble_schema, &role, fd);
}

void rig_connect_all(Rig *rig)
{
	for (unsigned int i = 0; i < rig_channels(rig); i++) {
		unsigned int channel = rig_channel(rig, i);

		rig_connect_network(rig, channel);
		if (i >= rig->options.channels && rig->options.disks_late)
			continue;
		rig_connect_local(rig, MOVER_SOURCE, channel);
		rig_connect_local(rig, MOVER_DESTINATION, channel);
	}
	rig_wait_proven(rig, MOVER_SOURCE, rig_channels(rig));
	rig_wait_proven(rig, MOVER_DESTINATION, rig_channels(rig));
}
