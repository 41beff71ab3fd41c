/* SPDX-License-Identifier: Apache-2.0 */
/* Good examples of what the store keeps. */
#ifndef SEALIFT_TESTS_STORE_RECORDS_H
#define SEALIFT_TESTS_STORE_RECORDS_H

#include "store/records.h"

void sample_host(const char *name, HostRecord *ret_host);
void sample_vm(const char *name, VmRecord *ret_vm);
/* `number` makes the id, and stands in epoch too. */
void sample_migration(uint8_t number, MigrationRecord *ret_migration);

#endif
