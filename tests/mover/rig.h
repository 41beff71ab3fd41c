/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two real movers and everything around them: the engines (links), the gate (preambles), QEMU (UNIX
 * sockets) and the network (loopback TCP), with a relay in the middle that can do harm to records.
 */
#ifndef SEALIFT_TESTS_MOVER_RIG_H
#define SEALIFT_TESTS_MOVER_RIG_H

#include <pthread.h>
#include <sys/types.h>

#include "base/error.h"
#include "migration/violation.h"
#include "role/messages.h"

enum { RIG_DEADLINE_MS = 20000, RIG_SIDES = MOVER_SIDE_COUNT };

typedef struct RigMover {
	pid_t pid;
	IpcLink *link;
	unsigned int proven;	       /* count of MOVER_PROVEN */
	bool ended[2][LIMIT_CHANNELS]; /* [outbound] */
	uint64_t ended_bytes[2][LIMIT_CHANNELS];
	bool done, failed, gone, have_stats;
	uint64_t failed_channel;
	uint64_t failed_subject; /* of the last ROLE_FAILED, with migration/violation.h */
	unsigned int warned;	 /* count of those that only warned; not `failed` */
	RoleFailure failure;
	MoverStats stats; /* of MOVER_DONE or MOVER_STATS */
} RigMover;

/* What the relay does to the record with this index (0 is the ping) of a direction. */
typedef enum RigFault {
	RIG_NONE,
	RIG_FLIP, /* one bit of the ciphertext */
	RIG_FLIP_TAG,
	RIG_LENGTH,   /* the length field shrinks by one */
	RIG_OVERSIZE, /* the length field says more than the limit */
	RIG_DROP,
	RIG_REPEAT,
	RIG_SWAP,     /* with the next one */
	RIG_TRUNCATE, /* half the record, then the connection is cut */
	RIG_CUT,      /* the connection is cut before the record */
} RigFault;

typedef struct RigRelay {
	pthread_t threads[2];
	bool running;
	int source_fd, destination_fd; /* of the relay's two connections */
	RigFault fault;
	bool to_source; /* the fault strikes the way back */
	uint64_t record;
	uint8_t *seen; /* if not NULL: the first seen_size wire bytes towards the destination */
	size_t seen_size, seen_used;
} RigRelay;

typedef struct RigOptions {
	const char *path;	/* of the program, for both sides */
	const char *other_path; /* if not NULL: that of the destination */
	const char *aead;
	bool sealed;
	unsigned int channels;
	unsigned int disks;	  /* channels of disks beside them: "disk-0" and so on */
	uint64_t disk_size_bytes; /* of each; 0: 1 MiB */
	bool disks_late;	  /* rig_connect_all leaves their local sockets to the test */
	MoverGuard source_guard;
	uint64_t bandwidth_bytes_s;
	const char *user; /* --user, or NULL */
	bool wrong_key;	  /* the sides' PRKs differ */
} RigOptions;

typedef struct Rig {
	RigOptions options;
	RigMover movers[RIG_SIDES];
	int qemu[RIG_SIDES]
		[LIMIT_CHANNELS]; /* the test's end of QEMU's sockets; the test may close */
	RigRelay relays[LIMIT_CHANNELS];
	uint8_t secret[ROLE_SECRET_BYTES];
	uint8_t routing[MIGRATION_ID_BYTES];
} Rig;

/* How many channels there are, and the number of the i-th of them, in the protocol. */
unsigned int rig_channels(const Rig *rig);
unsigned int rig_channel(const Rig *rig, unsigned int i);

/* The program under test, from the environment. */
const char *rig_program(void);

/* Starts both movers and sends MOVER_SETUP. Ends the test program on failure. */
void rig_start(Rig *rig, const RigOptions *options);
/* Closes links, sockets, ends relays; asserts that both movers exit with status 0. */
void rig_stop(Rig *rig);

/* A connected loopback TCP pair. */
void rig_tcp_pair(int fds[2]);
/* Gives a connected socket to a mover as its local side of a channel. */
void rig_give_local(Rig *rig, MoverSide side, unsigned int channel, int fd);
/* The same, with one end of a pair; the other is rig->qemu. */
void rig_connect_local(Rig *rig, MoverSide side, unsigned int channel);
/* Gives a connected socket to the source as a channel's connection. */
void rig_give_source(Rig *rig, unsigned int channel, int fd);
/* The gate's part: reads the preamble from fd, then gives fd to the destination. */
void rig_give_destination(Rig *rig, unsigned int channel, int fd);
/* Opens a channel over TCP, through a relay if a fault is set (or bytes are to be seen). */
void rig_connect_network(Rig *rig, unsigned int channel);
/* All of the above for all channels, and waits until all are proven. */
void rig_connect_all(Rig *rig);

/* Receives messages of a mover until `*flag` is true. Fails the test at the deadline, or when the
 * mover fails without `flag` being about that. */
void rig_wait(Rig *rig, MoverSide side, const bool *flag);
void rig_wait_proven(Rig *rig, MoverSide side, unsigned int count);
/* Handles what is there without waiting longer than timeout_ms for more. False: nothing came. */
bool rig_poll(Rig *rig, MoverSide side, int timeout_ms);
void rig_send(Rig *rig, MoverSide side, uint16_t type, uint64_t subject, const Schema *schema,
	      const void *payload);

/* A thread that writes or checks a reproducible stream. */
typedef struct RigStream {
	pthread_t thread;
	int fd;
	uint64_t seed, bytes;
	size_t piece;	/* of one write */
	bool constant;	/* one page over and over: for measurements, not checked */
	uint64_t moved; /* by the reader, before end or error */
	bool clean;	/* reader: end of file came; writer: all written */
	bool same;	/* reader: bytes were those of the seed */
} RigStream;
void rig_write_start(RigStream *stream);
void rig_read_start(RigStream *stream);
void rig_stream_join(RigStream *stream);

#endif
