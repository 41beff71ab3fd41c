/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "programs/mover/proof.h"
#include "programs/mover/session.h"
#include "tests/fault/fault.h"

static const RecordOptions options = { .sealed = true, .padding = 64, .limits = { 4, 1 << 16 } };
static const uint8_t fixed[KEYS_TRAFFIC_SIZE] = { 1, 2, 3 };

static const AeadProvider *provider(void)
{
	return aead_provider_by_name("openssl");
}

/* --- records --- */

static bool cross(RecordSealer *sealer, RecordOpener *opener, uint8_t *buffer, bool is_data,
		  Error *err)
{
	static const char text[] = "guest memory";
	uint8_t *at = buffer;
	size_t size, rest;
	RecordView record;

	memcpy(buffer + RECORD_HEADER_SIZE, text, sizeof(text));
	if (is_data ? !record_seal_data(sealer, buffer, sizeof(text), &size, err)
		    : !record_seal_ping(sealer, buffer, &size, err))
		return false;
	/* A key update may stand behind it. */
	while (at < buffer + size) {
		if (!record_check_header(at, &rest, err) ||
		    !record_open(opener, at, rest, &record, err))
			return false;
		if (record.type == RECORD_DATA && memcmp(record.content, text, sizeof(text)) != 0)
			return fault_wrong(err, "other bytes arrived");
		at += RECORD_HEADER_SIZE + rest;
	}
	return true;
}

static bool use_records(void *fixture, Error *err)
{
	enum { RECORDS = 10 };
	uint8_t *buffer = fixture;
	AUTO_RECORD_SEALER RecordSealer *sealer = NULL;
	AUTO_RECORD_OPENER RecordOpener *opener = NULL;
	Secret *traffic = secret_new_from(fixed, sizeof(fixed), err);

	if (!traffic)
		return false;
	sealer = record_sealer_new(provider(), traffic, &options, err);
	traffic = sealer ? secret_new_from(fixed, sizeof(fixed), err) : NULL;
	if (!traffic)
		return false;
	opener = record_opener_new(provider(), traffic, &options, err);
	if (!opener)
		return false;
	for (int i = 0; i < RECORDS; i++)
		if (!cross(sealer, opener, buffer, i > 0, err))
			return false;
	return true;
}

static void *buffer_new(void)
{
	void *buffer = malloc(RECORD_BUFFER_SIZE);
	Error err = ERROR_INIT;

	fault_must(buffer, &err);
	return buffer;
}

/* --- the proof of a connection, both sides --- */

static bool read_preamble(int fd, RolePreamble *role, Error *err)
{
	uint8_t bytes[PREAMBLE_SIZE];
	Preamble preamble;

	if (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) != (ssize_t)sizeof(bytes))
		return error_set(err, ERROR_IO, "the preamble is not there");
	if (!preamble_decode(bytes, &preamble, err))
		return false;
	memcpy(role->source_nonce, preamble.source_nonce, sizeof(role->source_nonce));
	return true;
}

static bool prove(const Secret *prk, int fds[2], Error *err)
{
	enum { SECOND_US = 1000000 };
	const ProofContext source = { MOVER_SOURCE, prk, provider(), options, { 9 } };
	const ProofContext destination = { MOVER_DESTINATION, prk, provider(), options, { 9 } };
	int64_t deadline_us = clock_monotonic_us(&clock_system) + SECOND_US;
	RolePreamble role = { .routing = { 9 }, .channel = 1 };
	AUTO_PROOF Proof *a = proof_new(&source, TAKE_FD(fds[0]), &role, deadline_us, err);
	AUTO_PROOF Proof *b = NULL;

	if (!a || !read_preamble(fds[1], &role, err))
		return false;
	b = proof_new(&destination, TAKE_FD(fds[1]), &role, deadline_us, err);
	if (!b)
		return false;
	switch (proof_on_readable(a, &source, err)) {
	case PROOF_DONE:
		break;
	case PROOF_PENDING:
		return fault_wrong(err, "the source has no proof");
	case PROOF_FAILED:
		return false;
	}
	switch (proof_on_readable(b, &destination, err)) {
	case PROOF_DONE:
		return true;
	case PROOF_PENDING:
		return fault_wrong(err, "the destination has no proof");
	case PROOF_FAILED:
		break;
	}
	return false;
}

static bool use_proof(void *fixture, Error *err)
{
	static const uint8_t bytes[KEYS_PRK_SIZE] = { 4 };
	AUTO_SECRET Secret *prk = secret_new_from(bytes, sizeof(bytes), err);
	int fds[2];
	bool ok;

	(void)fixture;
	if (!prk)
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return error_set(err, ERROR_IO, "no socket pair");
	ok = prove(prk, fds, err);
	cleanup_fd(&fds[0]);
	cleanup_fd(&fds[1]);
	return ok;
}

/* --- a session at the source, as the engine begins it; without threads --- */

static bool begin_session(Session *session, int network_fd, Error *err)
{
	MoverSetup setup = {
		.side = MOVER_SOURCE,
		.sealed = true,
		.channels = 1,
		.disks = { { "disk-0", 1 << 20 }, { "disk-1", 1 << 20 } },
		.disks_count = 2,
		.aead = "openssl",
	};
	RolePreamble preamble = { .channel = 0 };
	IpcMessage on_setup = { .type = MOVER_SETUP, .payload = &setup };
	IpcMessage on_network = {
		.type = MOVER_NETWORK, .payload = &preamble, .fds = { network_fd }, .fds_count = 1
	};
	bool ok = session_on_message(session, &on_setup, err) &&
		  session_on_message(session, &on_network, err);

	/* What was not taken is the receiver's to close. */
	cleanup_fd(&on_network.fds[0]);
	/* A connection that failed is told to the engine, not returned. */
	if (ok && session->failed)
		*err = session->failure;
	return session_report(session, err) && ok && !session->failed;
}

static bool use_session(void *fixture, Error *err)
{
	enum { PROOF_US = 1000000 };
	const MoverConfig config = { .disk_filter = &filter_nbd,
				     .filter_always = true,
				     .limits = { 4, 1 << 16 },
				     .proof_us = PROOF_US };
	Session *session = fixture;
	int link_fds[2], network_fds[2];
	AUTO_FD int engine_fd = -1, peer_fd = -1, wake_fd = -1;
	bool ok;

	if (!ipc_pair(link_fds, err))
		return false;
	engine_fd = link_fds[1];

	AUTO_IPC_LINK IpcLink *link = ipc_link_new(link_fds[0], mover_rules, err);

	if (!link)
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, network_fds))
		return error_set(err, ERROR_IO, "no socket pair");
	peer_fd = network_fds[1];
	wake_fd = eventfd(0, EFD_CLOEXEC);
	if (wake_fd < 0) {
		close(network_fds[0]);
		return error_set(err, ERROR_IO, "no event descriptor");
	}
	ok = session_init(session, &config, NULL, TAKE_FD(wake_fd), -1, err);
	session->link = link;
	session->threads_channels = 1;
	session->threads_disks = 2;
	ok = begin_session(session, network_fds[0], err) && ok;
	session_clear(session);
	return ok;
}

static void *session_new(void)
{
	Session *session = calloc(1, sizeof(*session));
	Error err = ERROR_INIT;

	fault_must(session, &err);
	return session;
}

const Scenario scenarios_mover[] = {
	{ "mover records", buffer_new, use_records, NULL, free, 0 },
	{ "mover proof", NULL, use_proof, NULL, NULL, 0 },
	{ "mover session", session_new, use_session, NULL, free, 0 },
	{ 0 },
};
