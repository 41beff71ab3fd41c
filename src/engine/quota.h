/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host gives at most, beyond what migration/admission.c counts: processors, reservations
 * of one domain, and the memory that VMs of this host may still grow into.
 */
#ifndef SEALIFT_ENGINE_QUOTA_H
#define SEALIFT_ENGINE_QUOTA_H

#include <sys/types.h>

#include "store/store.h"

/* ERROR_LIMIT if a VM has more processors than `configured`, or than are `online` where that is 0.
 */
MUST_CHECK bool quota_check_vcpus(uint64_t vcpus, unsigned int configured, unsigned int online,
				  Error *err);

/* ERROR_LIMIT if the store holds `most` reservations of hosts of this domain already: migrations in
 * that have not ended. Called before the new one is journalled. */
MUST_CHECK bool quota_check_domain(Store *store, const char *domain, unsigned int most, Error *err);

/* What a VM of size_bytes, of which resident_bytes are in memory now, may still take of what is
 * free: it is booked with its full size, whatever it has touched. */
uint64_t quota_growth_bytes(uint64_t size_bytes, uint64_t resident_bytes);

/* Memory of a process that counts as taken, of /proc/PID/status: anonymous, shared and huge pages,
 * not what was swapped out. 0 if that cannot be read: then all of it is still to come. */
uint64_t quota_resident_bytes(pid_t pid);
/* The same, of the text of such a file. */
uint64_t quota_parse_status(const char *text);

/* MemAvailable of /proc/meminfo, which counts what the kernel can free. */
uint64_t quota_available_bytes(void);

#endif
