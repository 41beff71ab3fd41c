/* SPDX-License-Identifier: Apache-2.0 */
/* What the steps of both sides share. */
#include <stdarg.h>
#include <string.h>

#include "keys/transfer_internal.h"

bool transfer_is_none(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

void transfer_name(const TransferStep *step, char *ret_text, size_t size)
{
	const KeyTransfer *request = step->request;
	char id[2 * sizeof(request->migration) + 1];

	hex_encode(request->migration, sizeof(request->migration), id);
	snprintf(ret_text, size, "migration %s %s %s", id, step->is_source ? "to" : "from",
		 step->is_source ? request->destination : request->source);
}

void transfer_set_detail(TransferStep *step, const char *format, ...)
{
	size_t used;
	va_list arguments;

	transfer_name(step, step->detail, sizeof(step->detail));
	used = strlen(step->detail);
	snprintf(step->detail + used, sizeof(step->detail) - used, ": ");
	used += 2;
	va_start(arguments, format);
	vsnprintf(step->detail + used, sizeof(step->detail) - used, format, arguments);
	va_end(arguments);
}

bool transfer_refuse_stage(const TransferStep *step, Error *err)
{
	char name[LIMIT_TEXT];

	transfer_name(step, name, sizeof(name));
	return error_set(err, ERROR_CONFLICT,
			 "%s: its keys are %s here, which is no time for \"%s\"", name,
			 step->known ? transfer_stage_words[step->past.stage] : "unknown",
			 transfer_words[step->request->kind]);
}

static bool check_identity(const TransferStep *step, const OfferedKey *offered,
			   const KeyRecord *key, Error *err)
{
	const KeyTransfer *request = step->request;
	char id[KEY_ID_HEX];

	key_id_text(key->id, id);
	if (strcmp(key->vm, request->vm) != 0)
		return error_set(err, ERROR_DENIED, "key %s is of another VM than %s", id,
				 request->vm);
	if (strcmp(key->owner, request->owner) != 0)
		return error_set(err, ERROR_DENIED, "key %s is of the owner %s, not of %s", id,
				 key->owner, request->owner);
	return (key->purpose == offered->purpose && !strcmp(key->slot, offered->slot) &&
		!memcmp(key->fingerprint, offered->fingerprint, KEY_FINGERPRINT_BYTES)) ||
	       error_set(err, ERROR_CONFLICT, "key %s is another here than was offered", id);
}

bool transfer_load_keys(TransferStep *step, Error *err)
{
	const KeyTransfer *request = step->request;

	for (size_t i = 0; i < request->keys_count; i++) {
		const OfferedKey *offered = &request->keys[i];

		if (!key_store_get(step->party->store, offered->id, offered->version,
				   &step->keys[i], err) ||
		    !check_identity(step, offered, &step->keys[i], err))
			return false;
	}
	step->keys_count = request->keys_count;
	return true;
}

bool transfer_is_travelling(const TransferStep *step, const KeyRecord *key, KeyState state)
{
	return key->state == state &&
	       !memcmp(key->migration, step->request->migration, sizeof(key->migration));
}

bool transfer_any_travelling(const TransferStep *step, KeyState state)
{
	for (size_t i = 0; i < step->keys_count; i++)
		if (transfer_is_travelling(step, &step->keys[i], state))
			return true;
	return false;
}

bool transfer_check_travelling(const TransferStep *step, KeyState state, Error *err)
{
	char id[KEY_ID_HEX];

	for (size_t i = 0; i < step->keys_count; i++) {
		const KeyRecord *key = &step->keys[i];

		key_id_text(key->id, id);
		if (key->state != state)
			return error_set(err, ERROR_CONFLICT, "key %s is %s, not %s", id,
					 key_state_words[key->state], key_state_words[state]);
		if (!transfer_is_travelling(step, key, state))
			return error_set(err, ERROR_CONFLICT, "key %s is %s with another migration",
					 id, key_state_words[state]);
	}
	return true;
}

void transfer_fill_statement(const TransferStep *step, KeyStatement *ret_statement)
{
	const KeyTransfer *request = step->request;

	*ret_statement =
		(KeyStatement){ .epoch = request->epoch, .keys_count = request->keys_count };
	memcpy(ret_statement->migration, request->migration, sizeof(request->migration));
	memcpy(ret_statement->vm, request->vm, sizeof(request->vm));
	memcpy(ret_statement->owner, request->owner, sizeof(request->owner));
	memcpy(ret_statement->source, request->source, sizeof(request->source));
	memcpy(ret_statement->destination, request->destination, sizeof(request->destination));
	memcpy(ret_statement->permit, request->permit, sizeof(request->permit));
	for (size_t i = 0; i < request->keys_count; i++) {
		KeyNamed *key = &ret_statement->keys[i];

		memcpy(key->id, request->keys[i].id, sizeof(key->id));
		key->version = request->keys[i].version;
		memcpy(key->fingerprint, request->keys[i].fingerprint, sizeof(key->fingerprint));
	}
}

bool transfer_verify(TransferStep *step, KeyStatementKind kind, Error *err)
{
	const KeyTransfer *request = step->request;
	KeyStatement expected;

	transfer_fill_statement(step, &expected);
	expected.kind = kind;
	return key_statement_verify(step->party->anchors, step->now_s, request->document,
				    request->document_size, &expected, &step->statement,
				    step->digest, err);
}

bool transfer_check_answers(const TransferStep *step, const uint8_t package[16],
			    const uint8_t previous[KEY_DIGEST_BYTES], Error *err)
{
	const char *word = key_statement_words[step->statement.kind];

	if (memcmp(step->statement.package, package, sizeof(step->statement.package)) != 0)
		return error_set(err, ERROR_AUTH, "receipt \"%s\" is about another package", word);
	return !memcmp(step->statement.previous, previous, sizeof(step->statement.previous)) ||
	       error_set(err, ERROR_AUTH, "receipt \"%s\" answers another one than was given",
			 word);
}

bool transfer_sign(TransferStep *step, const KeyStatement *statement,
		   uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err)
{
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);

	if (!key_statement_make(step->party->signer, statement, &der, ret_digest, err))
		return false;
	memcpy(step->answer.document, der.data, der.used);
	step->answer.document_size = der.used;
	return true;
}

