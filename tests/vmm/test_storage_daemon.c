/* SPDX-License-Identifier: Apache-2.0 */
/* A real storage daemon, with qemu-img as its client: what comes is in the image, encrypted or as
 * it is; one client at a time; nothing is left of it. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "luks_pool.h"
#include "vmm/image_create.h"
#include "vmm/qemu_vm.h"
#include "vmm/storage_daemon.h"
#include "vmm/unix_socket.h"

enum { START_MS = 20000, URL_BYTES = 400, PATTERN_AT = 3 << 20, WORLD_DISK_BYTES = 8 << 20 };

static int setup_luks(void **state)
{
	return luks_pool_setup_world(state, 0);
}

static int setup_qcow2_luks(void **state)
{
	return luks_pool_setup_world(state, 1);
}

static VmmVm *begin(Host *host, const StorageDaemonStart *start, Call *call, Error *err)
{
	return storage_daemon_start(host->world->base, start, &host_events, host, on_done, call,
				    err);
}

static void start_with(Host *host, const ResolvedVm *vm, bool sealed, Call *call)
{
	StorageDaemonStart start = { .resources = host->world->resources,
				     .instance = host->name,
				     .vm = vm,
				     .disk = 0,
				     .sealed = sealed,
				     .export_name = "vm1.disk",
				     .deadline_ms = START_MS };
	Error err = ERROR_INIT;

	host->vm = begin(host, &start, call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(host->world, call_is_over, call, 20, "the daemon serves");
}

static void serve(Host *host, bool sealed)
{
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };

	world_resolve(host->world, NULL, &vm);
	start_with(host, &vm, sealed, &call);
	world_wipe_secrets(host->world);
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void stop(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(storage_daemon_stop(host->vm, on_done, &call, &err));
	world_wait(host->world, host_has_exited, host, 15, "the daemon ends");
	if (!call.called || !call.ok)
		fail_msg("%s", call.err.text);
	host_kill(host);
}

static int run(char *const argv[])
{
	int status = -1;
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int convert(const char *from, const char *url)
{
	char program[] = IMAGE_CREATE_PROGRAM, command[] = "convert", no_new[] = "-n",
	     from_format[] = "-f", to_format[] = "-O", raw[] = "raw", quiet[] = "-q";
	char from_path[URL_BYTES], to[URL_BYTES];
	char *argv[] = { program,   command, quiet,	no_new, from_format, raw,
			 to_format, raw,     from_path, to,	NULL };

	snprintf(from_path, sizeof(from_path), "%s", from);
	snprintf(to, sizeof(to), "%s", url);
	return run(argv);
}

static bool is_same(const char *one, const char *other)
{
	char program[] = IMAGE_CREATE_PROGRAM, command[] = "compare", quiet[] = "-q",
	     format[] = "-f", other_format[] = "-F", raw[] = "raw";
	char one_path[URL_BYTES], other_path[URL_BYTES];
	char *argv[] = { program,      command, quiet,	  format,     raw,
			 other_format, raw,	one_path, other_path, NULL };

	snprintf(one_path, sizeof(one_path), "%s", one);
	snprintf(other_path, sizeof(other_path), "%s", other);
	return !run(argv);
}

static void url_of(const Host *host, char ret_url[URL_BYTES])
{
	snprintf(ret_url, URL_BYTES, "nbd+unix:///vm1.disk?socket=%s/%s",
		 vmm_socket_directory(host->vm), STORAGE_DAEMON_SOCKET);
}

static void path_in(const World *world, const char *name, char ret_path[URL_BYTES])
{
	snprintf(ret_path, URL_BYTES, "%s/%s", world->directory, name);
}

static void pool_path(const World *world, char ret_path[URL_BYTES])
{
	snprintf(ret_path, URL_BYTES, "%s/%s", world->resources->pools[0].directory,
		 world->file.manifest.disks[0].volume);
}

/* A hole, the pattern, a hole. */
static void make_source(const World *world, uint64_t size_bytes, char ret_path[URL_BYTES])
{
	AUTO_FD int fd = -1;

	path_in(world, "from", ret_path);
	fd = open(ret_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && !ftruncate(fd, (off_t)size_bytes));
	assert_int_equal(pwrite(fd, LUKS_POOL_PATTERN, strlen(LUKS_POOL_PATTERN), PATTERN_AT),
			 (ssize_t)strlen(LUKS_POOL_PATTERN));
}

