/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/barbican_json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"

enum {
	LISTED_MAX = 16,
	CATALOG_MAX = 256, /* services, and endpoints of one */
	LIFETIME_MAX_S = 366 * 24 * 3600,
	REFERENCE_MAX = 1024, /* of a secret_ref */
};

static inline void json_cleanup(json_t **object)
{
	json_decref(*object);
}
#define AUTO_JSON CLEANUP(json_cleanup)

/* --- requests --- */

static bool put_json(const json_t *root, Buffer *body, Error *err)
{
	char text[BARBICAN_BODY_MAX];
	size_t size = json_dumpb(root, text, sizeof(text), JSON_COMPACT);
	bool ok;

	if (size && size <= sizeof(text))
		ok = buffer_put(body, text, size, err);
	else
		ok = error_set(err, ERROR_LIMIT, "a request of %zu bytes, more than %zu", size,
			       sizeof(text));
	explicit_bzero(text, sizeof(text));
	return ok;
}

bool barbican_encode_auth(const char *credential_id, const Secret *secret, Buffer *body, Error *err)
{
	AUTO_JSON json_t *root =
		json_pack("{s:{s:{s:[s],s:{s:s,s:s%}}}}", "auth", "identity", "methods",
			  "application_credential", "application_credential", "id", credential_id,
			  "secret", (const char *)secret_peek(secret), secret_size(secret));

	if (!root)
		return error_set(err, ERROR_CONFIG,
				 "the application credential or its secret is not UTF-8");
	return put_json(root, body, err);
}

bool barbican_encode_secret(const char *name, const Secret *blob, Buffer *body, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(2 * SECRET_MAX_BYTES);
	AUTO_JSON json_t *root = NULL;
	bool is_key = secret_size(blob) == KEY_BYTES;

	if (!base64_encode(secret_peek(blob), secret_size(blob), &text, err))
		return false;
	root = json_pack("{s:s,s:s,s:s%,s:s,s:s}", "name", name, "secret_type",
			 is_key ? "symmetric" : "opaque", "payload", (const char *)text.data,
			 text.used, "payload_content_type", "application/octet-stream",
			 "payload_content_encoding", "base64");
	if (!root)
		return error_set(err, ERROR_USAGE, "a label that is not UTF-8");
	if (is_key && (json_object_set_new(root, "algorithm", json_string("aes")) ||
		       json_object_set_new(root, "bit_length", json_integer(8 * KEY_BYTES))))
		return error_set(err, ERROR_INTERNAL, "no memory for JSON");
	return put_json(root, body, err);
}

/* --- answers --- */

static json_t *parse(const void *data, size_t size, Error *err)
{
	json_error_t where;
	json_t *root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &where);

	if (!root)
		error_set(err, ERROR_PEER, "not JSON at byte %d: %s", where.position, where.text);
	else if (!json_is_object(root))
		error_set(err, ERROR_PEER, "JSON that is not an object");
	else
		return root;
	json_decref(root);
	return NULL;
}

/* A member that is a string without a NUL inside; NULL if it is not. */
static const char *text_of(const json_t *object, const char *name)
{
	const json_t *member = json_object_get(object, name);
	const char *text = json_string_value(member);

	return text && strlen(text) == json_string_length(member) ? text : NULL;
}

/* Days since 1970 in the Gregorian calendar. Not timegm(3), which opens the time zone's file. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t eras, day_of_year;

	/* Years that begin in March have their leap day at the end. */
	year -= month <= 2;
	month += month <= 2 ? 9 : -3;
	eras = year / 4 - year / 100 + year / 400;
	day_of_year = (153 * month + 2) / 5 + day - 1;
	return year * 365 + eras + day_of_year - 719468; /* of 1 March of the year 0 */
}

/* "2026-11-21T17:12:35.000000Z", to the second. */
static bool parse_time(const char *text, int64_t *ret_s)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	int64_t parts[6] = { 0 }; /* year to second */
	size_t part = 0;

	if (!text)
		return false;
	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return false;
		if (form[i] == 'd')
			parts[part] = parts[part] * 10 + (text[i] - '0');
		else
			part++;
	}
	if (parts[0] < 1970 || parts[1] < 1 || parts[1] > 12 || parts[2] < 1 || parts[2] > 31 ||
	    parts[3] > 23 || parts[4] > 59 || parts[5] > 60)
		return false;
	*ret_s = ((days_of(parts[0], parts[1], parts[2]) * 24 + parts[3]) * 60 + parts[4]) * 60 +
		 parts[5];
	text += sizeof(form) - 1;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	return !strcmp(text, "Z");
}

static bool take_lifetime(const json_t *token, BarbicanToken *ret_token, Error *err)
{
	int64_t issued_s, expires_s;

	if (!parse_time(text_of(token, "issued_at"), &issued_s) ||
	    !parse_time(text_of(token, "expires_at"), &expires_s))
		return error_set(err, ERROR_PEER,
				 "the token has no issued_at and expires_at in UTC");
	if (expires_s <= issued_s || expires_s - issued_s > LIFETIME_MAX_S)
		return error_set(err, ERROR_PEER, "the token lives %lld seconds, 1 to %d are sane",
				 (long long)(expires_s - issued_s), LIFETIME_MAX_S);
	ret_token->lifetime_s = (uint64_t)(expires_s - issued_s);
	return true;
}

