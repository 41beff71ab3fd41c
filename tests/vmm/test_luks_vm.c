/* SPDX-License-Identifier: Apache-2.0 */
/* VMs on encrypted images, with real QEMUs: what opens them, what is left of the secret, and how
 * long the guest stands still when it moves. */
#include "vm_fixture.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/image_create.h"
#include "vmm/qemu_vm.h"

enum {
	DISK_BYTES = 8 << 20,
	IMAGE_MAX_BYTES = 32 << 20,
	/* Of images made with the default of QEMU it is above 2 s; without encryption 0.1 s. */
	STILL_MAX_US = 1500000,
};

static const char *const passphrases[] = { "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=",
					   "zYxWvUtSrQpOnMlKjIhGfEdCbA9876543210+/zYxWv=" };
static const char pattern[] = "sealift-luks-test-pattern";

/* Made once, since it takes seconds; each test begins with what the one before left. */
static char pool[] = "/tmp/sealift-luks-test.XXXXXX";

typedef struct Image {
	const char *volume;
	DiskFormat format;
} Image;
static const Image images[] = { { "vm1.luks", DISK_RAW }, { "vm1.img", DISK_QCOW2 } };

static void on_created(void *context, const Error *err)
{
	if (err)
		fail_msg("%s", err->text);
	*(bool *)context = true;
}

static void make_image(struct event_base *base, const Resources *resources, size_t i)
{
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *passphrase = secret_new_from(passphrases[i], DISK_SECRET_BYTES, &err);
	ImageRequest request = { .resources = resources,
				 .pool = "shared",
				 .volume = images[i].volume,
				 .format = images[i].format,
				 .encryption = DISK_LUKS,
				 .size_bytes = DISK_BYTES,
				 .sparse = true,
				 .deadline_ms = 60000 };
	ImageCreate *create;
	bool created = false;

	assert_true(passphrase && disk_secret_make(passphrase, &secret, &err));
	request.secret_fd = secret.fd;
	create = image_create_new(base, &request, on_created, &created, &err);
	if (!create)
		fail_msg("%s", err.text);
	while (!created)
		event_base_loop(base, EVLOOP_ONCE);
	image_create_free(create);
}

static int make_images(void **state)
{
	struct event_base *base = event_base_new();
	Resources *resources = calloc(1, sizeof(*resources));

	(void)state;
	assert_non_null(mkdtemp(pool));
	resources->pools_count = 1;
	snprintf(resources->pools[0].name, LIMIT_NAME, "shared");
	snprintf(resources->pools[0].directory, LIMIT_PATH, "%s", pool);
	resources->pools[0].access.local = true;
	for (size_t i = 0; i < ARRAY_SIZE(images); i++)
		make_image(base, resources, i);
	event_base_free(base);
	free(resources);
	return 0;
}

static int remove_images(void **state)
{
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		snprintf(path, sizeof(path), "%s/%s", pool, images[i].volume);
		unlink(path);
	}
	return rmdir(pool);
}

/* A world whose VM has images[first] as its first disk, which the guest writes, and the other as
 * its second. */
static int setup_first(void **state, size_t first)
{
	Manifest *m;
	World *world;
	Error err = ERROR_INIT;

	assert_int_equal(world_setup(state), 0);
	world = *state;
	m = &world->file.manifest;
	snprintf(world->resources->pools[0].directory, LIMIT_PATH, "%s", pool);
	for (size_t i = 0; i < 2; i++) {
		size_t k = i ^ first;

		snprintf(m->disks[i].volume, LIMIT_NAME, "%s", images[k].volume);
		m->disks[i].format = images[k].format;
		m->disks[i].encryption = DISK_LUKS;
		m->disks[i].key[0] = (uint8_t)(k + 1);
		world->passphrases[i] = passphrases[k];
	}
	snprintf(m->append + strlen(m->append), 128, " walker.pattern=%s", pattern);
	if (!resources_complete(world->resources, m, &err))
		fail_msg("%s", err.text);
	assert_int_equal(m->disks[0].size_bytes, DISK_BYTES);
	assert_int_equal(m->disks[1].size_bytes, DISK_BYTES);
	return 0;
}

static int setup_raw(void **state)
{
	return setup_first(state, 0);
}

static int setup_qcow2(void **state)
{
	return setup_first(state, 1);
}

/* --- where the secret is not -------------------------------------------------------------------
 */

static bool holds(const void *data, size_t size, const char *text)
{
	return size && memmem(data, size, text, strlen(text));
}

static void read_proc(pid_t pid, const char *name, Buffer *bytes)
{
	char path[64];
	Error err = ERROR_INIT;
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !file_read_fd(fd, 1 << 20, bytes, &err))
		fail_msg("%s: %s", path, err.text);
	assert_true(bytes->used > 0);
}

