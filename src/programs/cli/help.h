/* SPDX-License-Identifier: Apache-2.0 */
/* Help, out of the table of commands. */
#ifndef SEALIFT_PROGRAMS_CLI_HELP_H
#define SEALIFT_PROGRAMS_CLI_HELP_H

#include <stdio.h>

#include "programs/cli/command.h"

/* Every command, one a line, and the options that all share. */
void help_print_all(FILE *stream);
/* Usage, purpose and options of one command. */
void help_print_command(const CliCommand *command, FILE *stream);

#endif
