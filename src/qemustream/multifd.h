/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder of one multifd channel: an initial packet, then packets that each announce pages of one
 * RAM block, or a part of a device's state, and the bytes that belong to them.
 *
 * What it holds by grammar: magic, version, reserved bytes, known flags, counts within a packet's
 * size, aligned offsets, and exactly as many bytes as the counts say. QEMU's receivers of
 * compressed pages read what a packet announces into a buffer of MULTIFD_COMPRESSED_MAX without
 * looking (QEMU work item 4035): no packet with more leaves here. What a compressed payload
 * expands to is for decompress.h. Left to the guard: id, UUID, block names, ranges of offsets,
 * packet numbers, and how SYNCs pair with the main channel.
 *
 * Source: migration/multifd.{c,h}, multifd-nocomp.c, multifd-zlib.c and multifd-zstd.c of QEMU
 * 7.2 to 10.2. Compression by QPL, UADK and QATzip is refused.
 */
#ifndef SEALIFT_QEMUSTREAM_MULTIFD_H
#define SEALIFT_QEMUSTREAM_MULTIFD_H

#include "base/buffer.h"
#include "qemustream/unit.h"

enum {
	MULTIFD_PACKET_BYTES = 512 * 1024, /* pages of a packet; MULTIFD_PACKET_SIZE of multifd.h */
	MULTIFD_COMPRESSED_MAX = 2 * MULTIFD_PACKET_BYTES, /* what a receiver's zbuff holds */
	MULTIFD_WINDOW = MULTIFD_COMPRESSED_MAX, /* the longest unit; more than UNIT_WINDOW */
	MULTIFD_PAGE_SIZE_MIN = 4096,
	MULTIFD_PAGE_SIZE_MAX = 65536,
	MULTIFD_UUID_SIZE = 16,
	/* A packet's header is this long and 8 bytes for each page that it could carry. */
	MULTIFD_OFFSETS_AT = 320,
};

/* The method that both ends have as multifd-compression; every packet with pages must name it. */
typedef enum MultifdCompression {
	MULTIFD_COMPRESSION_NONE,
	MULTIFD_COMPRESSION_ZLIB,
	MULTIFD_COMPRESSION_ZSTD,
	MULTIFD_COMPRESSION_COUNT,
} MultifdCompression;

typedef struct MultifdOptions {
	uint32_t page_size; /* of the target, a power of two, MULTIFD_PAGE_SIZE_MIN..MAX */
	MultifdCompression compression;
	/* The longest part of a device's state (VFIO, QEMU 10.0) in one packet; 0 refuses them all.
	 * QEMU takes a buffer of what such a packet announces. */
	uint32_t device_state_max_bytes;
} MultifdOptions;

typedef enum MultifdUnitKind {
	MULTIFD_UNIT_INITIAL,	   /* once, first */
	MULTIFD_UNIT_PACKET,	   /* a header with its offsets */
	MULTIFD_UNIT_PAYLOAD,	   /* some of the pages of an uncompressed packet, or of a state */
	MULTIFD_UNIT_COMPRESSED,   /* all of the payload of a compressed packet */
	MULTIFD_UNIT_DEVICE_STATE, /* a header; PAYLOAD follows */
} MultifdUnitKind;

typedef struct MultifdInitial {
	const uint8_t *uuid; /* MULTIFD_UUID_SIZE bytes */
	uint8_t id;
} MultifdInitial;

/*
 * Packets without pages carry no payload, whatever their next_packet_size says: sources before 9.0
 * leave there, and in the name, what the packet before had. The same sources send pages together
 * with SYNC, and then an empty packet without, when a SYNC is asked for while pages wait.
 */
typedef struct MultifdPacket {
	bool sync;
	uint32_t pages_alloc;
	uint32_t normal_pages;
	uint32_t zero_pages;
	uint32_t payload_bytes; /* that follow as PAYLOAD or COMPRESSED */
	uint64_t packet_num;
	UnitName block;		/* printable ASCII, 1..255 bytes if there are pages */
	const uint8_t *offsets; /* see multifd_packet_offset */
} MultifdPacket;

typedef struct MultifdPayload {
	const uint8_t *bytes; /* size_bytes of the unit */
	uint32_t start;	      /* of these bytes in the payload */
	uint32_t left;	      /* bytes of the payload after them */
	/* Of a COMPRESSED unit: what it must expand to (decompress.h). */
	uint32_t expanded_bytes;
} MultifdPayload;

typedef struct MultifdDeviceState {
	UnitName idstr; /* 1..255 bytes of printable ASCII */
	uint32_t instance_id;
	uint32_t payload_bytes; /* that follow as PAYLOAD, at least 1 */
} MultifdDeviceState;

typedef struct MultifdUnit {
	MultifdUnitKind kind;
	size_t size_bytes;
	union {
		MultifdInitial initial;
		MultifdPacket packet;
		MultifdPayload payload;
		MultifdDeviceState device_state;
	};
} MultifdUnit;

/* One channel. The caller's memory; fields are the decoder's own. */
typedef struct MultifdStream {
	MultifdOptions options;
	int state;
	uint8_t id;
	uint32_t header_size;	 /* of a packet with pages of this size */
	uint32_t payload_size;	 /* of the packet that was decoded last */
	uint32_t payload_start;	 /* bytes of it that were decoded */
	uint32_t expanded_bytes; /* what they must expand to if they are compressed */
	uint64_t offset;	 /* bytes of the stream that were decoded */
} MultifdStream;

/* Options outside their bounds are our own bug (assert). */
void multifd_stream_init(MultifdStream *stream, const MultifdOptions *options);

/*
 * What stands at the front of `window`, as unit.h says: ERROR_PEER in *err for UNIT_BAD. A window
 * of MULTIFD_WINDOW always suffices; without compression one of UNIT_WINDOW does. PAYLOAD comes in
 * pieces as large as the window has them; an empty window is UNIT_MORE.
 */
MUST_CHECK UnitResult multifd_stream_next(MultifdStream *stream, const uint8_t *window, size_t size,
					  MultifdUnit *ret_unit, Error *err);

/* Whether the channel may end where the last unit did: after the initial packet, behind a whole
 * packet. No byte may be left over. */
bool multifd_stream_may_end(const MultifdStream *stream);

/* The offset in its block of page `index`: the normal pages come first, then the zero pages.
 * Aligned to the page size; whether the block is that long is not known here. */
static inline uint64_t multifd_packet_offset(const MultifdPacket *packet, uint32_t index)
{
	return load_be64(packet->offsets + 8 * (size_t)index);
}

#endif
