/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line of a migration: what has been seen of it, and how it is written. */
#ifndef SEALIFT_PROGRAMS_CLI_PROGRESS_H
#define SEALIFT_PROGRAMS_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PROGRESS_COLUMNS_MIN = 20,
	PROGRESS_COLUMNS_MAX = 200,
	PROGRESS_LINE_SIZE = PROGRESS_COLUMNS_MAX + 1,
};

/* Zero is the beginning. Phase, percent and iteration only grow, whatever the engine says: a bar
 * that runs backwards makes people press Ctrl-C. */
typedef struct Progress {
	size_t phase;	   /* index into the phases of DESIGN.md, section 6 */
	const char *ended; /* "failed", "cancelled", "stuck": then shown in the phase's place */
	unsigned int percent;
	unsigned int disks_percent; /* of disks that are copied, all together */
	bool has_disks, has_rate, has_total, has_downtime;
	uint64_t iteration, rate_bytes_s;
	double forecast_total_ms, forecast_downtime_ms;
} Progress;

/* Takes what a MIGRATION of docs/API.md says; members that are absent or odd change nothing. */
void progress_update(Progress *progress, const json_t *migration);

/* Writes the line for a terminal of so many columns (clamped to the bounds above), at most
 * columns - 1 characters, so that the cursor never wraps. What matters least is left out first. */
void progress_format(const Progress *progress, unsigned int columns, char out[PROGRESS_LINE_SIZE]);

#endif
