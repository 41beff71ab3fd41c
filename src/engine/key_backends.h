/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helpers of the key manager (sealift-keyhelper), as the engine starts them: one for each entry
 * of keys.backends, and one for a root key that is no file. Each gets what the configuration says,
 * the files that it needs as descriptors, and one end of a pair whose other end keyd gets: what is
 * said there the engine does not hear.
 *
 * One that ends is started anew, after a second at first and a minute at last. But one that was
 * refused (ERROR_AUTH: a wrong PIN, a changed machine) is not, until the engine is started anew: a
 * token that counts wrong PINs would lock itself.
 */
#ifndef SEALIFT_ENGINE_KEY_BACKENDS_H
#define SEALIFT_ENGINE_KEY_BACKENDS_H

#include "engine/engine.h"
#include "role/keyd_messages.h"

typedef struct KeyBackends KeyBackends;

/* Starts none yet. NULL only without memory. The engine outlives it. */
MUST_CHECK KeyBackends *key_backends_new(Engine *engine, Error *err);
/* Ends all. NULL is fine. */
void key_backends_free(KeyBackends *backends);

/* The word of KEYD_ROOT_OPTION; NULL if the root key is a file. */
const char *key_backends_root_word(const KeyBackends *backends);
/* Starts the root key's helper; *ret_fd, owned by the caller, is what keyd gets as KEYD_ROOT_FD.
 * ERROR_CONFIG, and the earlier refusal if it was refused. */
MUST_CHECK bool key_backends_start_root(KeyBackends *backends, int *ret_fd, Error *err);
/* What the root key's helper said when it ended; NULL if it said nothing. */
const Error *key_backends_root_cause(const KeyBackends *backends);
/* It was refused: a start of keyd is in vain. */
bool key_backends_is_refused(const KeyBackends *backends);

/* Keyd was started: it is told of each back-end, and their helpers are started. Before KEYD_START.
 */
void key_backends_on_keyd(KeyBackends *backends, Child *keyd);
/* It is gone, or goes: so do they. */
void key_backends_on_keyd_gone(KeyBackends *backends);
/* KEYD_HELPER_LOST. */
void key_backends_on_lost(KeyBackends *backends, const IpcMessage *message);

#endif
