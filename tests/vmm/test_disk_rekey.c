/* SPDX-License-Identifier: Apache-2.0 */
/* A disk goes over to a new image while its VM runs: with a real QEMU, and a guest that writes,
 * reads and checks. */
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "luks_pool.h"
#include "vmm/disk_rekey.h"
#include "vmm/image_create.h"
#include "vmm/qemu_vm.h"

enum { DEADLINE_MS = 60000, NEW_IMAGES = 3 };

static const char *const passphrases[NEW_IMAGES] = {
	"Rekey1AbCdEfGhIjKlMnOpQrStUvWxYz01234567890=",
	"Rekey2AbCdEfGhIjKlMnOpQrStUvWxYz01234567890=",
	"Rekey3AbCdEfGhIjKlMnOpQrStUvWxYz01234567890=",
};

/* --- new images --- */

static void path_of(const World *world, int version, char ret_path[LIMIT_PATH])
{
	const char *volume = world->file.manifest.disks[0].volume;

	if (version)
		snprintf(ret_path, LIMIT_PATH, "%s/%s.v%d", luks_pool_directory(), volume, version);
	else
		snprintf(ret_path, LIMIT_PATH, "%s/%s", luks_pool_directory(), volume);
}

static void on_created(void *context, const Error *err)
{
	if (err)
		fail_msg("%s", err->text);
	*(bool *)context = true;
}

static bool is_true(const void *context)
{
	return *(const bool *)context;
}

static void make_secret(const char *text, DiskSecret *ret_secret)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *passphrase = secret_new_from(text, DISK_SECRET_BYTES, &err);

	if (!passphrase || !disk_secret_make(passphrase, ret_secret, &err))
		fail_msg("%s", err.text);
}

static void make_image(World *world, int version)
{
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	const ManifestDisk *disk = &world->file.manifest.disks[0];
	char volume[LIMIT_NAME];
	ImageRequest request = { .resources = world->resources,
				 .pool = "shared",
				 .volume = volume,
				 .format = disk->format,
				 .encryption = DISK_LUKS,
				 .size_bytes = disk->size_bytes,
				 .sparse = true,
				 .deadline_ms = DEADLINE_MS };
	ImageCreate *create;
	bool created = false;
	Error err = ERROR_INIT;

	snprintf(volume, sizeof(volume), "%.40s.v%d", disk->volume, version);
	make_secret(passphrases[version - 1], &secret);
	request.secret_fd = secret.fd;
	create = image_create_new(world->base, &request, on_created, &created, &err);
	if (!create)
		fail_msg("%s", err.text);
	world_wait(world, is_true, &created, 60, "the new image");
	image_create_free(create);
}

static int teardown(void **state)
{
	const World *world = *state;
	char path[LIMIT_PATH];

	for (int version = 1; version <= NEW_IMAGES; version++) {
		path_of(world, version, path);
		unlink(path);
	}
	return world_teardown(state);
}

static int setup_raw(void **state)
{
	return luks_pool_setup_world(state, 0);
}

static int setup_qcow2(void **state)
{
	return luks_pool_setup_world(state, 1);
}

/* --- the operations --- */

typedef struct Looked {
	bool called;
	DiskRekeyState state;
	Error err;
} Looked;

static void on_looked(void *context, const DiskRekeyState *state, const Error *err)
{
	Looked *looked = context;

	looked->called = true;
	if (state)
		looked->state = *state;
	if (err)
		looked->err = *err;
}

static bool has_looked(const void *context)
{
	return ((const Looked *)context)->called;
}

static DiskRekeyStep step_of(Host *host, int version)
{
	Looked looked = { .called = false };
	Error err = ERROR_INIT;

	if (!disk_rekey_query(host->vm, 0, (uint64_t)version, on_looked, &looked, &err))
		fail_msg("%s", err.text);
	world_wait(host->world, has_looked, &looked, 20, "how far it is");
	if (looked.err.category)
		fail_msg("%s", looked.err.text);
	return looked.state.step;
}

static DiskRekey about(const World *world, int version)
{
	return (DiskRekey){ .disk = 0,
			    .version = (uint64_t)version,
			    .image = &world->file.manifest.disks[0],
			    .fd = -1,
			    .secret_fd = -1,
			    .deadline_ms = DEADLINE_MS };
}

typedef bool Order(VmmVm *vm, const DiskRekey *rekey, VmmDone *done, void *context, Error *err);

static Call order(Host *host, Order *function, int version)
{
	const DiskRekey rekey = about(host->world, version);
	Call call = { 0 };
	Error err = ERROR_INIT;

	if (!function(host->vm, &rekey, on_done, &call, &err))
		fail_msg("%s", err.text);
	world_wait(host->world, call_is_over, &call, 60, "the order");
	return call;
}

