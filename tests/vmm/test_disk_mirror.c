/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are copied while their guest writes them: real VMs, real storage daemons, a relay for
 * each disk in between. The guest checks what it reads, qemu-img compares. */
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "luks_pool.h"
#include "vmm/disk_mirror.h"
#include "vmm/image_create.h"
#include "vmm/storage_daemon.h"

enum {
	DISKS = 2,
	DISK_BYTES = 8 << 20,
	START_MS = 30000,
	ABORT_MS = 10000,
	SLOW_BYTES_S = 256 << 10, /* so that the first disk takes half a minute */
	PATH_BYTES = 400,
};

typedef struct Copy Copy;

/* One disk's way: the source's socket, a relay, the daemon that receives. */
typedef struct Way {
	Copy *copy;
	Host daemon;
	char name[32], socket[32];
	int listen_fd;
	struct event *listen_event;
	Relay *relay;
	bool hangs_up; /* on whoever connects */
} Way;

struct Copy {
	World *world;
	Way ways[DISKS];
	ResolvedVm target; /* what the daemons have, and then the VM at the destination */
	bool encrypted;
};

/* --- the way --- */

static void on_connection(evutil_socket_t fd, short what, void *context)
{
	Way *way = context;
	int ours = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int theirs = -1;
	Error err = ERROR_INIT;

	(void)what;
	assert_true(ours >= 0);
	/* QEMU tries again, once, when a connection has ended. */
	if (way->hangs_up || !way->daemon.vm ||
	    !vmm_connect(way->daemon.vm, STORAGE_DAEMON_SOCKET, &theirs, &err)) {
		close(ours);
		return;
	}
	assert_null(way->relay);
	way->relay = relay_new(way->copy->world->base, ours, theirs);
}

static void open_way(Way *way, VmmVm *source)
{
	Error err = ERROR_INIT;

	if (!vmm_listen(source, way->socket, &way->listen_fd, &err))
		fail_msg("%s", err.text);
	way->listen_event = event_new(way->copy->world->base, way->listen_fd, EV_READ | EV_PERSIST,
				      on_connection, way);
	event_add(way->listen_event, NULL);
}

static void close_way(Way *way)
{
	relay_free(TAKE_PTR(way->relay));
	if (way->listen_event)
		event_free(TAKE_PTR(way->listen_event));
	if (way->listen_fd >= 0)
		close(TAKE_FD(way->listen_fd));
}

static void serve(Way *way, size_t disk, bool sealed)
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

static void stop_daemon(Way *way)
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

static void fill_with_noise(const World *world)
{
	AUTO_FREE uint8_t *noise = malloc(DISK_BYTES);
	char path[PATH_BYTES];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "%s/vm1.raw", world->directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	for (size_t at = 0; at < DISK_BYTES; at += 256)
		assert_int_equal(getrandom(noise + at, 256, 0), 256);
	assert_int_equal(pwrite(fd, noise, DISK_BYTES, 0), DISK_BYTES);
}

static void path_of_copy(const Copy *copy, size_t i, char ret_path[PATH_BYTES])
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

		path_of_copy(copy, i, path);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0 && (encrypted || !ftruncate(fd, DISK_BYTES)));
		disk->format = encrypted ? luks_pool_images[i].format : DISK_RAW;
		disk->encryption = encrypted ? DISK_LUKS : DISK_PLAIN;
		copy->target.disks[i] = (ResolvedDisk){ .fd = fd, .secret_fd = -1, .late = true };
	}
}

static int setup_with(void **state, bool encrypted)
{
	Copy *copy = calloc(1, sizeof(*copy));
	void *world = NULL;

	assert_int_equal(world_setup(&world), 0);
	copy->world = world;
	for (size_t i = 0; i < DISKS; i++) {
		Way *way = &copy->ways[i];

		*way = (Way){ .copy = copy, .listen_fd = -1 };
		snprintf(way->name, sizeof(way->name), "daemon%zu", i);
		snprintf(way->socket, sizeof(way->socket), "disk%zu.sock", i);
		way->daemon = (Host){ .world = world, .name = way->name, .serial_fd = -1 };
	}
	fill_with_noise(copy->world);
	make_targets(copy, encrypted);
	*state = copy;
	return 0;
}

