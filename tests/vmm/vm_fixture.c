/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_fixture.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/feature_cache.h"

#define QEMU_IMG_PATH "/usr/bin/qemu-img"

enum { DISK_BYTES = 8 << 20, START_MS = 30000 };

static const char *guest_directory(void)
{
	return getenv("SEALIFT_GUEST_DIR");
}

static const char *qemu_path(void)
{
	const char *path = getenv("SEALIFT_QEMU");

	return path ? path : "/usr/bin/qemu-system-x86_64";
}

bool world_is_impossible(void)
{
	char path[LIMIT_PATH];

	snprintf(path, sizeof(path), "%s/vmlinuz", guest_directory() ? guest_directory() : "");
	if (!access(qemu_path(), X_OK) && !access(QEMU_IMG_PATH, X_OK) && !access(path, R_OK))
		return false;
	fprintf(stderr, "skipped: needs %s, %s and SEALIFT_GUEST_DIR/vmlinuz\n", qemu_path(),
		QEMU_IMG_PATH);
	return true;
}

static void describe_vm(World *world)
{
	char text[2048];
	Error err = ERROR_INIT;

	snprintf(text, sizeof(text),
		 "name = \"vm1\"; uuid = \"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\";\n"
		 "machine = \"pc-q35-7.2\"; cpu = \"max\"; cpus = 1; memory = \"256M\";\n"
		 "kernel = \"vmlinuz\"; initrd = \"initrd.img\";\n"
		 "append = \"console=ttyS0 quiet walker.mem=96 walker.rate=300 walker.disk=1\";\n"
		 "disks = ( { pool = \"shared\"; volume = \"vm1.raw\"; format = \"raw\"; },\n"
		 "  { pool = \"shared\"; volume = \"vm1.qcow2\"; format = \"qcow2\"; } );\n"
		 "display = \"vnc\";\n"
		 "nics = ( { network = \"lan\"; mac = \"52:54:00:00:00:01\"; } );\n");
	if (!vm_file_parse("vm1.conf", guest_directory(), text, &world->file, &err) ||
	    !resources_complete(world->resources, &world->file.manifest, &err))
		fail_msg("%s", err.text);
}

static void describe_host(World *world)
{
	Resources *r = calloc(1, sizeof(*r));
	Error err = ERROR_INIT;

	world->resources = r;
	r->pools_count = r->networks_count = 1;
	snprintf(r->pools[0].name, LIMIT_NAME, "shared");
	snprintf(r->pools[0].directory, LIMIT_PATH, "%s", world->directory);
	snprintf(r->networks[0].name, LIMIT_NAME, "lan");
	r->networks[0].kind = NETWORK_USER;
	snprintf(r->networks[0].subnet, LIMIT_ADDRESS, "10.0.0.0/24");
	r->pools[0].access.local = r->networks[0].access.local = true;
	r->pools[0].access.domains_count = r->networks[0].access.domains_count = 1;
	snprintf(r->pools[0].access.domains[0], LIMIT_DOMAIN, "north.example");
	snprintf(r->networks[0].access.domains[0], LIMIT_DOMAIN, "north.example");
	snprintf(r->qemu_path, LIMIT_PATH, "%s", qemu_path());
	snprintf(r->run_directory, LIMIT_PATH, "%s/run", world->directory);
	r->boot_files = boot_files_new(guest_directory(), &err);
	assert_non_null(r->boot_files);
	r->feature_cache = feature_cache_new(&err);
	assert_non_null(r->feature_cache);
	/* As in production, where the tests run as root. */
	if (!geteuid())
		assert_true(resources_set_user(r, "nobody", &err));
}

static void make_disk(const World *world)
{
	char path[128];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "%s/vm1.raw", world->directory);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
}

