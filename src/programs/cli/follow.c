/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "programs/cli/progress.h"
#include "programs/cli/report.h"
#include "programs/cli/text.h"

enum {
	ASK_AFTER_MS = 2000,	  /* without a word about our migration */
	GIVE_UP_AFTER_MS = 10000, /* without an answer to that */
	COLUMNS_DEFAULT = 80,
};

typedef struct Follow {
	CliContext *context;
	Api *api;
	const char *migration;
	bool may_cancel;
	bool lines; /* JSON lines instead of a progress line */
	Progress progress;
	char drawn[PROGRESS_LINE_SIZE]; /* the progress line that stands on the terminal */
	json_t *last;			/* the newest MIGRATION */
	uint64_t status_id, cancel_id;	/* requests under way; 0: none */
	int64_t heard_us;		/* when the engine last said something about it */
	bool interrupted, left;
} Follow;

static void follow_clear(Follow *follow)
{
	json_decref(follow->last);
	follow->last = NULL;
}

static unsigned int terminal_columns(void)
{
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return COLUMNS_DEFAULT;
	return size.ws_col;
}

/* Overwrites in place; blanks wipe what a longer line left, which needs no escape sequence. */
static void draw(Follow *follow)
{
	char line[PROGRESS_LINE_SIZE];
	unsigned int columns = terminal_columns();
	size_t room = columns > 1 ? columns - 1 : 1, width = strlen(follow->drawn);

	progress_format(&follow->progress, columns, line);
	if (!strcmp(line, follow->drawn))
		return;
	printf("\r%-*s", (int)(width < room ? width : room), line);
	fflush(stdout);
	memcpy(follow->drawn, line, sizeof(line));
}

static void end_line(Follow *follow)
{
	if (follow->drawn[0])
		putchar('\n');
	fflush(stdout);
	follow->drawn[0] = '\0';
}

