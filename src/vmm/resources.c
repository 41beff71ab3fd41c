/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/resources.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <pwd.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/image_probe.h"
#include "vmm/luks_header.h"
#include "vmm/open_beneath.h"
#include "vmm/tap.h"

enum { SECTOR_BYTES = 512 };

bool resources_set_user(Resources *resources, const char *name, Error *err)
{
	const struct passwd *entry = getpwnam(name);
	QemuUser *user = &resources->user;
	gid_t groups[RESOURCES_GROUPS];
	int count = RESOURCES_GROUPS;

	if (!entry)
		return error_set(err, ERROR_CONFIG, "there is no user \"%s\"", name);
	if (!entry->pw_uid)
		return error_set(err, ERROR_CONFIG, "QEMU may not run as root (user \"%s\")", name);
	if (getgrouplist(name, entry->pw_gid, groups, &count) < 0)
		return error_set(err, ERROR_CONFIG, "user \"%s\" is in more than %d groups", name,
				 RESOURCES_GROUPS);
	*user = (QemuUser){ .set = true, .uid = entry->pw_uid, .gid = entry->pw_gid };
	user->groups_count = (size_t)count;
	memcpy(user->groups, groups, user->groups_count * sizeof(*groups));
	return true;
}

void resolved_vm_close(ResolvedVm *vm)
{
	if (vm->kernel_fd >= 0)
		close(vm->kernel_fd);
	if (vm->initrd_fd >= 0)
		close(vm->initrd_fd);
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		if (vm->disks[i].fd >= 0)
			close(vm->disks[i].fd);
		if (vm->disks[i].secret_fd >= 0)
			close(vm->disks[i].secret_fd);
		if (vm->disks[i].served) {
			cleanup_fd(&vm->disks[i].listen_fd);
			cleanup_fd(&vm->disks[i].hold_fd);
		}
	}
	if (vm->manifest.tpm) {
		cleanup_fd(&vm->tpm.file_key_fd);
		cleanup_fd(&vm->tpm.migration_key_fd);
	}
	*vm = RESOLVED_VM_INIT;
}

static bool may_use(const ResourceAccess *access, const char *peer_domain)
{
	if (!peer_domain)
		return access->local;
	for (size_t i = 0; i < access->domains_count; i++)
		if (!strcmp(access->domains[i], peer_domain))
			return true;
	return false;
}

static bool refuse_name(const char *kind, const char *name, const char *peer_domain, Error *err)
{
	if (!peer_domain)
		return error_set(err, ERROR_NOT_FOUND, "%s \"%s\" is not one of this host", kind,
				 name);
	return error_set(err, ERROR_DENIED, "%s \"%s\" is not one for domain \"%s\"", kind, name,
			 peer_domain);
}

const PoolResource *resources_find_pool(const Resources *resources, const char *name,
					const char *peer_domain, Error *err)
{
	for (size_t i = 0; i < resources->pools_count; i++)
		if (!strcmp(resources->pools[i].name, name) &&
		    may_use(&resources->pools[i].access, peer_domain))
			return &resources->pools[i];
	refuse_name("pool", name, peer_domain, err);
	return NULL;
}

static const NetworkResource *find_network(const Resources *resources, const char *name,
					   const char *peer_domain)
{
	for (size_t i = 0; i < resources->networks_count; i++)
		if (!strcmp(resources->networks[i].name, name) &&
		    may_use(&resources->networks[i].access, peer_domain))
			return &resources->networks[i];
	return NULL;
}

/* What an open image says of itself. */
typedef struct Volume {
	struct stat status;
	uint64_t size_bytes;
} Volume;

static bool stored_bytes_of(int fd, const struct stat *status, uint64_t *ret_bytes, Error *err)
{
	if (S_ISBLK(status->st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, ret_bytes))
			return error_set_errno(err, ERROR_IO, errno, "cannot ask the size");
	} else if (S_ISREG(status->st_mode)) {
		*ret_bytes = (uint64_t)status->st_size;
	} else {
		return error_set(err, ERROR_DENIED, "neither a regular file nor a block device");
	}
	return true;
}

