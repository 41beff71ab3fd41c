/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This host's own mapping from the names in a manifest to real things. Nothing that a peer wrote
 * becomes a path: a pool or network is looked up for the peer's domain, a volume is one file name
 * opened beneath the pool's directory, a boot file is found by digest.
 */
#ifndef SEALIFT_VMM_RESOURCES_H
#define SEALIFT_VMM_RESOURCES_H

#include <net/if.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "vmm/boot_files.h"
#include "wire/manifest.h"

enum {
	RESOURCES_POOLS = 32,
	RESOURCES_NETWORKS = 32,
	RESOURCES_DOMAINS = 16, /* peer domains that may use one pool or network */
	RESOURCES_FORWARDS = 4,
	RESOURCES_GROUPS = 32,
	RESOURCES_MARK = 17,
};

typedef enum NetworkKind { NETWORK_BRIDGE, NETWORK_USER } NetworkKind;
typedef enum AccelKind { ACCEL_TCG, ACCEL_KVM } AccelKind;
/* Anonymous memory with transparent huge pages populates fastest where no huge pages are set aside.
 */
typedef enum MemoryKind { MEMORY_ANONYMOUS, MEMORY_HUGE_2M } MemoryKind;

/* Who may name a pool or network. Several entries may share a name as long as each domain finds at
 * most one of them: so two tenants' "disks" can be two directories. */
typedef struct ResourceAccess {
	bool local; /* VMs that this host's own users start */
	char domains[RESOURCES_DOMAINS][LIMIT_DOMAIN];
	size_t domains_count;
} ResourceAccess;

typedef struct PoolResource {
	char name[LIMIT_NAME];
	char directory[LIMIT_PATH];
	bool direct; /* O_DIRECT: needed on file systems without coherent caches */
	bool own;    /* no other host reaches it: disks in it are copied when their VM moves */
	/* Disks in it are raw LUKS ones, each held by a storage daemon without its key, so that
	 * they can be copied as ciphertext, and are copied in no other way. Implies own. */
	bool sealed;
	ResourceAccess access;
} PoolResource;

/* A TCP port of the host that leads into a guest of a user-mode network. */
typedef struct ForwardResource {
	char host_address[LIMIT_ADDRESS];
	uint16_t host_port;
	char guest_address[LIMIT_ADDRESS];
	uint16_t guest_port;
} ForwardResource;

typedef struct NetworkResource {
	char name[LIMIT_NAME];
	NetworkKind kind;
	char bridge[IFNAMSIZ];	    /* NETWORK_BRIDGE */
	char subnet[LIMIT_ADDRESS]; /* NETWORK_USER: "10.0.0.0/24"; "" is QEMU's default */
	ForwardResource forwards[RESOURCES_FORWARDS];
	size_t forwards_count;
	ResourceAccess access;
} NetworkResource;

/* The user that QEMU runs as when the engine is root. */
typedef struct QemuUser {
	bool set;
	uid_t uid;
	gid_t gid;
	gid_t groups[RESOURCES_GROUPS];
	size_t groups_count;
} QemuUser;

typedef struct Resources {
	PoolResource pools[RESOURCES_POOLS];
	size_t pools_count;
	NetworkResource networks[RESOURCES_NETWORKS];
	size_t networks_count;
	BootFiles *boot_files;		    /* NULL: no VM may boot a kernel */
	struct FeatureCache *feature_cache; /* vmm/feature_cache.h; NULL: ask QEMU at each start */
	struct SealedCache *twin_cache;	    /* vmm/sealed_cache.h; NULL: make each twin anew */
	char qemu_path[LIMIT_PATH];
	char qemu_img_path[LIMIT_PATH]; /* "": IMAGE_CREATE_PROGRAM (vmm/image_create.h) */
	char swtpm_path[LIMIT_PATH];	/* "": VTPM_PROGRAM (vmm/vtpm.h) */
	char tpm_directory[LIMIT_PATH]; /* of TPMs' states; "": no VM may have a TPM */
	AccelKind accel;
	MemoryKind memory;
	unsigned int prealloc_threads; /* 0: one for each CPU, at most 16 */
	char run_directory[LIMIT_PATH];
	char mark[RESOURCES_MARK]; /* in names of what this process has not finished in a pool
				    * that others reach too; "": none */
	QemuUser user;
} Resources;

/* Fills user from the passwd and group databases. ERROR_CONFIG if there is no such user. */
MUST_CHECK bool resources_set_user(Resources *resources, const char *name, Error *err);

typedef struct ResolvedDisk {
	int fd; /* opened as QEMU will use it, so that what was checked is what runs */
	bool is_block_device;
	bool direct;
	dev_t device; /* with inode, the identity of the volume, for booking it */
	ino_t inode;
	int secret_fd; /* what opens an encrypted image (vmm/disk_secret.h); -1: none yet */
	bool late;     /* opened by vmm_open_disks only: until then fd and secret_fd may be -1 */
	/* A storage daemon holds the image (storage_daemon.h, sealed), and the VM's hypervisor gets
	 * no descriptor of it but a way to that: listen_fd, which vmm_start makes, is where it
	 * connects, and the storage daemon's to serve. */
	bool served;
	int listen_fd; /* of a disk that is served, else not looked at; -1: none yet */
	/* The same. The first connection to it, before that of the hypervisor, which the storage
	 * daemon, since it serves one at a time, lets in when this is closed: until then it has no
	 * export, and would refuse. */
	int hold_fd;
} ResolvedDisk;

