/* SPDX-License-Identifier: Apache-2.0 */
/* A good example of each message and statement, with every member that its kind has filled in. */
#ifndef SEALIFT_TESTS_WIRE_SAMPLES_H
#define SEALIFT_TESTS_WIRE_SAMPLES_H

#include "wire/manifest.h"
#include "wire/peer.h"
#include "wire/statement.h"

void sample_manifest(Manifest *ret_manifest);
void sample_statement(StatementKind kind, Statement *ret_statement);
/* The largest ones that the bounds allow. */
void sample_manifest_largest(Manifest *ret_manifest);
void sample_peer(PeerKind kind, PeerMessage *ret_message);

#endif
