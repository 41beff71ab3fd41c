/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU and KVM do here, found out by asking and trying, never from a version or a file mode.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "programs/cli/api.h"
#include "programs/cli/doctor.h"
#include "programs/cli/trial.h"

enum { ASK_TIMEOUT_MS = 10000, KVM_TIMEOUT_MS = 5000 };

typedef struct Feature {
	const char *name;
	bool required;
	const char *without;
} Feature;

static const Feature features[] = {
	{ "return-path", true, "the destination could not answer" },
	{ "pause-before-switchover", true, "the commit rule could not be kept" },
	{ "events", true, "the end of a migration could not be seen" },
	{ "multifd", false, "one channel only" },
	{ "late-block-activate", false, "a destination touches its disks before it may run" },
};

/* One line of QMP without its newline; *ret_length bytes stay at the buffer's front. */
static bool read_line(Trial *trial, Buffer *buffer, size_t *ret_length, Error *err)
{
	size_t searched = 0;

	for (;;) {
		const uint8_t *end = buffer->used > searched ? memchr(buffer->data + searched, '\n',
								      buffer->used - searched)
							     : NULL;

		if (end) {
			*ret_length = (size_t)(end - buffer->data);
			return true;
		}
		searched = buffer->used;
		if (!trial_read(trial, buffer, err))
			return false;
	}
}

/* Reads until a reply; events are passed over. */
static bool read_reply(Trial *trial, Buffer *buffer, const char *member, json_t **ret_value,
		       Error *err)
{
	for (;;) {
		AUTO_JSON json_t *line = NULL;
		size_t length = 0;

		if (!read_line(trial, buffer, &length, err))
			return false;
		line = json_loadb((const char *)buffer->data, length, 0, NULL);
		buffer_consume(buffer, length + 1);
		if (!json_is_object(line) || json_object_get(line, "error"))
			return error_set(err, ERROR_HYPERVISOR, "its QMP answer cannot be used");
		if (!json_object_get(line, member))
			continue;
		*ret_value = json_incref(json_object_get(line, member));
		return true;
	}
}

static bool ask(Trial *trial, Buffer *buffer, const char *request, json_t **ret_value, Error *err)
{
	return trial_write(trial, request, err) &&
	       read_reply(trial, buffer, "return", ret_value, err);
}

/* MigrationCapability is the enum that knows "return-path"; QEMU hides the names of its types. */
static const json_t *find_capabilities(const json_t *schema)
{
	for (size_t i = 0; i < json_array_size(schema); i++) {
		const json_t *values = json_object_get(json_array_get(schema, i), "values");

		for (size_t j = 0; j < json_array_size(values); j++) {
			const char *value = json_string_value(json_array_get(values, j));

			if (value && !strcmp(value, "return-path"))
				return values;
		}
	}
	return NULL;
}

static bool has_value(const json_t *values, const char *name)
{
	for (size_t i = 0; i < json_array_size(values); i++) {
		const char *value = json_string_value(json_array_get(values, i));

		if (value && !strcmp(value, name))
			return true;
	}
	return false;
}

static void say_features(Doctor *doctor, const json_t *capabilities)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		const Feature *feature = &features[i];
		char name[64];

		snprintf(name, sizeof(name), "qemu-%s", feature->name);
		if (has_value(capabilities, feature->name))
			doctor_say(doctor, name, DOCTOR_OK, "offered");
		else
			doctor_say(doctor, name, feature->required ? DOCTOR_FAIL : DOCTOR_NOTE,
				   "not offered: %s", feature->without);
	}
}

