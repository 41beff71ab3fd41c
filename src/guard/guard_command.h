/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the main channel: which may come, when, and with what in them. The decoder holds
 * their order (qemustream/main.h). */
#ifndef SEALIFT_GUARD_GUARD_COMMAND_H
#define SEALIFT_GUARD_GUARD_COMMAND_H

#include "guard/guard_main.h"

/* The unit is a command. False with *judge->err: a violation. */
MUST_CHECK bool guard_command_judge(const MainJudge *judge);

#endif
