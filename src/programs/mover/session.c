/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "programs/mover/relay.h"

enum { DROPS_LOGGED_MAX = 16 };

static void init_channel(Session *session, unsigned int index)
{
	Channel *channel = &session->channels[index];

	channel->session = session;
	channel->index = index;
	channel->network_fd = -1;
	channel->local_fd = -1;
	channel->out.channel = channel;
	channel->out.outbound = true;
	channel->in.channel = channel;
	channel->is_disk = index >= LIMIT_STREAM_CHANNELS;
	if (channel->is_disk)
		snprintf(channel->name, sizeof(channel->name), "disk-%u",
			 index - LIMIT_STREAM_CHANNELS);
	else if (index)
		snprintf(channel->name, sizeof(channel->name), "multifd-%u", index - 1);
	else
		snprintf(channel->name, sizeof(channel->name), "main");
}

bool session_has_channel(const Session *session, uint64_t number)
{
	return number < session->channels_count ||
	       (number >= LIMIT_STREAM_CHANNELS &&
		number - LIMIT_STREAM_CHANNELS < session->disks_count);
}

const Filter *session_filter(const Channel *channel)
{
	return channel->is_disk ? &channel->session->disk_filter : &channel->session->filter;
}

bool session_init(Session *session, const MoverConfig *config, const Log *log, int wake_fd,
		  int status_fd, Error *err)
{
	memset(session, 0, sizeof(*session));
	session->config = config;
	session->log = log;
	session->wake_fd = wake_fd;
	session->status_fd = status_fd;
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++)
		init_channel(session, i);
	if (pthread_mutex_init(&session->lock, NULL) || pthread_cond_init(&session->changed, NULL))
		return error_set(err, ERROR_INTERNAL, "no memory for a lock");
	return pace_init(&session->pace, err);
}

static void clear_channel(Channel *channel)
{
	cleanup_fd(&channel->network_fd);
	cleanup_fd(&channel->local_fd);
	record_sealer_free(channel->sealer);
	record_opener_free(channel->opener);
}

static void drop_proofs(Session *session)
{
	for (size_t i = 0; i < LIMIT_CHANNELS_PENDING; i++) {
		proof_free(session->proofs[i]);
		session->proofs[i] = NULL;
	}
}

void session_clear(Session *session)
{
	session_stop(session);
	for (size_t i = 0; i < LIMIT_CHANNELS; i++) {
		if (session->channels[i].out.has_thread)
			pthread_join(session->channels[i].out.thread, NULL);
		if (session->channels[i].in.has_thread)
			pthread_join(session->channels[i].in.thread, NULL);
	}
	for (size_t i = 0; i < LIMIT_CHANNELS; i++)
		clear_channel(&session->channels[i]);
	drop_proofs(session);
	relay_free_buffers(session);
	filter_close(&session->filter);
	filter_close(&session->disk_filter);
	secret_free(session->prk);
	pace_clear(&session->pace);
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	cleanup_fd(&session->wake_fd);
	cleanup_fd(&session->status_fd);
}

/*
 * First the flag, then TCP, then QEMU's sockets: a thread that sees the end of QEMU's stream
 * because of this must find the flag set, else it would tell the peer that a cut stream is whole.
 */
static void stop_threads_locked(Session *session)
{
	atomic_store(&session->stopping, true);
	pace_stop(&session->pace);
	pthread_cond_broadcast(&session->changed);
}

/* A disk's socket ends with the network's: a job that copies a disk cannot even be cancelled while
 * it waits for an answer that will not come. What the stream's need is another thing: relay.c. */
static void stop_network_locked(Session *session)
{
	stop_threads_locked(session);
	session->network_stopped = true;
	for (size_t i = 0; i < LIMIT_CHANNELS; i++)
		if (session->channels[i].network_fd >= 0)
			(void)shutdown(session->channels[i].network_fd, SHUT_RDWR);
	for (size_t i = LIMIT_STREAM_CHANNELS; i < LIMIT_CHANNELS; i++)
		if (session->channels[i].local_fd >= 0)
			(void)shutdown(session->channels[i].local_fd, SHUT_RDWR);
}

static void stop_local_locked(Session *session)
{
	session->local_stopped = true;
	for (size_t i = 0; i < LIMIT_CHANNELS; i++)
		if (session->channels[i].local_fd >= 0)
			(void)shutdown(session->channels[i].local_fd, SHUT_RDWR);
	pthread_cond_broadcast(&session->changed);
}

