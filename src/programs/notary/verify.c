/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "crypto/digest.h"
#include "programs/notary/judge.h"
#include "programs/notary/notary.h"

bool notary_on_anchor(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleAnchor *anchor = message->payload;

	(void)link_ok;
	return anchor_store_add_root(notary->anchors, anchor->domain, anchor->root,
				     anchor->root_size, err);
}

bool notary_on_crl(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleCrl *crl = message->payload;

	(void)link_ok;
	return anchor_store_set_crl(notary->anchors, crl->domain, crl->crl, crl->crl_size,
				    clock_wall_s(notary->clock), err);
}

bool notary_on_forget(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleForget *forget = message->payload;

	(void)link_ok;
	(void)err;
	(void)anchor_store_remove(notary->anchors, forget->domain);
	return true;
}

bool notary_on_start_verify(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	*link_ok = ipc_send(notary->link, ROLE_READY, message->subject, NULL, NULL, NULL, 0, err);
	return *link_ok;
}

/* The exact bytes of a verified statement: strict form, right kind, right parties, right time. */
static bool judge_content(Notary *notary, const NotaryVerify *request, const Buffer *json,
			  int64_t now_s, Error *err)
{
	NotaryVerified *verified = &notary->verified;
	const Statement *statement = &verified->statement;

	if (!statement_decode_json(json->data, json->used, &verified->statement, err))
		return false;
	if (statement->kind != request->kind)
		return error_set(err, ERROR_AUTH, "the content says %s, expected %s",
				 statement_words[statement->kind], statement_words[request->kind]);
	if (!judge_parties(statement, request->signer, err) || !judge_time(statement, now_s, err))
		return false;
	verified->kind = statement->kind;
	return digest_sha384(json->data, json->used, verified->digest, err);
}

bool notary_on_verify(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	const NotaryVerify *request = message->payload;
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	int64_t now_s = clock_wall_s(notary->clock);
	SpiffeId signer;

	if (!cms_verify(notary->anchors, now_s, request->cms, request->cms_size,
			judge_content_type(request->kind), SPIFFE_HOST, &signer, &json, err))
		return error_prefix(err, "%s", statement_words[request->kind]);
	if (strcmp(signer.text, request->signer))
		return error_set(err, ERROR_AUTH, "%s is signed by %.120s, expected %.120s",
				 statement_words[request->kind], signer.text, request->signer);
	if (!judge_content(notary, request, &json, now_s, err))
		return false;
	*link_ok = ipc_send(notary->link, NOTARY_VERIFIED, message->subject,
			    &notary_verified_schema, &notary->verified, NULL, 0, err);
	return *link_ok;
}

bool notary_on_check_crl(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	const RoleCrl *request = message->payload;
	AnchorCrl crl;
	NotaryCrl answer;

	if (!anchor_store_check_crl(notary->anchors, request->domain, request->crl,
				    request->crl_size, clock_wall_s(notary->clock), &crl, err))
		return false;
	answer = (NotaryCrl){ .newer = crl.newer,
			      .number = crl.number > INT64_MAX ? INT64_MAX : crl.number,
			      .next_update_s =
				      crl.next_update_s > 0 ? (uint64_t)crl.next_update_s : 0 };
	*link_ok = ipc_send(notary->link, NOTARY_CRL, message->subject, &notary_crl_schema, &answer,
			    NULL, 0, err);
	return *link_ok;
}
