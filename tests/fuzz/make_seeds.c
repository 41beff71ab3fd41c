/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the seeds of each fuzz target below a folder: make_seeds DIR. Run by make-corpus. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "ipc/binary.h"
#include "tests/fuzz/make_seeds.h"
#include "tests/fuzz/role_schemas.h"
#include "tests/wire/samples.h"
#include "wire/keys.h"
#include "wire/preamble.h"
#include "wire/record.h"

void seeds_must(bool ok, const Error *err)
{
	if (ok)
		return;
	fprintf(stderr, "make_seeds: %s\n", err->text);
	exit(1);
}

void seeds_write(const char *root, const char *target, const char *name, const void *data,
		 size_t size)
{
	char path[512];
	Error err = ERROR_INIT;

	snprintf(path, sizeof(path), "%s/%s", root, target);
	seeds_must(file_make_directories(path, 0755, &err), &err);
	snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
	seeds_must(file_replace(path, data, size, 0644, &err), &err);
}

/* --- json --- */

static void write_json(const char *root)
{
	static PeerMessage message;
	static Statement statement;
	Error err = ERROR_INIT;

	for (int kind = 0; kind < PEER_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer frame = BUFFER_INIT(LIMIT_FRAME);
		char name[64];

		sample_peer((PeerKind)kind, &message);
		seeds_must(peer_encode_frame(&message, &frame, &err), &err);
		snprintf(name, sizeof(name), "peer-%s", peer_words[kind]);
		seeds_write(root, "json", name, frame.data + PEER_FRAME_HEADER,
			    frame.used - PEER_FRAME_HEADER);
	}
	for (int kind = 0; kind < STATEMENT_KIND_COUNT; kind++) {
		AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
		char name[64];

		sample_statement((StatementKind)kind, &statement);
		seeds_must(statement_encode_json(&statement, &json, &err), &err);
		snprintf(name, sizeof(name), "statement-%s", statement_words[kind]);
		seeds_write(root, "json", name, json.data, json.used);
	}
}

/* --- binary: the least valid object of each schema --- */

static const char *const least_text[TEXT_CLASS_COUNT] = {
	[TEXT_PRINTABLE] = "a b",
	[TEXT_NAME] = "a-1",
	[TEXT_DOMAIN] = "a.b",
	[TEXT_UUID] = "01234567-89ab-cdef-0123-456789abcdef",
	[TEXT_MAC] = "52:54:00:12:34:56",
};

static void fill(const Schema *schema, uint8_t *base, unsigned int variant);

static void fill_field(const Field *field, uint8_t *base, unsigned int variant)
{
	uint8_t *member = base + field->offset;
	size_t count = (size_t)field->min;
	unsigned int word = 0;

	switch (field->kind) {
	case FIELD_U64:
		memcpy(member, &field->min, sizeof(field->min));
		return;
	case FIELD_ENUM:
		/* A tag comes before its variant in each table, so the last setting of it wins. */
		memcpy(member, &word, sizeof(word));
		return;
	case FIELD_TEXT:
		memcpy(member, least_text[field->text_class],
		       strlen(least_text[field->text_class]));
		return;
	case FIELD_BYTES:
	case FIELD_LIST:
		memcpy(base + field->count_offset, &count, sizeof(count));
		for (size_t i = 0; field->kind == FIELD_LIST && i < count; i++)
			fill(field->object, member + i * field->object->struct_size, 0);
		return;
	case FIELD_OBJECT:
		fill(field->object, member, 0);
		return;
	case FIELD_VARIANT:
		memcpy(base + field->count_offset, &variant, sizeof(variant));
		fill(field->variants[variant], member, 0);
		return;
	case FIELD_BOOL:
	case FIELD_HEX:
		return;
	}
}

static void fill(const Schema *schema, uint8_t *base, unsigned int variant)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		fill_field(&schema->fields[i], base, variant);
}

static unsigned int count_variants(const Schema *schema)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (schema->fields[i].kind == FIELD_VARIANT)
			return (unsigned int)schema->fields[i].n_words;
	return 1;
}

