/* SPDX-License-Identifier: Apache-2.0 */
/* Twins of real machines: what they say, that they are found again, and that they fail in one line.
 */
#include "vm_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "qemustream/dump_vmstate.h"
#include "qemustream/frame.h"
#include "qemustream/main.h"
#include "qemustream/unit.h"
#include "vmm/sealed_cache.h"
#include "vmm/vtpm.h"

typedef struct TwinCall {
	bool called, ok;
	Error err;
} TwinCall;

static void on_twin(void *context, VmmTwin *twin, const Error *err)
{
	TwinCall *call = context;

	assert_false(call->called);
	call->called = true;
	call->ok = !err;
	if (err)
		call->err = *err;
	assert_true(err || (twin->stream_fd >= 0 && twin->dump_fd >= 0));
}

static bool twin_is_told(const void *context)
{
	return ((const TwinCall *)context)->called;
}

static VmmTwin *begin(World *world, TwinCall *call)
{
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;
	VmmStart start = { .resources = world->resources, .instance = "twin", .vm = &resolved };
	Error err = ERROR_INIT;
	VmmTwin *twin;

	world_resolve(world, "north.example", &resolved);
	*call = (TwinCall){ .called = false };
	twin = vmm_twin_new(&vmm_driver_qemu, world->base, &start, on_twin, call, &err);
	if (!twin)
		fail_msg("%s", err.text);
	return twin;
}

static VmmTwin *make(World *world)
{
	int64_t begun_us = clock_monotonic_us(&clock_system);
	TwinCall call;
	VmmTwin *twin = begin(world, &call);

	world_wait(world, twin_is_told, &call, 60, "twin");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	printf("twin %s in %lld ms\n", twin->cached ? "found" : "made",
	       (long long)(clock_monotonic_us(&clock_system) - begun_us) / 1000);
	assert_int_equal(twin->not_kept.category, 0);
	return twin;
}

static void read_all(int fd, Buffer *bytes)
{
	uint8_t chunk[65536];
	ssize_t got;
	Error err = ERROR_INIT;

	while ((got = pread(fd, chunk, sizeof(chunk), (off_t)bytes->used)) > 0)
		assert_true(buffer_put(bytes, chunk, (size_t)got, &err));
	assert_int_equal(got, 0);
}

/* Up to the first section whose length only its device knows. */
static void check_stream(const Buffer *bytes, uint64_t memory_bytes)
{
	const MainStreamOptions options = { .page_size = 4096, .ignore_shared = true };
	Error err = ERROR_INIT;
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&options, &err);
	const RamBlocks *blocks;
	size_t at = 0, eof = 0;
	MainUnit unit;
	bool m0 = false;

	assert_non_null(stream);
	do {
		UnitResult result =
			main_stream_next(stream, bytes->data + at, bytes->used - at, &unit, &err);

		if (result != UNIT_WHOLE)
			fail_msg("byte %zu: %d: %s", at, (int)result, err.text);
		at += unit.size_bytes;
	} while (unit.kind != MAIN_SECTION || !unit.section.needs_length);
	blocks = main_stream_blocks(stream);
	for (size_t i = 0; i < blocks->count; i++)
		if (!strcmp(blocks->items[i].name, "m0"))
			m0 = blocks->items[i].used_length == memory_bytes;
	assert_true(m0);
	assert_true(frame_find_vmdesc(bytes->data + at, bytes->used - at, bytes->used, &eof, &err));
	/* The guest's memory is not among it. */
	assert_true(bytes->used < 4 << 20);
}

