/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schema describes a plain struct, field by field, with every bound. Two codecs work from the
 * same table: compact binary between our own processes (ipc/binary.h) and strict JSON for peers
 * (wire/json.h), so that a message is described once and checked the same way everywhere. The
 * structs hold no pointers: text and bytes are arrays of fixed size, lists are arrays with a count.
 */
#ifndef SEALIFT_BASE_SCHEMA_H
#define SEALIFT_BASE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

typedef enum FieldKind {
	FIELD_U64,     /* uint64_t, min..max */
	FIELD_BOOL,    /* bool */
	FIELD_ENUM,    /* an enum (int-sized), an index into words[n_words] */
	FIELD_TEXT,    /* char[size], NUL terminated, min..size-1 characters of a text class */
	FIELD_HEX,     /* uint8_t[size], always full; lower-case hex in JSON */
	FIELD_BYTES,   /* uint8_t[size] with a size_t count, min..size bytes; base64 in JSON */
	FIELD_OBJECT,  /* a struct with a schema of its own */
	FIELD_LIST,    /* array of size structs with a size_t count; each by its schema */
	FIELD_VARIANT, /* a struct whose schema is variants[enum at count_offset]; binary only */
} FieldKind;

typedef enum TextClass {
	TEXT_PRINTABLE, /* 0x20..0x7e */
	TEXT_NAME,	/* [A-Za-z0-9] then [A-Za-z0-9._-]: never a path, an option or hidden */
	TEXT_DOMAIN,	/* [a-z0-9.-], begins and ends with a letter or digit, no ".." */
	TEXT_UUID,	/* 8-4-4-4-12 lower-case hex digits */
	TEXT_MAC,	/* aa:bb:cc:dd:ee:ff, lower case */
	TEXT_CLASS_COUNT,
} TextClass;

typedef struct Schema Schema;

typedef struct Field {
	const char *name;
	FieldKind kind;
	bool optional; /* JSON may leave it out, and ours does: the member is then zero */
	size_t offset;
	size_t size;	     /* array capacity; see FieldKind */
	size_t count_offset; /* of the size_t count (BYTES, LIST) or of the enum (VARIANT) */
	uint64_t min, max;   /* U64: value; TEXT, BYTES, LIST: min is the least length */
	TextClass text_class;
	const char *const *words;
	size_t n_words;
	const Schema *object;		/* OBJECT, LIST */
	const Schema *const *variants;	/* VARIANT: n_words entries, NULL where there is none */
} Field;

struct Schema {
	const char *name;
	size_t struct_size;
	const Field *fields;
	size_t n_fields;
};

/* Rows of a field table. `o` is the struct type, `m` the member. */
#define SCHEMA_U64(o, m, lo, hi) \
	{ .name = #m, .kind = FIELD_U64, .offset = offsetof(o, m), .min = (lo), .max = (hi) }
#define SCHEMA_BOOL(o, m) { .name = #m, .kind = FIELD_BOOL, .offset = offsetof(o, m) }
#define SCHEMA_ENUM(o, m, table) \
	{ .name = #m, .kind = FIELD_ENUM, .offset = offsetof(o, m), .words = (table), .n_words = ARRAY_SIZE(table) }
#define SCHEMA_TEXT(o, m, klass, least)                                                           \
	{ .name = #m, .kind = FIELD_TEXT, .offset = offsetof(o, m), .size = sizeof(((o *)0)->m), \
	  .min = (least), .text_class = (klass) }
#define SCHEMA_HEX(o, m) \
	{ .name = #m, .kind = FIELD_HEX, .offset = offsetof(o, m), .size = sizeof(((o *)0)->m) }
/* The count of member m is member m##_size. */
#define SCHEMA_BYTES(o, m, least)                                                                  \
	{ .name = #m, .kind = FIELD_BYTES, .offset = offsetof(o, m), .size = sizeof(((o *)0)->m), \
	  .count_offset = offsetof(o, m##_size), .min = (least) }
#define SCHEMA_OBJECT(o, m, schema) \
	{ .name = #m, .kind = FIELD_OBJECT, .offset = offsetof(o, m), .object = (schema) }
/* The count of member m is member m##_count. */
#define SCHEMA_LIST(o, m, schema, least)                                       \
	{ .name = #m, .kind = FIELD_LIST, .offset = offsetof(o, m),            \
	  .size = ARRAY_SIZE(((o *)0)->m), .count_offset = offsetof(o, m##_count), \
	  .object = (schema), .min = (least) }
#define SCHEMA_VARIANT(o, m, tag, table)                                                  \
	{ .name = #m, .kind = FIELD_VARIANT, .offset = offsetof(o, m),                    \
	  .count_offset = offsetof(o, tag), .variants = (table), .n_words = ARRAY_SIZE(table) }

#define SCHEMA_DEFINE(identifier, text, Type, table)                             \
	const Schema identifier = { .name = (text), .struct_size = sizeof(Type), \
				    .fields = (table), .n_fields = ARRAY_SIZE(table) }

/* Checks each bound of a struct that was filled by us or by a codec. ERROR_PEER with the field's
 * path, value and bound. */
MUST_CHECK bool schema_check(const Schema *schema, const void *object, Error *err);

/* Whether text is of the class and at least min characters long. */
bool text_is(TextClass klass, const char *text, size_t min);

#endif
