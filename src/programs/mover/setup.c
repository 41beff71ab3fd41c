/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "programs/mover/session.h"

/* What the engine made of its own QEMU: sealed memory, so that nobody changes it while it is read.
 */
static bool read_given(int fd, const char *what, size_t max_bytes, Buffer *bytes, Error *err)
{
	uint8_t chunk[4096];
	ssize_t got;

	while ((got = pread(fd, chunk, sizeof(chunk), (off_t)bytes->used)) > 0)
		if (bytes->used + (size_t)got > max_bytes)
			return error_set(err, ERROR_INTERNAL, "%s has more than %zu bytes", what,
					 max_bytes);
		else if (!buffer_put(bytes, chunk, (size_t)got, err))
			return false;
	return !got || error_set_errno(err, ERROR_INTERNAL, errno, "cannot read %s", what);
}

/* False if there is none. */
static bool read_uuid(const char *text, uint8_t uuid[16])
{
	size_t used = 0;

	for (const char *at = text; *at && used < 16;) {
		unsigned int byte;

		at += *at == '-';
		if (sscanf(at, "%2x", &byte) != 1)
			return false;
		uuid[used++] = (uint8_t)byte;
		at += 2;
	}
	return used == 16;
}

/* What is opened of a row; NULL: nothing, everything passes. */
static const StreamFilter *chosen(const Session *session, const StreamFilter *row)
{
	return session->guard != MOVER_GUARD_OFF || session->config->filter_always ? row : NULL;
}

static bool start_filters(Session *session, const MoverSetup *setup, const IpcMessage *message,
			  Error *err)
{
	AUTO_BUFFER Buffer twin = BUFFER_INIT(LIMIT_TWIN), dump = BUFFER_INIT(LIMIT_TWIN_DUMP);
	bool expects = setup->guard != MOVER_GUARD_OFF && setup->side == MOVER_DESTINATION;
	FilterSetup filter = { .side = setup->side,
			       .channels = session->channels_count,
			       .guard = setup->guard,
			       .disks = setup->disks,
			       .disks_count = setup->disks_count,
			       .on_warning = session_on_warning,
			       .context = session };

	if (message->fds_count != (expects ? 2 : 0))
		return error_set(err, ERROR_INTERNAL, "%zu descriptors with the setup, not %d",
				 message->fds_count, expects ? 2 : 0);
	if (expects && (!read_given(message->fds[0], "the twin", LIMIT_TWIN, &twin, err) ||
			!read_given(message->fds[1], "the dump", LIMIT_TWIN_DUMP, &dump, err)))
		return false;
	filter.expected = (GuardExpected){ .channels = (unsigned int)session->channels_count,
					   .twin = twin.data,
					   .twin_size = twin.used,
					   .dump = dump.data,
					   .dump_size = dump.used };
	memcpy(filter.expected.machine, setup->machine, sizeof(setup->machine));
	filter.expected.has_uuid = read_uuid(setup->uuid, filter.expected.uuid);
	session->guard = setup->guard;
	return filter_open(&session->filter, chosen(session, session->config->filter), &filter,
			   err) &&
	       (!setup->disks_count ||
		filter_open(&session->disk_filter, chosen(session, session->config->disk_filter),
			    &filter, err));
}

bool session_setup(Session *session, const IpcMessage *message, Error *err)
{
	const MoverSetup *setup = message->payload;
	const AeadProvider *provider = aead_provider_by_name(setup->aead);

	if (setup->channels > session->threads_channels ||
	    setup->disks_count > session->threads_disks)
		return error_set(err, ERROR_INTERNAL,
				 "%llu channels and %zu of disks, but threads for %zu and %zu",
				 (unsigned long long)setup->channels, setup->disks_count,
				 session->threads_channels, session->threads_disks);
	if (!provider)
		return error_set(err, ERROR_INTERNAL, "no AEAD provider \"%s\" on this machine",
				 setup->aead);
	session->prk = secret_new_from(setup->secret, sizeof(setup->secret), err);
	if (!session->prk)
		return false;
	session->side = setup->side;
	session->channels_count = (size_t)setup->channels;
	session->disks_count = setup->disks_count;
	session->proof_context = (ProofContext){
		.side = setup->side,
		.prk = session->prk,
		.provider = provider,
		.options = { .sealed = setup->sealed,
			     .padding = session->config->padding,
			     .limits = session->config->limits },
	};
	memcpy(session->proof_context.routing, setup->routing, sizeof(setup->routing));
	pace_set_rate(&session->pace, setup->bandwidth_bytes_s);
	session->set_up = true;
	return start_filters(session, setup, message, err);
}
