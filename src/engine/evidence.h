/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides signed in a migration, for who has to prove it: the statements of the hosts and the
 * documents of their key managers, as CMS that `openssl cms` verifies. */
#ifndef SEALIFT_ENGINE_EVIDENCE_H
#define SEALIFT_ENGINE_EVIDENCE_H

#include "engine/engine.h"

/* Answers with the piece that the arguments name: {migration, piece}, or with the names of the pieces
 * that there are if they name none. ERROR_NOT_FOUND, ERROR_CONFLICT for a prefix of several
 * migrations. */
MUST_CHECK bool evidence_do(Engine *engine, ApiRequest *request, json_t *arguments, Error *err);

#endif
