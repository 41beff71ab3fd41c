/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between the engine and sealift-keyd, and the rule tables of both sides. What keyd
 * asks of its helpers stands in role/key_messages.h.
 *
 * A value crosses this link in one way only: as the descriptor of KEYD_OPENED, memory that holds
 * the passphrase (keys/key.h: key_passphrase) and that nobody but keyd can change. The engine hands
 * it on to a hypervisor and does not read it.
 *
 * Each request names who asks (`who`, which the log keeps and the limits count) and is answered
 * with its own subject: by the message that stands beside it, or by ROLE_FAILED. An answer to a
 * change comes behind the KEYD_HEAD that the change left.
 */
#ifndef SEALIFT_ROLE_KEYD_MESSAGES_H
#define SEALIFT_ROLE_KEYD_MESSAGES_H

#include "keys/key_store.h"
#include "keys/transfer.h"
#include "role/key_messages.h"
#include "role/messages.h"

/* Descriptors as the engine passes them: the root key's file, and the store's directory, which only
 * the user that keyd becomes may use. With KEYD_CERTIFICATES_OPTION four files more: what it signs
 * by, and what is sealed for it, each a chain and a private key. */
enum {
	KEYD_ROOT_FD = ROLE_EXTRA_FD,
	KEYD_STORE_FD,
	KEYD_CERTIFICATE_FD,
	KEYD_KEY_FD,
	KEYD_AGREE_CERTIFICATE_FD,
	KEYD_AGREE_KEY_FD,
};
#define KEYD_CERTIFICATES_OPTION "--certificates"
/* "=" and the HelperKind's word: KEYD_ROOT_FD is the link to the helper that has the root key. */
#define KEYD_ROOT_OPTION "--root"
#define KEYD_STORE_NAME "keys.db" /* in that directory */

enum {
	KEYD_PAGE = 24, /* keys or log entries of one answer: as JSON it is one line of the API */
	KEYD_BACKENDS = 8,  /* places where values can be */
	KEYD_OPEN_S = 60,   /* so long an opened value stays readable */
	KEYD_OPEN_MAX = 64, /* values that are open at once */
};

typedef enum KeydMessage {
	/* engine to keyd; ROLE_ANCHOR, ROLE_CRL and ROLE_FORGET too, at any time: whom to trust. Only
	 * one that fails is answered */
	KEYD_START = 128, /* KeydHead: the end of the log as the engine knows it. The whole store is
			   * verified then: KEYD_PROGRESS now and again, and ROLE_READY */
	KEYD_CREATE,	  /* KeydCreate: KEYD_KEY */
	KEYD_SHOW,	  /* KeydName: KEYD_KEY */
	KEYD_LIST,	  /* KeydList: KEYD_KEYS */
	KEYD_ROTATE,	  /* KeydName: KEYD_KEY, the new version; the old one is deactivated */
	KEYD_CHANGE,	  /* KeydChange: KEYD_CHANGED */
	KEYD_OPEN,	  /* KeydOpen: KEYD_OPENED */
	KEYD_USED,   /* no payload; subject = that of a KEYD_OPEN: wipe what it opened. No answer */
	KEYD_LOG,    /* KeydLog: KEYD_ENTRIES */
	KEYD_VERIFY, /* KeydVerify: KEYD_VERIFIED, again and again until it is done */
	KEYD_PLACES, /* KeydWho: KEYD_BACKEND_LIST */
	KEYD_TRANSFER, /* KeyTransfer (keys/transfer.h): KEYD_TRANSFERRED */
	KEYD_ABANDON, /* KeydAbandon: KEYD_KEY */
	KEYD_HELPER = 142, /* KeydHelper, at any time; with its link as a descriptor once it serves. No
			    * answer */
	/* keyd to engine */
	KEYD_HEAD = 144,   /* KeydHead: the end of the log is this now; keep it */
	KEYD_KEY,	   /* KeyRecord */
	KEYD_KEYS,	   /* KeydKeys */
	KEYD_CHANGED,	   /* KeydChanged */
	KEYD_OPENED,	   /* KeyRecord, one descriptor */
	KEYD_ENTRIES,	   /* KeydEntries */
	KEYD_VERIFIED,	   /* KeydVerified */
	KEYD_BACKEND_LIST, /* KeydBackends */
	KEYD_TRANSFERRED,  /* KeyTransferred */
	KEYD_PROGRESS,	   /* KeydProgress: still verifying; before ROLE_READY only */
	KEYD_HELPER_LOST = 158, /* KeydHelper, with the subject of the engine's: it closed its link,
				 * broke a rule or does not answer. End it */
} KeydMessage;

typedef struct KeydHead {
	uint64_t entries; /* 0: none known; then `chain` says nothing */
	uint8_t chain[KEY_DIGEST_BYTES];
} KeydHead;

typedef struct KeydWho {
	char who[KEY_WHO_SIZE]; /* "uid 0", "migration HEX" */
} KeydWho;

/* A new active key. ERROR_CONFLICT if a key of this VM, purpose and slot is in use,
 * ERROR_LIMIT if LIMIT_PACKAGE_KEYS of the VM are (keys/package.h). */
