/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the image of one disk of a VM that is not there yet, and if it is encrypted its key before it:
 * the one that the key manager has for it, or a new one, which does not stay if the image is not made.
 */
#ifndef SEALIFT_ENGINE_DISK_MAKE_H
#define SEALIFT_ENGINE_DISK_MAKE_H

#include "engine/engine.h"
#include "keys/key.h"

typedef struct DiskMake DiskMake;

/* Once, from the event loop; err is NULL if the image is there. May free it. */
typedef void DiskMakeDone(void *context, const Error *err);

typedef struct DiskMakeWanted {
	const Manifest *manifest; /* the VM's; its disk's size_bytes is the new image's */
	size_t disk;
	const char *peer_domain; /* for whose VM; NULL: this host's own users' */
	const char *owner;
	uint64_t epoch;
	bool sparse;
	const char *who; /* asks, for the key manager's log */
} DiskMakeWanted;

/* Begins. Errors, here or later: those of disk_keys_new and image_create_new. */
DiskMake *disk_make_new(Engine *engine, const DiskMakeWanted *wanted, DiskMakeDone *done, void *context,
			Error *err);
/* Once done: the id of its key; zeros if it has none. */
const uint8_t *disk_make_key(const DiskMake *make);
/* Once done, until it is freed: what opens it; -1 if it has no key. Stays owned here. */
int disk_make_secret_fd(const DiskMake *make);
/* Gives up: once done only the value is wiped; before that done is not called, and what was begun is
 * taken back as far as nobody has to be waited for. NULL is fine. */
void disk_make_free(DiskMake *make);

#endif