static bool examine_luks(int fd, DiskFormat format, const void *head, size_t size,
			 uint64_t stored_bytes, uint64_t *ret_size_bytes, Error *err)
{
	uint8_t header[LUKS_HEADER_BYTES];
	uint64_t inner_bytes, payload;
	LuksArea area;
	ssize_t got;

	if (!image_probe_luks(format, head, size, stored_bytes, &inner_bytes, &area, err))
		return false;
	got = pread(fd, header, sizeof(header), (off_t)area.offset);
	if (got < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot read the LUKS header");
	if (!luks_header_check(header, (size_t)got, area.size_bytes, &payload, err))
		return false;
	*ret_size_bytes = format == DISK_RAW ? stored_bytes - payload : inner_bytes;
	return true;
}

static bool examine_image(int fd, const ManifestDisk *disk, Volume *ret_volume, Error *err)
{
	uint8_t head[IMAGE_PROBE_BYTES];
	ssize_t got = pread(fd, head, sizeof(head), 0);
	uint64_t stored_bytes, inner_bytes;

	if (got < 0 || fstat(fd, &ret_volume->status))
		return error_set_errno(err, ERROR_IO, errno, "cannot read the image");
	if (!stored_bytes_of(fd, &ret_volume->status, &stored_bytes, err))
		return false;
	if (disk->encryption == DISK_LUKS) {
		if (!examine_luks(fd, disk->format, head, (size_t)got, stored_bytes,
				  &ret_volume->size_bytes, err))
			return false;
	} else {
		if (!image_probe(disk->format, head, (size_t)got, &inner_bytes, err))
			return false;
		ret_volume->size_bytes = disk->format == DISK_RAW ? stored_bytes : inner_bytes;
	}
	if (!ret_volume->size_bytes || ret_volume->size_bytes % SECTOR_BYTES)
		return error_set(err, ERROR_CONFLICT, "size of %llu bytes is no multiple of %d",
				 (unsigned long long)ret_volume->size_bytes, SECTOR_BYTES);
	return true;
}

static bool open_volume(const PoolResource *pool, const ManifestDisk *disk, int flags, int *ret_fd,
			Volume *ret_volume, Error *err)
{
	AUTO_FD int directory_fd = open(pool->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int fd = -1;
	struct stat status;

	if (directory_fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open pool \"%s\"",
				       pool->name);
	/* Opening a tape drive for writing would already be an act. */
	if (!fstatat(directory_fd, disk->volume, &status, AT_SYMLINK_NOFOLLOW) &&
	    (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)))
		return error_set(err, ERROR_DENIED, "neither a regular file nor a block device");
	if (!open_beneath(directory_fd, disk->volume, flags, &fd, err) ||
	    !examine_image(fd, disk, ret_volume, err))
		return false;
	*ret_fd = TAKE_FD(fd);
	return true;
}

bool resources_image_size(int fd, const ManifestDisk *disk, uint64_t *ret_size_bytes, Error *err)
{
	Volume volume;

	if (!examine_image(fd, disk, &volume, err))
		return false;
	*ret_size_bytes = volume.size_bytes;
	return true;
}

bool resources_stored_bytes(const Resources *resources, const ManifestDisk *disk,
			    const char *peer_domain, uint64_t *ret_bytes, Error *err)
{
	const PoolResource *pool = resources_find_pool(resources, disk->pool, peer_domain, err);
	AUTO_FD int directory_fd = -1;
	AUTO_FD int fd = -1;
	struct stat status;

	if (!pool)
		return false;
	directory_fd = open(pool->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open pool \"%s\"",
				       pool->name);
	if (!open_beneath(directory_fd, disk->volume, O_RDONLY, &fd, err))
		return error_prefix(err, "volume %s/%s", disk->pool, disk->volume);
	if (fstat(fd, &status))
		return error_set_errno(err, ERROR_IO, errno, "cannot look at volume %s/%s",
				       disk->pool, disk->volume);
	return stored_bytes_of(fd, &status, ret_bytes, err);
}

/* What a storage daemon would hold without its key has to be ciphertext, and must not grow. */
static bool check_pool(const PoolResource *pool, const ManifestDisk *disk, Error *err)
{
	if (!pool->sealed || (disk->encryption == DISK_LUKS && disk->format == DISK_RAW))
		return true;
	return error_set(err, ERROR_DENIED,
			 "volume %s/%s: pool \"%s\" is sealed, its disks are raw and encrypted",
			 disk->pool, disk->volume, pool->name);
}

bool resources_complete(const Resources *resources, Manifest *manifest, Error *err)
{
	for (size_t i = 0; i < manifest->disks_count; i++) {
		ManifestDisk *disk = &manifest->disks[i];
		const PoolResource *pool = resources_find_pool(resources, disk->pool, NULL, err);
		AUTO_FD int fd = -1;
		Volume volume;

		if (!pool || !check_pool(pool, disk, err))
			return false;
		if (!open_volume(pool, disk, O_RDONLY, &fd, &volume, err))
			return error_prefix(err, "volume %s/%s", disk->pool, disk->volume);
		disk->size_bytes = volume.size_bytes;
	}
	return true;
}

uint32_t resources_maybe_luks(const Resources *resources, const Manifest *manifest)
{
	static const uint8_t magic[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };
	uint32_t found = 0;

	static_assert(LIMIT_DISKS <= 32, "a bit each");
	for (size_t i = 0; i < manifest->disks_count; i++) {
		const ManifestDisk *disk = &manifest->disks[i];
		uint8_t head[sizeof(magic)];
		AUTO_FD int fd = -1;
		Error ignored = ERROR_INIT;
		const PoolResource *pool =
			resources_find_pool(resources, disk->pool, NULL, &ignored);
		Volume volume;

		if (disk->format == DISK_RAW && disk->encryption == DISK_PLAIN && pool &&
		    open_volume(pool, disk, O_RDONLY, &fd, &volume, &ignored) &&
		    pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
		    !memcmp(head, magic, sizeof(magic)))
			found |= UINT32_C(1) << i;
	}
	return found;
}

static bool check_size(const ManifestDisk *disk, const Volume *volume, Error *err)
{
	if (volume->size_bytes != disk->size_bytes)
		return error_set(err, ERROR_CONFLICT, "%llu bytes here, %llu in the manifest",
				 (unsigned long long)volume->size_bytes,
				 (unsigned long long)disk->size_bytes);
	return true;
}

/* The image of a disk that is here; what QEMU will use is what is judged. */
static bool open_disk(const PoolResource *pool, const ManifestDisk *disk, ResolvedDisk *ret_disk,
		      Error *err)
{
	AUTO_FD int fd = -1;
	Volume volume;

	if (!open_volume(pool, disk, disk->read_only ? O_RDONLY : O_RDWR, &fd, &volume, err) ||
	    !check_size(disk, &volume, err))
		return false;
	/* Only now: the probe's buffer is not aligned for it. */
	if (pool->direct && fcntl(fd, F_SETFL, O_DIRECT))
		return error_set_errno(err, ERROR_CONFIG, errno, "no direct access there");
	ret_disk->is_block_device = S_ISBLK(volume.status.st_mode);
	ret_disk->direct = pool->direct;
	ret_disk->device = ret_disk->is_block_device ? volume.status.st_rdev : volume.status.st_dev;
	ret_disk->inode = ret_disk->is_block_device ? 0 : volume.status.st_ino;
	ret_disk->fd = TAKE_FD(fd);
	return true;
}

/* A copy never takes the place of what is there. */
static bool check_absent(const PoolResource *pool, const ManifestDisk *disk, Error *err)
{
	AUTO_FD int directory_fd = open(pool->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat status;

	if (directory_fd < 0)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot open pool \"%s\"",
				       pool->name);
	if (!fstatat(directory_fd, disk->volume, &status, AT_SYMLINK_NOFOLLOW))
		return error_set(err, ERROR_CONFLICT, "is there already");
	return errno == ENOENT || error_set_errno(err, ERROR_IO, errno, "cannot look for it");
}

static bool resolve_disk(const Resources *resources, const ManifestDisk *disk,
			 const char *peer_domain, ResolvedDisk *ret_disk, Error *err)
{
	const PoolResource *pool = resources_find_pool(resources, disk->pool, peer_domain, err);

	if (!pool || !check_pool(pool, disk, err))
		return false;
	ret_disk->served = pool->sealed && !peer_domain;
	ret_disk->late = peer_domain && disk->transfer != DISK_STAYS;
	return (ret_disk->late ? check_absent(pool, disk, err)
			       : open_disk(pool, disk, ret_disk, err)) ||
	       error_prefix(err, "volume %s/%s", disk->pool, disk->volume);
}

static bool is_same_volume(const ResolvedDisk *a, const ResolvedDisk *b)
{
	return a->fd >= 0 && b->fd >= 0 && a->device == b->device && a->inode == b->inode;
}

static bool check_distinct(const ResolvedVm *vm, size_t i, Error *err)
{
	const ManifestDisk *disks = vm->manifest.disks;

	for (size_t j = 0; j < vm->manifest.disks_count; j++)
		if (j != i && is_same_volume(&vm->disks[i], &vm->disks[j]))
			return error_set(err, ERROR_DENIED, "volume %s/%s is the same as %s/%s",
					 disks[i].pool, disks[i].volume, disks[j].pool,
					 disks[j].volume);
	return true;
}

bool resources_open_copy(const Resources *resources, const char *peer_domain, size_t i,
			 uint64_t stored_bytes, ResolvedVm *vm, Error *err)
{
	ManifestDisk disk = vm->manifest.disks[i];
	ResolvedDisk opened = { .fd = -1, .secret_fd = vm->disks[i].secret_fd, .late = true };
	const PoolResource *pool = resources_find_pool(resources, disk.pool, peer_domain, err);

	assert(i < vm->manifest.disks_count && vm->disks[i].late && vm->disks[i].fd < 0);
	if (!pool)
		return false;
	if (stored_bytes) {
		disk.format = DISK_RAW;
		disk.encryption = DISK_PLAIN;
		disk.size_bytes = stored_bytes;
	}
	disk.read_only = false;
	if (!open_disk(pool, &disk, &opened, err))
		return error_prefix(err, "volume %s/%s", disk.pool, disk.volume);
	vm->disks[i] = opened;
	return check_distinct(vm, i, err);
}

bool resources_judge_copy(const Resources *resources, const char *peer_domain, size_t i,
			  ResolvedVm *vm, Error *err)
{
	const ManifestDisk *disk = &vm->manifest.disks[i];
	const PoolResource *pool = resources_find_pool(resources, disk->pool, peer_domain, err);
	ResolvedDisk judged = { .fd = -1, .secret_fd = vm->disks[i].secret_fd, .late = true };
	bool good;

	if (!pool)
		return false;
	good = open_disk(pool, disk, &judged, err);
	if (good && !is_same_volume(&judged, &vm->disks[i]))
		good = error_set(err, ERROR_CONFLICT, "is not the image that was copied to");
	if (!good) {
		cleanup_fd(&judged.fd);
		return error_prefix(err, "volume %s/%s", disk->pool, disk->volume);
	}
	cleanup_fd(&vm->disks[i].fd);
	vm->disks[i] = judged;
	return true;
}

static bool resolve_disks(const Resources *resources, const char *peer_domain, ResolvedVm *vm,
			  Error *err)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		const ManifestDisk *disk = &vm->manifest.disks[i];

		if (!resolve_disk(resources, disk, peer_domain, &vm->disks[i], err) ||
		    !check_distinct(vm, i, err))
			return false;
	}
	return true;
}