void session_stop(Session *session)
{
	pthread_mutex_lock(&session->lock);
	if (!session->network_stopped)
		stop_network_locked(session);
	if (!session->local_stopped)
		stop_local_locked(session);
	pthread_mutex_unlock(&session->lock);
}

void session_fail(Session *session, uint64_t subject, const Error *cause)
{
	const Channel *channel = &session->channels[subject & VIOLATION_CHANNEL];

	pthread_mutex_lock(&session->lock);
	if (!atomic_load(&session->stopping)) {
		session->failed = true;
		session->failed_subject = subject;
		session->failure = *cause;
		error_prefix(&session->failure, "channel %s", channel->name);
		stop_threads_locked(session);
	}
	pthread_mutex_unlock(&session->lock);
	session_wake(session);
}

void session_wake(const Session *session)
{
	const uint64_t one = 1;

	/* It can only fail when the counter is full, and then the main thread will wake anyway. */
	ssize_t put = write(session->wake_fd, &one, sizeof(one));

	(void)put;
}

/* The channel whose incoming thread this is. Each was started before any came this far. */
static const Channel *channel_of_thread(const Session *session)
{
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++)
		if (session_has_channel(session, i) && session->channels[i].in.has_thread &&
		    pthread_equal(session->channels[i].in.thread, pthread_self()))
			return &session->channels[i];
	return NULL;
}

/* That a stream ends too soon is for the log alone, and what this side's own end of a disk does;
 * how many there were goes with the counters. */
void session_on_warning(void *context, const char *text)
{
	Session *session = context;
	const Channel *channel = channel_of_thread(session);
	SessionWarning *warning;

	/* At most one of each channel: guard.h. */
	log_warning(session->log, "guard (only warns): %s", text);
	if (!channel || atomic_load(&channel->in.ending))
		return;
	pthread_mutex_lock(&session->lock);
	if (session->warnings_count < VIOLATIONS_MAX) {
		warning = &session->warnings[session->warnings_count++];
		warning->channel = channel->index;
		snprintf(warning->text, sizeof(warning->text), "%s", text);
	}
	pthread_mutex_unlock(&session->lock);
	session_wake(session);
}

static Channel *channel_of(Session *session, const IpcMessage *message, Error *err)
{
	if (session_has_channel(session, message->subject))
		return &session->channels[message->subject];
	error_set(err, ERROR_INTERNAL, "channel %llu of %zu and %zu of disks",
		  (unsigned long long)message->subject, session->channels_count,
		  session->disks_count);
	return NULL;
}

static bool on_setup(Session *session, IpcMessage *message, Error *err)
{
	return session_setup(session, message, err);
}

/* The log is the only witness: a connection that proved nothing is no event of the migration. */
static void note_drop(Session *session, const Channel *channel, const Error *cause)
{
	if (session->drops_logged++ < DROPS_LOGGED_MAX)
		log_warning(session->log, "connection dropped channel=%s: %s", channel->name,
			    cause->text);
}

/* The source dials a channel once, so its failure is the migration's. At the destination anybody
 * may have connected: the real source is still to come, or here already. */
static void refuse_connection(Session *session, Channel *channel, const Error *cause)
{
	if (session->side == MOVER_SOURCE && !channel->proven)
		session_fail(session, channel->index, cause);
	else
		note_drop(session, channel, cause);
}

static bool make_blocking(int fd, Error *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket blocking");
	return true;
}

