/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of `sealift doctor`. Each prints its findings as it goes, since some take seconds. */
#ifndef SEALIFT_PROGRAMS_CLI_DOCTOR_H
#define SEALIFT_PROGRAMS_CLI_DOCTOR_H

#include <stdbool.h>

typedef enum DoctorLevel {
	DOCTOR_OK,
	DOCTOR_NOTE, /* works without it, but worse */
	DOCTOR_FAIL, /* Sealift cannot work here */
} DoctorLevel;

typedef struct Doctor {
	bool json;
	unsigned int failures;
	const char *qemu;   /* program */
	const char *kernel; /* to boot under KVM; NULL: only the firmware runs */
	const char *config; /* of the engine; read for users and files that it names */
} Doctor;

/* Prints one finding; text may come from others and is escaped. */
void doctor_say(Doctor *doctor, const char *name, DoctorLevel level, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

void doctor_check_qemu(Doctor *doctor);	   /* version and migration features, by QMP */
void doctor_check_kvm(Doctor *doctor);	   /* by a bounded trial */
void doctor_check_aead(Doctor *doctor);	   /* speed of each provider */
void doctor_check_sandbox(Doctor *doctor); /* what the kernel grants our roles */
void doctor_check_memory(Doctor *doctor);  /* huge pages, locked memory */
void doctor_check_network(Doctor *doctor); /* /dev/net/tun */
void doctor_check_users(Doctor *doctor);   /* that the roles become */
void doctor_check_keys(Doctor *doctor);	   /* the root key's file and the store's directory */

#endif
