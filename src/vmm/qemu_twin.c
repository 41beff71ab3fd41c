/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_twin.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "vmm/qemu.h"
#include "vmm/qemu_process.h"
#include "vmm/qmp.h"
#include "vmm/sealed_cache.h"
#include "vmm/vtpm.h"

enum {
	REPLY_MS = 15000,
	LAST_WORDS = 200,
	KEY_BYTES = DIGEST_SHA256_SIZE,
};

typedef struct Twin Twin;

/* A process that makes one thing, and what it has made so far. */
typedef struct Maker {
	Twin *twin;
	const char *what;
	QemuProcess process;
	struct event *exit_event, *pipe_event;
	uint8_t key[KEY_BYTES];
	int *result; /* a descriptor of sealed memory, in twin->head */
	bool exited;
} Maker;

struct Twin {
	VmmTwin head; /* first */
	struct event_base *base;
	SealedCache *cache;
	VmmTwinDone *done;
	void *context;
	struct event *timer; /* deadline; or the callback when nothing had to be made */
	Maker stream, dump;
	QmpClient *qmp;
	int pipe_read, pipe_write, dump_file;
	VtpmScratch tpm;
	Buffer bytes;	/* of the stream */
	bool completed; /* QEMU says so; all is there once the pipe has ended too */
	bool ended;	/* the pipe has */
	bool told;
	Error lost; /* what ended QMP, if anything has */
};

/* --- the end --- */

static void maker_clear(Maker *maker)
{
	if (maker->exit_event)
		event_free(maker->exit_event);
	if (maker->pipe_event)
		event_free(maker->pipe_event);
	maker->exit_event = maker->pipe_event = NULL;
	if (maker->process.pid > 0 && !maker->exited)
		qemu_process_destroy(&maker->process);
	else
		qemu_process_close(&maker->process);
}

static void release_means(Twin *twin)
{
	qmp_free(TAKE_PTR(twin->qmp));
	maker_clear(&twin->stream);
	maker_clear(&twin->dump);
	vtpm_end_scratch(&twin->tpm);
	cleanup_fd(&twin->pipe_read);
	cleanup_fd(&twin->pipe_write);
	cleanup_fd(&twin->dump_file);
	twin->pipe_read = twin->pipe_write = twin->dump_file = -1;
	buffer_clear(&twin->bytes);
}

void qemu_twin_free(VmmTwin *head)
{
	Twin *twin = (Twin *)head;

	release_means(twin);
	if (twin->timer)
		event_free(twin->timer);
	cleanup_fd(&twin->head.stream_fd);
	cleanup_fd(&twin->head.dump_fd);
	free(twin);
}

/* From the event loop, last in each callback: the caller may free the twin. */
static void tell(Twin *twin, const Error *err)
{
	if (twin->told)
		return;
	twin->told = true;
	event_del(twin->timer);
	/* The QMP client may be calling us: it is freed from the loop, with the rest. */
	event_active(twin->timer, EV_TIMEOUT, 0);
	if (err) {
		cleanup_fd(&twin->head.stream_fd);
		cleanup_fd(&twin->head.dump_fd);
		twin->head.stream_fd = twin->head.dump_fd = -1;
		twin->head.failure = *err;
	}
}

static void fail(Twin *twin, const Error *cause)
{
	Error err = ERROR_INIT;

	error_set(&err, ERROR_HYPERVISOR, "the twin by which this host judges the stream: %.400s",
		  cause->text);
	tell(twin, &err);
}

static void tell_if_whole(Twin *twin)
{
	if (twin->head.stream_fd >= 0 && twin->head.dump_fd >= 0)
		tell(twin, NULL);
}

/* Deadline before it was told, else the moment to tell. */
static void on_timer(evutil_socket_t fd, short what, void *context)
{
	Twin *twin = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	if (!twin->told) {
		error_set(&err, ERROR_TIMEOUT, "nothing within %d s", QEMU_TWIN_MS / 1000);
		fail(twin, twin->lost.category ? &twin->lost : &err);
		return;
	}
	release_means(twin);
	twin->done(twin->context, &twin->head,
		   twin->head.failure.category ? &twin->head.failure : NULL);
}

/* --- what was made --- */

