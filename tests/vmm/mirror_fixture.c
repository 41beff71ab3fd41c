/* SPDX-License-Identifier: Apache-2.0 */
#include "mirror_fixture.h"

#include <event2/event.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "luks_pool.h"
#include "vmm/image_create.h"
#include "vmm/storage_daemon.h"

/* --- the way --- */

static void on_connection(evutil_socket_t fd, short what, void *context)
{
	Way *way = context;
	int ours = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int theirs = -1;
	Error err = ERROR_INIT;

	(void)what;
	assert_true(ours >= 0);
	/* QEMU tries again, once, when a connection has ended; the engine does not listen any more. */
	if (way->relay || way->hangs_up || !way->daemon.vm ||
	    !vmm_connect(way->daemon.vm, STORAGE_DAEMON_SOCKET, &theirs, &err)) {
		close(ours);
		return;
	}
	disk_mirror_cut(&way->fd);
	way->fd = fcntl(ours, F_DUPFD_CLOEXEC, 3);
	way->relay = relay_new(way->copy->world->base, ours, theirs);
}

void way_open(Way *way, VmmVm *source)
{
	Error err = ERROR_INIT;

	if (!vmm_listen(source, way->socket, &way->listen_fd, &err))
		fail_msg("%s", err.text);
	way->listen_event = event_new(way->copy->world->base, way->listen_fd, EV_READ | EV_PERSIST,
				      on_connection, way);
	event_add(way->listen_event, NULL);
}

void way_close(Way *way)
{
	relay_free(TAKE_PTR(way->relay));
	disk_mirror_cut(&way->fd);
	if (way->listen_event)
		event_free(TAKE_PTR(way->listen_event));
	if (way->listen_fd >= 0)
		close(TAKE_FD(way->listen_fd));
}

void way_serve(Way *way, size_t disk, bool sealed)
{
	World *world = way->copy->world;
	Call call = { 0 };
	Error err = ERROR_INIT;
	StorageDaemonStart start = { .resources = world->resources,
				     .instance = way->daemon.name,
				     .vm = &way->copy->target,
				     .disk = disk,
				     .sealed = sealed,
				     .export_name = "copy",
				     .deadline_ms = START_MS };

	way->daemon.vm = storage_daemon_start(world->base, &start, &host_events, &way->daemon,
					      on_done, &call, &err);
	if (!way->daemon.vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 30, "the daemon serves");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

void way_stop_daemon(Way *way)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(storage_daemon_stop(way->daemon.vm, on_done, &call, &err));
	world_wait(way->copy->world, host_has_exited, &way->daemon, 15, "the daemon ends");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_kill(&way->daemon);
}

/* --- the fixture --- */

static void write_noise(const char *path, size_t bytes)
{
	AUTO_FREE uint8_t *noise = malloc(bytes);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	for (size_t at = 0; at < bytes; at += 256)
		assert_int_equal(getrandom(noise + at, 256, 0), 256);
	assert_int_equal(pwrite(fd, noise, bytes, 0), bytes);
}

static void fill_first(const World *world, size_t bytes)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/vm1.raw", world->directory);
	write_noise(path, bytes);
}

static void fill_second(const World *world)
{
	char path[PATH_BYTES], to[PATH_BYTES], program[] = IMAGE_CREATE_PROGRAM,
					       convert[] = "convert", from_format[] = "-f",
					       raw[] = "raw", to_format[] = "-O", qcow2[] = "qcow2";
	char *argv[] = { program, convert, from_format, raw, to_format, qcow2, path, to, NULL };
	int status = -1;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/noise", world->directory);
	snprintf(to, sizeof(to), "%s/vm1.qcow2", world->directory);
	write_noise(path, DISK_BYTES);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(unlink(path), 0);
}

void copy_path(const Copy *copy, size_t i, char ret_path[PATH_BYTES])
{
	if (copy->encrypted)
		snprintf(ret_path, PATH_BYTES, "%s/%s", luks_pool_directory(),
			 luks_pool_images[i].volume);
	else
		snprintf(ret_path, PATH_BYTES, "%s/copy%zu", copy->world->directory, i);
}

static void add_secret(Copy *copy, size_t i)
{
	DiskSecret *secret = &copy->world->secrets[i];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *passphrase =
		secret_new_from(luks_pool_images[i].passphrase, DISK_SECRET_BYTES, &err);

	disk_secret_wipe(secret);
	cleanup_fd(&copy->target.disks[i].secret_fd);
	assert_true(passphrase && disk_secret_make(passphrase, secret, &err));
	copy->target.disks[i].secret_fd = fcntl(secret->fd, F_DUPFD_CLOEXEC, 3);
}

/* Raw and plain, or by the pool's images: raw LUKS, and LUKS in qcow2. */
static void make_targets(Copy *copy, bool encrypted)
{
	copy->encrypted = encrypted;
	copy->target = RESOLVED_VM_INIT;
	copy->target.manifest = copy->world->file.manifest;
	for (size_t i = 0; i < DISKS; i++) {
		ManifestDisk *disk = &copy->target.manifest.disks[i];
		char path[PATH_BYTES];
		int fd;

		copy_path(copy, i, path);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(
			fd >= 0 &&
			(encrypted || !ftruncate(fd, (off_t)(i ? DISK_BYTES : copy->first_bytes))));
		disk->format = encrypted ? luks_pool_images[i].format : DISK_RAW;
		disk->encryption = encrypted ? DISK_LUKS : DISK_PLAIN;
		copy->target.disks[i] = (ResolvedDisk){ .fd = fd, .secret_fd = -1, .late = true };
	}
}

