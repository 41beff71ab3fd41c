/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "vmm/qemu_vm.h"

void qemu_vm_enter(QemuVm *vm)
{
	vm->depth++;
}

static void release(QemuVm *vm)
{
	if (vm->exited) {
		qemu_tpm_end(vm);
		qemu_directory_remove(&vm->directory);
	}
	qemu_directory_close(&vm->directory);
	qemu_process_close(&vm->process);
	qemu_tpm_close(vm);
	if (vm->log_file_fd >= 0)
		close(vm->log_file_fd);
	free(vm);
}

void qemu_vm_leave(QemuVm *vm)
{
	if (!--vm->depth && vm->freed)
		release(vm);
}

static void free_events(QemuVm *vm)
{
	if (vm->exit_event)
		event_free(vm->exit_event);
	if (vm->log_event)
		event_free(vm->log_event);
	if (vm->grace_timer)
		event_free(vm->grace_timer);
	if (vm->tpm_event)
		event_free(vm->tpm_event);
	if (vm->tpm_exit_event)
		event_free(vm->tpm_exit_event);
	vm->exit_event = vm->log_event = vm->grace_timer = NULL;
	vm->tpm_event = vm->tpm_exit_event = NULL;
}

void qemu_vm_free(VmmVm *head)
{
	QemuVm *vm = qemu_vm_of(head);
	Error err = ERROR_INIT;

	if (vm->freed)
		return;
	vm->freed = true;
	vm->connected = false;
	qemu_vm_enter(vm);
	free_events(vm);
	error_set(&err, ERROR_CANCELLED, "the VM was let go");
	qmp_free(TAKE_PTR(vm->qmp));
	qemu_operations_settle(vm, &err);
	qemu_vm_leave(vm);
}

/* --- the log -----------------------------------------------------------------------------------
 */

static void keep_log(QemuVm *vm, const char *text, size_t size)
{
	size_t used = strlen(vm->log_tail);
	size_t room = QEMU_LOG_MAX_BYTES - vm->logged_bytes;
	size_t put = size < room ? size : room;

	/* The file is for people; a full disk under it may not disturb the VM. */
	if (put && vm->log_file_fd >= 0 &&
	    !file_write_fd(vm->log_file_fd, text, put, &(Error){ 0 }))
		put = room;
	vm->logged_bytes += put;
	for (size_t i = 0; i < size; i++) {
		if (used == sizeof(vm->log_tail) - 1) {
			memmove(vm->log_tail, vm->log_tail + 1, used);
			used--;
		}
		vm->log_tail[used++] = text[i] ? text[i] : ' ';
		vm->log_tail[used] = '\0';
	}
}

/* False at its end. */
static bool read_log(QemuVm *vm)
{
	for (int i = 0; i < 16; i++) {
		char chunk[1024];
		ssize_t got = read(vm->process.log_fd, chunk, sizeof(chunk));

		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!got)
			return false;
		keep_log(vm, chunk, (size_t)got);
	}
	return true;
}

static void on_log(evutil_socket_t fd, short what, void *context)
{
	QemuVm *vm = context;

	(void)fd;
	(void)what;
	if (!read_log(vm))
		event_del(vm->log_event);
}

/* As "-msg timestamp=on" begins a message; a hint that follows has none. */
static bool is_message(const char *line)
{
	static const char pattern[] = "dddd-dd-ddT";

	for (size_t i = 0; pattern[i]; i++)
		if (pattern[i] == 'd' ? !isdigit((unsigned char)line[i]) : line[i] != pattern[i])
			return false;
	return true;
}

/* The last message with its hints, or whatever the last line is. */
static const char *last_words(char *tail)
{
	size_t used = strlen(tail);
	const char *words = NULL;

	while (used && tail[used - 1] == '\n')
		tail[--used] = '\0';
	for (const char *line = tail; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (is_message(line))
			words = line + strcspn(line, " ");
	}
	if (!words) {
		words = strrchr(tail, '\n');
		words = words ? words : tail;
	}
	for (char *p = strchr(tail, '\n'); p; p = strchr(p, '\n'))
		*p = ' ';
	return words + strspn(words, " ");
}

static void add_last_words(QemuVm *vm)
{
	const char *words = last_words(vm->log_tail);
	Error how = vm->cause;

	if (*words)
		error_set(&vm->cause, how.category, "%s: %s", how.text, words);
}

/* --- the end -----------------------------------------------------------------------------------
 */

static void on_exit_event(evutil_socket_t fd, short what, void *context)
{
	QemuVm *vm = context;
	Error cause;

	(void)fd;
	(void)what;
	if (vm->process.log_fd >= 0)
		read_log(vm);
	qemu_process_reap(&vm->process, &vm->cause);
	add_last_words(vm);
	qemu_tpm_end(vm);
	vm->exited = true;
	vm->connected = false;
	cause = vm->cause;
	qemu_vm_enter(vm);
	event_del(vm->exit_event);
	event_del(vm->grace_timer);
	if (vm->log_event)
		event_del(vm->log_event);
	qmp_free(TAKE_PTR(vm->qmp));
	qemu_operations_settle(vm, &cause);
	if (!vm->freed)
		vm->events.on_exit(vm->events_context, &vm->head, &cause);
	qemu_vm_leave(vm);
}