static bool resolve_nics(const Resources *resources, const char *peer_domain, ResolvedVm *vm,
			 Error *err)
{
	for (size_t i = 0; i < vm->manifest.nics_count; i++) {
		const char *name = vm->manifest.nics[i].network;
		const NetworkResource *network = find_network(resources, name, peer_domain);
		ResolvedNic *nic = &vm->nics[i];

		if (!network)
			return refuse_name("network", name, peer_domain, err);
		if (network->kind == NETWORK_BRIDGE && !tap_check_bridge(network->bridge, err))
			return error_prefix(err, "network \"%s\"", name);
		nic->kind = network->kind;
		memcpy(nic->bridge, network->bridge, sizeof(nic->bridge));
		memcpy(nic->subnet, network->subnet, sizeof(nic->subnet));
		memcpy(nic->forwards, network->forwards, sizeof(nic->forwards));
		nic->forwards_count = network->forwards_count;
	}
	return true;
}

static bool open_local_boot_file(const char *path, const uint8_t sha256[DIGEST_SHA256_BYTES],
				 int *ret_fd, Error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	uint8_t digest[DIGEST_SHA256_BYTES];

	if (fd < 0)
		return error_set_errno(err, ERROR_NOT_FOUND, errno, "cannot open %s", path);
	if (!boot_file_digest(fd, digest, err))
		return error_prefix(err, "%s", path);
	if (memcmp(digest, sha256, sizeof(digest)))
		return error_set(err, ERROR_CONFLICT, "%s changed since its VM was described",
				 path);
	*ret_fd = TAKE_FD(fd);
	return true;
}