static bool start_proof(Session *session, const Channel *channel, IpcMessage *message, Error *err)
{
	const int one = 1;
	size_t slot = 0;
	int fd = message->fds[0];

	if (channel->proven)
		return error_set(err, ERROR_PEER, "a second connection for an open channel");
	while (slot < LIMIT_CHANNELS_PENDING && session->proofs[slot])
		slot++;
	if (slot == LIMIT_CHANNELS_PENDING)
		return error_set(err, ERROR_LIMIT, "more than %d connections without proof",
				 LIMIT_CHANNELS_PENDING);
	if (!make_blocking(fd, err))
		return false;
	/* Tests move their bytes over UNIX sockets too, which have no such option. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	session->proofs[slot] =
		proof_new(&session->proof_context, TAKE_FD(message->fds[0]), message->payload,
			  clock_monotonic_us(&clock_system) + session->config->proof_us, err);
	return session->proofs[slot] != NULL;
}

static bool on_network(Session *session, IpcMessage *message, Error *err)
{
	const RolePreamble *preamble = message->payload;
	Channel *channel = channel_of(session, message, err);
	Error refused = ERROR_INIT;

	if (!channel)
		return false;
	if (preamble->channel != message->subject)
		return error_set(err, ERROR_INTERNAL, "a preamble of channel %llu for channel %llu",
				 (unsigned long long)preamble->channel,
				 (unsigned long long)message->subject);
	if (atomic_load(&session->stopping))
		return true;
	if (!start_proof(session, channel, message, &refused))
		refuse_connection(session, channel, &refused);
	return true;
}

static bool on_local(Session *session, IpcMessage *message, Error *err)
{
	Channel *channel = channel_of(session, message, err);

	if (!channel)
		return false;
	if (channel->local_fd >= 0)
		return error_set(err, ERROR_INTERNAL, "a second socket of QEMU for channel %s",
				 channel->name);
	/* At the source it is taken and drained (relay.c), or, a disk's, shut down. */
	if (atomic_load(&session->stopping) && session->side == MOVER_DESTINATION)
		return true;
	if (!make_blocking(message->fds[0], err))
		return false;
	pthread_mutex_lock(&session->lock);
	if (session->local_stopped || (channel->is_disk && session->network_stopped))
		(void)shutdown(message->fds[0], SHUT_RDWR);
	channel->local_us = clock_monotonic_us(&clock_system);
	channel->local_fd = TAKE_FD(message->fds[0]);
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	return true;
}

static bool on_bandwidth(Session *session, IpcMessage *message, Error *err)
{
	const MoverBandwidth *bandwidth = message->payload;

	(void)err;
	pace_set_rate(&session->pace, bandwidth->bandwidth_bytes_s);
	return true;
}

static bool on_query(Session *session, IpcMessage *message, Error *err)
{
	MoverStats stats;

	return session_stats(session, &stats, err) &&
	       ipc_send(session->link, MOVER_STATS, message->subject, &mover_stats_schema, &stats,
			NULL, 0, err);
}

static bool on_abort(Session *session, IpcMessage *message, Error *err)
{
	(void)message;
	(void)err;
	session_stop(session);
	return true;
}

static const struct {
	uint16_t type;
	bool (*handle)(Session *session, IpcMessage *message, Error *err);
} handlers[] = {
	{ MOVER_SETUP, on_setup },	   { MOVER_NETWORK, on_network }, { MOVER_LOCAL, on_local },
	{ MOVER_BANDWIDTH, on_bandwidth }, { MOVER_QUERY, on_query },	  { MOVER_ABORT, on_abort },
};

bool session_on_message(Session *session, IpcMessage *message, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
		if (handlers[i].type == message->type)
			return handlers[i].handle(session, message, err);
	return error_set(err, ERROR_INTERNAL, "message type %u has no handler", message->type);
}

/* From here on the channel belongs to its threads. */
static bool adopt(Session *session, Proof *proof, Error *err)
{
	Channel *channel = &session->channels[proof->channel];

	channel->sealer = TAKE_PTR(proof->sealer);
	channel->opener = TAKE_PTR(proof->opener);
	channel->proof_in_bytes = proof->wire_in_bytes;
	channel->proof_out_bytes = proof->wire_out_bytes;
	pthread_mutex_lock(&session->lock);
	if (atomic_load(&session->stopping))
		(void)shutdown(proof->fd, SHUT_RDWR);
	channel->network_fd = TAKE_FD(proof->fd);
	channel->proven = true;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	return ipc_send(session->link, MOVER_PROVEN, channel->index, NULL, NULL, NULL, 0, err);
}

void session_on_proof_readable(Session *session, size_t slot)
{
	Proof *proof = session->proofs[slot];
	Channel *channel = &session->channels[proof->channel];
	Error err = ERROR_INIT;
	ProofResult result = proof_on_readable(proof, &session->proof_context, &err);

	if (result == PROOF_PENDING)
		return;
	if (result == PROOF_DONE && channel->proven) {
		/* Two that both know the key: the first one stays. */
		error_set(&err, ERROR_PEER, "a second connection for an open channel");
		result = PROOF_FAILED;
	}
	session->proofs[slot] = NULL;
	if (result == PROOF_FAILED)
		refuse_connection(session, channel, &err);
	else if (!adopt(session, proof, &err))
		session_fail(session, channel->index, &err);
	proof_free(proof);
}

void session_expire_proofs(Session *session, int64_t now_us)
{
	for (size_t i = 0; i < LIMIT_CHANNELS_PENDING; i++) {
		Proof *proof = session->proofs[i];
		Error err = ERROR_INIT;

		if (!proof || proof->deadline_us > now_us)
			continue;
		session->proofs[i] = NULL;
		error_set(&err, ERROR_TIMEOUT, "no proof within %lld ms",
			  (long long)(session->config->proof_us / 1000));
		refuse_connection(session, &session->channels[proof->channel], &err);
		proof_free(proof);
	}
}

