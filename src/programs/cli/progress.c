/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/progress.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "programs/cli/api.h"
#include "programs/cli/text.h"

enum { BAR_MAX = 30, BAR_MIN = 8, PARTS = 8, PART_SIZE = 64 };

static const char *const phases[] = { "begin",	"prepare", "transfer", "switchover",
				      "commit", "finish",  "done" };

/* Where each part stands in the line; the number that it has in drop_order says what goes first. */
typedef enum Part {
	PART_PHASE,
	PART_DISKS,
	PART_PERCENT,
	PART_BAR,
	PART_RATE,
	PART_ITERATION,
	PART_TOTAL,
	PART_DOWNTIME,
} Part;

static const Part drop_order[] = { PART_BAR, PART_ITERATION, PART_DOWNTIME, PART_TOTAL, PART_RATE,
				   PART_DISKS };

static const char *const bad_ends[] = { "failed", "cancelled", "stuck" };

/* Their totals grow as the guest writes; what is shown does not fall for that. */
static void update_disks(Progress *progress, const json_t *migration)
{
	size_t count = api_count(migration, "disks");
	uint64_t done = 0, total = 0;

	for (size_t i = 0; i < count; i++) {
		const json_t *disk = api_item(migration, "disks", i);
		double disk_done, disk_total;

		if (!api_number(disk, "done_bytes", &disk_done) ||
		    !api_number(disk, "total_bytes", &disk_total) || disk_done > disk_total ||
		    disk_total > 1e17)
			continue;
		done += (uint64_t)disk_done;
		total += (uint64_t)disk_total;
	}
	progress->has_disks |= count != 0;
	if (total && done * 100 / total > progress->disks_percent)
		progress->disks_percent = (unsigned int)(done * 100 / total);
}

void progress_update(Progress *progress, const json_t *migration)
{
	const char *phase = api_text(migration, "phase"), *state = api_text(migration, "state");
	double percent;
	uint64_t iteration;

	for (size_t i = progress->phase + 1; phase && i < ARRAY_SIZE(phases); i++)
		if (!strcmp(phase, phases[i]))
			progress->phase = i;
	if (api_number(migration, "percent", &percent)) {
		unsigned int whole = percent >= 100 ? 100 : (unsigned int)percent;

		if (whole > progress->percent)
			progress->percent = whole;
	}
	if (state && !strcmp(state, "done"))
		progress->percent = 100;
	for (size_t i = 0; state && i < ARRAY_SIZE(bad_ends); i++)
		if (!strcmp(state, bad_ends[i]))
			progress->ended = bad_ends[i];
	if (api_u64(migration, "iteration", &iteration) && iteration > progress->iteration)
		progress->iteration = iteration;
	update_disks(progress, migration);
	/* What is not said any more is not known any more: an old forecast would be a lie. */
	progress->has_rate = api_u64(migration, "rate_bytes_s", &progress->rate_bytes_s);
	progress->has_total =
		api_number(migration, "forecast_total_ms", &progress->forecast_total_ms);
	progress->has_downtime =
		api_number(migration, "forecast_downtime_ms", &progress->forecast_downtime_ms);
}

static void write_bar(unsigned int percent, size_t width, char *out)
{
	size_t filled = width * percent / 100;

	out[0] = '[';
	memset(out + 1, '=', filled);
	memset(out + 1 + filled, ' ', width - filled);
	if (filled < width)
		out[1 + filled] = '>';
	out[1 + width] = ']';
	out[2 + width] = '\0';
}

static void write_parts(const Progress *progress, char parts[PARTS][PART_SIZE])
{
	char number[TEXT_NUMBER_SIZE];

	snprintf(parts[PART_PHASE], PART_SIZE, "%-10s",
		 progress->ended ? progress->ended : phases[progress->phase]);
	if (progress->has_disks)
		snprintf(parts[PART_DISKS], PART_SIZE, "disks %3u %%", progress->disks_percent);
	snprintf(parts[PART_PERCENT], PART_SIZE, "%3u %%", progress->percent);
	write_bar(progress->percent, BAR_MIN, parts[PART_BAR]);
	if (progress->has_rate) {
		text_rate(progress->rate_bytes_s, number);
		snprintf(parts[PART_RATE], PART_SIZE, "%9s", number);
	}
	if (progress->iteration)
		snprintf(parts[PART_ITERATION], PART_SIZE, "iteration %llu",
			 (unsigned long long)progress->iteration);
	if (progress->has_total) {
		text_duration(progress->forecast_total_ms, number);
		snprintf(parts[PART_TOTAL], PART_SIZE, "total ~%s", number);
	}
	if (progress->has_downtime) {
		text_duration(progress->forecast_downtime_ms, number);
		snprintf(parts[PART_DOWNTIME], PART_SIZE, "downtime ~%s", number);
	}
}

static size_t parts_length(char parts[PARTS][PART_SIZE])
{
	size_t length = 0;

	for (size_t i = 0; i < PARTS; i++)
		if (parts[i][0])
			length += strlen(parts[i]) + (length ? 2 : 0);
	return length;
}

void progress_format(const Progress *progress, unsigned int columns, char out[PROGRESS_LINE_SIZE])
{
	char parts[PARTS][PART_SIZE] = { 0 };
	size_t room, used = 0;

	if (columns < PROGRESS_COLUMNS_MIN)
		columns = PROGRESS_COLUMNS_MIN;
	if (columns > PROGRESS_COLUMNS_MAX)
		columns = PROGRESS_COLUMNS_MAX;
	room = columns - 1;
	write_parts(progress, parts);
	for (size_t i = 0; i < ARRAY_SIZE(drop_order) && parts_length(parts) > room; i++)
		parts[drop_order[i]][0] = '\0';
	if (parts[PART_BAR][0]) {
		size_t spare = room - parts_length(parts);

		write_bar(progress->percent, spare > BAR_MAX - BAR_MIN ? BAR_MAX : BAR_MIN + spare,
			  parts[PART_BAR]);
	}
	out[0] = '\0';
	for (size_t i = 0; i < PARTS; i++)
		if (parts[i][0])
			used += (size_t)snprintf(out + used, PROGRESS_LINE_SIZE - used, "%s%s",
						 used ? "  " : "", parts[i]);
}