static bool examine(Doctor *doctor, Trial *trial, Error *err)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(TRIAL_OUTPUT_MAX);
	AUTO_JSON json_t *greeting = NULL, *ready = NULL, *schema = NULL;
	json_int_t major, minor, micro;

	if (!read_reply(trial, &buffer, "QMP", &greeting, err) ||
	    !ask(trial, &buffer, "{\"execute\":\"qmp_capabilities\"}\n", &ready, err) ||
	    !ask(trial, &buffer, "{\"execute\":\"query-qmp-schema\"}\n", &schema, err))
		return false;
	if (json_unpack(greeting, "{s:{s:{s:I, s:I, s:I}}}", "version", "qemu", "major", &major,
			"minor", &minor, "micro", &micro))
		return error_set(err, ERROR_HYPERVISOR, "it does not say its version");
	doctor_say(doctor, "qemu", DOCTOR_OK, "%s is version %lld.%lld.%lld", doctor->qemu,
		   (long long)major, (long long)minor, (long long)micro);
	say_features(doctor, find_capabilities(schema));
	return true;
}

void doctor_check_qemu(Doctor *doctor)
{
	const char *const argv[] = {
		doctor->qemu,	   "-machine", "none", "-accel", "tcg",	  "-nodefaults",
		"-no-user-config", "-display", "none", "-qmp",	 "stdio", NULL
	};
	AUTO_TRIAL Trial trial = TRIAL_INIT;
	Error err = ERROR_INIT;

	if (!trial_start(&trial, argv, ASK_TIMEOUT_MS, &err) || !examine(doctor, &trial, &err))
		doctor_say(doctor, "qemu", DOCTOR_FAIL, "%s: %s", doctor->qemu, err.text);
}

/* The firmware writes to port 0x402, a kernel to its serial port: a byte from either proves that a
 * virtual CPU has executed instructions, which an open /dev/kvm does not. */
static bool run_under_kvm(const Doctor *doctor, Error *err)
{
	const char *const firmware[] = { doctor->qemu,
					 "-accel",
					 "kvm",
					 "-machine",
					 "pc",
					 "-m",
					 "64",
					 "-nodefaults",
					 "-no-user-config",
					 "-no-reboot",
					 "-display",
					 "none",
					 "-chardev",
					 "stdio,id=out",
					 "-device",
					 "isa-debugcon,iobase=0x402,chardev=out",
					 NULL };
	const char *const kernel[] = { doctor->qemu,
				       "-accel",
				       "kvm",
				       "-machine",
				       "pc",
				       "-m",
				       "256",
				       "-nodefaults",
				       "-no-user-config",
				       "-no-reboot",
				       "-display",
				       "none",
				       "-serial",
				       "stdio",
				       "-kernel",
				       doctor->kernel,
				       "-append",
				       "console=ttyS0 panic=-1",
				       NULL };
	AUTO_BUFFER Buffer output = BUFFER_INIT(TRIAL_OUTPUT_MAX);
	AUTO_TRIAL Trial trial = TRIAL_INIT;

	return trial_start(&trial, doctor->kernel ? kernel : firmware, KVM_TIMEOUT_MS, err) &&
	       trial_read(&trial, &output, err);
}

void doctor_check_kvm(Doctor *doctor)
{
	AUTO_FD int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	Error err = ERROR_INIT;

	if (fd < 0)
		doctor_say(
			doctor, "kvm", DOCTOR_NOTE,
			"/dev/kvm: %s; guests can only be emulated (accel = \"tcg\"), which is slow",
			strerror(errno));
	else if (!run_under_kvm(doctor, &err))
		doctor_say(doctor, "kvm", DOCTOR_NOTE,
			   "%s did not run under KVM within %d s (%s); use accel = \"tcg\"",
			   doctor->kernel ? "the kernel" : "the firmware", KVM_TIMEOUT_MS / 1000,
			   err.text);
	else if (doctor->kernel)
		doctor_say(doctor, "kvm", DOCTOR_OK,
			   "the kernel came to speak under KVM; how far it boots was not tried");
	else
		doctor_say(doctor, "kvm", DOCTOR_OK,
			   "the firmware ran under KVM; a kernel may still hang on a nested one: "
			   "--kernel FILE tries it");
}
