/* SPDX-License-Identifier: Apache-2.0 */
/* The one kind of helper that needs files: a module of others brings libraries, a configuration and
 * a token. */
#ifndef SEALIFT_PROGRAMS_KEYHELPER_FILES_H
#define SEALIFT_PROGRAMS_KEYHELPER_FILES_H

#include "role/key_messages.h"
#include "sandbox/sandbox.h"

/* Checks the module (keys/pkcs11.h; *config then names what to load), for inside owners may not be
 * seen; then sandbox_enter_with_files for it: the system's libraries, the module's folder, and what
 * the configuration names. Refuses variables that would steer our own program: ERROR_CONFIG. */
MUST_CHECK bool helper_enter_with_files(const SandboxPolicy *policy, const SandboxUser *user,
					const int *keep, size_t n_keep, HelperPkcs11 *config,
					SandboxReport *ret_report, Error *err);

#endif