/* Of the first channel that has one, in the order of their ends; NULL if nobody waits. */
static const Channel *next_handshake(const Session *session)
{
	const Channel *next = NULL;

	if (session->side != MOVER_SOURCE || !session->config->handshake_us ||
	    atomic_load(&session->stopping))
		return NULL;
	for (size_t i = 0; i < session->disks_count; i++) {
		const Channel *channel = &session->channels[LIMIT_STREAM_CHANNELS + i];

		if (channel->local_fd >= 0 && (!next || channel->local_us < next->local_us) &&
		    !filter_is_open(&session->disk_filter, channel->index))
			next = channel;
	}
	return next;
}

int64_t session_handshake_deadline_us(const Session *session)
{
	const Channel *next = next_handshake(session);

	return next ? next->local_us + session->config->handshake_us : -1;
}

void session_expire_handshakes(Session *session, int64_t now_us)
{
	const Channel *next = next_handshake(session);
	Error err = ERROR_INIT;

	if (!next || next->local_us + session->config->handshake_us > now_us)
		return;
	error_set(&err, ERROR_TIMEOUT, "the NBD handshake is not over within %lld ms",
		  (long long)(session->config->handshake_us / 1000));
	session_fail(session, next->index, &err);
}

void session_on_hangup(Session *session, Channel *channel)
{
	Error err = ERROR_INIT;

	error_set(&err, ERROR_PEER, "the peer closed the connection before this side's end");
	session_fail(session, channel->index, &err);
}

static bool report_flow(Session *session, Flow *flow, Error *err)
{
	MoverEnded ended = { .outbound = flow->outbound,
			     .bytes = atomic_load(&flow->counters.stream_bytes) };

	if (flow->reported || !atomic_load(&flow->ended))
		return true;
	flow->reported = true;
	return ipc_send(session->link, MOVER_ENDED, flow->channel->index, &mover_ended_schema,
			&ended, NULL, 0, err);
}

static bool report_warnings(Session *session, Error *err)
{
	size_t count;

	pthread_mutex_lock(&session->lock);
	count = session->warnings_count;
	pthread_mutex_unlock(&session->lock);
	for (; session->warnings_told < count; session->warnings_told++) {
		const SessionWarning *warning = &session->warnings[session->warnings_told];
		Error violation = ERROR_INIT;

		error_set(&violation, ERROR_PEER, "%s", warning->text);
		if (!role_send_failure(session->link, warning->channel | VIOLATION_WARNED,
				       &violation, err))
			return false;
	}
	return true;
}

static bool report_failure(Session *session, Error *err)
{
	Error failure;
	uint64_t subject;
	bool failed;

	pthread_mutex_lock(&session->lock);
	failed = session->failed;
	failure = session->failure;
	subject = session->failed_subject;
	pthread_mutex_unlock(&session->lock);
	if (!failed || session->failure_sent)
		return true;
	session->failure_sent = true;
	if (!role_send_failure(session->link, subject, &failure, err))
		return false;
	/* At the source QEMU is not left alone before the engine has cancelled it: relay.c, drain. */
	if (session->side == MOVER_DESTINATION) {
		session_stop(session);
		return true;
	}
	pthread_mutex_lock(&session->lock);
	if (!session->network_stopped)
		stop_network_locked(session);
	pthread_mutex_unlock(&session->lock);
	return true;
}

static bool report_done(Session *session, Error *err)
{
	MoverStats stats;

	if (!session->set_up || session->done_sent)
		return true;
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++)
		if (session_has_channel(session, i) &&
		    (!session->channels[i].out.reported || !session->channels[i].in.reported))
			return true;
	session->done_sent = true;
	return session_stats(session, &stats, err) &&
	       ipc_send(session->link, MOVER_DONE, 0, &mover_stats_schema, &stats, NULL, 0, err);
}

bool session_report(Session *session, Error *err)
{
	if (atomic_load(&session->stopping))
		drop_proofs(session);
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++)
		if (session_has_channel(session, i) &&
		    (!report_flow(session, &session->channels[i].out, err) ||
		     !report_flow(session, &session->channels[i].in, err)))
			return false;
	/* Behind the ends: what was warned of before one of them is told before "done". */
	return report_warnings(session, err) && report_failure(session, err) &&
	       report_done(session, err);
}
