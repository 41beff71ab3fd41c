/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of make_seeds: each writes the seeds of some targets below the folder `root`. */
#ifndef SEALIFT_TESTS_FUZZ_MAKE_SEEDS_H
#define SEALIFT_TESTS_FUZZ_MAKE_SEEDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Ends the program with the error unless ok. */
void seeds_must(bool ok, const Error *err);
/* root/corpus folder of `target`/name. */
void seeds_write(const char *root, const char *target, const char *name, const void *data,
		 size_t size);

/* make_seeds_crypto.c: anchors, CRLs, certificates, statements. Their keys are new each time. */
void seeds_write_crypto(const char *root);
/* make_seeds_text.c: what people and QEMU write. */
void seeds_write_text(const char *root);
/* make_seeds_channels.c: what QEMU sends on multifd channels and the return path. */
void seeds_write_channels(const char *root);
/* make_seeds_main.c: QEMU's main and preempt channels. */
void seeds_write_main_channel(const char *root);
/* make_seeds_device.c: device state. */
void seeds_write_device(const char *root);
/* make_seeds_guard.c: the guard's channels. */
void seeds_write_guard(const char *root);
/* make_seeds_requests.c: requests of SCSI disks, state of virtio devices that has its own form. */
void seeds_write_requests(const char *root);
/* make_seeds_nbd.c: conversations of NBD. */
void seeds_write_nbd(const char *root);
/* make_seeds_keylink.c: what hosts say to a key manager that they share. */
void seeds_write_keylink(const char *root);

#endif
