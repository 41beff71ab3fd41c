/* SPDX-License-Identifier: Apache-2.0 */
/* VMs with a TPM, with real QEMUs and swtpms and a guest that uses it: start and end, adoption, a
 * migration whose keys come last. */
#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "vm_fixture.h"
#include "vmm/qemu_vm.h"
#include "vmm/vtpm.h"

enum { START_MS = 30000, SWTPM_MISSING = 77, KEYS = 2 };

static const char source_file_key[] = "c291cmNlLWZpbGUta2V5LXNvdXJjZS1maWxlLWtleTA=";
static const char target_file_key[] = "dGFyZ2V0LWZpbGUta2V5LXRhcmdldC1maWxlLWtleTA=";
static const char travel_key[] = "bWlncmF0aW9uLWtleS1taWdyYXRpb24ta2V5LW1pZzA=";
static const char wrong_key[] = "d3Jvbmcta2V5LXdyb25nLWtleS13cm9uZy1rZXktMDA=";

/* The two hosts have a state directory each. */
typedef struct Sides {
	World *world;
	Resources destination;
	DiskSecret keys[KEYS];
} Sides;

static int setup(void **state)
{
	Sides *sides = calloc(1, sizeof(*sides));
	void *world = NULL;

	assert_int_equal(world_setup(&world), 0);
	sides->world = world;
	sides->world->file.manifest.tpm = true;
	snprintf(sides->world->resources->tpm_directory, LIMIT_PATH, "%s/tpm-source",
		 sides->world->directory);
	sides->destination = *sides->world->resources;
	snprintf(sides->destination.tpm_directory, LIMIT_PATH, "%s/tpm-destination",
		 sides->world->directory);
	for (size_t i = 0; i < KEYS; i++)
		sides->keys[i] = DISK_SECRET_INIT;
	*state = sides;
	return 0;
}

static void wipe_keys(Sides *sides)
{
	for (size_t i = 0; i < KEYS; i++)
		disk_secret_wipe(&sides->keys[i]);
}

static int teardown(void **state)
{
	Sides *sides = *state;
	const char *uuid = sides->world->file.manifest.uuid;
	void *world = sides->world;
	Error err = ERROR_INIT;

	host_kill(&sides->world->source);
	host_kill(&sides->world->destination);
	wipe_keys(sides);
	assert_true(vtpm_destroy_state(sides->world->resources, uuid, &err));
	assert_true(vtpm_destroy_state(&sides->destination, uuid, &err));
	rmdir(sides->world->resources->tpm_directory);
	rmdir(sides->destination.tpm_directory);
	free(sides);
	return world_teardown(&world);
}

static int give(Sides *sides, size_t i, const char *text)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *passphrase = secret_new_from(text, strlen(text), &err);

	disk_secret_wipe(&sides->keys[i]);
	if (!passphrase || !disk_secret_make(passphrase, &sides->keys[i], &err))
		fail_msg("%s", err.text);
	return fcntl(sides->keys[i].fd, F_DUPFD_CLOEXEC, 3);
}

static void give_keys(Sides *sides, ResolvedVm *vm, const char *file, const char *migration)
{
	vm->tpm.file_key_fd = give(sides, 0, file);
	vm->tpm.migration_key_fd = give(sides, 1, migration);
	assert_true(vm->tpm.file_key_fd >= 0 && vm->tpm.migration_key_fd >= 0);
}

static Call begin(Sides *sides, Host *host, ResolvedVm *vm)
{
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = sides->world->resources,
			   .instance = host->name,
			   .vm = vm,
			   .deadline_ms = START_MS };

	host->vm = vmm_start(&vmm_driver_qemu, sides->world->base, &start, &host_events, host,
			     on_done, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(sides->world, call_is_over, &call, 30, "the VM runs");
	return call;
}

static void start(Sides *sides)
{
	Host *host = &sides->world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call;

	world_resolve(sides->world, NULL, &vm);
	give_keys(sides, &vm, source_file_key, travel_key);
	call = begin(sides, host, &vm);
	wipe_keys(sides);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_listen_to_guest(host);
}