static void make_qcow2(const World *world)
{
	char path[128], program[] = QEMU_IMG_PATH, create[] = "create", quiet[] = "-q",
			format[] = "-f", qcow2[] = "qcow2", size[] = "8M";
	char *argv[] = { program, create, quiet, format, qcow2, path, size, NULL };
	int status = -1;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/vm1.qcow2", world->directory);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void init_host(World *world, Host *host, const char *name)
{
	*host = (Host){ .world = world, .name = name, .serial_fd = -1 };
}

int world_setup(void **state)
{
	World *world = calloc(1, sizeof(*world));

	snprintf(world->directory, sizeof(world->directory), "/tmp/sealift-vm-test.XXXXXX");
	assert_non_null(mkdtemp(world->directory));
	world->base = event_base_new();
	world->listen_fd = -1;
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		world->secrets[i] = DISK_SECRET_INIT;
	init_host(world, &world->source, "source");
	init_host(world, &world->destination, "destination");
	describe_host(world);
	make_disk(world);
	make_qcow2(world);
	describe_vm(world);
	*state = world;
	return 0;
}

int world_teardown(void **state)
{
	World *world = *state;
	char path[128];

	host_kill(&world->source);
	host_kill(&world->destination);
	world_wipe_secrets(world);
	world_drop_relays(world);
	event_base_free(world->base);
	boot_files_free(world->resources->boot_files);
	feature_cache_free(world->resources->feature_cache);
	free(world->resources);
	snprintf(path, sizeof(path), "%s/vm1.raw", world->directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/vm1.qcow2", world->directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/run", world->directory);
	rmdir(path);
	/* Fails if a VM left its run directory behind. */
	assert_int_equal(rmdir(world->directory), 0);
	free(world);
	return 0;
}

static void on_wait_tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

void world_wait(World *world, Condition *condition, const void *context, int deadline_s,
		const char *what)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + (int64_t)deadline_s * 1000000;
	struct event *tick = event_new(world->base, -1, EV_PERSIST, on_wait_tick, NULL);

	event_add(tick, &(struct timeval){ .tv_usec = 100000 });
	while (!condition(context) && clock_monotonic_us(&clock_system) < deadline_us)
		event_base_loop(world->base, EVLOOP_ONCE);
	event_free(tick);
	if (condition(context))
		return;
	if (world->source.cause.category)
		fprintf(stderr, "source: %s\n", world->source.cause.text);
	if (world->destination.cause.category)
		fprintf(stderr, "destination: %s\n", world->destination.cause.text);
	fail_msg("not within %d s: %s", deadline_s, what);
}

/* --- callbacks ---------------------------------------------------------------------------------
 */

static void over(Call *call, const Error *err)
{
	assert_false(call->called);
	call->called = true;
	call->ok = !err;
	if (err)
		call->err = *err;
}

void on_done(void *context, const Error *err)
{
	over(context, err);
}

void on_run_state(void *context, VmmRunState state, const Error *err)
{
	((Call *)context)->state = state;
	over(context, err);
}

void on_prepared(void *context, const VmmPrepared *prepared, const Error *err)
{
	if (prepared)
		((Call *)context)->prepared = *prepared;
	over(context, err);
}

void on_migration(void *context, const VmmMigration *migration, const Error *err)
{
	if (migration)
		((Call *)context)->migration = *migration;
	over(context, err);
}

bool call_is_over(const void *call)
{
	return ((const Call *)call)->called;
}

bool host_has_exited(const void *host)
{
	return ((const Host *)host)->exited;
}

static void on_status(void *context, VmmVm *vm, VmmMigrationStatus status, VmmInstant when)
{
	Host *host = context;

	assert_ptr_equal(host->vm, vm);
	assert_true(when.monotonic_us > 0 && when.wall_us > 0);
	host->status = status;
	host->seen[status] = true;
}

static void on_stop(void *context, VmmVm *vm, VmmInstant when)
{
	Host *host = context;

	(void)vm;
	host->stopped = true;
	host->stop_at = when;
}

static void on_resume(void *context, VmmVm *vm, VmmInstant when)
{
	Host *host = context;

	(void)vm;
	host->resumed = true;
	host->resume_at = when;
}

static void on_lost(void *context, VmmVm *vm, const Error *cause)
{
	Host *host = context;

	(void)vm;
	host->lost = true;
	host->cause = *cause;
}

static void on_exit_of_vm(void *context, VmmVm *vm, const Error *cause)
{
	Host *host = context;

	(void)vm;
	assert_false(host->exited);
	host->exited = true;
	host->cause = *cause;
}

const VmmEvents host_events = {
	.on_status = on_status,
	.on_stop = on_stop,
	.on_resume = on_resume,
	.on_lost = on_lost,
	.on_exit = on_exit_of_vm,
};

/* --- VMs ---------------------------------------------------------------------------------------
 */

