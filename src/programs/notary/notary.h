/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-notary verifies statements of peers (it has anchors and no key), or signs our own (it has
 * the host's signing key and signs nothing but typed statements in which the host itself speaks).
 * One request after the other, on a blocking link. A request that fails is answered with
 * ROLE_FAILED; only a broken link rule ends the process.
 */
#ifndef SEALIFT_PROGRAMS_NOTARY_NOTARY_H
#define SEALIFT_PROGRAMS_NOTARY_NOTARY_H

#include "base/clock.h"
#include "crypto/anchor.h"
#include "crypto/cms.h"
#include "ipc/link.h"
#include "role/messages.h"

typedef struct Notary {
	const Clock *clock;
	IpcLink *link;
	AnchorStore *anchors; /* verify */
	CmsSigner *signer;    /* sign */
	/* too large for the stack */
	Statement statement;
	NotaryVerified verified;
	NotarySigned attested;
} Notary;

/* Handlers of one request: true if it was answered or needs no answer; false with the error that
 * goes back as ROLE_FAILED. `link_ok` becomes false if the answer could not be sent. */
typedef bool NotaryHandler(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err);

NotaryHandler notary_on_anchor, notary_on_crl, notary_on_forget, notary_on_start_verify,
	notary_on_verify, notary_on_check_crl, notary_on_start_sign, notary_on_sign;

#endif
