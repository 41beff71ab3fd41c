/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conversation of an NBD client and server, as bytes: for each turn be16 (the top bit: the server
 * speaks; below it the size), then what is said. Tests build them, and a fuzzer's input is one.
 */
#ifndef SEALIFT_TESTS_NBD_TALK_H
#define SEALIFT_TESTS_NBD_TALK_H

#include "base/buffer.h"
#include "nbd/nbd_guard.h"
#include "nbd/protocol.h"

enum {
	TALK_MAX = 1 << 20,
	TALK_TURN_MAX = 0x7fff,
	TALK_SIZE_BYTES = 8 << 20, /* of the export */
	/* What QEMU's server announces. */
	TALK_FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
		     NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_CACHE |
		     NBD_FLAG_SEND_FAST_ZERO,
	TALK_CONTEXT_ID = 7,
};

#define TALK_EXPORT "disk-0"

typedef enum TalkMode {
	TALK_SIMPLE,
	TALK_STRUCTURED,
	TALK_EXTENDED,
} TalkMode;

typedef struct Talk {
	Buffer bytes;
	TalkMode mode; /* form of requests and chunks */
} Talk;

#define TALK_INIT ((Talk){ .bytes = BUFFER_INIT(TALK_MAX) })
void talk_clear(Talk *talk);
#define AUTO_TALK CLEANUP(talk_clear)

/* A turn of at most TALK_TURN_MAX bytes. */
void say(Talk *talk, NbdFrom from, const void *bytes, size_t size);

/* --- handshake --- */
void say_greeting(Talk *talk, uint16_t flags);
void say_client_flags(Talk *talk, uint32_t flags);
void say_option(Talk *talk, uint32_t option, const void *data, size_t size);
/* For SET_META_CONTEXT, with one query. */
void say_context(Talk *talk, const char *export_name, const char *context);
void say_go(Talk *talk, const char *export_name, uint16_t infos, uint16_t info);
void say_reply(Talk *talk, uint32_t option, uint32_t type, const void *data, size_t size);
void say_context_reply(Talk *talk, const char *context);
void say_export(Talk *talk, uint64_t size_bytes, uint16_t flags);
void say_block_sizes(Talk *talk, uint32_t least, uint32_t preferred, uint32_t most);

/* Greeting and flags. */
void talk_greet(Talk *talk);
/* And what gets to this mode; with base:allocation but in TALK_SIMPLE. */
void talk_agree(Talk *talk, TalkMode mode);
/* And GO, to transmission. */
void talk_open(Talk *talk, TalkMode mode);

/* --- transmission --- */
void say_request(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		 uint64_t length);
/* Bytes of payload, of no meaning. */
void say_payload(Talk *talk, NbdFrom from, size_t size);
void say_simple(Talk *talk, uint32_t error, uint64_t cookie);
/* offset: of the request, for TALK_EXTENDED. */
void say_chunk(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
	       const void *payload, size_t size);
/* The header of a chunk whose payload is said elsewhere, and is `length` long. */
void say_chunk_header(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		      uint64_t length);
/* OFFSET_DATA with `size` bytes of payload at `at`. */
void say_data(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint64_t at,
	      size_t size);
void say_hole(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint64_t at,
	      uint32_t size);
/* One extent, in the form of the mode. */
void say_extent(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t id,
		uint32_t size, uint32_t status);
void say_error(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t error,
	       const char *text);
/* A reply that all went well, in the form of the mode. */
void say_done(Talk *talk, uint64_t cookie, uint64_t offset);

/* --- what a guard says of it --- */

typedef struct TalkResult {
	bool refused;
	Error err;
	uint64_t taken[NBD_FROM_COUNT];
	size_t left[NBD_FROM_COUNT]; /* of the last windows */
	NbdGuardCounters counters;
} TalkResult;

/* What stands for most tests: own, access and what else talk_open has. */
NbdGuardOptions talk_options(NbdFrom own, NbdAccess access);

/*
 * Shows a conversation to a guard, each turn in pieces of so many bytes (0: whole); with `watch`
 * the own end's by nbd_guard_watch. Aborts the program if a window stays longer than it may, or if
 * more was taken than shown. A turn that is cut short is shown as it is.
 */
void talk_play(NbdGuard *guard, const NbdGuardOptions *options, const uint8_t *bytes, size_t size,
	       size_t piece, bool watch, TalkResult *ret_result);

#endif
