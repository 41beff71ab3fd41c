/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root key that another process has (sealift-keyhelper): a TPM's, which is handed over once and
 * is in our memory from then on, or a token's, which stays there: then each wrap and unwrap is a
 * question to the helper, and everything waits for its answer, since without a root key there is
 * nothing that could go on.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_HELPER_ROOT_H
#define SEALIFT_PROGRAMS_KEYD_HELPER_ROOT_H

#include "role/key_messages.h"

/* Of one question; of the first, for which the helper has to find its token or chip. */
enum { HELPER_ROOT_DEADLINE_MS = 10000, HELPER_ROOT_START_MS = 60000 };

/* Takes the connected fd, KEYD_ROOT_FD. HELPER_KIND_TPM2 waits until the key is there, and closes
 * it. ERROR_UNAVAILABLE, ERROR_TIMEOUT, and what the helper says. */
MUST_CHECK RootKey *helper_root_open(HelperKind kind, int fd, Error *err);
/* To wait for its end; -1 for a root key of any other kind. */
int helper_root_fd(const RootKey *root);
/* False, with ERROR_UNAVAILABLE, if it is of a helper that has gone: all that is left is to end and
 * be started anew with another. `readable`: it has something, which nobody asked for. */
MUST_CHECK bool helper_root_is_there(const RootKey *root, bool readable, Error *err);

#endif
