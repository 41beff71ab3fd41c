/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/kmip.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keys/kmip_link.h"
#include "keys/kmip_message.h"

typedef struct KmipProvider {
	KeyProvider base; /* first: provider.h */
	KmipTarget *target;
	KmipLink *link; /* NULL: to be dialled */
	uint32_t minor; /* agreed on with the link */
	uint64_t link_ms;
	char username[LIMIT_KMIP_USERNAME]; /* "": none */
	Secret *password;
} KmipProvider;

/* What became of a request. */
typedef enum Fate {
	FATE_ANSWERED,
	FATE_REFUSED, /* the server said no */
	FATE_UNSENT,  /* it cannot have been carried out */
	FATE_UNKNOWN, /* it may have been */
} Fate;

static KmipProvider *provider_of(KeyProvider *base)
{
	return (KmipProvider *)base;
}

static int64_t deadline_of(const KmipProvider *provider)
{
	return clock_monotonic_us(&clock_system) + (int64_t)provider->base.deadline_ms * 1000;
}

static void hang_up(KmipProvider *provider)
{
	kmip_link_close(provider->link);
	provider->link = NULL;
}

/* One request and its answer on the link that is there; a link that went wrong is closed. */
static Fate exchange(KmipProvider *provider, KmipRequest *request, int64_t deadline_us,
		     KmipAnswer *ret_answer, Error *err)
{
	AUTO_BUFFER Buffer sent = BUFFER_INIT(KMIP_REQUEST_MAX);
	AUTO_BUFFER Buffer heard = BUFFER_INIT(PROVIDER_ANSWER_MAX);

	request->minor = provider->minor;
	request->username = provider->username[0] ? provider->username : NULL;
	request->password = provider->password;
	if (!kmip_encode_request(request, &sent, err))
		return FATE_UNSENT;
	if (kmip_link_exchange(provider->link, &sent, &heard, deadline_us, err) &&
	    kmip_decode_answer(request, heard.data, heard.used, ret_answer, err))
		return FATE_ANSWERED;
	if (ret_answer->refused)
		return FATE_REFUSED;
	hang_up(provider);
	return FATE_UNKNOWN;
}

static bool agree_on_version(KmipProvider *provider, int64_t deadline_us, Error *err)
{
	KmipRequest request = { .operation = KMIP_DISCOVER_VERSIONS };
	KmipAnswer answer = { 0 };

	provider->minor = KMIP_MINOR_MIN;
	if (exchange(provider, &request, deadline_us, &answer, err) != FATE_ANSWERED)
		return false;
	if (!answer.minor)
		return error_set(err, ERROR_PEER,
				 "the key manager speaks none of KMIP %d.%d to %d.%d", KMIP_MAJOR,
				 KMIP_MINOR_MIN, KMIP_MAJOR, KMIP_MINOR_MAX);
	provider->minor = answer.minor;
	return true;
}

static bool is_old(const KmipProvider *provider)
{
	int64_t age_us = clock_monotonic_us(&clock_system) - kmip_link_opened_us(provider->link);

	return age_us < 0 || (uint64_t)age_us / 1000 >= provider->link_ms;
}

/* A link that is young and was quiet until now, or a new one. */
static bool be_linked(KmipProvider *provider, int64_t deadline_us, bool *ret_new, Error *err)
{
	*ret_new = false;
	if (provider->link && (is_old(provider) || !kmip_link_is_quiet(provider->link)))
		hang_up(provider);
	if (provider->link)
		return true;
	*ret_new = true;
	provider->link = kmip_link_open(provider->target, deadline_us, err);
	if (!provider->link)
		return false;
	if (agree_on_version(provider, deadline_us, err))
		return true;
	hang_up(provider);
	return false;
}

/* A request on the kept link or a new one. If the kept one turns out to be broken and the request
 * does no harm twice, once more on a new one. */
static Fate ask(KmipProvider *provider, KmipRequest *request, bool harmless_twice,
		int64_t deadline_us, KmipAnswer *ret_answer, Error *err)
{
	for (;;) {
		bool is_new;
		Fate fate;

		*ret_answer = (KmipAnswer){ 0 };
		*err = ERROR_INIT;
		if (!be_linked(provider, deadline_us, &is_new, err))
			return FATE_UNSENT;
		fate = exchange(provider, request, deadline_us, ret_answer, err);
		if (fate != FATE_UNKNOWN || is_new || !harmless_twice ||
		    err->category != ERROR_UNAVAILABLE)
			return fate;
	}
}

