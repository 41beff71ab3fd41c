/* SPDX-License-Identifier: Apache-2.0 */
/* What the key manager stands on: files that the configuration names. The engine says by itself
 * whether it serves. */
#include <errno.h>
#include <libconfig.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bounds.h"
#include "programs/cli/doctor.h"
#include "base/cleanup.h"

static void destroy_config(config_t *config)
{
	config_destroy(config);
}

static void check_root(Doctor *doctor, const char *path)
{
	struct stat status;

	if (lstat(path, &status))
		doctor_say(doctor, "root-key", errno == EACCES ? DOCTOR_NOTE : DOCTOR_FAIL,
			   "%.200s: %s%s", path, strerror(errno),
			   errno == ENOENT ? "; `sealift key root init` makes one" : "");
	else if (!S_ISREG(status.st_mode))
		doctor_say(doctor, "root-key", DOCTOR_FAIL, "%.200s is not a regular file", path);
	else if (status.st_mode & 077)
		doctor_say(doctor, "root-key", DOCTOR_FAIL,
			   "%.200s has mode %04o: others may use it, 0600 is wanted", path,
			   (unsigned int)status.st_mode & 07777);
	else
		doctor_say(doctor, "root-key", DOCTOR_OK, "%.200s, mode %04o", path,
			   (unsigned int)status.st_mode & 07777);
}

static void check_store(Doctor *doctor, const char *path)
{
	struct stat status;

	if (lstat(path, &status))
		doctor_say(doctor, "key-store", DOCTOR_NOTE, "%.200s: %s%s", path, strerror(errno),
			   errno == ENOENT ? "; the engine makes it" : "");
	else if (!S_ISDIR(status.st_mode))
		doctor_say(doctor, "key-store", DOCTOR_FAIL, "%.200s is not a directory", path);
	else if (status.st_mode & 077)
		doctor_say(doctor, "key-store", DOCTOR_FAIL,
			   "%.200s has mode %04o: others may use it, 0700 is wanted", path,
			   (unsigned int)status.st_mode & 07777);
	else
		doctor_say(doctor, "key-store", DOCTOR_OK, "%.200s, mode %04o", path,
			   (unsigned int)status.st_mode & 07777);
}

void doctor_check_keys(Doctor *doctor)
{
	CLEANUP(destroy_config) config_t config;
	const char *root = NULL, *store = NULL, *state = "/var/lib/sealift";
	char path[LIMIT_PATH];

	config_init(&config);
	/* That it cannot be read is said where users are checked. */
	if (!config_read_file(&config, doctor->config))
		return;
	if (!config_lookup_string(&config, "keys.root", &root)) {
		doctor_say(doctor, "root-key", DOCTOR_NOTE,
			   "%s names none: this host has no key manager", doctor->config);
		return;
	}
	check_root(doctor, root);
	(void)config_lookup_string(&config, "state_directory", &state);
	snprintf(path, sizeof(path), "%.200s/keys", state);
	(void)config_lookup_string(&config, "keys.store", &store);
	check_store(doctor, store ? store : path);
}
