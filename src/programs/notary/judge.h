/* SPDX-License-Identifier: Apache-2.0 */
/* What a statement must be besides well signed. */
#ifndef SEALIFT_PROGRAMS_NOTARY_JUDGE_H
#define SEALIFT_PROGRAMS_NOTARY_JUDGE_H

#include "crypto/cms.h"
#include "wire/statement.h"

enum { JUDGE_CLOCK_SKEW_S = 60 };

/* The content type of a kind of statement. */
CmsContentType judge_content_type(StatementKind kind);

/*
 * Source and destination must be two different hosts, and the one that speaks in this kind of
 * statement must be `signer`: the source in offer, commit and destroyed, else the destination.
 * ERROR_AUTH.
 */
MUST_CHECK bool judge_parties(const Statement *statement, const char *signer, Error *err);

/* An offer or accept must not be issued more than JUDGE_CLOCK_SKEW_S after now_s, nor have expired;
 * the others are evidence that must verify long afterwards. ERROR_AUTH. */
MUST_CHECK bool judge_time(const Statement *statement, int64_t now_s, Error *err);

#endif
