/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/device_check.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"

/* Why a row is found by a name. */
typedef enum Role {
	ROLE_NONE,
	ROLE_JUDGE,    /* its field */
	ROLE_REMEMBER, /* the field whose value it needs */
	ROLE_LEARN,    /* the twin's field that it needs */
} Role;

typedef struct Slot {
	Role role;
	uint16_t row;
} Slot;

/* A value of the twin. */
typedef struct Known {
	uint64_t key; /* of device, instance and path */
	uint64_t bytes_hash;
	int64_t value; /* of the first element */
} Known;

typedef struct Seen {
	const VmDevice *device;
	int64_t value;
} Seen;

enum {
	SLOTS = 1024, /* at least double of what the rows need, so that a search soon ends */
	KNOWN_MAX = 65536,
};

struct DeviceCheckList {
	Slot slots[SLOTS];
	Seen *seen; /* one for each row */
	Known *known;
	size_t known_count, known_allocated;
};

/* What a single value is judged with. */
typedef struct Judged {
	const DeviceCheckList *list;
	const VmDescription *description;
	const FrameField *field;
	const DeviceRule *rule;
	int64_t other;
	Error *err;
} Judged;

/* FNV-1a. Names of the peer are hashed only if the twin has them too, so nobody can choose
 * collisions. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}
#define HASH_BEGIN UINT64_C(0xcbf29ce484222325)

/* With the NUL, so that "a" "bc" and "ab" "c" differ. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	return hash_bytes(hash, text, strlen(text) + 1);
}

static const char *table_of(const FrameField *field)
{
	return field->levels_count ? field->levels[field->levels_count - 1].node->vmsd_name
				   : field->device->vmsd_name;
}

/* --- finding rows by name --- */

static size_t slot_of(const char *table, const char *field)
{
	return hash_text(hash_text(HASH_BEGIN, table), field) % SLOTS;
}

static void add_slot(DeviceCheckList *list, Role role, size_t row, const char *field)
{
	size_t at = slot_of(device_rules[row].table, field);

	while (list->slots[at].role)
		at = (at + 1) % SLOTS;
	list->slots[at] = (Slot){ .role = role, .row = (uint16_t)row };
}

static bool needs_value(DeviceCheck check)
{
	return check == DEVICE_AT_MOST || check == DEVICE_AT_LEAST || check == DEVICE_SUM ||
	       check == DEVICE_AHEAD || check == DEVICE_TIMES;
}

static void add_row(DeviceCheckList *list, size_t row)
{
	const DeviceRule *rule = &device_rules[row];

	add_slot(list, ROLE_JUDGE, row, rule->field);
	if (needs_value(rule->check))
		add_slot(list, ROLE_REMEMBER, row, rule->other);
	if (rule->check == DEVICE_LOCAL)
		add_slot(list, ROLE_LEARN, row, rule->field);
	if (rule->check == DEVICE_WITHIN_LOCAL)
		add_slot(list, ROLE_LEARN, row, rule->other);
}

/* The next row from *at on that has this name in this role; NULL: no more. */
static const DeviceRule *find_row(const DeviceCheckList *list, const char *table, const char *field,
				  Role role, size_t *at)
{
	while (list->slots[*at].role) {
		const Slot *slot = &list->slots[*at];
		const DeviceRule *rule = &device_rules[slot->row];
		const char *name =
			role == ROLE_JUDGE || (role == ROLE_LEARN && rule->check == DEVICE_LOCAL)
				? rule->field
				: rule->other;

		*at = (*at + 1) % SLOTS;
		if (slot->role == role && !strcmp(rule->table, table) && !strcmp(name, field))
			return rule;
	}
	return NULL;
}

DeviceCheckList *device_check_new(Error *err)
{
	AUTO_DEVICE_CHECK DeviceCheckList *list = calloc(1, sizeof(*list));

	if (list)
		list->seen = calloc(device_rules_count, sizeof(*list->seen));
	if (!list || !list->seen) {
		error_set(err, ERROR_INTERNAL, "no memory for the rules of device state");
		return NULL;
	}
	assert(device_rules_count * 2 < SLOTS / 2);
	for (size_t row = 0; row < device_rules_count; row++)
		add_row(list, row);
	return TAKE_PTR(list);
}

void device_check_free(DeviceCheckList *list)
{
	if (!list)
		return;
	free(list->seen);
	free(list->known);
	free(list);
}

bool device_check_has(const char *table, const char *field)
{
	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];

		if (!strcmp(rule->table, table) &&
		    (!strcmp(rule->field, field) || (rule->other && !strcmp(rule->other, field))))
			return true;
	}
	return false;
}