static int setup_with(void **state, bool encrypted, size_t first_bytes)
{
	Copy *copy = calloc(1, sizeof(*copy));
	void *world = NULL;

	assert_int_equal(world_setup(&world), 0);
	copy->world = world;
	copy->first_bytes = first_bytes;
	for (size_t i = 0; i < DISKS; i++) {
		Way *way = &copy->ways[i];

		*way = (Way){ .copy = copy, .listen_fd = -1, .fd = -1 };
		snprintf(way->name, sizeof(way->name), "daemon%zu", i);
		snprintf(way->socket, sizeof(way->socket), "disk%zu.sock", i);
		way->daemon = (Host){ .world = world, .name = way->name, .serial_fd = -1 };
	}
	copy->world->file.manifest.disks[0].size_bytes = first_bytes;
	fill_first(copy->world, first_bytes);
	if (first_bytes != DISK_BYTES)
		fill_second(copy->world);
	make_targets(copy, encrypted);
	*state = copy;
	return 0;
}

int copy_setup_plain(void **state)
{
	return setup_with(state, false, DISK_BYTES);
}

int copy_setup_large(void **state)
{
	return setup_with(state, false, LARGE_BYTES);
}

int copy_setup_encrypted(void **state)
{
	return setup_with(state, true, DISK_BYTES);
}

int copy_teardown(void **state)
{
	Copy *copy = *state;
	void *world = copy->world;
	char path[PATH_BYTES];
	int result;

	for (size_t i = 0; i < DISKS; i++) {
		way_close(&copy->ways[i]);
		host_kill(&copy->ways[i].daemon);
		copy_path(copy, i, path);
		if (!copy->encrypted)
			unlink(path);
	}
	resolved_vm_close(&copy->target);
	result = world_teardown(&world);
	free(copy);
	return result;
}

/* --- what tests do with it --- */

void copy_begin(Copy *copy, Host *source, size_t disks, uint64_t bytes_s, int64_t deadline_ms,
		Call *call)
{
	DiskMirrorStart start = { .disks_count = disks,
				  .bandwidth_bytes_s = bytes_s,
				  .deadline_ms = deadline_ms };
	Error err = ERROR_INIT;

	for (size_t i = 0; i < disks; i++) {
		start.disks[i] = (DiskMirror){ .disk = i,
					       .socket = copy->ways[i].socket,
					       .export_name = "copy",
					       .sparse = !copy->encrypted || i };
		way_open(&copy->ways[i], source->vm);
	}
	if (!disk_mirror_start(source->vm, &start, on_done, call, &err))
		fail_msg("%s", err.text);
}

void copy_all(Copy *copy, Host *source, size_t disks)
{
	Call call = { 0 };

	copy_begin(copy, source, disks, 0, 60000, &call);
	world_wait(copy->world, call_is_over, &call, 60, "the disks are the same");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

void copy_finish(Copy *copy, Host *source, uint32_t disks)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(disk_mirror_finish(source->vm, disks, 10000, on_done, &call, &err));
	world_wait(copy->world, call_is_over, &call, 15, "the mirrors end");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

void copy_abort_with(Copy *copy, Host *source, int64_t deadline_ms, Call *call)
{
	Error err = ERROR_INIT;

	assert_true(disk_mirror_abort(source->vm, deadline_ms, on_done, call, &err));
	world_wait(copy->world, call_is_over, call, 20, "the mirrors are gone");
}

/* And nothing is left but a source that goes on. */
void copy_abort(Copy *copy, Host *source)
{
	Call call = { 0 };

	for (size_t i = 0; i < DISKS; i++)
		way_close(&copy->ways[i]);
	copy_abort_with(copy, source, ABORT_MS, &call);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	for (size_t i = 0; i < DISKS; i++)
		host_kill(&copy->ways[i].daemon);
}

static void on_progress(void *context, const DiskMirrorProgress *progress, const Error *err)
{
	Asked *asked = context;

	asked->called = true;
	asked->ok = !err;
	if (err)
		asked->err = *err;
	else
		asked->progress = *progress;
}

static bool is_answered(const void *context)
{
	return ((const Asked *)context)->called;
}

Asked copy_ask(Copy *copy, Host *source)
{
	Asked asked = { .called = false };
	Error err = ERROR_INIT;

	assert_true(disk_mirror_query(source->vm, on_progress, &asked, &err));
	world_wait(copy->world, is_answered, &asked, 15, "query-jobs");
	return asked;
}

void call_fails_with(const Call *call, ErrorCategory category, const char *text)
{
	assert_true(call->called && !call->ok);
	if (call->err.category != category || !strstr(call->err.text, text))
		fail_msg("category %d: %s", call->err.category, call->err.text);
}

void copy_start_source(Copy *copy)
{
	host_start(&copy->world->source);
	host_check_guest(&copy->world->source, 2, 60);
}

void copy_serve_all(Copy *copy)
{
	for (size_t i = 0; i < DISKS; i++) {
		if (copy->encrypted)
			add_secret(copy, i);
		way_serve(&copy->ways[i], i, false);
	}
}

/* As by whoever carries its connection, who notices. */
void way_kill_daemon(Way *way)
{
	host_kill(&way->daemon);
	relay_free(TAKE_PTR(way->relay));
	disk_mirror_cut(&way->fd);
}
