/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/tpm2_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"

enum { MAGIC = 0x5345414c, HEADER_BYTES = 10 }; /* tag, size, code: TPM 2.0 part 1, 18 */

/* The interface passes its first member around. */
static Tpm2Link *link_of(TSS2_TCTI_CONTEXT *context)
{
	return (Tpm2Link *)(void *)context;
}

static TSS2_RC fail(Tpm2Link *link, ErrorCategory category, int code, const char *what)
{
	if (link->error.category != ERROR_NONE)
		return TSS2_TCTI_RC_IO_ERROR;
	if (code)
		error_set_errno(&link->error, category, code, "TPM: %s", what);
	else
		error_set(&link->error, category, "TPM: %s", what);
	return TSS2_TCTI_RC_IO_ERROR;
}

/* One write for a command: a device wants it whole. */
static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
	Tpm2Link *link = link_of(context);
	ssize_t put;

	do
		put = write(link->fd, command, size);
	while (put < 0 && errno == EINTR);
	link->answer_size = 0;
	if (put < 0)
		return fail(link, ERROR_UNAVAILABLE, errno, "cannot send a command");
	return (size_t)put == size ? TSS2_RC_SUCCESS
				   : fail(link, ERROR_UNAVAILABLE, 0, "a command was cut short");
}

static bool wait_readable(Tpm2Link *link, int64_t until_us)
{
	struct pollfd entry = { .fd = link->fd, .events = POLLIN };
	int got;

	do {
		int64_t left_ms = (until_us - clock_monotonic_us(&clock_system)) / 1000;

		if (left_ms <= 0)
			return false;
		got = poll(&entry, 1, left_ms > 60000 ? 60000 : (int)left_ms);
	} while (got == 0 || (got < 0 && errno == EINTR));
	return got > 0;
}

/* The whole answer: a device gives it at once, a socket perhaps in parts. */
static TSS2_RC fetch(Tpm2Link *link)
{
	int64_t until_us = clock_monotonic_us(&clock_system) + (int64_t)link->deadline_ms * 1000;
	size_t wanted = HEADER_BYTES;

	while (link->answer_size < wanted) {
		ssize_t got;

		if (!wait_readable(link, until_us))
			return fail(link, ERROR_TIMEOUT, 0, "no answer in time");
		got = read(link->fd, link->answer + link->answer_size,
			   TPM2_LINK_MAX - link->answer_size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(link, ERROR_UNAVAILABLE, errno, "cannot receive an answer");
		if (!got)
			return fail(link, ERROR_UNAVAILABLE, 0, "gone");
		link->answer_size += (size_t)got;
		if (link->answer_size < HEADER_BYTES)
			continue;
		wanted = load_be32(link->answer + 2);
		if (wanted < HEADER_BYTES || wanted > TPM2_LINK_MAX || link->answer_size > wanted)
			return fail(link, ERROR_PEER, 0, "an answer of a wrong size");
	}
	return TSS2_RC_SUCCESS;
}

/* The interface's deadline is "for ever" wherever esys calls it: ours counts. */
static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *answer, int32_t timeout)
{
	Tpm2Link *link = link_of(context);
	TSS2_RC rc;

	(void)timeout;
	if (!link->answer_size) {
		rc = fetch(link);
		if (rc != TSS2_RC_SUCCESS)
			return rc;
	}
	if (!answer) {
		*size = link->answer_size;
		return TSS2_RC_SUCCESS;
	}
	if (*size < link->answer_size)
		return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
	*size = link->answer_size;
	memcpy(answer, link->answer, link->answer_size);
	/* It may have been the root key, though encrypted. */
	explicit_bzero(link->answer, link->answer_size);
	link->answer_size = 0;
	return TSS2_RC_SUCCESS;
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
	(void)context;
}

static TSS2_RC cancel(TSS2_TCTI_CONTEXT *context)
{
	(void)context;
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC get_poll_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles,
				size_t *count)
{
	(void)context;
	(void)handles;
	(void)count;
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_RC set_locality(TSS2_TCTI_CONTEXT *context, uint8_t locality)
{
	(void)context;
	(void)locality;
	return TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

void tpm2_link_init(Tpm2Link *link, int fd, uint64_t deadline_ms)
{
	*link = (Tpm2Link){
		.common = { .magic = MAGIC,
			    .version = 1,
			    .transmit = transmit,
			    .receive = receive,
			    .finalize = finalize,
			    .cancel = cancel,
			    .getPollHandles = get_poll_handles,
			    .setLocality = set_locality },
		.fd = fd,
		.deadline_ms = deadline_ms,
	};
}