static void must(Host *host, Order *function, int version)
{
	Call call = order(host, function, version);

	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void begin(Host *host, int version, const char *passphrase, DiskSecret *secret, Call *call)
{
	DiskRekey rekey = about(host->world, version);
	char path[LIMIT_PATH];
	Error err = ERROR_INIT;
	AUTO_FD int fd = -1;

	path_of(host->world, version, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	make_secret(passphrase, secret);
	rekey.fd = fd;
	rekey.secret_fd = secret->fd;
	if (!disk_rekey_start(host->vm, &rekey, on_done, call, &err))
		fail_msg("%s", err.text);
}

static void start(Host *host, int version)
{
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	Call call = { 0 };

	make_image(host->world, version);
	begin(host, version, passphrases[version - 1], &secret, &call);
	world_wait(host->world, call_is_over, &call, 60, "both images are the same");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void rekey(Host *host, int version)
{
	start(host, version);
	assert_int_equal(step_of(host, version), DISK_REKEY_READY);
	must(host, disk_rekey_hold, version);
	assert_int_equal(step_of(host, version), DISK_REKEY_HOLDS);
	must(host, disk_rekey_switch, version);
	assert_int_equal(step_of(host, version), DISK_REKEY_MOVED);
}

/* --- what is looked at --- */

/* By qemu-img alone: whether the passphrase opens the image, and whether it is whole. */
static bool opens(const World *world, int version, const char *passphrase)
{
	bool qcow2 = world->file.manifest.disks[0].format == DISK_QCOW2;
	char program[] = IMAGE_CREATE_PROGRAM, info[] = "compare", object[] = "--object",
	     options[] = "--image-opts", secret[128], image[LIMIT_PATH + 200], path[LIMIT_PATH];
	char *argv[] = { program, info, object, secret, options, image, image, NULL };
	posix_spawn_file_actions_t quiet;
	int status = -1;
	pid_t pid;

	path_of(world, version, path);
	snprintf(secret, sizeof(secret), "secret,id=s,data=%s", passphrase);
	snprintf(image, sizeof(image),
		 "driver=%s,%skey-secret=s,file.driver=file,file.locking=off,"
		 "file.filename=%s",
		 qcow2 ? "qcow2" : "luks", qcow2 ? "encrypt.format=luks,encrypt." : "", path);
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawn(&pid, argv[0], &quiet, NULL, argv, NULL), 0);
	posix_spawn_file_actions_destroy(&quiet);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* Of the first disk's image, so that what is no volume any more takes no space. */
static bool holds_file(const Host *host, int version)
{
	struct stat wanted, status;
	char path[LIMIT_PATH];

	path_of(host->world, version, path);
	assert_int_equal(stat(path, &wanted), 0);
	for (int fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", vmm_pid(host->vm), fd);
		if (!stat(path, &status) && status.st_dev == wanted.st_dev &&
		    status.st_ino == wanted.st_ino)
			return true;
	}
	return false;
}

static void guest_goes_on(Host *host)
{
	unsigned long long before = host->walker_disk;

	host_check_guest(host, 3, 60);
	assert_true(host->walker_disk > before);
}

/* The new image becomes the volume, the old one is put back later. */
static void swap(const World *world, int version)
{
	char volume[LIMIT_PATH], other[LIMIT_PATH];

	path_of(world, 0, volume);
	path_of(world, version, other);
	assert_int_equal(renameat2(AT_FDCWD, volume, AT_FDCWD, other, RENAME_EXCHANGE), 0);
}

/* --- tests --- */

static void test_rekey(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	const char *old = world->passphrases[0];

	host_start(host);
	guest_goes_on(host);
	assert_int_equal(step_of(host, 1), DISK_REKEY_NONE);
	rekey(host, 1);
	guest_goes_on(host);
	assert_false(holds_file(host, 0));
	assert_true(holds_file(host, 1));
	host_end(host);
	assert_true(opens(world, 1, passphrases[0]));
	assert_false(opens(world, 1, old));
	/* What the guest wrote is there when it starts with the new one. */
	swap(world, 1);
	world->passphrases[0] = passphrases[0];
	host_start(host);
	guest_goes_on(host);
	host_end(host);
	swap(world, 1);
}

static void test_again(void **state)
{
	World *world = *state;
	Host *host = &world->source;

	host_start(host);
	for (int version = 1; version <= NEW_IMAGES; version++) {
		rekey(host, version);
		guest_goes_on(host);
		assert_false(holds_file(host, version - 1));
	}
	/* What was done is done. */
	must(host, disk_rekey_switch, NEW_IMAGES);
	guest_goes_on(host);
	host_end(host);
}

/* In each state: the guest goes on with the old image, and nothing of the new one is left. */
static void test_abort(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	Call call = { 0 };

	host_start(host);
	must(host, disk_rekey_abort, 1);
	start(host, 1);
	must(host, disk_rekey_abort, 1);
	assert_int_equal(step_of(host, 1), DISK_REKEY_NONE);
	assert_false(holds_file(host, 1));
	guest_goes_on(host);
	/* Under way. */
	make_image(world, 2);
	begin(host, 2, passphrases[1], &secret, &call);
	must(host, disk_rekey_abort, 2);
	world_wait(world, call_is_over, &call, 20, "the start hears of it");
	assert_false(call.ok);
	assert_int_equal(step_of(host, 2), DISK_REKEY_NONE);
	/* While the guest's disk stands still; the same names serve again. */
	start(host, 3);
	must(host, disk_rekey_hold, 3);
	must(host, disk_rekey_abort, 3);
	guest_goes_on(host);
	assert_true(holds_file(host, 0));
	assert_false(holds_file(host, 3));
	host_end(host);
}

static void test_abort_comes_too_late(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	Call call;

	host_start(host);
	rekey(host, 1);
	call = order(host, disk_rekey_abort, 1);
	assert_true(!call.ok && call.err.category == ERROR_CONFLICT);
	guest_goes_on(host);
	host_end(host);
}

static void adopt(Host *host)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	vmm_free(TAKE_PTR(host->vm));
	host->vm = vmm_adopt(&vmm_driver_qemu, host->world->base, host->world->resources,
			     host->name, &host_events, host, on_run_state, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(host->world, call_is_over, &call, 30, "the VM is adopted");
	assert_true(call.ok);
	assert_int_equal(call.state, VMM_RUN_RUNNING);
}

/* A manager dies at each step; the next one asks, and goes on or back. */
static void test_adopted(void **state)
{
	World *world = *state;
	Host *host = &world->source;

	host_start(host);
	start(host, 1);
	adopt(host);
	assert_int_equal(step_of(host, 1), DISK_REKEY_READY);
	must(host, disk_rekey_abort, 1);
	start(host, 2);
	must(host, disk_rekey_hold, 2);
	adopt(host);
	assert_int_equal(step_of(host, 2), DISK_REKEY_HOLDS);
	must(host, disk_rekey_hold, 2);
	must(host, disk_rekey_switch, 2);
	adopt(host);
	assert_int_equal(step_of(host, 2), DISK_REKEY_MOVED);
	must(host, disk_rekey_switch, 2);
	guest_goes_on(host);
	host_end(host);
}

static void test_wrong_secret(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	Call call = { 0 };

	host_start(host);
	make_image(world, 1);
	begin(host, 1, passphrases[1], &secret, &call);
	world_wait(world, call_is_over, &call, 30, "QEMU refuses");
	assert_true(!call.ok && call.err.category == ERROR_HYPERVISOR);
	if (!strstr(call.err.text, "disk 0: ") || !strstr(call.err.text, "nvalid password"))
		fail_msg("%s", call.err.text);
	assert_int_equal(step_of(host, 1), DISK_REKEY_FAILED);
	must(host, disk_rekey_abort, 1);
	assert_int_equal(step_of(host, 1), DISK_REKEY_NONE);
	guest_goes_on(host);
	host_end(host);
}

static void refused(Host *host, const DiskRekey *rekey)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_false(disk_rekey_start(host->vm, rekey, on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_false(call.called);
}

static void test_numbers(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	DiskRekey rekey;
	ManifestDisk read_only;

	host_start(host);
	rekey = about(world, 1);
	refused(host, &rekey);
	rekey.fd = rekey.secret_fd = 0;
	rekey.version = 0;
	refused(host, &rekey);
	rekey.version = DISK_REKEY_VERSION_MAX + 1;
	refused(host, &rekey);
	rekey.version = 1;
	rekey.disk = LIMIT_DISKS;
	refused(host, &rekey);
	rekey.disk = 0;
	read_only = *rekey.image;
	read_only.read_only = true;
	rekey.image = &read_only;
	refused(host, &rekey);
	host_end(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rekey, setup_raw, teardown),
		cmocka_unit_test_setup_teardown(test_rekey, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_again, setup_raw, teardown),
		cmocka_unit_test_setup_teardown(test_again, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_abort, setup_raw, teardown),
		cmocka_unit_test_setup_teardown(test_abort_comes_too_late, setup_raw, teardown),
		cmocka_unit_test_setup_teardown(test_adopted, setup_qcow2, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_raw, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup_raw, teardown),
	};

	if (world_is_impossible())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
