/* SPDX-License-Identifier: Apache-2.0 */
#include "luks_pool.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/image_create.h"
#include "vmm/qemu_vm.h"

enum { IMAGE_MAX_BYTES = 32 << 20 };

const LuksImage luks_pool_images[LUKS_POOL_IMAGES] = {
	{ "vm1.luks", DISK_RAW, "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=" },
	{ "vm1.img", DISK_QCOW2, "zYxWvUtSrQpOnMlKjIhGfEdCbA9876543210+/zYxWv=" },
};

static char pool[] = "/tmp/sealift-luks-test.XXXXXX";

const char *luks_pool_directory(void)
{
	return pool;
}

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
	AUTO_SECRET Secret *passphrase =
		secret_new_from(luks_pool_images[i].passphrase, DISK_SECRET_BYTES, &err);
	ImageRequest request = { .resources = resources,
				 .pool = "shared",
				 .volume = luks_pool_images[i].volume,
				 .format = luks_pool_images[i].format,
				 .encryption = DISK_LUKS,
				 .size_bytes = LUKS_POOL_BYTES,
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

int luks_pool_make(void **state)
{
	struct event_base *base = event_base_new();
	Resources *resources = calloc(1, sizeof(*resources));

	(void)state;
	assert_non_null(mkdtemp(pool));
	resources->pools_count = 1;
	snprintf(resources->pools[0].name, LIMIT_NAME, "shared");
	snprintf(resources->pools[0].directory, LIMIT_PATH, "%s", pool);
	resources->pools[0].access.local = true;
	for (size_t i = 0; i < LUKS_POOL_IMAGES; i++)
		make_image(base, resources, i);
	event_base_free(base);
	free(resources);
	return 0;
}

int luks_pool_remove(void **state)
{
	char path[128];

	(void)state;
	for (size_t i = 0; i < LUKS_POOL_IMAGES; i++) {
		snprintf(path, sizeof(path), "%s/%s", pool, luks_pool_images[i].volume);
		unlink(path);
	}
	return rmdir(pool);
}

int luks_pool_setup_world(void **state, size_t first)
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

		snprintf(m->disks[i].volume, LIMIT_NAME, "%s", luks_pool_images[k].volume);
		m->disks[i].format = luks_pool_images[k].format;
		m->disks[i].encryption = DISK_LUKS;
		m->disks[i].key[0] = (uint8_t)(k + 1);
		world->passphrases[i] = luks_pool_images[k].passphrase;
	}
	snprintf(m->append + strlen(m->append), 128, " walker.pattern=" LUKS_POOL_PATTERN);
	if (!resources_complete(world->resources, m, &err))
		fail_msg("%s", err.text);
	assert_int_equal(m->disks[0].size_bytes, LUKS_POOL_BYTES);
	assert_int_equal(m->disks[1].size_bytes, LUKS_POOL_BYTES);
	return 0;
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
		for (size_t k = 0; k < LUKS_POOL_IMAGES; k++)
			assert_false(holds(bytes.data, bytes.used, luks_pool_images[k].passphrase));
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
		for (size_t k = 0; value && k < LUKS_POOL_IMAGES; k++)
			assert_null(strstr(value, luks_pool_images[k].passphrase));
	}
	json_decref(properties);
	assert_int_equal(asked, 1);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		AUTO_FREE char *value = ask(host, commands[i], json_object());

		assert_non_null(value);
		for (size_t k = 0; k < LUKS_POOL_IMAGES; k++)
			assert_null(strstr(value, luks_pool_images[k].passphrase));
	}
}

void luks_pool_check_no_trace(Host *host, unsigned int descriptors)
{
	check_text_of_process(vmm_pid(host->vm));
	assert_int_equal(check_descriptors(vmm_pid(host->vm)), descriptors);
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

	snprintf(secret, sizeof(secret), "secret,id=s,data=%s", luks_pool_images[i].passphrase);
	snprintf(out, sizeof(out), "%s", plain);
	snprintf(image, sizeof(image), "driver=%s,%skey-secret=s,file.driver=file,file.filename=%s",
		 luks_pool_images[i].format == DISK_QCOW2 ? "qcow2" : "luks",
		 luks_pool_images[i].format == DISK_QCOW2 ? "encrypt.format=luks,encrypt." : "",
		 path);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

void luks_pool_check_image(const World *world, size_t i)
{
	char path[128], plain[128];

	snprintf(path, sizeof(path), "%s/%s", pool, luks_pool_images[i].volume);
	snprintf(plain, sizeof(plain), "%s/plain", world->directory);
	assert_false(file_holds(path, LUKS_POOL_PATTERN));
	decrypt(i, path, plain);
	assert_true(file_holds(plain, LUKS_POOL_PATTERN));
	assert_int_equal(unlink(plain), 0);
}
