/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/image_create.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "base/file.h"
#include "crypto/random.h"
#include "vmm/disk_secret.h"
#include "vmm/qemu_process.h"

enum {
	WORDS_BYTES = 256, /* of what it says at last */
	MEMORY_MAX = 1 << 30,
	CPU_MAX_S = 120,
	OVERHEAD_BYTES = 16 << 20, /* headers, and tables of a small image */
	LEFT_S = 3600,		   /* no creation takes so long */
	SWEEP_MAX = 65536,	   /* entries of a pool that are looked at */
	MARK_BYTES = 8,
	FRESH_NAME = 64,
	OVERHEAD_SHARE = 1024, /* tables of a large one: less than this part of it */
};

#define FRESH_PREFIX ".sealift-new."
#define FRESH_RANDOM "XXXXXX"
#define IMAGE_NAME   "image"

struct ImageCreate {
	struct event_base *base;
	const PoolResource *pool;
	ManifestDisk disk;
	int directory_fd; /* the pool's */
	int fresh_fd;	  /* of the directory in it where the image is made */
	char fresh_name[FRESH_NAME];
	int fd;
	QemuProcess process;
	struct event *exit_event, *log_event, *timer;
	char words[WORDS_BYTES];
	size_t words_used;
	ImageCreateDone *done;
	void *context;
};

/* --- the end --- */

static void remove_fresh(ImageCreate *create)
{
	if (create->fd >= 0)
		(void)unlinkat(create->fresh_fd, IMAGE_NAME, 0);
	if (create->fresh_name[0])
		(void)unlinkat(create->directory_fd, create->fresh_name, AT_REMOVEDIR);
	cleanup_fd(&create->fd);
	cleanup_fd(&create->fresh_fd);
	create->fd = create->fresh_fd = -1;
	create->fresh_name[0] = '\0';
}

static void free_events(ImageCreate *create)
{
	struct event **events[] = { &create->exit_event, &create->log_event, &create->timer };

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (*events[i])
			event_free(*events[i]);
		*events[i] = NULL;
	}
}

void image_create_free(ImageCreate *create)
{
	if (!create)
		return;
	free_events(create);
	if (create->process.pid > 0)
		qemu_process_destroy(&create->process);
	remove_fresh(create);
	cleanup_fd(&create->directory_fd);
	free(create);
}
DEFINE_CLEANUP(ImageCreate, image_create, image_create_free)

/* Last in a callback: the caller may free us. */
static void tell(ImageCreate *create, const Error *err)
{
	remove_fresh(create);
	create->done(create->context, err);
}

static void fail(ImageCreate *create, const Error *cause)
{
	Error err = *cause;

	error_prefix(&err, "volume %s/%s", create->pool->name, create->disk.volume);
	tell(create, &err);
}

/* --- while it runs --- */

/* The beginning: qemu-img says in its first line what is wrong. */
static bool read_words(ImageCreate *create)
{
	for (int i = 0; i < 16; i++) {
		char chunk[512];
		ssize_t got = read(create->process.log_fd, chunk, sizeof(chunk));
		size_t room = sizeof(create->words) - 1 - create->words_used;
		size_t put = got > 0 ? (size_t)got : 0;

		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!got)
			return false;
		put = put < room ? put : room;
		memcpy(create->words + create->words_used, chunk, put);
		create->words_used += put;
	}
	return true;
}

static void on_log(evutil_socket_t fd, short what, void *context)
{
	ImageCreate *create = context;

	(void)fd;
	(void)what;
	if (!read_words(create))
		event_del(create->log_event);
}

static bool check_end(ImageCreate *create, Error *err)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, (id_t)create->process.pid, &info, WEXITED | WNOHANG) || !info.si_pid)
		return error_set(err, ERROR_HYPERVISOR, "qemu-img is gone");
	if (info.si_code == CLD_EXITED && !info.si_status)
		return true;
	create->words[strcspn(create->words, "\n")] = '\0';
	return error_set(err, ERROR_HYPERVISOR, "qemu-img ended with %s %d: %s",
			 info.si_code == CLD_EXITED ? "status" : "signal", info.si_status,
			 create->words);
}

/* A link, since a rename would replace what has the name by now. */
static bool name_volume(const ImageCreate *create, Error *err)
{
	if (fsync(create->fd))
		return error_set_errno(err, ERROR_IO, errno, "cannot write it to the disk");
	if (linkat(create->fresh_fd, IMAGE_NAME, create->directory_fd, create->disk.volume, 0))
		return error_set_errno(err, errno == EEXIST ? ERROR_CONFLICT : ERROR_IO, errno,
				       "cannot give it its name");
	if (!fsync(create->directory_fd))
		return true;
	error_set_errno(err, ERROR_IO, errno, "cannot write its name to the disk");
	/* Who is told that there is no volume may throw its key away. */
	(void)unlinkat(create->directory_fd, create->disk.volume, 0);
	return false;
}

