/* SPDX-License-Identifier: Apache-2.0 */
/* The program, but for main() and its constants: tests build one with filters and limits of their
 * own. */
#ifndef SEALIFT_PROGRAMS_MOVER_MOVER_H
#define SEALIFT_PROGRAMS_MOVER_MOVER_H

#include "programs/mover/filter.h"
#include "wire/record.h"

typedef struct MoverConfig {
	const StreamFilter *filter;	 /* of the stream's channels; NULL: none */
	const StreamFilter *disk_filter; /* of the disks' */
	bool filter_always;		 /* also where MoverSetup says MOVER_GUARD_OFF: for tests */
	RecordLimits limits;
	size_t padding;	  /* see RecordOptions */
	int64_t proof_us; /* how long a connection may take to prove itself */
	/* At the source, from the moment that a disk's local end is here until its NBD handshake is
	 * over, as far as a filter judges it: QEMU does nothing else meanwhile, not even for its
	 * guest. 0: for ever. */
	int64_t handshake_us;
} MoverConfig;

/* argv: --channels N [--disks N] [--user UID:GID]; link on ROLE_LINK_FD. Returns the exit status: 0
 * once the engine closed the link. */
int mover_main(int argc, char **argv, const MoverConfig *config);

#endif