/* A line for the person, beside the progress. */
static void say(Follow *follow, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(Follow *follow, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	end_line(follow);
	fputs("sealift: ", stderr);
	text_print(stderr, text);
	fputc('\n', stderr);
}

static bool on_migration(Follow *follow, const json_t *migration, Error *err)
{
	const char *id = api_text(migration, "migration");

	/* `migration` may be a prefix that a person typed; the engine has checked that it is
	 * unique. */
	if (!id || strncmp(id, follow->migration, strlen(follow->migration)))
		return true;
	follow->heard_us = clock_monotonic_us(&clock_system);
	if (follow->last && json_equal(follow->last, migration))
		return true;
	json_decref(follow->last);
	follow->last = json_deep_copy(migration);
	if (!follow->last)
		return error_set(err, ERROR_INTERNAL, "no memory for a migration");
	if (follow->lines)
		return text_print_json(stdout, migration, err);
	progress_update(&follow->progress, migration);
	draw(follow);
	return true;
}

static bool on_event(Follow *follow, const json_t *event, Error *err)
{
	const char *name = api_text(event, "event");
	const json_t *data = json_object_get(event, "data");
	const char *text = api_text(data, "text");

	if (!strcmp(name, "migration"))
		return on_migration(follow, data, err);
	if (!strcmp(name, "warning") && text)
		say(follow, "warning: %s", text);
	return true;
}

static bool on_status(Follow *follow, const ApiMessage *message, Error *err)
{
	follow->status_id = 0;
	if (message->kind == API_REFUSAL) {
		*err = message->error;
		return false;
	}
	if (api_count(message->body, "migrations") != 1)
		return error_set(err, ERROR_PEER,
				 "the engine knows %zu migrations \"%s\" where 1 is meant",
				 api_count(message->body, "migrations"), follow->migration);
	if (!on_migration(follow, api_item(message->body, "migrations", 0), err))
		return false;
	return follow->last ||
	       error_set(err, ERROR_PEER, "the engine answered for another migration");
}

static bool on_message(Follow *follow, const ApiMessage *message, Error *err)
{
	if (message->kind == API_EVENT)
		return on_event(follow, message->body, err);
	if (message->id && message->id == follow->status_id)
		return on_status(follow, message, err);
	if (message->id && message->id == follow->cancel_id) {
		follow->cancel_id = 0;
		if (message->kind == API_REFUSAL)
			say(follow, "not cancelled: %s", message->error.text);
		return true;
	}
	if (message->kind == API_REFUSAL) {
		*err = message->error;
		return false;
	}
	return error_set(err, ERROR_PEER, "the engine answered a question never asked");
}

static bool ask_status(Follow *follow, Error *err)
{
	json_t *arguments = json_pack("{s:s}", "migration", follow->migration);

	follow->heard_us = clock_monotonic_us(&clock_system);
	return api_send(follow->api, "status", arguments, &follow->status_id, err);
}

static bool on_interrupt(Follow *follow, Error *err)
{
	if (follow->may_cancel && !follow->interrupted) {
		json_t *arguments = json_pack("{s:s}", "migration", follow->migration);

		follow->interrupted = true;
		say(follow, "asking the engine to cancel; Ctrl-C again leaves without waiting");
		return api_send(follow->api, "cancel", arguments, &follow->cancel_id, err);
	}
	if (follow->may_cancel)
		say(follow,
		    "the migration is left to the engine; follow it by `sealift status %.64s --watch`",
		    follow->migration);
	follow->left = true;
	follow->context->status = CLI_STATUS_LEFT;
	return true;
}

static bool on_silence(Follow *follow, Error *err)
{
	int64_t silent_ms = (clock_monotonic_us(&clock_system) - follow->heard_us) / 1000;

	if (!follow->status_id && silent_ms >= ASK_AFTER_MS)
		return ask_status(follow, err);
	if (follow->status_id && silent_ms >= GIVE_UP_AFTER_MS)
		return error_set(
			err, ERROR_TIMEOUT,
			"the engine has not answered for %d s; the migration goes on without us: "
			"`sealift status %.64s`",
			GIVE_UP_AFTER_MS / 1000, follow->migration);
	return true;
}

static bool take_messages(Follow *follow, Error *err)
{
	for (;;) {
		AUTO_API_MESSAGE ApiMessage message = { 0 };

		if (!api_take(follow->api, &message, err))
			return false;
		if (message.kind == API_NOTHING)
			return true;
		if (!on_message(follow, &message, err))
			return false;
	}
}

static bool wait_and_handle(Follow *follow, int signal_fd, Error *err)
{
	struct pollfd events[] = { { .fd = api_fd(follow->api), .events = POLLIN },
				   { .fd = signal_fd, .events = POLLIN } };
	struct signalfd_siginfo info;

	if (poll(events, ARRAY_SIZE(events), ASK_AFTER_MS / 4) < 0 && errno != EINTR)
		return error_set_errno(err, ERROR_IO, errno, "cannot wait for the engine");
	if (events[1].revents && read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
	    !on_interrupt(follow, err))
		return false;
	if (events[0].revents && !api_fill(follow->api, err))
		return false;
	return take_messages(follow, err) && on_silence(follow, err);
}

static bool run(Follow *follow, int signal_fd, Error *err)
{
	/* Events may have come before our own request for the state, and were dropped: ask once. */
	if (!ask_status(follow, err))
		return false;
	while (!follow->left && (!follow->last || report_is_active(follow->last)))
		if (!wait_and_handle(follow, signal_fd, err))
			return false;
	return true;
}

static bool finish(Follow *follow, Error *err)
{
	end_line(follow);
	if (follow->left)
		return true;
	if (!report_outcome(follow->last, err))
		return false;
	if (!follow->lines)
		report_print(stdout, follow->last);
	return true;
}

bool follow_migration(CliContext *context, Api *api, const char *migration, bool may_cancel,
		      Error *err)
{
	CLEANUP(follow_clear)
	Follow follow = { .context = context,
			  .api = api,
			  .migration = migration,
			  .may_cancel = may_cancel,
			  .lines = context->json || !isatty(STDOUT_FILENO) };
	AUTO_FD int signal_fd = -1;
	sigset_t interrupts;

	sigemptyset(&interrupts);
	sigaddset(&interrupts, SIGINT);
	if (sigprocmask(SIG_BLOCK, &interrupts, NULL) ||
	    (signal_fd = signalfd(-1, &interrupts, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot watch for Ctrl-C");
	if (!run(&follow, signal_fd, err)) {
		end_line(&follow);
		return false;
	}
	return finish(&follow, err);
}