static bool is_zero(const uint8_t sha256[DIGEST_SHA256_BYTES])
{
	static const uint8_t zero[DIGEST_SHA256_BYTES];

	return !memcmp(sha256, zero, sizeof(zero));
}

static bool open_boot_file(const Resources *resources, const char *local_path,
			   const uint8_t sha256[DIGEST_SHA256_BYTES], int *ret_fd, Error *err)
{
	if (local_path)
		return open_local_boot_file(local_path, sha256, ret_fd, err);
	if (!resources->boot_files)
		return error_set(err, ERROR_NOT_FOUND, "this host has no boot directory");
	return boot_files_open(resources->boot_files, sha256, ret_fd, err);
}

static bool resolve_boot(const Resources *resources, const LocalBoot *local, ResolvedVm *vm,
			 Error *err)
{
	const Manifest *manifest = &vm->manifest;

	if (!manifest->boots_kernel)
		return true;
	if (!open_boot_file(resources, local ? local->kernel_path : NULL, manifest->kernel_sha256,
			    &vm->kernel_fd, err))
		return error_prefix(err, "kernel");
	if (is_zero(manifest->initrd_sha256))
		return true;
	return open_boot_file(resources, local ? local->initrd_path : NULL, manifest->initrd_sha256,
			      &vm->initrd_fd, err) ||
	       error_prefix(err, "initrd");
}

