/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted images for tests with whole VMs: made once for a program, since that takes seconds;
 * each test begins with what the one before left. */
#ifndef SEALIFT_TESTS_VMM_LUKS_POOL_H
#define SEALIFT_TESTS_VMM_LUKS_POOL_H

#include "vm_fixture.h"

enum { LUKS_POOL_IMAGES = 2, LUKS_POOL_BYTES = 8 << 20 };

#define LUKS_POOL_PATTERN "sealift-luks-test-pattern" /* what the guest writes */

typedef struct LuksImage {
	const char *volume;
	DiskFormat format;
	const char *passphrase;
} LuksImage;
/* First raw, then qcow2. */
extern const LuksImage luks_pool_images[LUKS_POOL_IMAGES];

const char *luks_pool_directory(void);

/* For a group of tests. */
int luks_pool_make(void **state);
int luks_pool_remove(void **state);

/* A world whose VM has images[first] as its first disk, which the guest writes, and the other as
 * its second. */
int luks_pool_setup_world(void **state, size_t first);

/* No passphrase in the VM's arguments or environment, in what QMP tells, in the memory behind a
 * descriptor of it: it holds `descriptors` that once had one. */
void luks_pool_check_no_trace(Host *host, unsigned int descriptors);

/* What the guest wrote is not to be read in the image, and is what qemu-img decrypts. */
void luks_pool_check_image(const World *world, size_t i);

#endif
