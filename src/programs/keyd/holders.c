/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/holders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "role/keylink_messages.h"

enum { FIRST_SIZE = 256, PAGE = 16, MIGRATION_HEX = HANDOVER_HEX - 1 };

static const char handover_word[] = "handover ";

void holders_clear(Holders *holders)
{
	free(holders->places);
	free(holders->names);
	free(holders->handovers);
	*holders = (Holders){ 0 };
}

/* --- the table --- */

/* Ids are random; who could choose some gains a slow answer, which the table's bound keeps small.
 */
static size_t slot_of(const Holders *holders, const uint8_t id[KEY_ID_BYTES])
{
	return (size_t)(load_be64(id) ^ load_be64(id + 8)) & (holders->size - 1);
}

static Holder *look(const Holders *holders, const uint8_t id[KEY_ID_BYTES])
{
	size_t slot;

	if (!holders->size)
		return NULL;
	/* It ends at a free place: the table is never more than two thirds full. */
	for (slot = slot_of(holders, id); holders->places[slot].used;
	     slot = (slot + 1) & (holders->size - 1))
		if (!memcmp(holders->places[slot].id, id, KEY_ID_BYTES))
			break;
	return &holders->places[slot];
}

static bool grow(Holders *holders)
{
	Holders larger = { .size = holders->size ? 2 * holders->size : FIRST_SIZE };

	if (3 * (holders->used + 1) <= 2 * holders->size)
		return true;
	larger.places = calloc(larger.size, sizeof(*larger.places));
	if (!larger.places)
		return error_set(&holders->failure, ERROR_INTERNAL,
				 "no memory to know whose %zu keys are", holders->used);
	for (size_t i = 0; i < holders->size; i++)
		if (holders->places[i].used)
			*look(&larger, holders->places[i].id) = holders->places[i];
	free(holders->places);
	holders->places = larger.places;
	holders->size = larger.size;
	return true;
}

/* Keys of our own host have a place only if they had another holder before. */
static Holder *place_of(Holders *holders, const uint8_t id[KEY_ID_BYTES], bool make)
{
	Holder *holder = look(holders, id);

	if ((holder && holder->used) || !make)
		return holder && holder->used ? holder : NULL;
	if (!grow(holders))
		return NULL;
	holder = look(holders, id);
	*holder = (Holder){ .used = true };
	memcpy(holder->id, id, KEY_ID_BYTES);
	holders->used++;
	return holder;
}

/* --- names --- */

static uint16_t find_name(const Holders *holders, const char *name)
{
	if (!name[0])
		return HOLDER_OWN;
	for (size_t i = 0; i < holders->names_count; i++)
		if (!strcmp(holders->names[i], name))
			return (uint16_t)(i + 1);
	return HOLDER_UNKNOWN;
}

/* One too many holds what nobody may open: it is no reason to give it to another. */
static uint16_t number_of(Holders *holders, const char *name)
{
	uint16_t number = find_name(holders, name);

	if (number != HOLDER_UNKNOWN || holders->names_count == HOLDERS_NAMES_MAX)
		return number;
	if (!holders->names)
		holders->names = calloc(HOLDERS_NAMES_MAX, sizeof(*holders->names));
	if (!holders->names) {
		error_set(&holders->failure, ERROR_INTERNAL, "no memory for names of hosts");
		return HOLDER_UNKNOWN;
	}
	snprintf(holders->names[holders->names_count++], LIMIT_SPIFFE_ID, "%s", name);
	return (uint16_t)holders->names_count;
}

uint16_t holders_host(const Holders *holders, const char *who)
{
	char name[LIMIT_SPIFFE_ID];

	keylink_host_of_who(who, name);
	return find_name(holders, name);
}

const char *holders_name(const Holders *holders, uint16_t host)
{
	return host && host <= holders->names_count ? holders->names[host - 1] : "";
}

/* --- what the log says --- */

static Handover *find_handover(const Holders *holders, const uint8_t migration[16])
{
	for (size_t i = 0; holders->handovers && i < HANDOVERS_MAX; i++)
		if (holders->handovers[i].state &&
		    !memcmp(holders->handovers[i].migration, migration, 16))
			return &holders->handovers[i];
	return NULL;
}

