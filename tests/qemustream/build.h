/* SPDX-License-Identifier: Apache-2.0 */
/* Makes main channels piece by piece, and judges how the decoder takes them. */
#ifndef SEALIFT_TESTS_QEMUSTREAM_BUILD_H
#define SEALIFT_TESTS_QEMUSTREAM_BUILD_H

#include "tests/support/support.h"

#include "qemustream/main.h"

enum {
	PAGE = 4096,
	DEVICE_BYTES = 10, /* what the judges below say of each payload's length */
	RAM_ID = 2,
};

/* Bytes that were put; failures to put end the test. */
typedef struct Build {
	Buffer bytes;
	size_t mark; /* where the unit begins that was put last */
} Build;

#define BUILD_INIT ((Build){ .bytes = BUFFER_INIT(1 << 22) })
#define AUTO_BUILD CLEANUP(build_clear)
void build_clear(Build *build);

/* The next byte begins a unit. */
void mark(Build *build);

void put_u8(Build *build, uint8_t value);
void put_be16(Build *build, uint16_t value);
void put_be32(Build *build, uint32_t value);
void put_be64(Build *build, uint64_t value);
void put_bytes(Build *build, const void *bytes, size_t size);
void put_zeros(Build *build, size_t size);
/* A counted string. */
void put_name(Build *build, const char *name);

/* Each of these is a unit, or several, and marks the last one. */
void put_header(Build *build);
void put_machine(Build *build, const char *machine);
void put_subsection(Build *build, const char *name, uint32_t version);
void put_start(Build *build, uint32_t id, const char *name, uint32_t version);
void put_full(Build *build, uint32_t id, const char *name, uint32_t instance);
void put_part(Build *build, uint32_t id);
void put_end(Build *build, uint32_t id);
void put_footer(Build *build, uint32_t id);
void put_command(Build *build, CommandKind kind, const void *data, uint16_t size);
void put_ping(Build *build, uint32_t cookie);
void put_advise(Build *build);
void put_eof(Build *build);
void put_vmdesc(Build *build, const char *json);
void put_mem_size(Build *build, uint64_t bytes);
void put_block(Build *build, const char *name, uint64_t bytes);
void put_eos(Build *build);
/* A page; block NULL: CONTINUE. */
void put_page(Build *build, const char *block, uint64_t offset, uint8_t fill);
void put_zero(Build *build, const char *block, uint64_t offset);
/* A device's whole section, 10 bytes. */
void put_device(Build *build, uint32_t id, const char *name);
void put_global_state(Build *build, uint32_t id, const char *runstate);

/* Header, machine; then `ram` as section 2 with blocks pc.ram of 64 pages and pc.bios of 16. */
void put_begin(Build *build);
void put_ram_start(Build *build);
/* END of ram, a device, EOF, vmdesc: what makes a begun stream complete. */
void put_finish(Build *build);
/* Up to a device's header in a package of postcopy, which has `size` bytes in all. */
void put_package(Build *build, uint32_t size);

extern const MainStreamOptions options_plain, options_all;

/* Decodes all of it: a whole number of units, none refused; whether it is the end of the stream too
 * is `complete`. */
void judge_good(const MainStreamOptions *options, const Build *build, bool complete);
/* Decodes it up to the mark; what stands there is refused, with this text and the mark's offset. */
void judge_bad(const MainStreamOptions *options, const Build *build, const char *text);
/* The unit at the mark, after what stands before it. The stream is the caller's to free. */
MainStream *judge_unit(const MainStreamOptions *options, const Build *build, MainUnit *ret_unit);

/* What must hold of every good stream: cut at each byte it is never refused and never complete,
 * shown byte by byte it gives the same units, and no flipped bit does harm. */
void judge_all_cuts(const MainStreamOptions *options, const Build *build);

#endif