/* --- the twin's values --- */

static uint64_t key_of(const FrameField *field)
{
	char path[FRAME_PATH_SIZE];
	uint64_t hash = hash_text(HASH_BEGIN, field->device->name);

	hash = hash_bytes(hash, &field->device->instance_id, sizeof(field->device->instance_id));
	return hash_text(hash, frame_path(field, path));
}

static const Known *find_known(const DeviceCheckList *list, const FrameField *field)
{
	const uint64_t key = key_of(field);

	for (size_t i = 0; i < list->known_count; i++)
		if (list->known[i].key == key)
			return &list->known[i];
	return NULL;
}

/* "uint32 equal": QEMU's loader compares what comes with what it has. */
static bool is_equal_type(const char *type)
{
	const size_t length = strlen(type);

	return length > 6 && !strcmp(type + length - 6, " equal");
}

static bool has_value(const FrameField *field)
{
	const uint32_t size = field->node->size_bytes;

	return size == 1 || size == 2 || size == 4 || size == 8;
}

static int64_t value_at(const FrameField *field, uint32_t element)
{
	const uint32_t size = field->node->size_bytes;
	const uint8_t *bytes = field->bytes + (size_t)element * size;
	const bool is_signed = !strncmp(field->node->type, "int", 3);

	switch (size) {
	case 1:
		return is_signed ? (int8_t)bytes[0] : bytes[0];
	case 2:
		return is_signed ? (int16_t)load_be16(bytes) : load_be16(bytes);
	case 4:
		return is_signed ? (int64_t)(int32_t)load_be32(bytes) : (int64_t)load_be32(bytes);
	default:
		/* What does not fit is negative, and then past any bound. */
		return (int64_t)load_be64(bytes);
	}
}

bool device_check_learn(DeviceCheckList *list, const FrameField *field, Error *err)
{
	const char *table = table_of(field);
	size_t at = slot_of(table, field->node->name);

	if (!is_equal_type(field->node->type) &&
	    !find_row(list, table, field->node->name, ROLE_LEARN, &at))
		return true;
	if (list->known_count == list->known_allocated) {
		const size_t wanted = list->known_allocated ? 2 * list->known_allocated : 64;
		Known *grown =
			wanted <= KNOWN_MAX ? realloc(list->known, wanted * sizeof(*grown)) : NULL;

		if (!grown)
			return error_set(err, ERROR_INTERNAL, "no memory for %zu fields", wanted);
		list->known = grown;
		list->known_allocated = wanted;
	}
	list->known[list->known_count++] = (Known){
		.key = key_of(field),
		.bytes_hash = hash_bytes(HASH_BEGIN, field->bytes, field->size_bytes),
		.value = has_value(field) && field->size_bytes ? value_at(field, 0) : 0,
	};
	return true;
}

/* --- what a description tells of the length of another field --- */

static uint64_t bytes_of(const VmNode *node)
{
	return (uint64_t)node->size_bytes * node->count;
}

/* The field `other` beside this one; NULL if there is none. */
static const VmNode *find_beside(const Judged *judged)
{
	const FrameField *field = judged->field;
	const VmNode *nodes = judged->description->nodes;
	uint32_t at = field->device->first, end = field->device->end;

	if (field->levels_count) {
		const VmNode *around = field->levels[field->levels_count - 1].node;

		at = (uint32_t)(around - nodes) + 1;
		end = around->end;
	}
	for (; at < end; at = nodes[at].end)
		if (!strcmp(nodes[at].name, judged->rule->other))
			return &nodes[at];
	return NULL;
}

/* Behind this field, in any table of the device: elements or bytes of all fields `other`. */
static uint64_t sum_behind(const Judged *judged, bool bytes)
{
	const VmNode *nodes = judged->description->nodes;
	const uint32_t first = (uint32_t)(judged->field->node - nodes) + 1;
	uint64_t sum = 0;

	for (uint32_t at = first; at < judged->field->device->end; at++)
		if (nodes[at].kind != VM_SUBSECTION && !strcmp(nodes[at].name, judged->rule->other))
			sum += bytes ? bytes_of(&nodes[at]) : nodes[at].count;
	return sum;
}

/* --- judging --- */

static bool refuse(const Judged *judged, const char *what, int64_t is, int64_t should)
{
	char path[FRAME_PATH_SIZE];

	return guard_violation(judged->err, judged->rule->rule,
			       "device %.80s, %.200s, byte %zu: %s (%" PRId64 ", bound %" PRId64
			       "): %s",
			       judged->field->device->name, frame_path(judged->field, path),
			       judged->field->offset, what, is, should, judged->rule->closes);
}

