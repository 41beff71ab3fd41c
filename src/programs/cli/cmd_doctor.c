/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift doctor`: what this host can do and what is missing. */
#include <stdarg.h>
#include <sys/utsname.h>

#include "base/bounds.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/doctor.h"
#include "programs/cli/text.h"

typedef enum DoctorOption { DOCTOR_QEMU, DOCTOR_KERNEL, DOCTOR_CONFIG } DoctorOption;
const CliOption cmd_doctor_options[] = {
	[DOCTOR_QEMU] = { "qemu", "PROGRAM", "the QEMU to examine, else qemu-system-x86_64" },
	[DOCTOR_KERNEL] = { "kernel", "FILE",
			    "a Linux kernel to boot as a trial of KVM, else this host's own" },
	[DOCTOR_CONFIG] = { "config", "FILE", "the engine's configuration, else " SEALIFT_CONFIG },
	{ NULL, NULL, NULL },
};

static const char *const level_words[] = { "ok", "note", "FAIL" };

void doctor_say(Doctor *doctor, const char *name, DoctorLevel level, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE], safe[ERROR_TEXT_SIZE];
	Error err = ERROR_INIT; /* main() looks at stdout once more at the end */
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_escape(text, safe, sizeof(safe));
	doctor->failures += level == DOCTOR_FAIL;
	if (doctor->json) {
		AUTO_JSON json_t *finding =
			json_pack("{s:s, s:b, s:s, s:s}", "name", name, "ok", level == DOCTOR_OK,
				  "level", level_words[level], "text", safe);

		(void)(finding && text_print_json(stdout, finding, &err));
		return;
	}
	printf("%-5s %-30s %s\n", level_words[level], name, safe);
	fflush(stdout);
}

static void check_engine(Doctor *doctor, const char *socket_path)
{
	AUTO_JSON json_t *body = NULL;
	Error err = ERROR_INIT;

	if (!api_ask(socket_path, "doctor", NULL, API_TIMEOUT_MS, &body, &err)) {
		doctor_say(doctor, "engine", DOCTOR_NOTE, "%s", err.text);
		return;
	}
	doctor_say(doctor, "engine", DOCTOR_OK, "it answers at %s", socket_path);
	for (size_t i = 0; i < api_count(body, "checks"); i++) {
		const json_t *check = api_item(body, "checks", i);
		const char *name = api_text(check, "name"), *text = api_text(check, "text");
		char raw[64], label[64];

		snprintf(raw, sizeof(raw), "engine-%.48s", name ? name : "?");
		text_escape(raw, label, sizeof(label));
		doctor_say(doctor, label,
			   json_is_true(json_object_get(check, "ok")) ? DOCTOR_OK : DOCTOR_NOTE,
			   "%s", text ? text : "");
	}
}

/* The kernel that runs here, if it may be read: the best trial of KVM there is. */
static const char *own_kernel(char path[LIMIT_PATH])
{
	struct utsname name;

	if (uname(&name) ||
	    snprintf(path, LIMIT_PATH, "/boot/vmlinuz-%s", name.release) >= LIMIT_PATH)
		return NULL;
	return access(path, R_OK) ? NULL : path;
}

bool cmd_doctor(CliContext *context, const CliInput *input, Error *err)
{
	const char *qemu = input->values[DOCTOR_QEMU], *config = input->values[DOCTOR_CONFIG];
	char own[LIMIT_PATH];
	Doctor doctor = { .json = context->json,
			  .qemu = qemu ? qemu : "qemu-system-x86_64",
			  .kernel = input->values[DOCTOR_KERNEL],
			  .config = config ? config : SEALIFT_CONFIG };

	if (doctor.kernel && access(doctor.kernel, R_OK))
		return error_set(err, ERROR_NOT_FOUND, "cannot read the kernel %.200s",
				 doctor.kernel);
	if (!doctor.kernel)
		doctor.kernel = own_kernel(own);
	doctor_check_qemu(&doctor);
	doctor_check_kvm(&doctor);
	doctor_check_aead(&doctor);
	doctor_check_sandbox(&doctor);
	doctor_check_memory(&doctor);
	doctor_check_network(&doctor);
	doctor_check_users(&doctor);
	doctor_check_keys(&doctor);
	check_engine(&doctor, context->socket_path);
	if (doctor.failures)
		return error_set(err, ERROR_UNAVAILABLE,
				 "%u of these must be mended before Sealift works here",
				 doctor.failures);
	return true;
}
