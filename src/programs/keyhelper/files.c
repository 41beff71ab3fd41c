/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyhelper/files.h"

#include <stdio.h>
#include <string.h>

#include "keys/pkcs11.h"

/* Where a module's own libraries are found by the dynamic linker. */
static const char *const library_paths[] = {
	"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache",
};

/* What the C library, its linker and OpenSSL read from the environment. */
static const char *const forbidden_names[] = {
	"LD_",	   "GLIBC_",	  "MALLOC_", "OPENSSL_", "SSL_",  "LOCPATH",
	"NLSPATH", "GCONV_",	  "TZ",	     "PATH",	 "HOME",  "IFS",
	"RES_",	   "HOSTALIASES", "ASAN_",   "UBSAN_",	 "LSAN_",
};

static bool check_variable(const char *text, Error *err)
{
	size_t size = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	if (!size || text[size] != '=')
		return error_set(err, ERROR_CONFIG, "\"%.100s\" is not NAME=VALUE", text);
	for (size_t i = 0; i < ARRAY_SIZE(forbidden_names); i++)
		if (!strncmp(text, forbidden_names[i], strlen(forbidden_names[i])))
			return error_set(err, ERROR_CONFIG, "the variable %.*s is not for a module",
					 (int)size, text);
	return true;
}

bool helper_enter_with_files(const SandboxPolicy *policy, const SandboxUser *user, const int *keep,
			     size_t n_keep, HelperPkcs11 *config, SandboxReport *ret_report,
			     Error *err)
{
	SandboxPath paths[ARRAY_SIZE(library_paths) + 1 + LIMIT_HELPER_PATHS];
	const char *variables[LIMIT_HELPER_VARIABLES + 1] = { NULL };
	char folder[LIMIT_PATH];
	size_t count = 0;

	for (size_t i = 0; i < config->variables_count; i++) {
		if (!check_variable(config->variables[i].text, err))
			return false;
		variables[i] = config->variables[i].text;
	}
	for (; count < ARRAY_SIZE(library_paths); count++)
		paths[count] = (SandboxPath){ .path = library_paths[count] };
	if (!pkcs11_module_check(config->module, folder, err))
		return false;
	snprintf(config->module, sizeof(config->module), "%s", folder);
	if (strrchr(folder, '/') == folder)
		return error_set(err, ERROR_CONFIG, "the module %s stands in the root", folder);
	*strrchr(folder, '/') = '\0';
	paths[count++] = (SandboxPath){ .path = folder };
	for (size_t i = 0; i < config->paths_count; i++)
		paths[count++] = (SandboxPath){ config->paths[i].path, config->paths[i].write };
	return sandbox_enter_with_files(policy, user, keep, n_keep, paths, count, variables,
					ret_report, err);
}
