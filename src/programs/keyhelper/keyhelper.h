/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealift-keyhelper speaks with one key manager of others, or has one root key, for sealift-keyd:
 * role/key_messages.h. Whatever it parses (a server's answers, a module's return values, a chip's)
 * it parses apart from our store: it has the one credential that it was given and sees the values
 * that pass, which are sealed (keys/key_wrap.h), and nothing else.
 *
 * One request after the other. It ends well when either link is closed; a broken rule of a link,
 * or a chip's root key handed over, ends it too. It does not try again by itself what failed at the
 * start: who starts it must not, without thought, after ERROR_AUTH, for tokens count.
 */
#ifndef SEALIFT_PROGRAMS_KEYHELPER_KEYHELPER_H
#define SEALIFT_PROGRAMS_KEYHELPER_KEYHELPER_H

#include "base/log.h"
#include "ipc/link.h"
#include "keys/key_wrap.h"
#include "keys/provider.h"
#include "role/key_messages.h"
#include "sandbox/sandbox.h"

/* What came before ROLE_START. */
typedef struct HelperSetup {
	HelperKind kind;
	union {
		HelperKmip kmip;
		HelperPkcs11 pkcs11;
		HelperTpm2 tpm2;
		HelperBarbican barbican;
	};
	int files[HELPER_PART_COUNT];	    /* -1: not given; owned */
	Buffer contents[HELPER_PART_COUNT]; /* read, but for the device */
	Secret *password;		    /* NULL: none */
} HelperSetup;

typedef struct Helper {
	const Log *log;
	HelperSetup setup;
	IpcLink *engine, *keyd;
	KeyProvider *provider; /* kmip, barbican, pkcs11 */
	RootKey *root;	       /* pkcs11-root */
	Secret *unsealed;      /* tpm2: until it is asked for */
	bool done;	       /* its last answer is given */
} Helper;

/* Makes what the setup says. Errors are the provider's own. */
typedef bool HelperOpener(Helper *helper, Error *err);
HelperOpener helper_open_kmip, helper_open_pkcs11, helper_open_tpm2, helper_open_barbican;

/* The ports that the configuration needs, for the sandbox. All zeros: any, for a Barbican that only
 * Keystone's catalogue knows. ERROR_CONFIG. */
MUST_CHECK bool helper_limit_ports(const HelperSetup *setup, uint16_t ret_ports[SANDBOX_PORTS_MAX],
				   Error *err);

/* With whom and how it speaks now, for people. */
void helper_describe(const Helper *helper, char ret_text[LIMIT_TEXT]);

/* Reads the parts that came as descriptors and closes them, but for the device. ERROR_CONFIG. */
MUST_CHECK bool helper_read_files(HelperSetup *setup, Error *err);

/* Answers one request of keyd. False if the answer could not be sent. */
MUST_CHECK bool helper_answer(Helper *helper, const IpcMessage *message, Error *err);

/* Answers until one of the links is closed, or its last answer is given (true), or until a link is
 * broken. */
MUST_CHECK bool helper_serve(Helper *helper, Error *err);

#endif
