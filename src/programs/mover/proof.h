/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opening of a channel's TCP connection, up to the first authentic record of the peer: nonces,
 * keys, a ping each way. A connection that has not proven itself gets nothing but a few hundred
 * bytes of memory and a short while, and touches no channel.
 *
 *	source				destination
 *	preamble ->
 *					<- reply, ping
 *	(peer proven) ping ->
 *					(peer proven)
 */
#ifndef SEALIFT_PROGRAMS_MOVER_PROOF_H
#define SEALIFT_PROGRAMS_MOVER_PROOF_H

#include "role/messages.h"
#include "wire/keys.h"
#include "wire/preamble.h"
#include "wire/record.h"

/* What all connections of one migration share. */
typedef struct ProofContext {
	MoverSide side;
	const Secret *prk;
	const AeadProvider *provider;
	RecordOptions options;
	uint8_t routing[MIGRATION_ID_BYTES];
} ProofContext;

enum { PROOF_INPUT_SIZE = PREAMBLE_REPLY_SIZE + RECORD_PING_BUFFER_SIZE };

typedef struct Proof {
	int fd;
	unsigned int channel;
	int64_t deadline_us; /* on clock_system */
	KeysConnection connection;
	RecordSealer *sealer; /* both once the keys are known */
	RecordOpener *opener;
	uint8_t input[PROOF_INPUT_SIZE];
	size_t input_used, input_wanted;
	uint64_t wire_in_bytes, wire_out_bytes;
} Proof;

typedef enum ProofResult { PROOF_PENDING, PROOF_DONE, PROOF_FAILED } ProofResult;

/* Takes fd, a connected socket, and sends this side's first bytes. `preamble` is checked against
 * the context; its nonce counts at the destination only. NULL with ERROR_PEER or ERROR_IO. */
MUST_CHECK Proof *proof_new(const ProofContext *context, int fd, const RolePreamble *preamble,
			    int64_t deadline_us, Error *err);
/* Closes what was not taken out; NULL is fine. */
void proof_free(Proof *proof);
DEFINE_CLEANUP(Proof, proof, proof_free)
#define AUTO_PROOF CLEANUP(proof_cleanup)

/* Reads what is there, never more than the proof needs, and answers. PROOF_DONE: the caller takes
 * fd, sealer and opener. PROOF_FAILED with *err. */
MUST_CHECK ProofResult proof_on_readable(Proof *proof, const ProofContext *context, Error *err);

#endif