typedef struct ResolvedNic {
	NetworkKind kind;
	char bridge[IFNAMSIZ];
	char subnet[LIMIT_ADDRESS];
	ForwardResource forwards[RESOURCES_FORWARDS];
	size_t forwards_count;
} ResolvedNic;

/* The keys of a VM's TPM, as disks' secrets are: -1 until they are put in. */
typedef struct ResolvedTpm {
	int file_key_fd;      /* of what it stores on this host */
	int migration_key_fd; /* of what travels */
	bool late;	      /* it begins by vmm_open_disks only: until then both may be -1 */
} ResolvedTpm;

/* A manifest with every name replaced by this host's own thing. Index i belongs to manifest index
 * i. disks[i].secret_fd is put in by who has the keys, after resources_resolve and before a VM is
 * started of it; it is then closed with the other descriptors. */
typedef struct ResolvedVm {
	Manifest manifest;
	int kernel_fd; /* -1: none */
	int initrd_fd; /* -1: none */
	ResolvedDisk disks[LIMIT_DISKS];
	ResolvedNic nics[LIMIT_NICS];
	ResolvedTpm tpm;
} ResolvedVm;

#define RESOLVED_VM_INIT                                                                           \
	((ResolvedVm){ .kernel_fd = -1,                                                            \
		       .initrd_fd = -1,                                                            \
		       .tpm.file_key_fd = -1,                                                      \
		       .tpm.migration_key_fd = -1 })

/* A disk of a peer's VM that is copied (transfer other than DISK_STAYS) has no image here yet: it
 * is marked late, and its descriptor is -1 until resources_open_copy. */

/* Closes the descriptors; fine on RESOLVED_VM_INIT and after itself. */
void resolved_vm_close(ResolvedVm *vm);
#define AUTO_RESOLVED_VM CLEANUP(resolved_vm_close)

/* Where the kernel and initrd of a VM that is started here lie; checked against the manifest's
 * digests. */
typedef struct LocalBoot {
	const char *kernel_path;
	const char *initrd_path; /* NULL or "": none */
} LocalBoot;

/* The pool of this name for this domain (NULL: this host's own users); NULL with ERROR_NOT_FOUND or
 * ERROR_DENIED as resources_resolve. Lives as long as resources. */
const PoolResource *resources_find_pool(const Resources *resources, const char *name,
					const char *peer_domain, Error *err);

/* Judges an open image as resources_resolve does, by disk's format and encryption, and takes its
 * size. */
MUST_CHECK bool resources_image_size(int fd, const ManifestDisk *disk, uint64_t *ret_size_bytes,
				     Error *err);

/* How many bytes the image of a disk has as a file, whatever is in it. ERROR_NOT_FOUND,
 * ERROR_DENIED as resources_find_pool; ERROR_IO. */
MUST_CHECK bool resources_stored_bytes(const Resources *resources, const ManifestDisk *disk,
				       const char *peer_domain, uint64_t *ret_bytes, Error *err);

/* Takes each disk's size_bytes from the image itself: for a VM that is started here. Of a LUKS
 * image that is its payload. */
MUST_CHECK bool resources_complete(const Resources *resources, Manifest *manifest, Error *err);

/* Raw disks, a bit each, that are said to be plain and begin as LUKS does: encrypted by the guest
 * itself, or by a host whose description of the VM said so. */
uint32_t resources_maybe_luks(const Resources *resources, const Manifest *manifest);

/*
 * Maps a manifest that passed manifest_check. peer_domain is NULL for a VM of this host's own
 * users; local_boot is NULL to find boot files by digest. *ret_vm is RESOLVED_VM_INIT on entry and
 * written only on success.
 * ERROR_NOT_FOUND or ERROR_DENIED: unknown to this host, or not for this domain (one text, so that
 * a peer cannot tell which). ERROR_CONFLICT: size or format differ, or the volume of a disk that is
 * to be copied here is there already. ERROR_DENIED: planted header; a disk in a sealed pool that is
 * not raw and LUKS. For a VM of this host's own users disks of sealed pools are marked served.
 */
MUST_CHECK bool resources_resolve(const Resources *resources, const Manifest *manifest,
				  const char *peer_domain, const LocalBoot *local_boot,
				  ResolvedVm *ret_vm, Error *err);

/*
 * Opens the image that was made for the copy of disk i (image_create.h, whose volume has the name
 * that the manifest says). The disk stays late, its descriptor may be written: what the guest only
 * reads must get there once. On failure vm is as it was, but for a volume that another disk has
 * too. stored_bytes 0: judged as resources_resolve does, by format, encryption and size in
 * vm->manifest, where the caller has put in what they are here. Else the copy brings the file's own
 * bytes, this many of them; as long as it is empty nothing else can be judged, and
 * resources_judge_copy must be, once it is complete, before a VM gets it.
 */
MUST_CHECK bool resources_open_copy(const Resources *resources, const char *peer_domain, size_t i,
				    uint64_t stored_bytes, ResolvedVm *vm, Error *err);

/* When the copy is complete: whether what is in the image of disk i now is what the manifest says,
 * judged as resources_resolve does. Puts in the descriptor that a VM gets (of a read-only disk it
 * is another than the copy was written by). On failure vm is as it was. ERROR_DENIED,
 * ERROR_CONFLICT. */
MUST_CHECK bool resources_judge_copy(const Resources *resources, const char *peer_domain, size_t i,
				     ResolvedVm *vm, Error *err);

#endif
