/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/proof.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto/random.h"

static_assert((int)NONCE_BYTES == (int)CHANNEL_NONCE_SIZE, "one size of nonces");
static_assert((int)ROLE_SECRET_BYTES == (int)KEYS_PRK_SIZE, "one size of PRKs");

/* A new connection's queue is empty: that a few bytes do not fit at once is a fault in itself. */
static bool send_now(Proof *proof, const uint8_t *bytes, size_t size, Error *err)
{
	ssize_t sent;

	do
		sent = send(proof->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno,
				       "cannot send the first %zu bytes", size);
	proof->wire_out_bytes += (uint64_t)sent;
	return (size_t)sent == size ||
	       error_set(err, ERROR_UNAVAILABLE, "only %zd of the first %zu bytes could be sent",
			 sent, size);
}

static bool make_keys(Proof *proof, const ProofContext *context, Error *err)
{
	bool is_source = context->side == MOVER_SOURCE;
	Secret *out =
		keys_derive_traffic(context->prk, is_source ? KEYS_TO_DESTINATION : KEYS_TO_SOURCE,
				    &proof->connection, err);
	Secret *in;

	if (!out)
		return false;
	proof->sealer = record_sealer_new(context->provider, out, &context->options, err);
	if (!proof->sealer)
		return false;
	in = keys_derive_traffic(context->prk, is_source ? KEYS_TO_SOURCE : KEYS_TO_DESTINATION,
				 &proof->connection, err);
	if (!in)
		return false;
	proof->opener = record_opener_new(context->provider, in, &context->options, err);
	return proof->opener != NULL;
}

static bool start_source(Proof *proof, const RolePreamble *role, Error *err)
{
	Preamble preamble = { .channel = proof->channel,
			      .generation = proof->connection.generation };
	uint8_t bytes[PREAMBLE_SIZE];

	if (!random_bytes(preamble.source_nonce, sizeof(preamble.source_nonce), err))
		return false;
	memcpy(preamble.routing, role->routing, sizeof(preamble.routing));
	memcpy(proof->connection.source_nonce, preamble.source_nonce, CHANNEL_NONCE_SIZE);
	preamble_encode(&preamble, bytes);
	proof->input_wanted = PREAMBLE_REPLY_SIZE;
	return send_now(proof, bytes, sizeof(bytes), err);
}

static bool start_destination(Proof *proof, const ProofContext *context, const RolePreamble *role,
			      Error *err)
{
	PreambleReply reply;
	uint8_t bytes[PREAMBLE_REPLY_SIZE + RECORD_PING_BUFFER_SIZE];
	size_t ping;

	if (!random_bytes(reply.destination_nonce, sizeof(reply.destination_nonce), err))
		return false;
	memcpy(proof->connection.source_nonce, role->source_nonce, CHANNEL_NONCE_SIZE);
	memcpy(proof->connection.destination_nonce, reply.destination_nonce, CHANNEL_NONCE_SIZE);
	preamble_reply_encode(&reply, bytes);
	/* The gate read the preamble, but it is part of what this channel cost. */
	proof->wire_in_bytes = PREAMBLE_SIZE;
	proof->input_wanted = RECORD_PING_SIZE;
	return make_keys(proof, context, err) &&
	       record_seal_ping(proof->sealer, bytes + PREAMBLE_REPLY_SIZE, &ping, err) &&
	       send_now(proof, bytes, PREAMBLE_REPLY_SIZE + ping, err);
}

Proof *proof_new(const ProofContext *context, int fd, const RolePreamble *preamble,
		 int64_t deadline_us, Error *err)
{
	AUTO_FD int owned = fd;
	AUTO_PROOF Proof *proof = calloc(1, sizeof(*proof));

	if (!proof) {
		error_set(err, ERROR_INTERNAL, "no memory for a connection");
		return NULL;
	}
	proof->fd = TAKE_FD(owned);
	proof->channel = (unsigned int)preamble->channel;
	proof->deadline_us = deadline_us;
	proof->connection.channel = (uint32_t)preamble->channel;
	proof->connection.generation = (uint32_t)preamble->generation;
	if (memcmp(preamble->routing, context->routing, MIGRATION_ID_BYTES) != 0) {
		error_set(err, ERROR_PEER, "a connection for another migration");
		return NULL;
	}
	if (context->side == MOVER_SOURCE ? !start_source(proof, preamble, err)
					  : !start_destination(proof, context, preamble, err))
		return NULL;
	return TAKE_PTR(proof);
}

void proof_free(Proof *proof)
{
	if (!proof)
		return;
	cleanup_fd(&proof->fd);
	record_sealer_free(proof->sealer);
	record_opener_free(proof->opener);
	free(proof);
}

/* The source: the destination's nonce completes the keys. The ping follows behind it. */
static bool on_reply(Proof *proof, const ProofContext *context, Error *err)
{
	PreambleReply reply;

	if (!preamble_reply_decode(proof->input, &reply, err))
		return false;
	memcpy(proof->connection.destination_nonce, reply.destination_nonce, CHANNEL_NONCE_SIZE);
	proof->input_used = 0;
	proof->input_wanted = RECORD_PING_SIZE;
	return make_keys(proof, context, err);
}

/* The peer's ping proves that it knows this migration's key. The source answers only then. */
static bool on_ping(Proof *proof, const ProofContext *context, Error *err)
{
	uint8_t ping[RECORD_PING_BUFFER_SIZE];
	RecordView record;
	size_t rest, size;

	if (!record_check_header(proof->input, &rest, err))
		return false;
	if (rest != RECORD_PING_SIZE - RECORD_HEADER_SIZE)
		return error_set(err, ERROR_PEER, "the first record has %zu bytes, expected %d",
				 rest, RECORD_PING_SIZE - RECORD_HEADER_SIZE);
	if (!record_open(proof->opener, proof->input, rest, &record, err))
		return false;
	return context->side == MOVER_DESTINATION ||
	       (record_seal_ping(proof->sealer, ping, &size, err) &&
		send_now(proof, ping, size, err));
}

ProofResult proof_on_readable(Proof *proof, const ProofContext *context, Error *err)
{
	for (;;) {
		ssize_t got = recv(proof->fd, proof->input + proof->input_used,
				   proof->input_wanted - proof->input_used, MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return PROOF_PENDING;
		if (got < 0) {
			error_set_errno(err, ERROR_UNAVAILABLE, errno, "the connection broke");
			return PROOF_FAILED;
		}
		if (!got) {
			error_set(err, ERROR_PEER,
				  "the peer closed the connection before its proof");
			return PROOF_FAILED;
		}
		proof->input_used += (size_t)got;
		proof->wire_in_bytes += (uint64_t)got;
		if (proof->input_used < proof->input_wanted)
			continue;
		if (proof->opener)
			return on_ping(proof, context, err) ? PROOF_DONE : PROOF_FAILED;
		if (!on_reply(proof, context, err))
			return PROOF_FAILED;
	}
}
