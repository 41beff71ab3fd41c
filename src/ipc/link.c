/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/binary.h"

struct IpcLink {
	int fd;
	int state;
	bool broken;
	const IpcRule *rules;
	Buffer out;
	size_t payload_size; /* of the largest schema in rules */
	void *payload;
	uint8_t in[LIMIT_IPC_MESSAGE];
};

IpcLink *ipc_link_new(int fd, const IpcRule *rules, Error *err)
{
	IpcLink *link = calloc(1, sizeof(*link));
	size_t largest = 1;

	for (const IpcRule *rule = rules; rule->type; rule++)
		if (rule->schema && rule->schema->struct_size > largest)
			largest = rule->schema->struct_size;
	if (link)
		link->payload = calloc(1, largest);
	if (!link || !link->payload) {
		free(link);
		cleanup_fd(&fd);
		error_set(err, ERROR_INTERNAL, "no memory for a link");
		return NULL;
	}
	link->fd = fd;
	link->rules = rules;
	link->payload_size = largest;
	link->out = BUFFER_INIT(LIMIT_IPC_MESSAGE);
	return link;
}

void ipc_link_free(IpcLink *link)
{
	if (!link)
		return;
	cleanup_fd(&link->fd);
	buffer_clear(&link->out);
	explicit_bzero(link->payload, link->payload_size);
	free(link->payload);
	explicit_bzero(link->in, sizeof(link->in));
	free(link);
}

int ipc_link_fd(const IpcLink *link)
{
	return link->fd;
}

int ipc_link_state(const IpcLink *link)
{
	return link->state;
}

static bool send_bytes(int fd, const void *data, size_t size, const int *fds, size_t n_fds,
		       Error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * LIMIT_IPC_FDS)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t sent;

	assert(n_fds <= LIMIT_IPC_FDS);
	if (n_fds) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
	}
	do
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return error_set_errno(err,
				       errno == EAGAIN || errno == EMSGSIZE ? ERROR_LIMIT : ERROR_UNAVAILABLE,
				       errno, "cannot send %zu bytes to another process", size);
	return (size_t)sent == size || error_set(err, ERROR_IO, "a message was cut short");
}

bool ipc_send(IpcLink *link, uint16_t type, uint64_t subject, const Schema *schema,
	      const void *payload, const int *fds, size_t n_fds, Error *err)
{
	bool ok;

	if (link->broken)
		return error_set(err, ERROR_UNAVAILABLE, "the link is closed");
	link->out.used = 0;
	ok = buffer_put_be16(&link->out, type, err) && buffer_put_be16(&link->out, 0, err) &&
	     buffer_put_be64(&link->out, subject, err) &&
	     (!schema || binary_encode(schema, payload, &link->out, err)) &&
	     send_bytes(link->fd, link->out.data, link->out.used, fds, n_fds, err);
	if (link->out.data)
		explicit_bzero(link->out.data, link->out.used);
	return ok;
}

static void take_fds(struct msghdr *header, IpcMessage *ret_message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (ret_message->fds_count < LIMIT_IPC_FDS)
				ret_message->fds[ret_message->fds_count++] = fd;
			else
				close(fd);
		}
	}
}

static const IpcRule *rule_of(const IpcRule *rules, uint16_t type)
{
	for (; rules->type; rules++)
		if (rules->type == type)
			return rules;
	return NULL;
}

static bool check_message(IpcLink *link, size_t size, IpcMessage *message, Error *err)
{
	Reader reader = reader_of(link->in, size);
	uint16_t zero;
	const IpcRule *rule;

	if (!reader_get_be16(&reader, &message->type) || !reader_get_be16(&reader, &zero) || zero ||
	    !reader_get_be64(&reader, &message->subject))
		return error_set(err, ERROR_PEER, "a message of %zu bytes has no valid header", size);
	rule = rule_of(link->rules, message->type);
	if (!rule)
		return error_set(err, ERROR_PEER, "message type %u is not permitted", message->type);
	if (!(rule->states & IPC_IN(link->state)))
		return error_set(err, ERROR_PEER, "message %s is not permitted in state %d", rule->name,
				 link->state);
	if (message->fds_count < rule->fds_min || message->fds_count > rule->fds_max)
		return error_set(err, ERROR_PEER, "message %s with %zu descriptors, expected %u..%u",
				 rule->name, message->fds_count, rule->fds_min, rule->fds_max);
	if (!rule->schema && reader.left)
		return error_set(err, ERROR_PEER, "message %s with %zu bytes too many", rule->name,
				 reader.left);
	if (rule->schema && !binary_decode(rule->schema, reader.data, reader.left, link->payload, err))
		return error_prefix(err, "message %s", rule->name);
	message->payload = rule->schema ? link->payload : NULL;
	if (rule->next_state != IPC_KEEP)
		link->state = rule->next_state;
	return true;
}

/* A peer that closed with bytes of ours unread resets the connection: that is told once, ahead of
 * what it had sent before, its reason to go among it (unix(7), SOCK_SEQPACKET). */
static ssize_t receive(int fd, struct msghdr *header)
{
	bool reset = false;

	for (;;) {
		ssize_t got = recvmsg(fd, header, MSG_CMSG_CLOEXEC);

		if (got >= 0 || (errno != EINTR && (errno != ECONNRESET || reset)))
			return got;
		reset = reset || errno == ECONNRESET;
	}
}

IpcReceived ipc_receive(IpcLink *link, IpcMessage *ret_message, Error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * LIMIT_IPC_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = link->in, .iov_len = sizeof(link->in) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes) };
	ssize_t got;

	*ret_message = (IpcMessage){ .fds = { -1, -1, -1, -1 } };
	if (link->broken)
		return IPC_CLOSED;
	got = receive(link->fd, &header);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return IPC_NOTHING;
	if (got < 0) {
		link->broken = true;
		if (errno == ECONNRESET)
			return IPC_CLOSED;
		error_set_errno(err, ERROR_IO, errno, "cannot receive a message");
		return IPC_BROKEN;
	}
	take_fds(&header, ret_message);
	if (!got) {
		/* Or an empty message, which nobody sends; its descriptors would be left open. */
		ipc_message_clear(ret_message, link);
		link->broken = true;
		return IPC_CLOSED;
	}
	if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		error_set(err, ERROR_PEER, "a message is longer than %d bytes or has more than %d descriptors",
			  LIMIT_IPC_MESSAGE, LIMIT_IPC_FDS);
	else if (check_message(link, (size_t)got, ret_message, err)) {
		explicit_bzero(link->in, (size_t)got);
		return IPC_MESSAGE;
	}
	explicit_bzero(link->in, (size_t)got);
	/* What was decoded before the fault was found may be a key. */
	explicit_bzero(link->payload, link->payload_size);
	ipc_message_clear(ret_message, link);
	link->broken = true;
	return IPC_BROKEN;
}

void ipc_message_clear(IpcMessage *message, IpcLink *link)
{
	for (size_t i = 0; i < message->fds_count; i++)
		cleanup_fd(&message->fds[i]);
	message->fds_count = 0;
	if (message->payload)
		explicit_bzero(link->payload, link->payload_size);
	message->payload = NULL;
}

bool ipc_pair(int ret_fds[2], Error *err)
{
	const int size = 262144;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket pair");
	/* A bigger queue only delays the moment at which a slow child is noticed: best effort. */
	for (int i = 0; i < 2; i++)
		(void)setsockopt(ret_fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return true;
}

bool ipc_send_fd(int socket_fd, int fd, Error *err)
{
	return send_bytes(socket_fd, "", 1, &fd, 1, err);
}
