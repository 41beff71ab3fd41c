/* SPDX-License-Identifier: Apache-2.0 */
/* The real sealift-keyd with a root key and a store of its own in a folder, and the engine's side
 * of its link played by a test. Each function asserts success with cmocka. */
#ifndef SEALIFT_TESTS_KEYD_FIXTURE_H
#define SEALIFT_TESTS_KEYD_FIXTURE_H

#include "role/keyd_messages.h"
#include "role_fixture.h"

#define KEYD_VM	   "7e5710c5-0000-4000-8000-000000000001"
#define KEYD_OTHER "7e5710c5-0000-4000-8000-000000000002"
#define KEYD_WHO   "uid 1000"

enum { KEYD_PEM_FILES = KEYD_AGREE_KEY_FD - KEYD_CERTIFICATE_FD + 1 };

typedef struct KeydWorld {
	char folder[64];
	char root[96], store[96], database[128], log[96];
	Role keyd;
	uint64_t subject;
	KeydHead head; /* as keyd told it last */
	int log_fd;    /* what keyd says on standard error */
	/* NULL, or in the order of their descriptors: its certificates and keys, borrowed */
	const Buffer *pem[KEYD_PEM_FILES];
} KeydWorld;

/* A root key and an empty store; keyd is not started. */
KeydWorld *keyd_world_new(void);
void keyd_world_free(KeydWorld *world);
/* Starts keyd and sends nothing. */
void keyd_run(KeydWorld *world);
/* Starts it with the head that was told last, and waits until it serves. */
void keyd_start(KeydWorld *world);
/* Waits until it serves, or until this request was refused, in spite of what it tells meanwhile. */
void keyd_expect_ready(KeydWorld *world);
void keyd_expect_refusal(KeydWorld *world, uint64_t subject, ErrorCategory category,
			 const char *words);
/* Closes the link; keyd ends by itself. */
void keyd_stop(KeydWorld *world);

/* The next message, but for what keyd tells of its log and its progress. */
void keyd_next(KeydWorld *world, IpcMessage *ret_message);
/* Sends a request; the next answer must be of this type. Clear it with ipc_message_clear. */
void keyd_ask(KeydWorld *world, uint16_t type, const Schema *schema, const void *request,
	      uint16_t answer, IpcMessage *ret_message);
/* The same where it must be refused. */
void keyd_refused(KeydWorld *world, uint16_t type, const Schema *schema, const void *request,
		  ErrorCategory category, const char *words);

KeydCreate keyd_wanted(const char *vm, const char *slot);
KeydName keyd_name(const KeyRecord *key, uint64_t version);
KeydChange keyd_change(const KeyRecord *key, uint64_t version, KeydChangeKind kind);
KeydOpen keyd_opening(const KeyRecord *key);

/* A new key of the VM for this slot. */
KeyRecord keyd_create(KeydWorld *world, const char *vm, const char *slot);
KeyRecord keyd_show(KeydWorld *world, const KeyRecord *key, uint64_t version);
KeyRecord keyd_rotate(KeydWorld *world, const KeyRecord *key);
/* How many versions were changed. */
uint64_t keyd_changed(KeydWorld *world, const KeyRecord *key, uint64_t version,
		      KeydChangeKind kind);
/* The descriptor of its value; world->subject is its request's. */
int keyd_open(KeydWorld *world, const KeyRecord *key);
/* What the whole log says, one word of key_action_words for each entry, with blanks between. */
void keyd_log_words(KeydWorld *world, char *ret_words, size_t size);
/* Verifies to the end; the answer to the last step. */
KeydVerified keyd_verify(KeydWorld *world);

#endif
