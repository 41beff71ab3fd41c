/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/feature_cache.h"

struct FeatureCache {
	bool known;
	struct stat program;
	VmmFeatures features;
};

FeatureCache *feature_cache_new(Error *err)
{
	FeatureCache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		error_set(err, ERROR_INTERNAL, "no memory for the feature cache");
	return cache;
}

void feature_cache_free(FeatureCache *cache)
{
	free(cache);
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       is_same_time(&a->st_mtim, &b->st_mtim) && is_same_time(&a->st_ctim, &b->st_ctim);
}

bool feature_cache_find(const FeatureCache *cache, const struct stat *program,
			VmmFeatures *ret_features)
{
	if (!cache || !cache->known || !is_same_file(&cache->program, program))
		return false;
	*ret_features = cache->features;
	return true;
}

void feature_cache_keep(FeatureCache *cache, const struct stat *program,
			const VmmFeatures *features)
{
	if (cache)
		*cache =
			(FeatureCache){ .known = true, .program = *program, .features = *features };
}
