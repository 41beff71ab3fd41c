/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/notary/judge.h"

#include <assert.h>
#include <string.h>

typedef struct KindRow {
	CmsContentType content_type;
	bool by_source; /* else by the destination */
	bool timely;	/* must be fresh when it is verified */
} KindRow;

static const KindRow kinds[] = {
	[STATEMENT_OFFER] = { CMS_CONTENT_OFFER, true, true },
	[STATEMENT_ACCEPT] = { CMS_CONTENT_ACCEPT, false, true },
	[STATEMENT_READY] = { CMS_CONTENT_READY, false, false },
	[STATEMENT_COMMIT] = { CMS_CONTENT_COMMIT, true, false },
	[STATEMENT_DECLINED] = { CMS_CONTENT_DECLINED, false, false },
	[STATEMENT_ACTIVATED] = { CMS_CONTENT_ACTIVATED, false, false },
	[STATEMENT_DESTROYED] = { CMS_CONTENT_DESTROYED, true, false },
};
static_assert(ARRAY_SIZE(kinds) == STATEMENT_KIND_COUNT, "one row a kind");

CmsContentType judge_content_type(StatementKind kind)
{
	return kinds[kind].content_type;
}

static bool check_host(const char *text, const char *side, Error *err)
{
	SpiffeId id;

	if (!spiffe_parse(text, strlen(text), &id, err))
		return error_prefix(err, "%s", side);
	return id.role == SPIFFE_HOST ||
	       error_set(err, ERROR_AUTH, "%s %s is not a host", side, text);
}

bool judge_parties(const Statement *statement, const char *signer, Error *err)
{
	const KindRow *row = &kinds[statement->kind];
	const char *speaker = row->by_source ? statement->source : statement->destination;

	if (!check_host(statement->source, "source", err) ||
	    !check_host(statement->destination, "destination", err))
		return false;
	if (!strcmp(statement->source, statement->destination))
		return error_set(err, ERROR_AUTH, "source and destination are both %s",
				 statement->source);
	return !strcmp(speaker, signer) ||
	       error_set(err, ERROR_AUTH, "%s names %.120s as its %s, but is signed by %.120s",
			 statement_words[statement->kind], speaker,
			 row->by_source ? "source" : "destination", signer);
}

bool judge_time(const Statement *statement, int64_t now_s, Error *err)
{
	uint64_t now = now_s > 0 ? (uint64_t)now_s : 0;
	const char *word = statement_words[statement->kind];

	if (!kinds[statement->kind].timely)
		return true;
	if (statement->issued_s > now && statement->issued_s - now > JUDGE_CLOCK_SKEW_S)
		return error_set(err, ERROR_AUTH, "%s is from %llu s in the future, at most %d",
				 word, (unsigned long long)(statement->issued_s - now),
				 JUDGE_CLOCK_SKEW_S);
	return statement->expires_s > now ||
	       error_set(err, ERROR_AUTH, "%s expired %llu s ago", word,
			 (unsigned long long)(now - statement->expires_s));
}