static void is_gone(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static void refuses(Host *host, const StorageDaemonStart *start, const char *text)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_null(begin(host, start, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_false(call.called);
}

/* --- tests --- */

static void test_plain(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	char from[URL_BYTES], url[URL_BYTES], to[URL_BYTES];
	struct stat status;

	make_source(world, WORLD_DISK_BYTES, from);
	serve(host, false);
	url_of(host, url);
	assert_int_equal(convert(from, url), 0);
	stop(host);
	pool_path(world, to);
	assert_true(is_same(from, to));
	/* Holes stay holes. */
	assert_int_equal(stat(to, &status), 0);
	assert_true(status.st_blocks * 512 < WORLD_DISK_BYTES / 4);
	is_gone(from);
}

/* What comes in clear is on the disk as ciphertext only, by the image's own key. */
static void test_encrypts(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	char from[URL_BYTES], url[URL_BYTES];

	make_source(world, world->file.manifest.disks[0].size_bytes, from);
	serve(host, false);
	luks_pool_check_no_trace(host, 1);
	url_of(host, url);
	assert_int_equal(convert(from, url), 0);
	stop(host);
	luks_pool_check_image(world, world->file.manifest.disks[0].format == DISK_QCOW2);
	is_gone(from);
}

/* The file's own bytes, by one who has no key: it is not even given the secret that is there. */
static void test_sealed(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	char from[URL_BYTES], url[URL_BYTES], image[URL_BYTES];
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(32 << 20);
	Error err = ERROR_INIT;

	pool_path(world, image);
	path_in(world, "from", from);
	if (!file_read(image, 32 << 20, &bytes, &err) ||
	    !file_replace(from, bytes.data, bytes.used, 0600, &err))
		fail_msg("%s", err.text);
	assert_int_equal(truncate(image, 0), 0);
	assert_int_equal(truncate(image, (off_t)bytes.used), 0);
	assert_false(is_same(from, image));
	{
		AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
		Call call = { 0 };

		vm.manifest = world->file.manifest;
		vm.manifest.disks_count = 1;
		vm.disks[0] =
			(ResolvedDisk){ .fd = open(image, O_RDWR | O_CLOEXEC), .secret_fd = -1 };
		start_with(host, &vm, true, &call);
		if (!call.ok)
			fail_msg("%s", call.err.text);
	}
	url_of(host, url);
	assert_int_equal(convert(from, url), 0);
	stop(host);
	assert_true(is_same(from, image));
	is_gone(from);
}

static bool has_bytes(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void reads_greeting(int fd)
{
	char magic[8];

	assert_true(has_bytes(fd, 10000));
	assert_int_equal(read(fd, magic, sizeof(magic)), (ssize_t)sizeof(magic));
	assert_memory_equal(magic, "NBDMAGIC", sizeof(magic));
}

/* The short way in: NBD_OPT_EXPORT_NAME, answered by size and flags. */
static void enters(int fd, const char *export_name)
{
	AUTO_BUFFER Buffer out = BUFFER_INIT(128);
	Error err = ERROR_INIT;
	uint8_t in[10];
	char rest[10];

	/* What is left of the greeting: IHAVEOPT, flags. */
	assert_true(has_bytes(fd, 10000));
	assert_int_equal(read(fd, rest, sizeof(rest)), (ssize_t)sizeof(rest));
	assert_true(buffer_put_be32(&out, 3, &err) &&
		    buffer_put_be64(&out, UINT64_C(0x49484156454F5054), &err) &&
		    buffer_put_be32(&out, 1, &err) &&
		    buffer_put_be32(&out, (uint32_t)strlen(export_name), &err) &&
		    buffer_put(&out, export_name, strlen(export_name), &err));
	assert_int_equal(write(fd, out.data, out.used), (ssize_t)out.used);
	assert_true(has_bytes(fd, 10000));
	assert_int_equal(read(fd, in, sizeof(in)), (ssize_t)sizeof(in));
	assert_int_equal(load_be32(in + 4), WORLD_DISK_BYTES);
}

static void test_one_client_at_a_time(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	Call call = { 0 };
	Error err = ERROR_INIT;
	AUTO_FD int first = -1;
	AUTO_FD int second = -1;
	char path[URL_BYTES];
	struct stat status;

	serve(host, false);
	assert_true(vmm_connect(host->vm, STORAGE_DAEMON_SOCKET, &first, &err));
	reads_greeting(first);
	enters(first, "vm1.disk");
	assert_true(vmm_connect(host->vm, STORAGE_DAEMON_SOCKET, &second, &err));
	assert_int_equal(host_run_state(host), VMM_RUN_PRELAUNCH);
	assert_false(has_bytes(second, 0));
	/* Whoever is still there keeps it from ending, and it goes on. */
	close(TAKE_FD(second));
	assert_true(storage_daemon_stop(host->vm, on_done, &call, &err));
	world_wait(world, call_is_over, &call, 15, "the daemon refuses to end");
	assert_true(!call.ok && call.err.category == ERROR_HYPERVISOR);
	if (!strstr(call.err.text, "still in use"))
		fail_msg("%s", call.err.text);
	/* Nobody else reaches it: QEMU's user is that of other VMs. */
	snprintf(path, sizeof(path), "%s/%s", vmm_socket_directory(host->vm),
		 STORAGE_DAEMON_SOCKET);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_uid, geteuid());
	assert_int_equal(status.st_mode & 0777, 0600);
	close(TAKE_FD(first));
	stop(host);
}

/* On a socket of somebody else's, whose first client keeps the next out until it goes: so that a VM which
 * connects before there is an export is not refused. */
static void test_socket_of_a_vm(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	AUTO_FD int listen_fd = -1;
	AUTO_FD int hold_fd = -1;
	AUTO_FD int client = -1;
	Call call = { 0 };
	Error err = ERROR_INIT;
	char path[URL_BYTES];
	StorageDaemonStart start = { .resources = world->resources,
				     .instance = host->name,
				     .vm = &vm,
				     .sealed = true,
				     .export_name = "vm1.disk",
				     .listens = true,
				     .deadline_ms = START_MS };

	world_resolve(world, NULL, &vm);
	path_in(world, "disk.sock", path);
	assert_true(unix_socket_listen(AT_FDCWD, path, 0600, &listen_fd, &err) &&
		    unix_socket_connect(AT_FDCWD, path, &hold_fd, &err) &&
		    unix_socket_connect(AT_FDCWD, path, &client, &err));
	start.listen_fd = listen_fd;
	host->vm = begin(host, &start, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 20, "the daemon serves");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	assert_int_equal(host_run_state(host), VMM_RUN_PRELAUNCH);
	assert_false(has_bytes(client, 0));
	close(TAKE_FD(hold_fd));
	reads_greeting(client);
	enters(client, "vm1.disk");
	/* It has no socket of its own beside that. */
	assert_false(vmm_connect(host->vm, STORAGE_DAEMON_SOCKET, &hold_fd, &err));
	close(TAKE_FD(client));
	stop(host);
	is_gone(path);
}

/* A manager that died finds it again. */
static void test_found_again(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	Call call = { 0 };
	Error err = ERROR_INIT;
	char from[URL_BYTES], url[URL_BYTES], to[URL_BYTES];

	make_source(world, WORLD_DISK_BYTES, from);
	serve(host, false);
	vmm_free(host->vm);
	host->vm = vmm_adopt(&vmm_driver_qemu, world->base, world->resources, host->name,
			     &host_events, host, on_run_state, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, call_is_over, &call, 15, "the daemon is found");
	assert_true(call.ok);
	url_of(host, url);
	assert_int_equal(convert(from, url), 0);
	stop(host);
	pool_path(world, to);
	assert_true(is_same(from, to));
	is_gone(from);
}

static void test_killed(void **state)
{
	World *world = *state;
	Host *host = &world->destination;

	serve(host, false);
	host_kill(host);
	/* Its place is free, and its image too. */
	serve(host, false);
	stop(host);
}

static void test_wrong_secret(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };

	world->passphrases[0] = "BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
	world_resolve(world, NULL, &vm);
	start_with(host, &vm, false, &call);
	assert_true(!call.ok && call.err.category == ERROR_HYPERVISOR);
	if (!strstr(call.err.text, "Invalid password, cannot unlock any keyslot"))
		fail_msg("%s", call.err.text);
	host_kill(host);
}

static void test_refused(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	StorageDaemonStart start = { .resources = world->resources,
				     .instance = host->name,
				     .vm = &vm,
				     .disk = 2,
				     .export_name = "vm1.disk",
				     .deadline_ms = START_MS };

	world_resolve(world, NULL, &vm);
	refuses(host, &start, "disk 2 has no image to serve");
	start.disk = 0;
	start.export_name = "a/b";
	refuses(host, &start, "cannot name an export");
	start.export_name = "vm1.disk";
	start.instance = "../x";
	refuses(host, &start, "cannot name a VM's run directory");
	start.instance = host->name;
	close(vm.disks[0].secret_fd);
	vm.disks[0].secret_fd = -1;
	refuses(host, &start, "there is no secret for it");
}

/* The client is told, nothing hangs, and the daemon ends as ever. */
static void test_full(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	char from[URL_BYTES], url[URL_BYTES], small[URL_BYTES], image[URL_BYTES];
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	AUTO_FREE uint8_t *noise = malloc(WORLD_DISK_BYTES);
	Call call = { 0 };
	Error err = ERROR_INIT;

	path_in(world, "small", small);
	path_in(world, "from", from);
	snprintf(image, sizeof(image), "%.300s/image", small);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=2m")) {
		print_message("skipped: no file system of its own (%s)\n", strerror(errno));
		assert_int_equal(rmdir(small), 0);
		skip();
	}
	memset(noise, 0x5a, WORLD_DISK_BYTES);
	assert_true(file_replace(from, noise, WORLD_DISK_BYTES, 0600, &err));
	vm.manifest = world->file.manifest;
	vm.manifest.disks_count = 1;
	vm.disks[0] = (ResolvedDisk){ .fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600),
				      .secret_fd = -1 };
	assert_int_equal(ftruncate(vm.disks[0].fd, WORLD_DISK_BYTES), 0);
	start_with(host, &vm, false, &call);
	assert_true(call.ok);
	url_of(host, url);
	assert_int_not_equal(convert(from, url), 0);
	stop(host);
	resolved_vm_close(&vm);
	assert_int_equal(umount(small), 0);
	assert_int_equal(rmdir(small), 0);
	is_gone(from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_encrypts, setup_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_encrypts, setup_qcow2_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_one_client_at_a_time, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_socket_of_a_vm, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_found_again, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_killed, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_full, world_setup, world_teardown),
		/* Last: what it leaves in the pool is of no use. */
		cmocka_unit_test_setup_teardown(test_sealed, setup_luks, world_teardown),
	};

	if (world_is_impossible())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	/* Mounts of ours are nobody else's. */
	if (!unshare(CLONE_NEWNS))
		(void)!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
