/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/mover.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "crypto/prepare.h"
#include "programs/mover/policy.h"
#include "programs/mover/relay.h"
#include "programs/mover/session.h"

typedef struct Arguments {
	size_t channels, disks;
	SandboxUser user;
} Arguments;

static bool parse_count(const char *name, const char *text, size_t least, size_t most,
			size_t *ret_count, Error *err)
{
	char *end;
	unsigned long count;

	errno = 0;
	count = strtoul(text, &end, 10);
	if (errno || end == text || *end || count < least || count > most)
		return error_set(err, ERROR_USAGE, "%s \"%.40s\", expected %zu to %zu", name, text,
				 least, most);
	*ret_count = count;
	return true;
}

static bool parse_arguments(int argc, char **argv, Arguments *ret_arguments, Error *err)
{
	static const struct option options[] = {
		{ "channels", required_argument, NULL, 'c' },
		{ "disks", required_argument, NULL, 'd' },
		{ "user", required_argument, NULL, 'u' },
		{ 0 },
	};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c' && !parse_count("--channels", optarg, 1, LIMIT_STREAM_CHANNELS,
						  &ret_arguments->channels, err))
			return false;
		if (option == 'd' &&
		    !parse_count("--disks", optarg, 0, LIMIT_DISKS, &ret_arguments->disks, err))
			return false;
		if (option == 'u' && !sandbox_user_parse(optarg, &ret_arguments->user, err))
			return false;
		if (option == '?')
			return error_set(err, ERROR_USAGE, "unknown or incomplete option \"%.40s\"",
					 argv[optind - 1]);
	}
	if (optind != argc || !ret_arguments->channels)
		return error_set(err, ERROR_USAGE,
				 "usage: %s --channels N [--disks N] [--user UID:GID]",
				 "sealift-mover");
	return true;
}

/* What poll watches, and what each row is about. */
typedef struct Watch {
	struct pollfd rows[2 + LIMIT_CHANNELS_PENDING + LIMIT_CHANNELS];
	size_t count;
	size_t proofs[LIMIT_CHANNELS_PENDING];
	size_t proofs_count;
	Channel *hangups[LIMIT_CHANNELS];
	size_t hangups_count;
	int timeout_ms;
} Watch;

static void watch_add(Watch *watch, int fd, short events)
{
	watch->rows[watch->count++] = (struct pollfd){ .fd = fd, .events = events };
}

/* deadline_us is -1 where there is none. */
static void watch_until(Watch *watch, int64_t deadline_us, int64_t now_us)
{
	int64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
	int left_ms = (int)((left_us + 999) / 1000);

	if (deadline_us >= 0 && (watch->timeout_ms < 0 || left_ms < watch->timeout_ms))
		watch->timeout_ms = left_ms;
}

/* Nobody reads a connection whose incoming stream has ended, so only poll can tell that it is gone
 * while QEMU may still have something to send. */
static bool wants_hangup(const Channel *channel)
{
	return channel->proven && atomic_load(&channel->in.ended) &&
	       !atomic_load(&channel->out.ending);
}

static void watch_fill(Watch *watch, Session *session)
{
	int64_t now_us = clock_monotonic_us(&clock_system);

	memset(watch, 0, sizeof(*watch));
	watch->timeout_ms = -1;
	watch_add(watch, ipc_link_fd(session->link), POLLIN);
	watch_add(watch, session->wake_fd, POLLIN);
	for (size_t i = 0; i < LIMIT_CHANNELS_PENDING; i++) {
		if (!session->proofs[i])
			continue;
		watch_add(watch, session->proofs[i]->fd, POLLIN);
		watch->proofs[watch->proofs_count++] = i;
		watch_until(watch, session->proofs[i]->deadline_us, now_us);
	}
	watch_until(watch, session_handshake_deadline_us(session), now_us);
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++) {
		if (atomic_load(&session->stopping) || !session_has_channel(session, i) ||
		    !wants_hangup(&session->channels[i]))
			continue;
		watch_add(watch, session->channels[i].network_fd, POLLRDHUP);
		watch->hangups[watch->hangups_count++] = &session->channels[i];
	}
}

static bool read_link(Session *session, bool *ret_open, Error *err)
{
	IpcMessage message;
	bool ok = true;

	switch (ipc_receive(session->link, &message, err)) {
	case IPC_MESSAGE:
		ok = session_on_message(session, &message, err);
		ipc_message_clear(&message, session->link);
		return ok;
	case IPC_NOTHING:
		return true;
	case IPC_CLOSED:
		*ret_open = false;
		return true;
	case IPC_BROKEN:
	default:
		return false;
	}
}

