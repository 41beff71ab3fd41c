/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift inspect --guard`: what the guard of this host would say of a recorded channel. */
#ifndef SEALIFT_PROGRAMS_CLI_INSPECT_GUARD_H
#define SEALIFT_PROGRAMS_CLI_INSPECT_GUARD_H

#include "guard/guard.h"
#include "programs/cli/inspect.h"

typedef struct InspectGuardOptions {
	bool return_path;	 /* judged as by the source; the rest is not looked at */
	const char *machine;	 /* NULL: that of the twin */
	const char *twin, *dump; /* files; both or ERROR_USAGE */
	const char *channels;	 /* NULL: as many as may be */
	const char *agreed;	 /* features, by their words; NULL: none */
	const char *disks;	 /* NAME=BYTES,... whose dirty bitmaps may come; NULL: none */
	const char *sent;	 /* with return_path: file of the main channel that was answered */
} InspectGuardOptions;

/* Reads the files, so before the sandbox. Owned by the caller. ERROR_USAGE if they are not what
 * they should be. */
MUST_CHECK Guard *inspect_guard_new(const InspectGuardOptions *options, Error *err);

/* Shows the guard the file as this channel, 0 being main or the return path. ERROR_PEER: it
 * refused; the text is its own. */
MUST_CHECK bool inspect_guard(Inspect *inspect, Guard *guard, unsigned int channel, Error *err);

#endif
