/* SPDX-License-Identifier: Apache-2.0 */
/* The API's commands about keys (docs/API.md): who may, what is asked for, what came of it. */
#include <stdio.h>
#include <string.h>

#include "engine/keys.h"
#include "wire/json.h"

void keys_caller(const ApiRequest *request, char ret_who[KEY_WHO_SIZE])
{
	snprintf(ret_who, KEY_WHO_SIZE, "uid %u", api_uid(request));
}

void keys_migration(const MigrationRecord *record, char ret_who[KEY_WHO_SIZE])
{
	char id[2 * MIGRATION_ID_BYTES + 1];

	hex_encode(record->id, sizeof(record->id), id);
	snprintf(ret_who, KEY_WHO_SIZE, "migration %s", id);
}

static const char *text_of(json_t *arguments, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(arguments, name));

	return text ? text : otherwise;
}

static uint64_t number_of(json_t *arguments, const char *name, uint64_t otherwise)
{
	json_t *value = json_object_get(arguments, name);

	return value ? (uint64_t)json_integer_value(value) : otherwise;
}

/* Cut texts would name something else; the schema judges the rest. */
static bool put_text(char *member, size_t size, const char *name, const char *text, Error *err)
{
	if (strlen(text) >= size)
		return error_set(err, ERROR_USAGE, "%s has %zu characters, at most %zu", name,
				 strlen(text), size - 1);
	snprintf(member, size, "%s", text);
	return true;
}
#define PUT_TEXT(request, member, text, err)                                                       \
	put_text((request)->member, sizeof((request)->member), #member, text, err)

/* A caller's mistake is one of usage, wherever it was found. */
static bool ask(Engine *engine, uint16_t type, const Schema *schema, const void *request,
		uint16_t answer, ApiRequest *api, Error *err)
{
	if (!schema_check(schema, request, err)) {
		err->category = ERROR_USAGE;
		return false;
	}
	return keys_ask(engine, type, schema, request, answer, api, err);
}

static bool purpose_of(const char *word, KeyPurpose *ret_purpose, Error *err)
{
	for (KeyPurpose purpose = 0; purpose < KEY_PURPOSE_COUNT; purpose++) {
		if (strcmp(key_purpose_words[purpose], word) != 0)
			continue;
		*ret_purpose = purpose;
		return true;
	}
	return error_set(err, ERROR_USAGE, "purpose \"%.32s\" is neither \"%s\", \"%s\" nor \"%s\"",
			 word, key_purpose_words[KEY_IMAGE], key_purpose_words[KEY_TPM_MIGRATION],
			 key_purpose_words[KEY_TPM_FILE]);
}

/* A VM of this host by its name or UUID, or the UUID of one that is still to come: images are made
 * before their VM. */
static bool uuid_of(Engine *engine, const char *name, const Vm **ret_vm, char ret[LIMIT_UUID],
		    Error *err)
{
	*ret_vm = vm_find(engine, name);
	if (!*ret_vm && (strlen(name) >= LIMIT_UUID || !text_is(TEXT_UUID, name, 1)))
		return error_set(err, ERROR_NOT_FOUND,
				 "\"%.64s\" is no VM on this host and no UUID", name);
	snprintf(ret, LIMIT_UUID, "%s", *ret_vm ? (*ret_vm)->record.manifest.uuid : name);
	return true;
}

bool keys_do_create(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydCreate create = { .epoch = 1 };
	const Vm *vm = NULL;

	keys_caller(request, create.who);
	if (!engine->domain[0])
		return error_set(err, ERROR_UNAVAILABLE, "the engine is still starting");
	if (!uuid_of(engine, text_of(arguments, "vm", ""), &vm, create.vm, err) ||
	    !purpose_of(text_of(arguments, "purpose", key_purpose_words[KEY_IMAGE]),
			&create.purpose, err) ||
	    !PUT_TEXT(&create, slot, text_of(arguments, "slot", ""), err) ||
	    !PUT_TEXT(&create, backend,
		      text_of(arguments, "backend", engine->config.keys.default_backend), err) ||
	    !PUT_TEXT(&create, owner, vm ? vm->record.owner : engine->domain, err))
		return false;
	if (vm)
		create.epoch = vm->record.epoch;
	return ask(engine, KEYD_CREATE, &keyd_create_schema, &create, KEYD_KEY, request, err);
}

bool keys_do_list(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydList list = { .cursor = number_of(arguments, "cursor", 0) };
	const char *name = text_of(arguments, "vm", NULL);
	const Vm *vm = NULL;

	keys_caller(request, list.who);
	if (name && !uuid_of(engine, name, &vm, list.vm, err))
		return false;
	return ask(engine, KEYD_LIST, &keyd_list_schema, &list, KEYD_KEYS, request, err);
}

static bool name_of(ApiRequest *request, json_t *arguments, KeydName *ret_name, Error *err)
{
	*ret_name = (KeydName){ .version = number_of(arguments, "version", 0) };
	keys_caller(request, ret_name->who);
	return key_id_parse(text_of(arguments, "key", ""), ret_name->id, err);
}

bool keys_do_show(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydName name;

	return name_of(request, arguments, &name, err) &&
	       ask(engine, KEYD_SHOW, &keyd_name_schema, &name, KEYD_KEY, request, err);
}

bool keys_do_rotate(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydName name;

	return name_of(request, arguments, &name, err) &&
	       ask(engine, KEYD_ROTATE, &keyd_name_schema, &name, KEYD_KEY, request, err);
}

/* What cannot be undone is not for everybody who may use the API. */
static bool may_destroy(const Engine *engine, const ApiRequest *request, Error *err)
{
	return engine->config.keys.group_may_destroy || api_may_name_files(request) ||
	       error_set(err, ERROR_DENIED,
			 "only root and the engine's own user may destroy keys; see "
			 "keys.group_may_destroy");
}

bool keys_do_destroy(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydChange change = { .kind = KEYD_DESTROY };
	KeydName name;

	if (!may_destroy(engine, request, err) || !name_of(request, arguments, &name, err))
		return false;
	memcpy(change.id, name.id, sizeof(change.id));
	memcpy(change.who, name.who, sizeof(change.who));
	change.version = name.version;
	return ask(engine, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, request, err);
}

bool keys_do_backends(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydWho who;

	(void)arguments;
	memset(&who, 0, sizeof(who));
	keys_caller(request, who.who);
	return ask(engine, KEYD_PLACES, &keyd_who_schema, &who, KEYD_BACKEND_LIST, request, err);
}

bool keys_do_audit(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydLog log = { .first = number_of(arguments, "first", 1) };

	keys_caller(request, log.who);
	return ask(engine, KEYD_LOG, &keyd_log_schema, &log, KEYD_ENTRIES, request, err);
}

/* One at a time: two would take turns in beginning anew. */
bool keys_do_verify(Engine *engine, ApiRequest *request, json_t *arguments, Error *err)
{
	KeydVerify verify = { .begin = true };

	(void)arguments;
	keys_caller(request, verify.who);
	if (keys_awaits(engine, KEYD_VERIFIED))
		return error_set(err, ERROR_CONFLICT, "the key store is being verified already");
	return ask(engine, KEYD_VERIFY, &keyd_verify_schema, &verify, KEYD_VERIFIED, request, err);
}

/* --- answers --- */

static json_t *view(const Schema *schema, const void *object)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_API_LINE);
	Error ignored = ERROR_INIT;

	if (!json_encode_plain(schema, object, &text, &ignored))
		return NULL;
	return json_loadb((const char *)text.data, text.used, 0, NULL);
}

json_t *keys_view(uint16_t answer, const void *payload)
{
	switch (answer) {
	case KEYD_KEY:
		return json_pack("{s:o}", "key", view(&key_record_schema, payload));
	case KEYD_KEYS:
		return view(&keyd_keys_schema, payload);
	case KEYD_CHANGED:
		return view(&keyd_changed_schema, payload);
	case KEYD_ENTRIES:
		return view(&keyd_entries_schema, payload);
	case KEYD_VERIFIED:
		return view(&keyd_verified_schema, payload);
	default:
		return view(&keyd_backends_schema, payload);
	}
}
