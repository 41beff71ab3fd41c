/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges one NBD connection, which carries one disk of a migration: QEMU at the source is the
 * client, a storage daemon at the destination is the server. Both directions are shown to the guard
 * of each side, since what one says has a meaning only beside the other: at the destination the
 * client may be hostile, at the source the server.
 *
 * It follows the document proto.md of NetworkBlockDevice/nbd and, where that leaves a choice, what
 * QEMU's own client and server do (7.2 to 10.0): fixed newstyle, one option at a time, one export,
 * simple, structured or extended replies. nbd/rules.h has the rules, GUARD.md (section NBD) says
 * what each closes.
 *
 * The guard changes nothing and copies no payload. What it does not know it refuses.
 */
#ifndef SEALIFT_NBD_NBD_GUARD_H
#define SEALIFT_NBD_NBD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"

/* Who says a byte. */
typedef enum NbdFrom {
	NBD_FROM_CLIENT, /* the source's QEMU, which mirrors its disk */
	NBD_FROM_SERVER, /* the destination's storage daemon */
	NBD_FROM_COUNT,
} NbdFrom;

/* Which commands a connection is for. */
typedef enum NbdAccess {
	/* The export receives a mirror: WRITE, WRITE_ZEROES, TRIM, FLUSH, BLOCK_STATUS, DISC. A
	 * mirror never reads its target, and what stood on the destination's volume before is not
	 * the source's to see. */
	NBD_ACCESS_RECEIVE,
	/* READ too. */
	NBD_ACCESS_READ_WRITE,
} NbdAccess;

enum {
	/* The longest piece that must be in a window before it can be judged. What a caller keeps
	 * of one direction between two calls is shorter. */
	NBD_GUARD_WINDOW = 4096,
	NBD_GUARD_LENGTH_MAX = 32 << 20, /* bytes of one READ or WRITE, as QEMU's own bound */
	NBD_GUARD_REQUESTS_MAX = 64,	 /* that wait for their answer; QEMU's client has 16 */
};

/* Bytes of READ and WRITE that wait for their answer, all together. A mirror in the background has
 * at most 16 MiB on the way (buf-size). In copy mode write-blocking what its guest writes counts
 * too, which QEMU's client bounds at 16 requests of 32 MiB: who uses that mode asks for 512 MiB. */
#define NBD_GUARD_IN_FLIGHT_BYTES (UINT64_C(64) << 20)

typedef struct NbdGuardOptions {
	/* The end that is this host's own: the other one is the peer. */
	NbdFrom own;
	NbdAccess access;
	/* The one export, as GO names it: 1 to 63 bytes. Copied. */
	char export_name[LIMIT_NAME];
	/* Of the export, as the server must announce it: 1..INT64_MAX. */
	uint64_t size_bytes;
	uint64_t in_flight_bytes_max; /* 0: NBD_GUARD_IN_FLIGHT_BYTES */
} NbdGuardOptions;

typedef struct NbdGuard NbdGuard;

/* ERROR_INTERNAL for options out of their bounds or without memory. Owned by the caller. All memory
 * is allocated here: less than 16 KiB. */
MUST_CHECK NbdGuard *nbd_guard_new(const NbdGuardOptions *options, Error *err);
void nbd_guard_free(NbdGuard *guard);
DEFINE_CLEANUP(NbdGuard, nbd_guard, nbd_guard_free)
#define AUTO_NBD_GUARD CLEANUP(nbd_guard_cleanup)

/*
 * Judges what stands at the front of one direction's stream. `window` has the bytes of it that were
 * not taken yet, with what came since behind them. The first *ret_taken bytes of the window were
 * judged and may go on, now; the rest is shown again, with more behind it, and is always less than
 * NBD_GUARD_WINDOW. A header is taken whole or not at all; payload in any pieces.
 *
 * The two directions may be shown by two threads at the same time. Show bytes before they are sent
 * on: an answer must never be seen before its request was.
 *
 * False with *err: a rule was broken. The text begins with the rule's name, then says whose fault
 * it is ("client" or "server"), the byte of that direction, the value and its bound. The category
 * is ERROR_PEER if it is the peer's, ERROR_HYPERVISOR if it is this host's own end that did it.
 * Nothing of the window may go on then. After that every call fails, for both directions, with
 * ERROR_CANCELLED, since it was told once. In mode "warn" the caller tells, and lets the connection
 * go on unjudged.
 */
MUST_CHECK bool nbd_guard_take(NbdGuard *guard, NbdFrom from, const uint8_t *window, size_t size,
			       size_t *ret_taken, Error *err);

/*
 * The same for the direction of this host's own end, by one who keeps no window: pieces of any
 * size, all of which may be sent on as soon as this returns true. Copies the start of a header that
 * is not complete. For a direction use either this or nbd_guard_take, not both.
 */
MUST_CHECK bool nbd_guard_watch(NbdGuard *guard, NbdFrom from, const uint8_t *bytes, size_t size,
				Error *err);

/*
 * A direction has ended, with `left` bytes that were not taken (0 for one that was watched). False
 * with *err by the rule nbd-closed if it may not end there: the client ends after DISC or ABORT,
 * the server after the client said so and got all its answers. A client that died or was cancelled
 * does so too: no attack by itself.
 */
MUST_CHECK bool nbd_guard_end(NbdGuard *guard, NbdFrom from, size_t left, Error *err);

/* Whether the handshake is behind it, or the client gave it up: from then on neither side has to be
 * answered at once. From any thread. */
bool nbd_guard_is_open(NbdGuard *guard);

/* What passed, for the report and for progress. */
typedef struct NbdGuardCounters {
	uint64_t requests;	/* of all commands */
	uint64_t written_bytes; /* payload of WRITE */
	uint64_t zeroed_bytes;	/* by WRITE_ZEROES and TRIM */
	uint64_t read_bytes;	/* payload and holes that answer READ */
	uint64_t errors;	/* requests that the server answered with an error */
	uint64_t in_flight;	/* requests that wait for their answer, now */
	uint64_t in_flight_most, in_flight_bytes_most;
} NbdGuardCounters;
/* From any thread. */
void nbd_guard_counters(NbdGuard *guard, NbdGuardCounters *ret_counters);

#endif
