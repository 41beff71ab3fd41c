/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "crypto/digest.h"
#include "programs/notary/judge.h"
#include "programs/notary/notary.h"

bool notary_on_start_sign(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	int64_t not_after_s = cms_signer_not_after_s(notary->signer);
	GateIdentity identity = { .not_after_s = not_after_s > 0 ? (uint64_t)not_after_s : 0 };

	snprintf(identity.peer_id, sizeof(identity.peer_id), "%s",
		 cms_signer_id(notary->signer)->text);
	*link_ok = ipc_send(notary->link, NOTARY_IDENTITY, message->subject, &gate_identity_schema,
			    &identity, NULL, 0, err) &&
		   ipc_send(notary->link, ROLE_READY, message->subject, NULL, NULL, NULL, 0, err);
	return *link_ok;
}

/* Whatever a peer would refuse is never signed: the bytes go through the peer's own decoder. */
static bool check_own(Notary *notary, const Buffer *json, Error *err)
{
	return statement_decode_json(json->data, json->used, &notary->statement, err) &&
	       judge_parties(&notary->statement, cms_signer_id(notary->signer)->text, err);
}

bool notary_on_sign(Notary *notary, const IpcMessage *message, bool *link_ok, Error *err)
{
	RoleStatement *request = message->payload;
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	NotarySigned *answer = &notary->attested;

	request->statement.kind = request->kind;
	if (!statement_encode_json(&request->statement, &json, err) ||
	    !check_own(notary, &json, err) ||
	    !cms_sign(notary->signer, judge_content_type(request->kind), json.data, json.used, &der,
		      err) ||
	    !digest_sha384(json.data, json.used, answer->digest, err))
		return error_prefix(err, "cannot sign %s", statement_words[request->kind]);
	memcpy(answer->cms, der.data, der.used);
	answer->cms_size = der.used;
	*link_ok = ipc_send(notary->link, NOTARY_SIGNED, message->subject, &notary_signed_schema,
			    answer, NULL, 0, err);
	return *link_ok;
}
