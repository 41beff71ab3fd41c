/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel, the processor and the configuration of this host give. */
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "crypto/aead.h"
#include "programs/cli/doctor.h"
#include "programs/cli/parse.h"
#include "programs/cli/text.h"
#include "sandbox/sandbox.h"

enum { AEAD_BUDGET_MS = 200, AEAD_RECORD_BYTES = LIMIT_RECORD_PLAINTEXT, PROC_MAX = 16384 };

void doctor_check_aead(Doctor *doctor)
{
	size_t count = 0;
	const AeadProvider *const *providers = aead_providers(&count);

	for (size_t i = 0; i < count; i++) {
		const AeadProvider *provider = providers[i];
		char name[64], text[TEXT_NUMBER_SIZE];
		double rate = 0;
		Error err = ERROR_INIT;

		snprintf(name, sizeof(name), "aead-%s", provider->name);
		if (!provider->usable()) {
			doctor_say(doctor, name, DOCTOR_NOTE, "not for this processor");
			continue;
		}
		if (!aead_self_test(provider, &err) ||
		    !aead_measure(provider, AEAD_RECORD_BYTES, AEAD_BUDGET_MS, &rate, &err)) {
			doctor_say(doctor, name, DOCTOR_NOTE, "not used: %s", err.text);
			continue;
		}
		text_rate((uint64_t)rate, text);
		doctor_say(doctor, name, DOCTOR_OK, "AES-256-GCM at %s on one core", text);
	}
	if (count == 1)
		doctor_say(doctor, "aead-ipsec-mb", DOCTOR_NOTE, "not built in; OpenSSL serves");
}

/* Without a measure of the floor a role refuses to start (sandbox.h). Landlock and the empty root
 * stand in for one another. */
static DoctorLevel missing_level(SandboxMeasure measure, const SandboxReport *report)
{
	bool has_root = report->active & (1U << SANDBOX_EMPTY_ROOT);
	bool has_landlock = report->active & (1U << SANDBOX_LANDLOCK);

	if (measure == SANDBOX_NO_NEW_PRIVILEGES || measure == SANDBOX_NOT_DUMPABLE ||
	    measure == SANDBOX_SECCOMP)
		return DOCTOR_FAIL;
	if ((measure == SANDBOX_LANDLOCK || measure == SANDBOX_EMPTY_ROOT) && !has_root &&
	    !has_landlock)
		return DOCTOR_FAIL;
	return DOCTOR_NOTE;
}

void doctor_check_sandbox(Doctor *doctor)
{
	SandboxUser user = { 0 };
	SandboxReport report = { 0 };
	Error err = ERROR_INIT;

	if (!sandbox_probe(&user, &report, &err)) {
		doctor_say(doctor, "sandbox", DOCTOR_FAIL, "%s", err.text);
		return;
	}
	for (int i = 0; i < SANDBOX_MEASURE_COUNT; i++) {
		char name[64];

		/* Asked of the configuration instead: doctor_check_users. */
		if (i == SANDBOX_OWN_USER)
			continue;
		snprintf(name, sizeof(name), "sandbox-%s", sandbox_measure_words[i]);
		if (!(report.active & (1U << i)))
			doctor_say(doctor, name, missing_level((SandboxMeasure)i, &report),
				   "not to be had by this user on this kernel");
		else if (i == SANDBOX_LANDLOCK)
			doctor_say(doctor, name, DOCTOR_OK, "ABI %d", report.landlock_abi);
		else
			doctor_say(doctor, name, DOCTOR_OK, "works");
	}
}

/* A number out of a file of "Name:   123 kB" lines. */
static bool find_number(const char *text, const char *name, uint64_t *ret_value)
{
	const char *line = strstr(text, name);
	char digits[24] = "";
	size_t used = 0;
	Error err = ERROR_INIT;

	if (!line)
		return false;
	line += strlen(name);
	line += strspn(line, " \t");
	while (line[used] >= '0' && line[used] <= '9' && used + 1 < sizeof(digits)) {
		digits[used] = line[used];
		used++;
	}
	return parse_u64(digits, name, 0, UINT64_C(999999999999999999), ret_value, &err);
}

/* Files of /proc and /sys as text; empty if they cannot be read. */
static void read_kernel_file(const char *path, char out[PROC_MAX])
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(PROC_MAX - 1);
	Error err = ERROR_INIT;

	out[0] = '\0';
	if (!file_read(path, PROC_MAX - 1, &buffer, &err) || !buffer.used)
		return;
	memcpy(out, buffer.data, buffer.used);
	out[buffer.used] = '\0';
}