bool transfer_make_receipt(TransferStep *step, KeyStatementKind kind, uint64_t issued_s,
			   const uint8_t previous[KEY_DIGEST_BYTES],
			   uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err)
{
	KeyStatement receipt;

	transfer_fill_statement(step, &receipt);
	receipt.kind = kind;
	receipt.issued_s = issued_s;
	memcpy(receipt.package, step->past.package, sizeof(receipt.package));
	memcpy(receipt.previous, previous, sizeof(receipt.previous));
	return transfer_sign(step, &receipt, ret_digest, err);
}

static KeyReason reason_of(const TransferStep *step, KeyAction action)
{
	return (KeyReason){ action, step->request->who, step->detail, step->now_s };
}

bool transfer_change_key(TransferStep *step, const KeyRecord *changed, KeyAction action, Error *err)
{
	KeyReason reason = reason_of(step, action);
	KeyRecord key = *changed;

	if (key.state != KEY_EXPORTING)
		memset(key.migration, 0, sizeof(key.migration));
	return key_store_change(step->party->store, &key, &reason, err);
}

bool transfer_note_keys(TransferStep *step, Error *err)
{
	KeyReason reason = reason_of(step, KEY_ATTESTED);

	if (!step->keys_count)
		return key_store_note(step->party->store, NULL, &reason, err);
	for (size_t i = 0; i < step->keys_count; i++)
		if (!key_store_note(step->party->store, &step->keys[i], &reason, err))
			return false;
	return true;
}

const KeyRecord *transfer_find_value(const TransferParty *party, const KeyRecord *key,
				     const Secret **ret_value)
{
	const TransferValues *values = party->values;

	for (size_t i = 0; values && i < values->count; i++)
		if (values->keys[i].version == key->version &&
		    !memcmp(values->keys[i].id, key->id, KEY_ID_BYTES)) {
			*ret_value = values->values[i];
			return &values->keys[i];
		}
	return NULL;
}