/* --- the table --- */

static bool activate(KmipProvider *provider, const char *reference, int64_t deadline_us, Error *err)
{
	KmipRequest request = { .operation = KMIP_ACTIVATE, .reference = reference };
	KmipAnswer answer;

	/* Twice would be refused, as it is active then. */
	if (ask(provider, &request, false, deadline_us, &answer, err) == FATE_ANSWERED)
		return true;
	return error_prefix(err, "stored as %s, but perhaps not activated", reference);
}

static bool kmip_put(KeyProvider *base, const char *label, const Secret *blob,
		     char ret_reference[LIMIT_KEY_REFERENCE], Error *err)
{
	KmipProvider *provider = provider_of(base);
	KmipRequest request = { .operation = KMIP_REGISTER, .label = label, .blob = blob };
	int64_t deadline_us = deadline_of(provider);
	KmipAnswer answer;
	Fate fate;

	ret_reference[0] = '\0';
	fate = ask(provider, &request, false, deadline_us, &answer, err);
	base->nothing_stored = fate == FATE_UNSENT || fate == FATE_REFUSED;
	if (fate == FATE_UNKNOWN)
		return error_prefix(err, "it is not certain whether \"%.100s\" was stored", label);
	if (fate != FATE_ANSWERED)
		return false;
	memcpy(ret_reference, answer.reference, LIMIT_KEY_REFERENCE);
	return activate(provider, ret_reference, deadline_us, err);
}

static Secret *kmip_get(KeyProvider *base, const char *reference, Error *err)
{
	KmipProvider *provider = provider_of(base);
	KmipRequest request = { .operation = KMIP_GET, .reference = reference };
	KmipAnswer answer;

	if (ask(provider, &request, true, deadline_of(provider), &answer, err) != FATE_ANSWERED)
		return NULL;
	return answer.value;
}

/* *ret_gone: the server does not know it, or knows that it was destroyed. */
static bool ask_state(KmipProvider *provider, const char *reference, int64_t deadline_us,
		      KmipState *ret_state, bool *ret_gone, Error *err)
{
	KmipRequest request = { .operation = KMIP_GET_STATE, .reference = reference };
	KmipAnswer answer;
	Fate fate = ask(provider, &request, true, deadline_us, &answer, err);

	*ret_state = answer.state;
	*ret_gone = (fate == FATE_REFUSED && err->category == ERROR_NOT_FOUND) ||
		    answer.state == KMIP_STATE_DESTROYED ||
		    answer.state == KMIP_STATE_DESTROYED_COMPROMISED;
	return *ret_gone || fate == FATE_ANSWERED;
}

/* Not found is as good as done: the first of two tries was heard, or another was faster. */
static bool is_done(Fate fate, const Error *err)
{
	return fate == FATE_ANSWERED || (fate == FATE_REFUSED && err->category == ERROR_NOT_FOUND);
}

static bool deactivate(KmipProvider *provider, const char *reference, int64_t deadline_us,
		       Error *err)
{
	KmipRequest request = { .operation = KMIP_REVOKE, .reference = reference };
	KmipAnswer answer;

	return is_done(ask(provider, &request, false, deadline_us, &answer, err), err);
}

static bool destroy(KmipProvider *provider, const char *reference, int64_t deadline_us, Error *err)
{
	KmipRequest request = { .operation = KMIP_DESTROY, .reference = reference };
	KmipAnswer answer;

	return is_done(ask(provider, &request, true, deadline_us, &answer, err), err);
}