static void check_huge_pages(Doctor *doctor)
{
	char meminfo[PROC_MAX], transparent[PROC_MAX];
	uint64_t total = 0, free_pages = 0, size_kib = 0;
	const char *choice, *end;

	read_kernel_file("/proc/meminfo", meminfo);
	read_kernel_file("/sys/kernel/mm/transparent_hugepage/enabled", transparent);
	if (find_number(meminfo, "HugePages_Total:", &total) &&
	    find_number(meminfo, "HugePages_Free:", &free_pages) &&
	    find_number(meminfo, "Hugepagesize:", &size_kib) && total)
		doctor_say(doctor, "huge-pages", DOCTOR_OK,
			   "%llu of %llu pages of %llu KiB are free",
			   (unsigned long long)free_pages, (unsigned long long)total,
			   (unsigned long long)size_kib);
	else
		doctor_say(doctor, "huge-pages", DOCTOR_NOTE,
			   "none are reserved; ordinary pages serve");
	choice = strchr(transparent, '[');
	end = choice ? strchr(choice, ']') : NULL;
	if (!end || !strncmp(choice, "[never", strlen("[never")))
		doctor_say(doctor, "transparent-huge-pages", DOCTOR_NOTE,
			   "off: populating a guest's memory takes longer");
	else
		doctor_say(doctor, "transparent-huge-pages", DOCTOR_OK, "%.*s",
			   (int)(end - choice - 1), choice + 1);
}

void doctor_check_memory(Doctor *doctor)
{
	const rlim_t enough = 1 << 20; /* some dozens of keys, a page each */
	struct rlimit limit = { 0 };
	char text[TEXT_NUMBER_SIZE];

	check_huge_pages(doctor);
	if (getrlimit(RLIMIT_MEMLOCK, &limit)) {
		doctor_say(doctor, "locked-memory", DOCTOR_FAIL, "%s", strerror(errno));
		return;
	}
	text_bytes(limit.rlim_cur, text);
	if (limit.rlim_cur == RLIM_INFINITY)
		doctor_say(doctor, "locked-memory", DOCTOR_OK, "no limit");
	else
		doctor_say(doctor, "locked-memory",
			   limit.rlim_cur >= enough ? DOCTOR_OK : DOCTOR_FAIL,
			   "%s may be locked (RLIMIT_MEMLOCK); keys need up to 1 MiB", text);
}

void doctor_check_network(Doctor *doctor)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		doctor_say(doctor, "tun", DOCTOR_NOTE,
			   "/dev/net/tun: %s; networks of type \"bridge\" cannot be used",
			   strerror(errno));
	else
		doctor_say(doctor, "tun", DOCTOR_OK, "/dev/net/tun opens");
}

static void destroy_config(config_t *config)
{
	config_destroy(config);
}

/* The roles take "UID:GID" only, QEMU also a name; sealift.conf(5). */
static void check_user(Doctor *doctor, const config_t *config, const char *role)
{
	char name[64], path[64];
	bool may_be_name = !strcmp(role, "qemu");
	const char *user = NULL;
	SandboxUser ids = { 0 };
	Error err = ERROR_INIT;

	snprintf(name, sizeof(name), "user-%s", role);
	snprintf(path, sizeof(path), "users.%s", role);
	if (!config_lookup_string(config, path, &user))
		doctor_say(doctor, name, DOCTOR_NOTE,
			   "%s names none: an engine run by root would not separate it",
			   doctor->config);
	else if (may_be_name && !strchr(user, ':') && !getpwnam(user))
		doctor_say(doctor, name, DOCTOR_FAIL, "there is no user %.64s", user);
	else if ((!may_be_name || strchr(user, ':')) && !sandbox_user_parse(user, &ids, &err))
		doctor_say(doctor, name, DOCTOR_FAIL, "%s", err.text);
	else
		doctor_say(doctor, name, DOCTOR_OK, "%.64s", user);
}

void doctor_check_users(Doctor *doctor)
{
	static const char *const roles[] = { "gate", "notary", "mover", "qemu" };
	CLEANUP(destroy_config) config_t config;

	config_init(&config);
	if (access(doctor->config, R_OK)) {
		doctor_say(doctor, "users", DOCTOR_NOTE, "%s: %s", doctor->config, strerror(errno));
		return;
	}
	if (!config_read_file(&config, doctor->config)) {
		doctor_say(doctor, "users", DOCTOR_FAIL, "%s:%d: %s", doctor->config,
			   config_error_line(&config), config_error_text(&config));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		check_user(doctor, &config, roles[i]);
	if (config_lookup(&config, "keys"))
		check_user(doctor, &config, "keyd");
}