static void take(Maker *maker, const void *bytes, size_t size)
{
	Twin *twin = maker->twin;
	Error err = ERROR_INIT;

	*maker->result = sealed_memory_new(bytes, size, &err);
	if (*maker->result < 0) {
		fail(twin, &err);
		return;
	}
	/* Not kept, it is made again. */
	if (!sealed_cache_keep(twin->cache, maker->key, *maker->result, &err))
		twin->head.not_kept = err;
	tell_if_whole(twin);
}

static void stream_if_whole(Twin *twin)
{
	if (twin->completed && twin->ended && twin->head.stream_fd < 0 && !twin->told)
		take(&twin->stream, twin->bytes.data, twin->bytes.used);
}

static void on_pipe(evutil_socket_t fd, short what, void *context)
{
	Twin *twin = context;
	uint8_t chunk[65536];
	ssize_t got = read(fd, chunk, sizeof(chunk));
	Error err = ERROR_INIT;

	(void)what;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0 && !buffer_put(&twin->bytes, chunk, (size_t)got, &err)) {
		fail(twin, &err);
	} else if (got <= 0) {
		event_del(twin->stream.pipe_event);
		twin->ended = true;
		stream_if_whole(twin);
	}
}

/* The last line of a process that failed, for its error. */
static void last_words(const Maker *maker, char text[LAST_WORDS])
{
	ssize_t got = read(maker->process.log_fd, text, LAST_WORDS - 1);

	while (got > 0 && (unsigned char)text[got - 1] <= ' ')
		got--;
	text[got > 0 ? got : 0] = '\0';
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
}

static void take_dump(Twin *twin)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(LIMIT_TWIN_DUMP);
	Error err = ERROR_INIT;
	uint8_t chunk[65536];
	ssize_t got;

	while ((got = pread(twin->dump_file, chunk, sizeof(chunk), (off_t)bytes.used)) > 0)
		if (!buffer_put(&bytes, chunk, (size_t)got, &err)) {
			fail(twin, &err);
			return;
		}
	take(&twin->dump, bytes.data, bytes.used);
}

static void on_exit_event(evutil_socket_t fd, short what, void *context)
{
	Maker *maker = context;
	Twin *twin = maker->twin;
	siginfo_t info = { 0 };
	char words[LAST_WORDS];
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	event_del(maker->exit_event);
	maker->exited = true;
	if (waitid(P_PID, (id_t)maker->process.pid, &info, WEXITED | WNOHANG))
		info.si_pid = 0;
	if (twin->told)
		return;
	if (maker == &twin->dump && info.si_code == CLD_EXITED && !info.si_status) {
		take_dump(twin);
		return;
	}
	last_words(maker, words);
	error_set(&err, ERROR_HYPERVISOR, "%s: its process ended: %s", maker->what, words);
	fail(twin, &err);
}

/* --- QMP --- */

/* What the twin is told, in order; each waits for the reply of the one before. */
static void on_reply(void *context, json_t *ret, const Error *err)
{
	Twin *twin = context;

	(void)ret;
	/* Of an end of QMP on_qmp_closed is told. */
	if (err && !twin->lost.category)
		fail(twin, err);
}

static bool command(Twin *twin, const char *name, json_t *arguments, Error *err)
{
	if (!arguments)
		return error_set(err, ERROR_INTERNAL, "no memory for a command");
	return qmp_execute(twin->qmp, name, arguments, REPLY_MS, on_reply, twin, err);
}

/* QEMU answers in order, so that nothing has to wait: what fails ends all. */
static void on_qmp_ready(void *context)
{
	Twin *twin = context;
	Error err = ERROR_INIT;
	json_t *capabilities =
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability",
			  "x-ignore-shared", "state", 1, "capability", "events", "state", 1);

	if (!command(twin, "migrate-set-capabilities", capabilities, &err) ||
	    !command(twin, "migrate-set-parameters",
		     json_pack("{s:I}", "max-bandwidth", (json_int_t)1 << 40), &err) ||
	    !qmp_execute_with_fd(twin->qmp, "getfd", json_pack("{s:s}", "fdname", "twin"),
				 twin->pipe_write, REPLY_MS, on_reply, twin, &err) ||
	    !command(twin, "migrate", json_pack("{s:s}", "uri", "fd:twin"), &err)) {
		fail(twin, &err);
		return;
	}
	cleanup_fd(&twin->pipe_write);
	twin->pipe_write = -1;
}

