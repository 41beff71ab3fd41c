/* SPDX-License-Identifier: Apache-2.0 */
/* A small VM for the guard's tests: what its twin says, streams of it, and what guards do to them.
 */
#ifndef SEALIFT_TESTS_GUARD_SAMPLES_H
#define SEALIFT_TESTS_GUARD_SAMPLES_H

#include "tests/qemustream/build.h"

#include "guard/guard.h"

enum {
	SAMPLE_RAM_PAGES = 64,
	SAMPLE_BIOS_PAGES = 16,
	SAMPLE_ACPI_PAGES = 32, /* in the twin; 512 may be */
	SAMPLE_CHANNELS = 3,
	SAMPLE_DEVICE_ID = 4,
	SAMPLE_SINK_MAX = 1 << 23,
	SAMPLE_DISK_BYTES = 64 << 20,
};

#define SAMPLE_MACHINE "pc-q35-10.0"
#define SAMPLE_DISK    "disk" /* whose dirty bitmaps may come */
#define SAMPLE_ACPI    "/rom@etc/acpi/tables"
/* One device: put_device(build, SAMPLE_DEVICE_ID, "timer"). */
#define SAMPLE_DESCRIPTION                                                                         \
	"{\"page_size\": 4096, \"devices\": [{\"name\": \"timer\", \"instance_id\": 0, "           \
	"\"vmsd_name\": \"timer\", \"version\": 1, \"fields\": [{\"name\": \"x\", "                \
	"\"type\": \"buffer\", \"size\": 10}]}]}"

extern const uint8_t sample_uuid[16];

/* The twin's stream. */
void put_twin(Build *build);
/* The START of ram with the three blocks, and ACPI tables of this many pages. */
void put_sample_ram_start(Build *build, uint64_t acpi_pages);
/* From the END of ram on: the device, the description. */
void put_sample_finish(Build *build);
/* A whole main channel that fits the twin. */
void put_sample_main(Build *build);

/* Its begin: header, machine, OPEN_RETURN_PATH, PING. */
void put_setup(Build *build);

/* Multifd: an initial packet, a packet with its pages, SYNC. */
void put_initial(Build *build, uint8_t id);
void put_pages(Build *build, const char *block, uint32_t pages, uint32_t zero_pages,
	       uint64_t number);
void put_sync(Build *build, uint64_t number);

/* Owned by the caller. With xbzrle main is the only channel, with preempt channel 2 is that. */
Guard *sample_guard(const GuardOptions *options);
Guard *sample_guard_agreed(const GuardOptions *options, uint32_t agreed);

/* What came out. */
typedef struct Sink {
	Buffer bytes;
	bool fails; /* it takes nothing more */
} Sink;
#define SINK_INIT ((Sink){ .bytes = BUFFER_INIT(SAMPLE_SINK_MAX) })
GuardSink sink_of(Sink *sink);
void sink_clear(Sink *sink);
#define AUTO_SINK CLEANUP(sink_clear)

/*
 * Shows a channel's bytes in pieces of 1 to `piece` bytes, each behind what was left, as a mover
 * does; then its end if `end`. Returns what the guard says.
 */
bool sample_feed(Guard *guard, unsigned int channel, const uint8_t *bytes, size_t size,
		 size_t piece, bool end, Sink *sink, Error *err);

#endif