static void add_secret(World *world, size_t i, ResolvedVm *vm)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *passphrase =
		secret_new_from(world->passphrases[i], strlen(world->passphrases[i]), &err);

	disk_secret_wipe(&world->secrets[i]);
	if (!passphrase || !disk_secret_make(passphrase, &world->secrets[i], &err))
		fail_msg("%s", err.text);
	vm->disks[i].secret_fd = fcntl(world->secrets[i].fd, F_DUPFD_CLOEXEC, 3);
	assert_true(vm->disks[i].secret_fd >= 0);
}

void world_wipe_secrets(World *world)
{
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		disk_secret_wipe(&world->secrets[i]);
}

void world_resolve(World *world, const char *peer_domain, ResolvedVm *ret_vm)
{
	Error err = ERROR_INIT;
	LocalBoot local = { .kernel_path = world->file.kernel_path,
			    .initrd_path = world->file.initrd_path };

	*ret_vm = RESOLVED_VM_INIT;
	if (!resources_resolve(world->resources, &world->file.manifest, peer_domain,
			       peer_domain ? NULL : &local, ret_vm, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ret_vm->manifest.disks_count; i++)
		if (ret_vm->manifest.disks[i].encryption != DISK_PLAIN)
			add_secret(world, i, ret_vm);
}

void host_start(Host *host)
{
	World *world = host->world;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 30, "the VM runs");
	world_wipe_secrets(world);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_listen_to_guest(host);
}

void host_prepare(Host *host)
{
	World *world = host->world;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	world_resolve(world, "north.example", &vm);
	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, world->base, &start, &host_events, host,
					on_prepared, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 30, "the VM is prepared");
	world_wipe_secrets(world);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	printf("prepared in %lld ms, %lld ms CPU\n", (long long)call.prepared.wall_ms,
	       (long long)call.prepared.cpu_ms);
	host_listen_to_guest(host);
}

static void take_console_line(Host *host)
{
	unsigned long long t, checked, errors, dirtied, rounds, disk;
	unsigned int extends;

	if (sscanf(host->line, "tpm t=%u extends=%u errors=%u", &host->tpm_t, &extends,
		   &host->tpm_errors) == 3)
		host->tpm_lines++;
	if (!strncmp(host->line, "tpm index=kept", 14))
		host->tpm_kept = true;
	if (sscanf(host->line,
		   "walker t=%llu checked=%llu errors=%llu dirtied=%llu rounds=%llu disk=%llu", &t,
		   &checked, &errors, &dirtied, &rounds, &disk) != 6)
		return;
	if (!host->walker_lines++)
		host->walker_first_t = t;
	host->walker_t = t;
	host->walker_errors = errors;
	host->walker_disk = disk;
}

static void on_serial(evutil_socket_t fd, short what, void *context)
{
	Host *host = context;
	char chunk[4096];
	ssize_t got = read(fd, chunk, sizeof(chunk));

	(void)what;
	if (!got || (got < 0 && errno != EAGAIN))
		event_del(host->serial_event);
	for (ssize_t i = 0; i < got; i++) {
		if (chunk[i] == '\n') {
			host->line[host->line_used] = '\0';
			take_console_line(host);
			host->line_used = 0;
		} else if (host->line_used < sizeof(host->line) - 1) {
			host->line[host->line_used++] = chunk[i];
		}
	}
}

void host_listen_to_guest(Host *host)
{
	Error err = ERROR_INIT;

	if (!vmm_connect(host->vm, "serial.sock", &host->serial_fd, &err))
		fail_msg("%s", err.text);
	host->serial_event = event_new(host->world->base, host->serial_fd, EV_READ | EV_PERSIST,
				       on_serial, host);
	event_add(host->serial_event, NULL);
}

typedef struct WantLines {
	const Host *host;
	unsigned int lines;
} WantLines;

static bool has_lines(const void *context)
{
	const WantLines *want = context;

	return want->host->walker_lines >= want->lines;
}

void host_check_guest(Host *host, unsigned int lines, int deadline_s)
{
	WantLines want = { .host = host, .lines = host->walker_lines + lines };

	world_wait(host->world, has_lines, &want, deadline_s, "the guest counts");
	assert_int_equal(host->walker_errors, 0);
}

typedef struct WantStatus {
	const Host *host;
	VmmMigrationStatus status;
} WantStatus;

static bool has_status(const void *context)
{
	const WantStatus *want = context;

	return want->host->seen[want->status];
}