static int setup_plain(void **state)
{
	return setup_with(state, false);
}

static int setup_encrypted(void **state)
{
	return setup_with(state, true);
}

static int teardown(void **state)
{
	Copy *copy = *state;
	void *world = copy->world;
	char path[PATH_BYTES];
	int result;

	for (size_t i = 0; i < DISKS; i++) {
		close_way(&copy->ways[i]);
		host_kill(&copy->ways[i].daemon);
		path_of_copy(copy, i, path);
		if (!copy->encrypted)
			unlink(path);
	}
	resolved_vm_close(&copy->target);
	result = world_teardown(&world);
	free(copy);
	return result;
}

/* --- what the tests do --- */

static void begin_to_mirror(Copy *copy, Host *source, size_t disks, uint64_t bytes_s,
			    int64_t deadline_ms, Call *call)
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
		open_way(&copy->ways[i], source->vm);
	}
	if (!disk_mirror_start(source->vm, &start, on_done, call, &err))
		fail_msg("%s", err.text);
}

static void mirror(Copy *copy, Host *source, size_t disks)
{
	Call call = { 0 };

	begin_to_mirror(copy, source, disks, 0, 60000, &call);
	world_wait(copy->world, call_is_over, &call, 60, "the disks are the same");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void finish(Copy *copy, Host *source, uint32_t disks)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(disk_mirror_finish(source->vm, disks, 10000, on_done, &call, &err));
	world_wait(copy->world, call_is_over, &call, 15, "the mirrors end");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void abort_with(Copy *copy, Host *source, int64_t deadline_ms, Call *call)
{
	Error err = ERROR_INIT;

	assert_true(disk_mirror_abort(source->vm, deadline_ms, on_done, call, &err));
	world_wait(copy->world, call_is_over, call, 20, "the mirrors are gone");
}

/* And nothing is left but a source that goes on. */
static void abort_mirror(Copy *copy, Host *source)
{
	Call call = { 0 };

	for (size_t i = 0; i < DISKS; i++)
		close_way(&copy->ways[i]);
	abort_with(copy, source, ABORT_MS, &call);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	for (size_t i = 0; i < DISKS; i++)
		host_kill(&copy->ways[i].daemon);
}

typedef struct Asked {
	bool called, ok;
	DiskMirrorProgress progress;
	Error err;
} Asked;

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

static Asked ask(Copy *copy, Host *source)
{
	Asked asked = { .called = false };
	Error err = ERROR_INIT;

	assert_true(disk_mirror_query(source->vm, on_progress, &asked, &err));
	world_wait(copy->world, is_answered, &asked, 15, "query-jobs");
	return asked;
}

static void fails_with(const Call *call, ErrorCategory category, const char *text)
{
	assert_true(call->called && !call->ok);
	if (call->err.category != category || !strstr(call->err.text, text))
		fail_msg("category %d: %s", call->err.category, call->err.text);
}

/* `-U`: the source's QEMU has it locked; its guest stands still. */
static bool is_same(const char *one, const char *format, const char *other)
{
	char program[] = IMAGE_CREATE_PROGRAM, command[] = "compare", quiet[] = "-q",
	     shared[] = "-U", f[] = "-f", other_f[] = "-F", raw[] = "raw";
	char one_path[PATH_BYTES], one_format[8], other_path[PATH_BYTES];
	char *argv[] = { program, command, quiet,    shared,	 f,   one_format,
			 other_f, raw,	   one_path, other_path, NULL };
	int status = -1;
	pid_t pid;

	snprintf(one_path, sizeof(one_path), "%s", one);
	snprintf(one_format, sizeof(one_format), "%s", format);
	snprintf(other_path, sizeof(other_path), "%s", other);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !status;
}

static void check_plain_copies(const Copy *copy)
{
	char path[PATH_BYTES], to[PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof(path), "%s/vm1.raw", copy->world->directory);
	path_of_copy(copy, 0, to);
	assert_true(is_same(path, "raw", to));
	snprintf(path, sizeof(path), "%s/vm1.qcow2", copy->world->directory);
	path_of_copy(copy, 1, to);
	assert_true(is_same(path, "qcow2", to));
	/* Nobody wrote the second one: it has no block. */
	assert_int_equal(stat(to, &status), 0);
	printf("%lld of %d bytes are allocated for the copy of an empty disk\n",
	       (long long)status.st_blocks * 512, DISK_BYTES);
	assert_true(status.st_blocks * 512 < DISK_BYTES / 16);
}

static void prepare_without_disks(Copy *copy)
{
	Host *host = &copy->world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = copy->world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	world_resolve(copy->world, "north.example", &vm);
	for (size_t i = 0; i < DISKS; i++)
		vm.disks[i].late = true;
	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, copy->world->base, &start, &host_events,
					host, on_prepared, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(copy->world, call_is_over, &call, 30, "the VM is prepared");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_listen_to_guest(host);
}

static void open_copies(Copy *copy)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(
		vmm_open_disks(copy->world->destination.vm, &copy->target, on_done, &call, &err));
	world_wait(copy->world, call_is_over, &call, 15, "the copies are open");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void start_source(Copy *copy)
{
	host_start(&copy->world->source);
	host_check_guest(&copy->world->source, 2, 60);
}

static void serve_all(Copy *copy)
{
	for (size_t i = 0; i < DISKS; i++) {
		if (copy->encrypted)
			add_secret(copy, i);
		serve(&copy->ways[i], i, false);
	}
}

/* As by whoever carries its connection, who notices. */
static void kill_daemon(Way *way)
{
	host_kill(&way->daemon);
	relay_free(TAKE_PTR(way->relay));
}

/* --- tests --- */

/* The whole way of a VM without shared storage. */
static void test_moves_with_memory(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call continued = { 0 };
	Error err = ERROR_INIT;
	Asked asked;
	int64_t began_us, took_us;

	start_source(copy);
	serve_all(copy);
	prepare_without_disks(copy);
	mirror(copy, &world->source, DISKS);
	asked = ask(copy, &world->source);
	for (size_t i = 0; i < DISKS; i++)
		assert_true(asked.ok && asked.progress.disks[i].there &&
			    asked.progress.disks[i].ready);
	assert_true(asked.progress.disks[0].done_bytes >= DISK_BYTES);
	assert_false(asked.progress.disks[2].there);
	/* The guest goes on writing. */
	host_check_guest(&world->source, 3, 30);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	began_us = clock_monotonic_us(&clock_system);
	finish(copy, &world->source, 3);
	for (size_t i = 0; i < DISKS; i++)
		stop_daemon(&copy->ways[i]);
	took_us = clock_monotonic_us(&clock_system) - began_us;
	if (!copy->encrypted)
		check_plain_copies(copy);
	began_us = clock_monotonic_us(&clock_system);
	open_copies(copy);
	printf("of the time that the guest stands still, disks took %lld us to end, %lld to open\n",
	       (long long)took_us, (long long)(clock_monotonic_us(&clock_system) - began_us));
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	assert_true(world->destination.walker_disk > world->source.walker_disk);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
}

/* Given up at each point: the guest goes on, and it can be tried again. */
static void test_aborted(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, cancelled = { 0 };
	Error err = ERROR_INIT;

	start_source(copy);
	abort_mirror(copy, &world->source);
	/* In the middle. */
	serve_all(copy);
	begin_to_mirror(copy, &world->source, DISKS, SLOW_BYTES_S, 60000, &begun);
	host_check_guest(&world->source, 2, 30);
	assert_false(begun.called);
	assert_false(ask(copy, &world->source).progress.disks[0].ready);
	abort_mirror(copy, &world->source);
	assert_true(begun.called && !begun.ok);
	assert_false(ask(copy, &world->source).progress.disks[0].there);
	/* When it is ready. */
	serve_all(copy);
	mirror(copy, &world->source, DISKS);
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	/* When the guest has stopped, and the last blocks are there. */
	serve_all(copy);
	prepare_without_disks(copy);
	mirror(copy, &world->source, DISKS);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	finish(copy, &world->source, 3);
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 3, 30);
	host_end(&world->source);
}

