/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main channel of QEMU's migration stream (migration/savevm.c), in the direction from source to
 * destination, as a sequence of units (unit.h):
 *
 *	stream  := HEADER [MACHINE] CONFIGURATION* item* EOF [VMDESC VMDESC_BYTES*]
 *	item    := SECTION payload FOOTER | COMMAND
 *	payload := RAM* | BITMAP* | GLOBAL_STATE | PAYLOAD* | TAIL*
 *
 * A device's section (FULL) carries no length: only the tables of that device know where it ends.
 * For those whose form is not known here the caller must say it, once the SECTION unit came:
 * main_stream_expect_payload if it knows, or main_stream_hold_tail if it has to see what follows
 * first. Nothing else may be asked in between.
 *
 * The decoder holds what QEMU does not: sections begin once, go on only between their START and
 * END, only by known names; commands come in their order, once; a package is none in a package and
 * ends with POSTCOPY_RUN; nothing follows the end. Refusals name the byte of the stream at which
 * the refused unit begins, and the section.
 */
#ifndef SEALIFT_QEMUSTREAM_MAIN_H
#define SEALIFT_QEMUSTREAM_MAIN_H

#include "qemustream/command.h"
#include "qemustream/configuration.h"
#include "qemustream/dirty_bitmap.h"
#include "qemustream/ram.h"
#include "qemustream/unit.h"

enum {
	MAIN_ITERATIVE_MAX = 4,	     /* kinds of sections that START, each once */
	MAIN_SECTION_ID_MAX = 65535, /* QEMU counts devices that ever were plugged */
	MAIN_PACKAGE_MAX = 256 * 1024 * 1024,
	MAIN_VMDESC_MAX = 16 * 1024 * 1024,
	MAIN_RUNSTATE_SIZE = 32,
};

/* What both sides agreed on, which the stream itself does not say. What is not allowed here is
 * refused by grammar. All zero but page_size: precopy without any capability, current machine. */
typedef struct MainStreamOptions {
	uint32_t
		page_size; /* of the target: a power of two, RAM_PAGE_SIZE_MIN..RAM_PAGE_SIZE_MAX */
	bool multifd;	   /* MULTIFD_FLUSH may come */
	bool xbzrle;	   /* XBZRLE may come */
	bool postcopy;	   /* POSTCOPY_ADVISE with page sizes may come */
	bool dirty_bitmaps; /* dirty-bitmap sections, POSTCOPY_ADVISE without page sizes */
	bool ignore_shared; /* x-ignore-shared: must be listed; blocks come with their address */
	/* Names of blocks whose page size is not that of the host (hugetlbfs): with postcopy their
	 * page size is in the list. Borrowed as long as the stream, NULL at the end; NULL: none. */
	const char *const *other_page_size;
	/* Very old machine types: send-configuration, send-section-footer off, suppress-vmdesc. */
	bool without_configuration, without_footers, without_vmdesc;
	uint32_t package_max; /* bytes; 0: MAIN_PACKAGE_MAX */
	uint32_t vmdesc_max;  /* bytes; 0: MAIN_VMDESC_MAX */
} MainStreamOptions;

typedef enum MainKind {
	MAIN_HEADER,	    /* magic and version 3 */
	MAIN_CONFIGURATION, /* configuration */
	MAIN_SECTION,	    /* section: the header of one */
	MAIN_RAM,	    /* ram: a record or a run of records */
	MAIN_BITMAP,	    /* bitmap: a record */
	MAIN_GLOBAL_STATE,  /* global_state: the whole payload */
	MAIN_PAYLOAD,	    /* bytes, a piece of a payload of known length */
	MAIN_TAIL,	    /* bytes, a piece of what is held */
	MAIN_FOOTER,
	MAIN_COMMAND, /* command */
	MAIN_EOF,
	MAIN_VMDESC,	   /* vmdesc_bytes of JSON follow */
	MAIN_VMDESC_BYTES, /* bytes, a piece of them */
	MAIN_KIND_COUNT,
} MainKind;

typedef enum MainSectionType {
	MAIN_SECTION_START = 1, /* as tagged on the wire */
	MAIN_SECTION_PART = 2,
	MAIN_SECTION_END = 3,
	MAIN_SECTION_FULL = 4,
} MainSectionType;

