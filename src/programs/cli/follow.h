/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows one migration to its end: on a terminal by a progress line, else by one MIGRATION object
 * a line. The engine's events drive it; when they are silent it asks, so that a lost event or a
 * hanging engine is noticed.
 */
#ifndef SEALIFT_PROGRAMS_CLI_FOLLOW_H
#define SEALIFT_PROGRAMS_CLI_FOLLOW_H

#include "programs/cli/api.h"
#include "programs/cli/command.h"

/*
 * The connection must have asked for events already, so that none is missed. With may_cancel the
 * first Ctrl-C asks the engine to cancel and the second one leaves; without it the first one
 * leaves. Leaving sets context->status to CLI_STATUS_LEFT and is no error.
 * Errors: how the migration ended if it is not done; ERROR_UNAVAILABLE if the engine goes away.
 */
MUST_CHECK bool follow_migration(CliContext *context, Api *api, const char *migration,
				 bool may_cancel, Error *err);

#endif