/* One that goes away; the other disk's mirror is not touched by it until it is aborted. */
static void test_target_goes_down(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, finished = { 0 };
	Error err = ERROR_INIT;

	start_source(copy);
	serve_all(copy);
	/* The pace of a mirror is that at which it notices. */
	begin_to_mirror(copy, &world->source, DISKS, DISK_BYTES / 2, 60000, &begun);
	host_check_guest(&world->source, 1, 30);
	assert_false(begun.called);
	kill_daemon(&copy->ways[0]);
	world_wait(world, call_is_over, &begun, 30, "the mirror fails");
	fails_with(&begun, ERROR_HYPERVISOR, "disk 0: the mirror ended: Input/output error");
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	/* When it was ready: who looks is told, and no end of it is one in sync. */
	serve_all(copy);
	mirror(copy, &world->source, DISKS);
	kill_daemon(&copy->ways[0]);
	host_check_guest(&world->source, 3, 30);
	assert_false(ask(copy, &world->source).ok);
	assert_true(disk_mirror_finish(world->source.vm, 3, 10000, on_done, &finished, &err));
	world_wait(world, call_is_over, &finished, 15, "the mirrors do not end well");
	fails_with(&finished, ERROR_HYPERVISOR, "disk 0: the mirror ended:");
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

static void test_not_ready(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, finished = { 0 }, none = { 0 };
	Error err = ERROR_INIT;

	start_source(copy);
	serve_all(copy);
	begin_to_mirror(copy, &world->source, DISKS, SLOW_BYTES_S, 1000, &begun);
	world_wait(world, call_is_over, &begun, 30, "it takes too long");
	fails_with(&begun, ERROR_TIMEOUT, "query-jobs: not in time");
	assert_true(disk_mirror_finish(world->source.vm, 3, 10000, on_done, &finished, &err));
	world_wait(world, call_is_over, &finished, 15, "finish refuses");
	fails_with(&finished, ERROR_CONFLICT, "a mirror is not ready");
	/* It was not touched by that. */
	assert_true(ask(copy, &world->source).progress.disks[0].there);
	abort_mirror(copy, &world->source);
	assert_true(disk_mirror_finish(world->source.vm, 1, 10000, on_done, &none, &err));
	world_wait(world, call_is_over, &none, 15, "finish refuses");
	fails_with(&none, ERROR_HYPERVISOR, "disk 0: there is no mirror of it");
	host_check_guest(&world->source, 1, 30);
	host_end(&world->source);
}

/* Neither the guest nor an abort waits for it: with requests that it never answers, and without. */
static void test_target_hangs(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;

	start_source(copy);
	for (int ready = 0; ready < 2; ready++) {
		Call begun = { 0 }, aborted = { 0 };

		serve(&copy->ways[0], 0, false);
		begin_to_mirror(copy, &world->source, 1, ready ? 0 : SLOW_BYTES_S, 60000, &begun);
		if (ready)
			world_wait(world, call_is_over, &begun, 30, "the disks are the same");
		else
			host_check_guest(&world->source, 2, 30);
		assert_int_equal(begun.ok, ready);
		assert_non_null(copy->ways[0].relay);
		relay_stall(copy->ways[0].relay);
		abort_with(copy, &world->source, ABORT_MS, &aborted);
		if (!aborted.ok)
			fail_msg("%s", aborted.err.text);
		assert_true(begun.called);
		abort_mirror(copy, &world->source);
		host_check_guest(&world->source, 2, 30);
	}
	host_end(&world->source);
}

static void test_not_to_be_reached(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call hung_up = { 0 }, other_name = { 0 };

	start_source(copy);
	copy->ways[0].hangs_up = true;
	begin_to_mirror(copy, &world->source, 1, 0, 10000, &hung_up);
	world_wait(world, call_is_over, &hung_up, 15, "the target hangs up");
	fails_with(&hung_up, ERROR_HYPERVISOR, "disk 0: blockdev-add: ");
	abort_mirror(copy, &world->source);
	copy->ways[0].hangs_up = false;
	/* A daemon that serves another export. */
	serve(&copy->ways[0], 0, false);
	{
		DiskMirrorStart start = { .disks_count = 1, .deadline_ms = 10000 };
		Error err = ERROR_INIT;

		start.disks[0] =
			(DiskMirror){ .socket = copy->ways[0].socket, .export_name = "other" };
		open_way(&copy->ways[0], world->source.vm);
		assert_true(
			disk_mirror_start(world->source.vm, &start, on_done, &other_name, &err));
	}
	world_wait(world, call_is_over, &other_name, 15, "there is no such export");
	fails_with(&other_name, ERROR_HYPERVISOR,
		   "disk 0: blockdev-add: Requested export not available");
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 1, 30);
	host_end(&world->source);
}