void host_wait_status(Host *host, VmmMigrationStatus status, int deadline_s)
{
	WantStatus want = { .host = host, .status = status };

	world_wait(host->world, has_status, &want, deadline_s, vmm_migration_status_word(status));
}

static bool is_given_up(const void *context)
{
	const Host *host = context;

	return host->seen[VMM_MIGRATION_CANCELLED] || host->seen[VMM_MIGRATION_FAILED];
}

VmmMigrationStatus host_cancel(Host *host, int deadline_s)
{
	Call cancelled = { 0 };
	Error err = ERROR_INIT;

	assert_false(is_given_up(host));
	assert_true(vmm_cancel(host->vm, on_done, &cancelled, &err));
	world_wait(host->world, is_given_up, host, deadline_s, "the migration is given up");
	world_wait(host->world, call_is_over, &cancelled, 15, "the cancel is answered");
	if (!cancelled.ok)
		fail_msg("%s", cancelled.err.text);
	return host_migration(host).status;
}

VmmRunState host_run_state(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(vmm_query_run_state(host->vm, on_run_state, &call, &err));
	world_wait(host->world, call_is_over, &call, 15, "query-status");
	assert_true(call.ok);
	return call.state;
}

VmmMigration host_migration(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(vmm_query_migration(host->vm, on_migration, &call, &err));
	world_wait(host->world, call_is_over, &call, 15, "query-migrate");
	assert_true(call.ok);
	return call.migration;
}

void host_cont(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	host->resumed = false;
	assert_true(vmm_cont(host->vm, on_done, &call, &err));
	world_wait(host->world, call_is_over, &call, 15, "cont");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void forget(Host *host)
{
	if (host->serial_event)
		event_free(host->serial_event);
	if (host->serial_fd >= 0)
		close(host->serial_fd);
	vmm_free(host->vm);
	init_host(host->world, host, host->name);
}

void host_end(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(vmm_quit(host->vm, on_done, &call, &err));
	world_wait(host->world, host_has_exited, host, 15, "the VM ends");
	assert_true(call.called);
	forget(host);
}

void host_kill(Host *host)
{
	Error err = ERROR_INIT;

	if (!host->vm)
		return;
	assert_true(vmm_kill(host->vm, &err));
	world_wait(host->world, host_has_exited, host, 15, "the VM is gone");
	forget(host);
}

/* --- the way between them ----------------------------------------------------------------------
 */

static void on_channel(evutil_socket_t fd, short what, void *context)
{
	World *world = context;
	int ours = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int theirs = -1;
	Error err = ERROR_INIT;

	(void)what;
	assert_true(ours >= 0 && world->relays_count < LIMIT_STREAM_CHANNELS);
	if (!vmm_connect(world->destination.vm, "in.sock", &theirs, &err)) {
		close(ours);
		return;
	}
	world->relays[world->relays_count++] = relay_new(world->base, ours, theirs);
}

void world_drop_relays(World *world)
{
	if (world->listen_event)
		event_free(world->listen_event);
	if (world->listen_fd >= 0)
		close(world->listen_fd);
	world->listen_event = NULL;
	world->listen_fd = -1;
	while (world->relays_count)
		relay_free(world->relays[--world->relays_count]);
}

void world_migrate(World *world, unsigned int channels, uint64_t bandwidth_bytes_s)
{
	VmmMigrateOut out = { .socket = "out.sock",
			      .channels = channels,
			      .bandwidth_bytes_s = bandwidth_bytes_s,
			      .max_downtime_ms = 300 };
	Call listening = { 0 }, ordered = { 0 };
	Error err = ERROR_INIT;

	memset(world->source.seen, 0, sizeof(world->source.seen));
	assert_true(vmm_incoming_listen(world->destination.vm, "in.sock", channels, on_done,
					&listening, &err));
	world_wait(world, call_is_over, &listening, 15, "the destination listens");
	if (!listening.ok)
		fail_msg("%s", listening.err.text);
	if (!vmm_listen(world->source.vm, "out.sock", &world->listen_fd, &err))
		fail_msg("%s", err.text);
	world->listen_event =
		event_new(world->base, world->listen_fd, EV_READ | EV_PERSIST, on_channel, world);
	event_add(world->listen_event, NULL);
	assert_true(vmm_migrate_out(world->source.vm, &out, on_done, &ordered, &err));
	world_wait(world, call_is_over, &ordered, 15, "the source accepts the order");
	if (!ordered.ok)
		fail_msg("%s", ordered.err.text);
}