static void read_wake(const Session *session)
{
	uint64_t count;
	ssize_t got = read(session->wake_fd, &count, sizeof(count));

	/* How often does not matter: session_report looks at everything. */
	(void)got;
}

static void handle_connections(Session *session, const Watch *watch)
{
	const struct pollfd *row = watch->rows + 2;

	for (size_t i = 0; i < watch->proofs_count; i++, row++)
		if (row->revents)
			session_on_proof_readable(session, watch->proofs[i]);
	for (size_t i = 0; i < watch->hangups_count; i++, row++)
		if (row->revents && wants_hangup(watch->hangups[i]))
			session_on_hangup(session, watch->hangups[i]);
}

static bool serve(Session *session, Error *err)
{
	bool open = true;

	while (open) {
		Watch watch;

		watch_fill(&watch, session);
		if (poll(watch.rows, watch.count, watch.timeout_ms) < 0) {
			if (errno == EINTR)
				continue;
			return error_set_errno(err, ERROR_IO, errno, "cannot poll");
		}
		handle_connections(session, &watch);
		session_expire_proofs(session, clock_monotonic_us(&clock_system));
		session_expire_handshakes(session, clock_monotonic_us(&clock_system));
		if (watch.rows[1].revents)
			read_wake(session);
		if ((watch.rows[0].revents && !read_link(session, &open, err)) ||
		    (open && !session_report(session, err)))
			/* An engine that went while we spoke went all the same. */
			return err->category == ERROR_UNAVAILABLE;
	}
	return true;
}

/* Order matters: see sandbox.h. Threads exist before the last filter, which forbids to make any. */
static bool isolate(Session *session, const Arguments *arguments, SandboxReport *report, Error *err)
{
	return sandbox_filter_early(err) &&
	       relay_start_threads(session, arguments->channels, arguments->disks, err) &&
	       sandbox_filter(&mover_policy, true, report, err);
}

static bool begin_and_serve(Session *session, const Arguments *arguments, SandboxReport *report,
			    Error *err)
{
	char missing[SANDBOX_TEXT_SIZE];

	if (!isolate(session, arguments, report, err))
		return false;
	sandbox_report_missing(report, missing);
	if (*missing)
		log_warning(session->log, "sandbox is incomplete missing=%s", missing);
	return ipc_send(session->link, ROLE_READY, 0, NULL, NULL, NULL, 0, err) &&
	       serve(session, err);
}

static bool run_session(Session *session, const Arguments *arguments, SandboxReport *report,
			Error *err)
{
	AUTO_IPC_LINK IpcLink *link = ipc_link_new(ROLE_LINK_FD, mover_rules, err);
	Error ignored = ERROR_INIT;

	session->link = link;
	if (!link)
		return false;
	if (begin_and_serve(session, arguments, report, err))
		return true;
	/* For an engine that still listens; the log has it in any case. */
	if (!role_send_failure(link, 0, err, &ignored))
		log_debug(session->log, "the engine was not told: %s", ignored.text);
	return false;
}

static bool run(int argc, char **argv, const MoverConfig *config, const Log *log, Error *err)
{
	Arguments arguments = { 0 };
	SandboxReport report;
	Session session;
	int keep[] = { ROLE_LINK_FD, -1, -1 };
	bool ok;

	if (!parse_arguments(argc, argv, &arguments, err) || !crypto_prepare(err))
		return false;
	/* The guard's tables of names are hashed with a seed of the kernel's, for which jansson
	 * opens a file: later it would find none. */
	json_object_seed(0);
	/* One arena: the main thread allocates, the others hardly ever. */
	mallopt(M_ARENA_MAX, 1);
	signal(SIGPIPE, SIG_IGN);

	AUTO_FD int status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	AUTO_FD int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (wake_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make an event descriptor");
	keep[1] = wake_fd;
	keep[2] = status_fd;
	if (!sandbox_enter(&mover_policy, &arguments.user, keep, status_fd < 0 ? 2 : 3, &report,
			   err) ||
	    !session_init(&session, config, log, TAKE_FD(wake_fd), TAKE_FD(status_fd), err))
		return false;
	ok = run_session(&session, &arguments, &report, err);
	session_clear(&session);
	return ok;
}

int mover_main(int argc, char **argv, const MoverConfig *config)
{
	const Log log = { .program = "sealift-mover",
			  .level = LOG_LEVEL_INFO,
			  .fd = 2,
			  .process = sandbox_outer_pid() };
	Error err = ERROR_INIT;

	if (run(argc, argv, config, &log, &err))
		return 0;
	log_error(&log, "%s", err.text);
	return error_exit_status(err.category);
}