static void on_grace_over(evutil_socket_t fd, short what, void *context)
{
	QemuVm *vm = context;
	Error cause = vm->cause;

	(void)fd;
	(void)what;
	qemu_vm_enter(vm);
	qmp_free(TAKE_PTR(vm->qmp));
	qemu_operations_settle(vm, NULL);
	if (!vm->freed)
		vm->events.on_lost(vm->events_context, &vm->head, &cause);
	qemu_vm_leave(vm);
}

static void lose(QemuVm *vm, const Error *cause, int64_t grace_ms)
{
	vm->connected = false;
	vm->cause = *cause;
	if (vm->startup)
		vm->startup->cause = *cause;
	event_add(vm->grace_timer, &(struct timeval){ .tv_sec = grace_ms / 1000,
						      .tv_usec = grace_ms % 1000 * 1000 });
}

/* --- QMP ---------------------------------------------------------------------------------------
 */

static void on_qmp_ready(void *context)
{
	QemuVm *vm = context;
	QemuOperation *startup = TAKE_PTR(vm->startup);
	Error err = ERROR_INIT;

	vm->connected = true;
	if (startup && !qemu_operation_send(startup, &err))
		qemu_operation_finish(startup, NULL, &err);
}

static VmmInstant instant_of(int64_t wall_us)
{
	VmmInstant now = { .monotonic_us = clock_monotonic_us(&clock_system) };
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	now.wall_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000;
	/* A stamp from the future, or none: then it is now. */
	if (wall_us > 0 && wall_us < now.wall_us) {
		now.monotonic_us -= now.wall_us - wall_us;
		now.wall_us = wall_us;
	}
	return now;
}

static void on_qmp_event(void *context, const char *name, json_t *data, int64_t wall_us)
{
	QemuVm *vm = context;
	VmmInstant when = instant_of(wall_us);

	qemu_vm_enter(vm);
	if (!strcmp(name, "STOP"))
		vm->events.on_stop(vm->events_context, &vm->head, when);
	else if (!strcmp(name, "RESUME"))
		vm->events.on_resume(vm->events_context, &vm->head, when);
	else if (!strcmp(name, "MIGRATION"))
		vm->events.on_status(vm->events_context, &vm->head,
				     vmm_migration_status_of_word(
					     json_string_value(json_object_get(data, "status"))),
				     when);
	else if (!strcmp(name, "JOB_STATUS_CHANGE") || !strcmp(name, "BLOCK_EXPORT_DELETED"))
		qemu_operations_wake(vm);
	qemu_vm_leave(vm);
}

static void on_qmp_closed(void *context, const Error *cause)
{
	lose(context, cause, QEMU_GRACE_MS);
}

void qemu_vm_connect(QemuVm *vm, QemuOperation *startup, int64_t greeting_ms)
{
	static const QmpEvents events = { .on_ready = on_qmp_ready,
					  .on_event = on_qmp_event,
					  .on_closed = on_qmp_closed };
	char path[sizeof(vm->directory.path) + 16];
	Error err = ERROR_INIT;

	snprintf(path, sizeof(path), "%s/%s", vm->directory.path, QEMU_FILE_QMP);
	vm->startup = startup;
	vm->qmp = qmp_open(vm->base, path, greeting_ms, &events, vm, &err);
	if (!vm->qmp)
		lose(vm, &err, 0);
}

/* --- birth -------------------------------------------------------------------------------------
 */

static bool watch(QemuVm *vm, Error *err)
{
	int log_fd = vm->process.log_fd;

	vm->exit_event =
		event_new(vm->base, vm->process.pid_fd, EV_READ | EV_PERSIST, on_exit_event, vm);
	vm->grace_timer = event_new(vm->base, -1, 0, on_grace_over, vm);
	if (log_fd >= 0)
		vm->log_event = event_new(vm->base, log_fd, EV_READ | EV_PERSIST, on_log, vm);
	if (!vm->exit_event || !vm->grace_timer || event_add(vm->exit_event, NULL) ||
	    (log_fd >= 0 && (!vm->log_event || event_add(vm->log_event, NULL))))
		return error_set(err, ERROR_INTERNAL, "no memory for a VM");
	return true;
}

static void open_log_file(QemuVm *vm)
{
	struct stat status;
	char path[sizeof(vm->directory.path) + 16];

	snprintf(path, sizeof(path), "%s/%s", vm->directory.path, QEMU_FILE_LOG);
	vm->log_file_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (vm->log_file_fd >= 0 && !fstat(vm->log_file_fd, &status))
		vm->logged_bytes = status.st_size < QEMU_LOG_MAX_BYTES ? (size_t)status.st_size
								       : QEMU_LOG_MAX_BYTES;
}

QemuVm *qemu_vm_new(struct event_base *base, const Resources *resources, QemuDirectory *directory,
		    QemuProcess *process, const VmmEvents *events, void *events_context, Error *err)
{
	QemuVm *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		error_set(err, ERROR_INTERNAL, "no memory for a VM");
		return NULL;
	}
	vm->head.driver = &vmm_driver_qemu;
	vm->tpm = QEMU_PROCESS_INIT;
	vm->tpm_fd = -1;
	vm->base = base;
	vm->resources = resources;
	vm->directory = *directory;
	vm->process = *process;
	vm->events = *events;
	vm->events_context = events_context;
	vm->started_us = clock_monotonic_us(&clock_system);
	open_log_file(vm);
	if (!watch(vm, err)) {
		free_events(vm);
		if (vm->log_file_fd >= 0)
			close(vm->log_file_fd);
		free(vm);
		return NULL;
	}
	*directory = QEMU_DIRECTORY_INIT;
	*process = QEMU_PROCESS_INIT;
	return vm;
}