static bool kmip_destroy(KeyProvider *base, const char *reference, Error *err)
{
	KmipProvider *provider = provider_of(base);
	int64_t deadline_us = deadline_of(provider);
	KmipState state;
	bool gone;

	if (!ask_state(provider, reference, deadline_us, &state, &gone, err))
		return false;
	if (gone) {
		*err = ERROR_INIT;
		return true;
	}
	if (state == KMIP_STATE_ACTIVE && !deactivate(provider, reference, deadline_us, err))
		return false;
	if (!destroy(provider, reference, deadline_us, err) ||
	    !ask_state(provider, reference, deadline_us, &state, &gone, err))
		return false;
	if (!gone)
		return error_set(err, ERROR_PEER,
				 "the key manager says that it destroyed %s, but its state is %s",
				 reference, kmip_state_name(state));
	*err = ERROR_INIT;
	return true;
}

/* All that the other calls need. Discover is known by then. */
static bool kmip_check(KeyProvider *base, Error *err)
{
	static const KmipOperation needed[] = { KMIP_REGISTER,	KMIP_ACTIVATE, KMIP_GET,
						KMIP_GET_STATE, KMIP_REVOKE,   KMIP_DESTROY };
	KmipProvider *provider = provider_of(base);
	KmipRequest request = { .operation = KMIP_QUERY };
	KmipAnswer answer;

	if (ask(provider, &request, true, deadline_of(provider), &answer, err) != FATE_ANSWERED)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!answer.offered[needed[i]])
			return error_set(err, ERROR_PEER, "the key manager does not offer %s",
					 kmip_operation_name(needed[i]));
	return true;
}

static void kmip_free(KeyProvider *base)
{
	KmipProvider *provider = provider_of(base);

	hang_up(provider);
	kmip_target_free(provider->target);
	secret_free(provider->password);
	free(provider);
}

static const KeyProviderType kmip_type = {
	.name = "kmip",
	.put = kmip_put,
	.get = kmip_get,
	.destroy = kmip_destroy,
	.check = kmip_check,
	.free = kmip_free,
};

static bool take_credentials(KmipProvider *provider, const KmipConfig *config, Error *err)
{
	size_t size = config->username ? strnlen(config->username, LIMIT_KMIP_USERNAME) : 0;

	if (config->username && (!size || size == LIMIT_KMIP_USERNAME))
		return error_set(err, ERROR_CONFIG, "a user name is not 1 to %d bytes",
				 LIMIT_KMIP_USERNAME - 1);
	if (config->password && !config->username)
		return error_set(err, ERROR_CONFIG, "a password without a user name");
	memcpy(provider->username, config->username ? config->username : "", size);
	if (!config->password)
		return true;
	provider->password =
		secret_new_from(secret_peek(config->password), secret_size(config->password), err);
	return provider->password != NULL;
}

KeyProvider *kmip_provider_new(const KmipConfig *config, Error *err)
{
	KmipProvider *provider = calloc(1, sizeof(*provider));

	if (!provider) {
		error_set(err, ERROR_INTERNAL, "no memory for a key manager");
		return NULL;
	}

	AUTO_KEY_PROVIDER KeyProvider *base = &provider->base;

	base->type = &kmip_type;
	if (config->deadline_ms > KMIP_DEADLINE_MAX_MS) {
		error_set(err, ERROR_CONFIG, "a deadline of %" PRIu64 " ms, %d are the limit",
			  config->deadline_ms, KMIP_DEADLINE_MAX_MS);
		return NULL;
	}
	provider->link_ms = config->link_ms ? config->link_ms : KMIP_LINK_MS;
	base->deadline_ms = config->deadline_ms ? config->deadline_ms : PROVIDER_DEADLINE_MS;
	if (!take_credentials(provider, config, err))
		return NULL;
	provider->target = kmip_target_new(config, err);
	return provider->target ? TAKE_PTR(base) : NULL;
}

void kmip_provider_describe(const KeyProvider *base, char ret_text[KMIP_DESCRIPTION_SIZE])
{
	const KmipProvider *provider = (const KmipProvider *)base;

	if (!provider->link) {
		snprintf(ret_text, KMIP_DESCRIPTION_SIZE, "not connected");
		return;
	}
	snprintf(ret_text, KMIP_DESCRIPTION_SIZE, "KMIP %d.%u, %s %s%s", KMIP_MAJOR,
		 provider->minor, kmip_link_version(provider->link),
		 kmip_link_cipher(provider->link),
		 kmip_link_is_strong(provider->link) ? ""
						     : ", weakened: no authenticated encryption");
}
