/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/spiffe.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/schema.h"

static const char scheme[] = "spiffe://";

typedef struct RoleRow {
	const char *word;
	bool has_name;
} RoleRow;

static const RoleRow role_table[] = {
	[SPIFFE_HOST] = { "host", true },
	[SPIFFE_AUTHORITY] = { "authority", false },
	[SPIFFE_KEYD] = { "keyd", false },
};
static_assert(ARRAY_SIZE(role_table) == SPIFFE_ROLE_COUNT, "one row for each role");

const char *spiffe_role_word(SpiffeRole role)
{
	assert(role < SPIFFE_ROLE_COUNT);
	return role_table[role].word;
}

/* Cuts the text at its first '/': the part before it, and what follows, NULL if there is none. */
static char *cut_segment(char *text)
{
	char *slash = strchr(text, '/');

	if (!slash)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

static bool role_of_word(const char *word, SpiffeRole *ret_role)
{
	for (unsigned int i = 0; i < SPIFFE_ROLE_COUNT; i++)
		if (!strcmp(role_table[i].word, word)) {
			*ret_role = (SpiffeRole)i;
			return true;
		}
	return false;
}

static bool parse_path(const char *role, const char *name, SpiffeId *id, const char *text,
		       Error *err)
{
	if (!role || !role_of_word(role, &id->role))
		return error_set(err, ERROR_AUTH,
				 "\"%s\" has no path of ours (/host/NAME, /authority, /keyd)",
				 text);
	if (!role_table[id->role].has_name) {
		if (name)
			return error_set(err, ERROR_AUTH, "\"%s\" goes on after /%s", text, role);
		return true;
	}
	if (!name || !text_is(TEXT_NAME, name, 1))
		return error_set(err, ERROR_AUTH,
				 "\"%s\" does not end with a host name ([A-Za-z0-9._-])", text);
	if (strlen(name) >= sizeof(id->name))
		return error_set(err, ERROR_AUTH, "host name in \"%s\" is longer than %zu", text,
				 sizeof(id->name) - 1);
	memcpy(id->name, name, strlen(name) + 1);
	return true;
}

bool spiffe_parse(const char *bytes, size_t length, SpiffeId *ret_id, Error *err)
{
	SpiffeId id = { 0 };
	char copy[LIMIT_SPIFFE_ID];
	char *domain, *role, *name;

	if (length >= sizeof(id.text))
		return error_set(err, ERROR_AUTH, "identity of %zu bytes is longer than %zu",
				 length, sizeof(id.text) - 1);
	if (memchr(bytes, '\0', length))
		return error_set(err, ERROR_AUTH, "identity has a NUL byte inside");
	memcpy(id.text, bytes, length);
	memcpy(copy, id.text, sizeof(copy));
	if (strncmp(copy, scheme, strlen(scheme)))
		return error_set(err, ERROR_AUTH, "identity \"%s\" does not begin with %s", id.text,
				 scheme);
	domain = copy + strlen(scheme);
	role = cut_segment(domain);
	name = role ? cut_segment(role) : NULL;
	if (!text_is(TEXT_DOMAIN, domain, 1))
		return error_set(err, ERROR_AUTH, "domain of \"%s\" is not of [a-z0-9.-]", id.text);
	if (strlen(domain) >= sizeof(id.domain))
		return error_set(err, ERROR_AUTH, "domain of \"%s\" is longer than %zu", id.text,
				 sizeof(id.domain) - 1);
	memcpy(id.domain, domain, strlen(domain) + 1);
	if (!parse_path(role, name, &id, id.text, err))
		return false;
	*ret_id = id;
	return true;
}

bool spiffe_make(SpiffeRole role, const char *domain, const char *name, SpiffeId *ret_id,
		 Error *err)
{
	char text[LIMIT_SPIFFE_ID];
	bool has_name = name && *name;
	int length;

	assert(role < SPIFFE_ROLE_COUNT);
	if (has_name != role_table[role].has_name)
		return error_set(err, ERROR_USAGE, "role %s %s a name", role_table[role].word,
				 has_name ? "does not take" : "needs");
	if (!text_is(TEXT_DOMAIN, domain, 1) || strlen(domain) >= sizeof(ret_id->domain))
		return error_set(err, ERROR_USAGE,
				 "\"%s\" is not a domain of at most %d of [a-z0-9.-]", domain,
				 LIMIT_DOMAIN - 1);
	if (has_name && (!text_is(TEXT_NAME, name, 1) || strlen(name) >= sizeof(ret_id->name)))
		return error_set(err, ERROR_USAGE,
				 "\"%s\" is not a name of at most %d of [A-Za-z0-9._-]", name,
				 LIMIT_NAME - 1);
	length = snprintf(text, sizeof(text), "%s%s/%s%s%s", scheme, domain, role_table[role].word,
			  has_name ? "/" : "", has_name ? name : "");
	assert(length > 0 && length < (int)sizeof(text));
	return spiffe_parse(text, (size_t)length, ret_id, err);
}