static void check_text_of_process(pid_t pid)
{
	static const char *const names[] = { "cmdline", "environ" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);

		read_proc(pid, names[i], &bytes);
		for (size_t k = 0; k < ARRAY_SIZE(passphrases); k++)
			assert_false(holds(bytes.data, bytes.used, passphrases[k]));
	}
}

/* What QEMU still holds of the secrets' memory; returns how many there are. */
static unsigned int check_descriptors(pid_t pid)
{
	static const char zeros[DISK_SECRET_BYTES];
	unsigned int found = 0;
	const struct dirent *entry;
	char path[300], target[300];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		char text[DISK_SECRET_BYTES + 1];
		AUTO_FD int fd = -1;
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, entry->d_name);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0 || !holds(target, (size_t)length, "sealift-disk-secret"))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(fd, text, sizeof(text), 0), DISK_SECRET_BYTES);
		assert_memory_equal(text, zeros, sizeof(zeros));
		found++;
	}
	closedir(directory);
	return found;
}

typedef struct Answer {
	bool called;
	char *text; /* NULL: an error */
} Answer;

static void on_answer(void *context, json_t *ret, const Error *err)
{
	Answer *answer = context;

	answer->called = true;
	answer->text = err ? NULL : json_dumps(ret, JSON_ENCODE_ANY);
}

static bool is_answered(const void *context)
{
	return ((const Answer *)context)->called;
}

static char *ask(Host *host, const char *command, json_t *arguments)
{
	Answer answer = { .called = false };
	Error err = ERROR_INIT;

	assert_true(qmp_execute(qemu_vm_of(host->vm)->qmp, command, arguments, 10000, on_answer,
				&answer, &err));
	world_wait(host->world, is_answered, &answer, 10, command);
	return answer.text;
}

/* Every property of the object, and what QEMU tells of its disks. */
static void check_qmp(Host *host)
{
	static const char *const commands[] = { "query-block", "query-named-block-nodes",
						"query-command-line-options" };
	AUTO_FREE char *list =
		ask(host, "qom-list", json_pack("{s:s}", "path", "/objects/disk0-secret"));
	json_t *properties = json_loads(list, 0, NULL);
	unsigned int asked = 0;
	const json_t *property;
	size_t i;

	json_array_foreach(properties, i, property)
	{
		const char *name = json_string_value(json_object_get(property, "name"));
		AUTO_FREE char *value = ask(
			host, "qom-get",
			json_pack("{s:s, s:s}", "path", "/objects/disk0-secret", "property", name));

		asked += !strcmp(name, "data");
		for (size_t k = 0; value && k < ARRAY_SIZE(passphrases); k++)
			assert_null(strstr(value, passphrases[k]));
	}
	json_decref(properties);
	assert_int_equal(asked, 1);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		AUTO_FREE char *value = ask(host, commands[i], json_object());

		assert_non_null(value);
		for (size_t k = 0; k < ARRAY_SIZE(passphrases); k++)
			assert_null(strstr(value, passphrases[k]));
	}
}

static void check_no_trace(Host *host)
{
	check_text_of_process(vmm_pid(host->vm));
	assert_int_equal(check_descriptors(vmm_pid(host->vm)), 2);
	check_qmp(host);
}

/* --- what is in the image ----------------------------------------------------------------------
 */

static bool file_holds(const char *path, const char *text)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(IMAGE_MAX_BYTES);
	Error err = ERROR_INIT;

	if (!file_read(path, IMAGE_MAX_BYTES, &bytes, &err))
		fail_msg("%s", err.text);
	return holds(bytes.data, bytes.used, text);
}