static void refuses(Copy *copy, const DiskMirrorStart *start, const char *text)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_false(disk_mirror_start(copy->ways[0].daemon.vm, start, on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_false(call.called);
}

static void test_refused(void **state)
{
	Copy *copy = *state;
	DiskMirrorStart start = { .deadline_ms = 1000 };

	serve(&copy->ways[0], 0, false);
	refuses(copy, &start, "0 disks to mirror");
	start.disks_count = LIMIT_DISKS + 1;
	refuses(copy, &start, "9 disks to mirror");
	start.disks_count = 1;
	start.disks[0] = (DiskMirror){ .socket = "../x", .export_name = "copy" };
	refuses(copy, &start, "is no name");
	start.disks[0] = (DiskMirror){ .socket = "x", .export_name = "" };
	refuses(copy, &start, "is no name");
	start.disks[0].disk = LIMIT_DISKS;
	refuses(copy, &start, "disk 8: no disk, or twice");
	start.disks_count = 2;
	start.disks[0] = start.disks[1] = (DiskMirror){ .socket = "x", .export_name = "copy" };
	refuses(copy, &start, "disk 0: no disk, or twice");
	stop_daemon(&copy->ways[0]);
}

/* A target without room: the source does not notice. */
static void test_full(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	char small[PATH_BYTES], image[PATH_BYTES];
	Call begun = { 0 };

	snprintf(small, sizeof(small), "%s/small", world->directory);
	snprintf(image, sizeof(image), "%.300s/image", small);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=2m")) {
		print_message("skipped: no file system of its own\n");
		assert_int_equal(rmdir(small), 0);
		skip();
	}
	close(copy->target.disks[0].fd);
	copy->target.disks[0].fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(copy->target.disks[0].fd, DISK_BYTES), 0);
	start_source(copy);
	serve_all(copy);
	begin_to_mirror(copy, &world->source, DISKS, 0, 30000, &begun);
	world_wait(world, call_is_over, &begun, 30, "the target is full");
	fails_with(&begun, ERROR_HYPERVISOR, "disk 0: the mirror ended: No space left on device");
	abort_mirror(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
	close(TAKE_FD(copy->target.disks[0].fd));
	assert_int_equal(umount(small), 0);
	assert_int_equal(rmdir(small), 0);
}