typedef struct KeydCreate {
	char who[KEY_WHO_SIZE];
	KeyPurpose purpose;
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	char slot[LIMIT_NAME];
	char backend[LIMIT_NAME];
	uint64_t epoch; /* of the VM */
} KeydCreate;

typedef struct KeydName {
	char who[KEY_WHO_SIZE];
	uint8_t id[KEY_ID_BYTES];
	uint64_t
		version; /* 0: the newest; ERROR_USAGE for KEYD_ROTATE if it is another than that */
} KeydName;

typedef struct KeydList {
	char who[KEY_WHO_SIZE];
	char vm[LIMIT_UUID]; /* "": all VMs */
	uint64_t cursor;     /* 0 at first */
} KeydList;

typedef enum KeydChangeKind {
	KEYD_ACTIVATE,
	KEYD_DEACTIVATE,
	KEYD_DESTROY, /* of one that is in use too: it is deactivated before, in one transaction */
	KEYD_CHANGE_KIND_COUNT,
} KeydChangeKind;
extern const char *const keyd_change_words[KEYD_CHANGE_KIND_COUNT];

/* Of keys that do not travel: one that was offered or received belongs to its migration. */
typedef struct KeydChange {
	char who[KEY_WHO_SIZE];
	uint8_t id[KEY_ID_BYTES];
	uint64_t version; /* 0: the newest; for KEYD_DESTROY every version that is not destroyed */
	KeydChangeKind kind;
} KeydChange;

typedef struct KeydOpen {
	char who[KEY_WHO_SIZE];
	uint8_t id[KEY_ID_BYTES];
	uint64_t version; /* never 0: an image knows which one opens it */
	char vm[LIMIT_UUID];
	uint64_t epoch;	       /* of the VM; one that is older than the key's is refused */
	uint8_t migration[16]; /* by which the VM is coming, or zeros: opens imported keys of it
				  only */
} KeydOpen;

typedef struct KeydLog {
	char who[KEY_WHO_SIZE];
	uint64_t first; /* from 1 */
} KeydLog;

typedef struct KeydVerify {
	char who[KEY_WHO_SIZE];
	bool begin; /* anew; else go on */
} KeydVerify;

typedef struct KeydKeys {
	uint64_t cursor; /* for the next page; 0: this was the last */
	KeyRecord keys[KEYD_PAGE];
	size_t keys_count;
} KeydKeys;

typedef struct KeydChanged {
	uint64_t keys; /* versions that were changed */
	uint64_t left; /* of those destroyed: whose blob another key manager has still. It opens
			* nothing; keyd goes on asking for its end as long as it runs */
} KeydChanged;

typedef struct KeydEntries {
	uint64_t total; /* entries that the log has */
	KeyLogEntry entries[KEYD_PAGE];
	size_t entries_count;
} KeydEntries;

typedef struct KeydVerified {
	uint64_t entries, keys; /* checked so far */
	bool done;
} KeydVerified;

typedef struct KeydProgress {
	uint64_t entries, total; /* of the log: verified, and all */
	uint64_t keys;		 /* verified; they come after the log */
} KeydProgress;

/*
 * Ends what a migration that is over left behind: a key that is `exporting` is active again, marked
 * as seen by `seen_by`; one that is `imported` is destroyed. Whether the migration is over, the
 * engine knows. ERROR_CONFLICT for a key in another state, or of another migration.
 */
typedef struct KeydAbandon {
	char who[KEY_WHO_SIZE];
	uint8_t id[KEY_ID_BYTES];
	uint64_t version;
	uint8_t migration[16];
	char seen_by[LIMIT_DOMAIN]; /* the other domain, as the engine knows it */
	char reason[LIMIT_TEXT];    /* of the person, for the log */
} KeydAbandon;

/*
 * A helper that keeps values in another key manager (role/key_messages.h). Each that is configured
 * is told of before KEYD_START, without a descriptor; again with one when it serves (the end of a
 * pair of its own, which does not block), and without when it has gone. A new one is in the place
 * of the one before, whose requests have failed.
 */
typedef struct KeydHelper {
	char name[LIMIT_NAME]; /* as keys name it in `backend` */
	HelperKind kind;       /* none of a root key */
	char why[LIMIT_TEXT];  /* it is not there; "" with a descriptor */
} KeydHelper;

typedef struct KeydBackend {
	char name[LIMIT_NAME]; /* as keys name it */
	char type[LIMIT_NAME];
	bool usable;
	char text[LIMIT_TEXT]; /* with whom and how, or what is wrong */
} KeydBackend;

typedef struct KeydBackends {
	char root[LIMIT_NAME]; /* the root key's kind */
	KeydBackend backends[KEYD_BACKENDS];
	size_t backends_count;
} KeydBackends;

extern const Schema keyd_head_schema, keyd_who_schema, keyd_create_schema, keyd_name_schema,
	keyd_list_schema, keyd_change_schema, keyd_open_schema, keyd_log_schema, keyd_verify_schema,
	keyd_keys_schema, keyd_changed_schema, keyd_entries_schema, keyd_verified_schema,
	keyd_backends_schema, keyd_progress_schema, keyd_abandon_schema, keyd_helper_schema;

/* What keyd accepts, and what the engine accepts from it; states as in role/messages.h: keyd serves
 * from KEYD_START on. */
extern const IpcRule keyd_rules[], engine_keyd_rules[];

#endif