static bool within(const Judged *judged, int64_t value, int64_t least, int64_t most)
{
	if (value < least)
		return refuse(judged, "too small", value, least);
	return value <= most || refuse(judged, "too large", value, most);
}

/* The twin's value of the field beside this one, or of this one. */
static bool judge_by_twin(const Judged *judged, int64_t value)
{
	const VmNode beside = { .name = judged->rule->other, .index = VMDESC_NO_INDEX, .count = 1 };
	FrameField field = *judged->field;
	const Known *known;

	if (judged->rule->check == DEVICE_WITHIN_LOCAL)
		field.node = &beside;
	known = find_known(judged->list, &field);
	if (!known)
		return refuse(judged, "the local device has no such field", value, 0);
	if (judged->rule->check == DEVICE_WITHIN_LOCAL)
		return within(judged, value, 0, known->value << judged->rule->max);
	return value == known->value ||
	       refuse(judged, "not that of the local device", value, known->value);
}

static bool judge_by_bytes(const Judged *judged, int64_t value)
{
	const VmNode *beside = find_beside(judged);
	const int64_t bytes = beside ? (int64_t)bytes_of(beside) : 0;

	if (judged->rule->check == DEVICE_UPTO_BYTES)
		return within(judged, value, 0, bytes);
	/* An index into nothing is 0. */
	return within(judged, value, 0, bytes ? bytes - 1 : 0);
}

/* A flag or count that decides how long a field beside it is. */
static bool judge_bytes_beside(const Judged *judged, int64_t value)
{
	const VmNode *beside = find_beside(judged);
	const int64_t each = judged->rule->max;
	const int64_t bytes = beside ? (int64_t)bytes_of(beside) : 0;

	return (bytes % each == 0 && value == bytes / each) ||
	       refuse(judged, "not what was described, in elements", value, bytes / each);
}

static bool judge_value(const Judged *judged, int64_t value)
{
	const DeviceRule *rule = judged->rule;
	const int64_t other = judged->other;
	int64_t sum;

	switch (rule->check) {
	case DEVICE_RANGE:
		return within(judged, value, rule->min, rule->max);
	case DEVICE_AT_MOST:
		return within(judged, value, 0, other);
	case DEVICE_AT_LEAST:
		return within(judged, value, other, rule->max);
	case DEVICE_SUM:
		return within(judged, value, 0, rule->max) &&
		       within(judged, value, 0, rule->max - other);
	case DEVICE_AHEAD:
		return within(judged, value, other,
			      __builtin_add_overflow(other, rule->max, &sum) ? other : sum);
	case DEVICE_TIMES:
		if (__builtin_mul_overflow(other, rule->max, &sum))
			sum = -1;
		return within(judged, value, sum, sum);
	case DEVICE_BELOW_BYTES:
	case DEVICE_UPTO_BYTES:
		return judge_by_bytes(judged, value);
	case DEVICE_BYTES_BESIDE:
		return judge_bytes_beside(judged, value);
	case DEVICE_COUNT:
	case DEVICE_BYTES:
		sum = (int64_t)sum_behind(judged, rule->check == DEVICE_BYTES);
		return within(judged, value, rule->min > sum ? rule->min : sum, sum);
	case DEVICE_LOCAL:
	case DEVICE_WITHIN_LOCAL:
		return judge_by_twin(judged, value);
	case DEVICE_RUNSTATE:
	case DEVICE_ZEROS:
	case DEVICE_SEALED_BLOB:
	case DEVICE_CHECK_COUNT:
		break;
	}
	return refuse(judged, "no rule for a number", value, 0);
}

/* What runstate_transitions_def (system/runstate.c) has behind RUN_STATE_INMIGRATE: QEMU aborts on
 * any other. Not colo, which nothing here makes. */
static bool judge_runstate(const Judged *judged)
{
	static const char *const words[] = { "running",	    "paused",	      "prelaunch",
					     "suspended",   "shutdown",	      "guest-panicked",
					     "io-error",    "internal-error", "watchdog",
					     "postmigrate", "finish-migrate" };
	const FrameField *field = judged->field;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const size_t length = strlen(words[i]);
		size_t zeros = length;

		if (field->size_bytes <= length || memcmp(field->bytes, words[i], length))
			continue;
		while (zeros < field->size_bytes && !field->bytes[zeros])
			zeros++;
		if (zeros == field->size_bytes)
			return true;
	}
	return refuse(judged, "no state to begin with", field->size_bytes ? field->bytes[0] : 0, 0);
}