/* Ciphertext only: two daemons, neither of which has a key. */
static void test_sealed(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	char image[PATH_BYTES], to[PATH_BYTES];
	struct stat status;

	path_of_copy(copy, 0, image);
	snprintf(to, sizeof(to), "%s/sealed", world->directory);
	serve(&copy->ways[1], 0, true);
	close(copy->target.disks[0].fd);
	copy->target.disks[0].fd = open(to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(stat(image, &status), 0);
	assert_int_equal(ftruncate(copy->target.disks[0].fd, status.st_size), 0);
	serve(&copy->ways[0], 0, true);
	mirror(copy, &copy->ways[1].daemon, 1);
	finish(copy, &copy->ways[1].daemon, 1);
	close_way(&copy->ways[0]);
	stop_daemon(&copy->ways[0]);
	stop_daemon(&copy->ways[1]);
	assert_true(is_same(image, "raw", to));
	assert_int_equal(unlink(to), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sealed, setup_encrypted, teardown),
		cmocka_unit_test_setup_teardown(test_moves_with_memory, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_moves_with_memory, setup_encrypted, teardown),
		cmocka_unit_test_setup_teardown(test_aborted, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_target_goes_down, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_not_ready, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_target_hangs, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_not_to_be_reached, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup_plain, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup_plain, teardown),
	};

	if (world_is_impossible())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	/* Mounts of ours are nobody else's. */
	if (!unshare(CLONE_NEWNS))
		(void)!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