/* QEMU's user keeps no right to the image: a VM gets it by a descriptor of ours. */
static bool finish(const ImageCreate *create, Error *err)
{
	uint64_t size_bytes = 0;

	if (fchown(create->fd, geteuid(), getegid()) || fchmod(create->fd, 0600))
		return error_set_errno(err, ERROR_IO, errno, "cannot take it back");
	if (!resources_image_size(create->fd, &create->disk, &size_bytes, err))
		return false;
	if (size_bytes != create->disk.size_bytes)
		return error_set(err, ERROR_HYPERVISOR, "qemu-img made %llu bytes, not %llu",
				 (unsigned long long)size_bytes,
				 (unsigned long long)create->disk.size_bytes);
	return name_volume(create, err);
}

static void on_exit_event(evutil_socket_t fd, short what, void *context)
{
	ImageCreate *create = context;
	Error err = ERROR_INIT;
	bool ok;

	(void)fd;
	(void)what;
	read_words(create);
	ok = check_end(create, &err);
	free_events(create);
	qemu_process_close(&create->process);
	if (ok && finish(create, &err))
		tell(create, NULL);
	else
		fail(create, &err);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	ImageCreate *create = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	free_events(create);
	qemu_process_destroy(&create->process);
	error_set(&err, ERROR_TIMEOUT, "qemu-img did not end in time");
	fail(create, &err);
}

/* --- the beginning --- */

