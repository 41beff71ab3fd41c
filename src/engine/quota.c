/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/quota.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { STATUS_MAX = 16384 };

bool quota_check_vcpus(uint64_t vcpus, unsigned int configured, unsigned int online, Error *err)
{
	if (configured)
		return vcpus <= configured ||
		       error_set(err, ERROR_LIMIT, "the VM has %llu vCPUs; at most %u by max_vcpus",
				 (unsigned long long)vcpus, configured);
	return vcpus <= online ||
	       error_set(err, ERROR_LIMIT,
			 "the VM has %llu vCPUs; this host has %u processors online",
			 (unsigned long long)vcpus, online);
}

typedef struct DomainCount {
	char prefix[sizeof("spiffe:///") + LIMIT_DOMAIN];
	unsigned int reservations;
} DomainCount;

static bool count_reservation(void *context, const void *object, Error *err)
{
	DomainCount *count = context;
	const MigrationRecord *record = object;

	(void)err;
	if (record->role == MIGRATION_DESTINATION &&
	    (record->state == MIGRATION_ACTIVE || record->state == MIGRATION_STUCK) &&
	    !strncmp(record->peer_id, count->prefix, strlen(count->prefix)))
		count->reservations++;
	return true;
}

bool quota_check_domain(Store *store, const char *domain, unsigned int most, Error *err)
{
	DomainCount count = { 0 };

	snprintf(count.prefix, sizeof(count.prefix), "spiffe://%s/", domain);
	if (!store_each(store, STORE_MIGRATIONS, count_reservation, &count, err))
		return false;
	return count.reservations < most ||
	       error_set(err, ERROR_LIMIT, "%u reservations of domain %s already, at most %u",
			 count.reservations, domain, most);
}

uint64_t quota_growth_bytes(uint64_t size_bytes, uint64_t resident_bytes)
{
	return resident_bytes < size_bytes ? size_bytes - resident_bytes : 0;
}

/* "RssAnon:	    1234 kB" */
static uint64_t field_kib(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	unsigned long long kib = 0;

	return at && (at == text || at[-1] == '\n') &&
			       sscanf(at + strlen(name), "%llu kB", &kib) == 1
		       ? kib
		       : 0;
}

uint64_t quota_parse_status(const char *text)
{
	static const char *const names[] = { "RssAnon:", "RssShmem:", "HugetlbPages:" };
	uint64_t kib = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		kib += field_kib(text, names[i]);
	return kib << 10;
}

uint64_t quota_resident_bytes(pid_t pid)
{
	AUTO_FILE FILE *file = NULL;
	char path[32], text[STATUS_MAX];
	size_t got;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	got = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	text[got] = '\0';
	return quota_parse_status(text);
}

uint64_t quota_available_bytes(void)
{
	AUTO_FILE FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			return (uint64_t)kib << 10;
	return 0;
}