static bool uses_tpm(const void *host)
{
	return ((const Host *)host)->tpm_lines >= 2 || ((const Host *)host)->exited;
}

static void check_tpm(Host *host)
{
	host->tpm_lines = 0;
	world_wait(host->world, uses_tpm, host, 90, "the guest uses its TPM");
	assert_false(host->exited);
	assert_int_equal(host->tpm_errors, 0);
}

static int watch_swtpm(const Host *host)
{
	return fcntl(((QemuVm *)host->vm)->tpm.pid_fd, F_DUPFD_CLOEXEC, 3);
}

static void check_gone(int pid_fd)
{
	struct pollfd gone = { .fd = pid_fd, .events = POLLIN };

	assert_int_equal(poll(&gone, 1, 10000), 1);
	close(pid_fd);
}

static bool has_state(const Resources *resources, const Manifest *manifest)
{
	Error err = ERROR_INIT;
	bool has = false;

	assert_true(vtpm_has_state(resources, manifest->uuid, &has, &err));
	return has;
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* What was stored is there again, and nothing of it can be read without its key. */
static void test_start_and_stop(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	const Manifest *manifest = &sides->world->file.manifest;
	int pid_fd;

	assert_false(has_state(sides->world->resources, manifest));
	start(sides);
	check_tpm(host);
	assert_false(host->tpm_kept);
	pid_fd = watch_swtpm(host);
	host_end(host);
	check_gone(pid_fd);
	assert_true(has_state(sides->world->resources, manifest));
	start(sides);
	check_tpm(host);
	assert_true(host->tpm_kept);
	host_end(host);
}

static void test_another_file_key(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call;

	start(sides);
	check_tpm(host);
	host_end(host);
	world_resolve(sides->world, NULL, &vm);
	give_keys(sides, &vm, wrong_key, travel_key);
	call = begin(sides, host, &vm);
	assert_false(call.ok);
	assert_false(host->resumed);
	printf("%s\n", call.err.text);
	host_kill(host);
}

/* Killed outright, QEMU takes its swtpm along. */
static void test_killed(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	int pid_fd;

	start(sides);
	pid_fd = watch_swtpm(host);
	host_kill(host);
	check_gone(pid_fd);
}

static void test_refusals(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = sides->world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	world_resolve(sides->world, NULL, &vm);
	assert_null(vmm_start(&vmm_driver_qemu, sides->world->base, &start, &host_events, host,
			      on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_non_null(strstr(err.text, "no file key"));
	give_keys(sides, &vm, source_file_key, travel_key);
	vm.tpm.late = true;
	assert_null(vmm_start(&vmm_driver_qemu, sides->world->base, &start, &host_events, host,
			      on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	vm.tpm.late = false;
	snprintf(sides->world->resources->swtpm_path, LIMIT_PATH, "/nowhere/swtpm");
	assert_null(vmm_start(&vmm_driver_qemu, sides->world->base, &start, &host_events, host,
			      on_done, &call, &err));
	assert_false(call.called);
}

static bool has_no_tpm(const void *host)
{
	return !vmm_has_tpm(((const Host *)host)->vm);
}

/* The guest runs on, and whoever asks is told. */
static void test_dies(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;

	start(sides);
	assert_true(vmm_has_tpm(host->vm));
	assert_int_equal(kill(((QemuVm *)host->vm)->tpm.pid, SIGKILL), 0);
	world_wait(sides->world, has_no_tpm, host, 30, "its end is seen");
	assert_false(host->exited);
	host_end(host);
}

static void let_go(Host *host)
{
	event_free(host->serial_event);
	host->serial_event = NULL;
	close(host->serial_fd);
	host->serial_fd = -1;
	vmm_free(host->vm);
	host->vm = NULL;
}

/* One that did not see its QEMU end, while there was no engine, ends when the engine looks. */
static void test_left(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	struct pollfd swtpm = { .events = POLLIN };
	Error err = ERROR_INIT;
	pid_t qemu;

	start(sides);
	qemu = vmm_pid(host->vm);
	swtpm.fd = watch_swtpm(host);
	assert_int_equal(kill(((QemuVm *)host->vm)->tpm.pid, SIGSTOP), 0);
	let_go(host);
	assert_int_equal(kill(qemu, SIGKILL), 0);
	assert_int_equal(waitpid(qemu, NULL, 0), qemu);
	assert_int_equal(poll(&swtpm, 1, 0), 0);
	assert_null(vmm_adopt(&vmm_driver_qemu, sides->world->base, sides->world->resources,
			      host->name, &host_events, host, on_run_state, &(Call){ 0 }, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	check_gone(swtpm.fd);
}

static void make_file(int directory_fd, const char *name)
{
	AUTO_FD int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "state", 5), 5);
}

/* What else somebody laid there keeps nobody waiting. */
static void test_synced(void **state)
{
	Sides *sides = *state;
	const Resources *resources = sides->world->resources;
	const char *uuid = sides->world->file.manifest.uuid;
	Resources none = *resources;
	AUTO_FD int fd = -1;
	Error err = ERROR_INIT;
	char path[VTPM_PATH_SIZE];

	assert_true(vtpm_sync_state(resources, uuid, &err));
	assert_true(vtpm_open_state(resources, uuid, &fd, &err));
	make_file(fd, "tpm2-00.permall");
	assert_int_equal(mkfifoat(fd, "tpm2-00.savestate", 0600), 0);
	assert_int_equal(symlinkat("/nowhere/file", fd, "tpm2-00.volatilestate"), 0);
	assert_true(vtpm_sync_state(resources, uuid, &err));
	assert_true(has_state(resources, &sides->world->file.manifest));
	assert_true(vtpm_destroy_state(resources, uuid, &err));
	/* Something else in the place of its directory. */
	snprintf(path, sizeof(path), "%s/%s", resources->tpm_directory, uuid);
	make_file(AT_FDCWD, path);
	assert_false(vtpm_sync_state(resources, uuid, &err));
	assert_int_equal(err.category, ERROR_IO);
	assert_int_equal(unlink(path), 0);
	none.tpm_directory[0] = '\0';
	assert_false(vtpm_sync_state(&none, uuid, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
}

/* After an engine's restart it is found again, and still ends with its VM. */
static void test_adopted(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->source;
	Call call = { 0 };
	Error err = ERROR_INIT;
	int pid_fd;

	start(sides);
	check_tpm(host);
	let_go(host);
	host->vm = vmm_adopt(&vmm_driver_qemu, sides->world->base, sides->world->resources,
			     host->name, &host_events, host, on_run_state, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(sides->world, call_is_over, &call, 30, "the VM is adopted");
	assert_true(vmm_has_tpm(host->vm));
	host_listen_to_guest(host);
	check_tpm(host);
	pid_fd = watch_swtpm(host);
	host_end(host);
	check_gone(pid_fd);
}

static void prepare(Sides *sides, ResolvedVm *vm)
{
	Host *host = &sides->world->destination;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = &sides->destination,
			   .instance = host->name,
			   .vm = vm,
			   .deadline_ms = START_MS };

	world_resolve(sides->world, "north.example", vm);
	vm->tpm.late = true;
	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, sides->world->base, &start, &host_events,
					host, on_prepared, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(sides->world, call_is_over, &call, 30, "the VM is prepared");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	/* All of it, and no swtpm yet. */
	assert_true(call.prepared.cpu_ms > 0);
	assert_int_equal(((QemuVm *)host->vm)->tpm.pid, -1);
	assert_false(has_state(&sides->destination, &vm->manifest));
}

static uint64_t resident_bytes(pid_t pid)
{
	unsigned long long pages = 0, resident = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%llu %llu", &pages, &resident), 2);
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void open_late(Sides *sides, ResolvedVm *vm, const char *migration_key)
{
	Host *host = &sides->world->destination;
	Call call = { 0 };
	Error err = ERROR_INIT;

	give_keys(sides, vm, target_file_key, migration_key);
	if (!vmm_open_disks(host->vm, vm, on_done, &call, &err))
		fail_msg("%s", err.text);
	world_wait(sides->world, call_is_over, &call, 30, "the TPM is there");
	wipe_keys(sides);
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

static void test_migrates(void **state)
{
	Sides *sides = *state;
	World *world = sides->world;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call continued = { 0 };
	Error err = ERROR_INIT;
	unsigned int t;

	start(sides);
	check_tpm(&world->source);
	prepare(sides, &vm);
	assert_true(resident_bytes(vmm_pid(world->destination.vm)) >= vm.manifest.memory_bytes);
	open_late(sides, &vm, travel_key);
	host_listen_to_guest(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	t = world->source.tpm_t;
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	host_cont(&world->destination);
	check_tpm(&world->destination);
	/* The same program, and the same TPM to it: neither began anew. */
	assert_true(world->destination.tpm_t > t);
	host_end(&world->source);
	assert_true(vtpm_destroy_state(world->resources, vm.manifest.uuid, &err));
	assert_false(has_state(world->resources, &vm.manifest));
	assert_int_equal(access(world->resources->tpm_directory, F_OK), 0);
	check_tpm(&world->destination);
	host_end(&world->destination);
	assert_true(has_state(&sides->destination, &vm.manifest));
}

static bool has_failed(const void *context)
{
	const World *world = context;

	return world->source.seen[VMM_MIGRATION_FAILED] ||
	       world->destination.seen[VMM_MIGRATION_FAILED] || world->destination.exited;
}

/* The destination cannot open what it gets, and the source goes on. */
static void test_another_migration_key(void **state)
{
	Sides *sides = *state;
	World *world = sides->world;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call continued = { 0 };
	Error err = ERROR_INIT;

	start(sides);
	check_tpm(&world->source);
	prepare(sides, &vm);
	open_late(sides, &vm, wrong_key);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	world_wait(world, has_failed, world, 30, "the destination refuses");
	assert_false(world->destination.seen[VMM_MIGRATION_COMPLETED]);
	host_wait_status(&world->source, VMM_MIGRATION_FAILED, 30);
	host_kill(&world->destination);
	world_drop_relays(world);
	if (host_run_state(&world->source) != VMM_RUN_RUNNING)
		host_cont(&world->source);
	check_tpm(&world->source);
	host_end(&world->source);
}

/* One that waits for its TPM can be given up: nothing is left. */
static void test_given_up(void **state)
{
	Sides *sides = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;

	prepare(sides, &vm);
	host_kill(&sides->world->destination);
	assert_false(has_state(&sides->destination, &vm.manifest));
}

/* A QEMU that ends before it needs its TPM is not taken for one that waits for it. */
static void test_ends_before(void **state)
{
	Sides *sides = *state;
	Host *host = &sides->world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = &sides->destination,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	snprintf(sides->world->file.manifest.machine, LIMIT_NAME, "pc-q35-99.0");
	world_resolve(sides->world, "north.example", &vm);
	vm.tpm.late = true;
	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, sides->world->base, &start, &host_events,
					host, on_prepared, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(sides->world, call_is_over, &call, 30, "the VM fails");
	assert_false(call.ok);
	if (!strstr(call.err.text, "pc-q35-99.0"))
		fail_msg("%s", call.err.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start_and_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_file_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left, setup, teardown),
		cmocka_unit_test_setup_teardown(test_synced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_migrates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_migration_key, setup, teardown),
	};

	/* A destination that refuses closes its end under the relay. */
	signal(SIGPIPE, SIG_IGN);
	if (world_is_impossible())
		return SWTPM_MISSING;
	if (access(VTPM_PROGRAM, X_OK)) {
		puts("there is no swtpm here");
		return SWTPM_MISSING;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