/* A free place, or that of the oldest one that has ended, or of the oldest. */
static Handover *choose_place(Holders *holders)
{
	Handover *oldest = NULL;

	if (!holders->handovers)
		holders->handovers = calloc(HANDOVERS_MAX, sizeof(*holders->handovers));
	if (!holders->handovers) {
		error_set(&holders->failure, ERROR_INTERNAL, "no memory for moves between hosts");
		return NULL;
	}
	for (size_t i = 0; i < HANDOVERS_MAX; i++) {
		Handover *handover = &holders->handovers[i];
		bool ended = handover->state != HANDOVER_BEGUN;

		if (!handover->state)
			return handover;
		if (!oldest || (ended && oldest->state == HANDOVER_BEGUN) ||
		    (ended == (oldest->state != HANDOVER_BEGUN) &&
		     handover->number < oldest->number))
			oldest = handover;
	}
	return oldest;
}

static void begin_handover(Holders *holders, Holder *holder, const uint8_t migration[16],
			   const char *to, uint64_t number)
{
	Handover *handover = find_handover(holders, migration);

	if (!handover || handover->state != HANDOVER_BEGUN) {
		handover = choose_place(holders);
		if (!handover)
			return;
		*handover = (Handover){ .state = HANDOVER_BEGUN, .number = number };
		memcpy(handover->migration, migration, 16);
		handover->from = holder->host;
		handover->to = number_of(holders, strcmp(to, "-") != 0 ? to : "");
	}
	holder->handover = (uint16_t)(handover - holders->handovers + 1);
}

/* "handover HEX begun HOST": of no other place, since only keyd's own notes are `attested` and of
 * them only these begin so. */
static void note_handover(Holders *holders, const KeyLogEntry *entry)
{
	const char *text = entry->detail + sizeof(handover_word) - 1;
	char hex[HANDOVER_HEX];
	uint8_t migration[16];
	Handover *handover;
	Holder *holder;

	snprintf(hex, sizeof(hex), "%s", text);
	if (strlen(text) < MIGRATION_HEX + 1 || !hex_decode(hex, migration, sizeof(migration)))
		return;
	text += MIGRATION_HEX + 1;
	holder = place_of(holders, entry->key, true);
	if (holder && !strncmp(text, "begun ", 6))
		begin_handover(holders, holder, migration, text + 6, entry->number);
	handover = find_handover(holders, migration);
	if (!holder || !handover)
		return;
	/* A handover has its own keys, and a later one of the same key took its place. */
	if (holder->handover != handover - holders->handovers + 1)
		return;
	if (!strcmp(text, "done")) {
		holder->host = handover->to;
		handover->state = HANDOVER_DONE;
	} else if (!strcmp(text, "undone")) {
		handover->state = HANDOVER_UNDONE;
	}
}

void holders_note(Holders *holders, const KeyLogEntry *entry)
{
	bool adds = entry->action == KEY_CREATED || entry->action == KEY_RECEIVED;
	char name[LIMIT_SPIFFE_ID];
	Holder *holder;

	if (entry->number <= holders->entries)
		return;
	holders->entries = entry->number;
	if (entry->action == KEY_ATTESTED &&
	    !strncmp(entry->detail, handover_word, sizeof(handover_word) - 1))
		note_handover(holders, entry);
	if (!adds)
		return;
	keylink_host_of_who(entry->who, name);
	holder = place_of(holders, entry->key, name[0]);
	if (holder) {
		holder->host = number_of(holders, name);
		holder->handover = 0;
	}
}

bool holders_read(Holders *holders, KeyStore *store, Error *err)
{
	uint8_t chain[KEY_DIGEST_BYTES];
	KeyLogEntry entries[PAGE];
	uint64_t total;
	size_t count = 1;

	key_store_head(store, &total, chain);
	while (holders->entries < total && count) {
		if (!key_store_log(store, holders->entries + 1, entries, PAGE, &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			holders_note(holders, &entries[i]);
	}
	if (!holders->failure.category)
		return true;
	*err = holders->failure;
	return false;
}

uint16_t holders_of(const Holders *holders, const uint8_t id[KEY_ID_BYTES])
{
	const Holder *holder = look(holders, id);

	return holder && holder->used ? holder->host : HOLDER_OWN;
}

const Handover *holders_handover(const Holders *holders, const uint8_t migration[16])
{
	return find_handover(holders, migration);
}

const Handover *holders_handover_of(const Holders *holders, const uint8_t id[KEY_ID_BYTES])
{
	const Holder *holder = look(holders, id);

	return holder && holder->used && holder->handover
		       ? &holders->handovers[holder->handover - 1]
		       : NULL;
}