/* Decrypted by qemu-img alone, which knows nothing of us but the passphrase. */
static void decrypt(size_t i, const char *path, const char *plain)
{
	char program[] = IMAGE_CREATE_PROGRAM, convert[] = "convert", object[] = "--object",
	     option[] = "--image-opts", to[] = "-O", raw[] = "raw", secret[128], image[300],
	     out[128];
	char *argv[] = { program, convert, object, secret, option, image, to, raw, out, NULL };
	int status = -1;
	pid_t pid;

	snprintf(secret, sizeof(secret), "secret,id=s,data=%s", passphrases[i]);
	snprintf(out, sizeof(out), "%s", plain);
	snprintf(image, sizeof(image), "driver=%s,%skey-secret=s,file.driver=file,file.filename=%s",
		 images[i].format == DISK_QCOW2 ? "qcow2" : "luks",
		 images[i].format == DISK_QCOW2 ? "encrypt.format=luks,encrypt." : "", path);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void check_image(const World *world, size_t i)
{
	char path[128], plain[128];

	snprintf(path, sizeof(path), "%s/%s", pool, images[i].volume);
	snprintf(plain, sizeof(plain), "%s/plain", world->directory);
	assert_false(file_holds(path, pattern));
	decrypt(i, path, plain);
	assert_true(file_holds(plain, pattern));
	assert_int_equal(unlink(plain), 0);
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void test_stop_and_start(void **state)
{
	World *world = *state;

	host_start(&world->source);
	host_check_guest(&world->source, 3, 60);
	assert_true(world->source.walker_disk > 0);
	check_no_trace(&world->source);
	host_end(&world->source);
	check_image(world, 0);
	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_end(&world->source);
}

/* The gap that the guest feels: QEMU derives the key anew when it activates a qcow2 image. */
static void test_migrates(void **state)
{
	World *world = *state;
	Call continued = { 0 };
	Error err = ERROR_INIT;
	int64_t still_us;

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	check_no_trace(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	still_us = world->destination.resume_at.monotonic_us - world->source.stop_at.monotonic_us;
	printf("the guest stood still for %lld us\n", (long long)still_us);
	assert_true(still_us > 0 && still_us < STILL_MAX_US);
	assert_true(world->destination.walker_disk > 0);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
	check_image(world, world->file.manifest.disks[0].format == DISK_QCOW2 ? 1 : 0);
}

/* Undone at the last instant, the source still opens its images. */
static void test_undone_at_switchover(void **state)
{
	World *world = *state;
	Call cancelled = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

/* A completed migration that the destination did not take up: the source goes on. */
static void test_undone_after_completion(void **state)
{
	World *world = *state;
	Call continued = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_kill(&world->destination);
	world_drop_relays(world);
	host_cont(&world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

static void start_fails(World *world, ResolvedVm *vm, const char *text)
{
	Host *host = &world->source;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = vm, .deadline_ms = 20000
	};

	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, host_has_exited, host, 20, "QEMU refuses");
	assert_true(call.called && !call.ok && !host->resumed);
	assert_int_equal(call.err.category, ERROR_HYPERVISOR);
	if (!strstr(call.err.text, text))
		fail_msg("%s", call.err.text);
	host_kill(host);
}

static void start_is_refused(World *world, ResolvedVm *vm, const char *text)
{
	Host *host = &world->source;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = vm, .deadline_ms = 20000
	};

	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_false(call.called);
}

static void test_wrong_secret(void **state)
{
	World *world = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;

	world->passphrases[0] = "BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
	world_resolve(world, NULL, &vm);
	start_fails(world, &vm, "Invalid password, cannot unlock any keyslot");
	/* The right one still opens it. */
	world->passphrases[0] = passphrases[world->file.manifest.disks[0].format == DISK_QCOW2];
	host_start(&world->source);
	host_end(&world->source);
}

static void replace_secret(ResolvedVm *vm, int fd)
{
	if (vm->disks[1].secret_fd >= 0)
		close(vm->disks[1].secret_fd);
	vm->disks[1].secret_fd = fd;
}

static int empty_memory(void)
{
	int fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE),
			 0);
	return fd;
}

static void test_missing_secrets(void **state)
{
	World *world = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;

	world_resolve(world, NULL, &vm);
	replace_secret(&vm, -1);
	start_is_refused(world, &vm, "disk 1 is encrypted, and there is no secret for it");
	replace_secret(&vm, empty_memory());
	start_is_refused(world, &vm, "disk 1: the secret has 0 bytes, not 44");
	replace_secret(&vm, open("/dev/null", O_RDONLY | O_CLOEXEC));
	start_is_refused(world, &vm, "disk 1: the secret is not in sealed memory");
	/* Wiped too early. */
	replace_secret(&vm, fcntl(vm.disks[0].secret_fd, F_DUPFD_CLOEXEC, 3));
	world_wipe_secrets(world);
	start_is_refused(world, &vm, "disk 0: the secret is no base64 text");
	resolved_vm_close(&vm);
	/* QEMU may not open it. */
	world_resolve(world, NULL, &vm);
	assert_int_equal(fchmod(vm.disks[1].secret_fd, 0), 0);
	start_fails(world, &vm, "Permission denied");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stop_and_start, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_migrates, setup_qcow2, world_teardown),
		cmocka_unit_test_setup_teardown(test_migrates, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_undone_at_switchover, setup_qcow2,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_undone_after_completion, setup_qcow2,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_qcow2, world_teardown),
		cmocka_unit_test_setup_teardown(test_missing_secrets, setup_raw, world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_images, remove_images);
}