static bool check_cpu(const Resources *resources, const char *cpu, Error *err)
{
	/* QEMU's word for "print a list and exit". */
	if (!strcmp(cpu, "help"))
		return error_set(err, ERROR_DENIED, "cpu \"%s\" is not a model", cpu);
	if (!strcmp(cpu, "host") && resources->accel != ACCEL_KVM)
		return error_set(err, ERROR_UNAVAILABLE, "cpu \"host\" needs KVM");
	return true;
}

bool resources_resolve(const Resources *resources, const Manifest *manifest,
		       const char *peer_domain, const LocalBoot *local_boot, ResolvedVm *ret_vm,
		       Error *err)
{
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;

	if (!manifest_check(manifest, err) || !check_cpu(resources, manifest->cpu, err))
		return false;
	vm.manifest = *manifest;
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		vm.disks[i] =
			(ResolvedDisk){ .fd = -1, .secret_fd = -1, .listen_fd = -1, .hold_fd = -1 };
	if (!resolve_nics(resources, peer_domain, &vm, err) ||
	    !resolve_disks(resources, peer_domain, &vm, err) ||
	    !resolve_boot(resources, local_boot, &vm, err))
		return false;
	*ret_vm = vm;
	vm = RESOLVED_VM_INIT;
	return true;
}