static void test_says_what_the_machine_is(void **state)
{
	World *world = *state;
	AUTO_BUFFER Buffer stream = BUFFER_INIT(LIMIT_TWIN), dump = BUFFER_INIT(LIMIT_TWIN_DUMP);
	Error err = ERROR_INIT;
	VmmTwin *twin = make(world);
	AUTO_DUMP_VMSTATE DumpVmstate *parsed = NULL;

	assert_false(twin->cached);
	read_all(twin->stream_fd, &stream);
	read_all(twin->dump_fd, &dump);
	printf("stream of %zu bytes, dump of %zu\n", stream.used, dump.used);
	check_stream(&stream, world->file.manifest.memory_bytes);
	parsed = dump_vmstate_parse(dump.data, dump.used, &err);
	if (!parsed)
		fail_msg("%s", err.text);
	assert_non_null(dump_vmstate_find(parsed, "virtio-blk", NULL));
	/* Nobody changes it any more. */
	assert_int_equal(write(twin->stream_fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	vmm_twin_free(twin);
}

/* A stream and a dump, and the other machine's stream. */
static void remove_files(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	unsigned int count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			count += !unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	assert_int_equal(count, 3);
	assert_int_equal(rmdir(path), 0);
}

static void test_is_found_again_by_this_engine_and_the_next(void **state)
{
	World *world = *state;
	char directory[96];
	struct stat status;
	Error err = ERROR_INIT;
	VmmTwin *twin;

	snprintf(directory, sizeof(directory), "%s/twins", world->directory);
	world->resources->twin_cache = sealed_cache_new(directory, &err);
	twin = make(world);
	assert_false(twin->cached);
	vmm_twin_free(twin);
	twin = make(world);
	assert_true(twin->cached);
	vmm_twin_free(twin);
	sealed_cache_free(world->resources->twin_cache);
	world->resources->twin_cache = sealed_cache_new(directory, &err);
	assert_int_equal(stat(directory, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
	/* The name and addresses of a VM do not matter, its disks and memory do. */
	world->file.manifest.uuid[0] ^= 1;
	twin = make(world);
	assert_true(twin->cached);
	vmm_twin_free(twin);
	world->file.manifest.memory_bytes += 2 << 20;
	twin = make(world);
	assert_false(twin->cached);
	vmm_twin_free(twin);
	sealed_cache_free(world->resources->twin_cache);
	world->resources->twin_cache = NULL;
	remove_files(directory);
}

/* Its swtpm and what that stored are gone with it. */
static void test_has_a_tpm(void **state)
{
	static const char section[] = "tpm-emulator";
	World *world = *state;
	AUTO_BUFFER Buffer stream = BUFFER_INIT(LIMIT_TWIN);
	const struct dirent *entry;
	VmmTwin *twin;
	DIR *run;

	if (access(VTPM_PROGRAM, X_OK))
		skip();
	world->file.manifest.tpm = true;
	twin = make(world);
	read_all(twin->stream_fd, &stream);
	assert_non_null(memmem(stream.data, stream.used, section, sizeof(section) - 1));
	run = opendir(world->resources->run_directory);
	assert_non_null(run);
	while ((entry = readdir(run)))
		assert_int_equal(entry->d_name[0], '.');
	closedir(run);
	vmm_twin_free(twin);
}

static void test_fails_in_one_line(void **state)
{
	World *world = *state;
	TwinCall call;
	VmmTwin *twin;

	snprintf(world->file.manifest.cpu, LIMIT_NAME, "no-such-cpu");
	twin = begin(world, &call);
	world_wait(world, twin_is_told, &call, 60, "failure");
	assert_false(call.ok);
	assert_int_equal(call.err.category, ERROR_HYPERVISOR);
	assert_non_null(strstr(call.err.text, "the twin by which this host judges the stream: "));
	if (!strstr(call.err.text, "no-such-cpu"))
		fail_msg("%s", call.err.text);
	assert_null(strchr(call.err.text, '\n'));
	assert_true(twin->stream_fd < 0 && twin->dump_fd < 0);
	vmm_twin_free(twin);
}

/* Its callback is then not called: the fixture's base has nothing of it left. */
static void test_may_be_freed_at_any_time(void **state)
{
	World *world = *state;
	TwinCall call;

	vmm_twin_free(begin(world, &call));
	assert_false(call.called);
	vmm_twin_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_says_what_the_machine_is, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_is_found_again_by_this_engine_and_the_next,
						world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_has_a_tpm, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_fails_in_one_line, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_may_be_freed_at_any_time, world_setup,
						world_teardown),
	};

	return world_is_impossible() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