typedef struct MainSection {
	MainSectionType type;
	uint32_t id;
	/* PART and END do not carry these three: they are repeated from the START. `name` lies in
	 * the window or in the stream, and holds until the next call. */
	UnitName name;
	uint32_t instance_id, version_id;
	bool needs_length; /* call main_stream_expect_payload or main_stream_hold_tail */
} MainSection;

typedef struct MainGlobalState {
	char runstate[MAIN_RUNSTATE_SIZE]; /* "running", NUL terminated printable ASCII */
	bool has_suspended, suspended;	   /* since QEMU 9.0: vm_was_suspended */
} MainGlobalState;

typedef struct MainUnit {
	MainKind kind;
	size_t size_bytes; /* of the window */
	uint64_t at;	   /* bytes of the stream before this unit */
	bool packaged;	   /* inside a package, up to its POSTCOPY_RUN */
	union {
		ConfigurationUnit configuration;
		MainSection section;
		RamUnit ram;
		BitmapUnit bitmap;
		MainGlobalState global_state;
		CommandUnit command;
		const uint8_t *bytes; /* size_bytes of them */
		uint32_t vmdesc_bytes;
	};
} MainUnit;

/* One stream; some 40 KiB, whatever a peer sends. For one thread at a time. */
typedef struct MainStream MainStream;

/* Owned by the caller. ERROR_INTERNAL for bad options or without memory. */
MUST_CHECK MainStream *main_stream_new(const MainStreamOptions *options, Error *err);
/* NULL is fine. */
void main_stream_free(MainStream *stream);
DEFINE_CLEANUP(MainStream, main_stream, main_stream_free)
#define AUTO_MAIN_STREAM CLEANUP(main_stream_cleanup)

/*
 * The unit at the front of the window, see unit.h. *ret_unit is written with UNIT_WHOLE only, and
 * points into the window. ERROR_PEER for what the grammar forbids; ERROR_INTERNAL if a length that
 * was needed was not told, or a tail is complete and was not released. A window of UNIT_WINDOW
 * bytes always holds a whole unit; a larger one makes longer runs of pages.
 */
MUST_CHECK UnitResult main_stream_next(MainStream *stream, const uint8_t *window, size_t size,
				       MainUnit *ret_unit, Error *err);

/* After a MAIN_SECTION with needs_length: its payload has this many bytes, which come as
 * MAIN_PAYLOAD; 0 is fine. Asserts that it was asked for. */
void main_stream_expect_payload(MainStream *stream, uint64_t size_bytes);

/*
 * After such a MAIN_SECTION that is no early one (main_stream_may_hold): everything from here up to
 * the end of the stream, or of the package, comes as MAIN_TAIL and is decoded no further. The
 * caller keeps it, within a bound of its own, finds the lengths in it, and calls
 * main_stream_release_tail: the stream is then where it was before the hold, wants
 * main_stream_expect_payload, and must be shown the same bytes again.
 */
bool main_stream_may_hold(const MainStream *stream);
void main_stream_hold_tail(MainStream *stream);
void main_stream_release_tail(MainStream *stream);
/* Whether the tail goes no further: it was held in a package, and that is complete. */
bool main_stream_tail_is_complete(const MainStream *stream);

/*
 * The connection was lost after POSTCOPY_RUN and a new one opened for recovery: what follows is
 * RECV_BITMAP commands, POSTCOPY_RESUME, and then the stream from an item on; a unit that was cut
 * counts as never sent. Returns false, ERROR_CONFLICT, in any other state.
 */
MUST_CHECK bool main_stream_resume(MainStream *stream, Error *err);

/* The connection was closed with `left` bytes undecoded. ERROR_PEER unless the stream is
 * complete and none are left. */
MUST_CHECK bool main_stream_finish(const MainStream *stream, size_t left, Error *err);

/* The announced blocks, for the decoders of other channels; see RamBlocks for when. Lives as long
 * as the stream. */
const RamBlocks *main_stream_blocks(const MainStream *stream);

/* Bytes of the stream that were decoded. */
uint64_t main_stream_offset(const MainStream *stream);

/* "SECTION", "RAM": for logs and tests. */
const char *main_kind_word(MainKind kind);

#endif