static bool put(QemuCommand *command, Error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool put(QemuCommand *command, Error *err, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		return error_set(err, ERROR_INTERNAL, "no memory for qemu-img's command line");
	command->argv[command->argc++] = text;
	return true;
}

/* In the child: 3 is the image, 4 the secret. All that a header says is said here, so that no
 * default of another version comes in. */
static bool build(const ImageRequest *request, int fd, QemuCommand *command, Error *err)
{
	const char *program = request->resources->qemu_img_path;
	bool luks = request->encryption == DISK_LUKS;
	bool qcow2 = request->format == DISK_QCOW2;
	const char *prefix = qcow2 ? "encrypt." : "";

	command->fds[command->fds_count++] = fd;
	if (luks)
		command->fds[command->fds_count++] = request->secret_fd;
	if (!put(command, err, "%s", *program ? program : IMAGE_CREATE_PROGRAM) ||
	    !put(command, err, "create") || !put(command, err, "-q") || !put(command, err, "-f") ||
	    !put(command, err, "%s", qcow2 ? "qcow2" : (luks ? "luks" : "raw")) ||
	    !put(command, err, "-o") ||
	    !put(command, err, "preallocation=%s%s", request->sparse ? "off" : "falloc",
		 qcow2 ? ",compat=1.1" : ""))
		return false;
	if (luks &&
	    (!put(command, err, "-o") ||
	     !put(command, err,
		  "%s%skey-secret=s,%scipher-alg=aes-256,%scipher-mode=xts,%sivgen-alg=plain64,"
		  "%shash-alg=sha256,%siter-time=%d",
		  qcow2 ? "encrypt.format=luks," : "", prefix, prefix, prefix, prefix, prefix,
		  prefix, IMAGE_CREATE_ITER_MS) ||
	     !put(command, err, "--object") ||
	     !put(command, err, "secret,id=s,file=/proc/self/fd/%d", QEMU_FD_FIRST + 1)))
		return false;
	return put(command, err, "/proc/self/fd/%d", QEMU_FD_FIRST) &&
	       put(command, err, "%llu", (unsigned long long)request->size_bytes);
}

static uint64_t stored_max(const ImageRequest *request)
{
	return request->size_bytes + request->size_bytes / OVERHEAD_SHARE + OVERHEAD_BYTES;
}

static bool check_request(const ImageRequest *request, Error *err)
{
	uint64_t size = request->size_bytes;

	if (!text_is(TEXT_NAME, request->volume, 1) || strlen(request->volume) >= LIMIT_NAME)
		return error_set(err, ERROR_USAGE, "volume \"%.64s\" is no name", request->volume);
	if (size < IMAGE_CREATE_MIN_BYTES || size > IMAGE_CREATE_MAX_BYTES || size % 512)
		return error_set(err, ERROR_USAGE,
				 "size of %llu bytes: outside %d..%llu, or no multiple of 512",
				 (unsigned long long)size, IMAGE_CREATE_MIN_BYTES,
				 (unsigned long long)IMAGE_CREATE_MAX_BYTES);
	return request->encryption == DISK_PLAIN || disk_secret_check(request->secret_fd, err);
}

static bool check_space(const ImageCreate *create, const ImageRequest *request, Error *err)
{
	struct statvfs status;

	if (request->sparse)
		return true;
	if (fstatvfs(create->directory_fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot ask for its free space");
	if (stored_max(request) / status.f_frsize >= status.f_bavail)
		return error_set(err, ERROR_LIMIT, "%llu bytes wanted, %llu free",
				 (unsigned long long)stored_max(request),
				 (unsigned long long)status.f_bavail * status.f_frsize);
	return true;
}

/* Of directories of ours, unless nobody told who we are. */
static void prefix_of(const Resources *resources, char ret_prefix[FRESH_NAME])
{
	snprintf(ret_prefix, FRESH_NAME, FRESH_PREFIX "%s%s", resources->mark,
		 resources->mark[0] ? "." : "");
}

/* mkdtemp(3) gives mode 0700. */
static bool make_fresh_directory(ImageCreate *create, const Resources *resources, Error *err)
{
	char path[LIMIT_PATH + FRESH_NAME], prefix[FRESH_NAME];

	prefix_of(resources, prefix);
	snprintf(path, sizeof(path), "%.*s/%.40s" FRESH_RANDOM, LIMIT_PATH - 1,
		 create->pool->directory, prefix);
	if (!mkdtemp(path))
		return error_set_errno(err, ERROR_IO, errno, "cannot make a directory for it");
	snprintf(create->fresh_name, sizeof(create->fresh_name), "%s", strrchr(path, '/') + 1);
	create->fresh_fd = openat(create->directory_fd, create->fresh_name,
				  O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return create->fresh_fd >= 0 ||
	       error_set_errno(err, ERROR_IO, errno, "cannot open the directory for it");
}

static bool make_image(ImageCreate *create, const ImageRequest *request, Error *err)
{
	const QemuUser *user = &request->resources->user;
	struct stat status;

	create->directory_fd = open(create->pool->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (create->directory_fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open the pool");
	if (!fstatat(create->directory_fd, request->volume, &status, AT_SYMLINK_NOFOLLOW))
		return error_set(err, ERROR_CONFLICT, "is there already");
	if (!check_space(create, request, err) ||
	    !make_fresh_directory(create, request->resources, err))
		return false;
	create->fd = openat(create->fresh_fd, IMAGE_NAME,
			    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (create->fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make it");
	/* qemu-img opens what it is given anew, by its number. */
	if (!geteuid() && user->set && fchown(create->fd, user->uid, user->gid))
		return error_set_errno(err, ERROR_IO, errno, "cannot give it to QEMU's user");
	return true;
}

/* It is ours and works for us, only a fault of it is bounded. */
static void limit(QemuCommand *command, const ImageRequest *request)
{
	const struct {
		int resource;
		uint64_t max;
	} limits[] = { { RLIMIT_AS, MEMORY_MAX },
		       { RLIMIT_CPU, CPU_MAX_S },
		       { RLIMIT_FSIZE, stored_max(request) } };

	static_assert(ARRAY_SIZE(limits) <= QEMU_LIMITS_MAX, "room for each limit");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		command->limits[i].resource = limits[i].resource;
		command->limits[i].max = limits[i].max;
	}
	command->limits_count = ARRAY_SIZE(limits);
}

static bool watch(ImageCreate *create, int64_t deadline_ms, Error *err)
{
	const struct timeval deadline = { .tv_sec = deadline_ms / 1000,
					  .tv_usec = deadline_ms % 1000 * 1000 };

	create->exit_event =
		event_new(create->base, create->process.pid_fd, EV_READ, on_exit_event, create);
	create->log_event = event_new(create->base, create->process.log_fd, EV_READ | EV_PERSIST,
				      on_log, create);
	create->timer = evtimer_new(create->base, on_deadline, create);
	return (create->exit_event && create->log_event && create->timer &&
		!event_add(create->exit_event, NULL) && !event_add(create->log_event, NULL) &&
		!evtimer_add(create->timer, &deadline)) ||
	       error_set(err, ERROR_INTERNAL, "no memory to watch qemu-img");
}

static bool begin(ImageCreate *create, const ImageRequest *request, Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };

	if (!make_image(create, request, err) || !build(request, create->fd, &command, err))
		return false;
	limit(&command, request);
	return qemu_process_spawn(&command, &request->resources->user, NULL, &create->process,
				  err) &&
	       watch(create, request->deadline_ms, err);
}

ImageCreate *image_create_new(struct event_base *base, const ImageRequest *request,
			      ImageCreateDone *done, void *context, Error *err)
{
	CLEANUP(image_create_cleanup) ImageCreate *create = NULL;
	const PoolResource *pool;

	if (!check_request(request, err))
		return NULL;
	pool = resources_find_pool(request->resources, request->pool, request->peer_domain, err);
	if (!pool)
		return NULL;
	create = calloc(1, sizeof(*create));
	if (!create) {
		error_set(err, ERROR_INTERNAL, "no memory to make an image");
		return NULL;
	}
	*create = (ImageCreate){ .base = base,
				 .pool = pool,
				 .disk = { .format = request->format,
					   .encryption = request->encryption,
					   .size_bytes = request->size_bytes },
				 .directory_fd = -1,
				 .fresh_fd = -1,
				 .fd = -1,
				 .process = QEMU_PROCESS_INIT,
				 .done = done,
				 .context = context };
	snprintf(create->disk.volume, sizeof(create->disk.volume), "%s", request->volume);
	if (!begin(create, request, err)) {
		error_prefix(err, "volume %s/%s", request->pool, request->volume);
		return NULL;
	}
	return TAKE_PTR(create);
}

/* --- what is not wanted --- */

static bool remove_from(int directory_fd, const char *volume, const struct stat *made, Error *err)
{
	struct stat status;

	if (fstatat(directory_fd, volume, &status, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ||
		       error_set_errno(err, ERROR_IO, errno, "cannot look at it");
	if (!S_ISREG(status.st_mode) ||
	    (made && (status.st_dev != made->st_dev || status.st_ino != made->st_ino)))
		return error_set(err, ERROR_CONFLICT, "is not the image that was made");
	return (!unlinkat(directory_fd, volume, 0) && !fsync(directory_fd)) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot remove it");
}

bool image_remove(const Resources *resources, const char *peer_domain, const char *pool,
		  const char *volume, const struct stat *made, Error *err)
{
	const PoolResource *found = resources_find_pool(resources, pool, peer_domain, err);
	AUTO_FD int directory_fd = -1;

	if (!found)
		return false;
	if (!text_is(TEXT_NAME, volume, 1) || strlen(volume) >= LIMIT_NAME)
		return error_set(err, ERROR_USAGE, "volume \"%.64s\" is no name", volume);
	directory_fd = open(found->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open pool \"%s\"",
				       pool);
	return remove_from(directory_fd, volume, made, err) ||
	       error_prefix(err, "volume %s/%s", pool, volume);
}

/* --- what is left of creations that died --- */

static bool make_mark(const char *path, char ret_mark[RESOURCES_MARK], Error *err)
{
	uint8_t bytes[MARK_BYTES];

	static_assert(sizeof(bytes) * 2 + 1 == RESOURCES_MARK, "two digits a byte");
	if (!random_bytes(bytes, sizeof(bytes), err))
		return false;
	hex_encode(bytes, sizeof(bytes), ret_mark);
	return file_replace(path, ret_mark, RESOURCES_MARK - 1, 0600, err);
}

bool image_create_read_mark(const char *path, char ret_mark[RESOURCES_MARK], Error *err)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(RESOURCES_MARK - 1);
	Error failure = ERROR_INIT;

	if (!file_read(path, RESOURCES_MARK - 1, &buffer, &failure)) {
		if (failure.category == ERROR_NOT_FOUND)
			return make_mark(path, ret_mark, err);
		*err = failure;
		return false;
	}
	snprintf(ret_mark, RESOURCES_MARK, "%.*s", (int)buffer.used, (const char *)buffer.data);
	return strspn(ret_mark, "0123456789abcdef") == RESOURCES_MARK - 1 ||
	       error_set(err, ERROR_CONFIG, "%s: not %d hexadecimal digits", path,
			 RESOURCES_MARK - 1);
}

/* now_s < 0: whenever it was touched last. */
static void remove_left(int pool_fd, const char *name, int64_t now_s)
{
	AUTO_FD int fd = openat(pool_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status, image;

	if (fd < 0 || fstat(fd, &status) || status.st_uid != geteuid() ||
	    (now_s >= 0 && now_s - status.st_mtime < LEFT_S))
		return;
	if (!fstatat(fd, IMAGE_NAME, &image, AT_SYMLINK_NOFOLLOW) &&
	    ((now_s >= 0 && now_s - image.st_mtime < LEFT_S) || unlinkat(fd, IMAGE_NAME, 0)))
		return;
	(void)unlinkat(pool_fd, name, AT_REMOVEDIR);
}

void image_create_sweep(const Resources *resources, int64_t now_s)
{
	char ours[FRESH_NAME];

	prefix_of(resources, ours);
	for (size_t i = 0; i < resources->pools_count; i++) {
		DIR *pool = opendir(resources->pools[i].directory);
		const struct dirent *entry = NULL;

		for (int n = 0; pool && n < SWEEP_MAX && (entry = readdir(pool)); n++) {
			bool is_ours =
				resources->mark[0] && !strncmp(entry->d_name, ours, strlen(ours));

			if (is_ours || !strncmp(entry->d_name, FRESH_PREFIX, strlen(FRESH_PREFIX)))
				remove_left(dirfd(pool), entry->d_name, is_ours ? -1 : now_s);
		}
		if (pool)
			closedir(pool);
	}
}
