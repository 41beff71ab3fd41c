/* SPDX-License-Identifier: Apache-2.0 */
/* From KEYD_START to ROLE_READY: is it the store that the engine knows, and is it whole? */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "programs/keyd/keyd.h"

enum { PROGRESS_US = 1000000 };

/* A store that was put back to an earlier day is in order by itself: only who remembers what it was
 * can see it. */
static bool check_head(Keyd *keyd, const KeydHead *known, Error *err)
{
	uint8_t chain[KEY_DIGEST_BYTES];
	KeyLogEntry entry;
	uint64_t entries;
	size_t count = 0;

	key_store_head(keyd->store, &entries, chain);
	if (!known->entries)
		return true;
	if (entries < known->entries)
		return error_set(err, ERROR_AUTH,
				 "the key store has %" PRIu64 " log entries, but had %" PRIu64
				 ": it was put back to an earlier state, or removed",
				 entries, known->entries);
	if (!key_store_log(keyd->store, known->entries, &entry, 1, &count, err))
		return false;
	return (count == 1 && entry.number == known->entries &&
		!memcmp(entry.chain, known->chain, sizeof(entry.chain))) ||
	       error_set(
		       err, ERROR_AUTH,
		       "log entry %" PRIu64
		       " of the key store is not the one that it was: another store is in its place",
		       known->entries);
}

/* Not one request is answered out of such a store: `err` is told to the engine, and ends us. */
static bool refuse_start(Keyd *keyd, Error *err)
{
	Error failure = *err;

	if (role_send_failure(keyd->link, keyd->start, &failure, err))
		*err = failure;
	return false;
}

bool keyd_on_start(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydHead *known = message->payload;

	keyd->start = message->subject;
	if (!check_head(keyd, known, err)) {
		*link_ok = false;
		return refuse_start(keyd, err);
	}
	keyd->told = known->entries;
	keyd->verifying = true;
	walk_begin(&keyd->walk);
	/* Whose keys are whose, the log tells on the way. */
	keyd->walk.holders = &keyd->holders;
	return true;
}

/* Now and again, so that a large store does not look like a program that hangs. */
static bool tell_progress(Keyd *keyd, Error *err)
{
	int64_t now_us = clock_monotonic_us(keyd->clock);
	KeydProgress progress = { .entries = keyd->walk.log.entries, .keys = keyd->walk.keys };
	uint8_t chain[KEY_DIGEST_BYTES];

	if (!keyd->progress_us)
		keyd->progress_us = now_us;
	if (now_us - keyd->progress_us < PROGRESS_US)
		return true;
	keyd->progress_us = now_us;
	key_store_head(keyd->store, &progress.total, chain);
	return ipc_send(keyd->link, KEYD_PROGRESS, 0, &keyd_progress_schema, &progress, NULL, 0,
			err);
}

bool keyd_go_on_starting(Keyd *keyd, Error *err)
{
	bool done = false;

	if (!walk_step(&keyd->walk, keyd->store, &done, err)) {
		if (err->category == ERROR_AUTH)
			error_prefix(err, "the key store is not what was written to it");
		return refuse_start(keyd, err);
	}
	if (!done)
		return tell_progress(keyd, err);
	keyd->verifying = false;
	keyd->created = keyd->walk.created;
	keyd->counted = keyd->walk.log.entries;
	return keyd_tell_head(keyd, err) &&
	       ipc_send(keyd->link, ROLE_READY, keyd->start, NULL, NULL, NULL, 0, err);
}

typedef struct PemPair {
	Buffer chain, key;
} PemPair;

static void pem_pair_clear(PemPair *pair)
{
	buffer_clear(&pair->chain);
	buffer_clear(&pair->key);
}
#define AUTO_PEM_PAIR CLEANUP(pem_pair_clear)

static bool read_pair(int chain_fd, int key_fd, PemPair *pair, Error *err)
{
	return (file_read_fd(chain_fd, LIMIT_PEM, &pair->chain, err) ||
		error_prefix(err, "certificate")) &&
	       (file_read_fd(key_fd, LIMIT_PEM, &pair->key, err) ||
		error_prefix(err, "private key"));
}

static bool check_names(const Keyd *keyd, Error *err)
{
	const SpiffeId *signs = cms_signer_id(keyd->signer), *opens = envelope_key_id(keyd->agree);

	if (signs->role != SPIFFE_KEYD)
		return error_set(err, ERROR_CONFIG,
				 "the key manager's certificate is of %.200s, not of a keyd",
				 signs->text);
	return !strcmp(signs->text, opens->text) ||
	       error_set(err, ERROR_CONFIG,
			 "the key manager's certificates are of two: %.200s and %.200s",
			 signs->text, opens->text);
}

bool keyd_load_certificates(Keyd *keyd, Error *err)
{
	AUTO_PEM_PAIR PemPair sign = { BUFFER_INIT(LIMIT_PEM), BUFFER_INIT(LIMIT_PEM) };
	AUTO_PEM_PAIR PemPair agree = { BUFFER_INIT(LIMIT_PEM), BUFFER_INIT(LIMIT_PEM) };
	bool ok = read_pair(KEYD_CERTIFICATE_FD, KEYD_KEY_FD, &sign, err) &&
		  read_pair(KEYD_AGREE_CERTIFICATE_FD, KEYD_AGREE_KEY_FD, &agree, err);

	for (int fd = KEYD_CERTIFICATE_FD; fd <= KEYD_AGREE_KEY_FD; fd++)
		close(fd);
	if (!ok)
		return false;
	keyd->signer = cms_signer_load(sign.chain.data, sign.chain.used, sign.key.data,
				       sign.key.used, err);
	if (!keyd->signer)
		return error_prefix(err, "keys.certificate");
	keyd->agree = envelope_key_load(agree.chain.data, agree.chain.used, agree.key.data,
					agree.key.used, err);
	if (!keyd->agree)
		return error_prefix(err, "keys.agree_certificate");
	return check_names(keyd, err);
}
