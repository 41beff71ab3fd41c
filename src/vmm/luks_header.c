/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/luks_header.h"

#include <assert.h>
#include <string.h>

#include "base/buffer.h"

/* Offsets and sizes of the specification's figures 1 and 2, in bytes. */
enum {
	AT_VERSION = 6,
	AT_CIPHER = 8,
	AT_MODE = 40,
	AT_HASH = 72,
	WORD_BYTES = 32,  /* each of the three, padded with zeros */
	AT_PAYLOAD = 104, /* in sectors */
	AT_KEY_BYTES = 108,
	AT_DIGEST_TURNS = 164,
	AT_SLOTS = 208,
	SLOTS = 8,
	SLOT_BYTES = 48,
	SLOT_AT_TURNS = 4,
	SLOT_AT_MATERIAL = 40, /* in sectors */
	SLOT_AT_STRIPES = 44,
	SECTOR_BYTES = 512,
	HEADER_SECTORS = 2,
	KEY_BYTES = 64, /* two keys of AES-256 */
	STRIPES = 4000,
	MATERIAL_SECTORS = KEY_BYTES * STRIPES / SECTOR_BYTES,
};
static_assert(AT_SLOTS + SLOTS * SLOT_BYTES == LUKS_HEADER_BYTES, "the whole header");
static_assert(LUKS_HEADER_BYTES <= HEADER_SECTORS * SECTOR_BYTES, "in its sectors");

#define SLOT_ACTIVE   UINT32_C(0x00ac71f3)
#define SLOT_DISABLED UINT32_C(0x0000dead)

static const uint8_t magic[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

static bool is_word(const uint8_t *field, const char *word)
{
	return !strncmp((const char *)field, word, WORD_BYTES);
}

static bool check_ciphers(const uint8_t *head, Error *err)
{
	uint32_t key_bytes = load_be32(head + AT_KEY_BYTES);

	if (!is_word(head + AT_CIPHER, "aes") || !is_word(head + AT_MODE, "xts-plain64"))
		return error_set(err, ERROR_DENIED,
				 "LUKS cipher is %.32s-%.32s, not aes-xts-plain64",
				 (const char *)head + AT_CIPHER, (const char *)head + AT_MODE);
	if (!is_word(head + AT_HASH, "sha256") && !is_word(head + AT_HASH, "sha512"))
		return error_set(err, ERROR_DENIED, "LUKS hash is %.32s, not sha256 or sha512",
				 (const char *)head + AT_HASH);
	if (key_bytes != KEY_BYTES)
		return error_set(err, ERROR_DENIED, "LUKS key of %u bytes, not %d", key_bytes,
				 KEY_BYTES);
	return true;
}

static const uint8_t *slot_of(const uint8_t *head, size_t i)
{
	return head + AT_SLOTS + i * SLOT_BYTES;
}

/* Disabled ones too: a hypervisor looks at the places of all. */
static bool check_slot(const uint8_t *head, size_t i, Error *err)
{
	const uint8_t *slot = slot_of(head, i);
	uint64_t begin = load_be32(slot + SLOT_AT_MATERIAL);
	uint64_t payload = load_be32(head + AT_PAYLOAD);
	uint32_t state = load_be32(slot);

	if (state != SLOT_ACTIVE && state != SLOT_DISABLED)
		return error_set(err, ERROR_DENIED, "LUKS slot %zu is in state 0x%x", i, state);
	if (load_be32(slot + SLOT_AT_STRIPES) != STRIPES)
		return error_set(err, ERROR_DENIED, "LUKS slot %zu has %u stripes, not %d", i,
				 load_be32(slot + SLOT_AT_STRIPES), STRIPES);
	if (begin < HEADER_SECTORS || begin + MATERIAL_SECTORS > payload)
		return error_set(err, ERROR_DENIED,
				 "LUKS slot %zu at sector %llu is not between header and payload",
				 i, (unsigned long long)begin);
	for (size_t j = 0; j < i; j++) {
		uint64_t other = load_be32(slot_of(head, j) + SLOT_AT_MATERIAL);

		if (begin < other + MATERIAL_SECTORS && other < begin + MATERIAL_SECTORS)
			return error_set(err, ERROR_DENIED, "LUKS slots %zu and %zu overlap", j, i);
	}
	return true;
}

static bool check_turns(const uint8_t *head, Error *err)
{
	uint64_t digest_turns = load_be32(head + AT_DIGEST_TURNS);
	uint64_t turns = 0;
	bool any = false;

	for (size_t i = 0; i < SLOTS; i++) {
		const uint8_t *slot = slot_of(head, i);

		if (load_be32(slot) != SLOT_ACTIVE)
			continue;
		if (!load_be32(slot + SLOT_AT_TURNS))
			return error_set(err, ERROR_DENIED, "LUKS slot %zu has 0 iterations", i);
		turns += load_be32(slot + SLOT_AT_TURNS) + digest_turns;
		any = true;
	}
	if (!any || !digest_turns)
		return error_set(err, ERROR_DENIED, "LUKS header without %s",
				 any ? "iterations of its digest" : "an active slot");
	if (turns > LUKS_TURNS_MAX)
		return error_set(err, ERROR_DENIED,
				 "LUKS header wants %llu iterations, at most %d: make such images "
				 "with iter-time=10",
				 (unsigned long long)turns, LUKS_TURNS_MAX);
	return true;
}

bool luks_header_check(const void *head, size_t size, uint64_t area_bytes,
		       uint64_t *ret_payload_offset, Error *err)
{
	const uint8_t *bytes = head;
	uint64_t payload;

	if (size < LUKS_HEADER_BYTES || area_bytes < LUKS_HEADER_BYTES ||
	    memcmp(bytes, magic, sizeof(magic)))
		return error_set(err, ERROR_DENIED, "no LUKS header");
	if (load_be16(bytes + AT_VERSION) != 1)
		return error_set(err, ERROR_DENIED, "LUKS version is %u, not 1",
				 load_be16(bytes + AT_VERSION));
	if (!check_ciphers(bytes, err))
		return false;
	payload = (uint64_t)load_be32(bytes + AT_PAYLOAD) * SECTOR_BYTES;
	if (!payload)
		return error_set(err, ERROR_DENIED, "LUKS header without its payload: detached");
	if (payload > area_bytes)
		return error_set(err, ERROR_DENIED,
				 "LUKS payload at %llu, behind the end of %llu bytes",
				 (unsigned long long)payload, (unsigned long long)area_bytes);
	for (size_t i = 0; i < SLOTS; i++)
		if (!check_slot(bytes, i, err))
			return false;
	if (!check_turns(bytes, err))
		return false;
	*ret_payload_offset = payload;
	return true;
}