static bool judge_zeros(const Judged *judged)
{
	for (size_t i = 0; i < judged->field->size_bytes; i++)
		if (judged->field->bytes[i])
			return refuse(judged, "not zero", judged->field->bytes[i], 0);
	return true;
}

/*
 * swtpm begins each of its blobs with this header (struct blobheader, swtpm_nvstore.c), in which
 * 0x16 says: for a migration (4), encrypted for it (2), with a key of 256 bits (0x10). That QEMU
 * asked for the state in clear, as it does, takes only the encryption of swtpm's files away.
 */
static bool judge_sealed_blob(const Judged *judged)
{
	static const uint8_t sealed[] = { 2, 1, 0, SWTPM_HEADER_BYTES, 0, 0x16 };
	const FrameField *field = judged->field;

	if (field->size_bytes < SWTPM_HEADER_BYTES)
		return refuse(judged, "too short for a blob of swtpm", (int64_t)field->size_bytes,
			      SWTPM_HEADER_BYTES);
	for (size_t i = 0; i < sizeof(sealed); i++)
		if (field->bytes[i] != sealed[i])
			return refuse(judged, "not encrypted as swtpm does it for a migration",
				      field->bytes[i], sealed[i]);
	return load_be32(field->bytes + sizeof(sealed)) == field->size_bytes ||
	       refuse(judged, "another length than its own header says",
		      load_be32(field->bytes + sizeof(sealed)), (int64_t)field->size_bytes);
}

static bool judge_row(const Judged *judged)
{
	const DeviceRule *rule = judged->rule;

	if (rule->check == DEVICE_RUNSTATE)
		return judge_runstate(judged);
	if (rule->check == DEVICE_ZEROS)
		return judge_zeros(judged);
	if (rule->check == DEVICE_SEALED_BLOB)
		return judge_sealed_blob(judged);
	if (!has_value(judged->field))
		return refuse(judged, "no number", judged->field->node->size_bytes, 8);
	for (uint32_t i = 0; i < judged->field->node->count; i++) {
		const int64_t value = value_at(judged->field, i);

		if (rule->has_also && value == rule->also)
			continue;
		if (!judge_value(judged,
				 rule->mask ? (int64_t)((uint64_t)value & rule->mask) : value))
			return false;
	}
	return true;
}

static bool judge_equal(const DeviceCheckList *list, const FrameField *field, Error *err)
{
	const Known *known = find_known(list, field);
	const int64_t value = has_value(field) ? value_at(field, 0) : 0;
	char path[FRAME_PATH_SIZE];

	/* A field that another version names otherwise (known_layout.h): QEMU compares it. */
	if (!known || known->bytes_hash == hash_bytes(HASH_BEGIN, field->bytes, field->size_bytes))
		return true;
	return guard_violation(err, GUARD_RULE_DEVICE_EQUAL,
			       "device %.80s, %.200s, byte %zu: %" PRId64 ", the local one has "
			       "%" PRId64,
			       field->device->name, frame_path(field, path), field->offset, value,
			       known->value);
}

static void remember(DeviceCheckList *list, const FrameField *field, const char *table)
{
	size_t at = slot_of(table, field->node->name);
	const DeviceRule *rule;

	while ((rule = find_row(list, table, field->node->name, ROLE_REMEMBER, &at)))
		if (has_value(field))
			list->seen[rule - device_rules] =
				(Seen){ .device = field->device, .value = value_at(field, 0) };
}

void device_check_begin(DeviceCheckList *list)
{
	memset(list->seen, 0, device_rules_count * sizeof(*list->seen));
}

bool device_check_judge(DeviceCheckList *list, const VmDescription *description,
			const FrameField *field, Error *err)
{
	const char *table = table_of(field);
	size_t at = slot_of(table, field->node->name);
	Judged judged = { .list = list, .description = description, .field = field, .err = err };

	if (!field->size_bytes)
		return true;
	if (is_equal_type(field->node->type) && !judge_equal(list, field, err))
		return false;
	remember(list, field, table);
	while ((judged.rule = find_row(list, table, field->node->name, ROLE_JUDGE, &at))) {
		const Seen *seen = &list->seen[judged.rule - device_rules];

		if (needs_value(judged.rule->check) && seen->device != field->device)
			return refuse(&judged, "what it is judged by is missing", 0, 0);
		judged.other = seen->value;
		if (!judge_row(&judged))
			return false;
	}
	return true;
}
