/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/helper_root.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"

typedef struct HelperRoot {
	RootKey root;
	IpcLink *link;
	uint64_t subject;
	bool lost;
} HelperRoot;

/* Whatever answer there is, within the deadline. */
static bool await(IpcLink *link, int deadline_ms, Error *err)
{
	struct pollfd wait = { .fd = ipc_link_fd(link), .events = POLLIN };
	int64_t until_us = clock_monotonic_us(&clock_system) + INT64_C(1000) * deadline_ms;

	for (;;) {
		int64_t left_us = until_us - clock_monotonic_us(&clock_system);
		int ready = left_us > 0 ? poll(&wait, 1, (int)(left_us / 1000) + 1) : 0;

		if (ready > 0)
			return true;
		if (!ready)
			return error_set(err, ERROR_TIMEOUT,
					 "the root key's helper did not answer within %d s",
					 deadline_ms / 1000);
		if (errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno,
					       "cannot wait for the root key");
	}
}

/* *ret_answer is to be cleared if true came back. */
static bool ask(IpcLink *link, uint64_t subject, uint16_t type, const Schema *schema,
		const void *payload, uint16_t wanted, IpcMessage *ret_answer, Error *err)
{
	IpcReceived got;

	if (!ipc_send(link, type, subject, schema, payload, NULL, 0, err) ||
	    !await(link, subject == 1 ? HELPER_ROOT_START_MS : HELPER_ROOT_DEADLINE_MS, err))
		return false;
	got = ipc_receive(link, ret_answer, err);
	if (got == IPC_BROKEN)
		return error_prefix(err, "the root key's helper");
	if (got != IPC_MESSAGE)
		return error_set(err, ERROR_UNAVAILABLE, "the root key's helper ended");
	if (ret_answer->subject == subject && ret_answer->type == wanted)
		return true;
	if (ret_answer->subject == subject && ret_answer->type == ROLE_FAILED) {
		const RoleFailure *told = ret_answer->payload;

		error_set(err, (ErrorCategory)told->category, "root key: %.400s", told->text);
	} else {
		error_set(err, ERROR_PEER, "the root key's helper gave an answer to no question");
	}
	ipc_message_clear(ret_answer, link);
	return false;
}

/* What the helper itself says leaves it of use; all else does not. */
static bool ask_root(HelperRoot *root, uint16_t type, const Schema *schema, const void *payload,
		     uint16_t wanted, IpcMessage *ret_answer, Error *err)
{
	if (root->lost)
		return error_set(err, ERROR_UNAVAILABLE, "the root key's helper is gone");
	if (ask(root->link, ++root->subject, type, schema, payload, wanted, ret_answer, err))
		return true;
	root->lost = strncmp(err->text, "root key: ", 10) != 0;
	return false;
}

static bool helper_wrap(RootKey *root, const Secret *key, uint8_t ret_wrapped[KEY_WRAPPED_BYTES],
			Error *err)
{
	HelperRoot *helper = (HelperRoot *)root;
	HelperKey request;
	IpcMessage answer;
	bool ok;

	memcpy(request.key, secret_peek(key), KEY_BYTES);
	ok = ask_root(helper, HELPER_WRAP, &helper_key_schema, &request, HELPER_WRAPPED, &answer,
		      err);
	explicit_bzero(&request, sizeof(request));
	if (!ok)
		return false;
	memcpy(ret_wrapped, ((const HelperWrapped *)answer.payload)->wrapped, KEY_WRAPPED_BYTES);
	ipc_message_clear(&answer, helper->link);
	return true;
}

static Secret *take_key(IpcMessage *answer, IpcLink *link, Error *err)
{
	Secret *key = secret_new_from(((const HelperKey *)answer->payload)->key, KEY_BYTES, err);

	ipc_message_clear(answer, link);
	return key;
}

static bool helper_unwrap(RootKey *root, const uint8_t wrapped[KEY_WRAPPED_BYTES], Secret *ret_key,
			  Error *err)
{
	HelperRoot *helper = (HelperRoot *)root;
	HelperWrapped request;
	IpcMessage answer;

	memcpy(request.wrapped, wrapped, KEY_WRAPPED_BYTES);
	if (!ask_root(helper, HELPER_UNWRAP, &helper_wrapped_schema, &request, HELPER_KEY, &answer,
		      err))
		return false;
	memcpy(secret_bytes(ret_key), ((const HelperKey *)answer.payload)->key, KEY_BYTES);
	ipc_message_clear(&answer, helper->link);
	return true;
}

static void helper_free(RootKey *root)
{
	ipc_link_free(((HelperRoot *)root)->link);
	free(root);
}

static const RootKeyType helper_type = { "pkcs11", helper_wrap, helper_unwrap, helper_free };

static RootKey *take_unsealed(IpcLink *link, Error *err)
{
	IpcMessage answer;
	AUTO_SECRET Secret *key = NULL;

	if (!ask(link, 1, HELPER_UNSEAL, NULL, NULL, HELPER_KEY, &answer, err))
		return NULL;
	key = take_key(&answer, link, err);
	return key ? root_key_new("tpm2", key, err) : NULL;
}

RootKey *helper_root_open(HelperKind kind, int fd, Error *err)
{
	AUTO_IPC_LINK IpcLink *link = ipc_link_new(fd, keyd_helper_rules[kind], err);
	AUTO_FREE HelperRoot *root = NULL;

	if (!link)
		return NULL;
	if (kind == HELPER_KIND_TPM2)
		return take_unsealed(link, err);
	root = calloc(1, sizeof(*root));
	if (!root) {
		error_set(err, ERROR_INTERNAL, "no memory for a root key");
		return NULL;
	}
	root->root.type = &helper_type;
	root->link = TAKE_PTR(link);
	return &TAKE_PTR(root)->root;
}

int helper_root_fd(const RootKey *root)
{
	return root->type == &helper_type ? ipc_link_fd(((const HelperRoot *)root)->link) : -1;
}

bool helper_root_is_there(const RootKey *root, bool readable, Error *err)
{
	bool lost = root->type == &helper_type && (((const HelperRoot *)root)->lost || readable);

	return !lost || error_set(err, ERROR_UNAVAILABLE, "the root key's helper is gone");
}
