/* SPDX-License-Identifier: Apache-2.0 */
/* For fuzz_keylink_frame.c: a message of each kind, and some after each other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/keylink/conn.h"
#include "tests/fuzz/make_seeds.h"

#define VM "7e5710c5-0000-4000-8000-000000000001"

static void write_frame(const char *root, const char *name, bool answers, uint16_t type,
			const Schema *schema, const void *payload, bool value, int times)
{
	static const uint8_t passphrase[KEY_PASSPHRASE_BYTES] =
		"c2VhbGlmdCBzZWFsaWZ0IHNlYWxpZnQgc2VhbGlmdCE";
	Error err = ERROR_INIT;
	Queue queue;

	if (!queue_init(&queue, CONN_QUEUE_BYTES, true, &err))
		abort();
	queue_put(&queue, answers ? "\1" : "", 1);
	for (int i = 0; i < times; i++)
		if (!frame_put(&queue, type, (uint64_t)i + 1, schema, payload,
			       value ? passphrase : NULL, &err)) {
			fprintf(stderr, "make_seeds: %s: %s\n", name, err.text);
			abort();
		}
	seeds_write(root, "keylink_frame", name, queue.bytes, queue.used);
	queue_clear(&queue);
}

static void write_requests(const char *root)
{
	KeydCreate create = { .who = "uid 0",
			      .vm = VM,
			      .owner = "n.example",
			      .slot = "vda",
			      .backend = "embedded",
			      .epoch = 1 };
	KeydOpen open = { .who = "uid 0", .version = 1, .vm = VM, .epoch = 1 };
	KeydChange change = { .who = "uid 0", .version = 1, .kind = KEYD_DESTROY };
	KeydAbandon abandon = {
		.who = "uid 0", .version = 1, .seen_by = "s.example", .reason = "gone"
	};
	KeydList list = { .who = "uid 0", .vm = VM };
	KeydName name = { .who = "uid 0" };
	KeydWho who = { .who = "uid 0" };
	KeyTransfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		abort();
	snprintf(transfer->who, sizeof(transfer->who), "migration 4d494752");
	snprintf(transfer->vm, sizeof(transfer->vm), VM);
	snprintf(transfer->owner, sizeof(transfer->owner), "n.example");
	snprintf(transfer->source, sizeof(transfer->source), "n.example");
	snprintf(transfer->destination, sizeof(transfer->destination), "n.example");
	transfer->epoch = 2;
	transfer->document_size = (size_t)snprintf((char *)transfer->document, 64, HANDOVER_MAGIC);
	write_frame(root, "create", false, KEYD_CREATE, &keyd_create_schema, &create, false, 1);
	write_frame(root, "show", false, KEYD_SHOW, &keyd_name_schema, &name, false, 1);
	write_frame(root, "list", false, KEYD_LIST, &keyd_list_schema, &list, false, 1);
	write_frame(root, "change", false, KEYD_CHANGE, &keyd_change_schema, &change, false, 1);
	write_frame(root, "open", false, KEYD_OPEN, &keyd_open_schema, &open, false, 1);
	write_frame(root, "places", false, KEYD_PLACES, &keyd_who_schema, &who, false, 3);
	write_frame(root, "transfer", false, KEYD_TRANSFER, &key_transfer_schema, transfer, false,
		    1);
	write_frame(root, "abandon", false, KEYD_ABANDON, &keyd_abandon_schema, &abandon, false, 1);
	free(transfer);
}

static void write_answers(const char *root)
{
	KeyRecord key = { .version = 1,
			  .vm = VM,
			  .owner = "n.example",
			  .slot = "vda",
			  .backend = "embedded",
			  .epoch = 1 };
	KeydHead head = { .entries = 3 };
	RoleFailure failure = { .category = ERROR_DENIED, .text = "no" };
	KeydChanged changed = { .keys = 1 };

	write_frame(root, "failed", true, ROLE_FAILED, &role_failure_schema, &failure, false, 1);
	write_frame(root, "head", true, KEYD_HEAD, &keyd_head_schema, &head, false, 2);
	write_frame(root, "key", true, KEYD_KEY, &key_record_schema, &key, false, 1);
	write_frame(root, "changed", true, KEYD_CHANGED, &keyd_changed_schema, &changed, false, 1);
	write_frame(root, "opened", true, KEYD_OPENED, &key_record_schema, &key, true, 2);
}

void seeds_write_keylink(const char *root)
{
	write_requests(root);
	write_answers(root);
}
