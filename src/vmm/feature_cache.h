/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hypervisor program said of itself the last time it was asked. QEMU takes about 20 ms to
 * write its schema down, which every start and every reservation would wait for; the same program
 * file gives the same answer.
 */
#ifndef SEALIFT_VMM_FEATURE_CACHE_H
#define SEALIFT_VMM_FEATURE_CACHE_H

#include <sys/stat.h>

#include "vmm/vmm.h"

typedef struct FeatureCache FeatureCache;

/* Owned by the caller; it holds one program, the last. */
FeatureCache *feature_cache_new(Error *err);
void feature_cache_free(FeatureCache *cache);
DEFINE_CLEANUP(FeatureCache, feature_cache, feature_cache_free)
#define AUTO_FEATURE_CACHE CLEANUP(feature_cache_cleanup)

/* False if it does not know this file (by device, inode, size, modification and change time).
 * cache may be NULL in both. */
bool feature_cache_find(const FeatureCache *cache, const struct stat *program,
			VmmFeatures *ret_features);
void feature_cache_keep(FeatureCache *cache, const struct stat *program,
			const VmmFeatures *features);

#endif
