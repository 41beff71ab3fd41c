/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the main channel's decoder share. */
#ifndef SEALIFT_QEMUSTREAM_MAIN_INTERNAL_H
#define SEALIFT_QEMUSTREAM_MAIN_INTERNAL_H

#include "qemustream/grammar.h"
#include "qemustream/main.h"
#include "qemustream/main_tags.h"

/* What the next bytes are. */
typedef enum MainState {
	STATE_HEADER,
	STATE_MACHINE,
	STATE_SUBSECTION, /* of the configuration, or an item */
	STATE_ITEM,
	STATE_RAM_LIST,
	STATE_RAM,
	STATE_BITMAP,
	STATE_GLOBAL_STATE,
	STATE_LENGTH, /* waits for the caller's word */
	STATE_PAYLOAD,
	STATE_TAIL,
	STATE_FOOTER,
	STATE_VMDESC,
	STATE_VMDESC_BYTES,
	STATE_END,
	STATE_COUNT,
} MainState;

/* What may come at all. */
typedef enum MainPhase {
	PHASE_SETUP = 1 << 0,	 /* START, and FULL of early devices */
	PHASE_ITERATE = 1 << 1,	 /* PART, END */
	PHASE_DEVICES = 1 << 2,	 /* FULL, up to the end */
	PHASE_PACKAGE = 1 << 3,	 /* LISTEN, FULL, RUN */
	PHASE_POSTCOPY = 1 << 4, /* PART, END of what can be post-copied, up to the end */
	PHASE_RECOVERY = 1 << 5, /* up to POSTCOPY_RESUME */
} MainPhase;

typedef struct IterativeKind {
	const char *name;
	uint32_t version;
	MainState start, next; /* of the payload, in START and in others */
	size_t option; /* offset of the bool in MainStreamOptions that allows it; 0: always */
} IterativeKind;

/* A section that STARTed. */
typedef struct Iterative {
	const IterativeKind *kind;
	uint32_t id, instance_id;
	bool ended;
} Iterative;

typedef struct Tail {
	uint64_t offset;
	uint32_t package_left;
} Tail;

struct MainStream {
	MainStreamOptions options;
	MainState state;
	MainPhase phase;
	uint64_t offset; /* bytes of the stream before the window */
	bool refused;
	bool ignore_shared; /* the stream said so */
	ConfigurationKind last_configuration;
	uint32_t commands; /* bit n: command n came */
	bool advised_ram;  /* POSTCOPY_ADVISE had page sizes */
	bool any_end;	   /* a section had its END */
	uint32_t package_left;
	Tail tail;
	/* The section that is open: where its footer is due, and what errors name. */
	MainSectionType section_type;
	uint32_t section_id;
	char section_name[UNIT_NAME_SIZE];
	uint8_t section_name_size;
	Iterative *open; /* NULL for FULL */
	uint64_t payload_left;
	uint32_t vmdesc_left;
	RamBlocks blocks;
	RamList list;
	RamReader ram;
	BitmapReader bitmaps;
	size_t n_iterative;
	Iterative iterative[MAIN_ITERATIVE_MAX];
	uint8_t ids_used[(MAIN_SECTION_ID_MAX + 1) / 8];
};

/*
 * A step decodes what `state` names. It fills *unit, size_bytes included, and changes the stream
 * only when it returns UNIT_WHOLE.
 */
typedef UnitResult (*MainStep)(MainStream *stream, const uint8_t *window, size_t size,
			       MainUnit *unit, Error *err);

/* main_section.c */
UnitResult main_step_section(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err);
UnitResult main_step_footer(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err);
/* The payload is whole: what comes is the footer. */
void main_end_payload(MainStream *stream);
/* Whether `ram` began and had the header of its END. */
bool main_ram_has_ended(const MainStream *stream);

/* main_command.c */
UnitResult main_step_command(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err);

/* main_payload.c */
UnitResult main_step_ram_list(MainStream *stream, const uint8_t *window, size_t size,
			      MainUnit *unit, Error *err);
UnitResult main_step_ram(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			 Error *err);
UnitResult main_step_bitmap(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err);
UnitResult main_step_global_state(MainStream *stream, const uint8_t *window, size_t size,
				  MainUnit *unit, Error *err);
UnitResult main_step_length(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err);
UnitResult main_step_payload(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err);
UnitResult main_step_tail(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			  Error *err);

#endif