static void on_qmp_event(void *context, const char *name, json_t *data, int64_t wall_us)
{
	Twin *twin = context;
	const char *status = json_string_value(json_object_get(data, "status"));
	Error err = ERROR_INIT;

	(void)wall_us;
	if (strcmp(name, "MIGRATION") || !status || twin->told)
		return;
	if (!strcmp(status, "completed")) {
		twin->completed = true;
		stream_if_whole(twin);
	} else if (!strcmp(status, "failed") || !strcmp(status, "cancelled")) {
		error_set(&err, ERROR_HYPERVISOR, "its migration has %s", status);
		fail(twin, &err);
	}
}

static void on_qmp_closed(void *context, const Error *cause)
{
	static const struct timeval grace = { .tv_sec = 1 };
	Twin *twin = context;

	/* The end of the process says more, and most often comes too. */
	twin->lost = *cause;
	if (!twin->told)
		evtimer_add(twin->timer, &grace);
}

/* --- the start --- */

static bool watch(Maker *maker, Error *err)
{
	maker->exit_event = event_new(maker->twin->base, maker->process.pid_fd,
				      EV_READ | EV_PERSIST, on_exit_event, maker);
	return (maker->exit_event && !event_add(maker->exit_event, NULL)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for a twin");
}

static bool watch_pipe(Twin *twin, Error *err)
{
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a pipe");
	twin->pipe_read = pipe_fds[0];
	twin->pipe_write = pipe_fds[1];
	if (fcntl(twin->pipe_read, F_SETFL, O_NONBLOCK))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a pipe");
	twin->stream.pipe_event =
		event_new(twin->base, twin->pipe_read, EV_READ | EV_PERSIST, on_pipe, twin);
	return (twin->stream.pipe_event && !event_add(twin->stream.pipe_event, NULL)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for a twin");
}

/* Not sealed: QEMU writes to them. Anybody may open them, who can reach them: QEMU's user opens
 * what it is given anew, by its number. */
static bool memory_file(int *ret_fd, Error *err)
{
	*ret_fd = file_make_memory("sealift-twin");
	return *ret_fd >= 0 || error_set_errno(err, ERROR_IO, errno, "cannot make a memory file");
}

static bool start_tpm(Twin *twin, const VmmStart *start, int *ret_far, Error *err)
{
	int pair[2];

	if (!start->vm->manifest.tpm)
		return true;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	*ret_far = pair[1];

	AUTO_FD int near = pair[0];

	return vtpm_start_scratch(start->resources, near, &twin->tpm, err);
}

static bool start_stream(Twin *twin, const VmmStart *start, QemuCommandInput *input, int qmp_fd,
			 Error *err)
{
	static const QmpEvents events = { .on_ready = on_qmp_ready,
					  .on_event = on_qmp_event,
					  .on_closed = on_qmp_closed };
	AUTO_QEMU_COMMAND QemuCommand built = { .argc = 0 };

	if (!qemu_command_build(input, &built, err) || !watch_pipe(twin, err) ||
	    !qemu_process_spawn(&built, &start->resources->user, NULL, &twin->stream.process,
				err) ||
	    !watch(&twin->stream, err))
		return false;
	twin->qmp = qmp_open_fd(twin->base, qmp_fd, QEMU_TWIN_MS, &events, twin, err);
	return twin->qmp;
}

static bool start_dump(Twin *twin, const VmmStart *start, const QemuCommandInput *input, Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand built = { .argc = 0 };

	return memory_file(&twin->dump_file, err) &&
	       qemu_command_build_dump(input, twin->dump_file, &built, err) &&
	       qemu_process_spawn(&built, &start->resources->user, NULL, &twin->dump.process,
				  err) &&
	       watch(&twin->dump, err);
}

/* --- keys --- */

static bool put_text(Buffer *buffer, const char *text, Error *err)
{
	return buffer_put(buffer, text, strlen(text) + 1, err);
}

static bool make_key(const QemuCommand *built, const VmmStart *start, uint8_t key[KEY_BYTES],
		     Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(256 * 1024);
	const Manifest *manifest = &start->vm->manifest;
	struct stat program;
	char line[256];
	bool ok;

	if (stat(start->resources->qemu_path, &program))
		return error_set_errno(err, ERROR_CONFIG, errno, "cannot look at %s",
				       start->resources->qemu_path);
	snprintf(line, sizeof(line), "sealift twin 1: %llu %llu %lld %lld.%09ld %lld.%09ld",
		 (unsigned long long)program.st_dev, (unsigned long long)program.st_ino,
		 (long long)program.st_size, (long long)program.st_mtim.tv_sec,
		 program.st_mtim.tv_nsec, (long long)program.st_ctim.tv_sec,
		 program.st_ctim.tv_nsec);
	ok = put_text(&text, line, err);
	for (size_t i = 0; ok && i < built->argc; i++)
		ok = put_text(&text, built->argv[i], err);
	return ok &&
	       (!manifest->boots_kernel ||
		buffer_put(&text, manifest->kernel_sha256, sizeof(manifest->kernel_sha256), err)) &&
	       digest_sha256(text.data, text.used, key, err);
}

/* The command lines name descriptors by the numbers that they will have, so that those that are
 * built before there are any have the same key. */
static bool find(Twin *twin, const VmmStart *start, const QemuCommandInput *input, Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand stream = { .argc = 0 }, dump = { .argc = 0 };

	if (!qemu_command_build(input, &stream, err) ||
	    !make_key(&stream, start, twin->stream.key, err) ||
	    !qemu_command_build_dump(input, 0, &dump, err) ||
	    !make_key(&dump, start, twin->dump.key, err))
		return false;
	twin->head.stream_fd = sealed_cache_find(twin->cache, twin->stream.key, LIMIT_TWIN);
	twin->head.dump_fd = sealed_cache_find(twin->cache, twin->dump.key, LIMIT_TWIN_DUMP);
	return true;
}

static bool begin(Twin *twin, const VmmStart *start, Error *err)
{
	const struct timeval deadline = { .tv_sec = QEMU_TWIN_MS / 1000 };
	QemuCommandInput input = {
		.resources = start->resources, .vm = start->vm, .is_twin = true, .sockets_fd = -1
	};
	int pair[2];

	if (!find(twin, start, &input, err))
		return false;
	twin->timer = evtimer_new(twin->base, on_timer, twin);
	if (!twin->timer || evtimer_add(twin->timer, &deadline))
		return error_set(err, ERROR_INTERNAL, "no memory for a twin");
	twin->head.cached = twin->head.stream_fd >= 0 && twin->head.dump_fd >= 0;
	tell_if_whole(twin);
	if (twin->head.dump_fd < 0 && !start_dump(twin, start, &input, err))
		return false;
	if (twin->head.stream_fd >= 0)
		return true;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");

	AUTO_FD int far = pair[1];
	AUTO_FD int near = pair[0];
	AUTO_FD int memory = -1;
	AUTO_FD int tpm = -1;

	input.qmp_listen_fd = far;
	if (!memory_file(&memory, err) || !start_tpm(twin, start, &tpm, err))
		return false;
	input.memory_fd = memory;
	input.tpm_fd = tpm;
	return start_stream(twin, start, &input, TAKE_FD(near), err);
}

VmmTwin *qemu_twin_new(struct event_base *base, const VmmStart *start, VmmTwinDone *done,
		       void *context, Error *err)
{
	Twin *twin = calloc(1, sizeof(*twin));

	if (!twin) {
		error_set(err, ERROR_INTERNAL, "no memory for a twin");
		return NULL;
	}
	*twin = (Twin){ .head = { .driver = &vmm_driver_qemu, .stream_fd = -1, .dump_fd = -1 },
			.base = base,
			.cache = start->resources->twin_cache,
			.done = done,
			.context = context,
			.pipe_read = -1,
			.pipe_write = -1,
			.dump_file = -1,
			.tpm = VTPM_SCRATCH_INIT,
			.bytes = BUFFER_INIT(LIMIT_TWIN) };
	twin->stream = (Maker){ .twin = twin,
				.what = "its stream",
				.process = QEMU_PROCESS_INIT,
				.result = &twin->head.stream_fd };
	twin->dump = (Maker){ .twin = twin,
			      .what = "its tables",
			      .process = QEMU_PROCESS_INIT,
			      .result = &twin->head.dump_fd };
	if (!begin(twin, start, err)) {
		qemu_twin_free(&twin->head);
		error_prefix(err, "the twin by which this host judges the stream");
		return NULL;
	}
	return &twin->head;
}
