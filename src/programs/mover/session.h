/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a mover: one migration, its channels, who waits for what. Two threads serve each
 * channel (relay.h), one for each direction; the main thread (mover.c) talks to the engine, opens
 * connections (proof.h) and tells the threads when their channel is complete. Threads never close
 * or replace a descriptor: they stay open until all threads are joined, so that none is confused
 * with another; whoever must stop a thread shuts its sockets down. The stream's channels come
 * first, those of disks stand from LIMIT_STREAM_CHANNELS on.
 */
#ifndef SEALIFT_PROGRAMS_MOVER_SESSION_H
#define SEALIFT_PROGRAMS_MOVER_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "migration/violation.h"
#include "programs/mover/filter.h"
#include "programs/mover/mover.h"
#include "programs/mover/pace.h"
#include "programs/mover/proof.h"
#include "role/messages.h"

enum { CHANNEL_NAME_SIZE = 16 };

/* What one thread counts; read by the main thread at any time. */
typedef struct FlowCounters {
	atomic_uint_fast64_t stream_bytes, wire_bytes, records;
	atomic_uint_fast64_t first_us, last_us; /* of stream bytes; 0: none yet */
} FlowCounters;

typedef struct Session Session;

/* One direction of one channel, with its thread and its buffer. */
typedef struct Flow {
	struct Channel *channel;
	bool outbound; /* from QEMU to the peer */
	bool has_thread;
	pthread_t thread;
	uint8_t *buffer;    /* RECORD_BUFFER_SIZE bytes; inbound: FILTER_REST_MAX more before it */
	size_t rest;	    /* inbound: bytes before the buffer that the filter has not taken */
	atomic_bool ending; /* outbound: QEMU's end was seen, ours is being sent; inbound: the peer's */
	bool violates;	    /* inbound, its thread: the filter refused what came */
	atomic_bool ended;  /* end record sent, or received and passed on */
	bool reported;	    /* main thread: MOVER_ENDED was sent */
	FlowCounters counters;
} Flow;

typedef struct Channel {
	Session *session;
	unsigned int index; /* its number in the protocol */
	bool is_disk;
	char name[CHANNEL_NAME_SIZE];
	/* set once, under the session's lock */
	int network_fd, local_fd;
	bool proven;
	int64_t local_us; /* main thread: when QEMU's socket came */
	/* each used by the thread of its direction only */
	RecordSealer *sealer;
	RecordOpener *opener;
	Flow out, in;
	uint64_t proof_in_bytes, proof_out_bytes; /* on the wire before the first data */
} Channel;

typedef struct SessionWarning {
	unsigned int channel;
	char text[ERROR_TEXT_SIZE];
} SessionWarning;

struct Session {
	const MoverConfig *config;
	const Log *log;
	IpcLink *link;
	size_t threads_channels, threads_disks; /* channels that have threads */
	size_t threads_started;			/* under the lock */
	uint8_t *buffers;			/* of all threads, one mapping */
	size_t buffers_size;

	/* of MOVER_SETUP */
	bool set_up;
	MoverSide side;
	size_t channels_count, disks_count;
	Secret *prk;
	ProofContext proof_context;
	Filter filter;	    /* of the stream's channels */
	Filter disk_filter; /* of the disks' */
	MoverGuard guard;
	/* The filter's warnings, each until the main thread has told it; under the lock. */
	SessionWarning warnings[VIOLATIONS_MAX];
	size_t warnings_count, warnings_told;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a channel got a descriptor, or the session stops */
	atomic_bool stopping;	/* set before any socket is shut down */
	bool network_stopped;	/* the TCP sockets were shut down */
	bool local_stopped;	/* QEMU's sockets were */
	bool failed;		/* failure is set */
	bool failure_sent;
	bool done_sent;
	uint64_t failed_subject; /* the channel, and migration/violation.h */
	Error failure;

	int wake_fd; /* eventfd: a thread has something for the main thread */
	int status_fd;
	Pace pace;
	Channel channels[LIMIT_CHANNELS];
	Proof *proofs[LIMIT_CHANNELS_PENDING];
	unsigned int drops_logged;
};

/* Whether the migration has a channel of this number; before MOVER_SETUP it has none. */
bool session_has_channel(const Session *session, uint64_t number);
/* What judges the channel's bytes. */
const Filter *session_filter(const Channel *channel);

/* session.c: a session without threads. `wake_fd` and `status_fd` are taken; the link is not. */
MUST_CHECK bool session_init(Session *session, const MoverConfig *config, const Log *log,
			     int wake_fd, int status_fd, Error *err);
/* Stops, joins, closes and wipes everything. */
void session_clear(Session *session);

/* Ends everything at once, without end records: QEMU and the peer see broken streams. */
void session_stop(Session *session);
/* All threads end their work, with a cause; the first one counts. `subject` is the channel, with what
 * migration/violation.h has beside it. May be called by any thread. The sockets end when the main
 * thread has told the engine, which else might hear the peer or QEMU complain first; QEMU's of the
 * stream at the source when the engine has cancelled QEMU and aborts us. */
void session_fail(Session *session, uint64_t subject, const Error *cause);
/* Wakes the main thread. */
void session_wake(const Session *session);

/* Handles one message of the engine. False with *err if the engine broke the contract or cannot be
 * answered: the mover then ends. */
MUST_CHECK bool session_on_message(Session *session, IpcMessage *message, Error *err);
/* A proof's socket has bytes. */
void session_on_proof_readable(Session *session, size_t proof);
/* Drops connections whose time is over. */
void session_expire_proofs(Session *session, int64_t now_us);
/* A disk whose handshake takes too long ends the migration. The other one: when that would be, or -1. */
void session_expire_handshakes(Session *session, int64_t now_us);
int64_t session_handshake_deadline_us(const Session *session);
/* A channel's TCP connection is gone although this side still has to send. */
void session_on_hangup(Session *session, Channel *channel);
/* Sends what threads have for the engine: ends, failure, done. */
MUST_CHECK bool session_report(Session *session, Error *err);

/* setup.c: MOVER_SETUP, which comes once. Opens the filters. */
MUST_CHECK bool session_setup(Session *session, const IpcMessage *message, Error *err);
/* From the thread of a channel: what a filter warns of (FilterSetup.on_warning), for the log of the
 * host and for the engine. */
void session_on_warning(void *context, const char *text);

/* stats.c */
MUST_CHECK bool session_stats(const Session *session, MoverStats *ret_stats, Error *err);

#endif