static void write_binary(const char *root)
{
	const Schema *schemas[ROLE_SCHEMAS_MAX];
	size_t count = role_schemas(schemas);

	for (size_t i = 0; i < count; i++)
		for (unsigned int variant = 0; variant < count_variants(schemas[i]); variant++) {
			AUTO_BUFFER Buffer bytes = BUFFER_INIT(LIMIT_IPC_MESSAGE);
			AUTO_FREE uint8_t *object = calloc(1, schemas[i]->struct_size);
			char name[64];
			Error err = ERROR_INIT;

			seeds_must(object, &err);
			fill(schemas[i], object, variant);
			seeds_must(buffer_put_u8(&bytes, (uint8_t)i, &err) &&
					   binary_encode(schemas[i], object, &bytes, &err),
				   &err);
			snprintf(name, sizeof(name), "%s-%u", schemas[i]->name, variant);
			seeds_write(root, "binary", name, bytes.data, bytes.used);
		}
}

/* --- preamble and record --- */

static void write_preamble(const char *root)
{
	Preamble preamble = {
		.routing = { 1 }, .channel = 3, .generation = 1, .source_nonce = { 2 }
	};
	PreambleReply reply = { .destination_nonce = { 3 } };
	uint8_t bytes[PREAMBLE_SIZE];

	preamble_encode(&preamble, bytes);
	seeds_write(root, "preamble", "preamble", bytes, PREAMBLE_SIZE);
	preamble_reply_encode(&reply, bytes);
	seeds_write(root, "preamble", "reply", bytes, PREAMBLE_REPLY_SIZE);
}

/* Inner bytes, which fuzz_record seals: ping, data, update, padded data, end of 5 bytes. */
static const uint8_t record_inner[] = {
	1,
	0,
	1,
	RECORD_PING,
	0,
	4,
	'a',
	'b',
	'c',
	RECORD_DATA,
	0,
	1,
	RECORD_UPDATE,
	0,
	6,
	'd',
	'e',
	RECORD_DATA,
	0,
	0,
	0,
	0,
	9,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	5,
	RECORD_END,
};

/* The same as fuzz_record's fixed secret. */
static void write_record(const char *root)
{
	static uint8_t buffer[RECORD_BUFFER_SIZE];
	static const uint8_t fixed[KEYS_TRAFFIC_SIZE] = { 1, 2, 3 };
	const RecordOptions options = { .sealed = true, .limits = { 16, 1 << 16 } };
	AUTO_BUFFER Buffer wire = BUFFER_INIT(4096);
	size_t size;
	Error err = ERROR_INIT;
	AUTO_RECORD_SEALER RecordSealer *sealer =
		record_sealer_new(aead_provider_by_name("openssl"),
				  secret_new_from(fixed, sizeof(fixed), &err), &options, &err);

	seeds_must(sealer, &err);
	seeds_must(buffer_put_u8(&wire, 0, &err), &err);
	seeds_must(record_seal_ping(sealer, buffer, &size, &err) &&
			   buffer_put(&wire, buffer, size, &err),
		   &err);
	memcpy(buffer + RECORD_HEADER_SIZE, "hello", 5);
	seeds_must(record_seal_data(sealer, buffer, 5, &size, &err) &&
			   buffer_put(&wire, buffer, size, &err),
		   &err);
	seeds_must(record_seal_end(sealer, buffer, &size, &err) &&
			   buffer_put(&wire, buffer, size, &err),
		   &err);
	seeds_write(root, "record", "wire", wire.data, wire.used);
	seeds_write(root, "record", "inner", record_inner, sizeof(record_inner));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_seeds DIR\n");
		return 2;
	}
	write_json(argv[1]);
	write_binary(argv[1]);
	write_preamble(argv[1]);
	write_record(argv[1]);
	seeds_write_crypto(argv[1]);
	seeds_write_text(argv[1]);
	seeds_write_channels(argv[1]);
	seeds_write_main_channel(argv[1]);
	seeds_write_device(argv[1]);
	seeds_write_guard(argv[1]);
	seeds_write_requests(argv[1]);
	seeds_write_nbd(argv[1]);
	seeds_write_keylink(argv[1]);
	return 0;
}