static bool take_endpoint(const json_t *endpoint, const char *interface, const char *region,
			  BarbicanToken *ret_token, Error *err)
{
	const char *its_interface = text_of(endpoint, "interface");
	const char *its_region = text_of(endpoint, "region_id");
	const char *url = text_of(endpoint, "url");

	if (!its_interface || strcmp(its_interface, interface) != 0 ||
	    (region && (!its_region || strcmp(its_region, region) != 0)))
		return true;
	if (!url || !url[0])
		return error_set(err, ERROR_PEER, "a key manager without a URL in the catalogue");
	if (strlen(url) >= LIMIT_BARBICAN_URL)
		return error_set(err, ERROR_LIMIT,
				 "a URL of %zu bytes in the catalogue, more than %d", strlen(url),
				 LIMIT_BARBICAN_URL - 1);
	if (ret_token->key_manager[0] && strcmp(ret_token->key_manager, url) != 0)
		return error_set(
			err, ERROR_CONFIG,
			"the catalogue has several key managers: name the region, or the URL");
	memcpy(ret_token->key_manager, url, strlen(url) + 1);
	return true;
}

static bool take_catalog(const json_t *token, const char *interface, const char *region,
			 BarbicanToken *ret_token, Error *err)
{
	const json_t *catalog = json_object_get(token, "catalog");

	if (!catalog)
		return true;
	if (!json_is_array(catalog) || json_array_size(catalog) > CATALOG_MAX)
		return error_set(err, ERROR_PEER, "the catalogue is no list of up to %d",
				 CATALOG_MAX);
	for (size_t i = 0; i < json_array_size(catalog); i++) {
		const json_t *service = json_array_get(catalog, i);
		const json_t *endpoints = json_object_get(service, "endpoints");
		const char *type = text_of(service, "type");

		if (!type || strcmp(type, "key-manager") != 0)
			continue;
		if (!json_is_array(endpoints) || json_array_size(endpoints) > CATALOG_MAX)
			return error_set(err, ERROR_PEER, "endpoints that are no list of up to %d",
					 CATALOG_MAX);
		for (size_t j = 0; j < json_array_size(endpoints); j++)
			if (!take_endpoint(json_array_get(endpoints, j), interface, region,
					   ret_token, err))
				return false;
	}
	return true;
}

bool barbican_decode_token(const void *data, size_t size, const char *interface, const char *region,
			   BarbicanToken *ret_token, Error *err)
{
	AUTO_JSON json_t *root = parse(data, size, err);
	const json_t *token = json_object_get(root, "token");
	BarbicanToken found = { 0 };

	if (!root)
		return false;
	if (!json_is_object(token))
		return error_set(err, ERROR_PEER, "no token in the answer");
	if (!take_lifetime(token, &found, err) ||
	    !take_catalog(token, interface, region, &found, err))
		return false;
	*ret_token = found;
	return true;
}

static bool take_reference(const json_t *object, char ret_uuid[LIMIT_UUID], Error *err)
{
	static const char folder[] = "/v1/secrets/";
	const char *reference = text_of(object, "secret_ref");
	size_t size = reference ? strlen(reference) : 0;
	size_t tail = sizeof(folder) - 1 + LIMIT_UUID - 1;

	if (!size || size > REFERENCE_MAX)
		return error_set(err, ERROR_PEER, "no secret_ref of up to %d bytes", REFERENCE_MAX);
	if ((strncmp(reference, "https://", 8) != 0 && strncmp(reference, "http://", 7) != 0) ||
	    size < 8 + tail || strncmp(reference + size - tail, folder, sizeof(folder) - 1) != 0 ||
	    !text_is(TEXT_UUID, reference + size - (LIMIT_UUID - 1), LIMIT_UUID - 1))
		return error_set(err, ERROR_PEER, "\"%.100s\" is no reference of a secret",
				 reference);
	memcpy(ret_uuid, reference + size - (LIMIT_UUID - 1), LIMIT_UUID);
	return true;
}

bool barbican_decode_created(const void *data, size_t size, char ret_uuid[LIMIT_UUID], Error *err)
{
	AUTO_JSON json_t *root = parse(data, size, err);

	return root && take_reference(root, ret_uuid, err);
}

bool barbican_decode_list(const void *data, size_t size, const char *name,
			  char ret_uuid[LIMIT_UUID], Error *err)
{
	AUTO_JSON json_t *root = parse(data, size, err);
	const json_t *list = json_object_get(root, "secrets");
	char first[LIMIT_UUID] = "", other[LIMIT_UUID];

	if (!root)
		return false;
	if (!json_is_array(list) || json_array_size(list) > LISTED_MAX)
		return error_set(err, ERROR_PEER, "no list of up to %d secrets", LISTED_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		const char *its_name = text_of(entry, "name");

		if (name && (!its_name || strcmp(its_name, name) != 0))
			return error_set(err, ERROR_PEER, "a secret of another name in the list");
		if (!take_reference(entry, i ? other : first, err))
			return false;
	}
	memcpy(ret_uuid, first, LIMIT_UUID);
	return true;
}

void barbican_decode_refusal(const void *data, size_t size, char ret_text[LIMIT_BARBICAN_REFUSAL])
{
	Error ignored = ERROR_INIT;
	AUTO_JSON json_t *root = parse(data, size, &ignored);
	/* Keystone and the middleware put it into "error", Barbican does not. */
	const json_t *inner = json_object_get(root, "error");
	const json_t *object = json_is_object(inner) ? inner : root;
	const char *title = text_of(object, "title"), *words = text_of(object, "description");

	if (!words)
		words = text_of(object, "message");
	ret_text[0] = '\0';
	if (title || words)
		snprintf(ret_text, LIMIT_BARBICAN_REFUSAL, "%s%s%s", title ? title : "",
			 title && words ? ": " : "", words ? words : "");
}
